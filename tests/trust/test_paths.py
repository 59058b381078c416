"""Fault 37: paths, policies, usages, purposes, weak keys and hashes; each refusal names its check."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from authority_server import DAY, Issuer, pem, sha1_signed, usage
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku
from cryptography.x509.oid import ObjectIdentifier

from bus.errors import Rejected
from bus.keys import Keyring
from bus.trust import Demands, Purpose, der

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
POLICY, OTHER_POLICY = "2.16.704.1.1", "2.16.704.1.2"


def now() -> datetime:
    return NOW


def keyring(directory: Path, *certificates: x509.Certificate, demands: Demands | None = None) -> Keyring:
    """Of one partner, whose directory holds these."""
    place = directory / "trust" / "agency"
    place.mkdir(parents=True)
    for number, certificate in enumerate(certificates):
        (place / f"{number}.crt").write_bytes(pem(certificate))
    return Keyring.load(directory, {"agency": "trust/agency"}, {"agency": demands or Demands()})


def refusal(ring: Keyring, certificate: x509.Certificate, *more: object, at: datetime = NOW) -> Rejected:
    with pytest.raises(Rejected) as refused:
        ring.identify(der(certificate), at, *more)
    return refused.value


@pytest.fixture(scope="module")
def root() -> Issuer:
    return Issuer("CA gốc", now)


@pytest.fixture(scope="module")
def middle(root: Issuer) -> Issuer:
    return Issuer("CA cấp dưới", now, parent=root)


def test_fault_37_an_intermediate_in_the_directory_completes_the_path(tmp_path, root, middle):
    """An authority whose issuer lies beside it is on the path and is no anchor: when its issuer's time is over it vouches for nobody."""
    ring = keyring(tmp_path, root.certificate, middle.certificate)
    assert ring.identify(der(middle.leaf("x")), NOW) == "agency"
    assert {entry.kind for entry in ring.entries()} == {"anchor", "intermediate"}
    late = middle.leaf("x", life=5000 * DAY)
    assert refusal(ring, late, at=NOW + 3700 * DAY).key == "certificate-expired"


def test_fault_37_a_chain_that_comes_along_is_a_candidate_and_no_more(tmp_path, root, middle):
    """What a message brings may complete the path to our anchor, and admits nothing by itself."""
    ring = keyring(tmp_path, root.certificate)
    assert refusal(ring, middle.leaf("x")).key == "certificate-unknown"
    assert ring.identify(der(middle.leaf("x")), NOW, Purpose.SIGNING, [der(middle.certificate)]) == "agency"
    stranger = Issuer("CA lạ", now)
    assert refusal(ring, stranger.leaf("x"), Purpose.SIGNING, [der(stranger.certificate)]).key == "certificate-unknown"


def test_fault_37_a_leaf_is_no_authority(tmp_path, root):
    """A certificate signed with a partner's own leaf, which comes along as its chain, is refused."""
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = root.leaf("kẻ mạo danh", key)
    forger = Issuer("kẻ mạo danh", now)
    forger.key = key
    ring = keyring(tmp_path, root.certificate)
    assert refusal(ring, forger.leaf("x"), Purpose.SIGNING, [der(leaf)]).key == "certificate-unknown"


def test_fault_37_a_path_that_is_too_long_is_refused(tmp_path):
    """pathLenConstraint of the anchor counts (RFC 5280 section 4.2.1.9)."""
    top = Issuer("CA gốc", now, path_length=1)
    second = Issuer("CA hai", now, parent=top, path_length=0)
    third = Issuer("CA ba", now, parent=second)
    ring = keyring(tmp_path, top.certificate, second.certificate, third.certificate)
    assert ring.identify(der(second.leaf("x")), NOW) == "agency"
    failed = refusal(ring, third.leaf("x"))
    assert (failed.code, failed.key) == ("5.7.8", "certificate-path")
    assert "maximum path length" in failed.reason("en")
    assert "không qua được kiểm tra đường dẫn chứng thực" in failed.reason("vi")


def test_fault_37_names_outside_the_authoritys_constraints_are_refused(tmp_path, root):
    """Name constraints of an intermediate (RFC 5280 section 4.2.1.10)."""
    only = x509.NameConstraints([x509.DirectoryName(x509.Name([x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "LA")]))], None)
    narrow = Issuer("CA hẹp", now, parent=root, extensions=[(only, True)])
    failed = refusal(keyring(tmp_path, root.certificate, narrow.certificate), narrow.leaf("x"))
    assert failed.key == "certificate-path"
    assert "permitted namespace" in failed.reason("en")


def _policies(*oids: str) -> x509.CertificatePolicies:
    return x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier(oid), None) for oid in oids])


def test_fault_37_a_demanded_policy_must_be_on_the_whole_path(tmp_path, root):
    """``certificate-policies``: the leaf and every authority below the anchor must be under one of them; a pinned leaf itself."""
    under = Issuer("CA theo quy chế", now, parent=root, extensions=[(_policies(POLICY), False)])
    demands = Demands(policies=frozenset({POLICY}))
    pinned = Issuer("CA khác", now).leaf("ghim", None, _policies(OTHER_POLICY))
    ring = keyring(tmp_path, root.certificate, under.certificate, pinned, demands=demands)
    assert ring.identify(der(under.leaf("x", None, _policies(POLICY, OTHER_POLICY))), NOW) == "agency"
    for certificate in (under.leaf("x"), under.leaf("x", None, _policies(OTHER_POLICY)), pinned):
        failed = refusal(ring, certificate)
        assert failed.key == "certificate-path"
        assert "policies" in failed.reason("en")


