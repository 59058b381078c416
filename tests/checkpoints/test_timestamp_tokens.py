"""Time-stamp tokens: one that proves what it says is believed, and each that does not is refused with the check that failed."""

import shutil
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import cms
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from tsa_server import POLICY, Authority, der

from bus import timestamps
from bus.errors import Deferred, Rejected

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
OCTETS = "điểm chốt nhật ký".encode()
NONCE = 0x1122334455667788


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority(NOW)


def answered(authority: Authority, at: datetime = NOW, **faults: Any) -> bytes:
    """The token of an answer to our request."""
    return timestamps.granted(authority.answer(timestamps.request(OCTETS, NONCE), at, **faults))


@pytest.mark.parametrize("rsa_key", [True, False])
def test_a_good_token_says_when(rsa_key: bool) -> None:
    """Whatever the authority's key: time, policy and certificate of what it signed."""
    authority = Authority(NOW, rsa_key=rsa_key)
    stamp = timestamps.verify(answered(authority), OCTETS, authority.anchors(), nonce=NONCE, policy=POLICY)
    assert (stamp.at, stamp.policy, stamp.certificate) == (NOW, POLICY, der(authority.certificate))


def test_a_token_outlives_the_certificate_it_was_made_with() -> None:
    """The path is checked as of the token's own time: years later it proves what it proved."""
    authority = Authority(NOW, begins=timedelta(days=-900), ends=timedelta(days=-600))
    token = answered(authority, NOW - timedelta(days=700))
    assert timestamps.verify(token, OCTETS, authority.anchors()).at == NOW - timedelta(days=700)


@dataclass(frozen=True)
class Case:
    """One way in which a token is no good: how the authority errs, how we ask, and what the refusal names."""

    check: str
    faults: dict[str, Any]
    authority: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    at: datetime = NOW
    octets: bytes = OCTETS


CASES = {
    "other-octets": Case("Mismatch between messages", {}, octets=b"other"),
    "other-imprint": Case("Mismatch between messages", {"imprint": bytes(32)}),
    "other-nonce": Case("nonce is not ours", {"nonce": NONCE + 1}),
    "no-nonce": Case("nonce is not ours", {"nonce": None}),
    "other-policy": Case(f"policy is 1.2.3, not {POLICY}", {"policy": "1.2.3"}, asked={"policy": POLICY}),
    "no-purpose": Case("not one for time-stamps", {}, {"purposes": ()}),
    "purpose-not-critical": Case("not one for time-stamps alone", {}, {"critical": False}),
    "two-purposes": Case(
        "not one for time-stamps alone", {}, {"purposes": (ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING)}
    ),
    "another-purpose": Case("not one for time-stamps alone", {}, {"purposes": (ExtendedKeyUsageOID.CLIENT_AUTH,)}),
    "expired": Case("certificate has expired", {}, {"begins": timedelta(days=-9), "ends": timedelta(days=-2)}),
    "not-yet-valid": Case("not yet valid", {}, {"begins": timedelta(days=2)}),
    "sha1": Case("signed with sha1", {"hash": "sha1"}),
    "names-no-certificate": Case("names the authority's certificate", {"named": None}),
    "no-anchor": Case("no authority to trust", {}, asked={"anchors": []}),
}


@pytest.mark.parametrize("name", CASES)
def test_fault_39_a_token_that_does_not_prove_it_is_refused(name: str) -> None:
    """5.7.7, and the check that failed."""
    case = CASES[name]
    authority = Authority(NOW, **case.authority)
    asked = {"anchors": authority.anchors(), "nonce": NONCE, **case.asked}
    with pytest.raises(Rejected, match=case.check) as refusal:
        timestamps.verify(answered(authority, case.at, **case.faults), case.octets, **asked)
    assert refusal.value.code == "5.7.7"


def test_fault_39_a_token_of_another_authority_is_refused(authority: Authority) -> None:
    """The same names and another key: the path does not lead to what we trust. And a certificate that is not the signer's is no help."""
    other = Authority(NOW)
    with pytest.raises(Rejected, match="certificate signature failure"):
        timestamps.verify(answered(other), OCTETS, authority.anchors())
    with pytest.raises(Rejected, match="identifier is not the signer's"):
        timestamps.verify(answered(authority, named=other.certificate), OCTETS, authority.anchors())


