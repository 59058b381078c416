"""The life of a message, top to bottom. Read it with ARCHITECTURE.md, "follow a message", beside it.

::

    accept ─ route.admit ─ store.accept ─▶ receipt          the partner waits only for this
      │
      └▶ lane "route:…" ─ claim ─ route.process ─ store.routed ─▶ a delivery for each endpoint
            │
            └▶ lane "<endpoint>" ─ claim ─ adapter.send ─ store.finish ─▶ receipt DELIVERED

There is one *lane* a target (``bus.lanes``): a partner that is down fills its own lane and no other. What must happen because time has
passed is ``bus.housekeeping``. Everything that goes wrong after acceptance passes ``_fail``. The engine promises nothing by itself: what
it says has happened is what the store has committed, and what is not committed is done again when the lease is over.
"""

import asyncio
import math
import random
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import structlog

from bus import conditions, log, mailboxes, metrics, points
from bus.checkpointing import Checkpointing
from bus.delivery import ROUTE_PREFIX
from bus.endpoint import Adapter, Answer, Fetched, Pending, SignedRequest
from bus.errors import BusError, Deferred, Rejected, text
from bus.exchange import Target
from bus.housekeeping import Housekeeping
from bus.lanes import LEASE, Lanes, buried, trouble
from bus.message import AUTHENTICATED, ENDPOINT, LEGACY, RECEIVERS, SENDER, Message
from bus.offload import act_for, acting_for, offload
from bus.options import PushOptions
from bus.organisations import Organisation
from bus.ourselves import OwnFaults, changed, is_held_for, of_ours
from bus.quotas import Rates
from bus.receipt import Status
from bus.refusals import Refusals, as_failure
from bus.retry import RetryPolicy
from bus.revocation import settled
from bus.route import Route
from bus.site import Clock, Site
from bus.store import LostClaim, Owed, Store, Work

#: What is being sent may end in this time before its adapter is stopped or its process ends.
_DRAIN_SECONDS = 20.0
#: A mailbox is read by people: what nobody fetched in this time expires, with a receipt.
MAILBOX_LIFE = timedelta(days=30)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Routed:
    """What routes made of one message: the deliveries owed, and what the journal is to know."""

    results: list[Owed]
    taps: dict[str, Any]
    history: list[str]


