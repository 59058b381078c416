"""Parcel: many files in one, for those who come after us: an archive or a backup. Plain tar, gzipped where its name ends in ``gz``.

Its last member is ``manifest.json``: what kind of parcel it is, what it says of itself, and the SHA-256 of every other member but
``blobs/<digest>``, which is its own. One that lists ``everything`` has the size and SHA-256 of each member in it, blobs too; after it
may come ``signature.xml``, a signature that speaks of the manifest by its SHA-256. A parcel is complete or absent: it is written beside
its place, flushed to disk, and renamed. Where blobs are not listed, only their digests stay in memory, 32 octets each.
Nothing but regular files under names that stay where they are unpacked is a member.

Raises Deferred 4.3.1 when it cannot be written, Rejected 5.6.11 for one that is damaged or something else.
"""

import contextlib
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import orjson

from bus import durable
from bus.errors import Deferred, Rejected
from bus.octets import Body, whole

#: What tarfile and its decompressors raise for a file that is damaged.
UNREADABLE = (tarfile.TarError, EOFError, OSError, ValueError, zlib.error)
MANIFEST, SIGNATURE = "manifest.json", "signature.xml"
#: Octets of a manifest, which names each body, and of a signature; both are read into memory.
MOST_MANIFEST, MOST_SIGNATURE = 512 << 20, 1 << 20
BLOBS = "blobs/"
#: Octets copied at once.
_PIECE = 1 << 20


@dataclass(slots=True)
class Packing:
    """A parcel that is being written."""

    _tar: tarfile.TarFile
    #: Whether blobs are in the manifest as well, and sizes.
    _everything: bool = False
    _digests: dict[str, str] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)
    _blobs: set[bytes] = field(default_factory=set)

    def add(self, name: str, octets: bytes) -> None:
        """Pack ``octets``."""
        self._note(name, self._add(name, io.BytesIO(octets), len(octets)), len(octets))

    def add_file(self, name: str, path: Path) -> None:
        """Pack a file as it is now."""
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            self._note(name, self._add(name, file, size), size)

    def _note(self, name: str, digest: str, size: int) -> None:
        self._digests[name] = digest
        self._sizes[name] = size

    def wants(self, digest: str) -> bool:
        """Whether this blob is not in it yet; from now on it counts as packed."""
        known = len(self._blobs)
        self._blobs.add(bytes.fromhex(digest))
        return len(self._blobs) > known

    def add_blob(self, digest: str, body: Body) -> None:
        """Pack a body that was wanted."""
        self._add_blob(digest, io.BytesIO(whole(body)), len(body))

    def add_blob_file(self, digest: str, path: Path) -> None:
        """Pack a body that was wanted and is a file. Raises Rejected 5.3.0 when its octets are not those of its name any more."""
        with path.open("rb") as file:
            if self._add_blob(digest, file, os.fstat(file.fileno()).st_size) != digest:
                raise Rejected("content-lost", digest=digest)

    def _add_blob(self, digest: str, stream: IO[bytes], size: int) -> str:
        if self._everything:
            self._note(BLOBS + digest, digest, size)
        return self._add(BLOBS + digest, stream, size)

    def _add(self, name: str, stream: IO[bytes], size: int) -> str:
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o600
        hashing = _Hashing(stream)
        self._tar.addfile(member, hashing)
        _forget(self._tar)
        return str(hashing.sha256.hexdigest())

    def close(self, kind: str, said: Mapping[str, Any], seal: Callable[[bytes], bytes] | None = None) -> None:
        """Pack the manifest, and what ``seal`` makes of its octets."""
        sizes = {"size": self._sizes} if self._everything else {}
        manifest = {"kind": kind, **said, "sha256": self._digests, **sizes}
        octets = orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)
        self._add(MANIFEST, io.BytesIO(octets), len(octets))
        signature = seal(octets) if seal else b""
        if signature:
            self._add(SIGNATURE, io.BytesIO(signature), len(signature))


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
def packing(path: Path, *, everything: bool = False) -> Iterator[Packing]:
    """Write a parcel to ``path``; the caller closes it with its manifest. What fails half-way leaves nothing behind.

    ``everything``: the manifest lists every member, with its size.
    """
    mode: Literal["w|gz", "w|"] = "w|gz" if path.name.endswith("gz") else "w|"
    try:
        with durable.writing(path) as file, tarfile.open(fileobj=file, mode=mode, format=tarfile.PAX_FORMAT) as tar:
            yield Packing(tar, everything)
    except OSError as error:
        raise Deferred("file-unwritable", file=path, detail=error.strerror or error) from error


