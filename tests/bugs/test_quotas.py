"""A mailbox that its partner does not empty fills nothing but itself: its quota is exact, senders are told 4.2.2, operators before that."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sieged_site
import soap_rig
import sqlalchemy as sa
from helping import HandClock, govbus, until
from sieged_site import OTHER, UNIT

from bus import config, log
from bus.audit import audit
from bus.delivery import ROUTE_PREFIX
from bus.errors import ConfigurationError, Deferred
from bus.evidence import Evidence
from bus.message import RECEIVERS, SENDER, SENDER_MESSAGE_ID, Message
from bus.options import size
from bus.quotas import Quota
from bus.receipt import Receipt
from bus.store import Fill, Owed, Store
from bus.store.blobs import IN_ROW
from bus.store.tables import LATER
from sandbox.process import BusProcess

LIFE = timedelta(days=5)
SMALL = Quota(messages=3, octets=100)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Either kind of store."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'bus.db'}"
        return
    server = request.getfixturevalue("postgres")
    name = server.create()
    yield server.url(name)
    server.drop(name)


def letter(name: str, octets: int = 10, sender: str = "unit") -> Message:
    """A message of so many octets."""
    return Message(name, {SENDER: sender, SENDER_MESSAGE_ID: name, RECEIVERS: "G18"}, name.encode().ljust(octets, b"x"))


async def into(store: Store, clock: HandClock, name: str, *owners: str, octets: int = 10) -> Receipt:
    """A message accepted into mailboxes."""
    sent = letter(name, octets)
    owed = [Owed("r", "inbox", sent, clock() + LIFE, owner=owner) for owner in owners]
    return (await store.accept(sent, *owed, receipts_to="inbox")).receipt


async def opened(open_store: Callable[..., Store], chain: str = "main") -> Store:
    """A store that has taken up what the partners' mailboxes may hold."""
    store = open_store(chain)
    await store.take({"unit": ["G1"], "other": ["G18"], "third": ["G19"]}, {"other": SMALL, "third": SMALL})
    return store


def fills(store: Store) -> dict[str, tuple[int, int]]:
    """What lies in each mailbox, as it is counted."""
    return {fill.owner: (fill.messages, fill.octets) for fill in store.mailboxes()}


async def test_a_full_mailbox_is_4_2_2_until_something_in_it_is_confirmed(
    open_store: Callable[..., Store], clock: HandClock, evidence: Evidence
) -> None:
    """By number; nothing of a refused message is kept; one that was accepted before is known still; other mailboxes go on."""
    store = await opened(open_store)
    first = [await into(store, clock, f"m{number}", "other") for number in range(3)]
    for owners in (("other",), ("third", "other")):
        with pytest.raises(Deferred, match=r"4\.2\.2 .*G18") as refused:
            await into(store, clock, "one more", *owners)
        assert refused.value.retry_after
    assert store.show("one more") == []
    assert fills(store) == {"other": (3, 30)}
    assert (await into(store, clock, "m1", "other")).id == first[1].id
    await into(store, clock, "elsewhere", "third")
    await store.confirm("other", "m0", done=True)
    await into(store, clock, "one more", "other")
    await store.confirm("other", "m1", done=False, reason="không đúng nơi nhận")
    assert fills(store) == {"other": (2, 20), "third": (1, 10)}
    assert audit(store, evidence).findings == ()


async def test_a_mailbox_is_full_by_octets_as_by_number(open_store: Callable[..., Store], clock: HandClock) -> None:
    """What just fits goes in; a large body that does not is not even written to the disk; receipts never count."""
    store = await opened(open_store)
    await into(store, clock, "half", "other", octets=50)
    with pytest.raises(Deferred, match=r"4\.2\.2"):
        await into(store, clock, "too much", "other", octets=51)
    with pytest.raises(Deferred, match=r"4\.2\.2"):
        await into(store, clock, "large", "other", octets=IN_ROW + 1)
    await into(store, clock, "the rest", "other", octets=50)
    assert fills(store) == {"other": (2, 100)}
    assert len(await store.pending("unit", 100)) == 2
    with store.snapshot() as snapshot:
        assert list(snapshot.files.names()) == []


