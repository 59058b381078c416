"""Housekeeping: what must happen because time has passed, and not because anybody did anything.

Every round: claims whose lease is over are given back, wherever their worker died; mailbox deliveries that nobody confirmed in their time
expire; so do those that wait in a lane which does not send. Mailboxes that fill up are told of.
Messages of before are given the names that they are searched by (``store.naming``), some a round.
Now and then: nonces that no longer count are forgotten, and mailbox deliveries that should be confirmed by now (``confirm-within:``) raise
an alarm, once and then daily.

What ends here ends for good, so ``steady`` decides, not the time of day (``bus.steady``). A round that fails is done again.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

import structlog

from bus import log, mailboxes, metrics
from bus.lanes import Lane, Lanes, buried, trouble
from bus.offload import READS
from bus.retry import RetryPolicy
from bus.route import Route
from bus.site import Clock
from bus.store import Missed, Store, Term

PAUSE_SECONDS = 5.0
#: Deadlines are looked at in every so manieth round: what is late by days may be noticed half a minute late.
ROUNDS_A_LOOK = 6
#: Transactions that a round may take for what has expired in one lane, and for naming messages of before.
_BATCHES = 10

_log = structlog.get_logger()


class Housekeeping:
    """The rounds of one process. ``routes``: those of the present generation."""

    def __init__(self, store: Store, lanes: Lanes, routes: Mapping[str, Route], clock: Clock, steady: Clock) -> None:
        self.routes = routes
        self._store = store
        self._lanes = lanes
        self._clock = clock
        self._steady = steady

    async def run(self) -> None:
        """Round after round, for ever."""
        for number in itertools.count():
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                await self._round()
                if number % ROUNDS_A_LOOK == 0:
                    await self._deadlines()
                    await self._store.forget_nonces()
            except Exception as error:  # noqa: BLE001 - the rounds never end: the next one may find the store again
                trouble(error)

    async def _round(self) -> None:
        holding = self._lanes.holding()
        if released := await self._store.release(expired_at=self._clock(), over_at=self._steady(), holding=holding):
            _log.info(log.RELEASED, deliveries=released)
            self._lanes.nudge_all()
        for lane in self._lanes.stopped():
            await self._expire(lane)
        mailboxes.look(await READS.run(self._store.mailboxes))
        for _ in range(_BATCHES):
            if not await self._store.name_some():
                break

    async def _expire(self, lane: Lane) -> None:
        """What waits in a lane that does not send expires on time all the same; a thousand a round, so that the rest has its turn."""
        now = self._steady()
        shortest = min((route.retry.give_up for route in self.routes.values()), default=RetryPolicy().give_up)
        reasons = lane.breaker.reasons if lane.breaker else {}
        for _ in range(_BATCHES):
            ended = await self._store.expire(lane.target, now, now - shortest, reasons)
            for missed in ended:
                metrics.DELIVERIES.labels(missed.target, missed.status.lower()).inc()
                buried(missed.route, missed.target, "5.4.7", reasons)
                _log.info(log.BURIED, **_fields(missed), reason=reasons.get("en", ""))
            if not ended:
                return

    async def _deadlines(self) -> None:
        """Who has not confirmed in time: how many of his deliveries, in a gauge, and each of them in an alarm."""
        numbers: Counter[str] = Counter()
        for route in self.routes.values():
            if route.confirm_within is not None:
                numbers.update(await self._look(route, route.confirm_within))
        metrics.UNCONFIRMED.clear()
        for owner, number in numbers.items():
            metrics.UNCONFIRMED.labels(owner).set(number)

    async def _look(self, route: Route, within: timedelta) -> Counter[str]:
        now, found = self._steady(), Counter[str]()
        for target in route.mailboxes:
            numbers, missed = await self._store.unconfirmed(Term(route.name, target, now - within), now)
            found.update(numbers)
            for each in missed:
                _log.error(log.UNCONFIRMED, **_fields(each), owner=each.owner, fetched=each.fetched, within=str(within))
        return found


def _fields(missed: Missed) -> dict[str, object]:
    return {
        "message": missed.message,
        "delivery": missed.delivery,
        "route": missed.route,
        "target": missed.target,
        "attempt": missed.attempt,
    }
