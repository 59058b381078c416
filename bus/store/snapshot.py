"""Snapshot: one unchanging view of everything, row by row, for the audit. It reads text that was damaged, too."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from bus.folding import fold
from bus.message import KIND_DOCUMENT
from bus.octets import Body
from bus.store import dialect, filling, searching
from bus.store.blobs import Shelf
from bus.store.standing import RANKED, Standing, standing
from bus.store.tables import (
    PRUNINGS,
    Row,
    blobs,
    checkpoint_spans,
    checkpoints,
    deliveries,
    heads,
    journal,
    messages,
    partners,
    pruning,
    receipts,
    timestamps,
)

#: Rows fetched at once.
_ROWS = 200
#: Messages of one number that are told of: enough to choose from.
MOST_NUMBERED = 50


@dataclass(frozen=True, slots=True)
class About:
    """All rows about one message, its own first; the others in the order in which they came to be."""

    message: Row
    deliveries: tuple[Row, ...]
    receipts: tuple[Row, ...]
    journal: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The questions of the audit. Streams may be read side by side; none holds more than a few rows."""

    connection: sa.Connection
    files: Shelf

    def stream(self, query: sa.Select[*tuple[Any, ...]] | sa.CompoundSelect[*tuple[Any, ...]]) -> Iterator[Row]:
        """The rows of a query, a few at a time."""
        return iter(self.connection.execution_options(yield_per=_ROWS).execute(query))

    def missing_guards(self) -> list[str]:
        """Names of the append-only guards that are not in the database as they should be."""
        return dialect.missing_guards(self.connection)

    def heads(self) -> dict[str, tuple[int, str]]:
        """By chain, the number and the hash of its last row, as the store noted them."""
        return {row.chain: (row.seq, row.hash) for row in self.stream(sa.select(heads))}

    def journal(self) -> Iterator[Row]:
        """Every journal row, chain by chain, in order."""
        return self.stream(sa.select(journal).order_by(journal.c.chain, journal.c.seq))

    def prunings(self) -> list[Row]:
        """The journal rows that say what was pruned, in the order of their chain: one process at a time prunes, and clocks step back."""
        told = sa.and_(journal.c.message_id == "", journal.c.event.in_(PRUNINGS))
        return [*self.stream(sa.select(journal).where(told).order_by(journal.c.chain, journal.c.seq))]

    def first_since(self, chain: str, after: int, at: str) -> Row | None:
        """The first row of a chain, beyond number ``after``, that is not older than ``at``."""
        later = sa.and_(journal.c.chain == chain, journal.c.seq > after, journal.c.at >= at)
        return self.connection.execute(sa.select(journal).where(later).order_by(journal.c.seq).limit(1)).one_or_none()

    def kept(self, chain: str, until: int) -> Iterator[Row]:
        """Number and hash of the rows of a chain up to one place, in order."""
        within = sa.and_(journal.c.chain == chain, journal.c.seq <= until)
        return self.stream(sa.select(journal.c.seq, journal.c.hash).where(within).order_by(journal.c.seq))

    def pruning(self) -> int:
        """How many messages stand as being pruned: none, for anyone who looks from outside."""
        return self._count(pruning)

    def body(self, digest: str) -> Body | None:
        """Octets by their digest, or None when they are lost."""
        row = self.connection.execute(sa.select(blobs.c.body).where(blobs.c.digest == digest)).one_or_none()
        if row is not None:
            return bytes(row.body)
        size = self.files.size(digest)
        return self.files.read(digest, size) if size else None

    def acts(self) -> Iterator[Row]:
        """The journal rows that concern a delivery, by its id."""
        return self.stream(sa.select(journal).where(journal.c.delivery_id != "").order_by(journal.c.delivery_id))

    def deliveries(self) -> Iterator[Row]:
        """Every delivery, by its id."""
        return self.stream(sa.select(deliveries).order_by(deliveries.c.id))

    def about(self, message_id: str) -> About | None:
        """Everything about a message, by its own id."""

        def rows(table: sa.Table, *order: sa.Column[Any]) -> tuple[Row, ...]:
            return tuple(self.stream(sa.select(table).where(table.c.message_id == message_id).order_by(*order)))

        message = self.message(message_id)
        if message is None:
            return None
        said = rows(receipts, receipts.c.at, receipts.c.id)
        return About(message, rows(deliveries, deliveries.c.seq), said, rows(journal, journal.c.at, journal.c.chain, journal.c.seq))

    def called(self, key: str) -> list[Row]:
        """The messages that go by ``key``: the bus's id, the sender's, or the DocumentId; oldest first."""
        if not searching.legible(key):
            return []
        return [*self.stream(sa.select(messages).where(searching.named(key)).order_by(messages.c.accepted, messages.c.id))]

    def numbered(self, key: str) -> list[Row]:
        """Messages whose document has this number, documents before what speaks of them, newest first; MOST_NUMBERED at most."""
        if not (searching.legible(key) and fold(key)):
            return []
        others = messages.c.kind != KIND_DOCUMENT
        wanted = sa.select(messages).where(searching.numbered(key)).order_by(others, messages.c.accepted.desc(), messages.c.id.desc())
        rows = [*self.stream(wanted.limit(MOST_NUMBERED))]
        return [row for row in rows if row.kind == KIND_DOCUMENT] or rows

    def message(self, key: str) -> Row | None:
        """One message's row."""
        return self._one(messages, key)

    def delivery(self, key: str) -> Row | None:
        """One delivery's row."""
        return self._one(deliveries, key)

    def receipt(self, key: str) -> Row | None:
        """One receipt's row."""
        return self._one(receipts, key)

    def _one(self, table: sa.Table, key: str) -> Row | None:
        if not searching.legible(key):
            return None
        return self.connection.execute(sa.select(table).where(table.c.id == key)).one_or_none()

    def counts(self) -> dict[str, int]:
        """Rows by table."""
        return {table.name: self._count(table) for table in (messages, deliveries, receipts)}

    def _count(self, table: sa.Table) -> int:
        return self.connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()

    def checkpoints(self) -> Iterator[Row]:
        """Every checkpoint, in order."""
        return self.stream(sa.select(checkpoints).order_by(checkpoints.c.number))

    def checkpoint(self, number: int) -> bytes | None:
        """The signed XML of one checkpoint."""
        row = self.connection.execute(sa.select(checkpoints.c.xml).where(checkpoints.c.number == number)).one_or_none()
        return bytes(row.xml) if row else None

    def timestamps(self) -> Iterator[Row]:
        """Every time-stamp, in order."""
        return self.stream(sa.select(timestamps).order_by(timestamps.c.number))

    def spans_of(self, number: int) -> list[Row]:
        """What a checkpoint keeps about the chains; leaves included."""
        return [*self.connection.execute(sa.select(checkpoint_spans).where(checkpoint_spans.c.number == number))]

    def count_spans(self) -> int:
        """How many rows about chains there are."""
        return self._count(checkpoint_spans)

    def spans(self) -> Iterator[Row]:
        """Where the checkpoints of each chain begin and end, chain by chain, in order."""
        spoken = (checkpoint_spans.c.chain, checkpoint_spans.c.number, checkpoint_spans.c.first, checkpoint_spans.c.last)
        return self.stream(sa.select(*spoken).order_by(checkpoint_spans.c.chain, checkpoint_spans.c.last))

    def leaves(self, chain: str, last: int) -> bytes:
        """The hashes kept with the span of a chain that ends at row ``last``."""
        named = sa.and_(checkpoint_spans.c.chain == chain, checkpoint_spans.c.last == last)
        return bytes(self.connection.execute(sa.select(checkpoint_spans.c.leaves).where(named)).scalar_one())

    def hashes(self, chain: str, first: int, last: int) -> Iterator[Row]:
        """Number and hash of the rows of a chain from one to another, in order."""
        within = sa.and_(journal.c.chain == chain, journal.c.seq.between(first, last))
        return self.stream(sa.select(journal.c.seq, journal.c.hash).where(within).order_by(journal.c.seq))

    def became(self) -> dict[str, str]:
        """By former name of a partner, its present one."""
        return {row.name: row.became for row in self.stream(sa.select(partners).where(partners.c.became != ""))}

    def miscounted(self) -> list[str]:
        """Owners of mailboxes that hold something else than is said of them."""
        return sorted(row.owner for row in self.stream(filling.DIFFERING))

    def told(self, event: str) -> Iterator[Row]:
        """The journal rows of one kind."""
        return self.stream(sa.select(journal).where(journal.c.event == event).order_by(journal.c.chain, journal.c.seq))

    def blobs(self) -> Iterator[Row]:
        """Every body kept in a row."""
        return self.stream(sa.select(blobs))

    def unnamed_blobs(self) -> Iterator[str]:
        """Digests of bodies in rows that nothing names."""
        return (row.digest for row in self.stream(sa.except_(sa.select(blobs.c.digest), sa.select(_named().c.digest))))

    def named_files(self) -> Iterator[str]:
        """Digests that are named and not in a row, in order: each of them must be a file."""
        wanted = sa.except_(sa.select(_named().c.digest), sa.select(blobs.c.digest)).subquery()
        return (row.digest for row in self.stream(sa.select(wanted.c.digest).order_by(wanted.c.digest)))

    def standings(self) -> dict[Standing, int]:
        """How many messages stand where."""
        ranked = sa.select(standing().label("rank")).select_from(messages).subquery()
        rows = self.connection.execute(sa.select(ranked.c.rank, sa.func.count()).group_by(ranked.c.rank))
        return {RANKED[rank]: number for rank, number in rows}

    def owed_nothing(self) -> Iterator[str]:
        """Ids of messages without a delivery."""
        own = sa.and_(deliveries.c.message_id == messages.c.id, deliveries.c.receipt_id == "")
        return (row.id for row in self.stream(sa.select(messages.c.id).where(~sa.exists().where(own))))


def _named() -> sa.Subquery:
    """Every digest that some row relies on. A receipt's own octets are in its row."""
    return sa.union(
        sa.select(messages.c.digest),
        sa.select(messages.c.request).where(messages.c.request != ""),
        sa.select(deliveries.c.digest).where(deliveries.c.receipt_id == ""),
        sa.select(receipts.c.reply).where(receipts.c.reply != ""),
    ).subquery()
