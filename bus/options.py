"""The words that options in routes.yaml are written in: pydantic types which say what a value means and check it when a site is loaded.

A step or adapter declares ``schema: SchemaFile`` or ``poll: Duration`` and is given a value that exists and works. What a value is
checked against (files, keys, partners) is the validation context, a ``Surroundings``; without one only the form is checked.

Raises ``ValueError`` with cause and cure, which ``config`` reports at the value's own line and column.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from bus.errors import suggestion
from bus.organisations import well_formed
from bus.schemas import Library
from bus.signature.policy import LEGACY, MODERN
from bus.signature.xmldsig_by_id import PLACE
from bus.xpath import XPath


class Model(BaseModel):
    """Base of every options model: keys it does not declare are mistakes; a key ``order_by`` is written ``order-by``."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        populate_by_name=True,
        alias_generator=lambda name: name.replace("_", "-"),
    )


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What there is for options to name: files of the library, our own keys, partners."""

    library: Library
    keys: frozenset[str]
    partners: frozenset[str]


def _among(what: str, known: Callable[[Surroundings], frozenset[str]]) -> AfterValidator:
    """The value must be one of the names that the site has."""

    def check(value: str, info: ValidationInfo) -> str:
        if isinstance(info.context, Surroundings) and value not in known(info.context):
            raise ValueError(f"unknown {what} {value!r}{suggestion(value, known(info.context))}")
        return value

    return AfterValidator(check)


def _word(what: str, known: tuple[str, ...]) -> AfterValidator:
    """The value must be one of these words."""

    def check(value: str) -> str:
        if value not in known:
            raise ValueError(f"unknown {what} {value!r}{suggestion(value, known)}")
        return value

    return AfterValidator(check)


def _file(what: str, use: Callable[[Library, str], object]) -> AfterValidator:
    """The value must be a file under ``schemas/`` that can be used."""

    def check(value: str, info: ValidationInfo) -> str:
        if isinstance(info.context, Surroundings):
            try:
                use(info.context.library, value)
            except FileNotFoundError as error:
                raise ValueError(f"{what} {error}") from None
        return value

    return AfterValidator(check)


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
#: Ten years: no one means more, and dates that are reckoned with it stay dates.
_LONGEST = 3650 * 86400.0
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def _measured(value: str, form: re.Pattern[str], units: Mapping[str, float], kind: str, examples: str) -> float:
    """A number with its unit. ValueError for what has not that form."""
    found = form.fullmatch(value)
    if found is None:
        raise ValueError(f"{value!r} is not a {kind}; write a number and one of {', '.join(units)}, such as {examples}")
    return float(found[1]) * units[found[2]]


def duration(value: object) -> object:
    """``30s``, ``1h``, ``5d`` as a timedelta."""
    if not isinstance(value, str):
        return value
    seconds = _measured(value, _DURATION, _UNITS, "duration", "30s, 1h or 5d")
    if seconds > _LONGEST:
        raise ValueError(f"{value!r} is longer than ten years")
    return timedelta(seconds=seconds)


_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_OCTETS = {unit: 1000**power for power, unit in enumerate(("B", "kB", "MB", "GB", "TB"))} | {
    unit: 1024**power for power, unit in enumerate(("B", "KiB", "MiB", "GiB", "TiB"))
}
#: A petabyte: no store of ours is larger, and every database counts so far.
_LARGEST = 10**15


def size(value: object) -> object:
    """``500 MB``, ``10 GB`` or ``1 GiB`` as octets; a whole number is octets already."""
    if not isinstance(value, str):
        return value
    octets = round(_measured(value, _SIZE, _OCTETS, "size", "500 MB or 10 GB"))
    if octets > _LARGEST:
        raise ValueError(f"{value!r} is more than a petabyte")
    return octets


def _expression(value: object) -> XPath:
    if isinstance(value, XPath):
        return value
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be an XPath expression")
    return XPath(value)


def _organ(value: str) -> str:
    if not well_formed(value):
        raise ValueError(f"{value!r} is not an organisation code, such as 000.00.00.G22 or G22")
    return value


Duration = Annotated[timedelta, BeforeValidator(duration), WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"})]
Size = Annotated[
    int,
    Field(le=_LARGEST),
    BeforeValidator(size),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string", "pattern": f"^{_SIZE.pattern}$"}]}),
]
Expression = Annotated[XPath, PlainValidator(_expression), WithJsonSchema({"type": "string", "format": "xpath"})]
OrganCode = Annotated[str, AfterValidator(_organ)]
KeyName = Annotated[str, _among("key", lambda site: site.keys)]
MethodName = Annotated[str, _word("signature method", MODERN)]
LegacyName = Annotated[str, _word("legacy signature method", LEGACY)]
PartnerName = Annotated[str, _among("partner", lambda site: site.partners)]
SchemaFile = Annotated[str, _file("schema", Library.schema)]
Stylesheet = Annotated[str, _file("stylesheet", Library.stylesheet)]
ContractFile = Annotated[str, _file("contract", Library.path)]


class Signed(Model):
    """The form of a document's own signature, for the steps that make and verify one."""

    profile: Literal["xades", "xmldsig", "xmldsig-by-id"] = Field("xades", description="form of the signature")
    element: str = Field(
        "", pattern=PLACE, description="xmldsig-by-id: the one element that is signed, as names below the root: Order/Content"
    )

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if bool(self.element) != (self.profile == "xmldsig-by-id"):
            raise ValueError("'element' and 'profile: xmldsig-by-id' need each other")
        return self


#: No lane is wider.
MOST_AT_ONCE = 1000


class PushOptions(Model):
    """What every endpoint that sends may say about its lane: how much goes out at a time, and when it stops because its partner is down."""

    width: int = Field(default=32, ge=1, le=MOST_AT_ONCE, description="sending: deliveries under way at the same time")
    open_after: int = Field(
        default=5,
        ge=1,
        le=1000,
        description="sending: when so many different messages have failed one after the other it stops, but for probes",
    )
    probe_first: Duration = Field(
        default=timedelta(seconds=5),
        gt=timedelta(0),
        description="sending: pause before the first probe of a partner that is down; it doubles",
    )
    probe_most: Duration = Field(default=timedelta(minutes=5), gt=timedelta(0), description="sending: longest pause between two probes")
