"""A partner's Retry-After is a wish: it moves a delivery by our longest pause at most, and an operator's word is stronger."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from engine_bench import Bench, HandClock, Partner, make_routes

from bus import config, lanes
from bus.engine import Engine
from bus.errors import Deferred
from bus.evidence import Evidence
from bus.ids import uuid7
from bus.retry import RetryPolicy, retry_after
from bus.store import Store

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
WEEK = 604_800.0
POLICY = RetryPolicy(first=timedelta(seconds=30), factor=2, most=timedelta(hours=1), give_up=timedelta(days=5))


@pytest.fixture
async def bench(make_site: Callable[..., Path]) -> AsyncIterator[Bench]:
    """The engine running, with one partner; ``most`` of its route is an hour, ``give-up`` two."""
    clock = HandClock()
    site = config.load(make_site(), environment={}, clock=lambda: datetime.now(UTC)).site
    evidence = Evidence(site.keyring.signer("own/bus"), site.keyring.own, lambda: datetime.now(UTC))
    url = f"sqlite:///{site.root / 'data' / 'bus.db'}"
    store = Store.open(url, seal=evidence.seal, organisation=site.organisation, clock=clock, ids=uuid7(clock), chain="main")
    partners = {"agency": Partner("agency")}
    engine = Engine(site, store, partners, make_routes(site, partners), clock=clock, ids=uuid7(clock), jitter=lambda: 0.5)
    await engine.start()
    yield Bench(site, store, evidence, clock, partners, engine)
    await engine.stop()
    store.close()


def _busy(seconds: float | None) -> Deferred:
    return Deferred("partner-busy", target="agency", status=503, retry_after=seconds)


@pytest.mark.parametrize(
    "said", ["604800", "9" * 400, "Fri, 27 Nov 2026 02:00:00 GMT", "Fri, 20 Nov 9999 02:10:00 GMT", "Fri, 20 Nov 2026 10:10:00 +0000"]
)
def test_no_wish_moves_a_delivery_further_than_our_longest_pause(said: str) -> None:
    """Seconds or a date, a week or eight thousand years: tried again in an hour, long before the message ends."""
    assert POLICY.next_due(1, NOW, NOW + POLICY.give_up, 0.5, retry_after(said, NOW)) == NOW + POLICY.most


@pytest.mark.parametrize(
    "said",
    ["-604800", "604800.5", "6e5", "+60", "Fri, 20 Nov 2026 01:00:00 GMT", "", "1 Jan 0001 00:00 GMT", "soon", "60, 70", "٦٠"],
)
def test_what_is_no_wish_leaves_the_pause_as_it_is(said: str) -> None:
    """Negative, a fraction, the past, two values, another alphabet's digits: as if nothing were said."""
    assert POLICY.next_due(1, NOW, NOW + POLICY.give_up, 0.5, retry_after(said, NOW)) == NOW + POLICY.first


async def test_a_wish_of_a_week_leaves_the_message_its_tries(bench: Bench) -> None:
    """Due within the route's longest pause, and delivered then: not tried for the last time when it expires."""
    bench.partners["agency"].script = [_busy(WEEK)]
    await bench.hand_in("m1")
    await bench.deferred("m1")
    assert bench.attempt("m1")["due"] == "2026-11-20T03:00:00.000000Z"
    assert str(bench.attempt("m1")["expires"]) > "2026-11-20T03:59:59"
    bench.clock.advance(timedelta(hours=1, seconds=1))
    await bench.until(lambda: bench.statuses("m1") == ["ACCEPTED", "DELIVERED"])


async def test_a_resend_moves_what_is_due_later(bench: Bench) -> None:
    """The clock stands still, the delivery is due in an hour: an operator's word sends it now, and the journal says who and why."""
    bench.partners["agency"].script = [_busy(WEEK)]
    await bench.hand_in("m1")
    await bench.deferred("m1")
    expires = bench.attempt("m1")["expires"]
    [story] = bench.store.show("m1")
    assert len(await bench.store.resend([str(story.message["id"])], "nguyen.a", "they are back")) == 1
    await bench.until(lambda: bench.statuses("m1") == ["ACCEPTED", "DELIVERED"])
    assert bench.attempt("m1")["expires"] == expires
    [resent] = [row["detail"] for row in bench.store.show("m1")[0].journal if row["event"] == "resent"]
    assert (resent["by"], resent["reason"], resent["was"]) == ("nguyen.a", "they are back", "due 2026-11-20T03:00:00.000000Z")


async def test_a_resend_is_the_next_probe_of_a_lane_that_is_stopped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The partner asked for a week, and its lane is stopped for the longest wish we keep: what is resent goes at once, and opens it."""
    monkeypatch.setattr(lanes, "POLL_SECONDS", 0.05)
    partner = bench.partners["agency"]
    opens = partner.features.lane.open_after
    partner.script = [_busy(WEEK)] * opens
    for number in range(opens):
        await bench.hand_in(f"m{number}")
        await bench.deferred(f"m{number}")
    await bench.hand_in("waiting")
    [story] = bench.store.show("m1")
    assert partner.attempts == opens
    await bench.store.resend([str(story.message["id"])], "nguyen.a", "they are back")
    await bench.until(lambda: bench.statuses("m1") == ["ACCEPTED", "DELIVERED"])
    await bench.until(lambda: bench.statuses("waiting") == ["ACCEPTED", "DELIVERED"])
    assert partner.taken[0].header("document-id") == "m1"


async def test_a_resend_does_not_overtake_what_goes_first_in_its_order(bench: Bench) -> None:
    """Two with one order key, the first put off: the second is not sent before it, whoever says so; resending the first moves both."""
    partner = bench.partners["agency"]
    partner.script = [_busy(WEEK)]
    await bench.hand_in("first", key="same")
    await bench.deferred("first")
    await bench.hand_in("second", key="same")
    await bench.until(lambda: bench.attempt("second").get("state") == "READY")
    names = {name: str(bench.store.show(name)[0].message["id"]) for name in ("first", "second")}
    await bench.store.resend([names["second"]], "nguyen.a", "now")
    assert bench.store.next_due("agency") == bench.clock.now + timedelta(hours=1)
    await bench.store.resend([names["first"]], "nguyen.a", "now")
    await bench.until(lambda: [bench.statuses(name)[-1] for name in names] == ["DELIVERED"] * 2)
    assert [each.header("sender-message-id") for each in partner.taken] == ["first", "second"]