async def test_every_way_out_of_a_mailbox_and_back_into_it_is_counted(
    open_store: Callable[..., Store], clock: HandClock, evidence: Evidence
) -> None:
    """Expired, cancelled; and sent again by an operator, whose word needs no room."""
    store = await opened(open_store)
    for name in ("a", "b", "c"):
        await into(store, clock, name, "other")
    await store.cancel(["a"], "nguyen.a", "thử")
    clock.advance(days=6)
    assert await store.release(expired_at=clock()) == 2
    assert fills(store) == {"other": (0, 0)}
    for name in ("d", "e", "f"):
        await into(store, clock, name, "other")
    assert len(await store.resend(["b"], "nguyen.a", "thử")) == 1
    assert fills(store) == {"other": (4, 40)}
    await store.confirm("other", "d", done=True)
    with pytest.raises(Deferred, match=r"4\.2\.2"):
        await into(store, clock, "g", "other")
    assert audit(store, evidence).findings == ()


async def test_a_quota_is_exact_for_senders_that_come_together_to_several_nodes(
    open_store: Callable[..., Store], clock: HandClock, evidence: Evidence
) -> None:
    """Forty at once through two chains of one database, in batches: three are in, all others are told 4.2.2."""
    stores = [await opened(open_store, chain) for chain in ("one", "two")]
    tasks = [into(stores[number % 2], clock, f"m{number}", "other", "third") for number in range(40)]
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(str(one)[:5] for one in ended if isinstance(one, Exception)) == ["4.2.2"] * 37
    assert fills(stores[0]) == fills(stores[1]) == {"other": (3, 30), "third": (3, 30)}
    assert audit(stores[0], evidence).findings == ()


async def test_what_a_route_puts_into_a_full_mailbox_later_is_still_owed(open_store: Callable[..., Store], clock: HandClock) -> None:
    """It was accepted: the route's delivery stays claimed for whoever puts it off, and goes in when there is room."""
    store = await opened(open_store)
    for number in range(3):
        await into(store, clock, f"m{number}", "other")
    sent = letter("late")
    await store.accept(sent, Owed("r", ROUTE_PREFIX + "r", sent, clock() + LIFE))
    [work] = await store.claim(ROUTE_PREFIX + "r", 10, timedelta(minutes=3))
    owed = Owed("r", "inbox", work.message, clock() + LIFE, owner="other")
    with pytest.raises(Deferred, match=r"4\.2\.2"):
        await store.routed(work, [owed], {}, [])
    await store.confirm("other", "m0", done=True)
    await store.routed(work, [owed], {}, [])
    assert [entry.message_id for entry in await store.pending("other", 10)] == ["m1", "m2", "late"]


THROUGH_STEPS = f"""\
site: {{organisation: {soap_rig.MINISTRY}, name: Bộ Thông tin và Truyền thông}}
partners:
  unit: {{codes: [{UNIT}], trust: trust/unit}}
  other: {{codes: [{OTHER}, G18], trust: trust/other, mailbox: {{messages: 1}}}}
  third: {{codes: [000.00.00.G19]}}
endpoints:
  documents: {{soap: {{path: /soap/documents, security: {{verify: wss-x509, sign: own/bus}}}}}}
routes:
  - {{name: documents, from: documents, steps: [trace], to: [{{documents: To/OrganId}}]}}
"""


