"""What comes in at the edge takes a bounded share: heads by number and octets, bodies by source, connections by address."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from edges import Dial, edge, ended

from bus import arriving, http, sources
from bus.arriving import Arrival, Space
from bus.endpoint import Request, Response
from bus.errors import Deferred
from bus.octets import SMALL
from bus.sources import Heads, source_of

HEAD = b"POST /door HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /door HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
async def dial(tmp_path: Path) -> AsyncIterator[Dial]:
    """Opens connections to an edge with one door, which answers with the number of octets or the code of the edge's refusal."""

    async def door(request: Request) -> Response:
        return Response(200, "text/plain", request.refusal.code.encode() if request.refusal else str(len(request.body)).encode())

    async with edge(door, tmp_path) as connect:
        yield connect


async def answered(dial: Dial, request: bytes) -> bytes:
    """All that comes back."""
    reader, writer = await dial()
    with contextlib.suppress(ConnectionError):
        writer.write(request)
        await writer.drain()
    return await ended(reader, 20)


async def test_fields_of_a_head_are_counted(dial: Dial) -> None:
    """128 are answered, one more is 400: a field costs far more memory than its octets."""
    most = sources.MOST_FIELDS - 2
    assert b" 200 " in await answered(dial, GET + b"Connection: close\r\n" + b"a:b\r\n" * most + b"\r\n")
    assert b" 400 " in await answered(dial, GET + b"Connection: close\r\n" + b"a:b\r\n" * (most + 1) + b"\r\n")


async def test_a_flood_of_short_fields_is_cut_at_the_first_too_many(dial: Dial) -> None:
    """A megabyte of them is not read to its end, on a fresh connection or behind a body as trailers."""
    flood = b"a:\r\n" * (1 << 18)
    assert b" 400 " in await answered(dial, GET + flood)
    trailers = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + flood
    assert b" 400 " in await answered(dial, trailers)


async def test_what_frames_a_body_is_bounded_as_a_head_is(dial: Dial) -> None:
    """One trailer, or one chunk's extension, without end: the connection goes when a megabyte brought nothing of a body."""
    for endless in (b"1\r\nx\r\n0\r\nX: ", b"1;"):
        reader, writer = await dial()
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + endless)
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                writer.write(b"x" * 65536)
                await writer.drain()
        assert b" 200 " not in await ended(reader)


async def test_heads_together_are_bounded_and_small_ones_always_pass(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held heads of one source fill its share; a large one more is let go, small ones of anybody are answered; and all is given back."""
    monkeypatch.setattr(sources, "MOST_HEADS_EACH", 100_000)
    reader, writer = await dial()
    writer.write(GET + b"X: " + b"x" * 90_000)
    await writer.drain()
    async with asyncio.timeout(20):
        while sources.HEADS._each.total() < 90_000:
            await asyncio.sleep(0.01)
    assert await answered(dial, GET + b"X: " + b"x" * 20_000) == b""
    assert b" 200 " in await answered(dial, GET + b"Connection: close\r\n\r\n")
    writer.write(b"\r\nConnection: close\r\n\r\n")
    assert b" 200 " in await ended(reader)
    async with asyncio.timeout(20):
        while sources.HEADS._each:
            await asyncio.sleep(0.01)


def test_one_source_leaves_room_for_the_heads_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of all is the most that one source holds."""
    monkeypatch.setattr(sources, "MOST_HEADS", 200_000)
    monkeypatch.setattr(sources, "MOST_HEADS_EACH", 100_000)
    heads = Heads()
    assert heads.fits("a", 0, 100_000)
    assert not heads.fits("a", 0, 20_000)
    assert heads.fits("b", 0, 60_000)
    assert not heads.fits("c", 0, 40_000)
    assert heads.fits("c", 40_000, 10_000)


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("a socket", "a socket"),
    ],
)
def test_an_ipv6_network_is_one_source(address: str, source: str) -> None:
    """Who has one IPv6 address has 2⁶⁴ of them."""
    assert source_of(address) == source