def test_no_octet_of_what_is_signed_can_be_changed(authority: Authority) -> None:
    """Each octet of the TSTInfo and of the signed attributes, changed, is found; nothing but Rejected ever comes of a damaged token."""
    token = answered(authority)
    info = bytes(cms.ContentInfo.load(token)["content"]["encap_content_info"]["content"].parsed.dump())
    begin = token.index(info)
    passed = []
    for at in range(len(token)):
        changed = token[:at] + bytes([token[at] ^ 1]) + token[at + 1 :]
        try:
            timestamps.verify(changed, OCTETS, authority.anchors(), nonce=NONCE)
        except Rejected:
            continue
        passed.append(at)
    assert [at for at in passed if begin <= at < begin + len(info)] == []
    # What no signature covers is few octets of framing: the journal holds the digest of the whole token.
    assert len(passed) < 20


@pytest.mark.parametrize("answer", [b"", b"<html>503</html>", bytes(200), b"\x30\x03\x02\x01\x00"])
def test_what_is_no_answer_is_refused(answer: bytes) -> None:
    """An error page, nothing, zeros, a status that grants and holds no token: Rejected, and never an error of ours."""
    with pytest.raises((Rejected, Deferred)):
        timestamps.verify(timestamps.granted(answer), OCTETS, [])


def test_an_authority_that_does_not_grant_says_why(authority: Authority) -> None:
    """4.7.0 with the authority's own words: it may grant one later."""
    with pytest.raises(Deferred, match=r"4\.7\.0.*không cấp"):
        answered(authority, status="rejection")


#: A configuration of OpenSSL's own authority (openssl-ts(1)).
_OPENSSL_TSA = f"""
[tsa]
default_tsa = unit
[unit]
serial = serial
signer_digest = sha256
default_policy = {POLICY}
digests = sha256
accuracy = secs:1
clock_precision_digits = 3
tsa_name = yes
ess_cert_id_alg = HASH
"""


@pytest.mark.parametrize("ess_hash", ["sha1", "sha256"])
def test_a_token_of_openssls_authority_is_believed(tmp_path: Path, ess_hash: str) -> None:
    """What another house's authority answers to our request, with ESSCertID as with ESSCertIDv2, proves what ours proves."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    now = datetime.now(UTC)
    authority = Authority(now, rsa_key=True)
    (tmp_path / "tsa.cnf").write_text(_OPENSSL_TSA.replace("HASH", ess_hash))
    (tmp_path / "serial").write_text("01\n")
    (tmp_path / "request.tsq").write_bytes(timestamps.request(OCTETS, NONCE, POLICY))
    (tmp_path / "tsa.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "tsa.key").write_bytes(authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    command = [openssl, "ts", "-reply", "-config", "tsa.cnf", "-queryfile", "request.tsq", "-signer", "tsa.pem", "-inkey", "tsa.key"]
    done = subprocess.run([*command, "-out", "answer.tsr"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    token = timestamps.granted((tmp_path / "answer.tsr").read_bytes())
    stamp = timestamps.verify(token, OCTETS, authority.anchors(), nonce=NONCE, policy=POLICY)
    assert abs(stamp.at - now) < timedelta(minutes=1)
    with pytest.raises(Rejected, match="Mismatch"):
        timestamps.verify(token, OCTETS + b" ", authority.anchors())


def test_openssl_believes_our_authority_and_our_request(tmp_path: Path, authority: Authority) -> None:
    """The program of another house reads the request, and verifies the token that the tests' authority made for it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    asked, root, token = tmp_path / "request.tsq", tmp_path / "root.pem", tmp_path / "token.der"
    asked.write_bytes(timestamps.request(OCTETS, NONCE, POLICY))
    token.write_bytes(answered(authority, datetime.now(UTC)))
    root.write_bytes(authority.root.public_bytes(Encoding.PEM))
    told = subprocess.run([openssl, "ts", "-query", "-in", asked, "-text"], capture_output=True, text=True, check=True).stdout
    assert (f"Policy OID: {POLICY}" in told, f"Nonce: 0x{NONCE:X}" in told, "Certificate required: yes" in told) == (True, True, True)
    (tmp_path / "octets").write_bytes(OCTETS)
    command = [openssl, "ts", "-verify", "-data", tmp_path / "octets", "-in", token, "-token_in", "-CAfile", root]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Verification: OK" in done.stdout, done.stderr
