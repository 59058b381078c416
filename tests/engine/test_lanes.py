"""Lanes under a running engine: width, memory, order, and a partner that is down."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
import structlog
from engine_bench import DIGITAL_AGENCY, Bench, HandClock, Partner, make_routes
from helping import until

from bus import housekeeping, lanes, log, metrics
from bus.audit import audit
from bus.engine import Engine
from bus.errors import Deferred
from bus.evidence import Evidence
from bus.ids import uuid7
from bus.lanes import Budget, Lane
from bus.message import Message
from bus.options import PushOptions
from bus.route import Entry, Route
from bus.site import Site
from bus.store import Owed, Store, Work
from bus.xpath import XPath

DOWN = Deferred("partner-unreachable", target="agency", detail="no route to host")
#: A partner that is found out quickly and asked again quickly.
QUICK = PushOptions(open_after=3, probe_first=timedelta(milliseconds=20), probe_most=timedelta(milliseconds=20))
#: The same, and then left alone for the rest of the test.
STOPPED = PushOptions(open_after=3, probe_first=timedelta(hours=1), probe_most=timedelta(hours=1))


@pytest.fixture(autouse=True)
def frequent_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Housekeeping looks often: its rounds begin with a pause."""
    monkeypatch.setattr(housekeeping, "PAUSE_SECONDS", 0.02)


def sample(name: str, **labels: str) -> float | None:
    return metrics.REGISTRY.get_sample_value(name, labels)


async def _take_down(bench: Bench, lane: PushOptions) -> Partner:
    """The partner ``agency`` fails whatever it is sent, and three messages have found that out."""
    partner = bench.partners["agency"]
    partner.features = type(partner.features)(sends=True, lane=lane)
    await bench.engine.replace_configuration(bench.site, bench.partners, make_routes(bench.site, bench.partners))
    partner.script = [DOWN] * 1000
    for number in range(3):
        await bench.hand_in(f"found-{number}")
    await bench.until(lambda: sample("govbus_lane_stopped", target="agency") == 1)
    return partner


async def test_a_partner_that_is_down_costs_what_waits_no_attempts(bench: Bench) -> None:
    """Once three have failed the others wait untried; when the partner is back they go out, each at its first attempt."""
    partner = await _take_down(bench, STOPPED)
    for number in range(20):
        await bench.hand_in(f"waiting-{number}")
    for number in range(5):
        await bench.hand_in(f"free-{number}", to="other")
    await bench.until(lambda: len(bench.partners["other"].taken) == 5)
    assert [bench.attempt(f"waiting-{number}")["attempt"] for number in range(20)] == [0] * 20
    assert partner.attempts == 3
    partner.script.clear()
    # An operator who has put something right need not wait for the next probe.
    await bench.engine.replace_configuration(bench.site, bench.partners, make_routes(bench.site, bench.partners))
    await bench.until(lambda: len(partner.taken) == 20)
    assert [bench.attempt(f"waiting-{number}")["attempt"] for number in range(20)] == [1] * 20
    bench.clock.advance(timedelta(minutes=1))
    await bench.until(lambda: len(partner.taken) == 23)
    assert sample("govbus_lane_stopped", target="agency") == 0


async def test_probes_find_out_by_themselves_that_a_partner_is_back(bench: Bench) -> None:
    """One delivery at a time is tried while the lane is stopped; the first that is taken lets the others go."""
    partner = await _take_down(bench, QUICK)
    for number in range(6):
        await bench.hand_in(f"waiting-{number}")
    await bench.until(lambda: partner.attempts >= 5)
    partner.script.clear()
    bench.clock.advance(timedelta(minutes=5))
    await bench.until(lambda: len(partner.taken) == 9)
    assert audit(bench.store, bench.evidence).findings == ()


async def test_what_waits_for_a_partner_that_is_down_expires_on_time(bench: Bench) -> None:
    """A lane that does not send still keeps the senders' deadline: EXPIRED, with the reason the partner is down, tried or not."""
    partner = await _take_down(bench, STOPPED)
    await bench.hand_in("untried")
    bench.clock.advance(timedelta(hours=1, minutes=59))
    await bench.hand_in("younger")
    bench.clock.advance(timedelta(minutes=2))
    await bench.until(lambda: all(bench.statuses(name) == ["ACCEPTED", "EXPIRED"] for name in ("found-0", "found-2", "untried")))
    last = bench.evidence.read(bench.store.receipts_of("untried")[-1])
    assert (last.code, last.reasons["en"]) == (
        "5.4.7",
        "Delivery time expired after 0 attempts; last failure: Partner 'agency' cannot be reached: no route to host",
    )
    assert (bench.statuses("younger"), partner.attempts) == (["ACCEPTED"], 3)
    assert audit(bench.store, bench.evidence).findings == ()


async def test_a_lane_is_as_wide_as_its_endpoint_says(bench: Bench) -> None:
    """``width: 3`` is three deliveries at the partner at the same time, and not one more."""
    partner = bench.partners["agency"]
    partner.features = type(partner.features)(sends=True, lane=PushOptions(width=3))
    await bench.engine.replace_configuration(bench.site, bench.partners, make_routes(bench.site, bench.partners))
    partner.gate.clear()
    for number in range(8):
        await bench.hand_in(f"m{number}")
    await bench.until(lambda: partner.attempts == 3)
    states = [bench.attempt(f"m{number}")["state"] for number in range(8)]
    assert (states.count("CLAIMED"), states.count("READY")) == (3, 5)
    partner.gate.set()
    await bench.until(lambda: len(partner.taken) == 8)


