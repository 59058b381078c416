"""The keyring and the development PKI: who a certificate is, at which time, and why it is refused otherwise."""

import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bus import pki
from bus.errors import ConfigurationError, Rejected
from bus.keys import Keyring
from bus.names import same_name
from bus.signer import Signer, SoftKey
from bus.trust import der

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
PARTNERS = {"telecom": "trust/telecom", "agency": "trust/agency"}


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    names = {"telecom": "Cục Viễn thông", "agency": "Cơ quan Đối tác"}
    pki.development(directory, organisation_name="Bộ Thử nghiệm", partners=names, now=NOW, key_type="ec-p256")
    return directory


@pytest.fixture
def certs(generated: Path, tmp_path: Path) -> Path:
    """A copy of the generated certs/, the test's own to change."""
    return Path(shutil.copytree(generated, tmp_path / "certs"))


def load(certs: Path) -> Keyring:
    return Keyring.load(certs, PARTNERS)


def leaf(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def system(certs: Path, partner: str) -> x509.Certificate:
    return leaf(certs / "development" / partner / "system.crt")


def refusal(keyring: Keyring, certificate: bytes, at: datetime = NOW) -> str:
    with pytest.raises(Rejected) as refused:
        keyring.identify(certificate, at)
    return refused.value.key


def issue(certs: Path, partner: str = "agency", **options: object) -> x509.Certificate:
    authority = pki.read_authority(certs / "development" / partner)
    settings = {"common_name": "x", "organisation": "x", "now": NOW, "key_type": "ec-p256", **options}
    return pki.issue(certs / "issued", "x", authority, **settings)  # type: ignore[arg-type]


def test_a_partner_is_who_its_authority_says(certs):
    """A leaf is the partner whose anchor issued it; every other partner's, and our own, are unknown."""
    keyring = load(certs)
    assert [keyring.identify(der(system(certs, partner)), NOW) for partner in PARTNERS] == ["telecom", "agency"]
    assert refusal(keyring, keyring.signer("own/bus").certificate_der) == "certificate-unknown"


@pytest.mark.parametrize("at", [NOW - 2 * DAY, NOW + 731 * DAY])
def test_before_and_after_its_validity_a_certificate_is_refused(certs, at):
    """Not yet valid is refused like expired, also for a certificate already identified in its time."""
    keyring = load(certs)
    keyring.identify(der(system(certs, "agency")), NOW)
    assert refusal(keyring, der(system(certs, "agency")), at) == "certificate-expired"


def test_dates_are_checked_within_the_hour_that_is_remembered(certs):
    """The memory of an identification does not outlive the certificate."""
    certificate = issue(certs, life=timedelta(minutes=10))
    keyring = load(certs)
    assert keyring.identify(der(certificate), NOW) == "agency"
    assert refusal(keyring, der(certificate), NOW + timedelta(minutes=11)) == "certificate-expired"


def test_an_authority_that_ran_out_vouches_for_nobody(certs):
    """A leaf that outlives its authority is refused with the authority's dates."""
    certificate = issue(certs, life=5000 * DAY)
    with pytest.raises(Rejected, match="Development CA"):
        load(certs).identify(der(certificate), NOW + 4000 * DAY)


def test_a_revoked_certificate_is_refused(certs):
    """A serial number on the authority's list is refused; its neighbours are not."""
    good, bad = system(certs, "agency"), issue(certs)
    pki.revoke(certs / "trust/agency/ca.crl", pki.read_authority(certs / "development/agency"), [bad.serial_number], NOW)
    keyring = load(certs)
    assert keyring.identify(der(good), NOW) == "agency"
    assert refusal(keyring, der(bad)) == "certificate-revoked"


def test_a_pinned_certificate_can_be_revoked(certs):
    """A pinned leaf is trusted as it stands, but its authority's list still refuses it."""
    pinned = certs / "trust/pinned"
    pinned.mkdir()
    certificate = issue(certs)
    (pinned / "leaf.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pki.revoke(pinned / "ca.crl", pki.read_authority(certs / "development/agency"), [certificate.serial_number], NOW)
    assert refusal(Keyring.load(certs, {"pinned": "trust/pinned"}), der(certificate)) == "certificate-revoked"


def test_a_revocation_list_that_ran_out_refuses(certs):
    """Where a list is kept it must be fresh: an old one could hide a revocation."""
    pki.revoke(certs / "trust/agency/ca.crl", pki.read_authority(certs / "development/agency"), [], NOW, life=DAY)
    keyring = load(certs)
    assert keyring.identify(der(system(certs, "agency")), NOW) == "agency"
    assert refusal(keyring, der(system(certs, "agency")), NOW + 2 * DAY) == "crl-expired"


def test_a_revocation_list_of_another_signer_is_a_fault(certs):
    """A list that names our partner's authority, but that it did not sign, stops the start."""
    forger = pki.create_authority(certs / "forger", "ca", "Development CA of Cơ quan Đối tác", "Cơ quan Đối tác", NOW)
    pki.revoke(certs / "trust/agency/ca.crl", forger, [], NOW)
    with pytest.raises(ConfigurationError, match="does not bear the signature"):
        load(certs)


def test_a_certificate_of_an_authority_with_the_same_name_is_unknown(certs):
    """The name proves nothing: the authority's key must have signed."""
    forger = pki.create_authority(certs / "forger", "ca", "Development CA of Cơ quan Đối tác", "Cơ quan Đối tác", NOW)
    forged = pki.issue(certs / "issued", "y", forger, common_name="x", organisation="x", now=NOW, key_type="ec-p256")
    assert refusal(load(certs), der(forged)) == "certificate-unknown"


def test_a_shared_authority_is_ambiguous_unless_pinned(certs):
    """Two partners under one authority cannot be told apart by it; pinning each one's own certificate tells."""
    shutil.copy(certs / "trust/agency/ca.crt", certs / "trust/telecom/shared.crt")
    certificate = system(certs, "agency")
    assert refusal(load(certs), der(certificate)) == "certificate-ambiguous"
    (certs / "trust/telecom/pinned.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    assert load(certs).identify(der(certificate), NOW) == "telecom"


def test_a_self_signed_certificate_can_be_pinned(certs):
    """``openssl req -x509`` makes an authority of every certificate: lying in the directory, it is the partner itself."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tự ký")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
    builder = builder.not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
    certificate = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    (certs / "trust/agency/self.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    assert load(certs).identify(der(certificate), NOW) == "agency"


def test_a_certificate_not_for_signing_is_refused(certs):
    """The authority's own certificate may sign certificates, not messages."""
    keyring = load(certs)
    assert refusal(keyring, keyring.anchors("agency")[0]) == "certificate-usage"


@pytest.mark.parametrize("octets", [b"", b"\x30\x03\x02\x01\x01", b"-----BEGIN CERTIFICATE-----"])
def test_what_is_no_certificate_is_unknown(certs, octets):
    """Any octets may arrive as a token; none but a certificate gets further."""
    assert refusal(load(certs), octets) == "certificate-unknown"


def test_own_certificates_in_use_and_retired(certs):
    """A retired certificate of ours is kept without its key, so that old receipts still verify."""
    keyring = load(certs)
    old = keyring.signer("own/bus").certificate_der
    shutil.move(certs / "own/bus.crt", certs / "own/bus-2026.crt")
    (certs / "own/bus.key").unlink()
    renewed = load(certs)
    assert [keyring.own(old), renewed.own(old), renewed.own(der(system(certs, "agency"))), "own/bus" in renewed.signers] == [
        True,
        True,
        False,
        False,
    ]


def test_every_bad_file_is_named_at_once(certs):
    """All faults of certs/ are collected: a broken certificate, a key without certificate, and one with another's."""
    (certs / "trust/agency/broken.crt").write_text("nonsense")
    shutil.copy(certs / "own/bus.key", certs / "own/lonely.key")
    shutil.copy(certs / "own/tls.crt", certs / "own/bus.crt")
    with pytest.raises(ConfigurationError) as faults:
        load(certs)
    named = {Path(fault.file).name for fault in faults.value.faults}
    assert named == {"broken.crt", "lonely.key", "bus.key"}


def test_an_unknown_key_name_is_answered_with_the_known(certs):
    """Asking for a key that is not there names those that are."""
    with pytest.raises(KeyError, match=r"did you mean 'own/bus'"):
        load(certs).signer("own/buss")


@pytest.mark.parametrize(
    ("kind", "algorithm", "size"),
    [("rsa-2048", "rsa-sha256", 256), ("ec-p256", "ecdsa-sha256", 64), ("ec-p384", "ecdsa-sha384", 96), ("ed25519", "eddsa-ed25519", 64)],
)
def test_each_key_signs_in_its_own_way(certs, kind, algorithm, size):
    """RSA and EC keys announce their XML-DSig algorithm and give SignatureValue octets of fixed length."""
    issue(certs, key_type=kind)
    shutil.copytree(certs / "issued", certs / "own", dirs_exist_ok=True)
    signer = load(certs).signer("own/x")
    assert (signer.algorithm.rpartition("#")[2], len(signer.sign(b"x"))) == (algorithm, size)


def test_weak_keys_do_not_sign(certs):
    """An RSA key of 1024 bits is refused at load."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    name = x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    with pytest.raises(ValueError, match="2048"):
        Signer("own/weak", SoftKey(key), builder.not_valid_before(NOW).not_valid_after(NOW + DAY).sign(key, hashes.SHA256()))


def test_keys_are_private(certs):
    """Every private key on disk is readable by its owner only, and no representation of a signer shows it."""
    modes = {stat.S_IMODE(path.stat().st_mode) for path in certs.rglob("*.key")}
    assert (modes, repr(load(certs).signer("own/bus"))) == ({0o600}, "Signer('own/bus')")


def test_entries_list_everything(certs):
    """``govbus keys`` sees own keys, anchors, pinned certificates and revocation lists with their end."""
    pki.revoke(certs / "trust/agency/ca.crl", pki.read_authority(certs / "development/agency"), [], NOW)
    (certs / "trust/telecom/leaf.crt").write_bytes((certs / "development/telecom/system.crt").read_bytes())
    kinds = [(entry.name, entry.kind) for entry in load(certs).entries()]
    assert kinds == [
        ("own/bus", "own"),
        ("own/tls", "own"),
        ("trust/telecom", "anchor"),
        ("trust/telecom", "pinned"),
        ("trust/agency", "anchor"),
        ("trust/agency", "crl"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "CN=Cơ quan\\, Đối tác,O=Đối tác,C=VN",
        "C=VN, O=Đối tác, CN=Cơ quan\\, Đối tác",
        'CN="Cơ quan, Đối tác", O=Đối tác, C=VN',
        "c=vn; o=đối tác; cn=cơ  quan\\2c đối tác",
    ],
)
def test_names_are_recognised_however_they_are_spelt(text):
    """Order, spaces, case, quotes and escapes of a distinguished name differ between stacks."""
    pairs = (("C", "VN"), ("O", "Đối tác"), ("CN", "Cơ quan, Đối tác"))
    oids = {"C": x509.NameOID.COUNTRY_NAME, "O": x509.NameOID.ORGANIZATION_NAME, "CN": x509.NameOID.COMMON_NAME}
    name = x509.Name([x509.NameAttribute(oids[kind], value) for kind, value in pairs])
    assert (same_name(text, name), same_name("CN=other,O=Đối tác,C=VN", name)) == (True, False)
