"""Revocation: what is known of a certificate's status, what a partner's entry demands to be known, and the judgement.

Nothing is fetched here, and no clock is read. A judgement that lacks an answer raises ``Unsettled``, which names the ``Link`` that must be
asked about; the shell asks (``bus.responders``) and hands the answer to ``Statuses``. ``settled`` is that loop.

A revocation counts whoever tells of it, and for ever. That a certificate is *not* revoked counts until the answer's nextUpdate, or for
``fresh`` where it has none. What is not known is refused (4.7.5), unless ``when-unknown: accept``: then it is accepted until the newest
answer held of that issuer has been out for ``grace``. An issuer that never answered has no grace.

Raises ``Rejected`` ``certificate-revoked``; ``Unsettled``, a ``Deferred``; ``Unanswered`` for a list that does not count.

Standards: RFC 5280 sections 5.1.2 (times), 5.2.4 (delta CRLs), 5.2.5 (issuing distribution point), 6.3.3 (f) (cRLSign); RFC 6960.
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtensionOID

from bus import ocsp
from bus.errors import Deferred, Phrase, Rejected
from bus.ocsp import Unanswered

T = TypeVar("T")

#: Far enough: the judgement holds until something else ends it.
EVER = datetime(9999, 1, 1, tzinfo=UTC)
#: After an unsuccessful question whoever needs the status is judged without waiting, for this long: it is asked again in the background.
OUTAGE = timedelta(seconds=60)
RETRY_AFTER = 60.0
#: A partner's certificates below its anchor; more is no real hierarchy.
MOST_LINKS = 4
#: Certificates whose status is kept fresh in the background; one a partner's system is usual.
_MOST_WANTED = 4096
#: Extensions of a list that are understood (RFC 5280 section 5.2: an unknown critical one makes it unusable).
_UNDERSTOOD = frozenset({ExtensionOID.ISSUING_DISTRIBUTION_POINT, ExtensionOID.AUTHORITY_KEY_IDENTIFIER, ExtensionOID.CRL_NUMBER})


class Check(StrEnum):
    """Where a partner's certificates must be known good: ``revocation: {check: …}``."""

    NONE = "none"
    DIRECTORY = "directory"
    CRL = "crl"
    OCSP = "ocsp"
    EITHER = "either"

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is asked, in this order."""
        return {Check.CRL: ("crl",), Check.OCSP: ("ocsp",), Check.EITHER: ("ocsp", "crl")}.get(self, ())


@dataclass(frozen=True, slots=True)
class Rules:
    """A partner's ``revocation:``. ``crl`` and ``ocsp``: addresses to ask instead of those that the certificate names."""

    check: Check = Check.DIRECTORY
    accept_unknown: bool = False
    fresh: timedelta = timedelta(hours=24)
    grace: timedelta = timedelta(hours=24)
    crl: tuple[str, ...] = ()
    ocsp: str = ""


def key_of(issuer: x509.Certificate) -> str:
    """An authority, whatever certificate it is shown by: its name and its key."""
    public = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(issuer.subject.public_bytes() + public).hexdigest()


@dataclass(frozen=True, slots=True)
class Link:
    """A certificate of a partner and the authority that issued it, both on a validated path: whoever asks about it asks whom we trust."""

    partner: str
    certificate: x509.Certificate
    issuer: x509.Certificate
    rules: Rules

    @property
    def key(self) -> tuple[str, int]:
        """What answers are found by."""
        return key_of(self.issuer), self.certificate.serial_number

    def addresses(self, kind: str) -> tuple[str, ...]:
        """Where to ask: as configured, or as the certificate says (RFC 5280 sections 4.2.2.1 and 4.2.1.13)."""
        if kind == "ocsp":
            return (self.rules.ocsp,) if self.rules.ocsp else _responders(self.certificate)
        return self.rules.crl or _distribution_points(self.certificate)


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