def _forget(tar: tarfile.TarFile) -> None:
    """Keep memory flat: tarfile remembers every member it has come across, which nobody asks for here."""
    tar.members.clear()  # type: ignore[attr-defined]


class Opened:
    """A parcel that is being read. When ``members`` is through, ``manifest`` is here, and every digest in it was found to hold.

    ``kinds``: those that are taken; ``everything``: blobs may be in the manifest as well, and are then held against it. ``signed``: the
    octets of the manifest, and what came as a signature of them; nobody has verified it.
    """

    def __init__(self, path: Path, *kinds: str, everything: bool = False) -> None:
        self._path = path
        self._kinds = kinds
        self._everything = everything
        self.manifest: Mapping[str, Any] = {}
        self.signed: tuple[bytes, bytes] = b"", b""

    def members(self) -> Iterator[tuple[str, IO[bytes]]]:
        """Name and octets of each, in order; a stream is good until the next is asked for. Raises Rejected, when all were read at last."""
        try:
            yield from self._members()
        except UNREADABLE as error:
            raise self._damaged(f"{type(error).__name__} {error}") from error

    def _members(self) -> Iterator[tuple[str, IO[bytes]]]:
        digests: dict[str, tuple[str, int]] = {}
        with tarfile.open(self._path, mode="r|*") as tar:
            while (member := tar.next()) is not None:
                _forget(tar)
                stream = tar.extractfile(member) if member.isreg() else None
                if stream is None or not harmless(member.name) or member.name in digests:
                    raise self._damaged(f"member {member.name!r}")
                if member.name == MANIFEST or self.manifest:
                    self._last(member, stream)
                    continue
                hashing = _Hashing(stream)
                yield member.name, hashing  # type: ignore[misc]  # it is read from, and nothing else
                for _ in pieces(hashing):  # type: ignore[arg-type]
                    pass
                digest = hashing.sha256.hexdigest()
                blob = member.name.startswith(BLOBS)
                if blob and member.name != BLOBS + digest:
                    raise self._damaged(f"member {member.name!r}")
                if self._everything or not blob:
                    digests[member.name] = digest, member.size
        self._check(digests)

    def _last(self, member: tarfile.TarInfo, stream: IO[bytes]) -> None:
        """The manifest, or the signature after it; nothing else may follow."""
        octets, signature = self.signed
        if member.name == MANIFEST and not octets and member.size <= MOST_MANIFEST:
            octets = stream.read()
            self.manifest = orjson.loads(octets)
            if not isinstance(self.manifest, dict) or not self.manifest:
                raise self._damaged(f"member {member.name!r}")
        elif member.name == SIGNATURE and not signature and member.size <= MOST_SIGNATURE:
            signature = stream.read()
        else:
            raise self._damaged(f"member {member.name!r}")
        self.signed = octets, signature

    def _check(self, found: Mapping[str, tuple[str, int]]) -> None:
        if self.manifest.get("kind") not in self._kinds:
            raise self._damaged(f"it is not a {' or '.join(self._kinds)}")
        sizes = self.manifest.get("size")
        # Where sizes are listed, blobs are as well; otherwise a blob is its own witness.
        held = {name: value for name, value in found.items() if sizes is not None or not name.startswith(BLOBS)}
        named = self.manifest.get("sha256", {})
        wrong = sorted(name for name in named.keys() | held.keys() if named.get(name) != held.get(name, ("", 0))[0])
        if sizes is not None:
            wrong += sorted(name for name in sizes.keys() | held.keys() if sizes.get(name) != held.get(name, ("", -1))[1])
        if wrong:
            raise self._damaged(f"{len(wrong)} members are missing, added or changed, the first {wrong[0]!r}")

    def _damaged(self, detail: str) -> Rejected:
        return Rejected("parcel-damaged", file=self._path, detail=detail)


def harmless(name: str) -> bool:
    """Whether a member stays where it is unpacked."""
    return not any(part in {"", ".", ".."} or "\0" in part for part in name.split("/"))


def pieces(stream: IO[bytes]) -> Iterator[bytes]:
    """What is left of a stream, some at a time."""
    while piece := stream.read(_PIECE):
        yield piece


def save(octets: Iterable[bytes], path: Path) -> None:
    """Unpack one member into a new file, down to the disk. Raises Deferred 4.3.1."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o640), "wb") as file:
            file.writelines(octets)
            durable.flush(file)
    except OSError as error:
        raise Deferred("file-unwritable", file=path, detail=error.strerror or error) from error
