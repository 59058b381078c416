"""Bugs that the simulation must find, planted here and nowhere else: each is a way in which buses really lose or double messages."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import sqlalchemy as sa
from simulated_store import Database, EmbeddedWriter, ServerWriter
from virtual_loop import LIFE, Life

from bus.store import accepting, working
from bus.store.model import Work
from bus.store.tables import deliveries
from bus.store.transaction import Transaction
from bus.store.writer import Writer

Writing = type[Writer]
#: The bus's own writers: of an embedded store, and of a server's.
WRITERS: tuple[Writing, Writing] = (EmbeddedWriter, ServerWriter)


class HastyWriter(ServerWriter):
    """Answers its callers, and only then has the disk keep what it said; until then it holds the write lock."""

    def serve(self) -> None:
        if self.database.unwritten is not None:
            asyncio.get_running_loop().call_later(0.01, self.serve)
            return
        self.database.unwritten = self.database.image()
        hazards = self.database.hazards
        hazards.outside(_written, self.database, LIFE.get(), after=hazards.pause())
        super().serve()


def _written(database: Database, life: Life | None) -> None:
    """The moment of the real commit, if there is still somebody to do it."""
    if life is not None and not life.alive and database.unwritten is not None:
        database.restore(database.unwritten)
    database.unwritten = None


@contextlib.contextmanager
def acknowledge_before_commit(_server: bool) -> Iterator[Writing]:
    """What is said to have happened is lost when the process dies a moment later."""
    yield HastyWriter


@contextlib.contextmanager
def finish_without_fence(server: bool) -> Iterator[Writing]:
    """A worker whose lease ran out finishes all the same, whoever has the delivery now."""
    finish = working.finish

    def unfenced(tx: Transaction, work: Work, *given: Any, **named: Any) -> Any:
        now = tx.ask(sa.select(deliveries.c.revision).where(deliveries.c.id == work.debt.id)).scalar_one()
        return finish(tx, replace(work, debt=replace(work.debt, revision=now)), *given, **named)

    with mock.patch.object(working, "finish", unfenced):
        yield WRITERS[server]


@contextlib.contextmanager
def skip_the_idempotency_key(server: bool) -> Iterator[Writing]:
    """A message that is sent again is another message."""
    row = accepting._row

    def keyless(*given: Any, **named: Any) -> dict[str, Any]:
        values = row(*given, **named)
        return {**values, "sender_key": values["id"]}

    with mock.patch.object(accepting, "_row", keyless):
        yield WRITERS[server]


@contextlib.contextmanager
def nothing(server: bool) -> Iterator[Writing]:
    """The bus as it is."""
    yield WRITERS[server]


#: By the name that ``make simulate PLANT=…`` takes.
PLANTS: dict[str, Callable[[bool], contextlib.AbstractContextManager[Writing]]] = {
    "": nothing,
    "ack-before-commit": acknowledge_before_commit,
    "finish-without-fence": finish_without_fence,
    "skip-idempotency-key": skip_the_idempotency_key,
}
