"""How the databases go about each question of the store: along an index, from where the answer begins to where it ends.

The statements are not listed here: a life with everything in it is lived, and each statement that was run is explained. So whoever adds
one, or takes an index away, hears of it.
"""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from servers import PostgresServer
from sqlalchemy import event

from bench import backlog
from bus.delivery import ROUTE_PREFIX
from bus.endpoint import Sent
from bus.receipt import Status
from bus.store import Owed, Store, dialect
from bus.store.deadlines import Term

LEASE = timedelta(minutes=3)
REASONS = {"vi": "Bên nhận không trả lời.", "en": "The receiver does not answer."}
ROUTE = ROUTE_PREFIX + backlog.ROUTE
#: Messages that wait: so many that no planner thinks a table small.
ENOUGH = 3_000
#: Indexes that are read from their beginning, because no more is read than is wanted.
BOUNDED = {
    "deliveries_leases",  # what is claimed now: as much as the lanes are wide
    "messages_accepted",  # a walk, newest first, up to its limit
}
#: Indexes in which much waits: what is found there must come in order, and not be sorted first.
QUEUES = {
    "deliveries_claim",
    "deliveries_order",
    "deliveries_leases",
    "deliveries_mailbox",
    "deliveries_mailbox_receipts",
    "deliveries_expiry",
}
#: What does not grow with the messages: a row a chain, a row a pruning, the steps of a recursion.
SMALL = {"heads", "step", "CONSTANT"}


async def live(store: Store) -> None:
    """Everything the daemon does, in every way it can end."""
    letter = backlog.letters(200, seed=7)
    expires = backlog.now() + timedelta(days=1)
    for number in range(12):
        message, _ = letter(number)
        owed = Owed(backlog.ROUTE, ROUTE, message, expires, order_key="key" if number % 2 else "")
        await store.accept(message, owed, receipts_to=backlog.MAILBOX)
    await store.accept(message, owed, receipts_to=backlog.MAILBOX)
    await store.refuse(endpoint="door", partner="unit", code="5.7.1", reasons=REASONS, digest="", message_id="refused")
    for work in await store.claim(ROUTE, 7, LEASE):
        results = [
            Owed(backlog.ROUTE, "agency", work.message, expires, order_key=work.delivery.order_key),
            Owed(backlog.ROUTE, "desk", work.message, expires, owner="reader"),
        ]
        await store.routed(work, results, {}, [])
    first, second, third, fourth, *_ = await store.claim("agency", 7, LEASE)
    await store.finish(first, Sent("0" * 64, b"reply"))
    await store.defer(second, backlog.now(), "4.4.1", REASONS)
    dead = await store.bury(third, Status.REJECTED, "5.1.1", REASONS)
    await store.cancel([fourth.delivery.message_id], "operator", "why")
    await store.resend([third.delivery.id], "operator", "why")
    await mailbox(store)
    await checkpoint(store)
    await store.release(expired_at=None)
    await store.release(expired_at=backlog.now() + timedelta(hours=1))
    await store.expire("agency", backlog.now() + timedelta(days=2), backlog.now(), REASONS)
    await store.unconfirmed(Term(backlog.ROUTE, "desk", backlog.now()), backlog.now())
    assert dead.receipt.status == Status.REJECTED


async def checkpoint(store: Store) -> None:
    """What is done with the journal every minute."""
    grown = store.growth()
    assert await store.keep_checkpoint(grown, backlog.now(), b"<Checkpoint/>")
    assert await store.keep_timestamp(grown.number, backlog.now(), b"token")
    store.growth()
    store.checkpoint(grown.number)
    store.checkpoints_since(grown.number)
    store.newest_checkpoint()
    store.newest_checkpoint(stamped=True)
    assert store.proof(grown.spans[0].chain, grown.spans[0].last) is not None


async def mailbox(store: Store) -> None:
    """What partners ask."""
    for kinds in ((), ("document",), ("receipt",)):
        await store.pending("reader", 5, kinds)
        await store.pending(backlog.SENDER_NAME, 5, kinds)
    entries = await store.pending("reader", 5)
    for entry, done in zip(entries, (True, False), strict=False):
        await store.fetch("reader", entry.message_id)
        await store.confirm("reader", entry.message_id, done, "why")
        await store.confirm("reader", entry.message_id, done, "why")
    receipt = (await store.pending(backlog.SENDER_NAME, 1, ["receipt"]))[0]
    await store.fetch(backlog.SENDER_NAME, receipt.message_id)
    await store.confirm(backlog.SENDER_NAME, receipt.message_id, done=True)
    await store.receipts("reader", entries[0].message_id)
    await store.known("unit-documents", "unit", entries[0].message_id)


