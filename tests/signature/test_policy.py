"""Which signature methods count: by default those of the contract, others by name for one partner, and SHA-1 only as legacy, said aloud."""

from dataclasses import dataclass
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from bus.errors import Rejected
from bus.methods import BY_NAME, PrivateKey, chosen
from bus.signature import wss, xades, xmldsig
from bus.signature.policy import DEFAULT, LEGACY, MODERN, USUAL, SignaturePolicy, named
from bus.signature.profile import DIGEST_URIS, SOAP_ENVELOPES
from bus.signature.reading import decoded
from bus.signature.writing import encoded
from bus.signer import Signer, SoftKey
from bus.xmlio import canonicalize, parse

DOCUMENT = "<r:Receipt xmlns:r='urn:test'>Đã nhận</r:Receipt>".encode()
ENVELOPE = f'<s:Envelope xmlns:s="{SOAP_ENVELOPES[0]}"><s:Body><a>đ</a></s:Body></s:Envelope>'.encode()
FAMILIES = {
    "rsa": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "brainpool": lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}
#: The kind of key that each method takes.
KEYS = {
    **{name: "rsa" for name in BY_NAME if name.startswith("rsa")},
    "ecdsa-sha256": "p256",
    "ecdsa-sha384": "p384",
    "ed25519": "ed25519",
}
#: Everything by name, so that what refuses is never the policy's list.
ALL = SignaturePolicy(MODERN, LEGACY)


@dataclass(frozen=True)
class Kept:
    """A key with a certificate for it."""

    key: PrivateKey
    certificate: x509.Certificate

    def signer(self, method: str) -> Signer:
        return Signer("own/x", SoftKey(self.key), self.certificate, BY_NAME[method])


@pytest.fixture(scope="module")
def kept(world) -> dict[str, Kept]:
    return {family: Kept(key := make(), _certificate(key, world.now)) for family, make in FAMILIES.items()}


def _certificate(key, now) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "đối tác")])
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
    return builder.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, digest)


def by_xades(signed: bytes, policy: SignaturePolicy):
    return xades.verify(signed, lambda _: "partner", policies=lambda _: policy)


def by_xmldsig(signed: bytes, policy: SignaturePolicy):
    return xmldsig.verify_enveloped(signed, lambda _: "partner", policies=lambda _: policy)


def by_wss(world):
    return lambda signed, policy: wss.verify(
        parse(signed), wss.DEFAULT, lambda *_: "partner", world.now, policies=lambda partner: policy if partner == "partner" else DEFAULT
    )


def profiles(world, signer: Signer):
    """A signature of each profile, with its verifier."""
    yield xades.sign(DOCUMENT, signer, world.now), by_xades
    yield xmldsig.sign_enveloped(DOCUMENT, signer), by_xmldsig
    yield wss.sign(ENVELOPE, signer, world.now), by_wss(world)


@pytest.mark.parametrize("method", BY_NAME)
def test_round_trip_of_every_method_in_every_profile(world, kept, method):
    """What a method signs counts where the policy names it, with the digest of its own hash, and legacy is said to be so."""
    signer = kept[KEYS[method]].signer(method)
    for signed, verify in profiles(world, signer):
        assert verify(signed, ALL).legacy == (method if method in LEGACY else "")
        digest = DIGEST_URIS["sha256" if method == "ed25519" else method.rpartition("-")[2]]
        assert {one.get("Algorithm") for one in parse(signed).find(".//{*}SignedInfo").iter("{*}DigestMethod")} == {digest}


@pytest.mark.parametrize("method", BY_NAME)
def test_only_what_the_policy_names_counts(world, kept, method):
    """Without a policy the contract's five methods count; a policy that names others refuses every method that it does not name."""
    signer = kept[KEYS[method]].signer(method)
    others = SignaturePolicy(tuple(name for name in MODERN if name != method), ())
    for signed, verify in profiles(world, signer):
        for policy, counts in ((DEFAULT, method in USUAL), (others, False)):
            try:
                verify(signed, policy)
            except Rejected as refusal:
                assert (refusal.code, counts) == ("5.7.6", False)
            else:
                assert counts


@pytest.mark.parametrize("method", [name for name in MODERN if name.startswith("rsa")])
def test_a_sha1_digest_counts_only_as_legacy(world, kept, method):
    """One SHA-1 digest under a method of today is refused, and under a legacy policy reported."""
    signer = kept["rsa"].signer(method)
    root = etree.fromstring(xmldsig.sign_enveloped(DOCUMENT, signer))
    info = root.find(".//{*}SignedInfo")
    info.find(".//{*}DigestMethod").set("Algorithm", DIGEST_URIS["sha1"])
    digest = hashes.Hash(hashes.SHA1())
    digest.update(canonicalize(parse(DOCUMENT)))
    info.find(".//{*}DigestValue").text = encoded(digest.finalize())
    root.find(".//{*}SignatureValue").text = encoded(signer.sign(etree.tostring(info, method="c14n", exclusive=True)))
    with pytest.raises(Rejected, match=r"5\.7\.6 .*sha1"):
        by_xmldsig(etree.tostring(root), SignaturePolicy(MODERN))
    assert by_xmldsig(etree.tostring(root), ALL).legacy == "sha1"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", BY_NAME)
