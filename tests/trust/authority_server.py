"""A certification authority with its shop open on loopback: it issues, revokes, publishes its list and answers OCSP requests (RFC 6960)."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "VN"), x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def usage(*, authority: bool = False, **said: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    given = {**dict.fromkeys((*names, "encipher_only", "decipher_only"), False), "key_cert_sign": authority, "crl_sign": authority}
    given |= {"digital_signature": not authority, "content_commitment": not authority} | said
    return x509.KeyUsage(**given)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def sha1_signed(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """The same, signed with SHA-1: the library that makes our certificates refuses to."""
    parsed = asn1.Certificate.load(certificate.public_bytes(Encoding.DER))
    parsed["tbs_certificate"]["signature"] = {"algorithm": "sha1_ecdsa"}
    parsed["signature_algorithm"] = {"algorithm": "sha1_ecdsa"}
    parsed["signature_value"] = key.sign(parsed["tbs_certificate"].dump(force=True), ec.ECDSA(hashes.SHA1()))
    return x509.load_der_x509_certificate(parsed.dump(force=True))


@dataclass
class Issuer:
    """An authority. ``now`` is the time it believes in; ``url`` where its certificates say that it answers, if anywhere."""

    common_name: str
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    parent: "Issuer | None" = None
    url: str = ""
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = ()
    algorithm: hashes.HashAlgorithm = field(default_factory=hashes.SHA256)
    key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    path_length: int | None = None
    revoked: dict[int, datetime] = field(default_factory=dict)
    crl_life: timedelta = HOUR
    ocsp_life: timedelta | None = HOUR
    published: int = 0

    def __post_init__(self) -> None:
        signer = self.parent or self
        constraints = [(x509.BasicConstraints(ca=True, path_length=self.path_length), True), (usage(authority=True), True)]
        self.certificate = signer.sign(self.common_name, self.key.public_key(), [*constraints, *self.extensions], 3650 * DAY)

    def sign(
        self,
        common_name: str,
        public: Any,
        extensions: Sequence[tuple[x509.ExtensionType, bool]],
        life: timedelta,
        *,
        start: datetime | None = None,
        algorithm: hashes.HashAlgorithm | None = None,
    ) -> x509.Certificate:
        begin = start or self.now() - DAY
        builder = x509.CertificateBuilder().subject_name(name(common_name)).issuer_name(name(self.common_name)).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(begin + DAY + life)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, algorithm or self.algorithm)

    def leaf(
        self, common_name: str, key: Any = None, *more: x509.ExtensionType, life: timedelta = 365 * DAY, **options: Any
    ) -> x509.Certificate:
        """A certificate for signing, unless ``more`` says otherwise; it names the authority's responder and list, if there are any."""
        told = {type(one) for one in more}
        extensions: list[tuple[x509.ExtensionType, bool]] = [(x509.BasicConstraints(ca=False, path_length=None), True)]
        if x509.KeyUsage not in told:
            extensions.append((usage(), True))
        if self.url and x509.AuthorityInformationAccess not in told:
            place = x509.UniformResourceIdentifier(f"{self.url}/ocsp")
            access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)
            point = x509.DistributionPoint([x509.UniformResourceIdentifier(f"{self.url}/ca.crl")], None, None, None)
            extensions += [(x509.AuthorityInformationAccess([access]), False), (x509.CRLDistributionPoints([point]), False)]
        extensions += [(one, isinstance(one, x509.KeyUsage)) for one in more]
        public = (key or ec.generate_private_key(ec.SECP256R1())).public_key()
        return self.sign(common_name, public, extensions, life, **options)

    def revoke(self, certificate: x509.Certificate) -> None:
        self.revoked[certificate.serial_number] = self.now() - timedelta(minutes=1)

    def crl(self, *extensions: tuple[x509.ExtensionType, bool], at: datetime | None = None) -> bytes:
        now = (at or self.now()).replace(microsecond=0)
        builder = (
            x509.CertificateRevocationListBuilder().issuer_name(name(self.common_name)).last_update(now).next_update(now + self.crl_life)
        )
        for serial, since in self.revoked.items():
            builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since).build())
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def delegate(self, *, no_check: bool = True, signing: bool = True, life: timedelta = DAY) -> tuple[Any, x509.Certificate]:
        """A responder's key, and its certificate (RFC 6960 section 4.2.2.2)."""
        key = ec.generate_private_key(ec.SECP256R1())
        purpose = ExtendedKeyUsageOID.OCSP_SIGNING if signing else ExtendedKeyUsageOID.EMAIL_PROTECTION
        more = [x509.ExtendedKeyUsage([purpose]), *([x509.OCSPNoCheck()] if no_check else [])]
        return key, self.sign("OCSP", key.public_key(), [(usage(), True), *((one, False) for one in more)], life)

    def answer(
        self,
        certificate: x509.Certificate,
        *,
        nonce: bytes | None = None,
        by: "tuple[Any, x509.Certificate] | None" = None,
        at: datetime | None = None,
        status: ocsp.OCSPCertStatus | None = None,
        issuer: x509.Certificate | None = None,
    ) -> bytes:
        """An OCSP response (DER) about ``certificate``, signed by the authority itself or by a delegate."""
        now = (at or self.now()).replace(microsecond=0)
        since = self.revoked.get(certificate.serial_number)
        good = ocsp.OCSPCertStatus.REVOKED if since else ocsp.OCSPCertStatus.GOOD
        key, responder = by or (self.key, self.certificate)
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=certificate,
            issuer=issuer or self.certificate,
            algorithm=hashes.SHA1(),
            cert_status=status or good,
            this_update=now,
            next_update=now + self.ocsp_life if self.ocsp_life else None,
            revocation_time=since if status is None else None,
            revocation_reason=None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, responder)
        if by:
            builder = builder.certificates([responder])
        if nonce is not None:
            builder = builder.add_extension(x509.OCSPNonce(nonce), False)
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


