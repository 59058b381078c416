"""Pruning: messages that ended long ago leave the store, while the daemon runs, and the journal says so.

The chain loses its beginning honestly
    A ``pruning`` row says where each chain begins from now on (its *base*: the number and hash of the last row before the cut), by whom
    it was ordered and why, and the SHA-256 of the archive. Then messages go, some in each transaction, each with all that is about it:
    octets, deliveries, receipts, journal rows; and refusals older than the cut. A message that has not ended, or that anything
    happened to since the cut, stays, and so do all its journal rows, on whichever side of the base. A ``pruned`` row ends it; it vouches
    for the rows that stayed before the base by a digest over their hashes, since the chain no longer holds them together.
    Rows about no message (these rows themselves, what operators did to the store) stay for ever.

Why not cut the chain before the oldest message that still lives: one dead letter that is sent again would keep years; and messages
overlap, so that a cut which no message crosses does not exist on a bus that never rests.

A pruning that is killed leaves a sound store, in which some messages are gone and some not yet; the next one goes on. What was pruned
is still known by its sender's key (``tombstones``): a repetition gets 5.6.10, and never becomes a second message.

Octets go last, when nobody names them: who named them since that was found out is in the journal rows since then.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa

from bus.offload import UPKEEP
from bus.store import archive, dialect, parts
from bus.store.archive import Order, Places, Segment
from bus.store.blobs import UNFINISHED, Files, Shelf
from bus.store.snapshot import Snapshot
from bus.store.tables import REFUSED, Row, blobs, deliveries, journal, messages, pruning, receipts, stamp, tombstones
from bus.store.transaction import Transaction

#: Messages in one transaction: some ten milliseconds of the write lock.
AT_ONCE = 20
#: After a transaction the others have the store for as long as it took, times this: senders must not feel a pruning.
REST = 3
#: A file nobody names may be one that is about to be named: it goes when it was not touched for so many seconds.
SETTLED = 3600


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went, and the archive's SHA-256 ("" without one)."""

    messages: int
    refusals: int
    blobs: int
    archive: str


