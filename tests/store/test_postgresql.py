"""The PostgreSQL store: the contract, and what is particular to a server that several nodes share."""

import asyncio
import os
import re
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from servers import PostgresServer
from store_contract import LARGE, LEASE, LIFE, REASONS, ROUTE, StoreContract, message

from bus.audit import audit
from bus.delivery import ROUTE_PREFIX
from bus.endpoint import Sent
from bus.errors import ConfigurationError, Deferred
from bus.octets import whole
from bus.receipt import Status
from bus.store import Owed, Store, Work, accepting, dialect, tables
from bus.store.parts import PART


@pytest.fixture
def url(postgres: PostgresServer, database: str) -> str:
    return postgres.url(database)


@pytest.fixture
def hand(postgres: PostgresServer, database: str):
    """A hand on the database, past the store."""
    with postgres.connect(database) as connection:
        yield connection


class TestPostgresql(StoreContract):
    """PostgreSQL."""

    def owed(self, number: int, target: str = "a", key: str = "", **options: Any) -> Owed:
        return Owed(ROUTE, target, message(number), self.clock() + LIFE, order_key=key, **options)

    async def repeat(self, store: Store, number: int, body: bytes = b"") -> Any:
        return await store.accept(message(number, body), Owed(ROUTE, "a", message(number, body), self.clock() + LIFE))

    # --- several nodes ----------------------------------------------------------------------------------------------------

    async def test_nodes_that_accept_one_message_at_once_give_one_receipt(self) -> None:
        """Whoever is faster records it; the others find out when the database tells them, and answer with the first receipt."""
        stores = [self.store, self.open("b"), self.open("c")]
        for number in range(20):
            answers = await asyncio.gather(*(self.repeat(store, number) for store in stores))
            assert sorted(answer.duplicate for answer in answers) == [False, True, True]
            assert len({answer.xml for answer in answers}) == 1
        self.assert_sound()

    async def test_nodes_that_accept_one_id_with_two_contents_at_once_take_one(self) -> None:
        """The slower one is told 5.6.9, whichever it is."""
        other = self.open("b")
        for number in range(20):
            outcomes = await asyncio.gather(
                self.repeat(self.store, number), self.repeat(other, number, b"<other/>"), return_exceptions=True
            )
            assert sorted(getattr(outcome, "code", "") for outcome in outcomes) == ["", "5.6.9"]
        self.assert_sound()

    async def test_nodes_never_claim_one_delivery(self) -> None:
        """Who comes second goes on to the next instead of waiting."""
        stores = [self.store, self.open("b"), self.open("c")]
        for number in range(60):
            await self.store.accept(message(number), self.owed(number))
        claimed = await asyncio.gather(*(store.claim("a", 7, LEASE) for store in stores * 3))
        ids = [work.delivery.id for works in claimed for work in works]
        assert len(ids) == len(set(ids)) == 60
        self.assert_sound()

    async def test_one_order_key_on_two_nodes_lets_one_delivery_through(self) -> None:
        """However nodes race in recording, ending and deferring, of a key's deliveries one at a time can be had, and all of them are."""
        stores = [self.store, self.open("b")]
        left: list[str] = []

        async def record(store: Store, numbers: range) -> None:
            for number in numbers:
                await store.accept(message(number), self.owed(number, key=f"k{number % 3}"))

        async def work(store: Store) -> None:
            while len(left) < 30:
                works = await store.claim("a", 10, LEASE)
                keys = [work.delivery.order_key for work in works]
                assert len(keys) == len(set(keys))
                for each in works:
                    await self._end(store, each, left)

        await asyncio.gather(record(stores[0], range(15)), record(stores[1], range(15, 30)), *map(work, stores))
        for key in range(3):
            of_key = [int(name.rpartition("-")[2]) for name in left if int(name.rpartition("-")[2]) % 3 == key]
            assert [number for number in of_key if number < 15] == sorted(number for number in of_key if number < 15)
            assert [number for number in of_key if number >= 15] == sorted(number for number in of_key if number >= 15)
        self.assert_sound()

    async def _end(self, store: Store, work: Work, left: list[str]) -> None:
        if work.delivery.attempt == 1 and work.message.id.endswith("7"):
            await store.defer(work, self.clock(), "4.4.1", REASONS)
        else:
            await store.finish(work, Sent("11" * 32))
            left.append(work.message.id)

    async def test_claimed_at_once_by_two_nodes_the_order_holds(self) -> None:
        """A delivery that is claimed as it is recorded is its key's only one in a worker's hands."""
        stores = [self.store, self.open("b")]
        for number in range(0, 20, 2):
            answers = await asyncio.gather(
                *(
                    store.accept(message(each), self.owed(each, key="k", lease=LEASE))
                    for store, each in zip(stores, (number, number + 1), strict=True)
                )
            )
            works = [work for answer in answers for work in answer.works] + await self.store.claim("a", 10, LEASE)
            assert len(works) == 1
            await self.store.finish(works[0], Sent("11" * 32))
            [second] = await self.store.claim("a", 10, LEASE)
            await self.store.finish(second, Sent("11" * 32))
        self.assert_sound()

    async def test_nodes_that_free_leases_at_once_free_each_one_once(self, hand) -> None:
        """Housekeeping of several nodes meets over the same deliveries: none waits or fails, what another is changing is passed by."""
        stores = [self.store, self.open("b"), self.open("c")]
        for number in range(10):
            sent = message(100 + number)
            await self.store.accept(message(number), self.owed(number, lease=LEASE))
            await self.store.accept(sent, Owed(ROUTE, "inbox", sent, self.clock() + LEASE, owner="agency"))
        self.clock.advance(hours=1)
        with hand.transaction():
            hand.execute("SELECT 1 FROM deliveries WHERE message_id IN ('message-0', 'message-100') FOR UPDATE")
            assert sum(await asyncio.gather(*(store.release(expired_at=self.clock()) for store in stores))) == 18
        assert sum(await asyncio.gather(*(store.release(expired_at=self.clock()) for store in stores))) == 2
        self.assert_sound()

    async def test_an_id_that_two_nodes_give_in_one_mailbox_is_given_once(self) -> None:
        """Two senders may use one id: in a mailbox the slower one's message goes by the bus's own id."""
        stores = [self.store, self.open("b")]
        for number in range(20):
            sent = [message(number), message(number, b"<other/>", sender="agency-2")]
            sent[1] = type(sent[1])(f"other-{number}", {**sent[1].headers}, sent[1].body)
            owed = [Owed(ROUTE, "inbox", each, self.clock() + LIFE, owner="agency") for each in sent]
            await asyncio.gather(*(store.accept(each, debt) for store, each, debt in zip(stores, sent, owed, strict=True)))
        ids = [entry.message_id for entry in await self.store.pending("agency", 100)]
        assert (len(ids), len(set(ids)), sum(name.startswith("unit-") for name in ids)) == (40, 40, 20)
        self.assert_sound()

    async def test_a_mailbox_read_through_two_nodes_is_fetched_once(self) -> None:
        """One receipt FETCHED, one CONFIRMED, whichever node the owner asks."""
        other = self.open("b")
        for number in range(10):
            await self.store.accept(message(number), Owed(ROUTE, "inbox", message(number), self.clock() + LIFE, owner="agency"))
            name = f"unit-{number}"
            await asyncio.gather(self.store.fetch("agency", name), other.fetch("agency", name))
            answers = await asyncio.gather(self.store.confirm("agency", name, True), other.confirm("agency", name, False))
            assert len({answer.xml for answer in answers}) == 1
            assert len(self.statuses(f"message-{number}")) == 3
        self.assert_sound()

    async def test_a_large_body_that_two_nodes_keep_at_once_is_kept_once(self) -> None:
        """The same octets come through two doors; every node can read them, whoever wrote them."""
        other = self.open("b")
        body = os.urandom(3 * PART + 5)
        await asyncio.gather(*(self.repeat(store, number, body) for number, store in enumerate([self.store, other] * 3)))
        works = await other.claim("a", 10, LEASE)
        assert [whole(work.message.body) == body for work in works] == [True] * 6
        self.assert_sound()

    # --- a node is the only one on its chain ------------------------------------------------------------------------------

    async def test_a_second_node_of_the_same_name_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is told which name is taken and what to do; the first is not disturbed, and the name is free when it has gone."""
        from bus.store import postgresql

        monkeypatch.setitem(postgresql.SESSION, "lock_timeout", "100ms")
        first = self.open("node-1", sole=True)
        with pytest.raises(ConfigurationError, match="another node writes journal chain 'node-1'"):
            self.open("node-1", sole=True)
        await self.repeat(first, 1)
        self.open("node-2", sole=True)
        first.close()
        assert (await self.repeat(self.open("node-1", sole=True), 1)).duplicate

    # --- large bodies -----------------------------------------------------------------------------------------------------

    async def test_lost_parts_end_their_delivery_and_no_other(self, hand) -> None:
        """A body that is gone cannot be sent: its delivery is DEAD with a receipt, and the audit says what is lost."""
        lost = message(1, LARGE + b"y" * 2 * PART)
        await self.accept(lost)
        await self.accept(message(2))
        hand.execute("DELETE FROM blob_parts WHERE part = 1")
        assert [work.message.id for work in await self.claim()] == ["message-2"]
        assert self.statuses("message-1") == [Status.ACCEPTED, Status.DEAD]
        assert audit(self.store, self.evidence).findings == (f"file {lost.digest}: its octets were changed",)
        hand.execute("DELETE FROM blob_parts")
        assert audit(self.store, self.evidence).findings == (f"blob {lost.digest}: is named and lost",)

    async def test_a_large_body_that_was_pruned_at_the_last_moment_is_not_named(self, hand) -> None:
        """It was there when the message came, and gone before it was recorded: 4.3.1, and whoever repeats is accepted."""
        sent = message(1, LARGE)
        await self.store._files.keep(sent.digest, LARGE)
        hand.execute("DELETE FROM blob_parts")
        owed = [Owed(ROUTE, "a", sent, self.clock() + LIFE)]
        with pytest.raises(Deferred, match=r"4\.3\.1"):
            await self.store._write(partial(accepting.accept, message=sent, owed=owed, receipts_to=""))
        assert not (await self.store.accept(sent, *owed)).duplicate
        self.assert_sound()

    async def test_a_reason_that_is_no_text_is_kept_as_far_as_it_is(self) -> None:
        """A partner may say anything, a zero octet too; its delivery is deferred as any other."""
        await self.store.accept(message(1), self.owed(1))
        [work] = await self.store.claim("a", 1, LEASE)
        await self.store.defer(work, self.clock(), "4.4.1", {"vi": "Lỗi \0 lạ", "en": "An odd \0 error"})
        [story] = self.store.show("message-1")
        assert story.deliveries[0]["last_reason_vi"] == "Lỗi \ufffd lạ"
        self.assert_sound()

    async def test_octets_that_nobody_names_are_noted(self) -> None:
        """A crash between a large body and its message leaves octets behind, and that is no break."""
        await self.store._files.keep("aa" * 32, LARGE)
        report = audit(self.store, self.evidence)
        assert (len(report.findings), len(report.notes)) == (1, 1)
        assert report.notes == (f"file {'aa' * 32}: nothing names it",)


# --- the tables ---------------------------------------------------------------------------------------------------------


def test_the_migrations_make_the_tables(url: str, store) -> None:
    """The history of the tables ends where ``tables.py`` stands."""
    with sa.create_engine(url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


def test_text_sorts_by_its_octets(hand, store) -> None:
    """Whatever rules the server sorts by, times, ids and digests sort as they do everywhere else."""
    rows = hand.execute(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' AND data_type = 'text' "
        "AND collation_name IS DISTINCT FROM 'C'"
    ).fetchall()
    assert rows == []
    assert hand.execute("SELECT 'a' < 'B'").fetchone() == (True,), "the tests' server sorts as the store does: it proves nothing"


def test_fault_58_a_store_of_a_newer_version_is_refused(hand, open_store) -> None:
    """A downgrade says so and touches nothing."""
    open_store().close()
    hand.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match="newer version of govbus"):
        open_store()


@pytest.mark.parametrize(("table", "operation"), [*dialect.GUARDED, *((table, "TRUNCATE") for table, _ in dialect.GUARDED)])
def test_the_database_itself_refuses_to_change_what_is_append_only(hand, store, table: str, operation: str) -> None:
    """Even a program that is not ours is refused."""
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position"
    columns = [name for (name,) in hand.execute(query, [table])]
    for owner, key in hand.execute("SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'f'").fetchall():
        hand.execute(f"ALTER TABLE {owner} DROP CONSTRAINT {key}")
    hand.execute(f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(columns))})", ["0"] * len(columns))
    change = {"UPDATE": f"UPDATE {table} SET {columns[0]} = '1'", "DELETE": f"DELETE FROM {table}", "TRUNCATE": f"TRUNCATE {table} CASCADE"}
    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
        hand.execute(change[operation])


@pytest.mark.parametrize(
    "act",
    [
        "DROP TRIGGER journal_no_update ON journal",
        "ALTER TABLE journal DISABLE TRIGGER journal_no_update",
        "CREATE OR REPLACE FUNCTION journal_no_update() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$",
        "CREATE OR REPLACE TRIGGER journal_no_update BEFORE UPDATE OF at ON journal FOR EACH ROW EXECUTE FUNCTION journal_no_update()",
    ],
)
def test_a_guard_that_was_taken_away_is_missed(hand, store, evidence, act: str) -> None:
    """Dropped, switched off, or made to do nothing: the audit names it, even before anything is changed."""
    assert audit(store, evidence).findings == ()
    hand.execute(act)
    assert audit(store, evidence).findings == ("database: the guard journal_no_update is missing or changed",)


def test_readers_answer_an_empty_store(store) -> None:
    """Every question has an answer before the first message."""
    assert (list(store.search()), store.show("x"), store.receipts_of("x"), store.overview(), store.gauges()) == ([], [], [], {}, [])
    assert (store.refusals(), store.next_due(ROUTE_PREFIX), store.targets_with_work()) == ({}, None, [])


# --- the server ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), [("fsync", "off"), ("full_page_writes", "off")])
def test_a_server_that_may_lose_a_commit_is_refused(postgres: PostgresServer, open_store, name: str, value: str) -> None:
    """Start-up says which setting, and what it must be; nothing is ever acknowledged on such a server."""
    with postgres.connect() as hand:
        hand.execute(f"ALTER SYSTEM SET {name} = {value}")
        hand.execute("SELECT pg_reload_conf()")
        try:
            _until(hand, name, value)
            with pytest.raises(ConfigurationError, match=f"{name} = off, the store needs {name} = on"):
                open_store()
        finally:
            hand.execute(f"ALTER SYSTEM RESET {name}")
            hand.execute("SELECT pg_reload_conf()")
            _until(hand, name, "on")


def _until(hand: psycopg.Connection[Any], name: str, value: str) -> None:
    """Wait until a setting has come into force: the server's other processes read it a little later."""
    for _ in range(1000):
        if hand.execute(f"SHOW {name}").fetchone() == (value,):
            return
    pytest.fail(f"{name} never became {value}")


