"""Faults of the database (docs/faults.md), on a real PostgreSQL. After each one: the audit is clean, and every message ended once."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from proxy import Proxy
from servers import PostgresServer, programs
from store_contract import LEASE, LIFE, ROUTE, message

from bus.audit import audit
from bus.endpoint import Sent
from bus.errors import Deferred
from bus.store import LostClaim, Owed, Standing, Store, dialect, postgresql, writer
from bus.store.tables import metadata
from bus.store.transaction import Transaction

MESSAGES = 40


@pytest.fixture
def url(postgres: PostgresServer, database: str) -> str:
    return postgres.url(database)


@pytest.fixture
def hand(postgres: PostgresServer, database: str):
    """A hand on the database, past the store."""
    with postgres.connect(database) as connection:
        yield connection


@pytest.fixture
def owed(clock) -> Callable[..., Owed]:
    """What is owed for a message of the tests."""

    def make(number: int, **options: Any) -> Owed:
        return Owed(ROUTE, "a", message(number), clock() + LIFE, **options)

    return make


class Load:
    """Senders that repeat until they have their receipt, and workers that repeat until the store has taken their word."""

    def __init__(self, stores: list[Store], clock) -> None:
        self.stores, self.clock = stores, clock
        self.answered: dict[int, bytes] = {}
        self.deferred = 0

    async def run(self, fault: Callable[[], Awaitable[object]]) -> None:
        """Everything at once, and the fault in the middle."""
        numbers = iter(range(MESSAGES))
        senders = [self._send(store, numbers) for store in self.stores for _ in range(4)]
        async with asyncio.timeout(60):
            await asyncio.gather(*senders, *map(self._work, self.stores), self._when_it_runs(fault))

    async def _when_it_runs(self, fault: Callable[[], Awaitable[object]]) -> None:
        await self.until_answered(MESSAGES // 6)
        await fault()

    async def until_answered(self, number: int) -> None:
        """Until so many messages have their receipt."""
        while len(self.answered) < number:
            await asyncio.sleep(0.01)

    async def _until_taken(self, act: Callable[[], Awaitable[Any]]) -> Any:
        while True:
            try:
                return await act()
            except Deferred:
                self.deferred += 1
                await asyncio.sleep(0.02)

    async def _send(self, store: Store, numbers) -> None:
        for number in numbers:
            sent = message(number)
            owed = Owed(ROUTE, "a", sent, self.clock() + LIFE, order_key=f"k{number % 5}" if number % 2 else "")
            answer = await self._until_taken(lambda sent=sent, owed=owed: store.accept(sent, owed))
            self.answered[number] = answer.xml

    async def _work(self, store: Store) -> None:
        while await self._until_taken(lambda: asyncio.to_thread(self._delivered, store)) < MESSAGES:
            for work in await self._until_taken(lambda: store.claim("a", 5, LEASE)):
                # Lost is what its lease freed, or what ended with the word whose answer we did not get.
                with contextlib.suppress(LostClaim):
                    await self._until_taken(lambda work=work: store.finish(work, Sent("11" * 32)))
            if self.deferred:
                # A claim whose answer was lost is ours, and nobody works on it: its lease frees it.
                self.clock.advance(minutes=4)
                await self._until_taken(lambda: store.release(expired_at=self.clock()))

    @staticmethod
    def _delivered(store: Store) -> int:
        return store.overview().get(ROUTE, {}).get(Standing.DELIVERED, 0)

    def check(self, evidence) -> None:
        """What was answered is there with that receipt; each message ended once, with one receipt; and the audit is clean."""
        store = self.stores[0]
        for number, xml in self.answered.items():
            receipts = store.receipts_of(f"message-{number}")
            assert receipts[0] == xml
            assert [evidence.read(receipt).status for receipt in receipts] == ["ACCEPTED", "DELIVERED"]
        assert self._delivered(store) == len(self.answered) == MESSAGES
        assert audit(store, evidence).findings == ()


@pytest.fixture
def load(open_store, clock) -> Load:
    return Load([open_store("node-1", sole=True), open_store("node-2", sole=True)], clock)


# --- the server goes away -----------------------------------------------------------------------------------------------


async def test_fault_09_the_server_is_restarted_under_load(postgres: PostgresServer, load: Load, evidence) -> None:
    """A restart that takes less than the writer's patience is not even noticed by those who wait."""

    async def restarts() -> None:
        for _ in range(2):
            await asyncio.to_thread(postgres.restart)

    await load.run(restarts)
    load.check(evidence)


