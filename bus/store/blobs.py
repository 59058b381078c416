"""Blobs: octets kept once, by their SHA-256. Up to IN_ROW they are a row written in the transaction; above, a file written before it.

A file is complete or absent: it is written beside its place, flushed to disk, renamed, and its directory flushed. A crash before the
transaction leaves a file nobody names, which the audit reports as a note. Large files never hold the database's single write lock
(50 MB in a row would hold it for some 190 ms).
"""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from bus import durable, points
from bus.errors import Deferred, Rejected
from bus.octets import CHUNK, SMALL, Body, Octets, chunks, joined, whole
from bus.offload import FILES
from bus.store import dialect
from bus.store.tables import blob_parts, blobs
from bus.store.transaction import Transaction, Turn

#: Largest body kept in a row, in octets.
IN_ROW = 256 * 1024
#: A file that is still being written begins with this.
UNFINISHED = durable.UNFINISHED


_RELY = (
    sa.select(blob_parts.c.part)
    .where(blob_parts.c.digest == sa.bindparam("of_digest"), blob_parts.c.part == 0)
    .with_for_update(read=True, key_share=True)
)


def keep(tx: Transaction, digest: str, body: Body) -> None:
    """Keep a small body in its row. A large one is on its shelf already; in a shared store it must not be pruned before the commit.

    Raises Deferred 4.3.1 where it was pruned just now: whoever repeats puts it there again.
    """
    if len(body) > IN_ROW:
        if not dialect.embedded(tx.connection) and tx.connection.execute(_RELY, {"of_digest": digest}).first() is None:
            raise Deferred("store-unavailable")
    else:
        tx.write(Turn.BLOB, dialect.insert_once(tx.connection.dialect.name, blobs), {"digest": digest, "body": whole(body)})


class Shelf(Protocol):
    """Where large bodies are: files beside an embedded store (``Files``), rows in a shared one (``parts.Parts``)."""

    async def keep(self, digest: str, body: Body) -> Body:
        """Have a large body kept for good when this returns; a small one is not its business. Raises Deferred 4.3.1.

        Gives the body to go on with: where it can be read from what was kept, the memory it came in can go.
        """

    def read(self, digest: str, size: int) -> Body:
        """A large body. Only its size is checked here, its digest by the audit. Raises Rejected 5.3.0 when it is lost, Deferred 4.3.1."""

    def names(self) -> Iterator[str]:
        """The digest every body goes by, in order."""

    def unfinished(self) -> Iterator[Path]:
        """What a crash left half written."""

    def actual(self, digest: str) -> str:
        """The digest that the octets have which go by ``digest``."""

    def size(self, digest: str) -> int:
        """How many octets go by ``digest``; 0 when they are lost."""


@dataclass(frozen=True, slots=True)
class Files:
    """The directory of large bodies: ``ab/ab12…``, named by digest."""

    root: Path

    def path(self, digest: str) -> Path:
        """Where the body with this digest lies."""
        return self.root / digest[:2] / digest

    async def keep(self, digest: str, body: Body) -> Body:
        """Have a large body on disk when this returns, without holding up the event loop. Raises Deferred 4.3.1."""
        if len(body) > IN_ROW:
            await FILES.run(self._write, digest, body)
        return Octets(_File(self.path(digest), len(body))) if len(body) > SMALL else body

    def _write(self, digest: str, body: Body) -> None:
        path = self.path(digest)
        try:
            if path.is_file() and path.stat().st_size == len(body):
                # A pruning leaves alone what was touched just now (see ``pruning``).
                os.utime(path)
                return
            _make_directory(path.parent)
            _write_durably(path, body)
        except OSError as error:
            raise Deferred("store-unavailable") from error

    def read(self, digest: str, size: int) -> Body:
        """A large body, read when its chunks are. Its size is checked, its digest by the audit alone. Raises Rejected 5.3.0 when lost."""
        file = _File(self.path(digest), size)
        try:
            there = file.path.stat().st_size
        except FileNotFoundError as error:
            raise Rejected("content-lost", digest=digest) from error
        except OSError as error:
            raise Deferred("store-unavailable") from error
        if there != size:
            raise Rejected("content-lost", digest=digest)
        return joined(file)

    def names(self) -> Iterator[str]:
        """The digest every file goes by, in order."""
        yield from (path.name for path in self._all() if not path.name.startswith(UNFINISHED))

    def unfinished(self) -> Iterator[Path]:
        """Files that a crash left half written."""
        yield from (path for path in self._all() if path.name.startswith(UNFINISHED))

    def actual(self, digest: str) -> str:
        """The digest that the octets have which go by ``digest``."""
        with self.path(digest).open("rb") as file:
            return file_digest(file, "sha256").hexdigest()

    def size(self, digest: str) -> int:
        """How many octets go by ``digest``; 0 when they are lost."""
        path = self.path(digest)
        return path.stat().st_size if path.is_file() else 0

    def _all(self) -> Iterator[Path]:
        for directory in sorted(self.root.glob("*")):
            yield from sorted(directory.iterdir())


@dataclass(frozen=True, slots=True)
class _File:
    """A body's file as a piece of it: opened anew each time it is read. Raises Deferred 4.3.1."""

    path: Path
    size: int

    def __len__(self) -> int:
        return self.size

    def chunks(self) -> Iterator[bytes]:
        """The octets in order."""
        try:
            with self.path.open("rb", buffering=0) as file:
                while chunk := file.read(CHUNK):
                    yield chunk
        except OSError as error:
            raise Deferred("store-unavailable") from error


def _make_directory(directory: Path) -> None:
    if not directory.is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        durable.sync(directory.parent)


def _write_durably(path: Path, body: Body) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=UNFINISHED)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(chunks(body))
            durable.flush(file)
        points.reach("blob.written")
        os.replace(name, path)  # noqa: PTH105 - the name came from mkstemp as text
    except OSError:
        os.unlink(name)  # noqa: PTH108
        raise
    points.reach("blob.renamed")
    durable.sync(path.parent)
