"""Signing and verifying beside signxml and python-xmlsec: one enveloped XML signature, RSA-SHA256 and exclusive C14N, octets to octets.

Each stack is used the best way it knows: its key is loaded once, and what comes in and goes out are octets, as on a wire, so a stack
that works on trees parses before and serialises after. Verifying ends with the octets (signxml, libxmlsec: the tree) that were signed.
libxmlsec is told the signer's key; signxml and the bus are told the certificate that they are to find in the message. All three take
turns, a batch each, in CPU time, so that all see the same machine. A ratio above 1 says that the bus is faster.

``receipt_ms`` is what ``Evidence.seal`` costs: a receipt written, signed XAdES-B-B.
"""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml import CanonicalizationMethod, XMLSigner, XMLVerifier
from signxml.verifier import SignatureConfiguration

from bus.evidence import Evidence
from bus.hollow import Hollow
from bus.octets import SMALL, chunks, whole
from bus.receipt import Receipt, Status
from bus.signature import xmldsig
from bus.signer import Signer, SoftKey
from sandbox import documents

SIZES = (5_000, 100_000, 10_000_000)
#: A turn is this long, or one piece of work; the median of the turns counts.
TURN_SECONDS, TURNS = 0.03, 15
_EXC = CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0
_BEGIN, _END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)

Work = Callable[[], object]


@dataclass(frozen=True)
class Material:
    """One RSA-2048 key and its certificate, in the form that each stack wants."""

    private: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @classmethod
    def made(cls) -> "Material":
        """A fresh key."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return cls(key, _certificate(key))

    @property
    def signer(self) -> Signer:
        """As the bus holds it."""
        return Signer("own/bench", SoftKey(self.private), self.certificate)

    def xmlsec_key(self) -> xmlsec.Key:
        """As libxmlsec holds it, with the certificate for KeyInfo."""
        key = xmlsec.Key.from_memory(
            self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), xmlsec.constants.KeyDataFormatPem
        )
        key.load_cert_from_memory(self.certificate.public_bytes(Encoding.PEM), xmlsec.constants.KeyDataFormatPem)
        return key


class _Signxml(XMLSigner):
    """signxml's signer, whose own parser stops at 10 MB."""

    @property
    def parser(self) -> etree.XMLParser:
        """One without that limit."""
        return _parser()


def measure() -> dict[str, Any]:
    """By size: CPU milliseconds of the bus, and how many times as long the others take; and a receipt's milliseconds by key."""
    material = Material.made()
    figures: dict[str, Any] = {}
    for size in SIZES:
        document = documents.make(size=size)
        for name, works in (("sign", _signing(document, material)), ("verify", _verifying(document, material))):
            figures.setdefault(name, {})[str(size)] = _compared(works)
    keys: Mapping[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey] = {
        "rsa-2048": material.private,
        "ec-p256": ec.generate_private_key(ec.SECP256R1()),
    }
    return {**figures, "receipt_ms": {name: round(_receipt(key), 3) for name, key in keys.items()}}


def _signing(document: bytes, material: Material) -> dict[str, Work]:
    signer, key = material.signer, material.xmlsec_key()
    stack = _Signxml(c14n_algorithm=_EXC, signature_algorithm="rsa-sha256", digest_algorithm="sha256")
    return {
        "bus": lambda: sign(document, signer),
        "python_xmlsec": lambda: _xmlsec_sign(document, key),
        "signxml": lambda: _signxml_sign(document, stack, material),
    }


def _verifying(document: bytes, material: Material) -> dict[str, Work]:
    signed = b"".join(bytes(chunk) for chunk in chunks(sign(document, material.signer)))
    trusted, key = material.signer.certificate_der, material.xmlsec_key()
    configuration = SignatureConfiguration(require_x509=True, expect_references=1)
    return {
        "bus": lambda: verify(signed, trusted),
        "python_xmlsec": lambda: _xmlsec_verify(signed, key),
        "signxml": lambda: XMLVerifier().verify(signed, x509_cert=material.certificate, parser=_parser(), expect_config=configuration),
    }


