"""Writer: group commit. One thread owns the one writing connection; everything waiting goes into one transaction with one fsync.

A unit of work that fails changes nothing and disturbs no other; its caller gets the exception. As good as always it fails before
anything of it is written, and is forgotten. When that is too late (a claim that was lost, a row the database does not take), the
transaction is rolled back and its units run once more, each one in its own savepoint.

Only after the commit does any caller get an answer, so nothing is ever acknowledged that is not on disk (D3, D9). When the database itself
fails (full disk, lock, I/O error), every caller of the batch gets Deferred 4.3.1: SQLite may have rolled the transaction back by itself.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import sqlalchemy as sa

from bus import points
from bus.errors import Deferred
from bus.store import dialect
from bus.store.transaction import Context, Transaction

T = TypeVar("T")

#: Units in one transaction at most: bounds how long a caller waits for the others' work.
MOST = 256


@dataclass(frozen=True, slots=True)
class Job:
    """A unit waiting for its turn, and the caller waiting for the unit. ``last``: the others of its transaction run before it."""

    unit: Callable[[Transaction], Any]
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop
    last: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job: a value, or an error."""

    job: Job
    value: Any = None
    error: Exception | None = None

    def deliver(self) -> None:
        """Answer the caller; one that was cancelled meanwhile no longer listens, its unit stands all the same."""
        if self.job.future.done():
            return
        if self.error is not None:
            self.job.future.set_exception(self.error)
        else:
            self.job.future.set_result(self.value)


class Writer:
    """The one writer of a store. ``submit`` from any event loop; ``close`` from any thread."""

    def __init__(self, engine: sa.Engine, context: Context) -> None:
        self._engine = engine
        self._context = context
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._open = True
        self._thread = threading.Thread(target=self._run, name=f"store-writer-{context.chain}", daemon=True)
        self._thread.start()

    def submit(self, unit: Callable[[Transaction], T], *, last: bool = False) -> "asyncio.Future[T]":
        """Queue ``unit``, to come ``last`` of what is written together; the future ends after the commit.

        It may run twice, the first time in vain. Raises Deferred 4.3.1 once the store is closed.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            if not self._open:
                raise Deferred("store-unavailable")
            self._queue.put(Job(unit, future, loop, last))
        return future

    def close(self) -> None:
        """Finish what is queued, then stop. Repeating it does nothing."""
        with self._lock:
            if self._open:
                self._open = False
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        more = True
        while more:
            batch, more = self._drain()
            if batch:
                _answer(self._commit(batch))

    def _drain(self) -> tuple[list[Job], bool]:
        """Everything waiting, at least one; False when the store was closed."""
        batch: list[Job] = []
        job = self._queue.get()
        while job is not None:
            batch.append(job)
            if len(batch) == MOST:
                return batch, True
            try:
                job = self._queue.get_nowait()
            except Empty:
                return batch, True
        return batch, False

    def _commit(self, batch: list[Job]) -> list[Outcome]:
        """Run ``batch`` in one transaction; no outcome counts before the commit."""
        batch.sort(key=attrgetter("last"))
        try:
            try:
                return self._transact(batch, _together)
            except Exception as error:
                if len(batch) == 1 or dialect.passing(error):
                    raise
                return self._transact(batch, _apart)
        except Exception as error:  # noqa: BLE001 - whatever happens, every caller must get an answer
            return [Outcome(job, error=_translated(error)) for job in batch]

    def _transact(self, batch: list[Job], run: Callable[[Transaction, Job], Outcome]) -> list[Outcome]:
        with self._engine.begin() as connection:
            transaction = Transaction.begin(connection, self._context)
            outcomes = [run(transaction, job) for job in batch]
            transaction.end()
            points.reach("store.before-commit", outcomes)
        points.reach("store.after-commit", outcomes)
        return outcomes


def _together(transaction: Transaction, job: Job) -> Outcome:
    """Run one unit, without a savepoint. Raises its failure when something of it is in the database already."""
    mark = transaction.mark()
    try:
        return Outcome(job, job.unit(transaction))
    except Exception as error:
        if transaction.reached or dialect.passing(error):
            raise
        transaction.rewind(mark)
        return Outcome(job, error=error)


def _apart(transaction: Transaction, job: Job) -> Outcome:
    """Run one unit in a savepoint, all that it writes. A failure of the database itself is raised: it ends the whole batch."""
    # Savepoints in plain SQL: SQLAlchemy's own bookkeeping of nested transactions costs as much as two statements.
    mark, connection = transaction.mark(), transaction.connection
    connection.exec_driver_sql("SAVEPOINT unit")
    try:
        outcome = Outcome(job, job.unit(transaction))
        transaction.flush()
    except Exception as error:
        if dialect.passing(error):
            raise
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT unit")
        transaction.rewind(mark)
        outcome = Outcome(job, error=error)
    connection.exec_driver_sql("RELEASE SAVEPOINT unit")
    return outcome


def _translated(error: Exception) -> Exception:
    """Deferred 4.3.1 for a database that may recover; anything else is a bug and stays what it is. One instance a caller."""
    if not dialect.passing(error):
        return error
    deferred = Deferred("store-unavailable")
    deferred.__cause__ = error
    return deferred


def _answer(outcomes: Iterable[Outcome]) -> None:
    """Wake each event loop once with all its answers."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
    for outcome in outcomes:
        by_loop.setdefault(outcome.job.loop, []).append(outcome)
    for loop, mine in by_loop.items():
        try:
            loop.call_soon_threadsafe(_deliver, mine)
        except RuntimeError:
            # The loop was closed: its callers are gone. What they asked for is committed, and will be found by its id.
            continue


def _deliver(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        outcome.deliver()
