"""Transaction: what a unit of work is given. Everything a unit asks of the database and writes into it passes through here.

Nothing is written at once: what units write is collected, and goes to the database together, one statement for all rows of a kind,
before a question that must see it and before the commit. So a message costs a share of a few statements, and a unit that fails before
that is forgotten without a trace. Why the order of the units does not matter among what is collected, ``Turn`` tells.

A transaction owns the chain. A journal row's hash is SHA-256 over the canonical JSON of its columns but ``hash`` itself; ``previous`` is
the hash of the row before it in the same chain, 64 zeros at the first. ``detail`` is hashed as the text that is stored.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from operator import attrgetter
from typing import Any, TypeAlias

import sqlalchemy as sa

from bus.quotas import QUOTA, Quota
from bus.receipt import Receipt
from bus.store import dialect, statements
from bus.store.called import Names
from bus.store.model import Filled, LostClaim, full
from bus.store.tables import GENESIS, canonical, mailboxes, octets, sha256, stamp

Answers: TypeAlias = sa.CursorResult[Any]


@dataclass(frozen=True, slots=True)
class Context:
    """What a store is opened with. ``seal`` turns a receipt into its signed XML."""

    chain: str
    organisation: str
    seal: Callable[[Receipt], bytes]
    clock: Callable[[], datetime]
    ids: Callable[[], str]
    #: Under which names a partner's rows stand; learnt anew when a generation is taken up.
    names: Names = field(default_factory=Names)
    #: By partner, what its mailbox may hold, where its entry says so; taken up with a generation.
    quotas: dict[str, Quota] = field(default_factory=dict)

    def quota(self, partner: str) -> Quota:
        """What a partner's mailbox may hold."""
        return self.quotas.get(self.names.current(partner), QUOTA)


def row_hash(row: Mapping[Any, Any]) -> str:
    """The hash of a journal row (with or without its ``hash`` column)."""
    return sha256(octets({name: value for name, value in row.items() if name != "hash"}))


class Turn(IntEnum):
    """In which order collected writes go to the database.

    Changes first: where one comes too late nothing else of its unit is tried, which may speak of a message that has been pruned meanwhile.
    Then a row before those that refer to it. A new delivery finds those of its order key that are active still, and is held back; what is
    worked out for an order key after that (``HOLD_BACK``, ``LET_THROUGH``) depends on where its deliveries stand, not on the way there.
    """

    CHANGE = 0
    MESSAGE = 1
    BLOB = 2
    DELIVERY = 3
    RECEIPT = 4
    HOLD_BACK = 5
    LET_THROUGH = 6
    MAILBOX = 7
    JOURNAL = 8


#: What a mailbox may come to hold where an operator's word, or less in it, needs no room.
_BOUNDLESS = Filled(1 << 62, 1 << 62)
_NOTHING = Filled(0, 0)


@dataclass(frozen=True, slots=True)
class Write:
    """A row to be inserted, or what a statement is to be given."""

    turn: Turn
    statement: sa.UpdateBase
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Mark:
    """A point to come back to when a unit fails."""

    seq: int
    head: str


