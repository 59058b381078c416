"""The authority over HTTP: whatever answers, or does not, nothing is kept but a token that holds."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from helping import HandClock
from tsa_server import TimestampServer

from bus import stamping
from bus.errors import Deferred, Rejected
from bus.timestamps import Authority


def at(url: str, server: TimestampServer) -> Authority:
    return Authority(url, tuple(server.authority.anchors()), timedelta(minutes=10))


@asynccontextmanager
async def answering(head: bytes, body: bytes = b"") -> AsyncIterator[str]:
    """A server that says the same to everyone, and closes."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 " + head + b"\r\nConnection: close\r\n\r\n" + body)
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_a_token_is_asked_for_and_verified(authority: TimestampServer, clock: HandClock) -> None:
    """The whole way: request, HTTP, answer, and what the token proves."""
    token, stamp = await stamping.fetch(at(authority.url, authority), b"octets", clock)
    assert (stamp.at, token[:1]) == (clock(), b"\x30")


@pytest.mark.parametrize(
    ("head", "body", "detail"),
    [
        (b"500 Internal Server Error", b"", "HTTP 500"),
        (b"302 Found\r\nLocation: http://127.0.0.1:1/", b"", "HTTP 302"),
        (b"200 OK", bytes(stamping.MOST + 1), "more than"),
        (b"200 OK\r\nContent-Length: 9999", b"half", "payload"),
        (b"no HTTP", b"", ""),
    ],
)
async def test_what_is_no_good_answer_is_an_outage(
    authority: TimestampServer, clock: HandClock, head: bytes, body: bytes, detail: str
) -> None:
    """An error, a redirection, too much, half of it, something else: 4.4.1 with what it was, to be tried again."""
    async with answering(head, body) as url:
        with pytest.raises(Deferred, match=r"4\.4\.1") as failure:
            await stamping.fetch(at(url, authority), b"octets", clock)
    assert detail in failure.value.reason("vi")


async def test_a_page_that_is_no_answer_is_refused(authority: TimestampServer, clock: HandClock) -> None:
    """HTTP 200 with a page, as proxies give it: 5.7.7, and no token."""
    async with answering(b"200 OK", b"<html>maintenance</html>") as url:
        with pytest.raises(Rejected, match=r"5\.7\.7"):
            await stamping.fetch(at(url, authority), b"octets", clock)


@pytest.fixture
def refusing() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"


async def test_nobody_there_is_an_outage(refusing: str, authority: TimestampServer, clock: HandClock) -> None:
    """4.4.1 with the address, so that operators know whom to ask."""
    with pytest.raises(Deferred, match=r"4\.4\.1") as failure:
        await stamping.fetch(at(refusing, authority), b"octets", clock)
    assert refusing in failure.value.reason("vi")


async def test_silence_is_an_outage_after_a_while(authority: TimestampServer, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes the request and says nothing holds nobody up for longer than PATIENCE."""
    monkeypatch.setattr(stamping, "PATIENCE", 0.2)
    waiting = asyncio.Event()

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await waiting.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    with pytest.raises(Deferred, match=r"4\.4\.1"):
        await stamping.fetch(at(url, authority), b"octets", clock)
    waiting.set()
    server.close()


@pytest.mark.parametrize("minutes", [-6, 6])
async def test_a_time_that_is_not_ours_is_refused(authority: TimestampServer, clock: HandClock, minutes: int) -> None:
    """Five minutes apart is the most; the refusal names both clocks."""
    ours = HandClock(clock() + timedelta(minutes=minutes))
    with pytest.raises(Rejected, match="our clock") as refusal:
        await stamping.fetch(at(authority.url, authority), b"octets", ours)
    assert clock().isoformat() in refusal.value.reason("en")
