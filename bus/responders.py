"""Responders: asks authorities about certificates, keeps the answers, and asks again before they run out.

Promise: only addresses are asked that stand in routes.yaml, or in a certificate whose path to one of our anchors was validated, and of
those only where routes.yaml allows it (``bus.outside``); no redirection is followed; answers are bounded in size and time, and count only
when ``bus.ocsp`` and ``bus.answers`` say so. Whoever needs a status waits for at most ``PATIENCE`` seconds; however many need it at once,
it is asked for once. An address that does not answer is asked less and less often.

Answers lie in ``data/revocation`` as they came (DER), so that a restart knows what it knew, and the workers of a node ask once between
them. They are verified again when they are read: the directory admits nobody.

Standards: RFC 6960 appendix A.1 (OCSP over HTTP, POST); RFC 5280 section 4.2.1.13 (CRL over HTTP).
"""

import asyncio
import contextlib
import os
import secrets
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import structlog
from cryptography import x509

from bus import conditions, log, metrics, ocsp
from bus.answers import Answer, key_of, read_crl, read_ocsp
from bus.errors import LANGUAGES, Phrase, text
from bus.ocsp import MALFORMED, Unanswered
from bus.offload import LARGE
from bus.outside import Forbidden, Outside
from bus.resolver import Resolver
from bus.revocation import Failure, Link, Statuses
from bus.site import Clock

#: Longest wait of a request at the door, and of one question to an authority, in seconds.
PATIENCE = 5.0
_FETCH_SECONDS = 20.0
#: Octets of an answer. The largest lists of public authorities have some 10 MB; a response some 2 kB.
MOST_CRL = 16 << 20
MOST_OCSP = 64 << 10
#: Answers of one issuer that lie in the directory.
MOST_FILES = 512
#: Pause between two rounds of asking again, in seconds, and before a responder that did not answer is asked again.
_ROUND = 2.0
_PAUSE = timedelta(seconds=2)
#: The longest pause before such an address is asked again, and how many of them are remembered.
_LONGEST_PAUSE = timedelta(minutes=1)
_MOST_SILENT = 1024
#: Questions about one partner's certificates at once: silence about one partner keeps no other waiting.
_AT_ONCE = 8
#: Questions about one partner's certificates that are under way or in line; further ones are as if nobody answered.
_MOST_ASKED = 64
#: A certificate that nobody has shown for so long is not asked about any more. One that is in use is judged every hour at least.
_FORGOTTEN = timedelta(hours=3)

_log = structlog.get_logger()


@dataclass(slots=True)
class _Outage:
    """A partner about whose certificates nobody answers."""

    since: datetime
    detail: str
    accepts: bool


@dataclass(frozen=True, slots=True)
class _Silence:
    """An address that did not answer, and until when it is left alone."""

    reason: str
    pause: timedelta
    until: datetime


