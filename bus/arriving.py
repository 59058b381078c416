"""Arriving: how a request's body comes in without anybody's memory depending on who sends it.

A small body (up to ``octets.SMALL``) is kept in memory as it comes. A larger one goes to a file that has no name, and is read into memory
only when all of it is there and there is room: large bodies wait for one another, small ones for nobody.

Promise: what is held is bounded by bytes, whatever the number, the size and the pace of the clients are:

* MOST_SMALL of small bodies, and MOST_WORKED of large ones, in memory;
* MOST_WAITING of large ones in files, in full or in part.

Room is shared: who needs some takes it from the source that holds most, if that holds more, bodies that have stopped coming first. A source
is a partner that showed its certificate, or an address; addresses make room for partners. So one source may fill all the room while nobody
else wants any, and keeps nobody out.

Raises Rejected ``xml-limit`` (over MOST_BODY; at once where Content-Length says so), Deferred ``bus-busy`` (no room) and
``store-unavailable`` (the disk is full), each while the client may still be sending; ``Gone`` for a client that went away or dawdles.
"""

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from bus import metrics
from bus.errors import Deferred, Rejected
from bus.octets import SMALL
from bus.offload import FILES

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
#: Octets a second that a client must reach on average in each MOST_SILENCE seconds: a quarter of a megabit.
SLOWEST = 32 * 1024
#: A body of which SLOWEST octets did not come in this time, seconds, makes room for others.
STALLED = 2.0


class Gone(Exception):
    """The client went away, fell silent in mid-body, or sends so slowly that it might as well."""


@dataclass(slots=True)
class Space:
    """What all requests at the door hold together. ``scratch``: directory for the files of large bodies; the system's by default."""

    scratch: Path | None = None
    small: int = 0
    large: int = 0
    worked: int = 0
    line: list["_Turn"] = field(default_factory=list)
    coming: set["Arrival"] = field(default_factory=set)

    def _tell(self) -> None:
        metrics.BYTES_IN_FLIGHT.set(self.small + self.worked)

    def keep_small(self, arrival: "Arrival", size: int) -> None:
        """Count octets of a small body."""
        self._make_room("small", MOST_SMALL, arrival, size)
        self.small += size
        self._tell()

    def keep_large(self, arrival: "Arrival", size: int) -> None:
        """Count octets of a large body in its file."""
        self.check_large(arrival, size)
        self.large += size

    def check_large(self, arrival: "Arrival", size: int) -> None:
        """Have room for octets of a large body. Raises Deferred."""
        self._make_room("large", MOST_WAITING, arrival, size)

    def _make_room(self, kind: str, most: int, wants: "Arrival", size: int) -> None:
        while getattr(self, kind) + size > most:
            gives = self._giving(kind, wants, size)
            if gives is None:
                raise _busy()
            gives.give_up()

    def _giving(self, kind: str, wants: "Arrival", size: int) -> "Arrival | None":
        """The body that makes room: of strangers before partners, of the source that holds most; None where nobody has to."""
        held = Counter[tuple[bool, str]]()
        for arrival in self.coming:
            held[arrival.owner] += getattr(arrival, kind)
        others = [one for one in self.coming if getattr(one, kind) and one is not wants and not one.whole]
        # Its own source's are to be given up only where they have stopped, another's where that has more than this one would have.
        mine = held[wants.owner] + size
        able = [
            one
            for one in others
            if (one.stalled if one.owner == wants.owner else held[one.owner] > mine or (wants.known and not one.known))
        ]
        return min(able, key=lambda one: (one.known, -held[one.owner], not one.stalled, one.progress), default=None)

    def let_go(self, *, small: int = 0, large: int = 0, worked: int = 0) -> None:
        """Count what is held no more, and call in those that now fit."""
        self.small -= small
        self.large -= large
        self.worked -= worked
        while self.line and self._fits((following := self._next()).size):
            self.line.remove(following)
            if not following.given.done():
                self.worked += following.size
                following.arrival.worked = following.size
                following.given.set_result(None)
        self._tell()

    def _next(self) -> "_Turn":
        """Who comes next: partners before strangers, sources with little in memory before those with much; else in the order of arrival."""
        worked = Counter[tuple[bool, str]]()
        for arrival in self.coming:
            worked[arrival.owner] += arrival.worked
        return min(self.line, key=lambda turn: (not turn.arrival.known, worked[turn.arrival.owner]))

    async def enter(self, arrival: "Arrival", size: int) -> None:
        """Wait until a large body may be in memory; ``arrival.worked`` says that it is counted."""
        if not self.line and self._fits(size):
            self.worked += size
            arrival.worked = size
            self._tell()
            return
        turn = _Turn(arrival, size, asyncio.get_running_loop().create_future())
        self.line.append(turn)
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                await turn.given
        except (TimeoutError, asyncio.CancelledError) as error:
            if turn in self.line:
                self.line.remove(turn)
                self.let_go()
            if isinstance(error, TimeoutError):
                raise _busy() from None
            raise

    def _fits(self, size: int) -> bool:
        return not self.worked or self.worked + size <= MOST_WORKED


