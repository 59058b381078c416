"""What fails behind the door by our own fault is never told the sender as his: it is tried again, then held, and one alarm says so."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from engine_bench import Bench, HandClock, Partner
from helping import govbus, until

from bus import conditions, config, log, metrics
from bus.audit import audit
from bus.engine import Engine
from bus.errors import Deferred, Rejected
from bus.evidence import Evidence
from bus.exchange import Exchange, Step, behind_the_door
from bus.ids import uuid7
from bus.message import Message
from bus.route import Entry, Route
from bus.store import Store
from sandbox import documents
from sandbox.documents import SECURITY_AUTHORITY, TELECOM_AUTHORITY
from sandbox.process import BusProcess
from sandbox.unit import Unit

OOPS = """<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
<xsl:template match="/"><oops/></xsl:template></xsl:stylesheet>
"""


class Broken:
    """A step of ours that fails until it is mended."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error

    def __call__(self, exchange: Exchange) -> Exchange:
        if self.error is not None:
            raise self.error
        return exchange


def rewrite(exchange: Exchange) -> Exchange:
    return exchange.with_body(b"<other/>", "rewrite")


def refuse(exchange: Exchange) -> Exchange:
    raise Rejected("transform-failed", stylesheet="x.xsl", detail="the root is oops", at="/oops")


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[structlog.typing.EventDict]]:
    with structlog.testing.capture_logs() as lines:
        monkeypatch.setattr(conditions, "_log", structlog.get_logger())
        yield lines


Benches = Callable[..., tuple[Bench, Partner]]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def benches(make_site: Callable[..., Path], clock: HandClock) -> AsyncIterator[Benches]:
    """Makes an engine with one route of steps behind its door."""
    site = config.load(make_site(), environment={}, clock=lambda: datetime.now(UTC)).site
    evidence = Evidence(site.keyring.signer("own/bus"), site.keyring.own, lambda: datetime.now(UTC))
    url = f"sqlite:///{site.root / 'data' / 'bus.db'}"
    running: list[Bench] = []

    def make(*steps: Step) -> tuple[Bench, Partner]:
        partners = {"agency": Partner("agency")}
        routes = {
            "door": Route("door", "door", site, to=(Entry("route:inner"),)),
            "inner": Route("inner", "", site, steps=steps, to=(Entry("agency"),)),
        }
        store = Store.open(url, seal=evidence.seal, organisation=site.organisation, clock=clock, ids=uuid7(clock), chain="main")
        engine = Engine(site, store, partners, routes, clock=clock, ids=uuid7(clock), jitter=lambda: 0.5)
        bench = Bench(site, store, evidence, clock, partners, engine)
        running.append(bench)
        return bench, partners["agency"]

    yield make
    for bench in running:
        await bench.engine.stop()
        bench.store.close()


def inner(bench: Bench, name: str) -> Mapping[str, object]:
    """The first delivery of a message that is not done."""
    (story,) = bench.store.show(name)
    return next(each for each in story.deliveries if each["state"] != "DONE")


async def put_off(bench: Bench, name: str) -> None:
    """Wait until an attempt at it was put off."""
    await bench.until(lambda: (row := inner(bench, name))["state"] == "READY" and bool(row["last_code"]))


