"""Time-stamp tokens as other houses' programs write them: kept where they prove what they say, refused where they do not."""

import asyncio
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import cms, core, tsp
from asn1crypto import crl as asn1_crl
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from helping import until
from tsa_server import Authority, der

from bus import log, stamping, timestamps
from bus.errors import Rejected
from bus.timestamps import Stamp
from sandbox import sites
from sandbox.process import BusProcess

NOW = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)
OCTETS = "điểm chốt nhật ký".encode()
NONCE = 0x1122334455667788
#: 20 octets, as the authorities of openssl(1) count when nobody has told them where to begin.
LONG = "7F00000000000000000000000000000000000001"

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


# --- OpenSSL's own authority -------------------------------------------------------------------------------------------

_CONFIGURATION = """
[tsa]
default_tsa = t
[t]
serial = serial
signer_cert = tsa.crt
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
other_policies = 1.2.3.4.2
digests = sha256, sha384, sha512
ess_cert_id_alg = sha256
"""

_OPTIONS = {
    "chain": "certs = ca.crt\n",
    "alone": "",
    "chain of the whole": "certs = ca.crt\ness_cert_id_chain = yes\n",
    "ordered to the millisecond": "certs = ca.crt\nordering = yes\nclock_precision_digits = 3\naccuracy = secs:1, millisecs:500\n",
    "with its name": "certs = ca.crt\ntsa_name = yes\n",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an authority made by openssl(1) alone."""
    directory = tmp_path_factory.mktemp("tsa")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    for name, subject in (("ca", "/C=VN/CN=TSA Root thu"), ("other", "/CN=Khac")):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", subject)
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/C=VN/CN=TSA thu")
    (directory / "tsa.ext").write_text("extendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\n")
    openssl(
        "x509", "-req", "-in", "tsa.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", "tsa.crt", "-extfile", "tsa.ext"
    )
    return directory


def answer(house: Path, asked: bytes, options: str) -> bytes:
    """What OpenSSL's authority answers."""
    (house / "tsa.cnf").write_text(_CONFIGURATION + options)
    (house / "asked.tsq").write_bytes(asked)
    if not (house / "serial").exists():
        (house / "serial").write_text(f"{LONG}\n")
    command = ["openssl", "ts", "-reply", "-config", "tsa.cnf", "-queryfile", "asked.tsq", "-out", "answer.tsr"]
    subprocess.run(command, cwd=house, check=True, capture_output=True)
    return (house / "answer.tsr").read_bytes()


def anchors(house: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates((house / "ca.crt").read_bytes())


def found_good(house: Path, token: bytes, octets: bytes) -> bool:
    """OpenSSL's own word on a token; with the signer's certificate at hand, for tokens that hold none."""
    (house / "token").write_bytes(token)
    (house / "octets").write_bytes(octets)
    command = ["openssl", "ts", "-verify", "-data", "octets", "-in", "token", "-token_in", "-CAfile", "ca.crt"]
    return "Verification: OK" in subprocess.run(command, cwd=house, check=False, capture_output=True, text=True).stdout


@needs_openssl
@pytest.mark.parametrize("kind", _OPTIONS)
@pytest.mark.parametrize("policy", ["", "1.2.3.4.2"])
def test_whatever_openssls_authority_is_told_its_token_is_kept(house: Path, kind: str, policy: str) -> None:
    """With its authority's certificate or without, ordered, accurate, named: both find it good, and the serial number whole."""
    token = timestamps.granted(answer(house, timestamps.request(OCTETS, NONCE, policy), _OPTIONS[kind]))
    stamp = timestamps.verify(token, OCTETS, anchors(house), nonce=NONCE, policy=policy)
    assert (stamp.serial >= int(LONG, 16), found_good(house, token, OCTETS)) == (True, True)


@contextmanager
def serving(answered: Callable[[bytes], bytes], *, chunked: bool = False, kind: str = "application/timestamp-reply") -> Iterator[str]:
    """An authority's HTTP door on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = answered(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))))
            self.end_headers()
            pieces = [body[:100], body[100:], b""] if chunked else []
            self.wfile.write(b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) if chunked else body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@needs_openssl
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("kind", ["application/timestamp-reply", "application/octet-stream"])
async def test_an_answer_counts_however_http_brings_it(house: Path, chunked: bool, kind: str) -> None:
    """In chunks, and by whatever content type: the token proves itself."""
    with serving(lambda asked: answer(house, asked, _OPTIONS["chain"]), chunked=chunked, kind=kind) as url:
        authority = timestamps.Authority(url, tuple(anchors(house)), timedelta(seconds=2))
        token, stamp = await stamping.fetch(authority, OCTETS, lambda: datetime.now(UTC))
    assert (stamp.serial.bit_length() > 64, found_good(house, token, OCTETS)) == (True, True)


# --- tokens made by hand -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority(NOW)


def token_of(authority: Authority, **faults: Any) -> bytes:
    return timestamps.granted(authority.answer(timestamps.request(OCTETS, NONCE), NOW, **faults))


def verified(token: bytes, authority: Authority) -> Stamp:
    return timestamps.verify(token, OCTETS, authority.anchors(), nonce=NONCE)


def with_certificates(token: bytes, *certificates: bytes) -> bytes:
    """The token with these certificates in this order, whatever DER says of a SET's."""
    content = cms.ContentInfo.load(token)
    joined = b"".join(certificates)
    length = len(joined).to_bytes(3)
    signed = content["content"].untag().dump()
    parsed = cms.SignedData.load(signed)
    parts = [parsed[name].dump() for name in ("version", "digest_algorithms", "encap_content_info")]
    parts += [b"\xa0\x83" + length + joined, parsed["signer_infos"].dump()]
    return wrapped(b"".join(parts))


def wrapped(parts: bytes, *, indefinite: bool = False) -> bytes:
    """A ContentInfo around a SignedData's parts, in DER or in BER's indefinite length."""
    if indefinite:
        kind = cms.ContentType("signed_data").dump()
        return b"\x30\x80" + kind + b"\xa0\x80\x30\x80" + parts + b"\x00\x00" * 3
    body = b"\x30\x83" + len(parts).to_bytes(3) + parts
    inner = cms.ContentType("signed_data").dump() + b"\xa0\x83" + len(body).to_bytes(3) + body
    return b"\x30\x83" + len(inner).to_bytes(3) + inner


def orders(authority: Authority) -> dict[str, list[bytes]]:
    own, root, other = der(authority.certificate), der(authority.root), der(Authority(NOW).root)
    return {
        "DER": sorted([own, root, other]),
        "not DER": sorted([own, root, other], reverse=True),
        "each twice": [root, own, root, own],
        "the signer's last": [other, root, own],
    }


@pytest.mark.parametrize("order", ["DER", "not DER", "each twice", "the signer's last"])
def test_certificates_may_come_in_any_order(authority: Authority, order: str) -> None:
    """A SET has none; of two of a kind one counts; those of others do no harm and help nobody."""
    stamp = verified(with_certificates(token_of(authority), *orders(authority)[order]), authority)
    assert (stamp.at, stamp.certificate) == (NOW, der(authority.certificate))


def test_what_is_not_signed_may_be_in_ber(authority: Authority) -> None:
    """Java's libraries write indefinite lengths around what they have signed."""
    signed = cms.ContentInfo.load(token_of(authority))["content"]
    names = ("version", "digest_algorithms", "encap_content_info", "certificates", "signer_infos")
    assert verified(wrapped(b"".join(signed[name].dump() for name in names), indefinite=True), authority).at == NOW


def test_lists_and_unsigned_attributes_in_a_token_say_nothing(authority: Authority) -> None:
    """Revocation lists in a token and attributes that nobody signed change neither what it proves nor whether it does."""
    content = cms.ContentInfo.load(token_of(authority))
    signed = content["content"]
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.root.subject).last_update(NOW)
    crl = builder.next_update(NOW + timedelta(days=1)).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    signed["crls"] = [asn1_crl.CertificateList.load(crl)]
    extra = cms.CMSAttribute({"type": "1.2.3.4", "values": [core.Any(core.UTF8String("x"))]})
    signed["signer_infos"][0]["unsigned_attrs"] = [extra]
    assert verified(content.dump(force=True), authority).at == NOW


def test_a_token_without_the_signers_certificate_is_refused(authority: Authority) -> None:
    """We asked for it; one of the same name and another key, or the authority's alone, is not it."""
    for certificates in ([], [der(authority.root)], [der(Authority(NOW).certificate), der(authority.root)]):
        with pytest.raises(Rejected, match="identifier is not the signer's"):
            verified(with_certificates(token_of(authority), *certificates), authority)


def signed_anew(authority: Authority, *, turned: bool) -> bytes:
    """A token whose signed attributes stand in DER's order or in the reverse, signed over the octets as they stand."""
    signed = cms.ContentInfo.load(token_of(authority))["content"]
    [signer] = signed["signer_infos"]
    attributes = b"".join(sorted((one.dump() for one in signer["signed_attrs"]), reverse=turned))
    as_set = b"\x31\x81" + bytes([len(attributes)]) + attributes
    assert isinstance(authority.key, ec.EllipticCurvePrivateKey)
    parts = [signer[name].dump() for name in ("version", "sid", "digest_algorithm")] + [b"\xa0" + as_set[1:]]
    parts += [signer["signature_algorithm"].dump(), core.OctetString(authority.key.sign(as_set, ec.ECDSA(hashes.SHA256()))).dump()]
    info = b"".join(parts)
    one = b"\x30\x82" + len(info).to_bytes(2) + info
    body = b"".join(signed[name].dump() for name in ("version", "digest_algorithms", "encap_content_info", "certificates"))
    return wrapped(body + b"\x31\x82" + len(one).to_bytes(2) + one)


def test_signed_attributes_in_another_order_than_ders_are_refused(authority: Authority) -> None:
    """They alone must be DER (RFC 5652 section 5.3), even when their signature is over the octets as they stand."""
    assert verified(signed_anew(authority, turned=False), authority).at == NOW
    with pytest.raises(Rejected, match="InvalidSetOrdering"):
        verified(signed_anew(authority, turned=True), authority)


def test_granted_with_changes_is_granted(authority: Authority) -> None:
    """The authority says that it did something otherwise; what we asked for is checked by us."""
    given = tsp.TimeStampResp.load(authority.answer(timestamps.request(OCTETS, NONCE), NOW))
    given["status"]["status"] = "granted_with_mods"
    assert verified(timestamps.granted(given.dump(force=True)), authority).at == NOW


# --- serial numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2**63, 2**64, 2**160 - 1, -(2**159), int(LONG, 16)])
def test_a_line_of_the_log_takes_any_whole_number(number: int) -> None:
    """Serial numbers have up to 160 bits; a line that cannot be written must never end what it tells of."""
    assert json.loads(log.line({"event": "x", "serial": number}))["serial"] == number


def test_a_line_of_the_log_takes_half_a_character() -> None:
    """A stranger's words may hold what no UTF-8 can."""
    assert json.loads(log.line({"event": "x\ud800"})) == {"event": "x\ud800"}


# --- the daemon --------------------------------------------------------------------------------------------------------


@needs_openssl
async def test_the_daemon_goes_on_with_openssls_tokens(house: Path, tmp_path: Path, start: Callable[..., BusProcess]) -> None:
    """Certificates in any order, serial numbers of 20 octets, a limit of seconds: each is kept and logged, and nothing stops."""
    made = sites.create(tmp_path, datetime.now(UTC))
    routes = made.ministry / "routes.yaml"
    limited = "  tls: own/tls\n  timestamps: {url: env:TSA_URL, every: 1s, limit: 60s}\n"
    routes.write_text(routes.read_text(encoding="utf-8").replace("  tls: own/tls\n", limited), encoding="utf-8")
    trusted = made.ministry / "certs" / "trust" / "tsa"
    trusted.mkdir()
    shutil.copy(house / "ca.crt", trusted / "ca.CER")
    with serving(lambda asked: answer(house, asked, _OPTIONS["chain"])) as url:
        environment = {"TSA_URL": url, "AGENCY_URL": "https://127.0.0.1:1/soap"}
        bus = await asyncio.to_thread(start, made.ministry, environment=environment)
        stamped = lambda: [line for line in bus.log_lines() if line["event"] == log.TIMESTAMPED]  # noqa: E731 - said once
        await until(stamped)
        bus.stop()
    assert int(stamped()[0]["serial"], 16).bit_length() > 64
    # The hub is nobody here, which is an alarm of its own.
    lines = [line for line in bus.log_lines() if line["event"] != log.FETCHING_FAILS]
    assert [line for line in lines if line["event"] in {log.TIMESTAMP_FAILED, "unexpected"} or line["level"] == "error"] == []
