"""The real store without threads and without a disk: the real units, statements and group commit, on SQLite in memory.

What is simulated is when a batch is worked, and what its callers hear: it is begun some time after it was asked for, and its answers are
given some time after it was committed; the database may be away, refuse a commit, or lose the answer to one that it made. What was not
committed when a node dies is lost, because nobody runs it any more. Both writers are simulated: that of a server's store, which has a
thread, repeats what a restart interrupted and finds out what became of a commit without an answer; and that of an embedded one, which
works on the event loop.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, TypeVar
from unittest import mock

import sqlalchemy as sa
from sqlalchemy.pool import NullPool, StaticPool

from bus.receipt import Receipt
from bus.store import Store, dialect, inline, migrate, writer
from bus.store.blobs import Files
from bus.store.inline import InlineWriter
from bus.store.transaction import Context, Transaction
from bus.store.writer import Writer, answer

T = TypeVar("T")


class Hazards(Protocol):
    """What the world does to the store."""

    def outside(self, callback: Callable[..., object], *args: object, after: float = 0.0) -> None:
        """Have something happen whatever becomes of the caller."""

    def pause(self) -> float:
        """Seconds until a batch is begun."""

    def away(self) -> bool:
        """Whether the database cannot be asked now."""

    def commit_refused(self) -> bool:
        """Whether the commit that is asked for fails, and nothing is kept."""

    def answer_lost(self) -> bool:
        """Whether the commit that has just happened is reported as failed."""


class Calm:
    """No hazards."""

    def outside(self, callback: Callable[..., object], *args: object, after: float = 0.0) -> None:
        asyncio.get_running_loop().call_later(after, callback, *args)

    def pause(self) -> float:
        return 0.0

    def away(self) -> bool:
        return False

    commit_refused = answer_lost = away


class _Connection(sqlite3.Connection):
    """A connection that may break off at its COMMIT."""

    hazards: Hazards

    def commit(self) -> None:
        if self.in_transaction and self.hazards.commit_refused():
            self.rollback()
            raise sqlite3.OperationalError("the connection was lost before COMMIT")
        writing = self.in_transaction
        super().commit()
        if writing and self.hazards.answer_lost():
            raise sqlite3.OperationalError("the connection was lost during COMMIT")


class Database:
    """One database in memory, shared by every store of a run. ``reset`` empties it: making tables costs more than a run."""

    def __init__(self) -> None:
        self.raw = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, factory=_Connection)
        self.raw.execute("PRAGMA foreign_keys = ON")
        self.raw.hazards = self.hazards = Calm()
        self.engine = sa.create_engine("sqlite://", creator=lambda: self.raw, poolclass=StaticPool)
        sa.event.listen(self.engine, "begin", self._begin)
        #: For the audit, which closes the connection it read from.
        self.copies = sa.create_engine("sqlite://", creator=self._copy, poolclass=NullPool)
        migrate.up_to_date(self.engine, "main")
        self._empty = self.raw.serialize()
        #: What the disk holds while it does not hold what was said: set by a planted bug only.
        self.unwritten: bytes | None = None

    def reset(self, hazards: Hazards) -> None:
        """As new."""
        self.raw.hazards, self.hazards, self.unwritten = hazards, hazards, None
        self.restore(self._empty)

    def image(self) -> bytes:
        """All of it."""
        return self.raw.serialize()

    def restore(self, image: bytes) -> None:
        """As it was."""
        self.raw.deserialize(image)

    def rows(self, sql: str, *given: object) -> list[Any]:
        """Read past the store."""
        cursor = self.raw.execute(sql, given)
        cursor.row_factory = sqlite3.Row
        return cursor.fetchall()

    def _begin(self, connection: sa.Connection) -> None:
        if self.hazards.away():
            raise sa.exc.OperationalError("BEGIN", None, sqlite3.OperationalError("the database is away"))
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def _copy(self) -> sqlite3.Connection:
        copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        copy.deserialize(self.raw.serialize())
        return copy


class _Still:
    """A thread that never runs."""

    def __init__(self, **_: object) -> None:
        """It has a name, and nothing to do."""

    def start(self) -> None:
        """It does not."""

    join = start


class ServerWriter(Writer):
    """The writer of a server's store; the loop does what its thread would do."""

    def __init__(self, database: Database, context: Context) -> None:
        self.database = database
        self._coming = False
        super().__init__(database.engine, context)

    def submit(self, unit: Callable[[Transaction], T], *, last: bool = False) -> "asyncio.Future[T]":
        future = super().submit(unit, last=last)
        if not self._coming:
            self._coming = True
            asyncio.get_running_loop().call_later(self.database.hazards.pause(), self.serve)
        return future

    def close(self) -> None:
        if self._open:
            super().close()
            self._run()

    def serve(self) -> None:
        """One batch."""
        self._coming = False
        if self._open and not self._queue.empty():
            answer(self._commit(self._drain()[0]))


class EmbeddedWriter(InlineWriter):
    """The writer of an embedded store; what it leaves to its thread is done at once."""

    def __init__(self, database: Database, context: Context) -> None:
        self.database = database
        super().__init__(database.engine, context)
        self._endings: Any = self

    def put(self, ending: inline.Ending | None) -> None:
        """What the thread is told to do."""
        if ending is not None:
            answer(ending())
            self._next()

    def _turn(self) -> None:
        asyncio.get_running_loop().call_later(self.database.hazards.pause(), super()._turn)


class SimulatedStore(Store):
    """A store on the shared database, with a writer and a chain of its own."""

    def __init__(
        self,
        database: Database,
        writing: Callable[[Database, Context], Writer],
        *,
        chain: str,
        clock: Callable[[], datetime],
        ids: Callable[[], str],
        seal: Callable[[Receipt], bytes],
        organisation: str,
        blobs: Path,
    ) -> None:
        context = Context(chain=chain, organisation=organisation, seal=seal, clock=clock, ids=ids)
        with mock.patch("threading.Thread", _Still):
            super().__init__(database.engine, database.engine, context, Files(blobs))
            self._writer = writing(database, context)
        self._engines = (database.engine, database.copies)

    def close(self) -> None:
        self._writer.close()


@contextlib.contextmanager
def as_a_server() -> Iterator[None]:
    """SQLite taken for a server's database: its connections break, and what was interrupted is worth repeating, without real pauses."""
    passed = [0.0]

    def sleep(seconds: float) -> None:
        passed[0] += 10 * seconds

    clock = SimpleNamespace(monotonic=lambda: passed[0], sleep=sleep)
    with mock.patch.object(writer, "time", clock), mock.patch.object(dialect, "repeatable", dialect.passing):
        yield
