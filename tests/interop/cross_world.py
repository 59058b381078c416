"""What both sides of the matrix share: keys and certificates of one authority, made for the run, and the documents that are signed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from bus import pki
from bus.keys import Keyring
from bus.methods import PrivateKey

_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_ENC = "http://www.w3.org/2001/04/xmlenc#"
_DIGESTS = {
    "sha1": "http://www.w3.org/2000/09/xmldsig#sha1",
    "sha256": f"{_ENC}sha256",
    "sha384": f"{_MORE}sha384",
    "sha512": f"{_ENC}sha512",
}


@dataclass(frozen=True)
class Algorithm:
    """A SignatureMethod, the key it needs, and the digest that the foreign stacks use beside it."""

    name: str
    key: str
    uri: str
    hash: str

    @property
    def digest_uri(self) -> str:
        """The DigestMethod."""
        return _DIGESTS[self.hash]


#: In the words of routes.yaml. RSA-SHA1 stands for everything that nobody should use any more.
ALGORITHMS = (
    Algorithm("rsa-sha256", "rsa", f"{_MORE}rsa-sha256", "sha256"),
    Algorithm("rsa-sha384", "rsa", f"{_MORE}rsa-sha384", "sha384"),
    Algorithm("rsa-sha512", "rsa", f"{_MORE}rsa-sha512", "sha512"),
    Algorithm("rsa-pss-sha256", "rsa", "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1", "sha256"),
    Algorithm("ecdsa-sha256", "p256", f"{_MORE}ecdsa-sha256", "sha256"),
    Algorithm("ecdsa-sha384", "p384", f"{_MORE}ecdsa-sha384", "sha384"),
    Algorithm("ed25519", "ed25519", "http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519", "sha256"),
    Algorithm("rsa-sha1", "rsa", "http://www.w3.org/2000/09/xmldsig#rsa-sha1", "sha1"),
)
BY_NAME: Mapping[str, Algorithm] = {algorithm.name: algorithm for algorithm in ALGORITHMS}

_SIGNING = x509.KeyUsage(True, True, False, False, False, False, False, False, False)
#: What a changed octet of the content changes: one digit of this number.
AMOUNT = b"4500000"
#: Everything that canonical form has an opinion on: order, unused and default namespaces, CDATA, references, empty elements, line ends.
DOCUMENT = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<q:ToTrinh xmlns:q="urn:thu:to-trinh" xmlns:unused="urn:thu:khong-dung" so="12/TTr" '
    'loai=\'thường\'>\n  <NguoiNhan xmlns="urn:thu:nguoi-nhan" b="2" a="&lt;1&#xD;">Bộ Kế hoạch &amp; Đầu tư</NguoiNhan>'
    '<q:SoTien q:donVi="đồng">4500000</q:SoTien><q:Trong/><q:GhiChu xml:lang="vi"><![CDATA[a < b]]>\r\n</q:GhiChu>\n</q:ToTrinh>\n'
).encode()
#: The same with an Id on the element that a signature by Id covers, which stands at this place.
PLACE, PLACED, IDENTIFIER = "SoTien", "urn:thu:to-trinh:SoTien", "so-tien"
IDENTIFIED = DOCUMENT.replace(b"<q:SoTien ", f'<q:SoTien Id="{IDENTIFIER}" '.encode())
SOAP11 = "http://schemas.xmlsoap.org/soap/envelope/"
ENVELOPE = (
    f'<soapenv:Envelope xmlns:soapenv="{SOAP11}" xmlns:xsd="http://www.w3.org/2001/XMLSchema"><soapenv:Header></soapenv:Header>'
    '<soapenv:Body><q:Gui xmlns:q="urn:thu:gui"><q:SoTien kieu="xsd:int">4500000</q:SoTien><q:Trong/></q:Gui></soapenv:Body>'
    "</soapenv:Envelope>"
).encode()


@dataclass(frozen=True)
class Identity:
    """A key with its certificate, and the PEM files for programs that read files."""

    private: PrivateKey
    certificate: x509.Certificate
    key_file: Path
    certificate_file: Path

    @property
    def pkcs8(self) -> bytes:
        """The private key, DER."""
        return self.private.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    @property
    def der(self) -> bytes:
        """The certificate, DER."""
        return self.certificate.public_bytes(serialization.Encoding.DER)


@dataclass(frozen=True)
class World:
    """One identity for each kind of key, a keyring that trusts their authority and knows them by name, a directory for scratch files."""

    identities: Mapping[str, Identity]
    time_authority: Identity
    recipient: Identity
    authority: x509.Certificate
    authority_file: Path
    keyring: Keyring
    now: datetime
    scratch: Path


def made(directory: Path) -> World:
    """A new world in ``directory``. Its time is now: foreign stacks read the real clock."""
    now = datetime.now(UTC)
    trust = directory / "certs" / "trust" / "partner"
    authority = pki.create_authority(directory / "authority", "ca", "Thẩm quyền thử", "Cơ quan thử", now)
    keys: dict[str, PrivateKey] = {
        "rsa": rsa.generate_private_key(65537, 2048),
        "p256": ec.generate_private_key(ec.SECP256R1()),
        "p384": ec.generate_private_key(ec.SECP384R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
    }
    trust.mkdir(parents=True)
    identities = {kind: _identity(trust, kind, key, authority, now) for kind, key in keys.items()}
    stamping = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.TIME_STAMPING])
    time_authority = _identity(directory / "authority", "tsa", ec.generate_private_key(ec.SECP256R1()), authority, now, stamping)
    (trust / "ca.crt").write_bytes((directory / "authority" / "ca.crt").read_bytes())
    transport = x509.KeyUsage(False, False, True, False, False, False, False, False, False)
    recipient = _identity(directory / "authority", "recipient", rsa.generate_private_key(65537, 2048), authority, now, usage=transport)
    keyring = Keyring.load(directory / "certs", {"partner": "trust/partner"})
    scratch = directory / "scratch"
    scratch.mkdir()
    return World(identities, time_authority, recipient, authority.certificate, directory / "authority" / "ca.crt", keyring, now, scratch)


def _identity(
    directory: Path,
    name: str,
    key: PrivateKey,
    authority: pki.Authority,
    now: datetime,
    purpose: x509.ExtendedKeyUsage | None = None,
    usage: x509.KeyUsage = _SIGNING,
) -> Identity:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "VN"), x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Ký {name}")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(usage, critical=True)
    )
    certificate = (builder.add_extension(purpose, critical=True) if purpose else builder).sign(authority.key, hashes.SHA256())
    key_file, certificate_file = directory / f"{name}.pem.key", directory / f"{name}.crt"
    encoding, private_format = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key_file.write_bytes(key.private_bytes(encoding, private_format, serialization.NoEncryption()))
    certificate_file.write_bytes(certificate.public_bytes(encoding))
    return Identity(key, certificate, key_file, certificate_file)
