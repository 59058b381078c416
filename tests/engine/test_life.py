"""The life of a message after acceptance: every way it can end, on a real store, with the clock in the test's hand."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from engine_bench import Bench, HandClock, Partner, make_routes

from bus.audit import audit
from bus.engine import Engine
from bus.errors import Deferred, Rejected
from bus.evidence import Evidence
from bus.exchange import Exchange
from bus.ids import uuid7
from bus.message import Message
from bus.route import Entry, Route
from bus.site import Site
from bus.store import Owed, Store


async def test_a_message_ends_in_a_receipt_with_the_partners_reply(bench: Bench) -> None:
    """What a partner took is DELIVERED, once, and the store adds up."""
    receipt = await bench.hand_in("m1")
    await bench.until(lambda: len(bench.statuses("m1")) == 2)
    assert (receipt.status, bench.statuses("m1")) == ("ACCEPTED", ["ACCEPTED", "DELIVERED"])
    assert [message.header("sender-message-id") for message in bench.partners["agency"].taken] == ["m1"]
    assert audit(bench.store, bench.evidence).findings == ()


async def test_the_same_again_gets_the_first_receipt_and_other_content_is_refused(bench: Bench) -> None:
    """An id stands for one content: the same again is answered with the first receipt, other content is 5.6.9."""
    first = await bench.hand_in("m1")
    assert (await bench.hand_in("m1")).id == first.id
    with pytest.raises(Rejected, match=r"5\.6\.9"):
        await bench.hand_in("m1", key="other content")
    await bench.until(lambda: len(bench.partners["agency"].taken) == 1)


async def test_a_transient_failure_is_tried_again_with_the_same_octets(bench: Bench) -> None:
    """A partner that is away gets the same message after the pause, and not before."""
    partner = bench.partners["agency"]
    partner.script = [Deferred("partner-unreachable", target="agency", detail="no route to host")]
    await bench.hand_in("m1")
    await bench.deferred("m1")
    bench.clock.advance(timedelta(seconds=29))
    assert partner.attempts == 1
    bench.clock.advance(timedelta(seconds=2))
    await bench.until(lambda: bench.statuses("m1") == ["ACCEPTED", "DELIVERED"])
    assert partner.attempts == 2


async def test_a_partners_own_pause_is_kept(bench: Bench) -> None:
    """A Retry-After longer than our pause is obeyed."""
    partner = bench.partners["agency"]
    partner.script = [Deferred("partner-busy", target="agency", status=503, retry_after=600.0)]
    await bench.hand_in("m1")
    await bench.deferred("m1")
    assert bench.attempt("m1")["due"] == "2026-11-20T02:10:00.000000Z"


async def test_a_permanent_failure_ends_in_a_negative_receipt(bench: Bench) -> None:
    """What a partner refuses for good is REJECTED, with its reason, and never tried again."""
    partner = bench.partners["agency"]
    partner.script = [Rejected("partner-refused", target="agency", detail="5.6.3 not what we take")]
    await bench.hand_in("m1")
    await bench.until(lambda: len(bench.statuses("m1")) == 2)
    assert bench.statuses("m1") == ["ACCEPTED", "REJECTED"]
    last = bench.evidence.read(bench.store.receipts_of("m1")[-1])
    assert "not what we take" in last.reasons["vi"]
    assert partner.attempts == 1
    assert audit(bench.store, bench.evidence).findings == ()


async def test_what_cannot_be_delivered_in_time_expires_with_a_receipt(bench: Bench) -> None:
    """After give-up the sender is told EXPIRED, with the last failure."""
    partner = bench.partners["agency"]
    partner.script = [Deferred("partner-unreachable", target="agency", detail="down") for _ in range(20)]
    await bench.hand_in("m1")
    await bench.deferred("m1")
    bench.clock.advance(timedelta(hours=3))
    await bench.until(lambda: bench.statuses("m1") == ["ACCEPTED", "EXPIRED"])
    assert bench.evidence.read(bench.store.receipts_of("m1")[-1]).code == "5.4.7"


async def test_our_own_bug_is_deferred_and_in_the_end_dead(bench: Bench) -> None:
    """An error nobody foresaw is 4.3.0 with a reference, tried again, and on expiry a dead letter for an operator."""
    partner = bench.partners["agency"]
    partner.script = [ZeroDivisionError("a bug"), ZeroDivisionError("a bug")]
    await bench.hand_in("m1")
    await bench.deferred("m1")
    assert bench.attempt("m1")["last_code"] == "4.3.0"
    assert "a bug" not in str(bench.attempt("m1")["last_reason_en"])
    bench.clock.advance(timedelta(hours=3))
    await bench.until(lambda: bench.statuses("m1") == ["ACCEPTED", "DEAD"])


async def test_a_dead_partner_delays_no_other(bench: Bench) -> None:
    """One partner that never answers fills its own lane and no other."""
    stuck, other = bench.partners["agency"], bench.partners["other"]
    stuck.gate.clear()
    for number in range(40):
        await bench.hand_in(f"stuck-{number}")
    await bench.until(lambda: stuck.attempts == 32)
    for number in range(40):
        await bench.hand_in(f"free-{number}", to="other")
    await bench.until(lambda: len(other.taken) == 40)
    assert stuck.taken == []
    stuck.gate.set()
    await bench.until(lambda: len(stuck.taken) == 40)


async def test_messages_with_one_key_leave_in_order(bench: Bench) -> None:
    """A message that must be tried again holds back those with its key, and no others."""
    partner = bench.partners["agency"]
    partner.script = [Deferred("partner-unreachable", target="agency", detail="down")]
    await bench.hand_in("first", key="k")
    await bench.deferred("first")
    await bench.hand_in("second", key="k")
    await bench.hand_in("free", key="other")
    await bench.until(lambda: len(partner.taken) == 1)
    bench.clock.advance(timedelta(minutes=1))
    await bench.until(lambda: len(partner.taken) == 3)
    assert [message.header("sender-message-id") for message in partner.taken] == ["free", "first", "second"]


async def test_what_a_dead_node_had_claimed_is_done_after_its_restart(
    opened: tuple[Site, Callable[..., Store], Evidence], clock: HandClock
) -> None:
    """A node that dies in mid-send sends again when it is back, at once: it knows which claims were its own."""
    site, open_store, evidence = opened
    partner = Partner("agency")
    partner.gate.clear()

    def engine(store: Store) -> Engine:
        partners = {"agency": partner}
        return Engine(site, store, partners, make_routes(site, partners), clock=clock, ids=uuid7(clock), jitter=lambda: 0.5)

    store = open_store()
    first = engine(store)
    await first.start()
    bench = Bench(site, store, evidence, clock, {"agency": partner}, first)
    await bench.hand_in("m1")
    await bench.until(lambda: partner.attempts == 1)
    await first.stop(grace=0.0)
    assert bench.attempt("m1")["state"] == "CLAIMED"
    store.close()
    partner.gate.set()
    store = open_store()
    second = engine(store)
    await second.start()
    bench = Bench(site, store, evidence, clock, {"agency": partner}, second)
    await bench.until(lambda: bench.statuses("m1") == ["ACCEPTED", "DELIVERED"])
    assert audit(store, evidence).findings == ()
    await second.stop()
    store.close()


async def test_a_refusal_is_journalled_once_and_owes_nothing(bench: Bench) -> None:
    """A message no route can send anywhere is refused at the door, with one journal row and no message."""
    with pytest.raises(Rejected):
        await bench.hand_in("m1", to="nobody")
    assert bench.store.refusals() == {"door": 1}
    assert bench.store.search() == []


async def test_an_endpoint_without_a_route_says_so(bench: Bench) -> None:
    """A door that leads nowhere is 5.3.5."""
    with pytest.raises(Rejected, match=r"5\.3\.5"):
        await bench.engine.accept("no-such-door", Message("", {}, b"<d/>"))


async def test_a_route_that_fails_does_not_fail_its_sisters(opened: tuple[Site, Callable[..., Store], Evidence], clock: HandClock) -> None:
    """A document on two ways: the way whose step rejects it ends REJECTED, the other DELIVERED; each has its own receipt."""
    site, open_store, evidence = opened

    def refuse(exchange: Exchange) -> Exchange:
        raise Rejected("transform-failed", stylesheet="x.xsl", detail="nothing fits")

    partners = {name: Partner(name) for name in ("agency", "other")}
    routes = {
        "door": Route("door", "door", site, to=(Entry("route:bad"), Entry("route:good"))),
        "bad": Route("bad", "", site, steps=(refuse,), to=(Entry("agency"),)),
        "good": Route("good", "", site, to=(Entry("other"),)),
    }
    store = open_store()
    engine = Engine(site, store, partners, routes, clock=clock, ids=uuid7(clock), jitter=lambda: 0.5)
    await engine.start()
    bench = Bench(site, store, evidence, clock, partners, engine)
    await bench.hand_in("m1")
    await bench.until(lambda: sorted(bench.statuses("m1")) == ["ACCEPTED", "DELIVERED", "REJECTED"])
    assert (len(partners["agency"].taken), len(partners["other"].taken)) == (0, 1)
    assert audit(store, evidence).findings == ()
    await engine.stop()
    store.close()


async def test_work_for_a_deleted_route_waits_and_expires(opened: tuple[Site, Callable[..., Store], Evidence], clock: HandClock) -> None:
    """A route deleted with messages in flight: they are tried, visibly, and in the end the sender is told."""
    site, open_store, evidence = opened
    store = open_store()
    message = Message("0192a000-0000-7000-8000-000000000001", {"sender": "telecom-authority", "sender-message-id": "m1"}, b"<d/>")
    await store.accept(message, Owed(route="gone", target="route:gone", message=message, expires=clock() + timedelta(hours=1)))
    engine = Engine(site, store, {}, {}, clock=clock, ids=uuid7(clock), jitter=lambda: 0.5)
    await engine.start()
    bench = Bench(site, store, evidence, clock, {"route:gone": Partner("route:gone")}, engine)
    await bench.deferred("m1")
    assert bench.attempt("m1")["last_code"] == "4.3.5"
    clock.advance(timedelta(hours=2))
    await bench.until(lambda: bench.statuses("m1") == ["ACCEPTED", "EXPIRED"])
    await engine.stop()
    store.close()
