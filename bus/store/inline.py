"""Inline writer: group commit for a database in this process. Units run on the event loop; only the commit, the fsync, has a thread.

Two threads that both run Python take the interpreter from one another all the time, and each find the other's data in the processor's
caches: with units on the loop a message costs a third less CPU. What may take long never runs there: waiting for another process's lock,
a batch that must be run again, and the commit itself are the thread's. One batch is under way at a time, so the order is the queue's.
"""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

import sqlalchemy as sa

from bus import points
from bus.errors import Deferred
from bus.store import dialect
from bus.store.transaction import Context, Transaction
from bus.store.writer import Job, Outcome, Writer, answer, ordered, together, translated

T = TypeVar("T")

#: Units in one transaction at most: the loop does nothing else while they run.
MOST = 32

#: What the thread does: ends a batch, and says what came of its jobs.
Ending = Callable[[], list[Outcome]]


class InlineWriter(Writer):
    """The one writer of an embedded store: as ``Writer``, with the same promises."""

    def __init__(self, engine: sa.Engine, context: Context) -> None:
        self._jobs: list[Job] = []
        #: The loop that has the next turn, while one is to come or a batch is under way.
        self._turning: asyncio.AbstractEventLoop | None = None
        self._endings: SimpleQueue[Ending | None] = SimpleQueue()
        # Held for a whole turn: whoever closes the store from another thread waits for it.
        self._turn_lock = threading.RLock()
        super().__init__(engine, context)

    def submit(self, unit: Callable[[Transaction], T], *, last: bool = False) -> "asyncio.Future[T]":
        """As ``Writer.submit``."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._turn_lock:
            if not self._open:
                raise Deferred("store-unavailable")
            self._jobs.append(Job(unit, future, loop, last))
            if self._turning is None or self._turning.is_closed():
                self._turning = loop
                loop.call_soon(self._turn)
        return future

    def close(self) -> None:
        """As ``Writer.close``."""
        with self._turn_lock:
            if self._open:
                self._open = False
                if self._jobs:
                    self._endings.put(partial(self._commit, self._take()))
                self._endings.put(None)
        self._thread.join()

    def _take(self, most: int | None = None) -> list[Job]:
        batch = self._jobs[:most]
        del self._jobs[:most]
        return batch

    def _turn(self) -> None:
        """On the loop: run what waits, and have the thread commit it; or leave all of it to the thread."""
        with self._turn_lock:
            batch = self._take(MOST)
            if not batch:
                self._turning = None
                return
            try:
                ending = self._prepared(ordered(batch))
            except Exception:  # noqa: BLE001 - whatever it was, the thread meets it again, and takes its time
                ending = partial(self._commit, batch)
            self._endings.put(ending)

    def _prepared(self, batch: list[Job]) -> Ending:
        """Run ``batch`` in a transaction that only lacks its commit. Raises what a unit raised too late, or the database."""
        connection = self._engine.connect()
        try:
            dialect.at_once(connection)
            database = connection.begin()
            transaction = Transaction.begin(connection, self._context)
            outcomes = [together(transaction, job) for job in batch]
            transaction.end()
        except BaseException:
            connection.close()
            raise
        return partial(_commit, connection, database, outcomes)

    def _run(self) -> None:
        while (ending := self._endings.get()) is not None:
            answer(ending())
            self._next()

    def _next(self) -> None:
        """Give the turn to the loop whose job waits longest; where it is gone, the job's caller is too, and the thread does it."""
        with self._turn_lock:
            self._turning = self._jobs[0].loop if self._jobs else None
            if self._turning is not None:
                try:
                    self._turning.call_soon_threadsafe(self._turn)
                except RuntimeError:
                    self._endings.put(partial(self._commit, self._take(MOST)))


def _commit(connection: sa.Connection, database: sa.RootTransaction, outcomes: list[Outcome]) -> list[Outcome]:
    with connection:
        points.reach("store.before-commit", outcomes)
        try:
            database.commit()
        except Exception as error:  # noqa: BLE001 - whatever happens, every caller must get an answer
            return [Outcome(outcome.job, error=translated(error)) for outcome in outcomes]
        points.reach("store.after-commit", outcomes)
    return outcomes