async def test_our_own_fault_is_held_at_give_up_and_delivered_after_the_repair(
    benches: Benches, clock: HandClock, logs: list[structlog.typing.EventDict]
) -> None:
    """Tried, then held without a receipt, listed as dead; resent, the sender gets DELIVERED and nothing else. The audit agrees."""
    broken = Broken(Rejected("transform-failed", stylesheet="x.xsl", detail="no root element"))
    bench, partner = benches(behind_the_door(broken, "transform", checks=False))
    await bench.engine.start()
    await bench.hand_in("m1")
    await put_off(bench, "m1")
    assert inner(bench, "m1")["last_code"] == "4.3.5"
    assert "transform" in str(inner(bench, "m1")["last_reason_en"])
    clock.advance(timedelta(days=6))
    await bench.until(lambda: bench.store.held(10) != [])
    clock.advance(timedelta(days=60))
    assert bench.statuses("m1") == ["ACCEPTED"]
    assert audit(bench.store, bench.evidence).findings == ()
    assert metrics.standing(metrics.CONDITION)["route-fails", "inner: transform"] == 1
    broken.error = None
    await bench.store.resend(bench.store.held(10), "operator", "mended")
    await bench.until(lambda: bench.statuses("m1") == ["ACCEPTED", "DELIVERED"])
    assert len(partner.taken) == 1
    assert audit(bench.store, bench.evidence).findings == ()
    events = [line["event"] for line in logs if "route-fails" in line["event"]]
    assert events == [log.ROUTE_FAILS, log.ROUTE_WORKS]


@pytest.mark.parametrize(
    ("steps", "fate"),
    [
        pytest.param([("validate", refuse, True)], "REJECTED", id="the sender's own words, checked"),
        pytest.param([("transform", refuse, False)], "4.3.5", id="a stylesheet of ours"),
        pytest.param([("transform", rewrite, False), ("validate", refuse, True)], "4.3.5", id="what we made, checked"),
        pytest.param([("sign", refuse, False)], "4.3.5", id="our signature"),
    ],
)
async def test_whose_fault_a_rejection_is_depends_on_whose_work_was_rejected(
    benches: Benches, steps: list[tuple[str, Step, bool]], fate: str
) -> None:
    """A check of what the sender sent is his; whatever a step of ours does or has changed is ours."""
    bench, _ = benches(*(behind_the_door(step, name, checks=checks) for name, step, checks in steps))
    await bench.engine.start()
    await bench.hand_in("m1")
    if fate == "REJECTED":
        await bench.until(lambda: bench.statuses("m1") == ["ACCEPTED", "REJECTED"])
    else:
        await put_off(bench, "m1")
        assert inner(bench, "m1")["last_code"] == fate
        assert bench.statuses("m1") == ["ACCEPTED"]


async def test_a_changed_message_that_cannot_be_sent_is_our_fault_and_a_partners_refusal_is_not(benches: Benches) -> None:
    """5.6.x from our own adapter after a transform of ours is held; 5.4.x is the partner's word, and ends."""
    bench, partner = benches(behind_the_door(rewrite, "transform", checks=False))
    partner.script = [Rejected("edxml-invalid", detail="no header"), Rejected("partner-refused", target="agency", detail="no")]
    await bench.engine.start()
    await bench.hand_in("m1")
    await put_off(bench, "m1")
    assert bench.statuses("m1") == ["ACCEPTED"]
    await bench.hand_in("m2")
    await bench.until(lambda: bench.statuses("m2") == ["ACCEPTED", "REJECTED"])
    assert metrics.standing(metrics.BURIED)["inner", "agency", "5.4.0"] >= 1
    assert conditions.is_open(conditions.BURIED, "inner: agency")


async def test_many_documents_that_our_route_fails_with_are_one_alarm(benches: Benches, logs: list[structlog.typing.EventDict]) -> None:
    """Fifty senders, one broken stylesheet: one alarm opens, none of them is told anything but ACCEPTED."""
    bench, _ = benches(behind_the_door(refuse, "transform", checks=False))
    await bench.engine.start()
    for number in range(50):
        await bench.hand_in(f"m{number}")
    for number in range(50):
        await put_off(bench, f"m{number}")
    assert {tuple(bench.statuses(f"m{number}")) for number in range(50)} == {("ACCEPTED",)}
    assert [line["event"] for line in logs if line["event"].startswith("alarm.")] == [log.ROUTE_FAILS]
    assert not [line for line in logs if line["event"] == log.UNEXPECTED]


