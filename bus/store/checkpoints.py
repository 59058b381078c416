"""Checkpoints as they are kept: what has been journalled since the last one, one more, its time-stamp, and the proof for one row.

A checkpoint's number is its key: where several nodes write the same one at the same time the first to commit has it, and the others
find that they were late. What they had prepared is thrown away, and nobody has waited.

Checkpoints are never pruned. The hash of every row ever journalled stays with them, 32 octets a row, so that a row whose content is
shown, from an archive perhaps, can still be proved.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from bus import merkle
from bus.checkpoint import NONE_BEFORE, Span
from bus.store import archive, dialect
from bus.store.model import Checkpoint, Growth, Proof
from bus.store.snapshot import Snapshot
from bus.store.tables import GENESIS, Row, checkpoint_spans, checkpoints, journal, moment, sha256, stamp, timestamps
from bus.store.transaction import Transaction

#: Rows of one chain in one checkpoint, at most: bounds what is held in memory, and what a proof must read.
MOST = 1 << 15
#: Octets of a SHA-256.
_HASH = 32
#: The event of the journal row that vouches for a time-stamp.
STAMPED = "time-stamped"

#: The first checkpoint's number: said in a question it has the databases go along the index from its end.
_FIRST = 1
_own = timestamps.c.number == checkpoints.c.number
_KEPT = sa.select(
    checkpoints,
    sa.select(timestamps.c.token).where(_own).scalar_subquery().label("token"),
    sa.select(timestamps.c.at).where(_own).scalar_subquery().label("stamped"),
)
#: Checkpoint ``number``.
ONE = _KEPT.where(checkpoints.c.number == sa.bindparam("number"))
#: The newest checkpoint.
NEWEST = _KEPT.where(checkpoints.c.number >= _FIRST).order_by(checkpoints.c.number.desc()).limit(1)
#: The newest checkpoint that has a time-stamp.
NEWEST_STAMPED = _KEPT.where(
    checkpoints.c.number
    == sa.select(timestamps.c.number).where(timestamps.c.number >= _FIRST).order_by(timestamps.c.number.desc()).limit(1).scalar_subquery()
)
#: ``most`` checkpoints from ``number`` on.
SINCE = _KEPT.where(checkpoints.c.number >= sa.bindparam("number")).order_by(checkpoints.c.number).limit(sa.bindparam("most"))
#: The span in which row ``seq`` of ``chain`` stands, if there is one; the row may also lie before it, in none.
SPAN = (
    sa.select(checkpoint_spans)
    .where(checkpoint_spans.c.chain == sa.bindparam("chain"), checkpoint_spans.c.last >= sa.bindparam("seq"))
    .order_by(checkpoint_spans.c.last)
    .limit(1)
)
#: Where the checkpoints of ``chain`` end.
_DONE = sa.select(sa.func.max(checkpoint_spans.c.last)).where(checkpoint_spans.c.chain == sa.bindparam("chain"))
#: Number and hash of at most MOST rows of ``chain`` after row ``seq``, in order.
_NEXT = (
    sa.select(journal.c.seq, journal.c.hash)
    .where(journal.c.chain == sa.bindparam("chain"), journal.c.seq > sa.bindparam("seq"))
    .order_by(journal.c.seq)
    .limit(MOST)
)


def kept(row: Row) -> Checkpoint:
    """A checkpoint from its row."""
    stamped = moment(row.stamped) if row.stamped else None
    return Checkpoint(row.number, moment(row.at), row.digest, bytes(row.xml), bytes(row.token or b""), stamped)


def proof(span: Row | None, seq: int) -> Proof | None:
    """The proof for row ``seq`` from the span that ``SPAN`` finds; None where no checkpoint speaks of it."""
    if span is None or seq < span.first:
        return None
    index = seq - span.first
    return Proof(span.number, span.chain, span.first, span.last, index, merkle.path(hashes(bytes(span.leaves)), index))


def hashes(leaves: bytes) -> list[bytes]:
    """The hashes that stand in a span's ``leaves``, one after the other."""
    return [leaves[at : at + _HASH] for at in range(0, len(leaves), _HASH)]


# --- what the next checkpoint is to say: read without the write lock -----------------------------------------------------------


def growth(snapshot: Snapshot) -> Growth:
    """What has been journalled since the last checkpoint."""
    before = snapshot.connection.execute(NEWEST).one_or_none()
    number, previous = (before.number + 1, before.digest) if before else (1, NONE_BEFORE)
    spans, leaves, more = list[Span](), list[bytes](), False
    for chain, (end, _) in sorted(snapshot.heads().items()):
        done = snapshot.connection.execute(_DONE, {"chain": chain}).scalar_one() or 0
        rows = _rows(snapshot, chain, done) if end > done else []
        if rows:
            entries = [bytes.fromhex(row.hash) for row in rows]
            last = rows[-1]
            spans.append(Span(chain, rows[0].seq, last.seq, last.hash, merkle.root(entries).hex()))
            leaves.append(b"".join(entries))
            more = more or last.seq < end
    return Growth(number, previous, tuple(spans), tuple(leaves), more)


def _rows(snapshot: Snapshot, chain: str, done: int) -> Sequence[Row]:
    """The rows of a chain that follow row ``done`` one by one; where a pruning has taken those, the rows after its base."""
    rows = _following(snapshot, chain, done)
    if rows:
        return rows
    base, _ = archive.bases(snapshot.prunings()).get(chain, (0, GENESIS))
    return _following(snapshot, chain, base) if base > done else []


def _following(snapshot: Snapshot, chain: str, after: int) -> Sequence[Row]:
    rows = snapshot.connection.execute(_NEXT, {"chain": chain, "seq": after}).all()
    if not rows or rows[0].seq != after + 1:
        return []
    gap = next((at for at, (one, other) in enumerate(pairwise(rows), start=1) if other.seq != one.seq + 1), len(rows))
    return rows[:gap]


# --- units of work --------------------------------------------------------------------------------------------------------


def sealed(tx: Transaction, grown: Growth, at: datetime, xml: bytes) -> bool:
    """Keep a checkpoint; False when another node was faster with this number."""
    row = {"number": grown.number, "at": stamp(at), "digest": sha256(xml), "xml": xml}
    if not _inserted(tx, checkpoints, row):
        return False
    spans = [
        {"chain": span.chain, "last": span.last, "number": grown.number, "first": span.first, "head": span.head, "leaves": leaves}
        for span, leaves in zip(grown.spans, grown.leaves, strict=True)
    ]
    if spans:
        dialect.run_many(tx.connection, checkpoint_spans.insert(), spans)
    return True


def stamped(tx: Transaction, number: int, at: datetime, token: bytes) -> bool:
    """Keep the time-stamp of a checkpoint, and journal its digest; False when it has one already."""
    digest = sha256(token)
    if not _inserted(tx, timestamps, {"number": number, "at": stamp(at), "digest": digest, "token": token}):
        return False
    tx.append(STAMPED, f"checkpoint-{number}", "", {"checkpoint": number, "at": stamp(at), "sha256": digest})
    return True


def _inserted(tx: Transaction, table: sa.Table, row: dict[str, Any]) -> bool:
    tx.reached = True
    return dialect.run_many(tx.connection, dialect.insert_once(tx.connection.dialect.name, table), [row]) == 1