@dataclass(frozen=True, slots=True)
class Pruning:
    """One pruning. ``write`` runs a unit in a transaction of its own; ``snapshot`` gives an unchanging view."""

    write: Callable[[Callable[[Transaction], Any]], Any]
    snapshot: Callable[[], AbstractContextManager[Snapshot]]
    files: Shelf

    async def run(self, order: Order) -> Pruned:
        """Carry out an order. Raises Deferred 4.3.1 where it could not go on: what was pruned by then is, and it may be ordered again."""
        chosen, digest = await UPKEEP.run(self._archived, order)
        said = {**order.said(), "archive": digest, "chains": chosen.until}
        await self.write(partial(_say, event="pruning", detail=said))
        gone = await self._each(partial(_ended, chosen), partial(_prune, chosen=chosen))
        refused = await self._each(partial(_refusals, chosen, stamp(order.before)), partial(_prune_refusals, chosen, stamp(order.before)))
        swept = await self._sweep()
        stayed = await UPKEEP.run(self._kept, chosen.until)
        numbers = {"messages": gone, "refusals": refused, "blobs": swept}
        await self.write(partial(_say, event="pruned", detail={**said, **numbers, "kept": stayed}))
        return Pruned(gone, refused, swept, digest)

    def _archived(self, order: Order) -> tuple[Segment, str]:
        with self.snapshot() as snapshot:
            chosen = archive.segment(snapshot, stamp(order.before))
            if order.archive is None:
                return chosen, ""
            archive.write(snapshot, chosen, order, order.archive)
        with order.archive.open("rb") as file:
            return chosen, file_digest(file, "sha256").hexdigest()

    async def _each(self, listed: Callable[[Snapshot, str], list[str]], unit: Callable[..., int]) -> int:
        """Run ``unit`` on all that is listed, some ids a transaction. Returns how much went."""
        gone = 0
        async for ids in self._listed(listed):
            began = time.monotonic()
            gone += await self.write(partial(unit, ids=ids))
            await asyncio.sleep((time.monotonic() - began) * REST)
        return gone

    async def _listed(self, listed: Callable[[Snapshot, str], list[str]]) -> AsyncIterator[Sequence[str]]:
        """Ids in their order, each list from a short look of its own: a long one would hold up the write-ahead log."""
        last = ""
        while ids := await UPKEEP.run(self._look, listed, last):
            for begin in range(0, len(ids), AT_ONCE):
                yield ids[begin : begin + AT_ONCE]
            last = ids[-1]

    def _look(self, listed: Callable[[Snapshot, str], list[str]], last: str) -> list[str]:
        with self.snapshot() as snapshot:
            return listed(snapshot, last)

    def _kept(self, until: Places) -> dict[str, tuple[int, str]]:
        with self.snapshot() as snapshot:
            return {chain: kept((row.seq, row.hash) for row in snapshot.kept(chain, seq)) for chain, (seq, _) in until.items()}

    # --- octets -----------------------------------------------------------------------------------------------------------

    async def _sweep(self) -> int:
        """Remove the octets that nobody names."""
        marks, in_rows, large = await UPKEEP.run(self._unnamed)
        swept, sweep = 0, _Sweep(marks)
        for begin in range(0, len(in_rows), AT_ONCE):
            began = time.monotonic()
            swept += await self.write(partial(sweep.rows, digests=in_rows[begin : begin + AT_ONCE]))
            await asyncio.sleep((time.monotonic() - began) * REST)
        for digest in large:
            if isinstance(self.files, Files):
                if await self.write(partial(sweep.free, digest=digest)):
                    swept += await UPKEEP.run(_discard, self.files.path(digest))
            else:
                swept += await self.write(partial(sweep.parts, digest=digest))
        return swept

    def _unnamed(self) -> tuple[Places, list[str], list[str]]:
        """The chains' ends at one moment, and what nobody named at it: bodies in rows, and large ones."""
        with self.snapshot() as snapshot:
            large = sorted(set(self.files.names()) - set(snapshot.named_files()))
            return snapshot.heads(), list(snapshot.unnamed_blobs()), large


def kept(rows: Iterable[tuple[int, str]]) -> tuple[int, str]:
    """What vouches for the rows that stay before a base: how many they are, and a digest over their numbers and hashes, in order."""
    number, digest = 0, sha256()
    for seq, said in rows:
        digest.update(f"{seq} {said}\n".encode("utf-8", "surrogateescape"))
        number += 1
    return number, digest.hexdigest()


# --- what is to go: read without the write lock ----------------------------------------------------------------------------


def _ended(chosen: Segment, snapshot: Snapshot, last: str) -> list[str]:
    query = sa.select(messages.c.id).where(messages.c.id > last, chosen.ends()).order_by(messages.c.id).limit(50 * AT_ONCE)
    return [row.id for row in snapshot.stream(query)]


def _refusals(chosen: Segment, before: str, snapshot: Snapshot, last: str) -> list[str]:
    old = sa.and_(_old_refusals(chosen, before), journal.c.message_id > last)
    query = sa.select(journal.c.message_id).distinct().where(old).order_by(journal.c.message_id).limit(50 * AT_ONCE)
    return [row.message_id for row in snapshot.stream(query)]


def _old_refusals(chosen: Segment, before: str) -> sa.ColumnElement[bool]:
    """Of a journal row. Several may share a reference (``bus.refusals``): each goes when it is old and archived itself."""
    return sa.and_(sa.text(REFUSED), journal.c.at < before, archive.up_to(chosen.until))


# --- units of work --------------------------------------------------------------------------------------------------------


def _say(tx: Transaction, event: str, detail: Mapping[str, Any]) -> None:
    tx.append(event, "", "", detail)


