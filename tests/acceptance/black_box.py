"""A partner that shares no code with the bus: it makes its own certificates, signs with bare primitives over lxml's C14N, and talks TLS."""

import base64
import hashlib
import http.client
import json
import os
import secrets
import sqlite3
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID
from helping import become
from lxml import etree

SOAP = {"1.1": "http://schemas.xmlsoap.org/soap/envelope/", "1.2": "http://www.w3.org/2003/05/soap-envelope"}
MEDIA = {"1.1": "text/xml; charset=utf-8", "1.2": "application/soap+xml; charset=utf-8"}
X, R, F = "urn:govbus:exchange:v1", "urn:govbus:receipt:v1", "urn:govbus:fault:v1"
DS = "http://www.w3.org/2000/09/xmldsig#"
C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
WSU = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
TOKENS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0"
USERNAMES = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0"
BASE64 = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


# --- certificates -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Identity:
    """A private key with its certificate."""

    key: PrivateKey
    certificate: x509.Certificate

    @classmethod
    def read(cls, directory: Path, name: str = "system") -> "Identity":
        key = serialization.load_pem_private_key((directory / f"{name}.key").read_bytes(), None)
        assert isinstance(key, PrivateKey)
        return cls(key, x509.load_pem_x509_certificate((directory / f"{name}.crt").read_bytes()))

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def identity(
    name: str,
    issuer: Identity | None = None,
    *,
    days: tuple[int, int] = (-1, 30),
    key: PrivateKey | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Identity:
    """A fresh identity, certified by ``issuer`` or by itself, valid between two days counted from now; P-256 unless a key is given."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "VN"), x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return Identity(key, builder.sign(issuer.key if issuer else key, hashes.SHA256()))


def authority(name: str) -> Identity:
    """A certificate authority with as little in it as ``openssl req -x509`` puts there."""
    return identity(name, days=(-40, 400), extensions=[(x509.BasicConstraints(ca=True, path_length=None), True)])


def revocation_list(issuer: Identity, *serials: int) -> bytes:
    """The authority's CRL (PEM)."""
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(now - timedelta(days=1)).next_update(now + timedelta(days=7))
    for serial in serials:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - timedelta(hours=1)).build()
        builder = builder.add_revoked_certificate(revoked)
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


# --- envelopes and signatures -----------------------------------------------------------------------------------------


def envelope(payload: str | bytes, version: str = "1.1", header: str = "") -> bytes:
    """An unsigned envelope; its Body carries a wsu:Id for whoever signs it."""
    inside = payload if isinstance(payload, str) else payload.decode()
    return (
        f'<e:Envelope xmlns:e="{SOAP[version]}" xmlns:u="{WSU}"><e:Header>{header}</e:Header>'
        f'<e:Body u:Id="the-body">{inside}</e:Body></e:Envelope>'
    ).encode()


def stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Style:
    """How a message is signed: the reference to the certificate, the digest, the age of the timestamp, and what is covered."""

    reference: str = "direct"
    digest: str = "sha256"
    age: timedelta = timedelta()
    covers: tuple[str, ...] = ("the-body", "the-stamp")


_DIGESTS = {"sha256": "http://www.w3.org/2001/04/xmlenc#sha256", "sha1": f"{DS}sha1"}
_METHODS = {
    ("rsa", "sha256"): "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
    ("rsa", "sha1"): f"{DS}rsa-sha1",
    ("ec", "sha256"): "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
}
_HASHES: dict[str, hashes.HashAlgorithm] = {"sha256": hashes.SHA256(), "sha1": hashes.SHA1()}


def sign(data: bytes, who: Identity, style: Style = Style()) -> bytes:
    """The envelope with a Security header: Timestamp, token, and a Signature over Body and Timestamp."""
    root = etree.fromstring(data)
    now = datetime.now(UTC) - style.age
    security = etree.SubElement(root[0], f"{{{WSSE}}}Security", nsmap={"wsse": WSSE, "wsu": WSU})
    security.set(f"{{{root.tag[1:].partition('}')[0]}}}mustUnderstand", "1")
    stamped = etree.SubElement(security, f"{{{WSU}}}Timestamp", {f"{{{WSU}}}Id": "the-stamp"})
    etree.SubElement(stamped, f"{{{WSU}}}Created").text = stamp(now)
    etree.SubElement(stamped, f"{{{WSU}}}Expires").text = stamp(now + timedelta(minutes=5))
    token = (
        f'<wsse:BinarySecurityToken xmlns:wsse="{WSSE}" xmlns:wsu="{WSU}" EncodingType="{BASE64}" ValueType="{TOKENS}#X509v3" '
        f'wsu:Id="the-token">{base64.b64encode(who.der).decode()}</wsse:BinarySecurityToken>'
    )
    if style.reference == "direct":
        security.append(etree.fromstring(token))
    security.append(_signature(root, who, style))
    return etree.tostring(root)


