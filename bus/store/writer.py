"""Writer: group commit. One thread owns the one writing connection; everything waiting goes into one transaction with one fsync.

Each unit of work runs in its own savepoint: a unit that fails rolls back alone and its caller gets the exception. Only after the
commit does any caller get an answer, so nothing is ever acknowledged that is not on disk (D3, D9). When the database itself fails
(full disk, lock, I/O error), every caller of the batch gets Deferred 4.3.1: SQLite may have rolled the whole transaction back by itself.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import sqlalchemy as sa

from bus.errors import Deferred
from bus.store import dialect
from bus.store.transaction import Context, Transaction

T = TypeVar("T")

#: Units in one transaction at most: bounds how long a caller waits for the others' work.
MOST = 256


@dataclass(frozen=True, slots=True)
class Job:
    """A unit waiting for its turn, and the caller waiting for the unit."""

    unit: Callable[[Transaction], Any]
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop


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

    def submit(self, unit: Callable[[Transaction], T]) -> "asyncio.Future[T]":
        """Queue ``unit``; the future ends after the commit. Raises Deferred 4.3.1 once the store is closed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            if not self._open:
                raise Deferred("store-unavailable")
            self._queue.put(Job(unit, future, loop))
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
        try:
            with self._engine.begin() as connection:
                transaction = Transaction.begin(connection, self._context)
                outcomes = [_attempt(transaction, job) for job in batch]
                transaction.flush()
        except Exception as error:  # noqa: BLE001 - whatever happens, every caller must get an answer
            return [Outcome(job, error=_translated(error)) for job in batch]
        return outcomes


def _attempt(transaction: Transaction, job: Job) -> Outcome:
    """Run one unit in a savepoint. A failure of the database itself is raised: it ends the whole batch."""
    # Savepoints in plain SQL: SQLAlchemy's own bookkeeping of nested transactions costs as much as two statements.
    mark, connection = transaction.mark(), transaction.connection
    connection.exec_driver_sql("SAVEPOINT unit")
    try:
        outcome = Outcome(job, job.unit(transaction))
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
