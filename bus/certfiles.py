"""Certificate files: every certificate and revocation list in one file's octets, or the reason why some of them cannot be used.

A file is one of two things, whatever its name: text with PEM blocks (RFC 7468), where other text may stand around them as
``openssl x509 -text`` writes it, or DER values one after another. A value is a certificate, a revocation list, or PKCS#7 (RFC 5652
SignedData, BER allowed) with any number of both. What a block is called does not matter, only what it holds: Windows writes
``BEGIN CERTIFICATE`` around PKCS#7 as well.

``read`` takes a file whole or raises ValueError: a list of which nobody knows that it was not read lets in whom it revokes.
Pure: no file is opened here.
"""

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from asn1crypto import cms, parser
from cryptography import x509

from bus.ocsp import MALFORMED

#: What the library for PKCS#7 raises, at once or when a part is looked at.
UNREADABLE = (*MALFORMED, KeyError, AttributeError, OverflowError, RecursionError, binascii.Error)

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----([^-]*)-----END \1-----")
#: Outside of blocks: the edge of one that is broken, and a line of base64 that begins as every certificate and list does.
_STRAY = re.compile(rb"-{2,}\s*(?:BEGIN|END)\b|^MI[A-Za-z0-9+/]{40}", re.MULTILINE)
_NO_TEXT = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f]")
_LABELS = frozenset({b"CERTIFICATE", b"X509 CERTIFICATE", b"X509 CRL", b"CRL", b"PKCS7", b"CMS", b"PKCS #7 SIGNED DATA"})
_SEQUENCE, _OBJECT_IDENTIFIER = b"\x30", b"\x06"
#: The end of the first line of a private key in PEM, of any kind.
PRIVATE_KEY = b"PRIVATE KEY-----"
_MARKS = (b"-----BEGIN CERTIFICATE-----", b"-----BEGIN X509 C", b"-----BEGIN TRUSTED CERTIFICATE", b"-----BEGIN PKCS7", b"-----BEGIN CMS")


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds, each thing once, in the file's order."""

    certificates: tuple[x509.Certificate, ...] = ()
    crls: tuple[x509.CertificateRevocationList, ...] = ()


def read(octets: bytes) -> Content:
    """The whole content of a file. Raises ValueError when any part of it cannot be used, or nothing is in it."""
    certificates: list[x509.Certificate] = []
    crls: list[x509.CertificateRevocationList] = []
    for number, value in enumerate(_values(octets), 1):
        try:
            found = list(_things(value))
        except UNREADABLE as error:
            raise ValueError(f"part {number} of the file is not readable: {_said(error)}") from None
        for thing in found:
            if isinstance(thing, x509.Certificate):
                certificates.append(thing)
            elif thing not in crls:
                crls.append(thing)
    if not certificates and not crls:
        raise ValueError("the file is empty" if not octets.strip() else "the file holds neither a certificate nor a revocation list")
    return Content(tuple(dict.fromkeys(certificates)), tuple(crls))


def suspected(octets: bytes) -> bool:
    """Whether a file that is not read may have been meant to count: something in it is a certificate or a list, or says that it is."""
    if any(mark in octets for mark in _MARKS):
        return True
    try:
        return bool(read(octets))
    except ValueError:
        return False


def _values(octets: bytes) -> Iterator[bytes]:
    """The DER or BER values of a file, in order."""
    if b"-----BEGIN" in octets:
        yield from _blocks(octets)
        return
    place = 0
    while place < len(octets):
        if octets[place : place + 1] != _SEQUENCE:
            raise ValueError(f"after {place} octets comes what is neither a certificate nor a revocation list")
        try:
            length = parser.peek(octets[place:])
        except (ValueError, RecursionError):
            raise ValueError(f"what begins after {place} octets is not whole") from None
        yield octets[place : place + length]
        place += length


def _blocks(octets: bytes) -> Iterator[bytes]:
    around = _BLOCK.sub(b"\n", octets)
    if _STRAY.search(around) or _NO_TEXT.search(around):
        raise ValueError("something beside the PEM blocks is no text, or a block that is not whole")
    for number, block in enumerate(_BLOCK.finditer(octets), 1):
        label = block[1]
        if label.endswith(b"PRIVATE KEY"):
            raise ValueError("a private key does not belong here; remove it, and let its owner make another")
        if label not in _LABELS:
            raise ValueError(f"PEM block {number} is a {label.decode()}, neither a certificate nor a revocation list")
        try:
            yield binascii.a2b_base64(b"".join(block[2].split()), strict_mode=True)
        except binascii.Error:
            raise ValueError(f"PEM block {number} is no base64") from None


def _things(value: bytes) -> Iterator[x509.Certificate | x509.CertificateRevocationList]:
    """What one value holds. Raises of ``UNREADABLE``."""
    if parser.peek(value) != len(value):
        raise ValueError("octets follow its end")
    _, _, _, _, contents, _ = parser.parse(value)
    if contents[:1] == _OBJECT_IDENTIFIER:
        yield from _signed_data(value)
        return
    try:
        certificate = x509.load_der_x509_certificate(value)
        _ = certificate.subject, certificate.issuer, certificate.extensions, certificate.public_key
    except MALFORMED as error:
        try:
            crl = x509.load_der_x509_crl(value)
            _ = crl.issuer, crl.last_update_utc, crl.next_update_utc, crl.extensions, crl.signature_algorithm_oid
        except MALFORMED as second:
            raise ValueError(f"as a certificate: {_said(error)}; as a revocation list: {_said(second)}") from None
        _check_entries(crl)
        yield crl
        return
    yield certificate


def _signed_data(value: bytes) -> Iterator[x509.Certificate | x509.CertificateRevocationList]:
    content = cms.ContentInfo.load(value, strict=True)
    if content["content_type"].native != "signed_data":
        raise ValueError(f"it is PKCS#7 of the kind {content['content_type'].native}")
    signed = content["content"]
    for choice in signed["certificates"]:
        if choice.name != "certificate":
            raise ValueError(f"it holds a certificate of the kind {choice.name}")
        yield from _things(choice.chosen.dump())
    for choice in signed["crls"]:
        if choice.name != "crl":
            raise ValueError(f"it holds revocation data of the kind {choice.name}")
        yield from _things(choice.chosen.dump())


def _check_entries(crl: x509.CertificateRevocationList) -> None:
    """The library reads an entry when it is asked for; one that is damaged would be found at the door."""
    for entry in crl:
        _ = entry.serial_number, entry.revocation_date_utc


def _said(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
