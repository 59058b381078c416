"""A development PKI: authorities, certificates, revocation lists, written as the files that ``keys.py`` reads.

For demos, tests and integrators only: a real site puts the certificates of its own authority into the same places.
``development`` writes a whole ``certs/`` directory and, under ``certs/development/<partner>/``, that partner's own keys, so that a
demo or a test can act as the partner. Private keys are PKCS#8 PEM without a password, readable by their owner only (0600).

Standards: RFC 5280 sections 4.2 (extensions) and 5 (CRL).
"""

import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bus import keyfiles
from bus.methods import PrivateKey

#: Names of key types, for options and error messages.
KEY_TYPES = ("rsa-2048", "rsa-3072", "ec-p256", "ec-p384", "ed25519")
_AUTHORITY_LIFE = timedelta(days=3650)
_LIFE = timedelta(days=730)
#: Certificates begin a little in the past: partners' clocks are not ours.
_BACKDATED = timedelta(days=1)
_CRL_LIFE = timedelta(days=30)
_LOCAL = ("localhost", "127.0.0.1")
#: How the names of the authorities begin that are made here: by it they are known again.
_MARK = "Development CA of "


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority with its private key."""

    certificate: x509.Certificate
    key: PrivateKey


def development(
    certs: Path,
    *,
    organisation_name: str,
    partners: Mapping[str, str],
    now: datetime,
    hosts: Sequence[str] = _LOCAL,
    key_type: str = "rsa-2048",
) -> None:
    """Write ``own/``, ``trust/<partner>/ca.crt`` and ``development/…`` for a site; ``partners``: partner name to organisation name."""
    authority = create_authority(certs / "development", "ca", f"{_MARK}{organisation_name}", organisation_name, now)
    _write_certificates(certs / "own" / "ca.crt", authority.certificate)
    _identity(certs / "own", "bus", authority, organisation_name, now, hosts, key_type)
    for partner, name in partners.items():
        home = certs / "development" / partner
        partner_authority = create_authority(home, "ca", f"{_MARK}{name}", name, now)
        _write_certificates(certs / "trust" / partner / "ca.crt", partner_authority.certificate)
        _identity(home, "system", partner_authority, name, now, hosts, key_type)


def in_use(certs: Path) -> list[str]:
    """Names, below ``certs``, of our keys and of partners' directories that rest on an authority which ``development`` made; sorted."""
    found = {f"own/{path.stem}" for path in (certs / "own").glob("*.key") if _of_development(path.with_suffix(".crt"))}
    places = (path for path in (certs / "trust").glob("*") if path.is_dir())
    found |= {f"trust/{place.name}" for place in places if any(_of_development(path) for path in place.iterdir() if path.is_file())}
    return sorted(found)


def _of_development(path: Path) -> bool:
    """Whether a certificate in this file was made here: by its issuer's name."""
    issuers = (one.issuer for one in keyfiles.certificates(path, []))
    return any(str(name.value).startswith(_MARK) for issuer in issuers for name in issuer.get_attributes_for_oid(NameOID.COMMON_NAME))


def create_authority(directory: Path, name: str, common_name: str, organisation: str, now: datetime) -> Authority:
    """A new self-signed authority, written as ``<name>.key`` and ``<name>.crt``.

    Its key is P-256, whatever the leaves use: it is made in microseconds, and verified by everything that verifies RSA today.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(common_name, organisation)
    builder = (
        _builder(subject, subject, key, now, now + _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
    )
    certificate = builder.sign(key, hashes.SHA256())
    _write_key(directory / f"{name}.key", key)
    _write_certificates(directory / f"{name}.crt", certificate)
    return Authority(certificate, key)


def read_authority(directory: Path, name: str = "ca") -> Authority:
    """The authority that ``create_authority`` wrote."""
    key = serialization.load_pem_private_key((directory / f"{name}.key").read_bytes(), None)
    if not isinstance(key, PrivateKey):
        raise TypeError(f"{directory / name}.key is neither RSA, EC nor Ed25519")
    return Authority(x509.load_pem_x509_certificate((directory / f"{name}.crt").read_bytes()), key)


def issue(
    directory: Path,
    name: str,
    authority: Authority,
    *,
    common_name: str,
    organisation: str,
    now: datetime,
    hosts: Sequence[str] = (),
    key_type: str = "rsa-2048",
    life: timedelta = _LIFE,
) -> x509.Certificate:
    """A new key pair and its certificate, as ``<name>.key`` and ``<name>.crt`` (leaf, then the authority's).

    With ``hosts`` the certificate is for TLS, both sides; without, for signing.
    """
    key = new_key(key_type)
    builder = (
        _builder(_name(common_name, organisation), authority.certificate.subject, key, now, now + life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
    certificate = builder.sign(authority.key, hashes.SHA256())
    _write_key(directory / f"{name}.key", key)
    _write_certificates(directory / f"{name}.crt", certificate, authority.certificate)
    return certificate


def revoke(path: Path, authority: Authority, serials: Sequence[int], now: datetime, life: timedelta = _CRL_LIFE) -> None:
    """Write to ``path`` the authority's revocation list (PEM) naming ``serials``; it must be renewed before ``now + life``."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.certificate.subject).last_update(now).next_update(now + life)
    for serial in serials:
        builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build())
    builder = builder.add_extension(x509.CRLNumber(int(now.timestamp())), critical=False).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def new_key(key_type: str) -> PrivateKey:
    """A fresh private key of one of ``KEY_TYPES``."""
    family, _, size = key_type.partition("-")
    if key_type not in KEY_TYPES:
        raise ValueError(f"unknown key type {key_type!r} (known: {', '.join(KEY_TYPES)})")
    if family == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=int(size))
    if family == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1() if size == "p256" else ec.SECP384R1())


def _identity(
    directory: Path, name: str, authority: Authority, organisation: str, now: datetime, hosts: Sequence[str], key_type: str
) -> None:
    """A signing pair called ``name`` and a TLS pair; the TLS key is P-256, whose handshakes cost a third less than RSA's."""
    issue(directory, name, authority, common_name=f"{name} - {organisation}", organisation=organisation, now=now, key_type=key_type)
    tls_name = f"TLS - {organisation}"
    issue(directory, "tls", authority, common_name=tls_name, organisation=organisation, now=now, hosts=hosts, key_type="ec-p256")


def _builder(subject: x509.Name, issuer: x509.Name, key: PrivateKey, now: datetime, end: datetime) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, end) - _BACKDATED)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=not authority,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str, organisation: str) -> x509.Name:
    # RFC 5280 appendix A: at most 64 characters for either, which long Vietnamese names exceed.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "VN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64]),
        ]
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_key(path: Path, key: PrivateKey) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    # Created with its final mode: there is no moment at which another user could read it.
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text)


def _write_certificates(path: Path, *certificates: x509.Certificate) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates))