async def test_whom_else_an_accepted_document_is_for_does_not_wait_for_a_full_mailbox(siege_certs: Path, tmp_path: Path) -> None:
    """Behind a route with steps one of two mailboxes is full: the other receiver has it at once, this one when there is room."""
    rig = soap_rig.build(tmp_path, siege_certs, THROUGH_STEPS)
    await rig.store.take(rig.site.codes(), rig.site.quotas())
    await rig.engine.start()

    async def waiting(owner: str) -> list[str]:
        return [entry.message_id for entry in await rig.store.pending(owner, 10, ["document"])]

    def put_off(name: str) -> list[tuple[str, str]]:
        [story] = rig.store.show(name)
        return [(row["receivers"], row["id"]) for row in story.deliveries if row["state"] == "READY" and row["last_code"] == "4.2.2"]

    both = soap_rig.document(2).replace(b"</edXML:To>", b"</edXML:To><edXML:To><edXML:OrganId>000.00.00.G19</edXML:OrganId></edXML:To>")
    await rig.send(soap_rig.document(1), "first")
    await until(lambda: fills(rig.store).get("other", (0, 0))[0] == 1)
    await rig.send(both, "both")
    await rig.send(soap_rig.document(3), "alone")
    await until(lambda: put_off("both") and put_off("alone"))
    assert (await waiting("other"), await waiting("third")) == (["first"], ["both"])
    [(receivers, delivery)] = put_off("both")
    assert receivers == OTHER
    await rig.store.confirm("other", "first", done=True)
    await rig.store.resend([delivery], "nguyen.a", "thử")
    await until(lambda: fills(rig.store)["other"][0] == 1)
    assert (await waiting("other"), await waiting("third")) == (["both"], ["both"])
    await rig.engine.stop(grace=1)
    report = audit(rig.store, Evidence(rig.site.keyring.signer("own/bus"), rig.site.keyring.own, soap_rig.now))
    assert report.findings == ()
    rig.store.close()


async def test_a_renamed_partners_mailbox_is_one(open_store: Callable[..., Store], clock: HandClock) -> None:
    """What waits under the old name takes up room under the new one."""
    store = await opened(open_store)
    for number in range(2):
        await into(store, clock, f"m{number}", "other")
    await store.rename("other", "new", ["G18"], "nguyen.a", "đổi tên")
    await store.take({"unit": ["G1"], "new": ["G18"]}, {"new": SMALL})
    await into(store, clock, "m2", "new")
    with pytest.raises(Deferred, match=r"4\.2\.2"):
        await into(store, clock, "m3", "new")
    assert store.mailboxes() == [Fill("new", 3, 30, SMALL)]
    await store.confirm("new", "m0", done=True)
    await into(store, clock, "m3", "new")
    assert fills(store) == {"new": (3, 30)}


async def test_a_store_of_before_is_counted_when_it_is_opened_and_what_nobody_counted_when_a_generation_is_taken_up(
    url: str, open_store: Callable[..., Store], clock: HandClock, evidence: Evidence
) -> None:
    """The upgrade counts once; a node of before does not go on counting, which the audit finds and the next start mends."""
    store = await opened(open_store)
    await into(store, clock, "m0", "other", octets=40)
    await into(store, clock, "m1", "third")
    store.close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE mailboxes")
        for column in sorted(LATER["receipts"]):
            connection.exec_driver_sql(f"ALTER TABLE receipts DROP COLUMN {column}")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0008'")
    store = open_store()
    assert fills(store) == {"other": (1, 40), "third": (1, 10)}
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM mailboxes WHERE owner = 'third'")
        connection.exec_driver_sql("UPDATE mailboxes SET octets = 7")
        connection.exec_driver_sql("INSERT INTO mailboxes (owner, messages, octets) VALUES ('gone', 1, 1)")
    engine.dispose()
    found = audit(store, evidence).findings
    assert found == tuple(f"mailbox {owner}: holds something else than is counted for it" for owner in ("gone", "other", "third"))
    await store.take({"other": ["G18"]}, {"other": SMALL})
    assert fills(store) == {"gone": (0, 0), "other": (1, 40), "third": (1, 10)}
    assert audit(store, evidence).findings == ()


