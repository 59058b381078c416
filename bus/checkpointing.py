"""Checkpointing: every minute what was journalled is signed, and every so often time-stamped; and what is done when that fails for long.

A checkpoint (``bus.checkpoint``) is written when a chain has grown. Whatever keeps it from being written, a key out of reach or a store
that is away, the next one covers what this one would have. The newest is time-stamped; it names the one before by its digest, and so on,
so that one token covers everything before it, hours of an authority's outage too. The token is journalled, and the next checkpoint covers
that: a bus that does nothing all night still proves that it did.

The switch: where the site sets a ``limit``, and the last time-stamp is older, nothing is accepted (``timestamps-stale``, 4.3.2); what was
accepted goes out, and mailboxes are read. From the first start on it counts from the first checkpoint. All that decides is in the store,
so every worker and node decides alike, and a restart changes nothing. The rule is X-Road's: no message gets further than its proof.

Several processes on one store do this each for itself, at times that differ; the first to store a checkpoint has its number.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog

from bus import conditions, log, metrics, points, stamping
from bus.checkpoint import Summary
from bus.errors import BusError, Deferred
from bus.evidence import Evidence
from bus.lanes import trouble
from bus.offload import UPKEEP
from bus.site import Clock
from bus.store import Checkpoint, Growth, Store
from bus.timestamps import Authority

#: Seconds between two looks at the store: how late a process is to hear of another's time-stamp.
PAUSE_SECONDS = 5.0
#: How often a checkpoint is written.
_JOURNAL = "journal"
EVERY = timedelta(minutes=1)
#: How long after a failure the authority is asked again.
AGAIN = timedelta(seconds=30)

_log = structlog.get_logger()


class Checkpointing:
    """The checkpoints of one process. ``authority`` and ``evidence`` are the present generation's."""

    def __init__(self, store: Store, evidence: Evidence, organisation: str, clock: Clock, authority: Authority | None = None) -> None:
        self.authority = authority
        self.evidence = evidence
        self._store = store
        self._organisation = organisation
        self._clock = clock
        self._newest: Checkpoint | None = None
        self._stamped: Checkpoint | None = None
        #: The last time-stamp, or what is counted from where there was none yet.
        self._since = clock()
        self._failed: datetime | None = None

    def adopt(self, evidence: Evidence, authority: Authority | None) -> None:
        """Go on with the next generation's key and authority."""
        self.evidence, self.authority = evidence, authority

    async def start(self) -> None:
        """Know where the store stands before anything is accepted. Raises Deferred 4.3.1."""
        await self._look()

    async def run(self) -> None:
        """Round after round, for ever."""
        while True:
            try:
                await self.round()
            except Exception as error:  # noqa: BLE001 - the rounds never end: the next one may find the store, or the key, again
                trouble(error)
            await asyncio.sleep(self._at_most(timedelta(seconds=PAUSE_SECONDS)).total_seconds())

    async def round(self) -> None:
        """Write a checkpoint and have it time-stamped, if it is time; then say where we stand."""
        await self._look()
        try:
            if self._is_time(self._newest.at if self._newest else None, self._at_most(EVERY)):
                await self._write()
            if self.authority is not None and self._to_be_stamped(self.authority):
                await self._stamp(self.authority)
        finally:
            self._tell()

    # --- the switch -----------------------------------------------------------------------------------------------------

    def admit(self) -> None:
        """Raises Deferred 4.3.2 while the last time-stamp is older than the site's limit."""
        stale = self.stale()
        if stale is not None:
            raise stale

    def stale(self) -> Deferred | None:
        """Why nothing may be accepted now, or None."""
        limit = self.authority.limit if self.authority else None
        if limit is None or self._clock() - self._since <= limit:
            return None
        since = self._since.isoformat(timespec="seconds")
        return Deferred("timestamps-stale", since=since, limit=limit, retry_after=AGAIN.total_seconds())

    def unwell(self, language: str) -> Mapping[str, str]:
        """What ``/readyz`` is to name."""
        stale = self.stale()
        return {} if stale is None else {"timestamps": stale.reason(language)}

    def _tell(self) -> None:
        """Gauges, and an alarm when the switch goes over."""
        if self.authority is None:
            return
        metrics.TIMESTAMP_AGE.set((self._clock() - self._since).total_seconds())
        stale = self.stale()
        if stale is not None:
            conditions.open(conditions.TIMESTAMPS, _JOURNAL, stale.reasons, code=stale.code, reason_vi=stale.reason("vi"))
        else:
            conditions.close(conditions.TIMESTAMPS, _JOURNAL)

    # --- one round ------------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Where the store stands: other processes write to it, too."""
        self._newest, self._stamped, first = await UPKEEP.run(self._read)
        if self._stamped is not None and self._stamped.stamped is not None:
            self._since = self._stamped.stamped
        elif first is not None:
            self._since = first.at

    def _read(self) -> tuple[Checkpoint | None, Checkpoint | None, Checkpoint | None]:
        stamped = self._store.newest_checkpoint(stamped=True)
        return self._store.newest_checkpoint(), stamped, None if stamped else self._store.checkpoint(1)

    def _at_most(self, usual: timedelta) -> timedelta:
        """A pause, shorter where the site wants time-stamps more often than that."""
        return min(usual, self.authority.every) if self.authority else usual

    def _is_time(self, last: datetime | None, every: timedelta) -> bool:
        """Whether ``every`` has passed since ``last``; a clock that went back far behind it has passed it. An authority's may be ahead."""
        return last is None or not -stamping.SKEW <= self._clock() - last < every

    async def _write(self) -> None:
        """One checkpoint, and more of them while there is more than goes into one. The store's first says only when it began."""
        more = True
        while more:
            grown = await UPKEEP.run(self._store.growth)
            if not grown.spans and self._newest is not None:
                return
            at = self._clock()
            xml = await UPKEEP.run(self._signed, grown, at)
            points.reach("checkpoint.signed")
            if await self._store.keep_checkpoint(grown, at, xml):
                rows = sum(span.size for span in grown.spans)
                _log.info(log.CHECKPOINT, number=grown.number, chains=len(grown.spans), rows=rows)
            await self._look()
            more = grown.more

    def _signed(self, grown: Growth, at: datetime) -> bytes:
        return self.evidence.seal_checkpoint(Summary(grown.number, at, self._organisation, grown.previous, grown.spans))

    def _to_be_stamped(self, authority: Authority) -> bool:
        if self._newest is None or (self._stamped is not None and self._stamped.number == self._newest.number):
            return False
        due = self._is_time(self._stamped.stamped if self._stamped else None, authority.every)
        return due and self._is_time(self._failed, self._at_most(AGAIN))

    async def _stamp(self, authority: Authority) -> None:
        newest = self._newest
        assert newest is not None
        try:
            token, stamp = await stamping.fetch(authority, newest.xml, self._clock)
        except BusError as error:
            self._failed = self._clock()
            _log.warning(
                log.TIMESTAMP_FAILED, number=newest.number, code=error.code, reason=error.reason("en"), reason_vi=error.reason("vi")
            )
            return
        points.reach("timestamp.fetched")
        if await self._store.keep_timestamp(newest.number, stamp.at, token):
            _log.info(log.TIMESTAMPED, number=newest.number, at=stamp.at.isoformat(), serial=f"{stamp.serial:x}")
        self._failed = None
        await self._look()