def sign(document: bytes, signer: Signer) -> Any:
    """As the bus does it: a large document without the insides of its files, which stay where they are."""
    if len(document) <= SMALL:
        return xmldsig.sign_enveloped(document, signer)
    hollow = Hollow()
    return hollow.filled(xmldsig.sign_enveloped(hollow.emptied(document), signer, hollow))


def verify(signed: bytes, trusted: bytes) -> bytes:
    """The octets that were signed, whole."""

    def trust(certificate: bytes) -> None:
        if certificate != trusted:
            raise ValueError("another certificate")

    if len(signed) <= SMALL:
        return xmldsig.verify_enveloped(signed, trust).octets
    hollow = Hollow()
    return whole(hollow.parsed(xmldsig.verify_enveloped(hollow.emptied(signed), trust, hollow).octets))


def _xmlsec_sign(document: bytes, key: xmlsec.Key) -> bytes:
    root = _parsed(document)
    node = xmlsec.template.create(root, xmlsec.constants.TransformExclC14N, xmlsec.constants.TransformRsaSha256, ns="ds")
    root.append(node)
    reference = xmlsec.template.add_reference(node, xmlsec.constants.TransformSha256, uri="")
    xmlsec.template.add_transform(reference, xmlsec.constants.TransformEnveloped)
    xmlsec.template.add_transform(reference, xmlsec.constants.TransformExclC14N)
    xmlsec.template.add_x509_data(xmlsec.template.ensure_key_info(node))
    context = xmlsec.SignatureContext()
    context.key = key
    context.sign(node)
    return etree.tostring(root)


def _xmlsec_verify(signed: bytes, key: xmlsec.Key) -> etree._Element:
    root = _parsed(signed)
    context = xmlsec.SignatureContext()
    context.key = key
    context.verify(root[-1])
    return root


def _signxml_sign(document: bytes, stack: XMLSigner, material: Material) -> bytes:
    return etree.tostring(stack.sign(_parsed(document), key=material.private, cert=[material.certificate]))


def _parsed(data: bytes) -> etree._Element:
    return etree.fromstring(data, _parser())


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)


def _receipt(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> float:
    signer = Signer("own/bench", SoftKey(key), _certificate(key))
    evidence = Evidence(signer, lambda _: True, lambda: datetime.now(UTC))
    reasons = {"vi": "Đã nhận văn bản và lưu bền vững.", "en": "The document was accepted and durably stored."}
    receipt = Receipt("0" * 36, "1" * 36, "d" * 36, "G14.01", "G14", Status.ACCEPTED, "2.0.0", reasons, _BEGIN, "0" * 64, "f" * 64)
    [cost] = _turns({"bus": partial(evidence.seal, receipt)}).values()
    return cost


def _certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "VN"), x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    return builder.not_valid_before(_BEGIN).not_valid_after(_END).sign(key, hashes.SHA256())


def _compared(works: Mapping[str, Work]) -> dict[str, float]:
    costs = _turns(works)
    return {"bus_ms": round(costs["bus"], 3)} | {name: round(cost / costs["bus"], 2) for name, cost in costs.items() if name != "bus"}


def _turns(works: Mapping[str, Work]) -> dict[str, float]:
    """CPU milliseconds of each: the median of its turns, which they take one after the other."""
    times = {name: max(1, int(TURN_SECONDS / max(_spent(work, 1), _spent(work, 1), 1e-6))) for name, work in works.items()}
    spent: dict[str, list[float]] = {name: [] for name in works}
    gc.disable()
    try:
        for _ in range(TURNS):
            for name, work in works.items():
                spent[name].append(_spent(work, times[name]))
            gc.collect()
    finally:
        gc.enable()
    return {name: statistics.median(each) * 1000 for name, each in spent.items()}


def _spent(work: Work, times: int) -> float:
    before = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - before) / times