async def test_fault_10_a_storm_of_terminated_backends(hand, load: Load, evidence) -> None:
    """Every session is ended again and again, in whatever it was doing."""
    storm = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

    async def storms() -> None:
        for part in range(2, 6):
            await asyncio.to_thread(hand.execute, storm)
            await load.until_answered(part * MESSAGES // 6)

    await load.run(storms)
    load.check(evidence)


async def test_fault_13_the_server_is_killed_under_load(postgres: PostgresServer, load: Load, evidence) -> None:
    """kill -9 of all its processes: what was answered was on disk."""

    async def kill() -> None:
        for _ in range(2):
            await asyncio.to_thread(postgres.kill)
            await asyncio.to_thread(postgres.start)

    await load.run(kill)
    load.check(evidence)


async def test_fault_13_an_outage_defers_and_passes(postgres: PostgresServer, open_store, owed, evidence, monkeypatch) -> None:
    """Longer than the writer's patience, everybody is told 4.3.1, readers too; and the store goes on by itself."""
    monkeypatch.setattr(writer, "PATIENCE", 0.2)
    store = open_store()
    await store.accept(message(1), owed(1))
    postgres.stop()
    try:
        for act in (lambda: store.accept(message(2), owed(2)), lambda: store.claim("a", 1, LEASE)):
            with pytest.raises(Deferred, match=r"4\.3\.1"):
                await act()
        with pytest.raises(Deferred, match=r"4\.3\.1"):
            store.show("message-1")
        assert not audit(store, evidence).ok
    finally:
        postgres.start()
    assert len(await store.claim("a", 5, LEASE)) == 1
    assert not (await store.accept(message(2), owed(2))).duplicate
    assert audit(store, evidence).findings == ()


# --- no connection to be had ----------------------------------------------------------------------------------------------


def _fill(postgres: PostgresServer, others: contextlib.ExitStack) -> None:
    """Take every connection that the server still has."""
    with contextlib.suppress(psycopg.OperationalError):
        while True:
            others.enter_context(contextlib.closing(postgres.connect()))


async def test_fault_11_a_server_without_a_free_connection_defers(postgres: PostgresServer, open_store, owed, monkeypatch) -> None:
    """Others have taken all of them: 4.3.1; as soon as one is free the store works again."""
    monkeypatch.setattr(writer, "PATIENCE", 0.2)
    store = open_store()
    with contextlib.ExitStack() as others:
        hand = others.enter_context(contextlib.closing(postgres.connect()))
        _fill(postgres, others)
        hand.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'govbus'")
        _fill(postgres, others)
        with pytest.raises(Deferred, match=r"4\.3\.1") as refused:
            await store.accept(message(1), owed(1))
        assert "too many clients" in str(refused.value.__cause__)
    await store.accept(message(1), owed(1))
    assert len(store.show("message-1")) == 1


async def test_fault_11_readers_that_take_all_their_connections_do_not_hold_up_the_writer(open_store, owed, monkeypatch) -> None:
    """Who asks one question too many is told 4.3.1 after a while; messages are accepted all the same."""
    monkeypatch.setattr(dialect, "LOCK_TIMEOUT", 0.1)
    store = open_store()
    with contextlib.ExitStack() as questions:
        for _ in range(dialect.READERS):
            questions.enter_context(store._engines[1].connect())
        with pytest.raises(Deferred, match=r"4\.3\.1"):
            store.show("message-1")
        await store.accept(message(1), owed(1))
    assert len(store.show("message-1")) == 1


# --- somebody holds a lock ------------------------------------------------------------------------------------------------


async def test_fault_14_a_delivery_that_a_stranger_holds_is_passed_by(hand, open_store, owed, evidence) -> None:
    """A session that sits in a transaction with a row of ours keeps that one from being worked, and no other."""
    store = open_store()
    for number in (1, 2):
        await store.accept(message(number), owed(number))
    with hand.transaction():
        hand.execute("SELECT * FROM deliveries WHERE message_id = 'message-1' FOR UPDATE")
        assert [work.message.id for work in await store.claim("a", 5, LEASE)] == ["message-2"]
    assert [work.message.id for work in await store.claim("a", 5, LEASE)] == ["message-1"]
    assert audit(store, evidence).findings == ()


async def test_fault_14_a_table_that_a_stranger_locks_makes_the_store_unavailable(hand, open_store, owed, evidence, monkeypatch) -> None:
    """Nobody waits for longer than the lock timeout: 4.3.1, nothing half done; and when the lock is gone all is well."""
    monkeypatch.setitem(postgresql.SESSION, "lock_timeout", "200ms")
    store = open_store()
    with hand.transaction():
        hand.execute("LOCK TABLE messages")
        with pytest.raises(Deferred, match=r"4\.3\.1") as refused:
            await store.accept(message(1), owed(1))
        assert "lock timeout" in str(refused.value.__cause__)
    assert not (await store.accept(message(1), owed(1))).duplicate
    assert audit(store, evidence).findings == ()


async def test_fault_14_a_node_that_stops_in_a_transaction_holds_nobody_up_for_long(open_store, owed, evidence, monkeypatch) -> None:
    """The server ends its session, the other node goes on; what the first had begun is run again when it wakes, or was never begun."""
    monkeypatch.setitem(postgresql.SESSION, "idle_in_transaction_session_timeout", "300ms")
    first, second = open_store("node-1", sole=True), open_store("node-2", sole=True)
    stopped, go_on = threading.Event(), threading.Event()

    def stop(tx: Transaction) -> int:
        tx.try_order("a", "k")
        tx.append("stopped", "", "", {})
        stopped.set()
        assert go_on.wait(30)
        return 1

    waiting = asyncio.ensure_future(first._write(stop))
    await asyncio.to_thread(stopped.wait)
    await second.accept(message(1), owed(1, order_key="k"))
    go_on.set()
    assert await waiting == 1
    assert audit(second, evidence).findings == ()
    assert audit(second, evidence).counts["journal"] == 2


# --- the answer to a commit is lost -----------------------------------------------------------------------------------------


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[Proxy]:
    with Proxy(postgres.port) as proxy:
        yield proxy


@pytest.fixture
def behind(proxy: Proxy, postgres: PostgresServer, database: str, open_store) -> Store:
    """A store whose every word goes through the proxy."""
    at = postgres.url(database).replace(str(postgres.port), str(proxy.port))
    return open_store("node-1", at=at, sole=True)


@pytest.mark.parametrize("lose", ["before", "after"])
async def test_fault_15_a_lost_commit_is_resolved_before_anyone_is_told(behind: Store, proxy: Proxy, owed, evidence, lose: str) -> None:
    """Whether it had arrived is read from the chain: done, it is answered as done; not done, it is done once."""
    await behind.accept(message(0), owed(0))
    proxy.lose = lose
    answer = await behind.accept(message(1), owed(1))
    proxy.lose = lose
    [_, work] = await behind.claim("a", 5, LEASE)
    proxy.lose = lose
    await behind.finish(work, Sent("11" * 32))
    assert (proxy.lost, answer.duplicate) == (3, False)
    receipts = behind.receipts_of("message-1")
    assert (receipts[0], [evidence.read(xml).status for xml in receipts]) == (answer.xml, ["ACCEPTED", "DELIVERED"])
    report = audit(behind, evidence)
    assert (report.findings, report.counts["journal"]) == ((), 5)


@pytest.mark.parametrize("lose", ["before", "after"])
async def test_fault_15_a_commit_that_stays_unknown_is_deferred_and_repeated(
    behind: Store, proxy: Proxy, owed, evidence, monkeypatch, lose: str
) -> None:
    """The server is away for longer than we wait: 4.3.1. Repeated, an accepted message has its first receipt, an ended one is fenced."""
    monkeypatch.setattr(writer, "PATIENCE", 0.2)
    done = lose == "after"
    proxy.then_away = True
    proxy.lose = lose
    with pytest.raises(Deferred, match=r"4\.3\.1"):
        await behind.accept(message(1), owed(1))
    proxy.away = False
    assert (await behind.accept(message(1), owed(1))).duplicate == done
    [work] = await behind.claim("a", 5, LEASE)
    proxy.lose = lose
    with pytest.raises(Deferred, match=r"4\.3\.1"):
        await behind.finish(work, Sent("11" * 32))
    proxy.away = False
    with pytest.raises(LostClaim) if done else contextlib.nullcontext():
        await behind.finish(work, Sent("11" * 32))
    assert [evidence.read(xml).status for xml in behind.receipts_of("message-1")] == ["ACCEPTED", "DELIVERED"]
    assert audit(behind, evidence).findings == ()


# --- a replica takes over -----------------------------------------------------------------------------------------------------


async def test_fault_16_a_replica_that_commits_wait_for_takes_over(open_store, clock, evidence) -> None:
    """With a synchronous standby nothing that was answered is lost when the primary dies for good; nodes find the new one by themselves."""
    binaries = programs()
    assert binaries is not None
    with PostgresServer(binaries) as primary, primary.standby() as replica:
        hosts = f"host=127.0.0.1:{primary.port}&host=127.0.0.1:{replica.port}"
        at = f"postgresql+psycopg://postgres@/postgres?{hosts}"
        stores = [open_store(name, at=at, sole=True) for name in ("node-1", "node-2")]
        load = Load(stores, clock)

        async def fail_over() -> None:
            await asyncio.to_thread(primary.kill)
            await asyncio.to_thread(replica.promote)

        await load.run(fail_over)
        load.check(evidence)
        for store in stores:
            store.close()


# --- transactions that the server breaks off ----------------------------------------------------------------------------------


async def test_fault_17_a_deadlock_is_broken_and_nobody_hears_of_it(open_store, evidence) -> None:
    """Two nodes that wait for each other: the server ends one transaction, and it is run again."""
    stores = [open_store("node-1"), open_store("node-2")]
    both = threading.Barrier(2, timeout=10)
    runs = [0, 0]

    def unit(tx: Transaction, me: int) -> None:
        runs[me] += 1
        tx.append("met", "", "", {"me": me})
        for turn, key in enumerate((me, 1 - me)):
            tx.connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (key,))
            if turn == 0 and runs[me] == 1:
                both.wait()

    await asyncio.gather(*(store._write(partial(unit, me=me)) for me, store in enumerate(stores)))
    assert sorted(runs) == [1, 2]
    report = audit(stores[0], evidence)
    assert (report.findings, report.counts["journal"]) == ((), 2)


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_fault_17_a_transaction_that_cannot_be_serialized_is_run_again(open_store, owed, evidence, state: str) -> None:
    """With all the units that were in it, each once."""
    store = open_store()
    runs = []

    def unit(tx: Transaction) -> None:
        runs.append(1)
        if len(runs) < 3:
            tx.connection.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION 'broken off' USING ERRCODE = '{state}'; END $$")

    await asyncio.gather(*(store.accept(message(number), owed(number)) for number in range(5)), store._write(unit))
    assert len(runs) == 3
    assert store.overview()[ROUTE][Standing.WAITING] == 5
    assert audit(store, evidence).findings == ()


