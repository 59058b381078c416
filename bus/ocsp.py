"""OCSP: the question about one certificate, and what an answer must be before it counts. Octets in, octets out.

``read`` promises that the response is about exactly this certificate, that the certificate's issuer signed it, or a responder to which
that issuer gave the right to (id-kp-OCSPSigning), that it is neither older nor younger than it says, and that a nonce in it is ours.

Raises ``Unanswered`` for everything else, an error status among them: such an answer is none.

Standards: RFC 6960 sections 2.2 (status), 3.2 (acceptance), 4.1.1 (CertID), 4.2.1 (response), 4.2.2.2 (authorised responders),
4.2.2.2.1 (id-pkix-ocsp-nocheck); RFC 9654 (nonce).
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

#: How far a responder's clock may be ahead of ours.
SKEW = timedelta(minutes=5)
#: RFC 9654 section 2.1: at least 32 octets are to be sent.
NONCE_OCTETS = 32
#: What the library raises, at once or when a part is looked at, for octets that are no certificate, list or response.
MALFORMED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_WEAK = (hashes.SHA1, hashes.MD5)
_PUBLIC = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


class Unanswered(Exception):
    """No answer that counts; the text says why. ``doubtful``: the responder is there, and does not know the certificate."""

    def __init__(self, text: str, *, doubtful: bool = False) -> None:
        super().__init__(text)
        self.doubtful = doubtful


@dataclass(frozen=True, slots=True)
class Single:
    """What a response says of the one certificate that was asked about (RFC 6960 section 4.2.1, SingleResponse)."""

    serial: int
    revoked_at: datetime | None
    this_update: datetime
    next_update: datetime | None


def request(certificate: x509.Certificate, issuer: x509.Certificate, nonce: bytes) -> bytes:
    """The OCSPRequest (DER). The CertID's hash is SHA-1: it only names the issuer, and every responder knows it (RFC 5019, 2.1.1)."""
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1())  # noqa: S303 - a name, not a proof
    return builder.add_extension(x509.OCSPNonce(nonce), critical=False).build().public_bytes(serialization.Encoding.DER)


def read(octets: bytes, serial: int, issuer: x509.Certificate, at: datetime | None, nonce: bytes | None = None) -> Single:
    """What the response says about the certificate with this serial number. Raises Unanswered.

    ``at``: now; None for a response that was kept, which is read as of its own time. ``nonce``: ours, which the response must repeat if it
    has any; a responder that answers from stock has none.
    """
    try:
        response = ocsp.load_der_ocsp_response(octets)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise Unanswered(f"the responder says {response.response_status.name.lower()}")
        single = _about(response, serial, issuer)
        moment = at or single.this_update_utc
        _check_signature(response, issuer, moment)
        _check_nonce(response, nonce)
        return _single(single, moment)
    except MALFORMED as error:
        raise Unanswered(f"the response cannot be read: {error}") from None


def check_times(this_update: datetime, next_update: datetime | None, at: datetime) -> None:
    """Refuse an answer of the future, and one that has run out already. Raises Unanswered."""
    if this_update > at + SKEW:
        raise Unanswered(f"the answer is of the future: {this_update.isoformat()}")
    if next_update is not None and next_update < at:
        raise Unanswered(f"the answer ran out at {next_update.isoformat()}")


def _about(response: ocsp.OCSPResponse, serial: int, issuer: x509.Certificate) -> ocsp.OCSPSingleResponse:
    for single in response.responses:
        name = hashes.Hash(single.hash_algorithm)
        name.update(issuer.subject.public_bytes())
        # The key's bits without the wrapping of SubjectPublicKeyInfo, which is what method 1 of RFC 5280 section 4.2.1.2 hashes as well.
        key = hashlib.new(single.hash_algorithm.name, _key_bits(issuer)).digest()
        if (single.serial_number, single.issuer_name_hash, single.issuer_key_hash) == (serial, name.finalize(), key):
            return single
    raise Unanswered("the response is about another certificate")


def _key_bits(certificate: x509.Certificate) -> bytes:
    public = certificate.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    if isinstance(public, ec.EllipticCurvePublicKey):
        return public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    if isinstance(public, ed25519.Ed25519PublicKey):
        return public.public_bytes_raw()
    raise Unanswered("the issuer's key is of an unknown kind")


def _check_signature(response: ocsp.OCSPResponse, issuer: x509.Certificate, at: datetime) -> None:
    responder = _responder(response, issuer, at)
    digest = response.signature_hash_algorithm
    if isinstance(digest, _WEAK):
        raise Unanswered(f"the response is signed with {digest.name}")
    key = responder.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey) and digest is not None:
            key.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and digest is not None:
            key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(digest))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(response.signature, response.tbs_response_bytes)
        else:
            raise Unanswered("the responder's key is of an unknown kind")
    except InvalidSignature:
        raise Unanswered("the response's signature does not hold") from None


def _responder(response: ocsp.OCSPResponse, issuer: x509.Certificate, at: datetime) -> x509.Certificate:
    """The issuer itself, or a certificate in the response that the issuer made a responder (section 4.2.2.2)."""
    if _named(response, issuer):
        return issuer
    for candidate in response.certificates:
        if _named(response, candidate):
            _check_delegate(candidate, issuer, at)
            return candidate
    raise Unanswered("the responder is neither the certificate's issuer nor in the response")


def _named(response: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    """Whether ResponderID is this certificate: by name, or by the SHA-1 of its key."""
    if response.responder_name is not None:
        return response.responder_name == certificate.subject
    digest = hashlib.sha1(_key_bits(certificate), usedforsecurity=False).digest()
    return hmac.compare_digest(response.responder_key_hash or b"", digest)


def _check_delegate(delegate: x509.Certificate, issuer: x509.Certificate, at: datetime) -> None:
    try:
        delegate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *MALFORMED):
        raise Unanswered("the responder's certificate is not of the certificate's issuer") from None
    if isinstance(delegate.signature_hash_algorithm, _WEAK):
        raise Unanswered("the responder's certificate is signed with a weak hash")
    if not delegate.not_valid_before_utc <= at <= delegate.not_valid_after_utc:
        raise Unanswered("the responder's certificate is outside its validity")
    extensions = delegate.extensions
    try:
        usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        extensions.get_extension_for_class(x509.OCSPNoCheck)
    except x509.ExtensionNotFound as missing:
        # Without id-pkix-ocsp-nocheck somebody would have to vouch for the responder itself: section 4.2.2.2.1 leaves it to us.
        raise Unanswered(f"the responder's certificate lacks {missing.oid._name}") from None  # noqa: SLF001 - its public name
    if ExtendedKeyUsageOID.OCSP_SIGNING not in usage:
        raise Unanswered("the responder's certificate is not for OCSP signing")


def _check_nonce(response: ocsp.OCSPResponse, nonce: bytes | None) -> None:
    try:
        returned = response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    except x509.ExtensionNotFound:
        return
    if nonce is not None and not hmac.compare_digest(returned, nonce):
        raise Unanswered("the response answers another request: its nonce is not ours")


def _single(single: ocsp.OCSPSingleResponse, at: datetime) -> Single:
    check_times(single.this_update_utc, single.next_update_utc, at)
    if single.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
        raise Unanswered("the responder does not know the certificate", doubtful=True)
    return Single(single.serial_number, single.revocation_time_utc, single.this_update_utc, single.next_update_utc)
