"""The W3C's interoperability vectors: their values hold by our methods, and as documents each is refused for a reason that is written here.

All but one are enveloping or external signatures, by inclusive C14N: this profile knows neither. What can be held against them is therefore
the innermost part, the SignatureValue over SignedInfo with the key that stands beside it, in each method that the bus knows.
"""

import base64
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from lxml import etree

from bus.errors import Rejected
from bus.methods import BY_URI, Method, WrongKey
from bus.signature import xades, xmldsig
from bus.signature.policy import LEGACY, MODERN, SignaturePolicy
from bus.signature.reading import read
from bus.xmlio import parse

_DS, _DS11 = "{http://www.w3.org/2000/09/xmldsig#}", "{http://www.w3.org/2009/xmldsig11#}"
_VECTORS = Path(__file__).parent / "vectors"
#: Everything that a partner's policy can allow.
_WIDEST = SignaturePolicy(MODERN, LEGACY)
_CURVES = {"urn:oid:1.2.840.10045.3.1.7": ec.SECP256R1(), "urn:oid:1.3.132.0.34": ec.SECP384R1(), "urn:oid:1.3.132.0.35": ec.SECP521R1()}
_INCLUSIVE = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
_2012, _MERLIN = "xmldsig11-interop-2012/signature-enveloping-{}", "merlin-xmldsig-twenty-three/{}"

#: Vectors whose value is held by a method of ours: the method.
VALUES = {
    _2012.format("p256_sha256"): "ecdsa-sha256",
    _2012.format("p384_sha384"): "ecdsa-sha384",
    _2012.format("derencoded-ec"): "ecdsa-sha256",
    _2012.format("rsa-sha256"): "rsa-sha256",
    _2012.format("rsa_sha384"): "rsa-sha384",
    _2012.format("rsa_sha512"): "rsa-sha512",
    _2012.format("sha384-rsa_sha256"): "rsa-sha256",
    _2012.format("sha512-rsa_sha256"): "rsa-sha256",
    _2012.format("keyinforeference-rsa"): "rsa-sha256",
    _MERLIN.format("signature-enveloping-rsa"): "rsa-sha1",
}
#: Vectors whose method the bus does not know under any policy: the end of its name.
UNKNOWN_METHODS = {
    _2012.format("p256_sha1"): "ecdsa-sha1",
    _2012.format("p256_sha512"): "ecdsa-sha512",
    _2012.format("rsa-sha224"): "rsa-sha224",
    _2012.format("hmac-sha256"): "hmac-sha256",
    _2012.format("hmac-sha1-truncated160"): "hmac-sha1",
    _MERLIN.format("signature-enveloped-dsa"): "dsa-sha1",
    _MERLIN.format("signature-enveloping-b64-dsa"): "dsa-sha1",
    _MERLIN.format("signature-enveloping-hmac-sha1-40"): "hmac-sha1",
    _MERLIN.format("signature-external-dsa"): "dsa-sha1",
    _MERLIN.format("signature-retrievalmethod-rawx509crt"): "dsa-sha1",
    _MERLIN.format("signature-x509-is"): "dsa-sha1",
    _MERLIN.format("signature-x509-crt"): "dsa-sha1",
    _MERLIN.format("signature-keyname"): "dsa-sha1",
}
#: Vectors whose curve is not the one of as many bits as the hash: the method does not take such a key.
OTHER_CURVES = {
    _2012.format("p256_sha384"): "ecdsa-sha384",
    _2012.format("p384_sha256"): "ecdsa-sha256",
    _2012.format("p521_sha256"): "ecdsa-sha256",
    _2012.format("p521_sha384"): "ecdsa-sha384",
}
#: And one whose method is known and whose key is named by a digest of a certificate that is not with it (XML Signature 1.1 section 4.5.4).
NO_KEY = {_2012.format("x509digest-rsa"): "rsa-sha256"}
#: Why the document is refused, where it is for another reason than that its signature encloses or is beside what it signs.
REASONS = {
    _MERLIN.format("signature-enveloped-dsa"): ("algorithm-refused", "dsa-sha1"),
}
EVERY = sorted(path.relative_to(_VECTORS).with_suffix("").as_posix() for path in _VECTORS.glob("*/*.xml"))


def octets(name: str) -> bytes:
    """The vector's file."""
    return (_VECTORS / f"{name}.xml").read_bytes()