#: Key usage, extended key usage -> what the certificate may be used for.
USES = [
    ((), (), "sign tls"),
    ((usage(),), (), "sign tls"),
    ((usage(digital_signature=False),), (), "sign"),
    ((usage(digital_signature=False, content_commitment=False, key_encipherment=True),), (), ""),
    ((), (Eku.SERVER_AUTH,), ""),
    ((), (Eku.CLIENT_AUTH,), "tls"),
    ((), (Eku.CLIENT_AUTH, Eku.SERVER_AUTH), "tls"),
    ((), (Eku.EMAIL_PROTECTION,), "sign"),
    ((), (Eku.CLIENT_AUTH, Eku.EMAIL_PROTECTION), "sign tls"),
    ((), (ObjectIdentifier("1.3.6.1.5.5.7.3.36"),), "sign"),
    ((), (Eku.TIME_STAMPING,), ""),
    ((), (Eku.ANY_EXTENDED_KEY_USAGE,), "sign tls"),
]


@pytest.mark.parametrize(("usages", "purposes", "good"), USES)
def test_fault_37_a_certificate_is_used_for_what_it_was_issued_for(tmp_path, root, usages, purposes, good):
    """Key usage and extended key usage decide, for signing and for TLS; a certificate for TLS alone signs nothing."""
    certificate = root.leaf("x", None, *usages, *([x509.ExtendedKeyUsage(purposes)] if purposes else []))
    ring = keyring(tmp_path, root.certificate)
    for word, purpose in (("sign", Purpose.SIGNING), ("tls", Purpose.TLS_CLIENT)):
        if word in good.split():
            assert ring.identify(der(certificate), NOW, purpose) == "agency"
        else:
            assert refusal(ring, certificate, purpose).key in {"certificate-usage", "certificate-purpose"}


def test_fault_37_the_purpose_is_named_in_both_languages(tmp_path, root):
    """What the certificate is not for stands in the reason."""
    failed = refusal(keyring(tmp_path, root.certificate), root.leaf("x", None, x509.ExtendedKeyUsage([Eku.CLIENT_AUTH])))
    assert failed.reason("en") == "The certificate 'CN=x,C=VN' was not issued for this purpose: signing documents."
    assert failed.reason("vi") == "Chứng thư 'CN=x,C=VN' không được cấp cho mục đích này: ký văn bản."


def test_a_partner_may_be_allowed_to_sign_with_its_tls_certificate(tmp_path, root):
    """``tls-certificates-sign: true`` is for a partner that has no other."""
    certificate = root.leaf("x", None, x509.ExtendedKeyUsage([Eku.CLIENT_AUTH]))
    assert keyring(tmp_path, root.certificate, demands=Demands(tls_signs=True)).identify(der(certificate), NOW) == "agency"


@pytest.mark.parametrize("pinned", [False, True])
def test_fault_37_a_weak_key_is_refused(tmp_path, root, pinned):
    """RSA under 2048 bits, whether an authority vouches for it or it is pinned."""
    weak = root.leaf("yếu", rsa.generate_private_key(public_exponent=65537, key_size=1024))
    failed = refusal(keyring(tmp_path, weak if pinned else root.certificate), weak)
    assert (failed.code, failed.key, failed.values["check"]) == ("5.7.6", "certificate-weak", "1024 bits")


def test_fault_37_an_authority_with_a_weak_key_vouches_for_nobody(tmp_path):
    """The anchor's own key must be strong too."""
    weak = Issuer("CA yếu", now, key=rsa.generate_private_key(public_exponent=65537, key_size=1024))
    assert refusal(keyring(tmp_path, weak.certificate), weak.leaf("x")).key in {"certificate-weak", "algorithm-refused"}


def test_fault_37_a_certificate_that_was_signed_with_sha_1_is_refused(tmp_path, root):
    """The signature would hold; its hash is not believed any more, on the leaf as on an intermediate."""
    old = sha1_signed(root.leaf("cũ"), root.key)
    middle = Issuer("CA cấp dưới", now, parent=root)
    middle.certificate = sha1_signed(middle.certificate, root.key)
    ring = keyring(tmp_path, root.certificate, middle.certificate)
    assert refusal(ring, old).key == "algorithm-refused"
    assert refusal(ring, middle.leaf("x")).key == "algorithm-refused"


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_no_bit_of_a_certificate_may_change(tmp_path, root):
    """Whatever is done to one, it is refused with a code: never somebody's, and never a traceback."""
    ring = keyring(tmp_path, root.certificate)
    octets = der(root.leaf("x", None, _policies(POLICY), x509.ExtendedKeyUsage([Eku.EMAIL_PROTECTION])))
    assert ring.identify(octets, NOW) == "agency"
    codes = set()
    for index, bit in itertools.chain(*(((index, 0), (index, 1 + index % 7)) for index in range(len(octets)))):
        changed = bytearray(octets)
        changed[index] ^= 1 << bit
        with pytest.raises(Rejected) as refused:
            ring.identify(bytes(changed), NOW)
        codes.add(refused.value.code)
    assert codes == {"5.7.5", "5.7.8"}


def test_fault_37_before_and_after_its_time_and_of_an_unknown_authority(tmp_path, root):
    """Not yet valid, expired, wrong signer under the right name, unknown authority."""
    ring = keyring(tmp_path, root.certificate)
    assert refusal(ring, root.leaf("x", start=NOW + DAY)).key == "certificate-expired"
    assert refusal(ring, root.leaf("x", start=NOW - 9 * DAY, life=timedelta(days=3))).key == "certificate-expired"
    assert refusal(ring, Issuer("CA gốc", now).leaf("x")).key == "certificate-unknown"
    assert refusal(ring, Issuer("CA lạ", now).leaf("x")).key == "certificate-unknown"