# --- the tables are being made --------------------------------------------------------------------------------------------------

#: Opens a store and dies, by its own hand, before the statement with this number.
_OPENS = """
import os, signal, sys
import sqlalchemy as sa
from bus.store import dialect, migrate
left = int(sys.argv[2])

@sa.event.listens_for(sa.Engine, "before_cursor_execute")
def count(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

migrate.up_to_date(dialect.engine(sys.argv[1], writer=True), "main")
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database without any table, on either kind of store."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.mark.parametrize("statements", [12, 40])
def test_fault_57_a_kill_during_the_migration_leaves_nothing(empty: str, open_store, evidence, statements: int) -> None:
    """The tables are all there or not at all; the next start makes them."""
    done = subprocess.run([sys.executable, "-c", _OPENS, empty, str(statements)], check=False, timeout=60, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with sa.create_engine(empty).connect() as connection:
        assert sa.inspect(connection).get_table_names() == []
    store = open_store(at=empty)
    with sa.create_engine(empty).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    assert audit(store, evidence).findings == ()


def test_fault_57_nodes_that_start_together_make_the_tables_once(empty: str, open_store, evidence) -> None:
    """On an empty database each one waits for the one that was first, and finds its work done."""
    with ThreadPoolExecutor(3) as pool:
        stores = list(pool.map(lambda name: open_store(name, at=empty), ("node-1", "node-2", "node-3")))
    assert audit(stores[0], evidence).findings == ()