def ask(store: Store) -> None:
    """What operators and the daemon ask."""
    since = backlog.now() - timedelta(days=1)
    found = store.search()[0]
    for key in (found.id, found.public_id, found.document_id, found.document_id.rpartition(",")[2], "chuyển đổi"):
        store.search(key=key)
        store.search(backlog.ROUTE, backlog.SENDER_NAME, "DEAD", key, since, before=backlog.now())
    store.search(backlog.ROUTE, backlog.SENDER_NAME, "DONE", since=since)
    store.show(found.id)
    with store.snapshot() as snapshot:
        snapshot.numbered(found.document_id.rpartition(",")[2])
    store.receipts_of(found.id)
    store.held(10)
    store.targets_with_work()
    store.next_due(ROUTE)


@dataclass(frozen=True, slots=True)
class Lived:
    """A database after a life: every statement that was run, with what it was given."""

    url: str
    statements: dict[str, Any]

    def plans(self, without: str = "") -> dict[str, list[str]]:
        """What the database does for each statement; ``without`` an index, which it has again afterwards."""
        engine = dialect.engine(self.url, writer=True)
        sqlite = engine.dialect.name == "sqlite"
        with engine.connect() as connection:
            cursor = connection.connection.cursor()
            cursor.execute("BEGIN" if sqlite else "ANALYZE")
            if not sqlite:
                # Some tables are small here and will not stay so.
                cursor.execute("SET LOCAL enable_seqscan = off")
            if without:
                cursor.execute(f"DROP INDEX {without}")
            found = {text: _explained(cursor, text, values, sqlite=sqlite) for text, values in self.statements.items()}
            cursor.execute("ROLLBACK")
        engine.dispose()
        return found


def _explained(cursor: Any, text: str, values: Any, *, sqlite: bool) -> list[str]:
    cursor.execute(("EXPLAIN QUERY PLAN " if sqlite else "EXPLAIN ") + text, values)
    return [str(row[3] if sqlite else row[0]).strip() for row in cursor.fetchall()]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def lived(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    """A life on each kind of database."""
    if request.param == "sqlite":
        yield _life(f"sqlite:///{tmp_path_factory.mktemp('plans') / 'bus.db'}")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    database = server.create()
    yield _life(server.url(database))
    server.drop(database)


def _life(url: str) -> Lived:
    backlog.fill(url, backlog.context(), ENOUGH, backlog.letters(200, seed=1))
    run: dict[str, Any] = {}

    def note(_connection: object, _cursor: object, text: str, values: Any, _context: object, executemany: bool) -> None:
        if re.match(r"\s*(SELECT|WITH|UPDATE|INSERT|DELETE)", text):
            run.setdefault(text, values[0] if executemany else values)

    given = backlog.context(chain="main")
    store = Store.open(url, seal=given.seal, organisation=given.organisation, clock=given.clock, ids=given.ids, chain=given.chain)
    for engine in store._engines:
        event.listen(engine, "before_cursor_execute", note)
    asyncio.run(live(store))
    ask(store)
    store.close()
    return Lived(url, run)


def faults(plan: list[str]) -> list[str]:
    """The lines of a plan that read what nobody wants: whole tables and indexes, or a queue that must be sorted first."""
    wrong = [line for line in plan if (read := _from_end_to_end(line, plan)) and not read & (SMALL | BOUNDED)]
    sorted_first = any(line == "USE TEMP B-TREE FOR ORDER BY" or re.match(r"(->  )?Sort +\(", line) for line in plan)
    return wrong + [line for line in plan if sorted_first and QUEUES & set(re.findall(r"\w+", line))]


def _from_end_to_end(line: str, plan: list[str]) -> set[str]:
    """The table, and the index, that this line of a plan reads all of, if it does."""
    if scan := re.match(r"SCAN (\w+)(?:.* INDEX (\w+))?", line):
        return {name for name in scan.groups() if name}
    if scan := re.search(r"Seq Scan on (\w+)", line):
        return {scan[1]}
    scan = re.search(r"Index (?:Only )?Scan (?:Backward )?using (\w+) on (\w+)", line)
    below = plan[plan.index(line) + 1] if scan and plan.index(line) + 1 < len(plan) else ""
    return set(scan.groups()) if scan and not below.startswith("Index Cond") else set()


def test_every_statement_finds_what_it_wants_by_an_index(lived: Lived) -> None:
    """Accepting, claiming, finishing, mailboxes, housekeeping, search: none reads a table, however many messages wait."""
    plans = lived.plans()
    assert len(plans) > 40
    assert {text: plan for text, plan in plans.items() if faults(plan)} == {}


@pytest.mark.parametrize("index", ["deliveries_claim", "messages_document", "receipts_message"])
def test_a_missing_index_is_noticed(index: str, lived: Lived) -> None:
    """The test above fails where an index is taken away: it is not blind."""
    assert any(faults(plan) for plan in lived.plans(without=index).values())
