"""Arriving: how a request's body comes in without anybody's memory depending on who sends it.

A small body (up to ``octets.SMALL``) is kept in memory as it comes. A larger one goes to a file that has no name, and is read into memory
only when all of it is there and there is room: large bodies wait for one another, small ones for nobody.

Promise: what is held is bounded by bytes, whatever the number, the size and the pace of the clients are:

* MOST_SMALL of small bodies, and MOST_WORKED of large ones, in memory;
* MOST_WAITING of large ones in files, in full or in part.

Raises Rejected ``xml-limit`` (over MOST_BODY; at once where Content-Length says so), Deferred ``bus-busy`` (no room) and
``store-unavailable`` (the disk is full), each while the client may still be sending; ``Gone`` for a client that went away or dawdles.
"""

import asyncio
import contextlib
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from bus import metrics
from bus.errors import Deferred, Rejected
from bus.octets import SMALL

Receive = Callable[[], Awaitable[dict[str, Any]]]

#: A request body over this is refused: a document of 100 MB as base64, and some room (three client systems of the exchange allow 50 MB).
MOST_BODY = 144 * 1024 * 1024
#: Small bodies at the door together.
MOST_SMALL = 64 * 1024 * 1024
#: Large bodies in memory together. One costs up to 1.75 times its size: itself, and the document out of its base64.
MOST_WORKED = 192 * 1024 * 1024
#: Large bodies in files together.
MOST_WAITING = 1024 * 1024 * 1024
#: A large body waits this long for its turn, seconds; then its sender is asked to come again.
LONGEST_WAIT = 20.0
#: Silence of a client, seconds.
MOST_SILENCE = 30.0
#: Octets a second that a client must reach on average after its first MOST_SILENCE seconds: a quarter of a megabit.
SLOWEST = 32 * 1024


class Gone(Exception):
    """The client went away, fell silent in mid-body, or sends so slowly that it might as well."""


@dataclass(slots=True)
class Space:
    """What all requests at the door hold together. ``scratch``: directory for the files of large bodies; the system's by default."""

    scratch: Path | None = None
    small: int = 0
    large: int = 0
    worked: int = 0
    line: deque[tuple[int, asyncio.Future[None]]] = field(default_factory=deque)

    def _tell(self) -> None:
        metrics.BYTES_IN_FLIGHT.set(self.small + self.worked)

    def keep_small(self, size: int) -> None:
        """Count octets of a small body."""
        if self.small + size > MOST_SMALL:
            raise _busy()
        self.small += size
        self._tell()

    def keep_large(self, size: int) -> None:
        """Count octets of a large body in its file."""
        if self.large + size > MOST_WAITING:
            raise _busy()
        self.large += size

    def let_go(self, *, small: int = 0, large: int = 0, worked: int = 0) -> None:
        """Count what is held no more, and call in those that now fit."""
        self.small -= small
        self.large -= large
        self.worked -= worked
        while self.line and self._fits(self.line[0][0]):
            size, turn = self.line.popleft()
            if not turn.done():
                self.worked += size
                turn.set_result(None)
        self._tell()

    async def enter(self, size: int) -> None:
        """Wait until a large body may be in memory, in the order of arrival."""
        if not self.line and self._fits(size):
            self.worked += size
            self._tell()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.line.append((size, turn))
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                await turn
        except (TimeoutError, asyncio.CancelledError) as error:
            self._leave(size, turn)
            if isinstance(error, TimeoutError):
                raise _busy() from None
            raise

    def _leave(self, size: int, turn: asyncio.Future[None]) -> None:
        """Give up a place in the line; or the room, where it was given in the same moment."""
        if (size, turn) in self.line:
            self.line.remove((size, turn))
            self.let_go()
        elif not turn.cancelled():
            self.let_go(worked=size)

    def _fits(self, size: int) -> bool:
        return not self.worked or self.worked + size <= MOST_WORKED


@dataclass(slots=True)
class Arrival:
    """One request's body. ``end`` lets go of all that it holds, whatever became of it."""

    space: Space
    _small: int = 0
    _large: int = 0
    _worked: int = 0
    _file: IO[bytes] | None = None

    async def body(self, receive: Receive, declared: int) -> bytes:
        """The whole body; ``declared``: its Content-Length, or 0."""
        _at_most(declared)
        if declared > SMALL and self.space.large + declared > MOST_WAITING:
            raise _busy()
        chunks: list[bytes] = []
        size, deadline, more = 0, 0.0, True
        while more:
            event = await _next(receive)
            chunk: bytes = event.get("body", b"")
            more = event.get("more_body", False)
            size += len(chunk)
            _at_most(size)
            if more:
                now = asyncio.get_running_loop().time()
                deadline = deadline or now + MOST_SILENCE
                if now > deadline + size / SLOWEST:
                    raise Gone
            if self._file is not None or max(size, declared) > SMALL:
                self._to_file(chunks, chunk)
            elif chunk:
                chunks.append(chunk)
                self.space.keep_small(len(chunk))
                self._small += len(chunk)
        if self._file is None:
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return await self._from_file(self._file)

    def _to_file(self, before: list[bytes], chunk: bytes) -> None:
        """Write on; ``before`` is what was thought to become a small body."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self.space.scratch, buffering=0)  # noqa: SIM115 - closed by end
            for octets in (*before, chunk):
                self.space.keep_large(len(octets))
                self._large += len(octets)
                _write(self._file, octets)
        except OSError as error:
            raise Deferred("store-unavailable") from error
        before.clear()
        self.space.let_go(small=self._small)
        self._small = 0

    async def _from_file(self, file: IO[bytes]) -> bytes:
        await self.space.enter(self._large)
        self._worked = self._large
        file.seek(0)
        try:
            body = await asyncio.to_thread(file.read)
        except OSError as error:
            raise Deferred("store-unavailable") from error
        self._close()
        return body

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self.space.let_go(large=self._large)
        self._large = 0

    def end(self) -> None:
        """Let go of everything."""
        if self._small or self._large or self._worked or self._file is not None:
            self._close()
            self.space.let_go(small=self._small, worked=self._worked)
            self._small = self._worked = 0


async def linger(receive: Receive, seconds: float = 10.0, most: int = MOST_BODY) -> None:
    """Read on for a while without keeping: a client that is still sending would never see the answer it was given."""
    size = 0
    with contextlib.suppress(Gone, TimeoutError):
        async with asyncio.timeout(seconds):
            while size < most:
                event = await _next(receive)
                size += len(event.get("body", b""))
                if not event.get("more_body", False):
                    return


async def _next(receive: Receive) -> dict[str, Any]:
    try:
        async with asyncio.timeout(MOST_SILENCE):
            event = await receive()
    except TimeoutError as error:
        raise Gone from error
    if event["type"] == "http.disconnect":
        raise Gone
    return event


def _write(file: IO[bytes], octets: bytes) -> None:
    """All of it: a file without a buffer may take a part."""
    view = memoryview(octets)
    while view:
        view = view[file.write(view) :]


def _at_most(size: int) -> None:
    if size > MOST_BODY:
        raise Rejected("xml-limit", limit="bytes", value=size, most=MOST_BODY)


def _busy() -> Deferred:
    return Deferred("bus-busy", retry_after=5.0)
