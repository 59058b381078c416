"""Lanes: one claim loop a target (D13), with its width, its share of the memory, and for an endpoint its breaker.

A lane promises that what is due is claimed and begun while it has room, and that no other lane waits for it: its width bounds its
deliveries, ``Budget`` bounds the bytes of all lanes together, and a lane with nothing in hand may always take one. Where the partner is
down the breaker stops the claims, so that the messages that wait lose neither attempts nor their place; they expire all the same
(``bus.housekeeping``). A lane never ends: what it cannot do now it does at the next poll.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import structlog

from bus import conditions, log, metrics
from bus.breaker import Breaker
from bus.delivery import Delivery
from bus.errors import LANGUAGES, BusError, Deferred, Quoted, text
from bus.offload import READS
from bus.options import PushOptions
from bus.store import Owed, Store, Work

#: A claim lasts this long; an attempt is cut off a little earlier, so that a worker never finishes what it no longer holds.
LEASE = timedelta(minutes=3)
#: The store is asked this often even when nobody nudged: a lost nudge costs this much latency and nothing else (D1).
POLL_SECONDS = 0.5
#: Bodies in the hands of all lanes together; one being worked costs a few times its size.
BYTES_IN_FLIGHT = 64 << 20
#: One claim takes bodies until it has this much, so that lanes that claim at the same time share the rest.
_BYTES_A_CLAIM = 8 << 20

#: Attempts that fail one after the other, one of them a repetition, until somebody is told: fewer messages than stop a lane.
_TROUBLE = 3

#: Works one claimed delivery, and says what it learnt: None when it was taken.
Attempt = Callable[[Work], Awaitable[Exception | None]]

_log = structlog.get_logger()


@dataclass(slots=True)
class Budget:
    """The bytes of all bodies in flight, and the lanes that wait for some of them to go."""

    most: int = BYTES_IN_FLIGHT
    held: int = 0
    waiting: set[asyncio.Event] = field(default_factory=set)

    def share(self) -> int:
        """How many bytes one claim may bring; at least one, so that it brings at least one body, however large."""
        return max(1, min(_BYTES_A_CLAIM, self.most - self.held))

    def hold(self, size: int) -> None:
        """Count a body, or with a negative size let it go."""
        self.held += size
        if size < 0:
            for nudge in self.waiting:
                nudge.set()
            self.waiting.clear()


@dataclass(slots=True)
class Lane:
    """One target's claim loop.

    ``full``    the last claim took all it was allowed, so there may be more: every attempt that ends makes the lane look again.
                (Otherwise it would only cost an empty transaction: what arrives nudges by itself, and what falls due is polled.)
    ``behind``  a delivery with an order key had to wait for another one: then the end of one that has a key makes it look, too.
    """

    target: str
    store: Store
    attempt: Attempt
    budget: Budget
    lease: timedelta
    policy: PushOptions
    breaker: Breaker | None = None
    full: bool = False
    behind: bool = False
    stopping: bool = False
    nudge: asyncio.Event = field(default_factory=asyncio.Event)
    in_flight: dict[asyncio.Task[None], str] = field(default_factory=dict)
    reserved: int = 0

    def room(self) -> int:
        """How many more deliveries may be worked now."""
        if self.stopping:
            return 0
        if self.breaker and self.breaker.opened is not None:
            return int(self.breaker.probe_due(_now()) and not self.reserved)
        if self.in_flight and self.budget.held >= self.budget.most:
            self.budget.waiting.add(self.nudge)
            return 0
        width = min(self.policy.width, self.breaker.pace) if self.breaker else self.policy.width
        return max(0, width - len(self.in_flight) - self.reserved)

    def reserve(self) -> bool:
        """Keep a place for a delivery that is about to be recorded, unless there is none or others wait for it."""
        if self.full or self.room() < 1:
            return False
        self.reserved += 1
        return True

    async def run(self) -> None:
        """Claim and begin, for ever."""
        while True:
            self.nudge.clear()
            if room := self.room():
                for work in await self._claim(room):
                    self.start(work)
            await self.nudge.wait()

    async def _claim(self, room: int) -> Sequence[Work]:
        share = self.budget.share()
        try:
            works = await self.store.claim(self.target, room, self.lease, share)
        except Exception as error:  # noqa: BLE001 - a lane never ends: what is owed must be tried again
            trouble(error, self.target)
            await asyncio.sleep(POLL_SECONDS)
            return ()
        self.full = len(works) == room or sum(len(work.message.body) for work in works) >= share
        self.behind = self.behind and bool(works or self.in_flight)
        return works

    def start(self, work: Work) -> None:
        """Begin an attempt at a delivery that is claimed."""
        self.budget.hold(len(work.message.body))
        if self.breaker:
            self.breaker.sending(work.delivery.id)
        # Who is tried again has kept those behind him waiting, whether we have heard of them or not.
        self.behind = self.behind or bool(work.delivery.order_key and work.delivery.attempt > 1)
        task = asyncio.create_task(self._try(work))
        self.in_flight[task] = work.delivery.id
        task.add_done_callback(lambda task: self._ended(task, work))

    async def _try(self, work: Work) -> None:
        try:
            failure = await self.attempt(work)
        except Exception as error:  # noqa: BLE001 - a bug in judging a failure: the lease runs out, and the lane goes on
            trouble(error, self.target)
            failure = error
        if self.breaker:
            self._hear(self.breaker, work.delivery, failure)

    def _ended(self, task: asyncio.Task[None], work: Work) -> None:
        del self.in_flight[task]
        self.budget.hold(-len(work.message.body))
        if self.full or (self.behind and work.delivery.order_key):
            self.nudge.set()

    def _hear(self, breaker: Breaker, delivery: Delivery, failure: Exception | None) -> None:
        """Tell the breaker what was learnt, and everybody else when that changes whether we send."""
        before, now = breaker.opened, _now()
        breaker.heard(delivery.id, failure, now)
        self._tell_trouble(breaker, delivery, failure)
        if before is not None and breaker.opened is None:
            self.nudge.set()

    def _tell_trouble(self, breaker: Breaker, delivery: Delivery, failure: Exception | None) -> None:
        """A partner that is down, or one that has too little to take for that and fails with it again and again."""
        metrics.STOPPED_LANES.labels(self.target).set(breaker.opened is not None)
        if breaker.opened is not None:
            conditions.open(conditions.PARTNER_DOWN, self.target, breaker.reasons, target=self.target)
        else:
            conditions.close(conditions.PARTNER_DOWN, self.target)
            if breaker.failures >= _TROUBLE and delivery.attempt > 1 and isinstance(failure, BusError):
                conditions.open(conditions.PARTNER_TROUBLE, self.target, failure.reasons, target=self.target, code=failure.code)
        if not breaker.failures:
            conditions.close(conditions.PARTNER_TROUBLE, self.target)


class Lanes:
    """Every lane of this process."""

    def __init__(self, store: Store, attempt: Attempt, lease: timedelta) -> None:
        self._store = store
        self._attempt = attempt
        self._lease = lease
        self._budget = Budget()
        self._lanes: dict[str, Lane] = {}
        self._loops: set[asyncio.Task[None]] = set()

    def open(self, policies: Mapping[str, PushOptions | None]) -> None:
        """A lane for each target that has none yet; for others the new policy. None: a target without a partner (a route)."""
        for target, policy in policies.items():
            lane = self._lanes.get(target)
            if lane is None:
                lane = Lane(target, self._store, self._attempt, self._budget, self._lease, policy or PushOptions())
                self._lanes[target] = lane
                self._loops.add(asyncio.create_task(lane.run()))
            if policy is not None:
                self._apply(lane, policy)

    @staticmethod
    def _apply(lane: Lane, policy: PushOptions) -> None:
        lane.policy = policy
        lane.breaker = lane.breaker or Breaker(policy)
        lane.breaker.policy = policy
        # A new generation may have put right what was wrong.
        lane.breaker.hasten()
        metrics.STOPPED_LANES.labels(lane.target).set(lane.breaker.opened is not None)

    def nudge(self, target: str) -> None:
        """There may be work for ``target``."""
        lane = self._lanes.get(target)
        if lane is not None:
            lane.nudge.set()

    def nudge_all(self) -> None:
        """There may be work for anyone."""
        for lane in self._lanes.values():
            lane.nudge.set()

    async def poll(self) -> None:
        """Wake the lanes that have something due, for ever: one question for them all, so that a thousand idle lanes cost as little as one.

        Work for targets that are declared no more is found here too; it is tried until it expires.
        """
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                targets = await READS.run(self._store.targets_with_work)
            except Exception as error:  # noqa: BLE001 - as in _claim
                trouble(error)
                continue
            self.open(dict.fromkeys(targets))
            await self._hasten(targets)
            for target in targets:
                self.nudge(target)

    async def _hasten(self, targets: Sequence[str]) -> None:
        """An operator's word is heard by a lane that is stopped, too: what he wants sent now is its next probe."""
        stopped = {lane.target: lane.breaker for lane in self.stopped() if lane.breaker and lane.target in targets}
        try:
            hurried = await READS.run(self._store.hurried, list(stopped)) if stopped else ()
        except Exception as error:  # noqa: BLE001 - as in _claim
            trouble(error)
            return
        for target in hurried:
            stopped[target].hasten()

    @contextlib.contextmanager
    def at_once(self, owed: Sequence[Owed]) -> Iterator[list[Owed]]:
        """While ``owed`` is committed: what the lanes have room for is claimed as it is recorded, which saves a transaction.

        Not where a lane knows of a backlog: what is new must not overtake it.
        """
        places = [self._reserve(each) for each in owed]
        try:
            yield [replace(each, lease=self._lease) if place else each for each, place in zip(owed, places, strict=True)]
        finally:
            for place in places:
                if place:
                    place.reserved -= 1

    def _reserve(self, owed: Owed) -> Lane | None:
        lane = None if owed.owner else self._lanes.get(owed.target)
        return lane if lane and lane.reserve() else None

    def begin(self, owed: Iterable[Owed], works: Iterable[Work]) -> list[str]:
        """A commit created work: begin what it claimed at once. Gives the targets of the rest, which somebody is to claim."""
        rest = list(owed)
        for work in works:
            name = (work.delivery.target, work.delivery.order_key)
            del rest[next(place for place, each in enumerate(rest) if (each.target, each.order_key) == name)]
            self._lanes[work.delivery.target].start(work)
        for each in rest:
            if each.order_key and each.target in self._lanes:
                self._lanes[each.target].behind = True
        return [each.target for each in rest if not each.owner]

    def stopped(self) -> list[Lane]:
        """Lanes that do not send, because their partner is down."""
        return [lane for lane in self._lanes.values() if lane.breaker and lane.breaker.opened is not None]

    def in_flight(self) -> set[asyncio.Task[None]]:
        """Every attempt under way."""
        return {task for lane in self._lanes.values() for task in lane.in_flight}

    def holding(self) -> frozenset[str]:
        """The deliveries that are being worked."""
        return frozenset(delivery for lane in self._lanes.values() for delivery in lane.in_flight.values())

    def alive(self) -> bool:
        """Whether every loop still runs."""
        return not any(loop.done() for loop in self._loops)

    def close(self) -> None:
        """Claim nothing more; what is under way goes on."""
        for lane in self._lanes.values():
            lane.stopping = True

    async def stop(self, grace: float) -> None:
        """Let what is under way end within ``grace`` seconds, then cut it off."""
        self.close()
        working = self.in_flight()
        if working:
            await asyncio.wait(working, timeout=grace)
        ending = [*self._loops, *working]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)


def buried(route: str, target: str, code: str, reasons: Mapping[str, str]) -> None:
    """A delivery ended without success: counted, and an alarm where it is the first of its route and target for a while."""
    metrics.BURIED.labels(route, target, code).inc()
    said = {"route": route, "target": target, "code": code, "detail": Quoted(reasons)}
    words = {language: text("condition-buried", language, **said) for language in LANGUAGES}
    conditions.open(conditions.BURIED, f"{route}: {target}", words, route=route, target=target, code=code)


def trouble(error: Exception, target: str = "") -> None:
    """A loop could not do its round: something is away, or we have a bug. Either way it goes on. Of the store its condition tells."""
    if isinstance(error, Deferred):
        if error.key != "store-unavailable":
            _log.warning(log.PUT_OFF, target=target, code=error.code, reason=error.reason("en"))
    else:
        _log.error(log.UNEXPECTED, target=target, exc_info=error)


def _now() -> float:
    return asyncio.get_running_loop().time()
