"""The keys under ``soap:`` in routes.yaml."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from bus import soap
from bus.options import ContractFile, Duration, KeyName, Model, PartnerName, PushOptions

CHECKS = ("wss-x509", "wss-username", "mtls")


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Security(Model):
    """Who may call, and how replies and requests are signed."""

    verify: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        default=(),
        description="what proves the sender: wss-x509, wss-username, mtls; a list names alternatives, wss-username+mtls asks for both",
    )
    covers: tuple[Literal["Body", "Timestamp"], ...] = Field(default=("Body", "Timestamp"), description="what a signature must cover")
    sign: KeyName | None = Field(default=None, description="key that signs: replies to wss-x509 callers, or every request; such as own/bus")
    skew: Duration = Field(default=timedelta(minutes=5), description="how far a timestamp may be from our clock")
    client_certificate: KeyName | None = Field(default=None, description="client: the key pair to show in TLS, such as own/tls")

    @field_validator("verify")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for checks in value:
            if not set(checks.split("+")).issubset(CHECKS):
                raise ValueError(f"unknown check {checks!r} (known: {', '.join(CHECKS)}, or several joined by '+')")
        return value

    @property
    def alternatives(self) -> tuple[frozenset[str], ...]:
        """``verify`` as sets: a request must satisfy all of one of them."""
        return tuple(frozenset(checks.split("+")) for checks in self.verify)


class Options(PushOptions):
    """Either ``path`` (we serve) or ``url`` and ``partner`` (we call)."""

    path: str = Field(default="", pattern=r"^(/[\w.~/-]*[\w.~-])?$", description="server: its path, beside /soap/<endpoint>")
    url: str = Field(default="", pattern=r"^(https?://\S+)?$", description="client: the partner's address")
    partner: PartnerName | None = Field(default=None, description="client: the partner called; its trust/ holds its anchors")
    wsdl: ContractFile = Field(default="exchange/v1/exchange.wsdl", description="contract, under schemas/; served at ?wsdl")
    security: Security = Field(default=Security(), description="who may call, and what is signed")
    version: Literal["1.1", "1.2"] = Field(default="1.1", description="client: SOAP version to call with")
    timeout: Duration = Field(default=timedelta(seconds=60), gt=timedelta(0), description="client: most time for one call")
    payload: Literal["exchange", "literal"] = Field(
        default="exchange",
        description="client: exchange sends the message by SendDocument; literal makes the message itself the Body's one element",
    )
    action: str = Field(default="", description="client: SOAP action of a literal payload")

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if bool(self.url) == bool(self.path):
            raise ValueError("give either 'path' (we serve) or 'url' (we call)")
        if self.url and self.partner is None:
            raise ValueError("an endpoint that calls a 'url' needs the 'partner' it belongs to")
        if self.path and not self.security.verify:
            raise ValueError("an endpoint that serves needs 'security: {verify: …}': nobody is let in unproven")
        return self

    @property
    def soap_version(self) -> soap.Version:
        """The version to call with."""
        return soap.SOAP_12 if self.version == "1.2" else soap.SOAP_11