class Engine:
    """The machine behind every door; implements ``bus.endpoint.Bus``."""

    def __init__(
        self,
        site: Site,
        store: Store,
        endpoints: Mapping[str, Adapter],
        routes: Mapping[str, Route],
        *,
        clock: Clock,
        ids: Callable[[], str],
        jitter: Callable[[], float] = random.random,
        on_nudge: Callable[[str], None] = lambda _target: None,
        steady: Clock | None = None,
        lease: timedelta = LEASE,
        checkpointing: Checkpointing | None = None,
        rates: Rates | None = None,
    ) -> None:
        """An engine that is not started.

        ``on_nudge``  is called, on the loop, with each target that a commit of this engine created work for: for the other nodes
        ``steady``    the clock by which things end for good (``bus.steady``), where ``clock`` may leap
        ``lease``     how long a claim lasts; losing a node costs this much
        ``checkpointing``   what signs and time-stamps the journal, and stops acceptance when it has not been for too long
        ``rates``     what counts how often partners call
        """
        self._site = site
        self._store = store
        self._endpoints = endpoints
        self._routes = routes
        self._clock = clock
        self._ids = ids
        self._jitter = jitter
        self._on_nudge = on_nudge
        self._steady = steady or clock
        # An attempt is cut off before its lease is over, so that a worker never finishes what it no longer holds.
        self._attempt_seconds = lease.total_seconds() * 0.9
        self._lanes = Lanes(store, self._attempt, lease)
        self._housekeeping = Housekeeping(store, self._lanes, routes, clock, self._steady)
        self._checkpointing = checkpointing
        self._refusals = Refusals(store, clock, site)
        self._faults = OwnFaults()
        self._rates = rates or Rates(time.monotonic)
        self._rates.declare(site.rates())
        self._loops: set[asyncio.Task[None]] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._stopping = False

    # --- the door -------------------------------------------------------------------------------------------------

    async def accept(self, endpoint: str, message: Message, request: SignedRequest | None = None) -> Answer:
        """Gate, then one transaction, then the receipt. Whatever this returns is on disk. Raises Rejected or Deferred."""
        with acting_for(message.header(SENDER)):
            return await self._accept(endpoint, message, request)

    async def _accept(self, endpoint: str, message: Message, request: SignedRequest | None) -> Answer:
        self._steady()  # An end is reckoned from the clock as it is now: the clock that will judge it must have seen it.
        ours = {ENDPOINT: endpoint, AUTHENTICATED: self._site.code_of(message.header(SENDER))}
        message = replace(message, id=self._ids(), headers={**message.headers, **ours})
        try:
            if self._checkpointing is not None:
                self._checkpointing.admit()
            admitted = partial(offload, len(message.body), self._admit, endpoint, message)
            route, owed, note = await settled(self._site.keyring.statuses, admitted)
            points.reach("accept.admitted")
            with self._lanes.at_once(owed) as owed:
                answer = await self._store.accept(message, *owed, receipts_to=route.receipts, note=note, request=request)
        except Exception as error:
            mailboxes.refused(error)
            await self.refuse(endpoint, message.header(SENDER), error, message.digest, message)
            raise
        points.reach("accept.stored")
        if answer.duplicate:
            _log.info(log.DUPLICATE, message=answer.receipt.message_id, route=route.name)
            return answer
        metrics.ACCEPTED.labels(route.name).inc()
        _log.info(log.ACCEPTED, message=message.id, route=route.name, partner=message.header(SENDER), size=len(message.body))
        self._go_on(owed, answer.works)
        return answer

    def _admit(self, endpoint: str, message: Message) -> tuple[Route, list[Owed], dict[str, Any]]:
        """The first route of this endpoint that takes the message, what is owed, and what the gate notes for the journal.

        What its gate let pass is owed, and nothing else (D4).

        A route with steps is owed the message. One without has nothing left to do: what its router said at the gate is what is owed.
        """
        route = next((route for route in self._routes.values() if route.source == endpoint and route.matches(message)), None)
        if route is None:
            raise Rejected("no-route", endpoint=endpoint)
        admitted = route.admit(message, self._clock())
        targets = (Target(ROUTE_PREFIX + route.name),) if route.steps else admitted.to
        order_key = route.order_key(admitted.message)
        found = {"taps": dict(admitted.taps), "history": list(admitted.history), LEGACY: message.header(LEGACY)}
        note = {name: value for name, value in found.items() if value}
        return route, [self._owed_to_target(route, admitted.message, target, order_key) for target in targets], note

    async def refuse(self, endpoint: str, partner: str, error: Exception, digest: str, message: Message | None = None) -> str:
        """Journal a refusal once, and return its reference (``bus.refusals``). ``message``: what was refused, where it could be read."""
        return await self._refusals.refuse(endpoint, partner, error, digest, message)

    def turn(self, partner: str) -> None:
        """Let one request of a partner in, where its rate allows it."""
        if wait := self._rates.wait(partner):
            raise Deferred("rate-exceeded", retry_after=float(math.ceil(wait)), partner=partner)

    async def once(self, partner: str, digest: str, until: datetime) -> None:
        """Use up a nonce on every node."""
        await self._store.once(partner, digest, until)

    # --- mailboxes (D11): the same deliveries, fetched instead of pushed --------------------------------------------

    async def pending(self, partner: str, limit: int, kinds: Sequence[str] = ()) -> Sequence[Pending]:
        """What waits for ``partner``."""
        return await self._store.pending(partner, limit, kinds)

    async def fetch(self, partner: str, message_id: str) -> Fetched:
        """One message of the partner's mailbox."""
        fetched = await self._store.fetch(partner, message_id)
        _log.info(log.FETCHED, message=message_id, partner=partner, size=len(fetched.body))
        return fetched

    async def confirm(self, partner: str, message_id: str, done: bool, reason: str = "", request: SignedRequest | None = None) -> Answer:
        """The partner's own word on a fetched message ends its delivery."""
        answer = await self._store.confirm(partner, message_id, done, reason, request)
        _log.info(log.CONFIRMED, message=message_id, partner=partner, code=answer.receipt.code, done=done)
        return answer

    async def receipts(self, partner: str, message_id: str) -> Sequence[bytes]:
        """Signed receipts that concern this partner."""
        return await self._store.receipts(partner, message_id)

    async def known(self, endpoint: str, partner: str, sender_message_id: str) -> bool:
        """Whether a poller already brought this message in."""
        return await self._store.known(endpoint, partner, sender_message_id)

    def organisations(self, changed_since: date | None = None) -> Sequence[Organisation]:
        """The code book, or what of it changed since a day."""
        return self._site.organisations.changed_since(changed_since) if changed_since else tuple(self._site.organisations)

    # --- the lanes ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Free what this node had claimed when it died, then open the lanes and the adapters."""
        points.reach("start.begun")
        released = await self._store.release(expired_at=None)
        points.reach("start.released")
        if released:
            _log.info(log.RELEASED, deliveries=released)
        if self._checkpointing is not None:
            await self._checkpointing.start()
        self._open_lanes()
        loops = [self._lanes.poll(), self._housekeeping.run(), self._refusals.strangers.run()]
        loops += [self._checkpointing.run()] if self._checkpointing is not None else []
        for loop in loops:
            self._loops.add(asyncio.create_task(loop))
        for adapter in self._endpoints.values():
            await adapter.start(self)
        points.reach("start.open")

    async def stop(self, grace: float = _DRAIN_SECONDS) -> None:
        """Take nothing new, let work in flight end within ``grace`` seconds; what does not is done again after a restart."""
        self._stopping = True
        await self._lanes.stop(grace)
        await asyncio.gather(*(adapter.stop() for adapter in self._endpoints.values()), *self._retiring)
        points.reach("drain.adapters-stopped")
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self._refusals.strangers.flush()
        points.reach("drain.ended")

    def alive(self) -> bool:
        """Whether every loop still runs."""
        return not self._stopping and self._lanes.alive() and not any(loop.done() for loop in self._loops)

    def _open_lanes(self) -> None:
        """A lane for each route and each endpoint that sends, as this generation wants it."""
        routes: dict[str, PushOptions | None] = {ROUTE_PREFIX + name: None for name in self._routes}
        pushed = {name: adapter.features.lane for name, adapter in self._endpoints.items() if adapter.features.sends}
        self._lanes.open(routes | pushed)

    def nudge(self, target: str) -> None:
        """There may be work for ``target``: a hint, which costs latency when it is lost (D1). From another thread: call_soon_threadsafe."""
        self._lanes.nudge(target)

    def _go_on(self, owed: Iterable[Owed], works: Iterable[Work]) -> None:
        """A commit created work: begin what it claimed at once; wake our own lanes for the rest, and let the other nodes be woken."""
        for target in self._lanes.begin(owed, works):
            self.nudge(target)
            self._on_nudge(target)

    # --- one attempt ----------------------------------------------------------------------------------------------

    async def _attempt(self, work: Work) -> Exception | None:
        """One claimed delivery, once. Ends in a committed change of state, or in nothing: then its lease runs out. Gives what failed."""
        self._steady()  # As in accept.
        points.reach("lane.claimed")
        act_for(work.message.header(SENDER))
        try:
            with metrics.ATTEMPT_SECONDS.labels(work.delivery.target).time():
                async with asyncio.timeout(self._attempt_seconds):
                    if work.delivery.target.startswith(ROUTE_PREFIX):
                        await self._process(work)
                    else:
                        await self._send(work)
        except LostClaim as lost:
            _log.warning(log.LOST_CLAIM, **self._fields(work))
            return lost
        except Exception as error:  # noqa: BLE001 - the one place where any failure of an attempt is judged
            return await self._fail(work, error)
        return None

    async def _process(self, work: Work) -> None:
        route = self._route(work.delivery.target.removeprefix(ROUTE_PREFIX))
        followed = partial(
            offload, len(work.message.body), self._follow, self._routes, route, work.message, work.delivery.order_key, changed(work)
        )
        routed = await settled(self._site.keyring.statuses, followed)
        points.reach("lane.processed")
        with self._lanes.at_once(routed.results) as owed:
            works = await self._store.routed(work, owed, routed.taps, routed.history)
        self._faults.works(work.delivery.id)
        self._report(log.ROUTED, work, outcome="routed", targets=[result.target for result in routed.results])
        self._go_on(owed, works)

    def _follow(self, routes: Mapping[str, Route], route: Route, message: Message, order_key: str, ours: bool) -> _Routed:
        """What ``route`` makes of the message, and at once what the routes it leads to make of it: one transaction for all of them.

        All are of one generation, whatever is reloaded meanwhile.

        A route further on that fails must not fail its sisters: its delivery is recorded instead, and has a life of its own.
        """
        exchange = route.process(message, self._clock(), ours=ours)
        results, taps, history = list[Owed](), dict(exchange.taps), list(exchange.history)
        for target in exchange.to:
            owed = self._owed_to_target(route, exchange.message, target, order_key)
            following = routes.get(target.name.removeprefix(ROUTE_PREFIX)) if target.name.startswith(ROUTE_PREFIX) else None
            try:
                routed = (
                    self._follow(routes, following, owed.message, order_key, exchange.changed) if following else _Routed([owed], {}, [])
                )
            except Exception:  # noqa: BLE001 - judged by _fail, in the attempt at that delivery
                routed = _Routed([owed], {}, [])
            results += routed.results
            taps |= routed.taps
            history += [f"{target.name}: {note}" for note in routed.history]
        return _Routed(results, taps, history)

    def _owed_to_target(self, route: Route, message: Message, target: Target, order_key: str) -> Owed:
        return Owed(
            route=route.name,
            target=target.name,
            owner=target.owner,
            message=message.with_headers(**{RECEIVERS: " ".join(target.receivers)}) if target.receivers else message,
            order_key=order_key,
            expires=self._clock() + (MAILBOX_LIFE if target.owner else route.retry.give_up),
        )

    def _route(self, name: str) -> Route:
        route = self._routes.get(name)
        if route is None:
            # A route deleted with messages in flight: they wait for it, visibly, until they expire or an operator decides.
            raise Deferred("route-missing", route=name)
        return route

    async def _send(self, work: Work) -> None:
        adapter = self._endpoints.get(work.delivery.target)
        if adapter is None:
            raise Deferred("endpoint-missing", endpoint=work.delivery.target)
        sent = await adapter.send(work.message)
        points.reach("lane.sent")
        answer = await self._store.finish(work, sent)
        points.reach("lane.finished")
        self._faults.works(work.delivery.id)
        self._report(log.DELIVERED, work, outcome="delivered", code=answer.receipt.code)

    async def _fail(self, work: Work, error: Exception) -> BusError:
        """Every failure after acceptance: permanent ends it, transient is due again, expiry ends it too. Gives it as it was judged."""
        reference = secrets.token_hex(6)
        failure = Deferred("attempt-too-long") if isinstance(error, TimeoutError) else as_failure(error, reference)
        failure = of_ours(work, failure)
        points.reach("lane.failed")
        self._faults.tell(work.delivery.id, failure)
        mailboxes.refused(failure)
        try:
            if isinstance(failure, Rejected):
                await self._bury(work, Status.REJECTED, failure.code, failure.reasons)
            elif self._steady() >= work.delivery.expires:
                await (self._hold(work, failure) if is_held_for(work, failure) else self._expire(work, failure))
            else:
                await self._defer(work, failure)
        except LostClaim:
            _log.warning(log.LOST_CLAIM, **self._fields(work))
        except Deferred as failing:
            # The store itself fails: the lease runs out and the delivery is tried again.
            trouble(failing, work.delivery.target)
        return failure

    async def _hold(self, work: Work, failure: BusError) -> None:
        """Time is up for what we ourselves failed with: an operator decides, and the sender is told nothing that is not true."""
        await self._store.hold_back(work, failure.code, failure.reasons)
        self._report(log.HELD, work, outcome="held", code=failure.code, reason=failure.reason("en"))

    async def _defer(self, work: Work, failure: BusError) -> None:
        delivery, wish = work.delivery, getattr(failure, "retry_after", None)
        due = self._retry(delivery.route).next_due(delivery.attempt, self._clock(), delivery.expires, self._jitter(), wish)
        await self._store.defer(work, due, failure.code, failure.reasons)
        self._report(log.DEFERRED, work, outcome="deferred", code=failure.code, reason=failure.reason("en"), due=due)

    async def _expire(self, work: Work, failure: BusError) -> None:
        """Time is up. A failure that was our own bug ends as DEAD, so that an operator looks at it; a partner's as EXPIRED."""
        status = Status.DEAD if failure.key == "bus-error" else Status.EXPIRED
        attempts = work.delivery.attempt
        reasons = {
            language: text("receipt-expired", language, attempts=attempts, last=failure.reason(language)) for language in failure.reasons
        }
        await self._bury(work, status, "5.4.7", reasons)

    async def _bury(self, work: Work, status: Status, code: str, reasons: Mapping[str, str]) -> None:
        await self._store.bury(work, status, code, reasons)
        self._faults.gone(work.delivery.id)
        buried(work.delivery.route, work.delivery.target, code, reasons)
        self._report(log.BURIED, work, outcome=status.value.lower(), code=code, reason=reasons["en"])

    def _retry(self, route: str) -> RetryPolicy:
        known = self._routes.get(route)
        return known.retry if known else RetryPolicy()

    # --- small things -----------------------------------------------------------------------------------------------

    @staticmethod
    def _fields(work: Work) -> dict[str, object]:
        delivery = work.delivery
        return {
            "message": delivery.message_id,
            "delivery": delivery.id,
            "route": delivery.route,
            "target": delivery.target,
            "attempt": delivery.attempt,
        }

    def _report(self, event: str, work: Work, *, outcome: str, **more: object) -> None:
        """One log line and one metric for one change of state; the journal row was written by the store."""
        metrics.DELIVERIES.labels(work.delivery.target, outcome).inc()
        _log.info(event, **self._fields(work), **more)

    async def replace_configuration(self, site: Site, endpoints: Mapping[str, Adapter], routes: Mapping[str, Route]) -> None:
        """Swap the generation (SIGHUP): new adapters first, so that no door is ever closed; the old ones finish what they are sending."""
        old, sending = self._endpoints, self._lanes.in_flight()
        self._site, self._endpoints, self._routes = site, endpoints, routes
        self._housekeeping.routes = routes
        self._refusals.site = site
        self._rates.declare(site.rates())
        points.reach("reload.swapped")
        for adapter in endpoints.values():
            await adapter.start(self)
        points.reach("reload.started")
        self._open_lanes()
        self._forget_removed()
        retiring = asyncio.create_task(self._retire(old, sending))
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)

    def _forget_removed(self) -> None:
        """What was told of targets, routes and endpoints that this generation does not have is told no more."""
        targets = {*self._endpoints, *(ROUTE_PREFIX + name for name in self._routes)}
        for label, known in (("target", targets), ("route", {*self._routes}), ("endpoint", {*self._endpoints})):
            metrics.forget(label, known)
        for key in (conditions.PARTNER_DOWN, conditions.PARTNER_TROUBLE, conditions.FETCHING):
            conditions.keep(key, targets)
        self._faults.forget()

    @staticmethod
    async def _retire(adapters: Mapping[str, Adapter], sending: Collection[asyncio.Task[None]]) -> None:
        """Stop the adapters of an old generation, once what they were sending has ended or taken too long."""
        if sending:
            await asyncio.wait(sending, timeout=_DRAIN_SECONDS)
        await asyncio.gather(*(adapter.stop() for adapter in adapters.values()))
