"""A small, real time-stamping authority: it answers RFC 3161 requests over HTTP on loopback, with a key and a certificate of its own.

What it is to do wrong a test says with ``faults``: the authority that lies is as real as the one that does not.
"""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from asn1crypto import cms, core, tsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

POLICY = "1.3.6.1.4.1.99999.1"
_LIFE = timedelta(days=365)
_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


@dataclass
class Authority:
    """A root and the time-stamping unit under it. ``purposes``: the unit's extended key usage, in the order given; none for ()."""

    now: datetime
    purposes: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.TIME_STAMPING,)
    critical: bool = True
    rsa_key: bool = False
    begins: timedelta = timedelta(days=-1)
    ends: timedelta = _LIFE
    root: x509.Certificate = field(init=False)
    root_key: ec.EllipticCurvePrivateKey = field(init=False)
    certificate: x509.Certificate = field(init=False)
    key: _Key = field(init=False)
    _serial: int = 0

    def __post_init__(self) -> None:
        self.root_key = root_key = ec.generate_private_key(ec.SECP256R1())
        self.key = rsa.generate_private_key(65537, 2048) if self.rsa_key else ec.generate_private_key(ec.SECP256R1())
        self.root = _certificate(
            "Thử nghiệm Root", "Thử nghiệm Root", root_key, root_key, self.now - timedelta(days=3650), self.now + 10 * _LIFE
        )
        usage = x509.ExtendedKeyUsage(self.purposes) if self.purposes else None
        begin, end = self.now + self.begins, self.now + self.ends
        self.certificate = _certificate("Thử nghiệm TSA", "Thử nghiệm Root", self.key, root_key, begin, end, usage, critical=self.critical)

    def anchors(self) -> list[x509.Certificate]:
        """What is to be trusted for its tokens to be."""
        return [self.root]

    def write(self, directory: Path) -> None:
        """Put what is to be trusted where a site looks for it."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "ca.crt").write_bytes(self.root.public_bytes(serialization.Encoding.PEM))

    def token(self, imprint: bytes, at: datetime, nonce: int | None = None, **faults: Any) -> bytes:
        """A TimeStampToken for an imprint. ``faults``: ``policy``, ``hash`` of the signature, ``named``: the certificate in ESSCertIDv2."""
        self._serial += 1
        info: dict[str, Any] = {
            "version": "v1",
            "policy": faults.get("policy", POLICY),
            "message_imprint": {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": imprint},
            "serial_number": self._serial,
            "gen_time": at,
        }
        content = tsp.TSTInfo({**info, "nonce": nonce} if nonce is not None else info).dump()
        return self._signed(content, faults.get("hash", "sha256"), faults.get("named", self.certificate))

    def _signed(self, content: bytes, name: str, named: x509.Certificate | None) -> bytes:
        algorithm: hashes.HashAlgorithm = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256()}[name]
        attributes = [
            cms.CMSAttribute({"type": "content_type", "values": ["tst_info"]}),
            cms.CMSAttribute({"type": "message_digest", "values": [hashlib.new(name, content).digest()]}),
        ]
        if named is not None:
            identifier = tsp.ESSCertIDv2({"cert_hash": hashlib.sha256(der(named)).digest()})
            value = tsp.SigningCertificateV2({"certs": [identifier]})
            attributes.append(cms.CMSAttribute({"type": "signing_certificate_v2", "values": [value]}))
        signed = cms.CMSAttributes(attributes)
        if isinstance(self.key, rsa.RSAPrivateKey):
            method, value = f"{name}_rsa", self.key.sign(signed.dump(), padding.PKCS1v15(), algorithm)
        else:
            method, value = f"{name}_ecdsa", self.key.sign(signed.dump(), ec.ECDSA(algorithm))
        own = cms.Certificate.load(der(self.certificate))
        place = cms.IssuerAndSerialNumber({"issuer": own.issuer, "serial_number": own.serial_number})
        signer = {
            "version": "v1",
            "sid": cms.SignerIdentifier("issuer_and_serial_number", place),
            "digest_algorithm": {"algorithm": name},
            "signed_attrs": signed,
            "signature_algorithm": {"algorithm": method},
            "signature": value,
        }
        data = {
            "version": "v3",
            "digest_algorithms": [{"algorithm": name}],
            "encap_content_info": {"content_type": "tst_info", "content": core.ParsableOctetString(content)},
            "certificates": [own],
            "signer_infos": [signer],
        }
        return bytes(cms.ContentInfo({"content_type": "signed_data", "content": cms.SignedData(data)}).dump())

    def answer(self, request: bytes, at: datetime, **faults: Any) -> bytes:
        """The TimeStampResp to a request. ``faults``, beside those of ``token``: ``status``, and an ``imprint`` or ``nonce`` of its own."""
        if "status" in faults:
            refusal = tsp.PKIStatusInfo({"status": faults["status"], "status_string": ["không cấp"], "fail_info": {"system_failure"}})
            # A sequence of one: the library does not know that the token is optional.
            return bytes(core.SequenceOf([refusal], spec=tsp.PKIStatusInfo).dump())
        asked = tsp.TimeStampReq.load(request)
        told = {"imprint": asked["message_imprint"]["hashed_message"].native, "nonce": asked["nonce"].native, **faults}
        token = self.token(at=at, **told)
        return bytes(tsp.TimeStampResp({"status": {"status": "granted"}, "time_stamp_token": cms.ContentInfo.load(token)}).dump())


def _certificate(
    name: str,
    issuer: str,
    key: _Key,
    issuer_key: ec.EllipticCurvePrivateKey,
    begin: datetime,
    end: datetime,
    usage: x509.ExtendedKeyUsage | None = None,
    *,
    critical: bool = True,
) -> x509.Certificate:
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer)]
    builder = (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
    )
    if usage is not None:
        builder = builder.add_extension(usage, critical=critical)
    return builder.sign(issuer_key, hashes.SHA256())


class TimestampServer:
    """The authority behind HTTP, on a free loopback port; ``with TimestampServer(...)`` starts and ends it.

    ``down``: every request gets 503. ``faults``: see ``Authority.answer``. ``requests``: how many came.
    """

    def __init__(self, authority: Authority, clock: Any = lambda: datetime.now(UTC)) -> None:
        self.authority = authority
        self.clock = clock
        self.down = False
        self.faults: Mapping[str, Any] = {}
        self.requests = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/tsa"
        # Whoever asks may die while it waits for the answer.
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = self.rfile.read(int(self.headers["Content-Length"]))
                server.requests += 1
                if server.down or self.headers["Content-Type"] != "application/timestamp-query":
                    self.send_error(503)
                    return
                answer = server.authority.answer(request, server.clock(), **server.faults)
                self.send_response(200)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler
