"""Manifest: ``evidence.json``, which says what the parts of an evidence are, and points; it proves nothing by itself.

What it points at is believed for its digest: a journal row's file has the row's hash as its SHA-256, a stored row's file has the one that
the journal vouches for, and everything else goes by the digest that those rows name.

``read`` raises Rejected ``evidence-invalid`` for what is not written as ``octets`` writes it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bus.errors import Rejected
from bus.octets import Body, whole

NAME = "evidence.json"
README = "README.txt"
#: Since the second form parties are named with their organisation codes.
FORMAT, _FORMS = "govbus-evidence/2", frozenset({"govbus-evidence/1", "govbus-evidence/2"})
#: The message's own row, as the journal vouches for it.
MESSAGE = "message/row.json"
#: Octets of a part that is a row, a receipt, a certificate: all but documents and requests.
MOST_SMALL = 4 << 20
#: Whose a certificate may be beside a partner's, whose names hold no colon: the site's own, the authorities over those, which vouch for
#: nothing here since they have other customers, and the time-stamp authority's.
SITE, CHAIN, TSA = "site:", "chain:", "tsa:"


@dataclass(frozen=True, slots=True)
class Inclusion:
    """That a journal row stands in a checkpoint (RFC 9162 section 2.1.3): ``path`` in lower-case hex."""

    checkpoint: int
    first: int
    last: int
    index: int
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RowFile:
    """A journal row's file, and the proof that it was in the journal; None where no checkpoint speaks of it yet."""

    file: str
    proof: Inclusion | None


@dataclass(frozen=True, slots=True)
class Held:
    """A certificate or what is known of revocations, and whose it is: SITE, CHAIN, TSA or a partner's name."""

    file: str
    of: str


@dataclass(frozen=True, slots=True)
class Stated:
    """A checkpoint's file, and its time-stamp's, or ""."""

    number: int
    file: str
    token: str


@dataclass(frozen=True, slots=True)
class Used:
    """What a history names with its digest, and its file: "" where the site has it no more."""

    note: str
    file: str


@dataclass(frozen=True, slots=True)
class Party:
    """A partner: as the rows call it, its organisation codes, old and new, and the endpoints by which it is called."""

    name: str
    codes: tuple[str, ...]
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """``lost``: digests of octets that the store names and has no more."""

    message: str
    organisation: str
    written: str
    rows: tuple[RowFile, ...] = ()
    checkpoints: tuple[Stated, ...] = ()
    certificates: tuple[Held, ...] = ()
    revocation: tuple[Held, ...] = ()
    used: tuple[Used, ...] = ()
    parties: tuple[Party, ...] = ()
    lost: tuple[str, ...] = ()
    format: str = field(default=FORMAT)

    def octets(self) -> bytes:
        """As it is written: one way only."""
        data = asdict(self)
        if self.format != FORMAT:
            del data["parties"]
        return json.dumps(data, ensure_ascii=False, sort_keys=True, indent=1).encode() + b"\n"


def read(octets: bytes) -> Manifest:
    """The manifest. Raises Rejected."""
    try:
        data = json.loads(octets)
        found = Manifest(
            rows=tuple(_row(row) for row in data.pop("rows")),
            checkpoints=_all(Stated, data.pop("checkpoints")),
            certificates=_all(Held, data.pop("certificates")),
            revocation=_all(Held, data.pop("revocation")),
            used=_all(Used, data.pop("used")),
            parties=tuple(_party(one) for one in data.pop("parties", ())),
            lost=tuple(data.pop("lost")),
            **data,
        )
        same = found.octets() == octets
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise invalid(NAME, f"{type(error).__name__} {error}") from error
    if found.format not in _FORMS or not same:
        raise invalid(NAME, f"it is not a {FORMAT}")
    return found


def _row(data: Mapping[str, Any]) -> RowFile:
    proof = data["proof"]
    return RowFile(data["file"], Inclusion(**{**proof, "path": tuple(proof["path"])}) if proof else None)


def _party(data: Mapping[str, Any]) -> Party:
    return Party(**{**data, "codes": tuple(data["codes"]), "targets": tuple(data["targets"])})


def _all(kind: Any, listed: Sequence[Mapping[str, Any]]) -> Any:
    return tuple(kind(**data) for data in listed)


def octets_of(files: Mapping[str, Body], name: str, most: int = MOST_SMALL) -> bytes:
    """A file that must be there, and be small. Raises Rejected."""
    if name not in files:
        raise invalid(name, "it is named and is not there")
    if len(files[name]) > most:
        raise invalid(name, "it is too large")
    return whole(files[name])


def invalid(part: str, detail: str) -> Rejected:
    """The refusal that names the part."""
    return Rejected("evidence-invalid", part=part, detail=detail)