def _signature(root: etree._Element, who: Identity, style: Style) -> etree._Element:
    family = "rsa" if isinstance(who.key, rsa.RSAPrivateKey) else "ec"
    transforms = f'<Transforms><Transform Algorithm="{C14N}"/></Transforms><DigestMethod Algorithm="{_DIGESTS[style.digest]}"/>'
    references = "".join(
        f'<Reference URI="#{name}">{transforms}<DigestValue>{_digest(root, name, style.digest)}</DigestValue></Reference>'
        for name in style.covers
    )
    signature = etree.fromstring(
        f'<Signature xmlns="{DS}"><SignedInfo><CanonicalizationMethod Algorithm="{C14N}"/>'
        f'<SignatureMethod Algorithm="{_METHODS[family, style.digest]}"/>{references}</SignedInfo>'
        f'<SignatureValue/><KeyInfo><wsse:SecurityTokenReference xmlns:wsse="{WSSE}">{_token(who, style.reference)}'
        "</wsse:SecurityTokenReference></KeyInfo></Signature>"
    )
    signature[1].text = base64.b64encode(_raw_signature(who.key, canonical(signature[0]), _HASHES[style.digest])).decode()
    return signature


def _digest(root: etree._Element, name: str, algorithm: str) -> str:
    (element,) = root.xpath("//*[@u:Id=$name]", namespaces={"u": WSU}, name=name)
    return base64.b64encode(hashlib.new(algorithm, canonical(element)).digest()).decode()


