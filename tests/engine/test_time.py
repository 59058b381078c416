"""A machine whose clock leaps, and a worker that stands still: nothing ends early, nothing is sent by two at a time."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from engine_bench import DIGITAL_AGENCY, Bench, HandClock, Partner, make_routes

from bus import housekeeping
from bus.audit import audit
from bus.engine import Engine
from bus.errors import Deferred
from bus.evidence import Evidence
from bus.ids import uuid7
from bus.lanes import LEASE
from bus.message import Message
from bus.route import Entry, Route
from bus.site import Site
from bus.steady import Steady
from bus.store import Owed, Store
from bus.xpath import XPath

DOWN = Deferred("partner-unreachable", target="agency", detail="no route to host")
Opened = tuple[Site, Callable[..., Store], Evidence]


@pytest.fixture
async def leaping(opened: Opened, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """The engine as the daemon runs it, its clock in the test's hand; mailboxes at the door ``inbox``."""
    monkeypatch.setattr(housekeeping, "PAUSE_SECONDS", 0.02)
    site, open_store, evidence = opened
    store, partners = open_store(), {name: Partner(name) for name in ("agency", "other")}
    routes = make_routes(site, partners) | {"in": Route("in", "inbox", site, to=(Entry("inbox", XPath("to")),))}
    steady = Steady(clock, lambda: clock.elapsed)
    engine = Engine(site, store, partners, routes, clock=clock, ids=uuid7(clock), jitter=lambda: 0.5, steady=steady)
    await engine.start()
    yield Bench(site, store, evidence, clock, partners, engine)
    await engine.stop()
    store.close()


async def test_fault_35_a_leap_ahead_expires_nothing_before_its_time(leaping: Bench) -> None:
    """Past every deadline by the time of day: what waits is tried again at the usual pauses, and expires when it really is time."""
    partner = leaping.partners["agency"]
    partner.script = [DOWN] * 100
    await leaping.hand_in("m1")
    await leaping.hand_in("m2", to=DIGITAL_AGENCY, door="inbox")
    await leaping.deferred("m1")
    leaping.clock.advance(timedelta(), leap=timedelta(days=40))
    await leaping.deferred("m1", attempt=2)
    assert leaping.attempt("m1")["due"] == "2026-12-30T02:01:00.000000Z"
    leaping.clock.advance(timedelta(hours=1, minutes=58))
    await leaping.deferred("m1", attempt=3)
    assert (leaping.statuses("m1"), leaping.statuses("m2")) == (["ACCEPTED"], ["ACCEPTED"])
    leaping.clock.advance(timedelta(hours=1))
    await leaping.until(lambda: leaping.statuses("m1") == ["ACCEPTED", "EXPIRED"])
    assert leaping.statuses("m2") == ["ACCEPTED"]
    assert audit(leaping.store, leaping.evidence).findings == ()


async def test_fault_35_a_leap_ahead_takes_no_claim_from_its_worker(leaping: Bench, opened: Opened) -> None:
    """A delivery under way here is not sent a second time because its lease seems to be over; one of a node that died is."""
    partner = leaping.partners["agency"]
    partner.gate.clear()
    await leaping.hand_in("m1")
    await leaping.until(lambda: partner.attempts == 1)
    died = opened[1]("another node")
    message = Message(uuid7(leaping.clock)(), {"sender": "telecom-authority", "sender-message-id": "m2"}, b"<d/>")
    expires = leaping.clock() + timedelta(days=1)
    await died.accept(message, Owed(route="out", target="other", message=message, expires=expires, lease=LEASE))
    died.close()
    leaping.clock.advance(timedelta(), leap=timedelta(hours=1))
    await leaping.until(lambda: len(leaping.partners["other"].taken) == 1)
    partner.gate.set()
    await leaping.until(lambda: leaping.statuses("m1") == ["ACCEPTED", "DELIVERED"])
    assert partner.attempts == 1


async def test_fault_35_a_leap_back_sends_nothing_twice_and_new_messages_at_once(leaping: Bench) -> None:
    """What was due waits longer by the leap; what comes in meanwhile goes out at once; each exactly once."""
    partner = leaping.partners["agency"]
    partner.script = [DOWN]
    await leaping.hand_in("m1")
    await leaping.deferred("m1")
    leaping.clock.advance(timedelta(seconds=5), leap=timedelta(hours=-1))
    await leaping.hand_in("m2")
    await leaping.until(lambda: leaping.statuses("m2") == ["ACCEPTED", "DELIVERED"])
    leaping.clock.advance(timedelta(minutes=61))
    await leaping.until(lambda: leaping.statuses("m1") == ["ACCEPTED", "DELIVERED"])
    assert [message.header("sender-message-id") for message in partner.taken] == ["m2", "m1"]
    assert audit(leaping.store, leaping.evidence).findings == ()
