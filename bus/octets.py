"""Octets: a large body as pieces, so that nobody on its way has to hold it whole.

A body is ``bytes`` while it is small (up to SMALL). A large one may be ``Octets``: pieces in order, each of which is in memory, in a file,
or made while it is read (``Encoded``). Whoever can work on ``chunks`` needs the memory of one chunk, however large the body is.

Promise: pieces never change, so the chunks are the same each time they are asked for, and their lengths add up to ``len``.

Raises what a piece raises while it is read; ``decoded`` ValueError for what is not base64 (RFC 4648 section 4, white space allowed).
"""

import hashlib
import io
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Protocol

import pybase64

from bus.offload import FILES

#: Up to this many octets a body is plain ``bytes``: copying it costs less than keeping track of its pieces.
SMALL = 1 << 20
#: Octets of one chunk. A multiple of three and of four, so that base64 needs no regrouping.
CHUNK = 3 << 16

_WHITE_SPACE = b" \t\r\n"

Chunk = bytes | memoryview


class Source(Protocol):
    """A piece that is not in memory, or not yet."""

    def __len__(self) -> int:
        """How many octets it has."""

    def chunks(self) -> Iterator[Chunk]:
        """Its octets in order, in small portions; each time from the beginning."""


Piece = Chunk | Source


class Octets:
    """Pieces in order; ``pieces`` has no ``Octets`` in it. Two are equal only if they are the same object."""

    __slots__ = ("_size", "pieces")

    def __init__(self, *parts: "Piece | Octets") -> None:
        flat: list[Piece] = []
        for part in parts:
            flat.extend(part.pieces if isinstance(part, Octets) else (part,))
        self.pieces: tuple[Piece, ...] = tuple(piece for piece in flat if len(piece))
        self._size = sum(len(piece) for piece in self.pieces)

    def __len__(self) -> int:
        return self._size

    def chunks(self) -> Iterator[Chunk]:
        """All octets in order, in portions of at most about CHUNK."""
        for piece in self.pieces:
            yield from _portions(piece)

    def with_encoded(self, replacement: bytes) -> "Octets":
        """The same with ``replacement`` in the place of each piece that is ``Encoded``."""
        return Octets(*(replacement if isinstance(piece, Encoded) else piece for piece in self.pieces))


Body = bytes | Octets


class Encoded:
    """The base64 of ``body``, in one line, made as it is read."""

    __slots__ = ("body",)

    def __init__(self, body: Body | memoryview) -> None:
        self.body = body

    def __len__(self) -> int:
        return -(-len(self.body) // 3) * 4

    def chunks(self) -> Iterator[bytes]:
        """The base64 text in portions."""
        rest = b""
        for chunk in chunks(self.body):
            octets = rest + chunk if rest else chunk
            full = len(octets) - len(octets) % 3
            yield pybase64.b64encode(octets[:full])
            rest = bytes(octets[full:])
        if rest:
            yield pybase64.b64encode(rest)


class Decoded:
    """What base64 ``text`` stands for, decoded as it is read. Raises ValueError where it is none, when it is made."""

    __slots__ = ("_size", "_text")

    def __init__(self, text: Body | memoryview) -> None:
        self._text = text
        self._size = sum(len(portion) for portion in decoded(text))

    def __len__(self) -> int:
        return self._size

    def chunks(self) -> Iterator[bytes]:
        """The octets in portions."""
        return decoded(self._text)


def chunks(body: Body | memoryview) -> Iterator[Chunk]:
    """The octets of any body in portions of at most about CHUNK."""
    return body.chunks() if isinstance(body, Octets) else _portions(body)


async def streamed(body: Body) -> AsyncIterator[Chunk]:
    """The same for who sends them: a file or a database is read in a thread, so that the event loop waits for neither."""
    portions = chunks(body)
    while (chunk := await FILES.run(next, portions, None)) is not None:
        yield chunk


def whole(body: Body | memoryview) -> bytes:
    """The octets as ``bytes``; of a large body, the one copy that its reader needs."""
    if isinstance(body, bytes):
        return body
    return collected(chunks(body))


def around(before: bytes, body: Body, after: bytes) -> Body:
    """``body`` between two texts: of the kind that it is."""
    return b"".join((before, body, after)) if isinstance(body, bytes) else Octets(before, body, after)


def joined(*parts: Piece | Octets) -> Body:
    """The parts as one body: ``bytes`` if it is small."""
    body = Octets(*parts)
    return body if len(body) > SMALL else whole(body)


def collected(portions: Iterable[Chunk]) -> bytes:
    """The portions as ``bytes``; neither twice in memory, nor (as by ``b"".join``) all portions beside the whole."""
    held = io.BytesIO()
    for portion in portions:
        held.write(portion)
    return held.getvalue()


def regrouped(body: Body, size: int) -> Iterator[bytes]:
    """The octets in portions of exactly ``size``, but for the last."""
    held = bytearray()
    for chunk in chunks(body):
        held += chunk
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)


def digest(body: Body | memoryview, algorithm: str = "sha256") -> bytes:
    """The body's digest; ``algorithm`` as hashlib names it."""
    if isinstance(body, bytes):
        return hashlib.new(algorithm, body).digest()
    sponge = hashlib.new(algorithm)
    for chunk in chunks(body):
        sponge.update(chunk)
    return sponge.digest()


def decoded(text: Body | memoryview) -> Iterator[bytes]:
    """What base64 ``text`` stands for, in portions. Raises ValueError where it is none, padding before its end included."""
    rest, padded = b"", False
    for chunk in chunks(text):
        octets = rest + bytes(chunk).translate(None, _WHITE_SPACE)
        full = len(octets) - len(octets) % 4
        if padded and octets:
            raise ValueError("base64 goes on after its padding")
        padded = b"=" in octets[:full]
        yield pybase64.b64decode(octets[:full], validate=True)
        rest = octets[full:]
    if rest:
        raise ValueError("base64 is cut short")


def _portions(piece: Piece) -> Iterator[Chunk]:
    if not isinstance(piece, bytes | memoryview):
        yield from piece.chunks()
    elif len(piece) <= CHUNK:
        yield piece
    else:
        view = memoryview(piece)
        for begin in range(0, len(view), CHUNK):
            yield view[begin : begin + CHUNK]
