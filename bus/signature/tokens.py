"""The certificate that a WS-Security signature's KeyInfo points at. It is only proposed here: trust is decided by the caller.

Raises Rejected ``signature-invalid`` for a reference that is not understood, ``certificate-unknown`` where it names a certificate that
does not lie in a trust directory.

Standards: WS-Security X.509 Certificate Token Profile 1.1 section 3.2 (token references); WS-Security 1.1 section 7.
"""

import re
from collections.abc import Iterable
from typing import Protocol

from lxml import etree

from bus import lexical
from bus.errors import Rejected
from bus.signature.profile import BASE64_BINARY, WSSE, WSU, X509_TOKEN, invalid
from bus.signature.reading import decoded, ds, expect
from bus.signature.xmldsig import certificate_in

#: An xs:integer; 20 octets at most (RFC 5280 section 4.1.2.2), and zeros before it.
_SERIAL = re.compile("[0-9]{1,60}")


class Certificates(Protocol):
    """Where certificates lie that a token may merely name; ``Keyring`` is one."""

    def find(self, issuer: str, serial: int) -> Iterable[bytes]:
        """Certificates (DER) with this issuer, written as a distinguished name, and serial number."""

    def find_ski(self, identifier: bytes) -> Iterable[bytes]:
        """Certificates (DER) with this subject key identifier."""


def _wsse(name: str) -> str:
    return f"{{{WSSE}}}{name}"


def certificate(key_info: etree._Element, security: etree._Element, known: Certificates | None) -> bytes:
    """DER of the certificate that ``key_info`` refers to: in the Security header, in the reference itself, or among ``known``."""
    # Some stacks put the X509Data into KeyInfo itself, as in plain XML signatures.
    bare = key_info.find(ds("X509Data")) is not None
    holder = key_info if bare else expect(key_info, _wsse("SecurityTokenReference"))[0]
    if len(holder) != 1:
        raise invalid("KeyInfo must refer to exactly one token")
    token = holder[0]
    if token.tag == _wsse("Reference"):
        return _direct(token, security)
    if token.tag == _wsse("KeyIdentifier"):
        return _identified(token, known)
    if token.tag == ds("X509Data"):
        return _x509_data(token, known)
    raise invalid(f"the token reference {etree.QName(token).localname} is not accepted")


def _direct(token: etree._Element, security: etree._Element) -> bytes:
    """A BinarySecurityToken of the same Security header, found by its Id there and nowhere else."""
    uri = token.get("URI", "")
    tokens = security.findall(_wsse("BinarySecurityToken"))
    found = [one for one in tokens if uri.startswith("#") and uri[1:] in {one.get(f"{{{WSU}}}Id"), one.get("Id")}]
    if len(found) != 1:
        raise invalid("the token reference does not name exactly one BinarySecurityToken of the Security header")
    if found[0].get("ValueType") != f"{X509_TOKEN}X509v3" or found[0].get("EncodingType", BASE64_BINARY) != BASE64_BINARY:
        raise invalid("the BinarySecurityToken is not a base64 X509v3 certificate")
    return decoded(found[0])


def _identified(token: etree._Element, known: Certificates | None) -> bytes:
    kind = token.get("ValueType", "")
    if kind == f"{X509_TOKEN}X509v3":
        return decoded(token)
    if kind == f"{X509_TOKEN}X509SubjectKeyIdentifier":
        return _only(known.find_ski(decoded(token)) if known else (), "(named by its subject key identifier)")
    raise invalid(f"the key identifier type {kind.rpartition('#')[2]!r} is not accepted")


def _x509_data(data: etree._Element, known: Certificates | None) -> bytes:
    """The certificate itself where it is there, or its issuer and serial number, or its subject key identifier."""
    if data.find(ds("X509Certificate")) is not None:
        return certificate_in(data)
    (naming,) = data if len(data) == 1 else (None,)
    if naming is not None and naming.tag == ds("X509SKI"):
        return _only(known.find_ski(decoded(naming)) if known else (), "(named by its subject key identifier)")
    if naming is None or naming.tag != ds("X509IssuerSerial"):
        raise invalid("X509Data must hold a certificate, an issuer and serial number, or a subject key identifier")
    issuer, number = expect(naming, ds("X509IssuerName"), ds("X509SerialNumber"))
    digits = lexical.trimmed(number.text or "").removeprefix("+")
    if not _SERIAL.fullmatch(digits):
        raise invalid("X509SerialNumber is not a number")
    return _only(known.find(issuer.text or "", int(digits)) if known else (), f"(serial number {digits})")


def _only(found: Iterable[bytes], subject: str) -> bytes:
    different = set(found)
    if len(different) != 1:
        raise Rejected("certificate-unknown", subject=subject)
    return different.pop()