def _raw_signature(key: PrivateKey, octets: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(octets, padding.PKCS1v15(), algorithm)
    r, s = decode_dss_signature(key.sign(octets, ec.ECDSA(algorithm)))
    size = (key.key_size + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def _token(who: Identity, reference: str) -> str:
    if reference == "direct":
        return f'<wsse:Reference URI="#the-token" ValueType="{TOKENS}#X509v3"/>'
    if reference == "issuer-serial":
        name = who.certificate.issuer.rfc4514_string()
        serial = who.certificate.serial_number
        return (
            f'<X509Data xmlns="{DS}"><X509IssuerSerial><X509IssuerName>{name}</X509IssuerName>'
            f"<X509SerialNumber>{serial}</X509SerialNumber></X509IssuerSerial></X509Data>"
        )
    identifier = x509.SubjectKeyIdentifier.from_public_key(who.key.public_key()).digest
    encoded = base64.b64encode(identifier).decode()
    return f'<wsse:KeyIdentifier EncodingType="{BASE64}" ValueType="{TOKENS}#X509SubjectKeyIdentifier">{encoded}</wsse:KeyIdentifier>'


def canonical(element: etree._Element) -> bytes:
    return etree.tostring(element, method="c14n", exclusive=True, with_comments=False, with_tail=False)


def username_token(user: str, password: str, nonce: bytes, *, age: timedelta = timedelta(), digest: bool = True) -> str:
    """A Security header with a UsernameToken."""
    created = stamp(datetime.now(UTC) - age)
    hashed = base64.b64encode(hashlib.sha1(nonce + created.encode() + password.encode()).digest()).decode()
    kind, shown = ("PasswordDigest", hashed) if digest else ("PasswordText", password)
    return (
        f'<wsse:Security xmlns:wsse="{WSSE}" xmlns:u="{WSU}"><wsse:UsernameToken><wsse:Username>{user}</wsse:Username>'
        f'<wsse:Password Type="{USERNAMES}#{kind}">{shown}</wsse:Password><wsse:Nonce EncodingType="{BASE64}">'
        f"{base64.b64encode(nonce).decode()}</wsse:Nonce><u:Created>{created}</u:Created></wsse:UsernameToken></wsse:Security>"
    )


# --- payloads ---------------------------------------------------------------------------------------------------------


def operation(name: str, **parameters: object) -> str:
    inside = "".join(f"<{key}>{value}</{key}>" for key, value in parameters.items() if value is not None)
    return f'<{name} xmlns="{X}">{inside}</{name}>'


def send_content(body: bytes, message_id: str | None = None) -> str:
    return operation("SendDocument", MessageId=message_id, Content=base64.b64encode(body).decode())


def send_inline(body: bytes, message_id: str | None = None) -> str:
    return operation("SendDocument", MessageId=message_id, Document=etree.tostring(etree.fromstring(body)).decode())


# --- the wire ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """A fault as a client sees it, whichever version."""

    soap_code: str
    code: str
    reasons: dict[str, str]
    reference: str
    at: str


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def root(self) -> etree._Element:
        return etree.fromstring(self.body)

    @property
    def payload(self) -> etree._Element:
        body = self.root.find("{*}Body")
        assert body is not None
        return body[0]

    @property
    def receipts(self) -> list[etree._Element]:
        return list(self.payload.iter(f"{{{R}}}Receipt"))

    def texts(self, name: str) -> list[str]:
        return [element.text or "" for element in self.payload.iter(f"{{*}}{name}")]

    @property
    def fault(self) -> Fault:
        payload = self.payload
        assert etree.QName(payload).localname == "Fault", self.body[:2000]
        (detail,) = payload.iter(f"{{{F}}}Fault")
        soap_code = payload.findtext("faultcode") or payload.findtext("{*}Code/{*}Value") or ""
        reasons = {element.get(LANG, ""): element.text or "" for element in detail.findall(f"{{{F}}}Reason")}
        code, reference, at = (detail.findtext(f"{{{F}}}{name}") or "" for name in ("Code", "Reference", "At"))
        return Fault(soap_code.rpartition(":")[2], code, reasons, reference, at)


@dataclass
class Bus:
    """The running daemon, seen from outside; the site directory is read only where a test is about what was stored."""

    url: str
    site: Path
    identities: dict[str, Identity] = field(default_factory=dict)

    def post(self, path: str, body: bytes, content_type: str = MEDIA["1.1"], *, certificate: Path | None = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", path, body, {"Content-Type": content_type, **named}, certificate)

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None, certificate: Path | None = None
    ) -> Answer:
        address = urlsplit(self.url)
        context = ssl.create_default_context(cafile=str(self.site / "certs" / "own" / "ca.crt"))
        if certificate:
            context.load_cert_chain(certificate.with_suffix(".crt"), certificate.with_suffix(".key"))
        channel = http.client.HTTPSConnection(address.hostname or "", address.port, context=context, timeout=30)
        try:
            channel.request(method, path, body, headers or {})
            response = channel.getresponse()
            return Answer(response.status, {name.title(): value for name, value in response.headers.items()}, response.read())
        finally:
            channel.close()

    def call(self, payload: str, who: str | Identity = "telecom-authority", path: str = "/soap/documents", version: str = "1.1") -> Answer:
        """One signed call, by a partner's development key or by an identity of one's own."""
        signer = who if isinstance(who, Identity) else self.identity(who)
        return self.post(path, sign(envelope(payload, version), signer), MEDIA[version])

    def identity(self, partner: str) -> Identity:
        """The partner's development key."""
        if partner not in self.identities:
            self.identities[partner] = Identity.read(self.site / "certs" / "development" / partner)
        return self.identities[partner]

    # --- what is on disk ---

    @contextmanager
    def store(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.site / "data" / "bus.db")
        try:
            yield connection
        finally:
            connection.close()

    def counts(self) -> dict[str, int]:
        """Rows that a refusal must not add, and refusals."""
        with self.store() as connection:
            rows = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("messages", "blobs")}
            rows["receipts"] = connection.execute("SELECT count(*) FROM receipts WHERE status = 'ACCEPTED'").fetchone()[0]
            rows["refused"] = connection.execute("SELECT count(*) FROM journal WHERE event = 'refused'").fetchone()[0]
        return rows

    def journal_of(self, reference: str) -> str:
        with self.store() as connection:
            rows = connection.execute("SELECT detail FROM journal WHERE event = 'refused' AND message_id = ?", (reference,)).fetchall()
        assert rows
        return str(rows[0][0])


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def govbus(*arguments: object, **environment: str) -> Done:
    """One command, as an operator types it: in a process of its own, forked so that it need not import everything anew."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if not pid:
            become(
                ["govbus", *map(str, arguments)], {"GOVBUS_LANG": "en", "GOVBUS_STORE": "", **environment}, out.fileno(), err.fileno(), 60
            )
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out.seek(0)
        err.seek(0)
        return Done(code, out.read().decode(), err.read().decode())


def govbus_json(*arguments: object) -> object:
    done = govbus(*arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def fresh_id(prefix: str = "acceptance") -> str:
    return f"{prefix}-{secrets.token_hex(8)}"