class Responders:
    """One process's questions. ``statuses`` is the present generation's; ``adopt`` takes the next one's."""

    def __init__(self, directory: Path, clock: Clock, statuses: Statuses, authorities: Sequence[x509.Certificate]) -> None:
        """What lies in ``directory`` is read now, as far as ``authorities`` said it."""
        self._directory = directory
        self._clock = clock
        self._asking: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._asked: Counter[str] = Counter()
        self._outages: dict[str, _Outage] = {}
        self._sessions: dict[Outside | None, aiohttp.ClientSession] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._silent: OrderedDict[tuple[str, str], _Silence] = OrderedDict()
        self._lines: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_AT_ONCE))
        self._statuses = statuses
        self._lasting = frozenset(map(key_of, authorities))
        self._attach()
        for answer in kept(directory, authorities, clock()):
            statuses.learn(answer)

    def adopt(self, statuses: Statuses, authorities: Sequence[x509.Certificate]) -> None:
        """Another generation: it knows what the one before knew."""
        self._lasting = frozenset(map(key_of, authorities))
        statuses.take_over(self._statuses)
        self._statuses = statuses
        retired, self._sessions = self._sessions, {}
        closing = asyncio.create_task(_close(retired.values(), _FETCH_SECONDS))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self._attach()
        self._end_outages()

    async def run(self) -> None:
        """Ask again in time, for ever."""
        try:
            while True:
                await asyncio.sleep(_ROUND)
                try:
                    await self._round()
                except Exception:  # noqa: BLE001 - the rounds never end: an answer that nobody foresaw costs one of them
                    _log.exception(log.UNEXPECTED)
        finally:
            for task in self._asking.values():
                task.cancel()
            for closing in self._closing:
                closing.cancel()
            await asyncio.gather(_close(self._sessions.values(), 0), *self._closing, return_exceptions=True)

    async def ask(self, link: Link) -> None:
        """Ask about ``link`` now, or join those who do; returns after ``PATIENCE`` at the latest, with or without an answer."""
        task = self._asking.get(link.key)
        if task is None and self._is_resting(link):
            return
        if task is None and self._asked[link.partner] >= _MOST_ASKED:
            self._failed(link, "too many questions about certificates of this partner at once")
            return
        if task is None:
            task = self._asking[link.key] = asyncio.create_task(self._ask(link))
            self._asked[link.partner] += 1
            task.add_done_callback(lambda _: self._ended(link))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await asyncio.shield(task)
            return
        self._failed(link, f"no answer in {PATIENCE:.0f} s")

    def _ended(self, link: Link) -> None:
        self._asking.pop(link.key, None)
        self._asked[link.partner] -= 1

    def _attach(self) -> None:
        self._statuses.ask = self.ask
        self._statuses.accepted = self._accepted

    async def _round(self) -> None:
        now = self._clock()
        self._statuses.forget(now - _FORGOTTEN)
        self._end_outages()
        due = [link for link in list(self._statuses.wanted.values()) if self._is_due(link, now)]
        await asyncio.gather(*(self.ask(link) for link in due))

    def _is_resting(self, link: Link) -> bool:
        """A responder that is down is not asked at every request."""
        failure = self._statuses.failure(link)
        return failure is not None and self._clock() - failure.at <= _PAUSE

    def _is_due(self, link: Link, now: datetime) -> bool:
        answer = self._statuses.newest(link)
        return answer is None or answer.due(link.rules.fresh) <= now

    # --- one question -----------------------------------------------------------------------------------------------

    async def _ask(self, link: Link) -> None:
        """Learn of ``link`` what can be learnt. Never raises: whoever waits is judged by what is known then."""
        try:
            async with self._lines[link.partner]:
                if not self._found(link):
                    await self._ask_around(link)
        except Exception as error:  # noqa: BLE001 - a certificate that nobody foresaw is one whose status is not known
            _log.exception(log.UNEXPECTED)
            self._failed(link, f"unexpected: {type(error).__name__}")

    async def _ask_around(self, link: Link) -> None:
        """Every kind of answer that the partner's rules admit, in their order, until one is there."""
        reasons = []
        doubtful = False
        for kind in link.rules.check.kinds:
            addresses = link.addresses(kind)
            if not addresses:
                reasons.append(f"{kind}: no address is configured, and the certificate names none")
            for address in addresses:
                if (reason := self._rests(link, address)) is not None:
                    reasons.append(f"{address}: {reason}")
                    continue
                try:
                    answer = await self._fetch(link, kind, address)
                except Unanswered as why:
                    reasons.append(f"{address}: {why}")
                    doubtful = doubtful or why.doubtful
                    metrics.REVOCATION_QUESTIONS.labels(link.partner, kind, "none").inc()
                    if not why.doubtful:
                        self._was_silent(link, address, str(why))
                    continue
                self._silent.pop((link.partner, address), None)
                self._learned(link, answer)
                return
        self._failed(link, "; ".join(reasons), doubtful=doubtful)

    def _rests(self, link: Link, address: str) -> str | None:
        """Why an address is not asked now: the last times it did not answer, for this partner."""
        silence = self._silent.get((link.partner, address))
        return silence.reason if silence is not None and self._clock() < silence.until else None

    def _was_silent(self, link: Link, address: str, reason: str) -> None:
        before = self._silent.pop((link.partner, address), None)
        pause = min(before.pause * 2, _LONGEST_PAUSE) if before else _PAUSE
        self._silent[link.partner, address] = _Silence(reason, pause, self._clock() + pause)
        while len(self._silent) > _MOST_SILENT:
            self._silent.popitem(last=False)

    def _found(self, link: Link) -> bool:
        """Whether another worker of this node has a newer answer already."""
        issuer, serial = link.key
        places = {"ocsp": f"{issuer}-{serial:x}.der", "crl": f"{issuer}.der"}
        now = self._clock()
        for place in (places[kind] for kind in link.rules.check.kinds):
            answer = _read(self._directory / place, link.issuer, now)
            if answer is not None and answer.due(link.rules.fresh) > now:
                self._learned(link, answer, keep=False)
                return True
        return False

    async def _fetch(self, link: Link, kind: str, address: str) -> Answer:
        certificate, issuer = link.certificate, link.issuer
        outside = None if link.rules.configured(kind) else link.rules.outside
        if kind == "crl":
            octets = await self._exchanged(outside, address, None, MOST_CRL)
            return await LARGE.run(read_crl, octets, certificate, issuer, self._clock())
        nonce = secrets.token_bytes(ocsp.NONCE_OCTETS)
        octets = await self._exchanged(outside, address, ocsp.request(certificate, issuer, nonce), MOST_OCSP)
        return read_ocsp(octets, certificate.serial_number, issuer, self._clock(), nonce)

    def _session(self, outside: Outside | None) -> aiohttp.ClientSession:
        """The connections to what the site wrote itself (None), or to where ``outside`` lets them lead."""
        session = self._sessions.get(outside)
        if session is None:
            session = self._sessions[outside] = aiohttp.ClientSession(
                # Each connection looks its host up anew: where a name led to before decides nothing.
                connector=aiohttp.TCPConnector(resolver=Resolver(outside), use_dns_cache=False),
                # No compression: a bound on what comes in must be a bound on what is held.
                auto_decompress=False,
                headers={"Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return session

    async def _exchanged(self, outside: Outside | None, address: str, question: bytes | None, most: int) -> bytes:
        """The answer's octets: a POST for a question, otherwise a GET. Raises Unanswered."""
        try:
            if outside is not None:
                outside.check(address)
        except Forbidden as error:
            raise Unanswered(f"it is not asked: {error}") from None
        headers = {"Content-Type": "application/ocsp-request"} if question is not None else {}
        timeout = aiohttp.ClientTimeout(total=_FETCH_SECONDS, sock_connect=PATIENCE)
        method = "GET" if question is None else "POST"
        try:
            async with self._session(outside).request(
                method, address, data=question, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status != 200:  # noqa: PLR2004 - HTTP's OK
                    raise Unanswered(f"HTTP status {response.status}")
                return await _bounded(response.content, most)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise Unanswered(f"{type(error).__name__} {error}".strip()) from None

    def _learned(self, link: Link, answer: Answer, *, keep: bool = True) -> None:
        self._statuses.learn(answer, link.partner)
        if keep:
            metrics.REVOCATION_QUESTIONS.labels(link.partner, answer.kind, "answered").inc()
            self._keep(answer)
        self._end_outages()

    def _end_outages(self) -> None:
        """An outage is over when no certificate of its partner waits for an answer any more."""
        waiting = {link.partner for link in list(self._statuses.wanted.values()) if self._statuses.failure(link) is not None}
        for partner in self._outages.keys() - waiting:
            del self._outages[partner]
            metrics.REVOCATION_DOWN.labels(partner).set(0)
            conditions.close(conditions.REVOCATION, partner)

    def _failed(self, link: Link, detail: str, *, doubtful: bool = False) -> None:
        now = self._clock()
        self._statuses.failed(link, Failure(now, detail, doubtful))
        outage = self._outages.get(link.partner)
        if outage is None:
            outage = self._outages[link.partner] = _Outage(now, detail, link.rules.accept_unknown)
            metrics.REVOCATION_DOWN.labels(link.partner).set(1)
        outage.detail = detail
        said = _said(link.partner, outage)
        reasons = {language: text("revocation-unavailable", language, **said) for language in LANGUAGES}
        conditions.open(conditions.REVOCATION, link.partner, reasons, partner=link.partner)

    def _accepted(self, link: Link) -> None:
        """A certificate passes in its grace: nobody must have to guess later which ones did."""
        failure = self._statuses.failure(link)
        said = {"subject": link.certificate.subject.rfc4514_string(), "partner": link.partner, "detail": failure.detail if failure else ""}
        metrics.REVOCATION_ACCEPTED.labels(link.partner).inc()
        _log.warning(
            log.REVOCATION_ACCEPTED,
            partner=link.partner,
            serial=f"{link.certificate.serial_number:x}",
            en=text("revocation-accepted", "en", **said),
            vi=text("revocation-accepted", "vi", **said),
        )

    # --- what lies in data/revocation -------------------------------------------------------------------------------

    def _keep(self, answer: Answer) -> None:
        """Have an answer outlive this process: no list for a part, not read back ever, and none of an authority that no directory holds.

        Of both a partner may have any number.
        """
        if answer.issuer not in self._lasting or (answer.kind == "crl" and answer.serial is not None):
            return
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o750)
            beside = self._directory / f".{os.getpid()}"
            beside.write_bytes(answer.octets)
            beside.replace(self._directory / _file_name(answer))
            _thin(self._directory, answer.issuer)
        except OSError:
            # A full disk costs a question after the next start, and nothing now.
            return


def kept(directory: Path, authorities: Sequence[x509.Certificate], now: datetime) -> Iterator[Answer]:
    """The answers that lie in ``directory``, verified, also those that have run out: what they say of their own time stays true.

    What is no answer of these authorities, or of the future, is passed over.
    """
    known = {key_of(authority): authority for authority in authorities}
    for path in sorted(directory.glob("*.der")):
        issuer = known.get(path.stem.partition("-")[0])
        answer = _read(path, issuer, now) if issuer else None
        if answer is not None:
            yield answer


def _thin(directory: Path, issuer: str) -> None:
    """Keep of one issuer's answers the newest only: it may issue certificates without end."""
    files = sorted(directory.glob(f"{issuer}-*.der"), key=lambda path: path.stat().st_mtime)
    for path in files[:-MOST_FILES]:
        path.unlink(missing_ok=True)


def _read(path: Path, issuer: x509.Certificate, now: datetime) -> Answer | None:
    """An answer that was kept, or None."""
    serial = path.stem.partition("-")[2]
    try:
        octets, got = path.read_bytes(), datetime.fromtimestamp(path.stat().st_mtime, UTC)
        answer = read_ocsp(octets, int(serial, 16), issuer, None) if serial else read_crl(octets, None, issuer, None)
    except (Unanswered, OSError, *MALFORMED):
        return None
    return replace(answer, got=min(got, now)) if answer.this_update <= now + ocsp.SKEW else None


def _file_name(answer: Answer) -> str:
    """``<issuer>-<serial>.der`` for a response, ``<issuer>.der`` for a list."""
    return f"{answer.issuer}.der" if answer.serial is None else f"{answer.issuer}-{answer.serial:x}.der"


async def _close(sessions: Iterable[aiohttp.ClientSession], seconds: float) -> None:
    """Close connections of a generation that is over, when the questions under way have had their time."""
    try:
        await asyncio.sleep(seconds)
    finally:
        for session in sessions:
            await session.close()


async def _bounded(stream: aiohttp.StreamReader, most: int) -> bytes:
    octets = bytearray()
    async for chunk in stream.iter_any():
        octets += chunk
        if len(octets) > most:
            raise Unanswered(f"the answer is longer than {most} octets")
    return bytes(octets)


def _said(partner: str, outage: _Outage) -> dict[str, object]:
    effect = Phrase("revocation-will-accept" if outage.accepts else "revocation-will-refuse", {})
    return {"partner": partner, "since": f"{outage.since:%Y-%m-%d %H:%M:%S} UTC", "detail": outage.detail, "effect": effect}
