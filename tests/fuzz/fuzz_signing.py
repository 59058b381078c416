"""What the fuzzed verifiers trust, what was rightly signed for it, and oracles that share no code with them.

One P-256 key follows from a text and signs with nonces that follow from the data, so that a message found by one run verifies in every
other. It has signed the messages below and nothing else: whatever octets a verifier hands back must be among those (``SIGNED``), and
libxmlsec, asked afterwards, must accept the same message (``accepted_by_libxmlsec``).
"""

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache

import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from fuzz_mutations import DS
from lxml import etree

from bus import soap
from bus.errors import Deferred, Rejected
from bus.evidence import Evidence
from bus.receipt import Receipt, Status
from bus.signature import wss, xades, xmldsig
from bus.signature.profile import WSSE, WSU, X509_TOKEN
from bus.signer import Signer, SoftKey
from bus.soap import SOAP_11, SOAP_12

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
_BEGIN, _END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
_WSU_ID = f"{{{WSU}}}Id"
#: A document with what canonicalisation has to do something about.
DOCUMENT = (
    '<d:Document xmlns:d="urn:d" xmlns:unused="urn:u" b="2" a="1" d:c=\'"\'><d:Title>V/v báo cáo &lt;1&gt; &amp; "2"</d:Title>'
    '<Empty xmlns="urn:e"/> <d:Amount Id="amount">1000</d:Amount><!-- x --><d:Note>e\u0323\u0302 \u1ec7&#13;</d:Note></d:Document>'
).encode()
PAYLOAD = b'<x:SendDocument xmlns:x="urn:govbus:exchange:v1"><x:MessageId>1</x:MessageId><x:Content>QUJD</x:Content></x:SendDocument>'


#: The two kinds of answer that are no finding.
REFUSALS = (Rejected, Deferred)


class Forged(AssertionError):
    """A verifier accepted what it must not."""


def _key() -> ec.EllipticCurvePrivateKey:
    """Worth nothing: whoever reads this has it."""
    return ec.derive_private_key(int.from_bytes(hashlib.sha256(b"a key that everybody knows").digest()) >> 1, ec.SECP256R1())


@cache
def signer() -> Signer:
    """The one who signs here."""
    return Signer("fuzz", SoftKey(_key()), certified(_key()))


def certified(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> x509.Certificate:
    """A certificate of the key's own, which follows from the key."""
    name = x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "VN"), x509.NameAttribute(NameOID.COMMON_NAME, "fuzz")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
    builder = builder.not_valid_before(_BEGIN).not_valid_after(_END)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True if isinstance(key, ec.EllipticCurvePrivateKey) else None)


def trust(certificate: bytes, _at: datetime = NOW) -> str:
    """The partner, if it is the signer's certificate."""
    if certificate != signer().certificate_der:
        raise Rejected("certificate-unknown", subject="another")
    return "partner"


class Lying:
    """The one certificate, found by what tokens name it by."""

    def find(self, issuer: str, serial: int) -> tuple[bytes, ...]:
        """By issuer and serial number."""
        return (signer().certificate_der,) if (issuer, serial) == ("CN=fuzz,C=VN", 7) else ()

    def find_ski(self, identifier: bytes) -> tuple[bytes, ...]:
        """By subject key identifier."""
        return (signer().certificate_der,) if identifier == _ski() else ()


def _ski() -> bytes:
    return signer().certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


@cache
def messages() -> Mapping[str, tuple[bytes, ...]]:
    """Rightly signed messages by profile."""
    envelopes = [wss.sign(soap.envelope(version, PAYLOAD), signer(), NOW) for version in (SOAP_11, SOAP_12)]  # type: ignore[arg-type]
    written = wss.enclose(SOAP_11.namespace, PAYLOAD, signer(), NOW, headers=b'<t:To xmlns:t="urn:t">x</t:To>')
    evidence = Evidence(signer(), lambda certificate: certificate == signer().certificate_der, lambda: NOW)
    return {
        "xmldsig": (xmldsig.sign_enveloped(DOCUMENT, signer()),),
        "xades": (xades.sign(DOCUMENT, signer(), NOW),),
        "receipt": (evidence.seal(receipt()),),
        "wss": (*envelopes, bytes(written), *(_naming(envelopes[0], token) for token in _tokens())),  # type: ignore[arg-type]
    }


def receipt() -> Receipt:
    """A receipt with every field."""
    reasons = {"vi": "Đã nhận văn bản.", "en": "Accepted \r\n."}
    return Receipt("r1", "m1", "d1", "G14", "G18 G22", Status.ACCEPTED, "2.0.0", reasons, NOW, "0" * 64, "f" * 64)


