"""Revocation lists in hand: which of them speak of a certificate, and what they say together.

A list is matched by key: it is of the authority that signed it. An authority that was given another key keeps its name, and its lists of
before say nothing about what the new key signed. Only where the issuer's certificate is not known do lists by its name count, except
those that another authority there signed: whoever can write into a directory may refuse, never admit.

The newest list of a kind counts; an older one beside it takes nothing away. What an older or a later one revokes stays revoked: only a
hold (RFC 5280 section 5.3.1) is lifted by the newest. Lists of parts are each a kind of their own.

Raises Rejected: ``certificate-revoked``, ``crl-expired``.

Standards: RFC 5280 sections 5.1.2 (times), 5.2.5 (issuing distribution point), 5.3.1 (reasons), 6.3.3.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from cryptography import x509

from bus.answers import distribution_points, issued
from bus.errors import Rejected
from bus.names import equal
from bus.ocsp import SKEW

_EVER = datetime.max.replace(tzinfo=UTC)
_List = x509.CertificateRevocationList


def check(
    crls: Iterable[_List],
    certificate: x509.Certificate,
    issuer: x509.Certificate | None,
    at: datetime,
    *,
    others: Iterable[x509.Certificate] = (),
    today: datetime | None = None,
) -> None:
    """Refuse a certificate that the lists of ``issuer`` had revoked by ``at``, or of which all have run out by ``today`` (None: ``at``).

    ``issuer``: None where it is not known; ``others``: authorities that are.
    """
    kinds: dict[bytes, list[_List]] = {}
    for crl in _of(crls, certificate, issuer, tuple(others)):
        kinds.setdefault(_scope_octets(crl), []).append(crl)
    for lists in kinds.values():
        _check_kind(sorted(lists, key=lambda crl: crl.last_update_utc), certificate, at, today or at)


def run_out(crls: Iterable[_List], at: datetime) -> list[_List]:
    """Of the lists of one issuer, the newest of each kind that has run out: they refuse whoever they concern."""
    newest = {_scope_octets(crl): crl for crl in sorted(crls, key=_end)}
    return [crl for crl in newest.values() if _end(crl) < at]


def _of(
    crls: Iterable[_List], certificate: x509.Certificate, issuer: x509.Certificate | None, others: Sequence[x509.Certificate]
) -> list[_List]:
    if issuer is not None:
        return [crl for crl in crls if issued(issuer, crl)]
    named = [crl for crl in crls if equal(crl.issuer, certificate.issuer)]
    return [crl for crl in named if not any(issued(other, crl) for other in others)]


def _check_kind(lists: Sequence[_List], certificate: x509.Certificate, at: datetime, today: datetime) -> None:
    """``lists``: of one issuer and kind, in the order of their times."""
    begun = [crl for crl in lists if crl.last_update_utc <= today + SKEW]
    newest = (begun or lists)[-1]
    for crl in lists:
        entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if entry is not None and entry.revocation_date_utc <= at and (crl is newest or not _held(entry)):
            raise Rejected("certificate-revoked", subject=certificate.subject.rfc4514_string() or "-")
    if begun and _concerns(newest, certificate) and max(map(_end, begun)) < today:
        last = max(begun, key=_end)
        raise Rejected("crl-expired", issuer=last.issuer.rfc4514_string() or "-", end=_end(last).isoformat())


def _end(crl: _List) -> datetime:
    return crl.next_update_utc or _EVER


def _held(entry: x509.RevokedCertificate) -> bool:
    try:
        return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.certificate_hold
    except (x509.ExtensionNotFound, ValueError):
        return False


def _scope(crl: _List) -> x509.IssuingDistributionPoint | None:
    try:
        return crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    except x509.ExtensionNotFound:
        return None


def _scope_octets(crl: _List) -> bytes:
    scope = _scope(crl)
    return b"" if scope is None else scope.public_bytes()


def _concerns(crl: _List, certificate: x509.Certificate) -> bool:
    """Whether the certificate is of the part that the list is for. Whatever a list names is refused, of its part or not."""
    scope = _scope(crl)
    if scope is None:
        return True
    try:
        authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        authority = False
    if (scope.only_contains_ca_certs and not authority) or (scope.only_contains_user_certs and authority):
        return False
    places = {name.value for name in scope.full_name or () if isinstance(name, x509.UniformResourceIdentifier)}
    known = distribution_points(certificate)
    return not places or not known or not places.isdisjoint(known)
