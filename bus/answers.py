"""Answers: what an authority said of its certificates, a revocation list or an OCSP response, verified before it is one.

A list must be complete, or of the very part that the certificate belongs to; it must be signed by the certificate's own issuer, which may
sign lists. Lists signed by others (indirect), of some reasons only, or of changes only (delta) are refused.

Raises ``Unanswered`` for whatever does not count.

Standards: RFC 5280 sections 5.1.2 (times), 5.2 (extensions), 5.2.4 (delta CRLs), 5.2.5 (issuing distribution point), 6.3.3 (f) (cRLSign);
RFC 6960, see ``ocsp.py``.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID

from bus import certfiles, ocsp
from bus.names import equal
from bus.ocsp import MALFORMED, Unanswered

#: Extensions of a list that are understood (RFC 5280 section 5.2: an unknown critical one makes it unusable).
_UNDERSTOOD = frozenset({ExtensionOID.ISSUING_DISTRIBUTION_POINT, ExtensionOID.AUTHORITY_KEY_IDENTIFIER, ExtensionOID.CRL_NUMBER})


def key_of(issuer: x509.Certificate) -> str:
    """An authority, whatever certificate it is shown by: its name and its key."""
    public = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(issuer.subject.public_bytes() + public).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """What an authority said, its signature verified. ``serial``: of the certificate that it is about, None for a whole list."""

    kind: str
    issuer: str
    this_update: datetime
    next_update: datetime | None
    octets: bytes = field(repr=False)
    got: datetime
    serial: int | None = None
    revoked: datetime | None = None
    crl: x509.CertificateRevocationList | None = None

    def until(self, fresh: timedelta) -> datetime:
        """How long it counts."""
        return self.next_update or self.this_update + fresh

    def due(self, fresh: timedelta) -> datetime:
        """When to ask again: well before it runs out, and at least every ``fresh``."""
        until = self.until(fresh)
        return min(until - (until - self.this_update) / 4, self.got + fresh)

    def revoked_at(self, serial: int) -> datetime | None:
        """Since when this certificate is revoked by this answer."""
        if self.crl is None:
            return self.revoked
        entry = self.crl.get_revoked_certificate_by_serial_number(serial)
        return entry.revocation_date_utc if entry is not None else None


def read_ocsp(octets: bytes, serial: int, issuer: x509.Certificate, at: datetime | None, nonce: bytes | None = None) -> Answer:
    """An OCSP response as an answer. ``at``: None for one that was kept. Raises Unanswered."""
    single = ocsp.read(octets, serial, issuer, at, nonce)
    got = at or single.this_update
    return Answer("ocsp", key_of(issuer), single.this_update, single.next_update, octets, got, serial=serial, revoked=single.revoked_at)


def read_crl(octets: bytes, certificate: x509.Certificate | None, issuer: x509.Certificate, at: datetime | None) -> Answer:
    """A complete list of ``issuer`` as an answer: signed by it, neither of the future nor run out. Raises Unanswered.

    A list for a part of the certificates, a shard, is an answer about ``certificate`` alone, if it is of that part. ``at``: None for a
    list that was kept, which is read as of its own time.
    """
    try:
        # Some authorities put the lists of all their keys into one file.
        own = [crl for crl in certfiles.read(octets).crls if issued(issuer, crl) and not _weak(crl)]
        if not own:
            raise Unanswered("the revocation list does not bear a good signature of the certificate's issuer")
        crl = max(own, key=lambda one: one.last_update_utc)
        serial = _scope(crl, certificate)
    except MALFORMED as error:
        raise Unanswered(f"the revocation list cannot be read: {error}") from None
    if not _may_sign_lists(issuer):
        raise Unanswered("the certificate's issuer may not sign revocation lists (cRLSign)")
    moment = at or crl.last_update_utc
    ocsp.check_times(crl.last_update_utc, crl.next_update_utc, moment)
    octets = crl.public_bytes(Encoding.DER)
    return Answer("crl", key_of(issuer), crl.last_update_utc, crl.next_update_utc, octets, moment, serial=serial, crl=crl)


def issued(authority: x509.Certificate, crl: x509.CertificateRevocationList) -> bool:
    """Whether ``crl`` names ``authority`` as its issuer and bears its signature."""
    try:
        return equal(crl.issuer, authority.subject) and crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except (InvalidSignature, *MALFORMED):
        return False


def _weak(crl: x509.CertificateRevocationList) -> bool:
    return isinstance(crl.signature_hash_algorithm, hashes.SHA1 | hashes.MD5)


def _may_sign_lists(authority: x509.Certificate) -> bool:
    try:
        return authority.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def incomplete(crl: x509.CertificateRevocationList) -> str:
    """Why a list does not say of certificates of its issuer, or of a named part of them, which are revoked; "" for one that does."""
    for one in crl.extensions:
        if one.oid == ExtensionOID.DELTA_CRL_INDICATOR or (one.critical and one.oid not in _UNDERSTOOD):
            return f"the revocation list has the critical extension {one.oid.dotted_string}, as a delta list has"
    try:
        scope = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    except x509.ExtensionNotFound:
        return ""
    if scope.indirect_crl:
        return "the revocation list is an indirect one, about certificates of several issuers"
    if scope.only_contains_attribute_certs or scope.only_some_reasons or scope.relative_name:
        return "the revocation list is for attribute certificates, for some reasons, or for a part that is not named in full"
    return ""


def _scope(crl: x509.CertificateRevocationList, certificate: x509.Certificate | None) -> int | None:
    """The serial number that a shard is an answer about, None for a whole list (RFC 5280 section 6.3.3 b). Raises Unanswered."""
    if unfit := incomplete(crl):
        raise Unanswered(unfit)
    try:
        scope = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    except x509.ExtensionNotFound:
        return None
    names = {name.value for name in scope.full_name or () if isinstance(name, x509.UniformResourceIdentifier)}
    if certificate is None or scope.only_contains_ca_certs or not names.intersection(distribution_points(certificate)):
        raise Unanswered("the revocation list is not for this certificate")
    return certificate.serial_number


def distribution_points(certificate: x509.Certificate) -> tuple[str, ...]:
    """Addresses of the lists that a certificate is on (RFC 5280 section 4.2.1.13)."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return ()
    names = (name for point in points for name in point.full_name or () if not point.crl_issuer)
    return tuple(name.value for name in names if isinstance(name, x509.UniformResourceIdentifier))
