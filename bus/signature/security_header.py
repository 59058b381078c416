"""The wsse:Security header as text: Timestamp, UsernameToken, BinarySecurityToken and Signature, each its own canonical form.

How the signer's certificate is given is the endpoint's ``Style``: as a token in the header (``bst``), by its issuer and serial number, by
its subject key identifier, or within the reference (``x509-data``). What the partner is given no certificate by, it must hold already.

Raises nothing of its own.

Standards: WS-Security 1.1 (SOAP Message Security) sections 5, 7 and 10; X.509 Certificate Token Profile 1.1 sections 3.1.1 and 3.2.1 to
3.2.3; WS-I Basic Security Profile 1.1 section 8; RFC 4514 (the issuer's name, as XML Signature 1.1 section 4.5.4.1 wants it).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from xml.sax.saxutils import escape

from cryptography import x509

from bus.signature.profile import BASE64_BINARY, WSSE, WSU, X509_TOKEN
from bus.signature.times import in_milliseconds
from bus.signature.writing import encoded, reference, signature
from bus.signer import Signer

LIFETIME = timedelta(minutes=5)
Token = Literal["bst", "issuer-serial", "ski", "x509-data"]

_SECURITY = (
    f'<wsse:Security xmlns:wsse="{WSSE}" xmlns:wsu="{WSU}" xmlns:env="{{soap}}" env:mustUnderstand="1">'
    "{timestamp}{login}{token}{signature}</wsse:Security>"
)
_TIMESTAMP = (
    f'<wsu:Timestamp xmlns:wsu="{WSU}"' + ' wsu:Id="TS-{id}"><wsu:Created>{created}</wsu:Created>'
    "<wsu:Expires>{expires}</wsu:Expires></wsu:Timestamp>"
)
_TOKEN = (
    f'<wsse:BinarySecurityToken EncodingType="{BASE64_BINARY}" ValueType="{X509_TOKEN}X509v3" wsu:Id="X509-{{id}}">'
    "{token}</wsse:BinarySecurityToken>"
)
_TOKEN_REFERENCE = f'<wsse:SecurityTokenReference xmlns:wsse="{WSSE}">{{}}</wsse:SecurityTokenReference>'
_DIRECT = f'<wsse:Reference URI="#X509-{{id}}" ValueType="{X509_TOKEN}X509v3"></wsse:Reference>'
_ISSUER_SERIAL = (
    "<ds:X509Data><ds:X509IssuerSerial><ds:X509IssuerName>{issuer}</ds:X509IssuerName>"
    "<ds:X509SerialNumber>{serial}</ds:X509SerialNumber></ds:X509IssuerSerial>{certificate}</ds:X509Data>"
)
_CERTIFICATE = "<ds:X509Certificate>{}</ds:X509Certificate>"
_KEY_IDENTIFIER = (
    f'<wsse:KeyIdentifier EncodingType="{BASE64_BINARY}" ValueType="{X509_TOKEN}X509SubjectKeyIdentifier">{{}}</wsse:KeyIdentifier>'
)


@dataclass(frozen=True, slots=True)
class Style:
    """How our signature is written. ``token``: how the certificate is given; ``headers``: whether it covers the other headers too."""

    token: Token = "bst"  # noqa: S105 - how a certificate is given, and no secret
    headers: bool = False


@dataclass(frozen=True, slots=True)
class Login:
    """A UsernameToken as ``username.write`` made it: its ``text``, in canonical form, and its ``id``."""

    id: str
    text: str


def write(
    soap: str,
    identifier: str,
    now: datetime,
    *,
    signer: Signer | None,
    references: Sequence[str] = (),
    style: Style,
    login: Login | None = None,
    lifetime: timedelta = LIFETIME,
) -> str:
    """The header. ``references``: what ``signer`` covers beside the Timestamp and the ``login``; without one nothing is signed."""
    timestamp = _TIMESTAMP.format(id=identifier, created=in_milliseconds(now), expires=in_milliseconds(now + lifetime))
    token = signed = ""
    if signer:
        own = [(f"TS-{identifier}", timestamp), *([(login.id, login.text)] if login else ())]
        covered = [reference(f"#{name}", text.encode(), digest=signer.method.digest) for name, text in own]
        named_by = _TOKEN_REFERENCE.format(_NAMED[style.token](signer, identifier))
        signed = signature(signer, [*covered, *references], named_by).decode()
        if style.token == "bst":  # noqa: S105
            token = _TOKEN.format(id=identifier, token=encoded(signer.certificate_der))
    said = login.text if login else ""
    return _SECURITY.format(soap=soap, timestamp=timestamp, login=said, token=token, signature=signed)


def _direct(_signer: Signer, identifier: str) -> str:
    return _DIRECT.format(id=identifier)


def _issuer_serial(signer: Signer, _identifier: str, certificate: str = "") -> str:
    issuer, serial = escape(signer.certificate.issuer.rfc4514_string()), signer.certificate.serial_number
    return _ISSUER_SERIAL.format(issuer=issuer, serial=serial, certificate=certificate)


def _key_identifier(signer: Signer, _identifier: str) -> str:
    try:
        value = signer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        # What stacks compute where the certificate has none (RFC 5280 section 4.2.1.2, method 1).
        value = x509.SubjectKeyIdentifier.from_public_key(signer.certificate.public_key()).digest
    return _KEY_IDENTIFIER.format(encoded(value))


def _x509_data(signer: Signer, identifier: str) -> str:
    """By name as well: the token profile knows X509Data by that alone, and stacks that keep to it read no further (WSS4J 1.6)."""
    return _issuer_serial(signer, identifier, _CERTIFICATE.format(encoded(signer.certificate_der)))


_NAMED: Mapping[Token, Callable[[Signer, str], str]] = {
    "bst": _direct,
    "issuer-serial": _issuer_serial,
    "ski": _key_identifier,
    "x509-data": _x509_data,
}