def test_every_vector_has_its_line():
    """Each file is in exactly one table."""
    assert sorted([*VALUES, *OTHER_CURVES, *UNKNOWN_METHODS, *NO_KEY]) == EVERY


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("verify", [xmldsig.verify_enveloped, xades.verify])
def test_every_vector_is_refused_as_a_document_for_a_reason_that_is_known(name, verify):
    """With every method that a policy can name and a signer whom everybody trusts, the profile has no place for any of them."""
    key, fragment = REASONS.get(name, ("signature-invalid", "not a child of the root"))
    with pytest.raises(Rejected) as refusal:
        verify(octets(name), lambda _: "anybody", policies=lambda _: _WIDEST)
    assert (refusal.value.key, fragment in str(refusal.value)) == (key, True)


@pytest.mark.parametrize("name", [*VALUES, *OTHER_CURVES, *NO_KEY])
def test_inclusive_c14n_is_refused_wherever_the_signature_stands(name):
    """Placed where the profile looks for it, the signature is refused by name for its canonical form (XML Signature 1.1 section 6.5.1)."""
    with pytest.raises(Rejected) as refusal:
        read(_signature(parse(octets(name))))
    assert (refusal.value.key, refusal.value.values) == ("algorithm-refused", {"algorithm": _INCLUSIVE})


@pytest.mark.parametrize("name", UNKNOWN_METHODS)
def test_the_methods_that_are_refused_are_not_known_under_any_policy(name):
    """DSA, HMAC whole or truncated, SHA-1 with ECDSA, SHA-224, and SHA-512 with ECDSA, which no policy can name."""
    uri = _signature(etree.fromstring(octets(name))).find(f".//{_DS}SignatureMethod").get("Algorithm")
    assert uri.endswith(UNKNOWN_METHODS[name])
    assert uri not in BY_URI


@pytest.mark.parametrize("name", VALUES)
def test_the_value_holds_by_our_method(name):
    """The SignatureValue verifies over SignedInfo with the vector's key, and not with one bit of it another, or over other octets."""
    method, key, value, data = _parts(name)
    assert method.name == VALUES[name]
    method.verify(key, value, data)
    for wrong_value, wrong_data in ((value[:-1] + bytes([value[-1] ^ 1]), data), (value, data + b" ")):
        with pytest.raises(InvalidSignature):
            method.verify(key, wrong_value, wrong_data)


@pytest.mark.parametrize("name", OTHER_CURVES)
def test_a_curve_that_is_not_the_methods_is_refused_before_anything_is_computed(name):
    """Values that are good signatures, by keys that the method does not take (ETSI TS 119 312: the hash is as strong as the curve)."""
    method, key, value, data = _parts(name)
    assert method.name == OTHER_CURVES[name]
    with pytest.raises(WrongKey):
        method.verify(key, value, data)


def _parts(name: str) -> tuple[Method, ec.EllipticCurvePublicKey | rsa.RSAPublicKey, bytes, bytes]:
    """The vector's method, key, value, and SignedInfo in the canonical form that it asks for."""
    signature = _signature(etree.fromstring(octets(name)))
    method = BY_URI[signature.find(f".//{_DS}SignatureMethod").get("Algorithm")]
    # By itself: libxml2 2.14 writes xmlns="" into the inclusive form of a part of a document whose default namespace is declared above it.
    info = etree.fromstring(etree.tostring(signature[0], with_tail=False))
    value = base64.b64decode(signature.findtext(f"{_DS}SignatureValue"))
    return method, _key(signature), value, etree.tostring(info, method="c14n")


def _signature(root: etree._Element) -> etree._Element:
    return next(root.iter(f"{_DS}Signature"))


def _key(signature: etree._Element) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    """The key that stands in the vector, in one of XML Signature 1.1's ways (section 4.5.2)."""
    named = signature.find(f".//{_DS11}ECKeyValue")
    if named is not None:
        curve = _CURVES[named.find(f"{_DS11}NamedCurve").get("URI")]
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, base64.b64decode(named.findtext(f"{_DS11}PublicKey")))
    encoded = signature.findtext(f".//{_DS11}DEREncodedKeyValue")
    if encoded is not None:
        return load_der_public_key(base64.b64decode(encoded))
    modulus, exponent = (_number(signature, part) for part in ("Modulus", "Exponent"))
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _number(signature: etree._Element, name: str) -> int:
    return int.from_bytes(base64.b64decode(signature.findtext(f".//{_DS}{name}")), "big")
