"""Parcel: many files in one, for those who come after us: an archive or a backup. Plain tar, gzipped where its name ends in ``gz``.

Its last member is ``manifest.json``: what kind of parcel it is, what it says of itself, and the SHA-256 of every other member but
``blobs/<digest>``, which is its own. A parcel is complete or absent: it is written beside its place, flushed to disk, and renamed. Of
what it holds, only the digests of the blobs stay in memory, 32 octets each.

Raises Deferred 4.3.1 when it cannot be written, Rejected 5.6.11 for one that is damaged or something else.
"""

import contextlib
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import orjson

from bus import durable
from bus.errors import Deferred, Rejected
from bus.octets import Body, whole

#: What tarfile and its decompressors raise for a file that is damaged.
UNREADABLE = (tarfile.TarError, EOFError, OSError, ValueError, zlib.error)
MANIFEST = "manifest.json"
BLOBS = "blobs/"
#: Octets copied at once.
_PIECE = 1 << 20


@dataclass(slots=True)
class Packing:
    """A parcel that is being written."""

    _tar: tarfile.TarFile
    _digests: dict[str, str] = field(default_factory=dict)
    _blobs: set[bytes] = field(default_factory=set)

    def add(self, name: str, octets: bytes) -> None:
        """Pack ``octets``."""
        self._digests[name] = self._add(name, io.BytesIO(octets), len(octets))

    def add_file(self, name: str, path: Path) -> None:
        """Pack a file as it is now."""
        with path.open("rb") as file:
            self._digests[name] = self._add(name, file, os.fstat(file.fileno()).st_size)

    def wants(self, digest: str) -> bool:
        """Whether this blob is not in it yet; from now on it counts as packed."""
        known = len(self._blobs)
        self._blobs.add(bytes.fromhex(digest))
        return len(self._blobs) > known

    def add_blob(self, digest: str, body: Body) -> None:
        """Pack a body that was wanted."""
        self._add(BLOBS + digest, io.BytesIO(whole(body)), len(body))

    def add_blob_file(self, digest: str, path: Path) -> None:
        """Pack a body that was wanted and is a file. Raises Rejected 5.3.0 when its octets are not those of its name any more."""
        with path.open("rb") as file:
            if self._add(BLOBS + digest, file, os.fstat(file.fileno()).st_size) != digest:
                raise Rejected("content-lost", digest=digest)

    def _add(self, name: str, stream: IO[bytes], size: int) -> str:
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o600
        hashing = _Hashing(stream)
        self._tar.addfile(member, hashing)
        _forget(self._tar)
        return str(hashing.sha256.hexdigest())

    def close(self, kind: str, said: Mapping[str, Any]) -> None:
        """Pack the manifest."""
        manifest = {"kind": kind, **said, "sha256": self._digests}
        octets = orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)
        self.add(MANIFEST, octets)


@dataclass(slots=True)
class _Hashing:
    """A stream that knows the SHA-256 of what was read from it."""

    stream: IO[bytes]
    sha256: Any = field(default_factory=hashlib.sha256)

    def read(self, size: int = -1) -> bytes:
        piece = self.stream.read(size)
        self.sha256.update(piece)
        return piece


@contextlib.contextmanager
def packing(path: Path) -> Iterator[Packing]:
    """Write a parcel to ``path``; the caller closes it with its manifest. What fails half-way leaves nothing behind."""
    mode: Literal["w|gz", "w|"] = "w|gz" if path.name.endswith("gz") else "w|"
    try:
        with durable.writing(path) as file, tarfile.open(fileobj=file, mode=mode, format=tarfile.PAX_FORMAT) as tar:
            yield Packing(tar)
    except OSError as error:
        raise Deferred("file-unwritable", file=path, detail=error.strerror or error) from error


def _forget(tar: tarfile.TarFile) -> None:
    """Keep memory flat: tarfile remembers every member it has come across, which nobody asks for here."""
    tar.members.clear()  # type: ignore[attr-defined]


class Opened:
    """A parcel that is being read. When ``members`` is through, ``manifest`` is here, and every digest in it was found to hold."""

    def __init__(self, path: Path, kind: str) -> None:
        self._path = path
        self._kind = kind
        self.manifest: Mapping[str, Any] = {}

    def members(self) -> Iterator[tuple[str, IO[bytes]]]:
        """Name and octets of each, in order; a stream is good until the next is asked for. Raises Rejected, when all were read at last."""
        try:
            yield from self._members()
        except UNREADABLE as error:
            raise self._damaged(f"{type(error).__name__} {error}") from error

    def _members(self) -> Iterator[tuple[str, IO[bytes]]]:
        digests: dict[str, str] = {}
        with tarfile.open(self._path, mode="r|*") as tar:
            while (member := tar.next()) is not None:
                _forget(tar)
                stream = tar.extractfile(member)
                if stream is None or self.manifest or not _harmless(member.name):
                    raise self._damaged(f"member {member.name!r}")
                if member.name == MANIFEST:
                    self.manifest = orjson.loads(stream.read())
                    continue
                hashing = _Hashing(stream)
                yield member.name, hashing  # type: ignore[misc]  # it is read from, and nothing else
                for _ in pieces(hashing):  # type: ignore[arg-type]
                    pass
                digest = hashing.sha256.hexdigest()
                if not member.name.startswith(BLOBS):
                    digests[member.name] = digest
                elif member.name != BLOBS + digest:
                    raise self._damaged(f"member {member.name!r}")
        self._check(digests)

    def _check(self, digests: Mapping[str, str]) -> None:
        if self.manifest.get("kind") != self._kind:
            raise self._damaged(f"it is not a {self._kind}")
        named = self.manifest.get("sha256", {})
        wrong = sorted(name for name in named.keys() | digests.keys() if named.get(name) != digests.get(name))
        if wrong:
            raise self._damaged(f"{len(wrong)} members are missing, added or changed, the first {wrong[0]!r}")

    def _damaged(self, detail: str) -> Rejected:
        return Rejected("parcel-damaged", file=self._path, detail=detail)


def _harmless(name: str) -> bool:
    """Whether a member stays where it is unpacked."""
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts


def pieces(stream: IO[bytes]) -> Iterator[bytes]:
    """What is left of a stream, some at a time."""
    while piece := stream.read(_PIECE):
        yield piece


def save(octets: Iterable[bytes], path: Path) -> None:
    """Unpack one member into a new file, down to the disk. Raises Deferred 4.3.1."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.writelines(octets)
            durable.flush(file)
    except OSError as error:
        raise Deferred("file-unwritable", file=path, detail=error.strerror or error) from error