class Unsettled(Deferred):
    """A certificate's status is not known, and must be before anything is believed.

    ``link``: what to ask about; ``asked``: that was tried just now.
    """

    def __init__(self, link: Link, detail: object, *, asked: bool) -> None:
        super().__init__("revocation-unknown", retry_after=RETRY_AFTER, subject=_subject(link.certificate), detail=detail)
        self.link = link
        self.asked = asked


@dataclass(frozen=True, slots=True)
class Failure:
    """The last question about a link that brought no answer."""

    at: datetime
    detail: str
    doubtful: bool = False


@dataclass(slots=True)
class Statuses:
    """What is known, in memory. ``version`` changes with every answer: a judgement that was remembered before is to be made again.

    ``ask`` (injected) asks about a link and never raises; ``accepted`` (injected) is told of each certificate that passes in its grace.
    """

    ask: Callable[[Link], Awaitable[None]] | None = None
    accepted: Callable[[Link], None] = field(default=lambda _: None)
    version: int = 0
    wanted: dict[tuple[str, int], Link] = field(default_factory=dict)
    _answers: dict[tuple[str, str, int | None], Answer] = field(default_factory=dict)
    _failures: dict[tuple[str, int], Failure] = field(default_factory=dict)

    def learn(self, answer: Answer) -> None:
        """Keep an answer, unless a newer one is there: nobody may turn back the time by showing an old list."""
        place = (answer.kind, answer.issuer, answer.serial)
        known = self._answers.get(place)
        if known is None or answer.this_update >= known.this_update:
            self._answers[place] = answer
            self.version += 1
        failed = [key for key in self._failures if key[0] == answer.issuer and answer.serial in {None, key[1]}]
        for key in failed:
            del self._failures[key]

    def failed(self, link: Link, failure: Failure) -> None:
        """A question about ``link`` brought nothing."""
        self._failures[link.key] = failure

    def failure(self, link: Link) -> Failure | None:
        """Why the last question about ``link`` brought nothing, if it did not."""
        return self._failures.get(link.key)

    def take_over(self, other: "Statuses") -> None:
        """Know what ``other`` knows (a reload): answers are facts, whatever the configuration."""
        for answer in other.answers():
            self.learn(answer)
        self.ask, self.accepted, self.version = other.ask, other.accepted, other.version + 1

    def answers(self, issuers: Iterable[str] | None = None) -> tuple[Answer, ...]:
        """All answers, or those of these issuers."""
        wanted = None if issuers is None else frozenset(issuers)
        return tuple(answer for answer in self._answers.values() if wanted is None or answer.issuer in wanted)

    def newest(self, link: Link) -> Answer | None:
        """The answer about ``link``, of the kinds that its rules ask for, that counts longest."""
        issuer, serial = link.key
        held = (self._answers.get((kind, issuer, about)) for kind in link.rules.check.kinds for about in (serial, None))
        return max((answer for answer in held if answer), key=lambda answer: answer.until(link.rules.fresh), default=None)

    def judge(self, link: Link, at: datetime) -> datetime:
        """Returns until when ``link`` counts as not revoked. Raises Rejected when it is revoked, Unsettled when that must be asked."""
        if not link.rules.check.kinds:
            return EVER
        self._want(link)
        self._check_revoked(link, at)
        answer = self.newest(link)
        if answer is not None and at <= (until := answer.until(link.rules.fresh)):
            return until
        failure = self._failures.get(link.key)
        if failure is None or at - failure.at > OUTAGE:
            raise Unsettled(link, Phrase("revocation-not-asked", {}), asked=False)
        if not link.rules.accept_unknown or failure.doubtful or not self._in_grace(link, at):
            raise Unsettled(link, failure.detail, asked=True)
        self.accepted(link)
        # Every use is told of, so no use is remembered.
        return at

    def graced(self, certificate: x509.Certificate, at: datetime) -> bool:
        """Whether a certificate that was judged just now passed in its grace."""
        links = [link for link in self.wanted.values() if link.certificate == certificate and link.rules.accept_unknown]
        answers = [(link, self.newest(link)) for link in links]
        return any(answer is None or answer.until(link.rules.fresh) < at for link, answer in answers)

    def _want(self, link: Link) -> None:
        if link.key not in self.wanted and len(self.wanted) >= _MOST_WANTED:
            oldest = next(iter(self.wanted))
            del self.wanted[oldest]
            self._failures.pop(oldest, None)
        self.wanted[link.key] = link

    def _check_revoked(self, link: Link, at: datetime) -> None:
        issuer, serial = link.key
        for place in (("ocsp", issuer, serial), ("crl", issuer, serial), ("crl", issuer, None)):
            answer = self._answers.get(place)
            since = answer.revoked_at(serial) if answer else None
            if since is not None and since <= at:
                raise Rejected("certificate-revoked", subject=_subject(link.certificate))

    def _in_grace(self, link: Link, at: datetime) -> bool:
        heard = [answer.until(link.rules.fresh) for answer in self.answers([link.key[0]])]
        return bool(heard) and at <= max(heard) + link.rules.grace


