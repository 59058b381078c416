"""The edge against slow, silent, cut and greedy clients: the real server on a loopback socket, with shorter patience than in earnest."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from edges import Dial, edge, ended

from bus import arriving, http
from bus.arriving import Arrival, Gone, Space
from bus.endpoint import Request, Response
from bus.errors import Deferred, Rejected
from bus.octets import SMALL, Octets

PATIENCE = 0.3
HEAD = b"POST /door HTTP/1.1\r\nHost: localhost\r\n"
#: More than any socket's buffers hold.
LARGE = 32 << 20


@pytest.fixture
def seen() -> list[Request]:
    """What the door was asked."""
    return []


@pytest.fixture
async def dial(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seen: list[Request]) -> AsyncIterator[Dial]:
    """Opens connections to an edge with one door, which answers GET with LARGE octets and everything else with their number."""
    monkeypatch.setattr(http, "MOST_SILENCE", PATIENCE)
    monkeypatch.setattr(arriving, "MOST_SILENCE", PATIENCE)

    async def door(request: Request) -> Response:
        seen.append(request)
        if request.refusal is not None:
            return Response(500, "text/plain", request.refusal.code.encode())
        return Response(200, "text/plain", Octets(bytes(LARGE)) if request.method == "GET" else str(len(request.body)).encode())

    async with edge(door, tmp_path) as connect:
        yield connect


async def trickle(writer: asyncio.StreamWriter, octets: bytes) -> None:
    """Send one octet at a time, never silent for as long as the edge is patient."""
    with contextlib.suppress(ConnectionError):
        for place in range(len(octets)):
            writer.write(octets[place : place + 1])
            await writer.drain()
            await asyncio.sleep(PATIENCE / 10)


@pytest.mark.parametrize("before", [b"", HEAD + b"Content-Length: 1\r\n\r\nx"], ids=["first", "kept alive"])
async def test_fault_28_headers_that_trickle_in_end_the_connection(dial: Dial, before: bytes) -> None:
    """Whoever takes longer for his headers than we are patient is let go, on a fresh connection and on one that was used."""
    reader, writer = await dial()
    if before:
        writer.write(before)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await reader.readexactly(1)
    sending = asyncio.create_task(trickle(writer, HEAD + b"X: " + b"x" * 1000))
    assert await ended(reader) == b""
    sending.cancel()


@pytest.mark.parametrize("said", [b"", b"\r\n"], ids=["nothing", "an empty line"])
async def test_fault_28_a_connection_without_a_request_is_ended(dial: Dial, said: bytes) -> None:
    """A socket is not held for somebody who says nothing, or nothing that begins a request."""
    reader, writer = await dial()
    writer.write(said)
    assert await ended(reader) == b""


async def test_fault_28_an_empty_line_does_not_keep_a_used_connection_open(dial: Dial) -> None:
    """What ends uvicorn's own wait for the next request begins ours."""
    reader, writer = await dial()
    writer.write(HEAD + b"Content-Length: 1\r\n\r\nx")
    await reader.readuntil(b"\r\n\r\n1")
    writer.write(b"\r\n")
    assert await ended(reader) == b""


async def test_fault_28_headers_without_end_are_not_collected(dial: Dial) -> None:
    """However fast they come, more than MOST_HEADERS octets of them end the connection."""
    reader, writer = await dial()
    writer.write(HEAD)
    with contextlib.suppress(ConnectionError):
        for _ in range(2 * http.MOST_HEADERS // 65536):
            writer.write(b"X: " + b"x" * 65536 + b"\r\n")
            await writer.drain()
    assert await ended(reader) == b""


@pytest.mark.parametrize("declared", [1000, 2 * SMALL], ids=["small", "large"])
async def test_fault_28_a_body_that_trickles_in_is_given_up(
    dial: Dial, seen: list[Request], monkeypatch: pytest.MonkeyPatch, declared: int
) -> None:
    """Never silent, but far slower than any line: answered with 408, and no door hears of it."""
    monkeypatch.setattr(arriving, "SLOWEST", 1 << 20)
    reader, writer = await dial()
    writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % declared)
    sending = asyncio.create_task(trickle(writer, b"x" * 1000))
    assert (await ended(reader)).startswith(b"HTTP/1.1 408")
    assert seen == []
    sending.cancel()


