"""Refusals: what is kept of what was refused at a door, however many there are. Each is counted, and has a reference.

A partner's are journalled and logged one by one, but for its calling too often (its rate). Those, and all where nobody was identified, are
counted by minute, endpoint, code and source (the partner, or the address as ``bus.sources`` sees it). The first of each is journalled and
logged at once, under a reference that all of them share; how many more there were follows in one row under the same reference when the
minute is over.
So a stranger's reference leads to its minute, code and source, and a flood costs a few rows a minute.

Promise: of strangers at most MOST rows of sources a minute, beyond which one row for each endpoint and code stands for all further sources
(``OTHERS``); twice that with the rows that close a minute. What a process held when it was killed is lost: the numbers of its last minute,
and never a first one. What the store cannot take waits for the next minute; at most MOST_CLOSED counts wait.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog

from bus import log, metrics
from bus.errors import BusError, Deferred
from bus.lanes import trouble
from bus.message import DOCUMENT_ID, NUMBER, SUBJECT, Message
from bus.offload import owner
from bus.site import Clock, Site
from bus.store import Store

#: Rows a minute for the sources of strangers' refusals.
MOST = 64
#: Counts that wait for a store that fails.
MOST_CLOSED = 1024
#: The source that stands for all further ones.
OTHERS = "*"
#: How often it is looked whether the minute is over, in seconds.
_LOOK = 2.0
#: The one failure of a partner that comes as often as it likes.
_RATE = "rate-exceeded"

#: What is journalled of a refused message -> its header; and characters of the place of its error.
_ABOUT = {"document_id": DOCUMENT_ID, "number": NUMBER, "subject": SUBJECT}
_MOST_PLACE = 1_000

_log = structlog.get_logger()


def as_failure(error: Exception, reference: str) -> BusError:
    """The error, or what the outside is told of one that nobody foresaw: 4.3.0, with its traceback in the log under ``reference``."""
    if isinstance(error, BusError):
        return error
    _log.error(log.UNEXPECTED, reference=reference, exc_info=error)
    return Deferred("bus-error", reference=reference)


class Refusals:
    """The refusals of one process. ``site`` is the present generation's; ``strangers`` are to be run and flushed."""

    def __init__(self, store: Store, clock: Clock, site: Site) -> None:
        self.site = site
        self.strangers = Strangers(store, clock)
        self._store = store

    async def refuse(self, endpoint: str, partner: str, error: Exception, digest: str, message: Message | None = None) -> str:
        """Journal a refusal once and return its reference; an unexpected error is logged with its traceback under it.

        ``message``: what was refused, where it could be read that far. Where no ``partner`` was identified the refusal shares reference and
        row with others of its kind.
        """
        known: str = getattr(error, "reference", "")
        if known:
            return known
        failure = error if isinstance(error, BusError) else Deferred("bus-error", reference="")
        metrics.REFUSED.labels(endpoint, failure.code).inc()
        metrics.REFUSED_PARTNERS.labels(partner if partner in self.site.partners else "").inc()
        one_by_one = partner and failure.key != _RATE
        seen, first = (None, True) if one_by_one else self.strangers.count(endpoint, failure.code, failure.reasons, partner)
        reference = seen.reference if seen else secrets.token_hex(6)
        error.reference = reference  # type: ignore[attr-defined]
        if first:
            await self._tell(endpoint, partner, as_failure(error, reference), digest, reference, seen.source if seen else "", message)
        return reference

    async def _tell(
        self, endpoint: str, partner: str, failure: BusError, digest: str, reference: str, source: str, message: Message | None
    ) -> None:
        """Log and journal one of a kind."""
        whence = {"source": source} if source else {}
        where = {"endpoint": endpoint, "partner": partner, "at": failure.at, **whence}
        _log.info(log.REFUSED, reference=reference, code=failure.code, reason=failure.reason("en"), **where)
        told = {name: message.header(header) for name, header in _ABOUT.items()} if message else {}
        about = {name: value for name, value in {"place": failure.at[:_MOST_PLACE], **told}.items() if value}
        named = partial(self._store.refuse, endpoint=endpoint, partner=partner, message_id=reference, source=source)
        try:
            await named(code=failure.code, reasons=failure.reasons, digest=digest, about=about)
        except Deferred as failing:
            # The store is what is failing: the log line above is all that is left, and the partner keeps the message.
            trouble(failing)


@dataclass(slots=True)
class Seen:
    """Refusals of one minute, endpoint, code and source. ``more``: how many came after the first."""

    reference: str
    endpoint: str
    code: str
    source: str
    minute: str
    reasons: Mapping[str, str]
    partner: str = ""
    more: int = 0


class Strangers:
    """The refusals of one process's strangers."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        # References are nobody's to guess, and another process's are others.
        self._salt = secrets.token_bytes(16)
        self._minute = ""
        self._seen: dict[tuple[str, str, str], Seen] = {}
        self._closed: list[Seen] = []

    def count(self, endpoint: str, code: str, reasons: Mapping[str, str], partner: str = "") -> tuple[Seen, bool]:
        """Count a refusal of whoever the running task acts for; and whether it is the first of its kind."""
        minute = _minute(self._clock())
        if minute != self._minute:
            self._close(minute)
        source = owner().name
        place = (endpoint, code, source)
        # There are few partners, and what strangers do must not hide them.
        if place not in self._seen and len(self._seen) >= MOST and not partner:
            place = (endpoint, code, source := OTHERS)
        seen = self._seen.get(place)
        if seen is not None:
            seen.more += 1
            return seen, False
        told = hashlib.sha256(self._salt + "\n".join((minute, *place)).encode()).hexdigest()[:12]
        seen = self._seen[place] = Seen(told, endpoint, code, source, minute, reasons, partner)
        return seen, True

    async def run(self) -> None:
        """Close each minute, for ever."""
        while True:
            await asyncio.sleep(_LOOK)
            if _minute(self._clock()) != self._minute:
                await self.flush()

    async def flush(self) -> None:
        """Close the minute, and journal what came after the first ones."""
        self._close("")
        closed, self._closed = self._closed, []
        for seen in closed:
            try:
                await self._store.refuse(
                    endpoint=seen.endpoint,
                    partner=seen.partner,
                    code=seen.code,
                    reasons=seen.reasons,
                    digest="",
                    message_id=seen.reference,
                    source=seen.source,
                    count=seen.more,
                )
            except Deferred:
                self._closed.append(seen)
                continue
            _log.info(
                log.REFUSED_MORE, reference=seen.reference, code=seen.code, endpoint=seen.endpoint, source=seen.source, more=seen.more
            )

    def _close(self, minute: str) -> None:
        self._closed += [seen for seen in self._seen.values() if seen.more]
        del self._closed[:-MOST_CLOSED]
        self._minute, self._seen = minute, {}


def _minute(now: datetime) -> str:
    return now.isoformat(timespec="minutes")
