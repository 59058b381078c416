"""Targets that read evidence and what came with documents: ASiC containers, checkpoints, time-stamps, and PDFs with signatures.

What they read is DER, ZIP and PDF, whose trees are not mutated as such: octets are, guided by coverage. A container is a finding unless it
is, octet for octet, the one that was written; a time-stamp, unless it states the time of a token that was issued for these octets.
"""

import hashlib
import io
from collections.abc import Iterable
from contextlib import suppress
from functools import cache

import fuzz_signing as signing
from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fuzz_signing import NOW, Forged
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import signers
from pyhanko_certvalidator.registry import SimpleCertificateStore
from tsa_server import Authority

from bus import asic, checkpoint, timestamps
from bus.evidence import Evidence
from bus.octets import whole
from bus.pdf import Anchors
from bus.pdf.verification import Unreadable, inspect
from sandbox import files

_FILES = {"request.xml": b"<a/>", "receipts/1.xml": b"<b/>", "note.txt": "Biên nhận".encode()}
_SUMMARY = checkpoint.Summary(
    7, NOW, "G14", "0" * 64, (checkpoint.Span("main", 1, 5, "a" * 64, "b" * 64), checkpoint.Span("w2", 3, 3, "c" * 64, "d" * 64))
)


def container(data: bytes) -> None:
    """Only what was written is read: no octet of a container is free."""
    found = asic.read(io.BytesIO(data), signing.trust)
    if {name: whole(body) for name, body in found.files.items()} != _FILES:
        raise Forged("files that nobody put into the container")


def containers() -> Iterable[bytes]:
    """A small container."""
    yield b"".join(bytes(chunk) for chunk in asic.write(dict(_FILES), signing.signer(), NOW))


def summary(data: bytes) -> None:
    """A checkpoint with its signature is the one that was sealed; without, whatever is read can be written."""
    with suppress(*signing.REFUSALS):
        checkpoint.write(checkpoint.parse(data))
    if _evidence().read_checkpoint(data) != _SUMMARY:
        raise Forged("a checkpoint that nobody sealed")


def summaries() -> Iterable[bytes]:
    """Signed and not."""
    yield checkpoint.write(_SUMMARY)
    yield _evidence().seal_checkpoint(_SUMMARY)


def _evidence() -> Evidence:
    return Evidence(signing.signer(), lambda certificate: certificate == signing.signer().certificate_der, lambda: NOW)


@cache
def _authority() -> Authority:
    return Authority(NOW)


def stamp(data: bytes) -> None:
    """An answer is read as one, and as a token; what is believed states the time that the authority stated."""
    with suppress(*signing.REFUSALS):
        timestamps.granted(data)
    if timestamps.verify(data, b"octets", _authority().anchors()).at != NOW:
        raise Forged("a time that the authority did not state")


def stamps() -> Iterable[bytes]:
    """A token."""
    yield _authority().token(hashlib.sha256(b"octets").digest(), NOW)


def pdf(data: bytes) -> None:
    """A PDF is inspected, or unreadable: whatever else pyHanko stumbles over, the bus's reader reports as that."""
    with suppress(Unreadable, RecursionError, MemoryError):
        inspect(data, Anchors(pinned=(signing.signer().certificate_der,)), NOW).as_json()


def pdfs() -> Iterable[bytes]:
    """A page, and the same signed."""
    plain = files.pdf(("Văn bản giả định",), 2_000, 1)
    yield plain
    certificate = asn1_x509.Certificate.load(signing.signer().certificate_der)
    key = signing._key().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    person = signers.SimpleSigner(certificate, asn1_keys.PrivateKeyInfo.load(key), SimpleCertificateStore())
    signed = signers.sign_pdf(IncrementalPdfFileWriter(io.BytesIO(plain)), signers.PdfSignatureMetadata(field_name="S"), signer=person)
    yield signed.getvalue()
