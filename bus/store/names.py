"""Names: what hangs on the names of partners in the store, and how a renamed partner keeps it.

Rows keep the name under which they were written: journal, receipts and evidence vouch for it. That a partner is called something else
since is one row of ``partners`` (``became``), and whoever asks for a partner is asked for under each name it has had. So a renaming is one
small change, whatever is moved by it, and a node that does not know of it yet goes on rightly under the old name.

The owner of mail and ids is the organisation behind the codes: ``partners`` holds which codes a name stood for when it last was in use.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from bus.errors import ConfigurationError, Fault, Rejected
from bus.store import dialect
from bus.store.called import Names, among
from bus.store.tables import READY_OR_CLAIMED, WAITING_DOCUMENTS, WAITING_RECEIPTS, Row, deliveries, messages, partners, tombstones
from bus.store.transaction import Transaction

#: The journal's event of a renaming.
RENAMED = "renamed"
#: Ids that a sentence names.
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Held:
    """What hangs on one partner's names. ``sent``: messages known by its ids; ``first``: ids of some documents that wait in its mailbox."""

    documents: int
    receipts: int
    sent: int
    first: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        """Whether anything does."""
        return bool(self.documents or self.receipts or self.sent)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The questions about names, over one connection."""

    connection: sa.Connection
    names: Names
    codes: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, connection: sa.Connection) -> "Ledger":
        """What is written down of names; nothing, in a store that no program has opened since it writes that down."""
        rows: Sequence[Row] = ()
        if sa.inspect(connection).has_table(partners.name):
            rows = connection.execute(sa.select(partners)).all()
        former = {row.name: row.became for row in rows if row.became}
        return cls(connection, Names(former), {row.name: tuple(row.codes.split()) for row in rows})

    def present(self) -> list[str]:
        """Every name that the store knows a partner by, but former ones."""
        known = {*self.codes, *self._owners(), *self._senders()}
        return sorted(name for name in known if name and self.names.current(name) == name)

    def _owners(self) -> Iterable[str]:
        return self.connection.execute(sa.select(deliveries.c.owner).where(sa.text(WAITING_DOCUMENTS)).distinct()).scalars()

    def _senders(self) -> Iterable[str]:
        """From one sender in the index to the next: no more of it is read."""
        first = sa.select(sa.func.min(messages.c.sender).label("sender")).cte("step", recursive=True)
        after = sa.select(sa.func.min(messages.c.sender)).where(messages.c.sender > first.c.sender).scalar_subquery()
        step = first.union_all(sa.select(after).where(first.c.sender.is_not(None)))
        return self.connection.execute(sa.select(step.c.sender).where(step.c.sender.is_not(None))).scalars()

    def held(self, name: str) -> Held:
        """What hangs on a partner's names."""
        names = self.names.of(name)
        documents = sa.and_(among(deliveries.c.owner, names), sa.text(WAITING_DOCUMENTS))
        waiting = sa.select(deliveries.c.id).where(documents).order_by(deliveries.c.seq).limit(_NAMED)
        return Held(
            documents=self._count(deliveries, documents),
            receipts=self._count(deliveries, sa.and_(among(deliveries.c.owner, names), sa.text(WAITING_RECEIPTS))),
            sent=sum(self._count(table, among(table.c.sender, names)) for table in (messages, tombstones)),
            first=tuple(self.connection.execute(waiting).scalars()),
        )

    def _count(self, table: sa.Table, holds: sa.ColumnElement[bool]) -> int:
        return self.connection.execute(sa.select(sa.func.count()).select_from(table).where(holds)).scalar_one()

    def addressed(self, name: str, code: str) -> list[str]:
        """Ids of documents in a partner's mailbox that are for one of its codes."""
        waiting = sa.and_(among(deliveries.c.owner, self.names.of(name)), sa.text(WAITING_DOCUMENTS))
        rows = self.connection.execute(sa.select(deliveries.c.id, deliveries.c.receivers).where(waiting).order_by(deliveries.c.seq))
        return [row.id for row in rows if code in row.receivers.split()]

    def sent_as(self, name: str, code: str) -> int:
        """How many messages a partner has sent in the name of one of its codes."""
        return self._count(messages, sa.and_(among(messages.c.sender, self.names.of(name)), messages.c.organ == code))

    def ready(self) -> Mapping[str, int]:
        """By target, how many deliveries wait to be sent."""
        query = sa.select(deliveries.c.target, sa.func.count()).where(sa.text(READY_OR_CLAIMED)).group_by(deliveries.c.target)
        return {row[0]: row[1] for row in self.connection.execute(query)}

    def collisions(self, old: str, new: str) -> list[str]:
        """Ids that both partners have used for different things: sent under, or lying in both mailboxes."""
        before, after = self.names.of(old), [name for name in self.names.of(new) if name not in self.names.of(old)]
        if not after:
            return []
        sent = [
            _keys(table).where(among(table.c.sender, names)).subquery() for names in (before, after) for table in (messages, tombstones)
        ]
        pairs = [(one, other) for one in sent[:2] for other in sent[2:]]
        found = [self._differing(one, other) for one, other in pairs]
        mine, other = deliveries.alias(), deliveries.alias()
        both = sa.and_(mine.c.public_id == other.c.public_id, among(mine.c.owner, before), among(other.c.owner, after), mine.c.owner != "")
        found.append(self.connection.execute(sa.select(mine.c.public_id).join(other, both).limit(_NAMED)).scalars().all())
        return sorted({key for keys in found for key in keys})[:_NAMED]

    def _differing(self, one: sa.Subquery, other: sa.Subquery) -> Sequence[str]:
        both = sa.and_(one.c.sender_key == other.c.sender_key, one.c.digest != other.c.digest)
        return self.connection.execute(sa.select(one.c.sender_key).join(other, both).limit(_NAMED)).scalars().all()