@dataclass(slots=True)
class Transaction:
    """One database transaction and the end of one chain. ``now``, and ``at`` as the store's text, is the time of the unit that runs."""

    connection: sa.Connection
    context: Context
    seq: int
    head: str
    now: datetime
    at: str
    #: Collected and not in the database yet; the first ``others`` are not of the unit that runs.
    writes: list[Write] = field(default_factory=list)
    others: int = 0
    #: Unique names that collected rows go by.
    names: set[tuple[str, str]] = field(default_factory=set)
    #: (target, order key) for which collected writes decide what comes first.
    orders: set[tuple[str, str]] = field(default_factory=set)
    #: By owner, what the database says of a mailbox; and what is collected of it beyond that.
    filled: dict[str, Filled] = field(default_factory=dict)
    moved: dict[str, Filled] = field(default_factory=dict)
    #: Whether a write of the unit that runs has gone to the database.
    reached: bool = False

    @classmethod
    def begin(cls, connection: sa.Connection, context: Context) -> "Transaction":
        """Read the chain's head and hold it, so that nobody else can add to the chain before the commit."""
        end = connection.execute(statements.HEAD, {"chain": context.chain}).one_or_none()
        if end is None:
            # There is no row to hold yet. Whoever was faster has committed when we hold this lock.
            dialect.lock_chain(connection, context.chain)
            end = connection.execute(statements.HEAD, {"chain": context.chain}).one_or_none()
        seq, head = (end.seq, end.hash) if end else (0, GENESIS)
        now = context.clock()
        return cls(connection, context, seq, head, now, stamp(now))

    # --- what units do --------------------------------------------------------------------------------------------------

    def ask(self, statement: sa.Executable, **given: Any) -> Answers:
        """What the database says, all that was written in this transaction included."""
        self.flush()
        return self.connection.execute(statement, given)

    def ask_of(self, name: tuple[str, str], statement: sa.Executable, **given: Any) -> Answers:
        """What the database says of rows that go by a unique ``name``: nothing that is collected matters unless it has that name."""
        if name in self.names:
            self.flush()
        return self.connection.execute(statement, given)

    def write(self, turn: Turn, statement: sa.UpdateBase, values: Mapping[str, Any], name: tuple[str, str] | None = None) -> None:
        """Have ``statement`` run with ``values`` before anyone can miss it. ``name``: what the row is asked for by, see ``ask_of``."""
        self.writes.append(Write(turn, statement, values))
        if name is not None:
            self.names.add(name)

    def move(self, owner: str, messages: int, octets: int, most: Filled | None, receiver: str = "") -> None:
        """Have so much more lie in a mailbox, or less; at ``most`` so much when it is written, else Deferred 4.2.2 then,
        about ``receiver``.
        """
        most = most or _BOUNDLESS
        values = {
            "owner": owner,
            "messages": messages,
            "octets": octets,
            "most_messages": most.messages,
            "most_octets": most.octets,
            "receiver": receiver,
        }
        self.write(Turn.MAILBOX, _mailbox(self.connection), values)
        self.moved[owner] = self.moved.get(owner, _NOTHING).plus(messages, octets)

    def decide_order(self, target: str, order_key: str) -> None:
        """What is collected decides which delivery of this order key comes first: nobody else decides it before the commit."""
        self.orders.add((target, order_key))

    def try_order(self, target: str, order_key: str) -> bool:
        """The same, from now on; False when someone else decides it at this moment."""
        return dialect.try_order(self.connection, (target, order_key))

    def append(self, event: str, message_id: str, delivery_id: str, detail: Mapping[str, Any]) -> None:
        """Add a row to the chain."""
        row = {
            "chain": self.context.chain,
            "seq": self.seq + 1,
            "at": self.at,
            "event": event,
            "message_id": message_id,
            "delivery_id": delivery_id,
            "detail": canonical(detail),
            "previous": self.head,
        }
        self.seq, self.head = self.seq + 1, row_hash(row)
        self.write(Turn.JOURNAL, statements.INSERT_JOURNAL, {**row, "hash": self.head})

    # --- what the writer does ---------------------------------------------------------------------------------------------

    def mark(self) -> Mark:
        """A unit begins: where the chain stands now. The clock is read for it."""
        self.now = self.context.clock()
        self.at = stamp(self.now)
        self.others, self.reached = len(self.writes), False
        return Mark(self.seq, self.head)

    def rewind(self, mark: Mark) -> None:
        """Forget what the unit that began at ``mark`` wrote. What has ``reached`` the database must be rolled back there."""
        for write in self.writes[self.others :]:
            if write.turn is Turn.MAILBOX:
                owner, messages, octets = (write.values[name] for name in ("owner", "messages", "octets"))
                self.moved[owner] = self.moved[owner].plus(-messages, -octets)
        del self.writes[self.others :]
        self.seq, self.head = mark.seq, mark.head

    def flush(self) -> None:
        """Write what is collected. Raises LostClaim when a change comes too late, for whichever unit's it is; Deferred 4.2.2 for a mailbox
        that another process has filled meanwhile.
        """
        if not self.writes:
            return
        reached, self.reached = self.reached or len(self.writes) > self.others, True
        dialect.lock_orders(self.connection, self.orders)
        for (turn, statement), written in self._grouped().items():
            rows = _together(written) if turn is Turn.MAILBOX else written
            changed = dialect.run_many(self.connection, statement, rows)
            if turn is Turn.MAILBOX and changed != len(rows):
                raise full({row["owner"]: row["receiver"] or row["owner"] for row in rows if row["messages"] > 0})
            if turn is Turn.CHANGE and changed != len(rows):
                raise LostClaim(f"{len(rows) - changed} of {len(rows)} deliveries changed meanwhile")
        self.writes.clear()
        self.names.clear()
        self.orders.clear()
        self.filled.clear()
        self.moved.clear()
        # Only what others had written: if the unit fails now there is still nothing of its own to undo.
        self.others, self.reached = 0, reached

    def _grouped(self) -> dict[tuple[Turn, sa.UpdateBase], list[Mapping[str, Any]]]:
        groups: dict[tuple[Turn, sa.UpdateBase], list[Mapping[str, Any]]] = {}
        for write in sorted(self.writes, key=attrgetter("turn")):
            groups.setdefault((write.turn, write.statement), []).append(write.values)
        return groups

    def end(self) -> None:
        """Write what is left and the chain's new end."""
        self.flush()
        end = {"of_chain": self.context.chain, "seq": self.seq, "hash": self.head}
        if self.seq and not self.connection.execute(statements.MOVE_HEAD, end).rowcount:
            self.connection.execute(statements.INSERT_HEAD, {"chain": self.context.chain, "seq": self.seq, "hash": self.head})


def _mailbox(connection: sa.Connection) -> sa.Insert:
    return dialect.add_up(connection.dialect.name, mailboxes, "owner", "messages", "octets")


def _together(rows: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What happens to each mailbox as one row, in the order of their owners: no two transactions wait for each other in turn."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        known = found.setdefault(row["owner"], {**row, "messages": 0, "octets": 0})
        known["receiver"] = known["receiver"] or row["receiver"]
        for name in ("messages", "octets"):
            known[name] += row[name]
            known[f"most_{name}"] = max(known[f"most_{name}"], row[f"most_{name}"])
    return [found[owner] for owner in sorted(found)]