async def settled(statuses: Statuses, attempt: Callable[[], Awaitable[T]]) -> T:
    """What ``attempt`` gives; where it lacks a certificate's status that is asked for, once, and it is tried again."""
    asked: set[tuple[str, int]] = set()
    while True:
        try:
            return await attempt()
        except Unsettled as unsettled:
            key = unsettled.link.key
            if statuses.ask is None or unsettled.asked or key in asked or len(asked) == MOST_LINKS:
                raise
            asked.add(key)
            await statuses.ask(unsettled.link)


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
        crl = x509.load_pem_x509_crl(octets) if octets.startswith(b"-----BEGIN") else x509.load_der_x509_crl(octets)
        serial = _scope(crl, certificate)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Unanswered(f"the revocation list cannot be read: {error}") from None
    if not issued(issuer, crl):
        raise Unanswered("the revocation list does not bear the signature of the certificate's issuer")
    moment = at or crl.last_update_utc
    ocsp.check_times(crl.last_update_utc, crl.next_update_utc, moment)
    octets = crl.public_bytes(Encoding.DER)
    return Answer("crl", key_of(issuer), crl.last_update_utc, crl.next_update_utc, octets, moment, serial=serial, crl=crl)


def issued(authority: x509.Certificate, crl: x509.CertificateRevocationList) -> bool:
    """Whether ``crl`` names ``authority`` as its issuer and bears its signature; and whether the authority may sign lists."""
    try:
        usage = authority.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if (usage is not None and not usage.crl_sign) or isinstance(crl.signature_hash_algorithm, hashes.SHA1 | hashes.MD5):
        return False
    try:
        return crl.issuer == authority.subject and crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False


def _scope(crl: x509.CertificateRevocationList, certificate: x509.Certificate | None) -> int | None:
    """The serial number that a shard is an answer about, None for a whole list (RFC 5280 section 6.3.3 b). Raises Unanswered."""
    unknown = next((one.oid for one in crl.extensions if one.critical and one.oid not in _UNDERSTOOD), None)
    if unknown is not None:
        raise Unanswered(f"the revocation list has the critical extension {unknown.dotted_string}, as a delta list has")
    try:
        scope = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    except x509.ExtensionNotFound:
        return None
    names = {name.value for name in scope.full_name or () if isinstance(name, x509.UniformResourceIdentifier)}
    partial = scope.only_contains_attribute_certs or scope.indirect_crl or scope.only_some_reasons or scope.relative_name
    if partial or certificate is None or scope.only_contains_ca_certs or not names.intersection(_distribution_points(certificate)):
        raise Unanswered("the revocation list is not for this certificate")
    return certificate.serial_number


def _responders(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return ()
    found = (one.access_location for one in access if one.access_method == AuthorityInformationAccessOID.OCSP)
    return tuple(name.value for name in found if isinstance(name, x509.UniformResourceIdentifier))


def _distribution_points(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return ()
    names = (name for point in points for name in point.full_name or () if not point.crl_issuer)
    return tuple(name.value for name in names if isinstance(name, x509.UniformResourceIdentifier))


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "-"
