"""PDFs as officials' software makes and signs them, by pyHanko's own writer with keys that are made when the tests run."""

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.generic import pdf_name
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import signers
from pyhanko.sign.fields import SigFieldSpec, SigSeedSubFilter
from pyhanko.sign.timestamps import DummyTimeStamper
from pyhanko_certvalidator.registry import SimpleCertificateStore

from bus import pki
from bus.pdf import Anchors
from sandbox import files

NOW = datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class People:
    """An authority and those it certified: two officials, and a time-stamping authority."""

    home: Path
    authority: pki.Authority
    rsa: signers.SimpleSigner
    ec: signers.SimpleSigner
    stamper: DummyTimeStamper

    @property
    def anchors(self) -> Anchors:
        return Anchors(authorities=(self.authority.certificate.public_bytes(Encoding.DER),))

    def certificate(self, name: str) -> x509.Certificate:
        return x509.load_pem_x509_certificates((self.home / f"{name}.crt").read_bytes())[0]

    def revoked(self, name: str, at: datetime = NOW, life: timedelta = timedelta(days=1)) -> bytes:
        """The authority's revocation list (DER) that names this person."""
        path = self.home / "people.crl"
        pki.revoke(path, self.authority, [self.certificate(name).serial_number], at, life)
        return x509.load_pem_x509_crl(path.read_bytes()).public_bytes(Encoding.DER)


def people(home: Path, name: str = "Ban Cơ yếu (giả định)", made: datetime = NOW) -> People:
    authority = pki.create_authority(home, "ca", name, name, made)
    signing = [_signer(home, authority, person, key, made) for person, key in (("chanh-van-phong", "rsa-2048"), ("van-thu", "ec-p256"))]
    return People(home, authority, *signing, _stamper(authority, made))


def _signer(home: Path, authority: pki.Authority, name: str, key: str, made: datetime) -> signers.SimpleSigner:
    pki.issue(home, name, authority, common_name=name, organisation="Cục Viễn thông (giả định)", now=made, key_type=key)
    private = load_pem_private_key((home / f"{name}.key").read_bytes(), None)
    leaf, *_ = x509.load_pem_x509_certificates((home / f"{name}.crt").read_bytes())
    return signers.SimpleSigner(_certificate(leaf), _key(private), _store(authority))


def _stamper(authority: pki.Authority, made: datetime) -> DummyTimeStamper:
    key = rsa.generate_private_key(65537, 2048)
    builder = (
        x509.CertificateBuilder()
        .subject_name(pki._name("TSA", "TSA"))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(made - timedelta(days=1))
        .not_valid_after(made + timedelta(days=3650))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
    )
    return DummyTimeStamper(_certificate(builder.sign(authority.key, hashes.SHA256())), _key(key), _store(authority))


def _certificate(certificate: x509.Certificate) -> asn1_x509.Certificate:
    return asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))


def _key(private) -> asn1_keys.PrivateKeyInfo:
    return asn1_keys.PrivateKeyInfo.load(private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def _store(authority: pki.Authority) -> SimpleCertificateStore:
    store = SimpleCertificateStore()
    store.register(_certificate(authority.certificate))
    return store


def unsigned(size: int = 20_000, lines: Sequence[str] = ("Văn bản giả định",)) -> bytes:
    return files.pdf(lines, size, 1)


def sign(
    data: bytes,
    signer: signers.SimpleSigner,
    field: str = "Chữ ký",
    *,
    stamper: DummyTimeStamper | None = None,
    pades: bool = True,
    password: str | None = None,
    forced: bool = False,
    **more: Any,
) -> bytes:
    """``data`` with one signature more, as an incremental update; ``forced``: even if the signatures there do not permit it."""
    subfilter = SigSeedSubFilter.PADES if pades else SigSeedSubFilter.ADOBE_PKCS7_DETACHED
    settings = signers.PdfSignatureMetadata(field_name=field, md_algorithm="sha256", subfilter=subfilter, **more)
    writer = IncrementalPdfFileWriter(io.BytesIO(data), strict=False)
    if password is not None:
        writer.encrypt(password)
    if forced:
        del writer.root["/Perms"]
    made = signers.PdfSigner(settings, signer, timestamper=stamper, new_field_spec=SigFieldSpec(field))
    return _elsewhere(lambda: made.sign_pdf(writer).getvalue())


def _elsewhere(work: Callable[[], bytes]) -> bytes:
    """In a thread: it runs an event loop of its own, and a test may have one already."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(work).result()


def stamped_alone(data: bytes, stamper: DummyTimeStamper) -> bytes:
    """``data`` with a document time-stamp."""
    writer = IncrementalPdfFileWriter(io.BytesIO(data), strict=False)
    made = signers.PdfTimeStamper(stamper, field_name="Dấu thời gian")
    return _elsewhere(lambda: made.timestamp_pdf(writer, "sha256").getvalue())


def updated(data: bytes) -> bytes:
    """``data`` with an incremental update that changes what it says, as an editor makes it."""
    writer = IncrementalPdfFileWriter(io.BytesIO(data), strict=False)
    page = writer.root["/Pages"]["/Kids"][0].get_object()
    page[pdf_name("/Contents")] = writer.add_object(generic.StreamObject(stream_data=b"BT /F1 40 Tf 60 700 Td (KHAC) Tj ET"))
    writer.update_container(page)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def encrypted(data: bytes, user: str, owner: str = "chủ") -> bytes:
    from pyhanko.pdf_utils.reader import PdfFileReader
    from pyhanko.pdf_utils.writer import copy_into_new_writer

    writer = copy_into_new_writer(PdfFileReader(io.BytesIO(data), strict=False))
    writer.encrypt(owner_pass=owner, user_pass=user)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()