def test_a_key_is_never_used_by_a_method_of_another_family(world, kept, method, family):
    """Method and key are said apart; where they do not fit, nothing is computed and the signature is refused, curves included."""
    other = kept[family]
    if KEYS[method] == family:
        assert BY_NAME[method].takes(other.key.public_key())
        return
    assert not BY_NAME[method].takes(other.key.public_key())
    signed = xades.sign(DOCUMENT, Signer("own/y", _Any(other.key), other.certificate, BY_NAME[method]), world.now)
    with pytest.raises(Rejected, match=r"5\.7\.7 .*(does not fit|differ)"):
        by_xades(signed, ALL)


class _Any:
    """A key that signs whatever it is asked to, by what its own family has."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self.public = key.public_key()

    def sign(self, data: bytes, method) -> bytes:
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            return self._key.sign(data, ec.ECDSA(hashes.SHA256()))
        return self._key.sign(data)


@pytest.mark.parametrize("salt", [0, 20, 31, 33, 64, padding.PSS.MAX_LENGTH])
def test_pss_with_another_salt_is_refused(world, kept, salt):
    """The method without parameters has a salt as long as its hash, and no other."""
    _refused_pss(world, kept, padding.PSS(padding.MGF1(hashes.SHA256()), salt))


def test_pss_with_another_mask_is_refused(world, kept):
    """The mask is made with the same hash."""
    _refused_pss(world, kept, padding.PSS(padding.MGF1(hashes.SHA384()), 32))


def _refused_pss(world, kept, scheme) -> None:
    root = etree.fromstring(xades.sign(DOCUMENT, kept["rsa"].signer("rsa-pss-sha256"), world.now))
    info = etree.tostring(root.find(".//{*}SignedInfo"), method="c14n", exclusive=True)
    root.find(".//{*}SignatureValue").text = encoded(kept["rsa"].key.sign(info, scheme, hashes.SHA256()))
    with pytest.raises(Rejected, match=r"5\.7\.7 .*SignatureValue"):
        by_xades(etree.tostring(root), ALL)


@pytest.mark.parametrize("method", BY_NAME)
def test_a_truncated_or_padded_value_is_refused(world, kept, method):
    """A SignatureValue has exactly the length that its key gives it."""
    signed = xades.sign(DOCUMENT, kept[KEYS[method]].signer(method), world.now)
    value = parse(signed).find(".//{*}SignatureValue")
    octets = decoded(value)
    for changed in (octets[:-1], octets[: len(octets) // 2], octets + b"\0", b"\0" + octets, bytes(len(octets))):
        with pytest.raises(Rejected, match=r"5\.7\.7"):
            by_xades(signed.replace(value.text.encode(), encoded(changed).encode()), ALL)


def test_an_ecdsa_value_in_der_is_refused(world, kept):
    """XML writes r and s side by side; what an X.509 library gives is another octet string."""
    root = etree.fromstring(xades.sign(DOCUMENT, kept["p256"].signer("ecdsa-sha256"), world.now))
    info = etree.tostring(root.find(".//{*}SignedInfo"), method="c14n", exclusive=True)
    root.find(".//{*}SignatureValue").text = encoded(kept["p256"].key.sign(info, ec.ECDSA(hashes.SHA256())))
    with pytest.raises(Rejected, match=r"5\.7\.7"):
        by_xades(etree.tostring(root), ALL)


@settings(max_examples=60, deadline=None)
@given(method=st.sampled_from(list(BY_NAME)), value=st.binary(min_size=1, max_size=600))
def test_no_octets_but_the_signature_verify(kept, method, value):
    """Whatever octets are put for a signature, the method says no and nothing else."""
    with pytest.raises(InvalidSignature):
        BY_NAME[method].verify(kept[KEYS[method]].key.public_key(), value, DOCUMENT)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", BY_NAME)
def test_our_own_key_signs_only_as_it_can_and_should(kept, method, family):
    """A method for our key is refused at the start where the key is of another family, and always where it is legacy."""
    key = kept[family].key.public_key()
    if KEYS[method] == family and method not in LEGACY:
        assert chosen(method, key) is BY_NAME[method]
    else:
        with pytest.raises(ValueError, match=r"does not take|is not signed with"):
            chosen(method, key)


def test_a_partner_without_a_word_has_the_usual_policy():
    """Neither key in routes.yaml: the default; ``legacy`` alone adds to it and takes nothing away."""
    assert named([], []) == DEFAULT
    assert named([], ["rsa-sha1"]) == SignaturePolicy(USUAL, ("rsa-sha1",))
    assert named(["ed25519"], []) == SignaturePolicy(("ed25519",))