async def test_resend_moves_what_waits_for_its_next_try(benches: Benches) -> None:
    """An operator who has mended something need not wait for the clock."""
    bench, partner = benches()
    partner.script = [Deferred("partner-unreachable", target="agency", detail="come back", retry_after=600_000)]
    await bench.engine.start()
    await bench.hand_in("m1")
    await put_off(bench, "m1")
    (story,) = bench.store.show("m1")
    await bench.store.resend([story.message["id"]], "operator", "it is up again")
    await bench.until(lambda: bench.statuses("m1") == ["ACCEPTED", "DELIVERED"])
    assert audit(bench.store, bench.evidence).findings == ()


async def test_a_sender_is_told_no_lie_by_a_stylesheet_of_ours(make_site: Callable[..., Path], start: Callable[..., BusProcess]) -> None:
    """The real daemon: a wrong stylesheet in a route; repaired, reloaded and resent the document arrives, and no receipt says REJECTED."""
    site = make_site(GOVBUS_LANG="en")
    (site / "schemas" / "edxml" / "v1" / "oops.xsl").write_text(OOPS)
    good = (site / "routes.yaml").read_text()
    way = "        to: [{unit-inbox: To/OrganId}]\n      - {otherwise"
    assert way in good
    inner = """
  - name: inner
    steps:
      - transform: {stylesheet: edxml/v1/normalise.xsl, schema: edxml/v1/document.xsd}
    to: [{unit-inbox: To/OrganId}]
    receipts: unit-inbox
    retry: {first: 1h, factor: 2, most: 1h, give-up: 5d}
"""
    good = good.replace(way, "        to: [inner]\n      - {otherwise").rstrip("\n") + "\n" + inner
    (site / "routes.yaml").write_text(good.replace(inner, inner.replace("normalise.xsl", "oops.xsl")))
    bus = await asyncio.to_thread(start, site)
    keys, trust = site / "certs" / "development", site / "certs" / "own"
    letter = documents.make(size=4_000, seed=1, sender=TELECOM_AUTHORITY, receivers=(SECURITY_AUTHORITY,), number=1)
    async with Unit.connect(bus.url, TELECOM_AUTHORITY.code, keys=keys / "telecom-authority", trust=trust) as sender:
        assert (await sender.send(letter, "m1")).status == "ACCEPTED"
        await until(lambda: any(line["event"] == log.ROUTE_FAILS for line in bus.log_lines()))
        assert 'govbus_condition{about="inner: transform",key="route-fails"} 1.0' in bus.page("/metrics")[1]
        (site / "routes.yaml").write_text(good)
        bus.send_signal(signal.SIGHUP)
        await until(lambda: any(line["event"] == log.RELOADED for line in bus.log_lines()))
        assert govbus("resend", "m1", "--site", site, "--reason", "mended").code == 0
        async with Unit.connect(bus.url, SECURITY_AUTHORITY.code, keys=keys / "digital-agency", trust=trust) as reader:
            found: list[str] = []
            async with asyncio.timeout(30):
                while "m1" not in found:
                    found = [entry.message_id for entry in await reader.pending()]
            await reader.fetch("m1")
            await reader.confirm("m1")
        said = {line["event"] for line in bus.log_lines()}
    assert bus.stop() == 0
    assert log.ROUTE_WORKS in said
    assert not {log.BURIED, log.UNEXPECTED} & said
    assert [receipt for receipt in (govbus("receipts", "m1", "--site", site).said).split() if "REJECTED" in receipt] == []


def test_a_message_that_came_unchanged_through_a_route_is_the_senders_still() -> None:
    """Only its octets decide: headers and notes of ours change nothing that was sent."""
    message = Message("id", {}, b"<d/>")
    exchange = Exchange(message, message, "route", datetime(2026, 1, 1, tzinfo=UTC))
    assert not exchange.with_note("looked at").changed
    assert exchange.with_body(b"<e/>", "rewrite").changed