def _tokens() -> tuple[str, ...]:
    """The other ways to name a certificate in a SecurityTokenReference, and none (X509Data in KeyInfo itself)."""
    known, ski = base64.b64encode(signer().certificate_der).decode(), base64.b64encode(_ski()).decode()
    data = '<d:X509Data xmlns:d="' + DS + '">{}</d:X509Data>'
    number = "<d:X509IssuerName>CN=fuzz,C=VN</d:X509IssuerName><d:X509SerialNumber>7</d:X509SerialNumber>"
    issued = f"<d:X509IssuerSerial>{number}</d:X509IssuerSerial>"
    reference = f'<w:SecurityTokenReference xmlns:w="{WSSE}">{{}}</w:SecurityTokenReference>'
    identifier = f'<w:KeyIdentifier ValueType="{X509_TOKEN}{{}}">{{}}</w:KeyIdentifier>'
    return (
        reference.format(identifier.format("X509SubjectKeyIdentifier", ski)),
        reference.format(identifier.format("X509v3", known)),
        reference.format(data.format(issued)),
        data.format(f"<d:X509Certificate>{known}</d:X509Certificate>"),
    )


def _naming(envelope: bytes, token: str) -> bytes:
    """The envelope with another KeyInfo, which no signature covers."""
    root = etree.fromstring(envelope)
    key_info = next(root.iter(f"{{{DS}}}KeyInfo"))
    key_info[:] = [etree.fromstring(token)]
    return etree.tostring(root)


@cache
def signed() -> frozenset[bytes]:
    """Every text that the key has signed as a whole document or as a Body, in canonical form, by lxml alone."""
    texts = set()
    for message in (message for profile in messages().values() for message in profile):
        root = etree.fromstring(message, etree.XMLParser(remove_comments=True))
        body = root.find(f"{{{etree.QName(root).namespace}}}Body")
        if body is None:
            body = root
            body.remove(body.find(f"{{{DS}}}Signature"))  # type: ignore[arg-type]
        texts.add(etree.tostring(body, method="c14n", exclusive=True, with_tail=False))
    return frozenset(texts)


def check_accepted(data: bytes, octets: bytes) -> None:
    """Raise Forged unless the key signed exactly these octets and libxmlsec accepts ``data`` too."""
    if octets not in signed():
        raise Forged(f"the verifier returned octets that nobody signed: {octets[:300]!r}")
    if not accepted_by_libxmlsec(data):
        raise Forged("libxmlsec does not accept what the verifier accepted")


def accepted_by_libxmlsec(data: bytes) -> bool:
    """Whether libxmlsec finds the first Signature good by the signer's key."""
    root = _stripped(data)
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(signer().certificate.public_bytes(Encoding.PEM), xmlsec.constants.KeyDataFormatCertPem)
    try:
        _register(context, root)
        context.verify(next(root.iter(f"{{{DS}}}Signature")))
    except (xmlsec.Error, TypeError, StopIteration):
        return False
    return True


def resigned(data: bytes) -> bytes | None:
    """``data`` as an insider sends it: every digest and SignatureValue made right for what it says now; None where libxmlsec cannot."""
    root = _stripped(data)
    uris = [reference.get("URI", "x:") for reference in root.iter(f"{{{DS}}}Reference")]
    signatures = list(root.iter(f"{{{DS}}}Signature"))
    if len(signatures) != 1 or any(uri and not uri.startswith("#") for uri in uris):
        return None
    context = xmlsec.SignatureContext()
    pem = _key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context.key = xmlsec.Key.from_memory(pem, xmlsec.constants.KeyDataFormatPem)
    key_info = signatures[0].find(f"{{{DS}}}KeyInfo")
    try:
        # libxmlsec would write a KeyInfo of its own.
        if key_info is not None:
            signatures[0].remove(key_info)
        _register(context, root)
        context.sign(signatures[0])
        if key_info is not None:
            signatures[0].insert(2, key_info)
    except (xmlsec.Error, TypeError):
        return None
    return etree.tostring(root)


def _stripped(data: bytes) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True, huge_tree=True)
    return etree.fromstring(data, parser)


def _register(context: xmlsec.SignatureContext, root: etree._Element) -> None:
    """The Ids that are referred to; libxmlsec refuses one that it is told of twice."""
    uris = {reference.get("URI", "")[1:] for reference in root.iter(f"{{{DS}}}Reference")}
    for element in root.iter(etree.Element):
        for name in (_WSU_ID, "Id", "{http://www.w3.org/XML/1998/namespace}id"):
            if element.get(name) in uris:
                written = etree.QName(name)
                context.register_id(element, written.localname, written.namespace)