def _keys(table: sa.Table) -> sa.Select[*tuple[Any, ...]]:
    return sa.select(table.c.sender_key, table.c.digest)


@contextmanager
def surveyed(url: str) -> Iterator[Ledger | None]:
    """What hangs on names in the store at ``url``; None where no daemon was ever started. Raises ConfigurationError when it cannot be read.

    Nothing is created and nothing brought up to date.
    """
    database = sa.make_url(url)
    if database.get_backend_name() == "sqlite" and not Path(database.database or "").is_file():
        yield None
        return
    reading = dialect.engine(url, writer=False)
    try:
        with reading.connect() as connection:
            yield Ledger.read(connection) if dialect.revision(connection) else None
    except exc.SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise ConfigurationError([Fault(dialect.shown(url), 0, 0, f"the store cannot be read: {cause}")]) from error
    finally:
        reading.dispose()


# --- units of work -----------------------------------------------------------------------------------------------------------


def take(tx: Transaction, codes: Mapping[str, Sequence[str]]) -> None:
    """A generation is taken up: write down which codes each partner's name stands for."""
    for name, held in sorted(codes.items()):
        _write(tx, name, " ".join(held))


def _write(tx: Transaction, name: str, codes: str) -> None:
    # Several workers take up one generation: whoever is second finds the row there.
    tx.reached = True
    row = {"name": name, "codes": codes, "first": tx.at, "last": tx.at, "became": ""}
    tx.connection.execute(dialect.insert_once(tx.connection.dialect.name, partners), row)
    tx.connection.execute(partners.update().where(partners.c.name == name).values(codes=codes, last=tx.at))


def rename(tx: Transaction, old: str, new: str, codes: Sequence[str], by: str, reason: str) -> Held:
    """What hangs on ``old`` is ``new``'s from now on, whose codes are ``codes``. Gives what that is. Raises Rejected 5.3.4.

    Nothing happens when nothing hangs on ``old``, when ``new`` is a former name of another partner or stood for other codes, or when ids
    that both have used would mean two things.
    """
    tx.flush()
    known = Ledger.read(tx.connection)
    held = known.held(old)
    if known.names.current(old) != old or not held.any:
        raise Rejected("rename-nothing", old=old)
    stands = known.codes.get(new, ())
    own = {old, new}
    if known.names.current(new) not in own or (stands and not set(stands) & {*codes, *known.codes.get(old, ())}):
        raise Rejected("rename-taken", new=new, codes=" ".join(stands), owner=known.names.current(new))
    if collisions := known.collisions(old, new):
        raise Rejected("rename-collides", old=old, new=new, ids=", ".join(collisions))
    moved = known.names.of(old)
    for name in {old, new} - known.codes.keys():
        _write(tx, name, " ".join(known.codes.get(old, codes)))
    tx.connection.execute(partners.update().where(partners.c.name.in_(moved)).values(became=new))
    tx.connection.execute(partners.update().where(partners.c.name == new).values(became="", codes=" ".join(codes)))
    counts = {"documents": held.documents, "receipts": held.receipts, "sent": held.sent}
    tx.append(RENAMED, "", "", {"old": old, "new": new, "by": by, "reason": reason, **counts})
    return held


def replayed(told: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What ``became`` must be after the renamings that the journal tells of, in their order."""
    became: dict[str, str] = {}
    for each in told:
        old, new = str(each["old"]), str(each["new"])
        became = {name: new if later == old else later for name, later in became.items()} | {old: new}
        became.pop(new, None)
    return became
