"""The keys under ``soap:`` in routes.yaml."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from bus import soap
from bus.keys import Keyring
from bus.options import ContractFile, Duration, KeyName, MethodName, Model, PartnerName, PushOptions
from bus.signature.encryption import Holder, Transport
from bus.signature.security_header import Style, Token
from bus.signature.username import Account
from bus.signer import Signer

#: The local name of a SOAP header, or Body or Timestamp.
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.-]*$")]
#: In the order in which they are checked: a nonce is used up last, when all else has been found good.
CHECKS = ("wss-x509", "mtls", "wss-username")


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Security(Model):
    """Who may call, and how replies and requests are signed."""

    verify: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        default=(),
        description="what proves the sender: wss-x509, wss-username, mtls; a list names alternatives, wss-username+mtls asks for both",
    )
    covers: tuple[HeaderName, ...] = Field(
        default=("Body", "Timestamp"),
        description="what a signature must cover, theirs and ours: Body, Timestamp, and names of headers such as To, Action, MessageID",
    )
    sign: KeyName | None = Field(default=None, description="key that signs: replies to wss-x509 callers, or every request; such as own/bus")
    method: MethodName | None = Field(default=None, description="signature method of that key; by default the usual one for its kind")
    token: Token = Field(
        default="bst", description="how our signature gives the certificate: in a token, by name, by key, or in the reference"
    )
    skew: Duration = Field(default=timedelta(minutes=5), description="how far a timestamp may be from our clock")
    username: str = Field(default="", description="client: the name to send in a UsernameToken")
    password: SecretStr = Field(default=SecretStr(""), description="client: its password: env:NAME or file:PATH")
    password_type: Literal["digest", "text"] = Field(default="digest", description="client: how the password is sent; text over HTTPS only")
    encrypt: str = Field(
        default="",
        description="client: certificate to encrypt for, such as trust/other/sealed; a door's answers stay in clear; extra xmlenc",
    )
    key_transport: Transport = Field(
        default="rsa-oaep", description="with encrypt: rsa-oaep (SHA-256), or rsa-oaep-mgf1p for stacks that know no other"
    )
    decrypt: Annotated[tuple[KeyName, ...], BeforeValidator(_listed)] = Field(
        default=(), description="our keys that requests, or replies, are encrypted for; several while one replaces another; extra xmlenc"
    )
    encryption: Literal["required", "optional"] = Field(
        default="required", description="with decrypt: whether what is not encrypted is refused"
    )
    client_certificate: KeyName | None = Field(default=None, description="client: the key pair to show in TLS, such as own/tls")

    @field_validator("verify")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for checks in value:
            if not set(checks.split("+")).issubset(CHECKS):
                raise ValueError(f"unknown check {checks!r} (known: {', '.join(CHECKS)}, or several joined by '+')")
        return value

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if "Body" not in self.covers:
            raise ValueError("'covers' must name the Body: a signature that leaves it out proves nothing about the message")
        if bool(self.username) != bool(self.password.get_secret_value()):
            raise ValueError("'username' and 'password' need each other")
        if self.sign is None and (self.method or self.token != "bst"):  # noqa: S105 - no secret
            raise ValueError("'method' and 'token' are about a signature: name the key that signs in 'sign'")
        return self

    def signer(self, keyring: Keyring) -> Signer | None:
        """Our key with its method, if we sign. Raises ValueError for a method that the key cannot sign with, KeyError for no such key."""
        return keyring.signer(self.sign).using(self.method or "") if self.sign else None

    def holder(self, keyring: Keyring) -> Holder | None:
        """We as those who are encrypted for, if we are. Raises ValueError for keys that cannot decrypt, or without the extra xmlenc."""
        signers = [keyring.signer(name) for name in self.decrypt]
        return Holder(signers, required=self.encryption == "required") if signers else None

    @property
    def style(self) -> Style:
        """How our signature is written: it covers our headers where theirs must cover any."""
        return Style(self.token, headers=bool(self.headers))

    @property
    def headers(self) -> tuple[str, ...]:
        """The headers that a signature must cover beside the Timestamp."""
        return tuple(name for name in self.covers if name not in {"Body", "Timestamp"})

    @property
    def covers_of_reply(self) -> tuple[str, ...]:
        """The same of the reply to a request of ours: it names our MessageID, and has no address and id of its own."""
        named = {"Body": "Body", "Timestamp": "Timestamp", "Action": "Action", "MessageID": "RelatesTo"}
        return tuple(named[name] for name in self.covers if name in named)

    @property
    def account(self) -> Account | None:
        """What we log in with, if we do."""
        if not self.username:
            return None
        return Account(self.username, self.password.get_secret_value(), self.password_type == "digest")  # noqa: S105 - no secret

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
        if self.url and (unknown := set(self.security.headers) - {"To", "Action", "MessageID"}):
            raise ValueError(f"{min(unknown)!r} is no header that a call has; 'covers' may name To, Action and MessageID")
        if self.path and self.security.username:
            raise ValueError("'username' is what a client sends; who calls us is told by 'verify' and the partners' passwords")
        if self.security.username and self.security.password_type == "text" and not self.url.startswith("https:"):  # noqa: S105
            raise ValueError("a password is never sent in text over plain http; use an https address, or 'password-type: digest'")
        if self.path and self.security.encrypt:
            raise ValueError("'encrypt' is what a client does; requests to us are encrypted for a key of ours, see 'decrypt'")
        if self.path and not self.security.verify:
            raise ValueError("an endpoint that serves needs 'security: {verify: …}': nobody is let in unproven")
        return self

    @property
    def soap_version(self) -> soap.Version:
        """The version to call with."""
        return soap.SOAP_12 if self.version == "1.2" else soap.SOAP_11
