"""Revocation: what is known of a certificate's status, what a partner's entry demands to be known, and the judgement.

Nothing is fetched here, and no clock is read. A judgement that lacks an answer raises ``Unsettled``, which names the ``Link`` that must be
asked about; the shell asks (``bus.responders``) and hands the answer to ``Statuses``. ``settled`` is that loop.

A revocation counts whoever tells of it, and for ever. That a certificate is *not* revoked counts until the answer's nextUpdate, or for
``fresh`` where it has none. What is not known is refused (4.7.5), unless ``when-unknown: accept``: then it is accepted until the newest
answer held of that issuer has been out for ``grace``. An issuer that never answered has no grace.

Raises ``Rejected`` ``certificate-revoked``; ``Unsettled``, a ``Deferred``.

Standards: RFC 5280 sections 4.2.1.13 (CRL distribution points), 4.2.2.1 (authority information access); RFC 6960 section 2.2 (status).
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from bus.answers import Answer, distribution_points, key_of
from bus.errors import Deferred, Phrase, Rejected
from bus.outside import Outside

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
#: Of these, one partner's; and answers that are kept of one issuer. Who may issue certificates makes as many as it likes.
_MOST_EACH = 512
#: Addresses that a certificate has us ask, of each kind.
_MOST_ADDRESSES = 4
#: Octets of one issuer's answers about single certificates: a shard of a list may have megabytes, and there are as many as it likes.
_MOST_OCTETS = 32 << 20
#: And of all answers that were asked for one partner: it may make authorities below its own without end, each with a list.
_MOST_OCTETS_EACH = 128 << 20


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
    """A partner's ``revocation:``. ``crl`` and ``ocsp``: addresses to ask instead of those that the certificate names.

    ``outside``: where an address that a certificate names may lead; nowhere without a word.
    """

    check: Check = Check.DIRECTORY
    accept_unknown: bool = False
    fresh: timedelta = timedelta(hours=24)
    grace: timedelta = timedelta(hours=24)
    crl: tuple[str, ...] = ()
    ocsp: str = ""
    outside: Outside = field(default_factory=Outside)

    def configured(self, kind: str) -> tuple[str, ...]:
        """The addresses that the site itself wrote for this kind of question."""
        return self.crl if kind == "crl" else (self.ocsp,) if self.ocsp else ()


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
        """Where to ask: as configured, or as the certificate says (RFC 5280 sections 4.2.2.1 and 4.2.1.13), of which the first few."""
        return self.rules.configured(kind) or named(self.certificate, kind)[:_MOST_ADDRESSES]


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
    """What is known, in memory; read from any thread, so that no loop here goes over what may grow meanwhile.

    ``version`` changes with every answer: a judgement that was remembered before is to be made again. ``ask`` (injected) asks about a link
    and never raises; ``accepted`` (injected) is told of each certificate that passes in its grace.
    """

    ask: Callable[[Link], Awaitable[None]] | None = None
    accepted: Callable[[Link], None] = field(default=lambda _: None)
    version: int = 0
    wanted: dict[tuple[str, int], Link] = field(default_factory=dict)
    _seen: dict[tuple[str, int], datetime] = field(default_factory=dict)
    _answers: dict[tuple[str, str, int | None], Answer] = field(default_factory=dict)
    _failures: dict[tuple[str, str, int], Failure] = field(default_factory=dict)
    #: By place of an answer, the partner for whom it was asked; the latest last.
    _asked_for: dict[tuple[str, str, int | None], str] = field(default_factory=dict)

    def learn(self, answer: Answer, partner: str = "") -> None:
        """Keep an answer, unless a newer one is there: nobody may turn back the time by showing an old list.

        ``partner``: for whom it was asked; of one partner's, those asked longest ago are forgotten beyond a bound.
        """
        place = (answer.kind, answer.issuer, answer.serial)
        known = self._answers.get(place)
        if known is None or answer.this_update >= known.this_update:
            self._answers[place] = answer
            self._bound(answer.issuer)
            if partner:
                self._asked_for.pop(place, None)
                self._asked_for[place] = partner
                self._bound_for(partner)
            self.version += 1
        for key in list(self._failures):
            if key[1] == answer.issuer and answer.serial in {None, key[2]}:
                self._failures.pop(key, None)

    def _bound(self, issuer: str) -> None:
        """Forget an issuer's oldest answers; those that tell of a revocation last."""
        own = {place: answer for place, answer in list(self._answers.items()) if place[1] == issuer and place[2] is not None}
        octets = sum(len(answer.octets) for answer in own.values())
        if len(own) <= _MOST_EACH and octets <= _MOST_OCTETS:
            return
        told = {place: answer.revoked_at(answer.serial or 0) is not None for place, answer in own.items()}
        for place in sorted(own, key=lambda place: (told[place], own[place].this_update)):
            if len(own) <= _MOST_EACH and octets <= _MOST_OCTETS:
                return
            octets -= len(own.pop(place).octets)
            del self._answers[place]

    def _bound_for(self, partner: str) -> None:
        """Forget what was asked for a partner longest ago, of however many authorities below its own; what tells of a revocation last."""
        places = [place for place, asked_for in list(self._asked_for.items()) if asked_for == partner]
        places.sort(key=lambda place: place in self._answers and self._answers[place].revoked_at(place[2] or 0) is not None)
        octets = sum(len(self._answers[place].octets) for place in places if place in self._answers)
        while len(places) > _MOST_EACH or (octets > _MOST_OCTETS_EACH and len(places) > 1):
            oldest = places.pop(0)
            del self._asked_for[oldest]
            forgotten = self._answers.pop(oldest, None)
            octets -= len(forgotten.octets) if forgotten else 0

    def failed(self, link: Link, failure: Failure) -> None:
        """A question about ``link`` brought nothing."""
        self._failures.pop(_place(link), None)
        own = [place for place in list(self._failures) if place[0] == link.partner]
        for place in own[: max(0, len(own) - _MOST_EACH + 1)]:
            self._failures.pop(place, None)
        self._failures[_place(link)] = failure

    def failure(self, link: Link) -> Failure | None:
        """Why the last question about ``link`` brought nothing, if it did not."""
        return self._failures.get(_place(link))

    def take_over(self, other: "Statuses") -> None:
        """Know what ``other`` knows (a reload): answers are facts, whatever the configuration."""
        for answer in other.answers():
            self.learn(answer, other.asked_for(answer))
        self.ask, self.accepted, self.version = other.ask, other.accepted, other.version + 1

    def asked_for(self, answer: Answer) -> str:
        """The partner for whom an answer was asked, or ""."""
        return self._asked_for.get((answer.kind, answer.issuer, answer.serial), "")

    def answers(self, issuers: Iterable[str] | None = None) -> tuple[Answer, ...]:
        """All answers, or those of these issuers."""
        wanted = None if issuers is None else frozenset(issuers)
        return tuple(answer for answer in list(self._answers.values()) if wanted is None or answer.issuer in wanted)

    def newest(self, link: Link) -> Answer | None:
        """The answer about ``link``, of the kinds that its rules ask for, that counts longest."""
        issuer, serial = link.key
        held = (self._answers.get((kind, issuer, about)) for kind in link.rules.check.kinds for about in (serial, None))
        return max((answer for answer in held if answer), key=lambda answer: answer.until(link.rules.fresh), default=None)

    def judge(self, link: Link, at: datetime) -> datetime:
        """Returns until when ``link`` counts as not revoked. Raises Rejected when it is revoked, Unsettled when that must be asked."""
        if not link.rules.check.kinds:
            return EVER
        self._want(link, at)
        self._check_revoked(link, at)
        answer = self.newest(link)
        if answer is not None and at <= (until := answer.until(link.rules.fresh)):
            return until
        failure = self._failures.get(_place(link))
        if failure is None or at - failure.at > OUTAGE:
            raise Unsettled(link, Phrase("revocation-not-asked", {}), asked=False)
        if not link.rules.accept_unknown or failure.doubtful or not self._in_grace(link, at):
            # What a question found is for the site's log: whoever had the certificate made may have had it asked at our neighbours.
            raise Unsettled(link, Phrase("revocation-unanswered", {}), asked=True)
        self.accepted(link)
        # Every use is told of, so no use is remembered.
        return at

    def graced(self, certificate: x509.Certificate, at: datetime) -> bool:
        """Whether a certificate that was judged just now passed in its grace."""
        links = [link for link in list(self.wanted.values()) if link.certificate == certificate and link.rules.accept_unknown]
        answers = [(link, self.newest(link)) for link in links]
        return any(answer is None or answer.until(link.rules.fresh) < at for link, answer in answers)

    def forget(self, before: datetime) -> None:
        """Want no more what nobody has shown since ``before``: a certificate that was replaced need not be asked about for ever."""
        for key, seen in list(self._seen.items()):
            if seen < before:
                self._drop(key)

    def _want(self, link: Link, at: datetime) -> None:
        if link.key not in self.wanted:
            own = [key for key, one in list(self.wanted.items()) if one.partner == link.partner]
            if len(own) >= _MOST_EACH:
                self._drop(own[0])
            elif len(self.wanted) >= _MOST_WANTED:
                # The oldest of whoever has most: who has few certificates keeps them, however many others there are.
                most = Counter(one.partner for one in list(self.wanted.values())).most_common(1)[0][0]
                self._drop(next(key for key, one in list(self.wanted.items()) if one.partner == most))
        self.wanted[link.key], self._seen[link.key] = link, at

    def _drop(self, key: tuple[str, int]) -> None:
        link = self.wanted.pop(key, None)
        self._seen.pop(key, None)
        if link is not None:
            self._failures.pop(_place(link), None)

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


def named(certificate: x509.Certificate, kind: str) -> tuple[str, ...]:
    """The addresses that a certificate names for this kind of question: its issuer's word, to be held against ``Rules.outside``."""
    return distribution_points(certificate) if kind == "crl" else _responders(certificate)


def _place(link: Link) -> tuple[str, str, int]:
    """A question that failed is its partner's own: others have theirs, also about the same certificate."""
    return (link.partner, *link.key)


def _responders(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return ()
    found = (one.access_location for one in access if one.access_method == AuthorityInformationAccessOID.OCSP)
    return tuple(name.value for name in found if isinstance(name, x509.UniformResourceIdentifier))


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "-"
