"""Refusals of strangers: what is kept of them when nobody was identified, however many there are.

They are counted by minute, endpoint, code and source (the address, as ``bus.sources`` sees it). The first of each is journalled and
logged at once, under a reference that all of them share; how many more there were follows in one row under the same reference when the
minute is over.
So a stranger's reference leads to its minute, code and source, and a flood costs a few rows a minute.

Promise: at most MOST rows of sources a minute, beyond which one row for each endpoint and code stands for all further sources (``OTHERS``);
twice that with the rows that close a minute. What a process held when it was killed is lost: the numbers of its last minute, and never
a first one. What the store cannot take waits for the next minute; at most MOST_CLOSED counts wait.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from bus import log
from bus.errors import Deferred
from bus.offload import owner
from bus.site import Clock
from bus.store import Store

#: Rows a minute for the sources of strangers' refusals.
MOST = 64
#: Counts that wait for a store that fails.
MOST_CLOSED = 1024
#: The source that stands for all further ones.
OTHERS = "*"
#: How often it is looked whether the minute is over, in seconds.
_LOOK = 2.0

_log = structlog.get_logger()


@dataclass(slots=True)
class Seen:
    """Refusals of one minute, endpoint, code and source. ``more``: how many came after the first."""

    reference: str
    endpoint: str
    code: str
    source: str
    minute: str
    reasons: Mapping[str, str]
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

    def count(self, endpoint: str, code: str, reasons: Mapping[str, str]) -> tuple[Seen, bool]:
        """Count a refusal of whoever the running task acts for; and whether it is the first of its kind."""
        minute = _minute(self._clock())
        if minute != self._minute:
            self._close(minute)
        source = owner().name
        place = (endpoint, code, source)
        if place not in self._seen and len(self._seen) >= MOST:
            place = (endpoint, code, source := OTHERS)
        seen = self._seen.get(place)
        if seen is not None:
            seen.more += 1
            return seen, False
        told = hashlib.sha256(self._salt + "\n".join((minute, *place)).encode()).hexdigest()[:12]
        seen = self._seen[place] = Seen(told, endpoint, code, source, minute, reasons)
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
                    partner="",
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