@dataclass(slots=True, eq=False)
class Arrival:
    """One request's body, from ``source``. ``end`` lets go of all that it holds, whatever became of it."""

    space: Space
    source: str = ""
    known: bool = field(default=False, kw_only=True)
    small: int = 0
    large: int = 0
    worked: int = 0
    #: When SLOWEST octets had last come.
    progress: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    _chunks: list[bytes] = field(default_factory=list)
    _file: IO[bytes] | None = None
    _pace: "_Pace | None" = None
    _came: int = 0
    whole: bool = False
    _given_up: bool = False
    _limit: asyncio.Timeout | None = None

    @property
    def owner(self) -> tuple[bool, str]:
        """Whose it is."""
        return self.known, self.source

    @property
    def stalled(self) -> bool:
        """Whether it has stopped coming."""
        return asyncio.get_running_loop().time() - self.progress > STALLED

    async def body(self, receive: Receive, declared: int) -> bytes:
        """The whole body; ``declared``: its Content-Length, or 0."""
        _at_most(declared)
        self.space.coming.add(self)
        if declared > SMALL:
            self.space.check_large(self, declared)
        size, more = 0, True
        while more:
            event = await self._next(receive)
            chunk: bytes = event.get("body", b"")
            more = event.get("more_body", False)
            size += len(chunk)
            _at_most(size)
            if more:
                self._check_pace(len(chunk))
            if self._file is not None or max(size, declared) > SMALL:
                self._to_file(chunk)
            elif chunk:
                self.space.keep_small(self, len(chunk))
                self._chunks.append(chunk)
                self.small += len(chunk)
        self.whole = True
        if self._file is None:
            return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        return await self._from_file(self._file)

    async def _next(self, receive: Receive) -> dict[str, Any]:
        """The next event. Raises Gone; and Deferred where room was taken from this body meanwhile."""
        try:
            async with asyncio.timeout(MOST_SILENCE) as self._limit:
                event = await receive()
        except TimeoutError as error:
            raise (_busy() if self._given_up else Gone()) from error
        if event["type"] == "http.disconnect":
            raise Gone
        if self._given_up:
            raise _busy()
        return event

    def _check_pace(self, size: int) -> None:
        now = asyncio.get_running_loop().time()
        if self._pace is None:
            self._pace = _Pace(now)
        self._pace.add(size, now)
        self._came += size
        if self._came >= SLOWEST:
            self._came, self.progress = 0, now

    def give_up(self) -> None:
        """Make room for another: what came is let go at once, and its sender is asked to come again."""
        self._given_up = True
        self._release()
        if self._limit is not None:
            with contextlib.suppress(RuntimeError):
                self._limit.reschedule(asyncio.get_running_loop().time())

    def _to_file(self, chunk: bytes) -> None:
        """Write on, and before that what was thought to become a small body."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self.space.scratch, buffering=0)  # noqa: SIM115 - closed by end
            for octets in (*self._chunks, chunk):
                self.space.keep_large(self, len(octets))
                self.large += len(octets)
                _write(self._file, octets)
        except OSError as error:
            raise Deferred("store-unavailable") from error
        self._chunks.clear()
        self.space.let_go(small=self.small)
        self.small = 0

    async def _from_file(self, file: IO[bytes]) -> bytes:
        await self.space.enter(self, self.large)
        file.seek(0)
        try:
            body = await FILES.run(file.read)
        except OSError as error:
            raise Deferred("store-unavailable") from error
        self._close()
        return body

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self.space.let_go(large=self.large)
        self.large = 0

    def _release(self) -> None:
        self._chunks.clear()
        self._close()
        small, worked, self.small, self.worked = self.small, self.worked, 0, 0
        self.space.let_go(small=small, worked=worked)

    def end(self) -> None:
        """Let go of everything."""
        if self in self.space.coming:
            self.space.coming.discard(self)
            self._release()


@dataclass(slots=True)
class _Pace:
    """How fast a body comes, looked at once in MOST_SILENCE seconds. Raises Gone when it was slower than SLOWEST since the last look."""

    since: float
    size: int = 0

    def add(self, size: int, now: float) -> None:
        self.size += size
        if now - self.since > MOST_SILENCE:
            if self.size < SLOWEST * (now - self.since):
                raise Gone
            self.since, self.size = now, 0


@dataclass(slots=True, eq=False)
class _Turn:
    """A large body that waits to be in memory."""

    arrival: Arrival
    size: int
    given: "asyncio.Future[None]"


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