async def test_commits_are_durable_though_the_database_says_otherwise(hand, database: str, open_store) -> None:
    """``synchronous_commit = off``, set for a database, does not reach the store's sessions."""
    hand.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
    store = open_store()
    settings = [await store._write(lambda tx: tx.connection.exec_driver_sql("SHOW synchronous_commit").scalar_one())]
    with store._engines[1].connect() as connection:
        settings.append(connection.exec_driver_sql("SHOW synchronous_commit").scalar_one())
    assert settings == ["on", "on"]


def test_what_is_no_store_is_refused(open_store, postgres: PostgresServer) -> None:
    """An address of another kind, or where nobody listens, or of a database that is not there, is said without its password."""
    for url, said in (
        ("mysql://u:secret@127.0.0.1/x", "a store is sqlite or postgresql"),
        (f"postgresql+psycopg://u:secret@127.0.0.1:{postgres.port}/missing", "does not exist"),
        ("postgresql+psycopg://u:secret@127.0.0.1:1/x", "refused"),
    ):
        with pytest.raises(ConfigurationError, match=said) as error:
            Store.open(url, seal=bytes, organisation="x", clock=lambda: None, ids=str, chain="main")  # type: ignore[arg-type, return-value]
        assert "secret" not in str(error.value)


async def test_one_flipped_byte_in_the_servers_file_is_found(postgres: PostgresServer, database: str, open_store, evidence, clock) -> None:
    """Text that is no text any more is read, compared and reported; the audit does not stumble over it."""
    store = open_store()
    await store.accept(message(1), Owed(ROUTE, "a", message(1), clock() + timedelta(days=1)))
    with postgres.connect(database) as hand:
        [(path,)] = hand.execute("SELECT current_setting('data_directory') || '/' || pg_relation_filepath('messages')").fetchall()
    store.close()
    postgres.stop()
    with open(path, "r+b") as file:
        octets = file.read()
        found = next(re.finditer("Báo cáo".encode(), octets))
        file.seek(found.start() + 1)
        file.write(b"\xff")
    postgres.start()
    assert "message message-1: its row was changed" in audit(open_store(), evidence).findings
