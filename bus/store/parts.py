"""Parts: large bodies in the database, where every node of a shared store can reach them. The same promises as ``blobs.Files``.

A body lies in numbered rows of PART octets, which are written in one transaction of their own, before the message's: complete or absent.
A crash between the two leaves octets nobody names, which the audit reports as a note. Reading needs the memory for
one part, and a connection only while it is fetched: a partner may take as long over a body as his line does.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from bus import points
from bus.errors import Rejected
from bus.octets import SMALL, Body, Chunk, Octets, chunks, joined, regrouped
from bus.offload import FILES
from bus.store import dialect
from bus.store.blobs import IN_ROW
from bus.store.tables import blob_parts

#: Octets in one row: what the driver copies at a time.
PART = 1 << 20

_SIZE = sa.select(sa.func.sum(sa.func.octet_length(blob_parts.c.body))).where(blob_parts.c.digest == sa.bindparam("of_digest"))
_PART = sa.select(blob_parts.c.body).where(blob_parts.c.digest == sa.bindparam("of_digest"), blob_parts.c.part == sa.bindparam("number"))
_AFTER = blob_parts.c.digest > sa.bindparam("after")
_NAMES = sa.select(blob_parts.c.digest).where(_AFTER, blob_parts.c.part == 0).order_by(blob_parts.c.digest).limit(1000)


_first = sa.and_(blob_parts.c.digest == sa.bindparam("of_digest"), blob_parts.c.part == 0)
_HOLD = sa.select(blob_parts.c.part).where(_first).with_for_update()
_REMOVE = blob_parts.delete().where(blob_parts.c.digest == sa.bindparam("of_digest"))


def hold(connection: sa.Connection, digest: str) -> None:
    """Wait until nobody relies on this body without having committed, and let nobody begin to, until the transaction ends."""
    connection.execute(_HOLD, {"of_digest": digest})


def remove(connection: sa.Connection, digest: str) -> int:
    """Delete a body that is held. Returns 0 or 1."""
    return min(connection.execute(_REMOVE, {"of_digest": digest}).rowcount, 1)


@dataclass(frozen=True, slots=True)
class Parts:
    """The table of large bodies. ``engine``: whose statements commit by themselves; what keeps a body begins a transaction."""

    engine: sa.Engine

    async def keep(self, digest: str, body: Body) -> Body:
        """Have a large body in the database when this returns, without holding up the event loop. Raises Deferred 4.3.1."""
        if len(body) > IN_ROW:
            await FILES.run(self._write, digest, body)
        return Octets(_Rows(self, digest, len(body))) if len(body) > SMALL else body

    def _write(self, digest: str, body: Body) -> None:
        with dialect.availability():
            if self.size(digest) == len(body):
                return
            with self.engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
                insert = dialect.insert_once(connection.dialect.name, blob_parts)
                for number, octets in enumerate(regrouped(body, PART)):
                    # One statement a part: many would be held in memory together, in the driver's own copy.
                    dialect.run_many(connection, insert, [{"digest": digest, "part": number, "body": octets}])
                points.reach("blob.written")
            points.reach("blob.renamed")

    def size(self, digest: str) -> int:
        """How many octets go by ``digest``; 0 when they are lost."""
        with self.engine.connect() as connection:
            return int(connection.execute(_SIZE, {"of_digest": digest}).scalar_one() or 0)

    def read(self, digest: str, size: int) -> Body:
        """A large body, read when its chunks are. Its size is checked, its digest by the audit alone. Raises Rejected 5.3.0 when lost."""
        with dialect.availability():
            there = self.size(digest)
        if there != size:
            raise Rejected("content-lost", digest=digest)
        return joined(_Rows(self, digest, size))

    def parts(self, digest: str) -> Iterator[bytes]:
        """The octets in order. Raises Deferred 4.3.1."""
        number = 0
        while (part := self._part(digest, number)) is not None:
            yield part
            number += 1

    def _part(self, digest: str, number: int) -> bytes | None:
        with dialect.availability(), self.engine.connect() as connection:
            return connection.execute(_PART, {"of_digest": digest, "number": number}).scalar_one_or_none()

    def names(self) -> Iterator[str]:
        """The digest every body goes by, in order."""
        after = ""
        while names := self._names(after):
            yield from names
            after = names[-1]

    def _names(self, after: str) -> Sequence[str]:
        with self.engine.connect() as connection:
            return connection.execute(_NAMES, {"after": after}).scalars().all()

    def unfinished(self) -> Iterator[Path]:
        """Bodies that a crash left half written: there are none, a transaction is whole or nothing."""
        return iter(())

    def actual(self, digest: str) -> str:
        """The digest that the octets have which go by ``digest``."""
        found = hashlib.sha256()
        for part in self.parts(digest):
            found.update(part)
        return found.hexdigest()


@dataclass(frozen=True, slots=True)
class _Rows:
    """A body's rows as a piece of it. Raises Deferred 4.3.1."""

    shelf: Parts
    digest: str
    size: int

    def __len__(self) -> int:
        return self.size

    def chunks(self) -> Iterator[Chunk]:
        """The octets in order."""
        for part in self.shelf.parts(self.digest):
            yield from chunks(part)