async def test_a_reload_waits_for_nobody_and_cuts_nobody_off(bench: Bench) -> None:
    """With a delivery under way at a slow partner the new generation works at once; the old one's adapter ends when it has sent."""
    old = bench.partners["agency"]
    old.gate.clear()
    await bench.hand_in("slow")
    await bench.until(lambda: old.attempts == 1)
    bench.partners = {name: Partner(name) for name in bench.partners}
    await bench.engine.replace_configuration(bench.site, bench.partners, make_routes(bench.site, bench.partners))
    await bench.hand_in("next")
    await bench.until(lambda: bench.statuses("next") == ["ACCEPTED", "DELIVERED"])
    assert (bench.statuses("slow"), old.stopped) == (["ACCEPTED"], False)
    old.gate.set()
    await bench.until(lambda: bench.statuses("slow") == ["ACCEPTED", "DELIVERED"] and old.stopped)
    assert (old.attempts, len(bench.partners["agency"].taken)) == (1, 1)


async def test_the_next_of_an_order_key_does_not_wait_for_the_poll(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten messages with one key go out one after the other at once, though the store is polled once in an hour."""
    monkeypatch.setattr(lanes, "POLL_SECONDS", 3600)
    partner = bench.partners["agency"]
    partner.gate.clear()
    names = [f"m{number}" for number in range(10)]
    for name in names:
        await bench.hand_in(name, key="k")
    partner.gate.set()
    await bench.until(lambda: len(partner.taken) == 10)
    assert [message.header("sender-message-id") for message in partner.taken] == names


async def test_bodies_in_flight_are_bounded_by_bytes(opened: tuple[Site, Callable[..., Store], Evidence], clock: HandClock) -> None:
    """Lanes share one budget: full, they claim nothing more, but one that has nothing in hand may always take one, however large."""
    _, open_store, _ = opened
    store = open_store()
    for target in ("big", "late"):
        for number in range(6):
            identity = {"sender": "telecom-authority", "sender-message-id": f"{target}-{number}"}
            message = Message(uuid7(clock)(), identity, f"{target}{number}".encode() * 2000)
            await store.accept(message, Owed(route="out", target=target, message=message, expires=clock() + timedelta(days=1)))

    gate, begun = asyncio.Event(), list[str]()

    async def attempt(work: Work) -> None:
        begun.append(work.delivery.target)
        await gate.wait()

    budget = Budget(most=25_000)
    big, late = (Lane(target, store, attempt, budget, lanes.LEASE, PushOptions()) for target in ("big", "late"))
    loops = [asyncio.create_task(big.run())]
    await until(lambda: begun == ["big"] * 4)
    # Bodies of 8,000 bytes: with four the 25,000 are reached. The other lane has nothing in hand, and takes one of its 10,000.
    loops.append(asyncio.create_task(late.run()))
    await until(lambda: begun == ["big"] * 4 + ["late"])
    assert (budget.held, big.room(), late.room()) == (42_000, 0, 0)
    gate.set()
    await until(lambda: sorted(begun) == ["big"] * 6 + ["late"] * 6 and budget.held == 0)
    for loop in loops:
        loop.cancel()
    store.close()


async def test_fault_32_what_is_not_confirmed_in_time_raises_an_alarm(
    opened: tuple[Site, Callable[..., Store], Evidence], clock: HandClock
) -> None:
    """Past ``confirm-within``: one alarm a delivery, a gauge by owner, both fetched or not; again after a day; and no receipt is forged."""
    site, open_store, evidence = opened
    store = open_store()
    to_mailbox = (Entry("inbox", XPath("to")),)
    routes = {"out": Route("out", "door", site, to=to_mailbox, confirm_within=timedelta(days=2))}
    engine = Engine(site, store, {}, routes, clock=clock, ids=uuid7(clock))
    bench = Bench(site, store, evidence, clock, {}, engine)
    with structlog.testing.capture_logs() as logs:
        await engine.start()
        for name in ("fetched", "left", "confirmed"):
            await bench.hand_in(name, to=DIGITAL_AGENCY)
        await engine.fetch("digital-agency", "fetched")
        await engine.confirm("digital-agency", "confirmed", done=True)
        clock.advance(timedelta(days=2, minutes=-1))
        await bench.hand_in("younger", to=DIGITAL_AGENCY)

        def alarms() -> list[tuple[object, object]]:
            return [(each["owner"], each["fetched"]) for each in logs if each["event"] == log.UNCONFIRMED]

        clock.advance(timedelta(minutes=2))
        once = [("digital-agency", True), ("digital-agency", False)]
        await bench.until(lambda: alarms() == once)
        await bench.until(lambda: sample("govbus_unconfirmed", owner="digital-agency") == 2)
        clock.advance(timedelta(hours=23))
        # The gauge comes back: they have been looked at again.
        metrics.UNCONFIRMED.clear()
        await bench.until(lambda: sample("govbus_unconfirmed", owner="digital-agency") == 2)
        assert alarms() == once
        clock.advance(timedelta(hours=1))
        await bench.until(lambda: alarms() == once * 2)
        await engine.confirm("digital-agency", "fetched", done=True)
        await bench.until(lambda: sample("govbus_unconfirmed", owner="digital-agency") == 1)
        await engine.stop()
    assert (bench.statuses("left"), bench.statuses("fetched")) == (["ACCEPTED"], ["ACCEPTED", "FETCHED", "CONFIRMED"])
    assert audit(store, evidence).findings == ()
    store.close()
