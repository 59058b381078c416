"""Writer: group commit. One thread owns the one writing connection; everything waiting goes into one transaction with one fsync.

A unit of work that fails changes nothing and disturbs no other; its caller gets the exception. As good as always it fails before
anything of it is written, and is forgotten. When that is too late (a claim that was lost, a row the database does not take), the
transaction is rolled back and its units run once more, each one in its own savepoint.

Only after the commit does any caller get an answer, so nothing is ever acknowledged that is not on disk (D3, D9). When the database itself
fails (full disk, lock, I/O error), every caller of the batch gets Deferred 4.3.1: SQLite may have rolled the transaction back by itself.

A server may restart, end our session, or choose us to break a deadlock: then the transaction is run again, for as long as PATIENCE lasts.
When the connection was lost while the commit was on its way, nobody knows whether it arrived. The chain tells: its next row carries the
hash we gave it, or does not and never will, because the next transaction holds the chain's head.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import sqlalchemy as sa

from bus import points
from bus.errors import Deferred
from bus.store import dialect, statements
from bus.store.transaction import Context, Transaction

T = TypeVar("T")

#: Units in one transaction at most: bounds how long a caller waits for the others' work.
MOST = 256
#: Seconds in which a transaction is run again and again when the database is away, counted from the first failure since a success:
#: a restart passes unseen, and an outage makes nobody wait for long.
PATIENCE = 5.0
_PAUSE = 0.05
#: How often a unit is run again because other processes were faster with its unique names.
_CONFLICTS = 3


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


class _Unanswered(Exception):
    """The commit was sent and its answer was lost. If it arrived, ``outcomes`` hold, and row ``seq`` of the chain has the hash ``head``."""

    def __init__(self, outcomes: list[Outcome], transaction: Transaction, cause: Exception) -> None:
        super().__init__()
        self.outcomes, self.seq, self.head, self.cause = outcomes, transaction.seq, transaction.head, cause


class Writer:
    """The one writer of a store. ``submit`` from any event loop; ``close`` from any thread."""

    def __init__(self, engine: sa.Engine, context: Context) -> None:
        self._engine = engine
        self._context = context
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._open = True
        self._failing_since: float | None = None
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
                answer(self._commit(batch))

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
        batch = ordered(batch)
        unanswered: _Unanswered | None = None
        while True:
            try:
                outcomes = unanswered.outcomes if unanswered and self._arrived(unanswered) else self._run_batch(batch)
            except _Unanswered as error:
                unanswered, cause = error, error.cause
            except Exception as error:  # noqa: BLE001 - whatever happens, every caller must get an answer
                cause = error
            else:
                self._failing_since = None
                return outcomes
            if not self._again(cause):
                if dialect.opened_to_read(cause):
                    # The file stays so for whoever has it open, also when its owner is mended.
                    self._engine.dispose()
                return [Outcome(job, error=translated(cause)) for job in batch]

    def _again(self, error: Exception) -> bool:
        """Whether to run the transaction once more, after a pause; PATIENCE may be at an end."""
        if not dialect.repeatable(error):
            return False
        now = time.monotonic()
        self._failing_since = now if self._failing_since is None else self._failing_since
        if now - self._failing_since > PATIENCE:
            return False
        time.sleep(_PAUSE)
        return True

    def _run_batch(self, batch: list[Job]) -> list[Outcome]:
        try:
            return self._transact(batch, together)
        except Exception as error:
            if isinstance(error, _Unanswered) or dialect.passing(error) or (len(batch) == 1 and not dialect.conflict(error)):
                raise
            return self._transact(batch, _apart)

    def _transact(self, batch: list[Job], run: Callable[[Transaction, Job], Outcome]) -> list[Outcome]:
        with self._engine.connect() as connection, connection.begin() as database:
            transaction = Transaction.begin(connection, self._context)
            outcomes = [run(transaction, job) for job in batch]
            transaction.end()
            points.reach("store.before-commit", outcomes)
            try:
                database.commit()
            except sa.exc.DBAPIError as error:
                if not dialect.repeatable(error):
                    raise
                raise _Unanswered(outcomes, transaction, error) from error
        points.reach("store.after-commit", outcomes)
        return outcomes

    def _arrived(self, commit: _Unanswered) -> bool:
        """Whether an unanswered commit took place. Holding the chain's head, we know that it no longer can."""
        with self._engine.begin() as connection:
            Transaction.begin(connection, self._context)
            link = connection.execute(statements.LINK, {"chain": self._context.chain, "seq": commit.seq}).scalar_one_or_none()
        return bool(link == commit.head)


def ordered(batch: Iterable[Job]) -> list[Job]:
    """The jobs as they run in one transaction."""
    return sorted(batch, key=attrgetter("last"))


def together(transaction: Transaction, job: Job) -> Outcome:
    """Run one unit, without a savepoint. Raises its failure when something of it is in the database already, or the database failed."""
    mark = transaction.mark()
    try:
        return Outcome(job, job.unit(transaction))
    except Exception as error:
        if transaction.reached or isinstance(error, sa.exc.SQLAlchemyError):
            raise
        transaction.rewind(mark)
        return Outcome(job, error=error)


def _apart(transaction: Transaction, job: Job) -> Outcome:
    """Run one unit in a savepoint, all that it writes; again when another process was faster with a unique name."""
    outcome = _alone(transaction, job)
    for _ in range(_CONFLICTS):
        if outcome.error is None or not dialect.conflict(outcome.error):
            break
        outcome = _alone(transaction, job)
    return outcome


def _alone(transaction: Transaction, job: Job) -> Outcome:
    """Run one unit in a savepoint. A failure of the database itself is raised: it ends the whole batch."""
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


def translated(error: Exception) -> Exception:
    """Deferred 4.3.1 for a database that may recover; anything else is a bug and stays what it is. One instance a caller."""
    if not dialect.passing(error):
        return error
    deferred = Deferred("store-unavailable")
    deferred.__cause__ = error
    return deferred


def answer(outcomes: Iterable[Outcome]) -> None:
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