async def test_an_acceptance_costs_the_same_however_much_waits(tmp_path: Path, clock: HandClock) -> None:
    """What SQLite does to take one message more, and to let one go, is no more with two thousand in the mailbox than with twenty."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    def watch(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_progress_handler(count, 10)

    numbers = iter(range(100_000))
    sa.event.listen(sa.Engine, "connect", watch)
    try:
        store = Store.open(
            f"sqlite:///{tmp_path / 'counted.db'}",
            seal=lambda _: b"<x/>",
            organisation="G14",
            clock=clock,
            ids=lambda: f"{next(numbers):06}",
            chain="main",
        )
        costs = []
        for begin, end in ((0, 20), (20, 2000)):
            await asyncio.gather(*(into(store, clock, f"m{number}", "other") for number in range(begin, end)))
            steps = 0
            await into(store, clock, f"after-{end}", "other")
            await store.confirm("other", f"m{begin}", done=True)
            costs.append(steps)
        store.close()
    finally:
        sa.event.remove(sa.Engine, "connect", watch)
    assert costs[0] > 10
    assert costs[1] < 2 * costs[0]


ROUTES = sieged_site.ROUTES.replace("codes: [000.00.00.G18, G18],", "codes: [000.00.00.G18, G18], mailbox: {messages: 5, bytes: 1 MB},")


def told(bus: BusProcess, *names: str) -> list[object]:
    """Which of these events the log has, in order."""
    return [line["event"] for line in bus.log_lines() if line["event"] in names]


async def test_operators_are_told_before_a_mailbox_is_full_and_senders_when_it_is(
    siege_certs: Path, tmp_path: Path, start: Callable[..., BusProcess]
) -> None:
    """At four of five an alarm, at five another and 4.2.2 with Retry-After; emptied, all of that is over. `partner mailboxes` shows it."""
    site = sieged_site.write(tmp_path / "site", siege_certs, ROUTES)
    bus = start(site, environment={"UNIT_PASSWORD": "bí mật"})
    alarms = (log.MAILBOX_FILLING, log.MAILBOX_FULL, log.MAILBOX_FILLING_OVER, log.MAILBOX_FULL_OVER)
    async with sieged_site.client(bus, UNIT) as unit, sieged_site.client(bus, OTHER) as other:
        for number in range(4):
            await unit.send(sieged_site.letter(UNIT, OTHER), f"letter-{number}")
        await until(lambda: log.MAILBOX_FILLING in told(bus, *alarms))
        assert "80 %" in bus.page("/readyz")[1]
        await unit.send(sieged_site.letter(UNIT, OTHER), "letter-4")
        with pytest.raises(Deferred, match=f"4.2.2.*{OTHER}") as refused:
            await unit.send(sieged_site.letter(UNIT, OTHER), "letter-5")
        assert refused.value.retry_after
        assert told(bus, *alarms) == [log.MAILBOX_FILLING, log.MAILBOX_FULL]
        assert (await other.send(sieged_site.letter(OTHER, UNIT), "back")).status == "ACCEPTED"
        assert (await unit.send(sieged_site.letter(UNIT, OTHER), "letter-4")).status == "ACCEPTED"
        assert 'govbus_mailbox_messages{owner="other"} 5.0' in bus.page("/metrics")[1]
        assert 'govbus_mailbox_share{owner="other"} 1.0' in bus.page("/metrics")[1]
        shown = {row["partner"]: row for row in govbus("partner", "mailboxes", "--site", site, "--json", UNIT_PASSWORD="bí mật").json}
        assert (shown["other"]["messages"], shown["other"]["most_messages"], shown["other"]["most_bytes"]) == (5, 5, 1_000_000)
        assert shown["unit"]["most_messages"] == Quota().messages
        for entry in await other.pending():
            if entry.kind == "document":
                await other.confirm(entry.message_id)
        await until(lambda: len(told(bus, *alarms)) == 4)
        assert (await unit.send(sieged_site.letter(UNIT, OTHER), "letter-5")).status == "ACCEPTED"
    assert bus.stop() == 0
    assert govbus("audit", "--site", site, UNIT_PASSWORD="bí mật").code == 0


def test_a_quota_that_is_none_is_a_fault_of_the_site(siege_certs: Path, tmp_path: Path) -> None:
    """Sizes are written as people write them, and nothing else is taken for one."""
    for written in ("{messages: 0}", "{bytes: 10 GBytes}", "{bytes: -1 MB}", "{bytes: 2000 TB}", "{octets: 5}"):
        site = tmp_path / f"site-{len(written)}-{written[1]}"
        sieged_site.write(site, siege_certs, ROUTES.replace("{messages: 5, bytes: 1 MB}", written))
        with pytest.raises(ConfigurationError, match=r"routes\.yaml:4:"):
            config.load(site, environment={"UNIT_PASSWORD": "x"}, clock=lambda: datetime.now(UTC))
    for written, octets in (("1 MB", 10**6), ("1.5 GiB", 3 << 29), ("500kB", 500_000), (7, 7)):
        assert size(written) == octets