def _prune(tx: Transaction, ids: Sequence[str], chosen: Segment) -> int:
    """Remove those of ``ids`` that still have ended, with all that is about them."""
    # Who would change one of their deliveries on another node waits, and then finds it gone; who was faster is seen by the next question.
    tx.ask(sa.select(deliveries.c.id).where(deliveries.c.message_id.in_(ids)).with_for_update()).all()
    rows = tx.ask(sa.select(messages).where(messages.c.id.in_(ids), chosen.ends())).all()
    if not rows:
        return 0
    names = ("sender_key", "sender", "endpoint", "digest", "accepted")
    known = [{"message_id": row.id, **{name: getattr(row, name) for name in names}} for row in rows]
    dialect.run_many(tx.connection, dialect.insert_once(tx.connection.dialect.name, tombstones), known)
    _remove(tx, [row.id for row in rows], *(_about(table) for table in (deliveries, receipts, journal)))
    return len(rows)


def _prune_refusals(chosen: Segment, before: str, tx: Transaction, ids: Sequence[str]) -> int:
    _remove(tx, ids, _about(journal).where(_old_refusals(chosen, before)))
    return len(ids)


def _about(table: sa.Table) -> sa.Delete:
    return table.delete().where(table.c.message_id.in_(sa.select(pruning.c.message_id)))


def _remove(tx: Transaction, ids: Sequence[str], *deletions: sa.Delete) -> None:
    """Delete what is about ``ids``, which the guards allow while these stand in ``pruning``."""
    tx.reached = True
    tx.connection.execute(pruning.insert(), [{"message_id": each} for each in ids])
    for deletion in deletions:
        tx.connection.execute(deletion)
    tx.connection.execute(messages.delete().where(messages.c.id.in_(sa.select(pruning.c.message_id))))
    tx.connection.execute(pruning.delete())


@dataclass(slots=True)
class _Sweep:
    """Removes octets that nobody named at ``marks``, nor since: each thing that names octets is journalled in the same transaction."""

    marks: Places
    named: set[str] = field(default_factory=set)

    def rows(self, tx: Transaction, digests: Sequence[str]) -> int:
        """Delete bodies in rows."""
        dialect.alone(tx.connection, blobs)
        self._look(tx)
        free = [digest for digest in digests if digest not in self.named]
        tx.reached = True
        return tx.connection.execute(blobs.delete().where(blobs.c.digest.in_(free))).rowcount if free else 0

    def parts(self, tx: Transaction, digest: str) -> int:
        """Delete a large body of a shared database, unless someone is about to name it (``blobs.keep`` holds it then)."""
        parts.hold(tx.connection, digest)
        return parts.remove(tx.connection, digest) if self.free(tx, digest) else 0

    def free(self, tx: Transaction, digest: str) -> bool:
        """Whether a body that is a file may go."""
        self._look(tx)
        return digest not in self.named

    def _look(self, tx: Transaction) -> None:
        marks = dict(self.marks)
        for row in tx.ask(sa.select(journal).where(sa.not_(archive.up_to(marks))).order_by(journal.c.chain, journal.c.seq)):
            marks[row.chain] = (row.seq, row.hash)
            self.named.update(_naming(tx, row))
        self.marks = marks


def _naming(tx: Transaction, row: Row) -> set[str]:
    """The octets that a journal row's transaction relies on."""
    detail = orjson.loads(row.detail)
    named = {entry["sha256"] for entry in detail.get("owed", ())} | {detail.get("reply", "")}
    if row.event == "accepted":
        about = sa.select(messages.c.digest, messages.c.request).where(messages.c.id == row.message_id)
        named |= {digest for found in tx.connection.execute(about) for digest in found}
    return named


def _discard(path: Path) -> int:
    """Remove a file that nobody touched for a while; ``Files.keep`` touches one that it finds in its place. Returns 0 or 1.

    It is first put aside: who looks for it now finds nothing and writes it anew; who found it before has touched it, and it goes back.
    """
    if not _settled(path):
        return 0
    aside = path.with_name(f"{UNFINISHED}{path.name}")
    os.replace(path, aside)  # noqa: PTH105 - the pair of the one below
    if _settled(aside):
        aside.unlink()
        return 1
    os.replace(aside, path)  # noqa: PTH105
    return 0


def _settled(path: Path) -> bool:
    return path.is_file() and time.time() - path.stat().st_mtime > SETTLED
