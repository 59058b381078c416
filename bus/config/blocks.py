"""The blocks of routes.yaml as pydantic models: ``site``, ``partners``, ``routes``. Steps and adapters bring models of their own.

The field descriptions are the documentation: they reach the JSON Schema that an editor shows (``govbus schema``).
"""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, WithJsonSchema, field_validator

from bus.options import Duration, Expression, LegacyName, MethodName, Model, OrganCode, Size
from bus.outside import Outside
from bus.quotas import QUOTA, Rate
from bus.revocation import Check
from bus.route import Entry
from bus.signature.policy import USUAL
from bus.xpath import XPath


def _entry(value: object) -> Entry:
    """``national-exchange``, or ``{unit-inbox: To/OrganId}``."""
    match value:
        case str() if value:
            return Entry(value)
        case dict() if len(value) == 1 and all(isinstance(owners, str) for owners in value.values()):
            return next(Entry(str(name), XPath(owners)) for name, owners in value.items())
    raise ValueError("must be the name of an endpoint or route, or {mailbox endpoint: XPath of the owners' codes}")


def _listed(value: object) -> object:
    """A list may be left out around a single entry."""
    return [value] if isinstance(value, str | dict) else value


Oid = Annotated[str, Field(pattern=r"^[0-2](\.(0|[1-9]\d*))+$")]
_ENTRY_SCHEMA = {
    "anyOf": [{"type": "string"}, {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": {"type": "string"}}]
}
EntryText = Annotated[Any, BeforeValidator(_entry), WithJsonSchema(_ENTRY_SCHEMA)]
Entries = Annotated[list[EntryText], BeforeValidator(_listed), Field(min_length=1)]


class KeyBlock(Model):
    """What one of our keys needs to be used."""

    password: SecretStr = Field(SecretStr(""), description="of its PKCS#12 file, or its token's PIN: env:NAME or file:PATH")


class RevocationBlock(Model):
    """How it is known that a partner's certificates are not revoked."""

    check: Check = Field(
        Check.DIRECTORY,
        description="none; directory: the .crl files beside its certificates; crl, ocsp, or either: asked, and must be known",
    )
    when_unknown: Literal["refuse", "accept"] = Field("refuse", description="what happens to a message while nobody can be asked")
    fresh: Duration = Field(
        timedelta(hours=24), gt=timedelta(0), description="ask again after this; an answer without an end counts so long"
    )
    grace: Duration = Field(timedelta(hours=24), description="with when-unknown: accept: how long after the last answer ran out")
    crl: list[str] = Field(default_factory=list, description="addresses of its lists, instead of those its certificates name")
    ocsp: str = Field("", description="address of its responder, instead of the one its certificates name")
    hosts: list[str] = Field(
        default_factory=list,
        description="hosts that its certificates may have us ask, and networks where these need not be public; none without",
    )

    @field_validator("hosts")
    @classmethod
    def _hosts(cls, value: list[str]) -> list[str]:
        Outside.of(value)
        return value

    @field_validator("crl", "ocsp")
    @classmethod
    def _addresses(cls, value: list[str] | str) -> list[str] | str:
        for address in [value] if isinstance(value, str) else value:
            if address and not address.startswith(("http://", "https://")):
                raise ValueError(f"{address!r} is not an http:// or https:// address")
        return value


class TimestampBlock(Model):
    """Who time-stamps the journal's checkpoints (RFC 3161), and how old the last time-stamp may get."""

    url: str = Field(pattern=r"^https?://", description="the authority's address: an URL, env:NAME or file:PATH")
    trust: str = Field("trust/tsa", description="directory under certs/ with the authority's root, and what leads from it to the authority")
    every: Duration = Field(timedelta(minutes=10), gt=timedelta(0), description="how often the newest checkpoint is time-stamped")
    limit: Duration | None = Field(
        None, description="when the last time-stamp is older, nothing is accepted until there is one; without it, everything is"
    )
    policy: Oid | None = Field(None, description="the authority's policy that is demanded (an OID); any, without")

    @field_validator("limit")
    @classmethod
    def _long_enough(cls, value: timedelta | None, info: ValidationInfo) -> timedelta | None:
        if value is not None and value < 2 * info.data.get("every", timedelta()):
            raise ValueError("must be twice 'every' at least, or a bus whose authority answers would stop accepting")
        return value


class SiteBlock(Model):
    """Who we are."""

    organisation: OrganCode = Field(description="our own organisation code")
    name: str = Field(min_length=1, description="our name, as receipts and the console show it")
    key: str = Field("own/bus", description="the key that signs receipts and replies: certs/<key>.key and .crt")
    past_keys: list[str] = Field(default_factory=list, description="keys that signed receipts before under another name, such as own/old")
    tls: str = Field("own/tls", description="the key of the HTTPS door, or 'none': then a proxy in front does TLS")
    organisations: str = Field("organisations/v1/organisations.csv", description="the code book, under schemas/")
    timestamps: TimestampBlock | None = Field(None, description="who time-stamps the journal; without one, nobody does")
    keys: dict[str, KeyBlock] = Field(default_factory=dict, description="passwords of our keys (own/NAME) in PKCS#12 files and tokens")


class MailboxBlock(Model):
    """How much may wait for a partner until it confirms it, whichever endpoint it reads it through; receipts do not count."""

    messages: int = Field(QUOTA.messages, ge=1, description="the most documents and statuses; beyond it senders are told 4.2.2")
    bytes: Size = Field(QUOTA.octets, ge=1, description="the most octets of them all together, such as 500 MB or 10 GB")


class RateBlock(Model):
    """How often a partner may call, counted once it is identified."""

    each_second: float = Field(gt=0, le=100_000, description="requests a second; beyond it they are told 4.3.2 with Retry-After")
    burst: int = Field(0, ge=0, le=1_000_000, description="requests at once after a rest; by default those of ten seconds")

    def rate(self) -> Rate:
        """As it is counted."""
        return Rate(self.each_second, self.burst or max(1.0, 10 * self.each_second))


class PartnerBlock(Model):
    """An organisation that may connect."""

    codes: list[OrganCode] = Field(min_length=1, description="all its organisation codes; the first is the one we write")
    trust: str = Field("", description="directory under certs/ with its certificate authority or certificates")
    signatures: list[MethodName] = Field(
        default_factory=list, description=f"methods that count in what it signs; by default {', '.join(USUAL)}"
    )
    legacy: list[LegacyName] = Field(default_factory=list, description="outdated methods that count as well; each use is journalled")
    password: SecretStr = Field(SecretStr(""), description="its WS-Security UsernameToken password: env:NAME or file:PATH")
    certificate_policies: list[Oid] = Field(default_factory=list, description="its certificates must be issued under one of these (OIDs)")
    tls_certificates_sign: bool = Field(False, description="a certificate issued for TLS alone may sign its documents too")
    revocation: RevocationBlock = Field(
        RevocationBlock.model_validate({}), description="how it is known that its certificates are not revoked"
    )
    mailbox: MailboxBlock = Field(MailboxBlock.model_validate({}), description="how much may wait for it in its mailbox")
    rate: RateBlock | None = Field(None, description="how often it may call; without one, as often as it likes")


class RetryBlock(Model):
    """When to try again: ``first``, times ``factor`` each time, never more than ``most``, until ``give-up``."""

    first: Duration = Field(timedelta(seconds=30), gt=timedelta(0), description="pause after the first failure")
    factor: float = Field(2.0, ge=1, le=100, description="each pause is this many times the one before")
    most: Duration = Field(timedelta(hours=1), gt=timedelta(0), description="the longest pause")
    give_up: Duration = Field(timedelta(days=5), gt=timedelta(0), description="the most time a message may take from its acceptance")


class BranchBlock(Model):
    """One branch of ``choose``: ``when`` and ``to``, or ``otherwise`` alone, last."""

    when: Expression | None = Field(None, description="condition on the edXML view of the message, shown for one receiver at a time")
    to: Entries | None = Field(None, description="where this receiver's copy goes")
    otherwise: Entries | None = Field(None, description="where it goes when no branch above takes it")


class RouteBlock(Model):
    """What is done with the messages of one endpoint. The first route of an endpoint whose ``when`` holds takes the message."""

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", description="the route's name, in lower-case-with-hyphens")
    source: str = Field("", alias="from", description="the endpoint it takes from; without one it is internal, the target of another route")
    when: Expression | None = Field(None, description="condition on the edXML view of the message")
    authorize: Literal["none"] | None = Field(
        None, description="none: this partner relays what others wrote, so its messages may name any sender; needs 'because'"
    )
    because: str = Field("", description="why 'authorize: none'; kept in the history of every message that it lets through")
    gate: list[Any] = Field(default_factory=list, description="steps that run while the sender waits: failure refuses the message")
    steps: list[Any] = Field(default_factory=list, description="steps that run after the message was accepted")
    choose: list[BranchBlock] = Field(default_factory=list, description="where each receiver's copy goes, asked once for each receiver")
    to: Entries | None = Field(None, description="where the message goes, whoever its receivers are")
    order_by: Expression | None = Field(None, description="messages of one partner with the same value leave in order")
    receipts: str = Field("", description="the mailbox endpoint where the sender fetches its receipts")
    retry: RetryBlock = Field(RetryBlock.model_validate({}), description="when to try again, and when to give up")
    confirm_within: Duration | None = Field(
        None,
        gt=timedelta(0),
        description="what its receivers have not confirmed in their mailboxes by then raises an alarm, once and then daily",
    )


class SiteFile(Model):
    """routes.yaml: one govbus installation."""

    site: SiteBlock
    partners: dict[str, PartnerBlock] = Field(default_factory=dict, description="the organisations that may connect, by name")
    endpoints: dict[str, dict[str, Any]] = Field(description="the doors and lines of this bus, by name")
    routes: list[RouteBlock] = Field(min_length=1, description="what is done with the messages")
