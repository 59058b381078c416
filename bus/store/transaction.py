"""Transaction: what a unit of work is given. It owns the chain: every journal row and every receipt passes through here.

A journal row's hash is SHA-256 over the canonical JSON of its columns but ``hash`` itself; ``previous`` is the hash of the row before it
in the same chain, 64 zeros at the first. ``detail`` is hashed as the text that is stored. Rows are numbered and hashed in memory, in the
order the units run, and written together before the commit.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bus.receipt import Receipt
from bus.store import statements
from bus.store.tables import GENESIS, canonical, stamp


@dataclass(frozen=True, slots=True)
class Context:
    """What a store is opened with. ``seal`` turns a receipt into its signed XML."""

    chain: str
    organisation: str
    seal: Callable[[Receipt], bytes]
    clock: Callable[[], datetime]
    ids: Callable[[], str]


def row_hash(row: Mapping[Any, Any]) -> str:
    """The hash of a journal row (with or without its ``hash`` column)."""
    hashed = {name: value for name, value in row.items() if name != "hash"}
    return hashlib.sha256(canonical(hashed).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True)
class Mark:
    """A point in the chain to come back to when a unit fails."""

    rows: int
    seq: int
    head: str


@dataclass(slots=True)
class Transaction:
    """One database transaction and the end of one chain. ``now`` is the time of the unit that is running."""

    connection: sa.Connection
    context: Context
    seq: int
    head: str
    now: datetime
    rows: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def begin(cls, connection: sa.Connection, context: Context) -> "Transaction":
        """Read the chain's head; the database's write lock is held already, so nobody else can add to it before the commit."""
        end = connection.execute(statements.HEAD, {"chain": context.chain}).one_or_none()
        seq, head = (end.seq, end.hash) if end else (0, GENESIS)
        return cls(connection, context, seq, head, context.clock())

    def append(self, event: str, message_id: str, delivery_id: str, detail: Mapping[str, Any]) -> None:
        """Add a row to the chain."""
        row = {
            "chain": self.context.chain,
            "seq": self.seq + 1,
            "at": stamp(self.now),
            "event": event,
            "message_id": message_id,
            "delivery_id": delivery_id,
            "detail": canonical(detail),
            "previous": self.head,
        }
        self.seq, self.head = self.seq + 1, row_hash(row)
        self.rows.append({**row, "hash": self.head})

    def mark(self) -> Mark:
        """Where the chain stands now; the clock is read for the unit that follows."""
        self.now = self.context.clock()
        return Mark(len(self.rows), self.seq, self.head)

    def rewind(self, mark: Mark) -> None:
        """Forget the rows added since ``mark``."""
        del self.rows[mark.rows :]
        self.seq, self.head = mark.seq, mark.head

    def flush(self) -> None:
        """Write the new rows and the chain's new head."""
        if not self.rows:
            return
        self.connection.execute(statements.INSERT_JOURNAL, self.rows)
        end = {"seq": self.seq, "hash": self.head}
        if not self.connection.execute(statements.MOVE_HEAD, {"of_chain": self.context.chain, **end}).rowcount:
            self.connection.execute(statements.INSERT_HEAD, {"chain": self.context.chain, **end})
