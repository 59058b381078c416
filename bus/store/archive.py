"""Archive: messages that have ended, with everything that proves what became of them, in one parcel that is verified without the store.

``journal/…``, ``messages/…``, ``deliveries/…``, ``receipts/…``   rows as the store had them, one JSON object a line
``blobs/<digest>``         the octets: what was received, what was sent, what partners replied
``certificates/…``         what the site's receipts are signed with
``manifest.json``          by chain, the journal rows the segment lies between: ``after`` (exclusive) and ``until``, number and hash

A message is in the archive whose segment holds its last journal row. The segment itself is complete: rows of messages that had not
ended by then are in it too, so that the chain can be followed; those messages come whole in a later archive. Rows that lie before the
segment belong to messages that ended in it.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, TypeAlias

import orjson
import sqlalchemy as sa

from bus.delivery import State
from bus.errors import Rejected
from bus.store import dialect, migrate, naming, parcel
from bus.store.blobs import IN_ROW, Files
from bus.store.snapshot import Snapshot
from bus.store.tables import DERIVED, GENESIS, Row, blobs, columns, deliveries, heads, journal, messages, receipts, stamp

KIND = "govbus-archive/1"
TABLES = (journal, messages, deliveries, receipts)
#: Rows in one member.
_ROWS = 500

#: By chain, a row's number and hash.
Places: TypeAlias = Mapping[str, tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator wants archived or pruned: what ended before a time, into an archive or into nothing."""

    before: datetime
    by: str
    reason: str
    archive: Path | None
    certificates: Mapping[str, bytes]

    def said(self) -> dict[str, str]:
        """The order as the journal and the archive tell it."""
        return {"by": self.by, "reason": self.reason, "before": stamp(self.before)}


@dataclass(frozen=True, slots=True)
class Segment:
    """The journal rows after one place in each chain, up to another."""

    after: Places
    until: Places

    def ends(self) -> sa.ColumnElement[bool]:
        """Of a message: all its journal rows lie in or before the segment, and nothing is owed for it any more."""
        beyond = sa.and_(journal.c.message_id == messages.c.id, sa.not_(up_to(self.until)))
        return sa.and_(~sa.exists().where(beyond), ~sa.exists().where(deliveries.c.message_id == messages.c.id, _OWED))


#: A receipt that lies in a mailbox is owed to nobody in particular: its octets are in the archive.
_OWED = sa.or_(
    deliveries.c.state.in_([State.READY, State.CLAIMED]), sa.and_(deliveries.c.state == State.WAITING, deliveries.c.receipt_id == "")
)


def up_to(places: Places) -> sa.ColumnElement[bool]:
    """Of a journal row: it is not beyond these places."""
    chains = [sa.and_(journal.c.chain == chain, journal.c.seq <= seq) for chain, (seq, _) in places.items()]
    return sa.or_(sa.false(), *chains)


def bases(journal_rows: Iterable[Row]) -> dict[str, tuple[int, str]]:
    """Where each chain begins now, from the journal's own rows about prunings, oldest first."""
    begins: dict[str, tuple[int, str]] = {}
    for row in journal_rows:
        begins |= onward(begins, orjson.loads(row.detail)["chains"])
    return begins


def onward(begins: Places, said: Mapping[str, Sequence[Any]]) -> dict[str, tuple[int, str]]:
    """Of the bases that a pruning says, those not behind ``begins``: while it was at work another one may have gone further."""
    return {chain: (seq, digest) for chain, (seq, digest) in said.items() if seq >= begins.get(chain, (0, GENESIS))[0]}


def segment(snapshot: Snapshot, before: str, since: str = "") -> Segment:
    """What was journalled before one time, and not before another; what was pruned is not there any more."""
    after = bases(snapshot.prunings())
    if since:
        after = _cut(snapshot, after, since)
    return Segment(after, _cut(snapshot, after, before))


def _cut(snapshot: Snapshot, after: Places, at: str) -> dict[str, tuple[int, str]]:
    """By chain, the last row before the first that is not older than ``at``: a clock that once went back moves no row."""
    cut = {}
    for chain, head in snapshot.heads().items():
        first = snapshot.first_since(chain, after.get(chain, (0, GENESIS))[0], at)
        cut[chain] = head if first is None else (first.seq - 1, first.previous)
    return cut


def write(snapshot: Snapshot, chosen: Segment, order: Order, path: Path) -> dict[str, int]:
    """Write the archive of ``chosen`` to ``path``. Returns how many rows of each table it holds. Raises Deferred 4.3.1."""
    with parcel.packing(path) as packing:
        for name, octets in order.certificates.items():
            packing.add(f"certificates/{name}", octets)
        writing = _Writing(snapshot, packing, {str(table.name): 0 for table in TABLES}, itertools.count(1))
        writing.segment(chosen)
        for ids in _ended(snapshot, chosen):
            writing.messages(ids, chosen)
        packing.close(KIND, {**order.said(), "after": chosen.after, "until": chosen.until, "rows": writing.rows})
    return writing.rows


