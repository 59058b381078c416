"""The SQLite store: the contract, and what is particular to one file."""

import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from store_contract import LEASE, REASONS, StoreContract, message

from bus.delivery import ROUTE_PREFIX
from bus.endpoint import Sent
from bus.errors import ConfigurationError, Deferred
from bus.receipt import Status
from bus.store import dialect, migrate, tables
from bus.store.readers import Readers


class TestSqlite(StoreContract):
    """SQLite on a file."""

    async def test_a_disk_that_is_full_defers_and_keeps_nothing(self, tmp_path: Path) -> None:
        """4.3.1 to every caller; what was accepted before stays, and the store works again when there is room."""
        await self.accept(message(1))
        limit = _limit_pages(self.store, 1)
        with pytest.raises(Deferred, match=r"4\.3\.1"):
            await self.accept(message(2, b"x" * 200_000))
        _limit_pages(self.store, limit + 100_000)
        await self.accept(message(2, b"x" * 200_000))
        self.assert_sound()

    async def test_a_lock_that_is_not_given_up_defers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another process that holds the write lock for too long makes the store unavailable, not wrong."""
        monkeypatch.setattr(dialect, "PRAGMAS", ("busy_timeout = 50", *dialect.PRAGMAS[1:]))
        store = self.open("worker-1")
        with sqlite3.connect(tmp_path / "bus.db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Deferred, match=r"4\.3\.1"):
                await store.claim("a", 1, LEASE)
            other.execute("ROLLBACK")
        assert await store.claim("a", 1, LEASE) == []

    async def test_a_lost_file_ends_its_delivery_and_no_other(self, tmp_path: Path) -> None:
        """A body that is gone cannot be sent: its delivery is DEAD with a receipt, and the claim brings the others."""
        lost = message(1, b"x" * 300_000)
        await self.accept(lost)
        await self.accept(message(2))
        (tmp_path / "blobs" / lost.digest[:2] / lost.digest).unlink()
        assert [work.message.id for work in await self.claim()] == ["message-2"]
        assert self.statuses("message-1") == [Status.ACCEPTED, Status.DEAD]

    async def test_a_directory_that_cannot_be_written_defers(self, tmp_path: Path) -> None:
        """A large body that cannot be kept is not accepted."""
        (tmp_path / "blobs").write_text("in the way")
        with pytest.raises(Deferred, match=r"4\.3\.1"):
            await self.accept(message(1, b"x" * 300_000))
        assert self.store.search() == []

    async def test_after_closing_nothing_is_taken(self) -> None:
        """A closed store defers; closing twice is harmless."""
        self.store.close()
        self.store.close()
        with pytest.raises(Deferred, match=r"4\.3\.1"):
            await self.accept(message(1))

    async def test_nothing_a_worker_or_partner_does_reads_a_whole_table(self, tmp_path: Path) -> None:
        """Every statement on the hot path finds its rows by an index and in order, however much has ended or waits elsewhere."""
        seen: set[tuple[str, tuple[object, ...]]] = set()
        for engine in self.store._engines:
            sa.event.listen(
                engine, "before_cursor_execute", lambda _c, _k, sql, given, _x, many: seen.add((sql, () if many else tuple(given)))
            )
        await self.accept(message(1), order_key="k", receipts_to="unit-inbox")
        [work] = await self.claim()
        await self.route(work, "a", "b")
        await self.store.finish(await self.one("a"), Sent("11" * 32))
        await self.store.bury(await self.one("b"), Status.DEAD, "5.0.0", REASONS)
        await self.accepted_and_routed(2, "inbox", owner="agency", order_key="k")
        await self.store.pending("agency", 10)
        await self.store.fetch("agency", "unit-2")
        await self.store.confirm("agency", "unit-2", True)
        await self.store.release(expired_at=self.clock())
        await self.store.receipts("unit", "unit-1")
        await self.store.known("unit-documents", "unit", "unit-1")
        assert (self.store.next_due("a"), self.store.targets_with_work()) == (None, [])
        with sqlite3.connect(tmp_path / "bus.db") as connection:
            plans = {
                sql: _plan(connection, sql, given) for sql, given in seen if sql.startswith(("SELECT", "UPDATE", "INSERT INTO deliveries"))
            }
        assert len(plans) > 20
        assert [
            f"{plan} <- {sql}" for sql, plan in plans.items() if "SCAN" in plan or ("TEMP" in plan and sql.startswith("SELECT deliveries"))
        ] == []


def _plan(connection: sqlite3.Connection, sql: str, given: tuple[object, ...]) -> str:
    return "; ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", given or (None,) * sql.count("?")))


def _limit_pages(store, pages: int) -> int:
    """Let the database file grow to this many pages and no further: what a full disk does. Gives the limit now in force."""
    with store._engines[0].connect() as connection:
        return connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar_one()


def test_the_migrations_make_the_tables(tmp_path: Path, store) -> None:
    """The history of the tables ends where ``tables.py`` stands."""
    with sa.create_engine(f"sqlite:///{tmp_path / 'bus.db'}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path, open_store) -> None:
    """A downgrade says so and touches nothing."""
    open_store().close()
    with sqlite3.connect(tmp_path / "bus.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match="newer version of govbus"):
        open_store()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path, open_store) -> None:
    """Start-up says which store cannot be opened."""
    (tmp_path / "bus.db").write_bytes(b"no database" * 100)
    with pytest.raises(ConfigurationError, match=r"bus\.db"):
        open_store()


@pytest.mark.parametrize(("table", "operation"), dialect.GUARDED)
async def test_the_database_itself_refuses_to_change_what_is_append_only(tmp_path: Path, store, table: str, operation: str) -> None:
    """Even a program that is not ours is refused."""
    with sqlite3.connect(tmp_path / "bus.db") as connection:
        [(column,)] = connection.execute(f"SELECT name FROM pragma_table_info('{table}') WHERE cid = 1")
        _fill(connection, table)
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(f"DELETE FROM {table}" if operation == "DELETE" else f"UPDATE {table} SET {column} = 'x'")


def _fill(connection: sqlite3.Connection, table: str) -> None:
    columns = [name for (name,) in connection.execute(f"SELECT name FROM pragma_table_info('{table}')")]
    connection.execute(f"INSERT INTO {table} VALUES ({', '.join('0' for _ in columns)})")


def test_readers_answer_an_empty_store(store) -> None:
    """Every question has an answer before the first message."""
    readers: Readers = store._read
    assert (store.search(), store.show("x"), store.receipts_of("x"), store.overview(), store.gauges()) == ([], [], [], {}, [])
    assert (readers.refusals(), store.next_due(ROUTE_PREFIX), store.targets_with_work()) == ({}, None, [])


def test_two_processes_may_make_one_store_at_once(tmp_path: Path) -> None:
    """The second waits until the first has made the file: one worker of two was refused for it ("database is locked")."""
    file, gone = tmp_path / "bus.db", threading.Event()
    with contextlib.closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")

        def release() -> None:
            gone.set()
            other.execute("ROLLBACK")

        timer = threading.Timer(0.3, release)
        timer.start()
        with dialect.engine(dialect.address(file), writer=True).begin() as connection:
            assert gone.is_set()
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        timer.join()


def test_a_new_file_that_stays_locked_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait has an end."""
    monkeypatch.setattr(dialect, "LOCK_TIMEOUT", 0.05)
    with contextlib.closing(sqlite3.connect(tmp_path / "bus.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ConfigurationError, match="locked"):
            migrate.up_to_date(dialect.engine(dialect.address(tmp_path / "bus.db"), writer=True), "main")