async def test_fault_28_a_reply_that_nobody_reads_is_given_up(dial: Dial, seen: list[Request]) -> None:
    """The connection of a client that asks for much and reads nothing is cut off: what it then finds is far from whole."""
    reader, writer = await dial()
    writer.transport.pause_reading()
    writer.write(b"GET /door HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(10):
        while not seen:
            await asyncio.sleep(0.01)
        await asyncio.sleep(3 * PATIENCE)
    writer.transport.resume_reading()
    assert len(await ended(reader)) < LARGE


async def test_a_large_reply_is_whole_for_who_reads_it(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces are sent as they are asked for; all of them arrive."""
    monkeypatch.setattr(http, "MOST_SILENCE", 20 * PATIENCE)
    reader, writer = await dial()
    writer.write(b"GET /door HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert len((await ended(reader)).partition(b"\r\n\r\n")[2]) == LARGE


async def test_fault_29_a_cut_body_reaches_no_door_and_takes_no_room(
    dial: Dial, seen: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten large bodies cut in the middle, then a whole one that only fits if they were let go."""
    monkeypatch.setattr(arriving, "MOST_WAITING", 3 * SMALL)
    for _ in range(10):
        _reader, writer = await dial()
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % (2 * SMALL) + bytes(SMALL))
        await writer.drain()
        writer.transport.abort()
    answer, whole = b"", b"%d" % (2 * SMALL)
    async with asyncio.timeout(10):
        # The edge learns of a cut connection a moment later, and until then answers that there is no room.
        while not answer.endswith(whole):
            reader, writer = await dial()
            writer.write(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % (2 * SMALL) + bytes(2 * SMALL))
            answer = await ended(reader)
    assert [len(request.body) for request in seen if request.refusal is None] == [2 * SMALL]


async def test_a_refused_client_gets_its_answer_while_it_is_still_sending(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    """The edge reads on for a while, lest the kernel throw the answer away with the connection."""
    monkeypatch.setattr(arriving, "MOST_BODY", 2 * SMALL)
    reader, writer = await dial()
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(8):
        writer.write(b"100000\r\n" + bytes(0x100000) + b"\r\n")
        await writer.drain()
    assert (await reader.readuntil(b"5.6.1")).startswith(b"HTTP/1.1 500")


# --- room, by bytes --------------------------------------------------------------------------------------------------------------


def body_of(size: int, *, ends: bool = True) -> arriving.Receive:
    """The events of a body that comes in pieces of 64 kB; without ``ends`` the client goes away in the middle."""

    async def events() -> AsyncIterator[dict[str, object]]:
        for begin in range(0, size, 65536):
            last = begin + 65536 >= size
            yield {"type": "http.request", "body": bytes(min(65536, size - begin)), "more_body": not (last and ends)}
        yield {"type": "http.disconnect"}

    stream = events()
    return lambda: anext(stream)


async def test_fault_54_large_bodies_wait_for_their_turn_and_some_are_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more than MOST_WORKED in memory; who waits too long, or comes when files are full too, is told 4.3.2 and when to come again."""
    monkeypatch.setattr(arriving, "MOST_WORKED", 5 * SMALL)
    monkeypatch.setattr(arriving, "MOST_WAITING", 8 * SMALL)
    monkeypatch.setattr(arriving, "LONGEST_WAIT", 0.2)
    space = Space()
    most = 0

    async def one() -> str:
        nonlocal most
        arrival = Arrival(space)
        try:
            await arrival.body(body_of(2 * SMALL), 2 * SMALL)
            most = max(most, space.worked)
            await asyncio.sleep(0.15)
        except Deferred as error:
            assert error.retry_after
            return error.code
        finally:
            arrival.end()
        return "taken"

    outcomes = await asyncio.gather(*(one() for _ in range(12)))
    assert set(outcomes) == {"taken", "4.3.2"}
    assert most <= arriving.MOST_WORKED
    assert (space.small, space.large, space.worked, len(space.line)) == (0, 0, 0, 0)
    assert await one() == "taken"


@pytest.mark.parametrize(("size", "raised"), [(2 * SMALL, Gone), (100_000, Gone), (arriving.MOST_BODY + 1, Rejected)])
async def test_whatever_became_of_a_body_its_room_is_given_back(size: int, raised: type[Exception]) -> None:
    """Cut small, cut large, too large: nothing stays counted."""
    space = Space()
    arrival = Arrival(space)
    with pytest.raises(raised):
        await arrival.body(body_of(size, ends=False), 0)
    arrival.end()
    assert (space.small, space.large, space.worked) == (0, 0, 0)


async def test_fault_12_a_full_disk_puts_large_bodies_off(tmp_path: Path) -> None:
    """A file that cannot be written is 4.3.1, not a lost connection; small bodies need no file."""
    space = Space(scratch=tmp_path / "not there")
    with pytest.raises(Deferred, match=r"4\.3\.1"):
        await Arrival(space).body(body_of(2 * SMALL), 0)
    assert len(await Arrival(space).body(body_of(1000), 0)) == 1000


async def test_who_gives_up_waiting_leaves_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timed out or cancelled, even in the moment its turn comes: the room goes to the next, and all of it is given back."""
    monkeypatch.setattr(arriving, "MOST_WORKED", 10)
    space = Space()
    arrivals = [Arrival(space) for _ in range(4)]
    await space.enter(arrivals[0], 8)
    first, second, third = (asyncio.create_task(space.enter(*one)) for one in zip(arrivals[1:], (9, 2, 2), strict=True))
    await asyncio.sleep(0)
    assert len(space.line) == 3
    first.cancel()
    await asyncio.wait([first])
    await second
    assert (space.worked, len(space.line)) == (10, 1)
    space.let_go(worked=2)
    third.cancel()
    await asyncio.wait([third])
    space.coming.add(arrivals[3])
    arrivals[3].end()
    assert (third.cancelled(), space.worked, len(space.line)) == (True, 8, 0)