def _ended(snapshot: Snapshot, chosen: Segment) -> Iterator[list[str]]:
    """Ids of the messages that end in the segment, some at a time."""
    ids = (row.id for row in snapshot.stream(sa.select(messages.c.id).where(chosen.ends(), _ends_after(chosen)).order_by(messages.c.id)))
    while some := list(itertools.islice(ids, _ROWS)):
        yield some


def _ends_after(chosen: Segment) -> sa.ColumnElement[bool]:
    """Of a message: its last row is not before the segment, unless it was left behind by a pruning that was cut short."""
    begun = {chain: place for chain, place in chosen.after.items() if place[0]}
    within = sa.and_(journal.c.message_id == messages.c.id, sa.not_(up_to(begun)))
    return sa.exists().where(within) if begun else sa.true()


@dataclass(slots=True)
class _Writing:
    snapshot: Snapshot
    packing: parcel.Packing
    rows: dict[str, int]
    numbers: "itertools.count[int]"

    def segment(self, chosen: Segment) -> None:
        """The chains' rows, complete."""
        for chain, (last, _) in chosen.until.items():
            first = chosen.after.get(chain, (0, GENESIS))[0]
            within = sa.and_(journal.c.chain == chain, journal.c.seq > first, journal.c.seq <= last)
            self._pack(journal, self.snapshot.stream(sa.select(journal).where(within).order_by(journal.c.seq)))

    def messages(self, ids: Sequence[str], chosen: Segment) -> None:
        """Some messages, with everything about them."""
        earlier = sa.and_(journal.c.message_id.in_(ids), up_to(chosen.after))
        self._pack(journal, self.snapshot.stream(sa.select(journal).where(earlier)))
        about = [*self.snapshot.stream(sa.select(messages).where(messages.c.id.in_(ids)))]
        self._pack(messages, about)
        owed = [*self.snapshot.stream(sa.select(deliveries).where(deliveries.c.message_id.in_(ids)))]
        self._pack(deliveries, owed)
        said = [*self.snapshot.stream(sa.select(receipts).where(receipts.c.message_id.in_(ids)))]
        self._pack(receipts, said)
        named = [digest for row in about for digest in (row.digest, row.request)] + [row.digest for row in owed if not row.receipt_id]
        self._bodies(filter(None, [*named, *(row.reply for row in said)]))

    def _bodies(self, digests: Iterable[str]) -> None:
        for digest in digests:
            if self.packing.wants(digest) and (body := self.snapshot.body(digest)) is not None:
                self.packing.add_blob(digest, body)

    def _pack(self, table: sa.Table, rows: Iterable[Row]) -> None:
        lines = (orjson.dumps(_plain(table, row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)
        while some := list(itertools.islice(lines, _ROWS)):
            self.packing.add(f"{table.name}/{next(self.numbers):06}.jsonl", b"".join(some))
            self.rows[str(table.name)] += len(some)


def _plain(table: sa.Table, row: Row) -> dict[str, Any]:
    """A row of ``table`` as JSON holds it, without what follows from the rest; a receipt is XML in UTF-8."""
    kept = {str(name): value for name, value in columns(row).items() if name not in DERIVED.get(table.name, ())}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in kept.items()}


def load(path: Path, directory: Path) -> tuple[sa.Engine, Files, Mapping[str, Any]]:
    """Unpack an archive into a database of its own in ``directory``, as the store had it. Raises Rejected 5.6.11."""
    engine = dialect.engine(dialect.address(directory / "archive.db"), writer=True)
    migrate.up_to_date(engine, "archive")
    files = Files(directory / "blobs")
    opened = parcel.Opened(path, KIND)
    try:
        with engine.begin() as connection:
            for name, stream in opened.members():
                _take(connection, files, name, stream)
            ends = [{"chain": chain, "seq": seq, "hash": digest} for chain, (seq, digest) in opened.manifest["until"].items() if seq]
            if ends:
                dialect.run_many(connection, heads.insert(), ends)
    except (*parcel.UNREADABLE, LookupError, TypeError, AttributeError, sa.exc.SQLAlchemyError) as error:
        # Changed so that it cannot even be read: it did not come to the comparison of the digests.
        raise Rejected("parcel-damaged", file=path, detail=f"{type(error).__name__} {error}") from error
    return engine, files, opened.manifest


def _take(connection: sa.Connection, files: Files, name: str, stream: IO[bytes]) -> None:
    table = next((table for table in TABLES if name.startswith(f"{table.name}/")), None)
    if table is not None:
        rows = [orjson.loads(line) for line in stream.read().splitlines()]
        binary = [column.name for column in table.columns if isinstance(column.type, sa.LargeBinary)]
        later = {column.name: "" for column in table.columns if column.server_default is not None}
        rows = [{**later, **row, **{column: row[column].encode() for column in binary}} for row in rows]
        derived = [naming.names(row) if table is messages else {} for row in rows]
        dialect.run_many(connection, table.insert(), [{**row, **names} for row, names in zip(rows, derived, strict=True)])
    elif name.startswith(parcel.BLOBS):
        digest = name.removeprefix(parcel.BLOBS)
        start = stream.read(IN_ROW + 1)
        if len(start) <= IN_ROW:
            dialect.run_many(connection, blobs.insert(), [{"digest": digest, "body": start}])
        else:
            parcel.save(itertools.chain([start], parcel.pieces(stream)), files.path(digest))
