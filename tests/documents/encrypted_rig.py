"""Keys for encryption, envelopes in every form that an attacker may choose, and the xmlsec1 program."""

import base64
import os
import re
import subprocess
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from soap_rig import MINISTRY, OTHER, UNIT, Rig, document, now

from adapters.soap import payloads
from bus import pki
from bus.signature.encryption import XENC, XENC11
from bus.signature.profile import DS, SHA256

#: The bus that is called takes encrypted requests only; ``either`` takes both.
CALLED = f"""\
site: {{organisation: {MINISTRY}, name: Bộ Thông tin và Truyền thông}}
partners:
  unit: {{codes: [{UNIT}], trust: trust/unit}}
  other: {{codes: [{OTHER}, G18], trust: trust/other}}
endpoints:
  documents: {{soap: {{path: /soap/documents, security: {{verify: wss-x509, sign: own/bus, decrypt: [own/sealed, own/older]}}}}}}
  either: {{soap: {{path: /soap/either, security: {{verify: wss-x509, sign: own/bus, decrypt: own/sealed, encryption: optional}}}}}}
routes:
  - {{name: documents, from: documents, to: [{{documents: To/OrganId}}], receipts: documents}}
  - {{name: either, from: either, to: [{{documents: To/OrganId}}], receipts: documents}}
"""


def add_encryption_keys(certs: Path) -> None:
    """``own/sealed`` and ``own/older``, for encryption alone, and their certificates as a partner of ours holds them."""
    authority = pki.read_authority(certs / "development")
    for name in ("sealed", "older"):
        key = rsa.generate_private_key(65537, 2048)
        certificate = encryption_certificate(authority, key, name)
        pki._write_key(certs / "own" / f"{name}.key", key)
        pki._write_certificates(certs / "own" / f"{name}.crt", certificate)
        pki._write_certificates(certs / "trust" / "other" / f"{name}.crt", certificate)


def encryption_certificate(authority: pki.Authority, key: rsa.RSAPrivateKey, name: str, *, for_keys: bool = True, ended: bool = False):
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"), False
    )
    usage |= {"key_encipherment": for_keys, "digital_signature": not for_keys, "encipher_only": False, "decipher_only": False}
    return (
        x509.CertificateBuilder()
        .subject_name(pki._name(name, "Bộ"))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - timedelta(days=2))
        .not_valid_after(now() + timedelta(days=-1 if ended else 30))
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .sign(authority.key, hashes.SHA256())
    )


OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


def request(rig: Rig, message_id: str = "m-1", body: bytes | None = None) -> bytes:
    """A signed SendDocument request, not encrypted yet."""
    return rig.signed(payloads.send_content(message_id, body or document()))


class Sealer:
    """An attacker's, or another stack's, way to encrypt: by cryptography alone, each part to be replaced."""

    def __init__(self, certificate: Path) -> None:
        self.public = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
        self.secret = os.urandom(32)
        self.content = f"{XENC11}aes256-gcm"
        self.transport = f"{XENC11}rsa-oaep"
        self.digest = f'<ds:DigestMethod Algorithm="{SHA256}"/>'
        self.mask = f'<x11:MGF xmlns:x11="{XENC11}" Algorithm="{XENC11}mgf1sha256"/>'
        self.padding: padding.AsymmetricPadding = OAEP
        self.type = f"{XENC}Content"

    def wrapped(self) -> str:
        return base64.b64encode(self.public.encrypt(self.secret, self.padding)).decode()

    def cipher(self, plain: bytes) -> str:
        vector = os.urandom(12)
        return base64.b64encode(vector + AESGCM(self.secret).encrypt(vector, plain, None)).decode()

    def key(self, wrapped: str | None = None, data: str = "ED-1") -> str:
        return (
            f'<xenc:EncryptedKey xmlns:xenc="{XENC}" xmlns:ds="{DS}" Id="EK-1"><xenc:EncryptionMethod Algorithm="{self.transport}">'
            f"{self.digest}{self.mask}</xenc:EncryptionMethod>"
            f"<xenc:CipherData><xenc:CipherValue>{wrapped or self.wrapped()}</xenc:CipherValue>"
            f'</xenc:CipherData><xenc:ReferenceList><xenc:DataReference URI="#{data}"/></xenc:ReferenceList></xenc:EncryptedKey>'
        )

    def data(self, plain: bytes, info: str = "", cipher: str | None = None) -> str:
        return (
            f'<xenc:EncryptedData xmlns:xenc="{XENC}" Id="ED-1" Type="{self.type}">'
            f'<xenc:EncryptionMethod Algorithm="{self.content}"/>{info}'
            f"<xenc:CipherData><xenc:CipherValue>{cipher or self.cipher(plain)}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData>"
        )

    def envelope(self, signed: bytes) -> bytes:
        """The signed envelope with its Body's content encrypted and the key in the Security header."""
        plain = content(signed)
        return put(signed, self.data(plain), self.key())


