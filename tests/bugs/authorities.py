"""Authorities, leaves and revocation lists as tests of trust directories need them; fresh and fictitious."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
NAME = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "VN"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Cơ quan thử nghiệm"),
        x509.NameAttribute(NameOID.COMMON_NAME, "CA thử nghiệm"),
        x509.NameAttribute(NameOID.EMAIL_ADDRESS, "ca@vi-du.example"),
    ]
)


def named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


@dataclass
class Authority:
    """A root with its key. ``lists`` are signed by it whatever they say."""

    name: x509.Name = NAME
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        builder = _builder(self.name, self.name, self.key, 1).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = builder.sign(self.key, hashes.SHA256())

    def leaf(self, common_name: str = "Hệ thống") -> x509.Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        return _builder(named(common_name), self.name, key, x509.random_serial_number()).sign(self.key, hashes.SHA256())

    def crl(
        self,
        *revoked: x509.Certificate,
        begin: timedelta = -DAY,
        end: timedelta = 7 * DAY,
        reason: x509.ReasonFlags | None = None,
        extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    ) -> x509.CertificateRevocationList:
        """A list over ``revoked``; times as seen from NOW."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(NOW + begin).next_update(NOW + end)
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(NOW - timedelta(hours=1))
            entry = entry.add_extension(x509.CRLReason(reason), critical=False) if reason else entry
            builder = builder.add_revoked_certificate(entry.build())
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, hashes.SHA256())

    def private(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def pem(*things: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    return b"".join(thing.public_bytes(Encoding.PEM) for thing in things)


def der(*things: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    return b"".join(thing.public_bytes(Encoding.DER) for thing in things)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, serial: int) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key()).serial_number(serial)
    return builder.not_valid_before(NOW - 30 * DAY).not_valid_after(NOW + 300 * DAY)