async def test_a_body_that_slows_down_is_given_up_whatever_came_before(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a megabyte at once pays for no trickle afterwards: the pace is looked at window by window."""
    monkeypatch.setattr(arriving, "MOST_SILENCE", 0.3)
    reader, writer = await dial()
    writer.write(HEAD + b"Content-Length: 1000000\r\n\r\n" + bytes(500_000))

    async def trickle() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)

    sending = asyncio.create_task(trickle())
    assert b" 408 " in await ended(reader)
    sending.cancel()


@pytest.mark.parametrize(("kind", "each", "limit"), [("small", 1000, "MOST_SMALL"), ("large", 2 * SMALL, "MOST_WAITING")])
async def test_bodies_that_stopped_coming_make_room_even_for_their_own_source(
    dial: Dial, monkeypatch: pytest.MonkeyPatch, kind: str, each: int, limit: str
) -> None:
    """Behind one proxy all have one address: what stands still is put off with 4.3.2, and the next whole body is taken."""
    monkeypatch.setattr(arriving, limit, 4 * each)
    monkeypatch.setattr(arriving, "STALLED", 0.2)
    held = []
    for _ in range(4):
        reader, writer = await dial()
        writer.write(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % (each * 2) + bytes(each - 10))
        await writer.drain()
        held.append((reader, writer))
    await asyncio.sleep(0.4)
    request = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % each + bytes(each)
    assert (await answered(dial, request)).endswith(str(each).encode())
    readers = [asyncio.create_task(reader.readuntil(b"4.3.2")) for reader, _ in held]
    done, still = await asyncio.wait(readers, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    assert all(task.exception() is None for task in done)
    assert still
    for task in still:
        task.cancel()


def coming(space: Space, source: str, size: int, *, known: bool = False) -> "asyncio.Task[bytes]":
    """A body of which all but the end has come."""
    begun = False

    async def receive() -> dict[str, object]:
        nonlocal begun
        if begun:
            await asyncio.Event().wait()
        begun = True
        return {"type": "http.request", "body": bytes(size), "more_body": True}

    async def arrive() -> bytes:
        arrival = Arrival(space, source, known=known)
        try:
            return await arrival.body(receive, 0)
        finally:
            arrival.end()

    return asyncio.create_task(arrive())


async def settled(tasks: list["asyncio.Task[bytes]"]) -> list[str]:
    """What stands of each: "coming", or the code it was put off with."""
    for _ in range(10):
        await asyncio.sleep(0)
    return [task.exception().code if task.done() else "coming" for task in tasks]  # type: ignore[union-attr]


async def test_one_source_fills_the_room_and_yields_it_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as nobody else comes it has all of it; each who comes gets as much as an equal share; its own next body is put off."""
    monkeypatch.setattr(arriving, "MOST_SMALL", 4000)
    space = Space()
    greedy = [coming(space, "greedy", 1000) for _ in range(5)]
    assert (await settled(greedy)).count("coming") == 4
    others = [coming(space, f"other-{number}", 1000) for number in range(2)]
    assert await settled(others) == ["coming", "coming"]
    assert (await settled(greedy)).count("coming") == 2
    late = coming(space, "greedy", 1000)
    assert await settled([late]) == ["4.3.2"]
    for task in (*greedy, *others):
        task.cancel()
    await asyncio.gather(*greedy, *others, return_exceptions=True)
    assert space.small == 0


async def test_strangers_make_room_for_partners_and_not_the_other_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many addresses the strangers have; a partner that showed its certificate is never put off for one of them."""
    monkeypatch.setattr(arriving, "MOST_SMALL", 4000)
    space = Space()
    strangers = [coming(space, f"192.0.2.{number}", 1000) for number in range(4)]
    assert await settled(strangers) == ["coming"] * 4
    partners = [coming(space, f"partner-{number}", 1000, known=True) for number in range(4)]
    assert await settled(partners) == ["coming"] * 4
    assert await settled(strangers) == ["4.3.2"] * 4
    assert await settled([coming(space, "203.0.113.1", 1000)]) == ["4.3.2"]
    for task in partners:
        task.cancel()
    await asyncio.gather(*partners, return_exceptions=True)
    with pytest.raises(Deferred):
        await strangers[0]


async def test_connections_whose_bodies_do_not_come_make_room(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them busy with requests that never end, and none idle: the next client is served all the same."""
    monkeypatch.setattr(http, "MOST_CONNECTIONS", 4)
    for _ in range(4):
        _reader, writer = await dial()
        writer.write(HEAD + b"Content-Length: 9\r\n\r\nx")
        await writer.drain()
    for _ in range(3):
        assert b" 200 " in await answered(dial, GET + b"Connection: close\r\n\r\n")