_BODY = re.compile(rb"(<soap:Body[^>]*>)(.*)(</soap:Body>)", re.DOTALL)


def content(envelope: bytes) -> bytes:
    """What stands in the Body."""
    found = _BODY.search(envelope)
    assert found
    return found[2]


def put(envelope: bytes, body: str, header: str = "") -> bytes:
    """The envelope with another Body content, and more at the beginning of its Security header."""
    swapped = _BODY.sub(lambda found: found[1] + body.encode() + found[3], envelope)
    at = swapped.index(b">", swapped.index(b"<wsse:Security")) + 1
    return swapped[:at] + header.encode() + swapped[at:]


#: What xmlsec1 encrypts by: the Body's content, for the key called "key".
TEMPLATE = f"""<xenc:EncryptedData xmlns:xenc="{XENC}" xmlns:ds="{DS}" Type="{XENC}Content">
<xenc:EncryptionMethod Algorithm="{XENC11}aes256-gcm"/><ds:KeyInfo><xenc:EncryptedKey>
<xenc:EncryptionMethod Algorithm="{XENC}rsa-oaep-mgf1p"></xenc:EncryptionMethod>
<ds:KeyInfo><ds:KeyName>key</ds:KeyName></ds:KeyInfo><xenc:CipherData><xenc:CipherValue/></xenc:CipherData></xenc:EncryptedKey>
</ds:KeyInfo><xenc:CipherData><xenc:CipherValue/></xenc:CipherData></xenc:EncryptedData>"""


def encrypted_by_xmlsec1(program: str, envelope: bytes, certificate: Path, directory: Path) -> bytes:
    """The envelope with its Body's content encrypted by xmlsec1, in place."""
    (directory / "template.xml").write_text(TEMPLATE)
    (directory / "clear.xml").write_bytes(envelope)
    public = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (directory / "public.pem").write_bytes(public.public_bytes(serialization.Encoding.PEM, form))
    where = ["--xml-data", directory / "clear.xml", "--node-xpath", "/*/*[local-name()='Body']"]
    keys = ["--pubkey-pem:key", directory / "public.pem", "--session-key", "aes-256"]
    return _run(program, "--encrypt", *keys, *where, directory / "template.xml")


def decrypted_by_xmlsec1(program: str, envelope: bytes, key: Path, directory: Path) -> bytes:
    """The envelope as xmlsec1 decrypts it. It finds a key with the data only, so there the key is moved: what was sent stays the same."""
    moved = envelope
    found = re.search(rb"<xenc:EncryptedKey.*?</xenc:EncryptedKey>", envelope, re.DOTALL)
    assert found
    named = re.sub(
        rb"<wsse:SecurityTokenReference.*?</wsse:SecurityTokenReference>", b"<ds:KeyName>key</ds:KeyName>", found[0], flags=re.DOTALL
    )
    moved = moved.replace(found[0], b"")
    reference = re.search(rb"(<xenc:EncryptedData.*?<ds:KeyInfo>)(.*?)(</ds:KeyInfo>)", moved, re.DOTALL)
    assert reference
    moved = moved.replace(reference[0], reference[1] + named + reference[3])
    (directory / "sealed.xml").write_bytes(moved)
    return _run(program, "--decrypt", "--privkey-pem:key", key, directory / "sealed.xml")


def _run(program: str, *arguments: object) -> bytes:
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