class AuthorityServer:
    """The authority's address on loopback: ``/ocsp`` and ``/ca.crl``. ``known``: the certificates that it is asked about.

    ``broken``: what it does instead of answering: "status", "huge", "redirect", "garbage", "silent"; ``asked`` counts requests by path.
    """

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.known: list[x509.Certificate] = []
        self.broken = ""
        self.asked: dict[str, int] = {}
        self._quiet = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def open(self) -> None:
        """Answer from now on, at the port of before."""
        server = self
        self._quiet.clear()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._handle(self, b"")

            def do_POST(self) -> None:
                server._handle(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        """Nobody listens any more."""
        self._quiet.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _handle(self, handler: BaseHTTPRequestHandler, question: bytes) -> None:
        self.asked[handler.path] = self.asked.get(handler.path, 0) + 1
        if self.broken == "silent":
            self._quiet.wait(30)
            return
        octets = self._answer(handler.path, question)
        status = {"status": 503, "redirect": 302}.get(self.broken, 200)
        if self.broken == "garbage":
            octets = b"<html>Xin chao</html>"
        if self.broken == "huge":
            octets += bytes(70_000 if handler.path == "/ocsp" else 17 << 20)
        handler.send_response(status)
        if self.broken == "redirect":
            handler.send_header("Location", f"{self.url}/elsewhere")
        handler.send_header("Content-Length", str(len(octets)))
        handler.end_headers()
        try:
            handler.wfile.write(octets)
        except OSError:
            # The other side has had enough.
            return

    def _answer(self, path: str, question: bytes) -> bytes:
        if path != "/ocsp":
            return self.issuer.crl()
        request = ocsp.load_der_ocsp_request(question)
        nonce = request.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
        certificate = next((one for one in self.known if one.serial_number == request.serial_number), None)
        if certificate is None:
            return ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED).public_bytes(Encoding.DER)
        return self.issuer.answer(certificate, nonce=nonce)
