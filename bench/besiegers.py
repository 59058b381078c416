"""Attackers of the siege: strangers and one partner, each at a stated pace, in a process of their own, over loopback, until told to end.

Each is named for what it takes: the journal (refusals), memory (heads, bodies), connections (idlers), readers of PDFs (pdfs). A connection
that the bus ends is opened again after a pause, so that a bus which defends itself is attacked for as long as one that does not.
"""

import asyncio
import contextlib
import io
import multiprocessing
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

#: Seconds before a connection that was ended is opened again, and between two looks at whether to end.
PAUSE = 0.2
UNSIGNED = b'<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body/></Envelope>'


@dataclass(frozen=True, slots=True)
class Target:
    """The door that is attacked. ``requests``: signed requests with PDFs that take long to read, made beforehand."""

    door: str
    authority: Path
    requests: Sequence[bytes] = ()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[], Awaitable[Streams]]


@contextmanager
def besieging(names: Sequence[str], target: Target) -> Iterator[None]:
    """These attackers, at work until the block ends."""
    context = multiprocessing.get_context("spawn")
    over = context.Event()
    process = context.Process(target=_attack, args=(tuple(names), target, over), daemon=True)
    process.start()
    try:
        yield
    finally:
        over.set()
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()


def _attack(names: Sequence[str], target: Target, over: Event) -> None:
    uvloop.run(_attacking(names, target, over))


async def _attacking(names: Sequence[str], target: Target, over: Event) -> None:
    tasks = [asyncio.create_task(_again(work, target)) for name in names for work in ATTACKERS[name](target)]
    while not over.is_set():
        await asyncio.sleep(PAUSE)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _again(work: Callable[[Streams], Awaitable[None]], target: Target) -> None:
    place, tls = urlsplit(target.door), ssl.create_default_context(cafile=target.authority)
    while True:
        with contextlib.suppress(OSError, EOFError, ssl.SSLError):
            streams = await asyncio.open_connection(place.hostname, place.port, ssl=tls)
            try:
                await work(streams)
            finally:
                streams[1].transport.abort()
        await asyncio.sleep(PAUSE)


Work = Callable[[Streams], Awaitable[None]]


def _refusals(target: Target) -> list[Work]:
    """Unsigned requests over four connections, 100 a second together."""
    head = _head(target, len(UNSIGNED))

    async def work(streams: Streams) -> None:
        reader, writer = streams
        while True:
            writer.write(head + UNSIGNED)
            await writer.drain()
            await _answer(reader)
            await asyncio.sleep(0.04)

    return [work] * 4


async def _answer(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:] if b": " in line)
    await reader.readexactly(int(fields.get(b"content-length", b"0")))


def _heads(target: Target) -> list[Work]:
    """Thirty connections with short header lines that never end, 40 kB a second each."""

    async def work(streams: Streams) -> None:
        _, writer = streams
        writer.write(f"POST {urlsplit(target.door).path} HTTP/1.1\r\nHost: localhost\r\n".encode())
        while not writer.transport.is_closing():
            writer.write(b"a: b\r\n" * 680)
            await writer.drain()
            await asyncio.sleep(0.1)

    return [work] * 30


def _bodies(target: Target) -> list[Work]:
    """Eight bodies of 134 MB that stop after 1 MB, and a hundred small ones that stop before their end."""

    def stalled(promised: int, sent: int) -> Work:
        async def work(streams: Streams) -> None:
            reader, writer = streams
            writer.write(_head(target, promised) + b" " * sent)
            await writer.drain()
            await reader.read()

        return work

    return [stalled(134 << 20, 1 << 20)] * 8 + [stalled(5_000, 4_000)] * 100


def _idlers(_target: Target) -> list[Work]:
    """Two hundred connections over which nothing comes."""

    async def work(streams: Streams) -> None:
        await streams[0].read()

    return [work] * 200


def _pdfs(target: Target) -> list[Work]:
    """A partner's documents with PDFs that take long to read, over four connections, one each 15 seconds."""
    left = iter(target.requests)

    async def work(streams: Streams) -> None:
        reader, writer = streams
        for request in left:
            writer.write(_head(target, len(request)) + request)
            await writer.drain()
            await _answer(reader)
            await asyncio.sleep(60)
        await reader.read()

    return [work] * 4


def _head(target: Target, length: int) -> bytes:
    path = urlsplit(target.door).path
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\n\r\n".encode()


ATTACKERS: Mapping[str, Callable[[Target], list[Work]]] = {
    "refusals": _refusals,
    "heads": _heads,
    "bodies": _bodies,
    "idlers": _idlers,
    "pdfs": _pdfs,
}


def slow_pdf() -> bytes:
    """A small PDF whose form fields lead through twenty thousand levels: it costs its reader all the time that it is given."""
    catalog = b"<< /Type /Catalog /Pages 2 0 R /AcroForm 3 0 R >>"
    chain = [b"<< /T (a) /Kids [%d 0 R] >>" % number for number in range(5, 20_004)]
    objects = [catalog, b"<< /Type /Pages /Kids [] /Count 0 >>", b"<< /Fields [4 0 R] >>", *chain, b"<< /T (z) /FT /Sig >>"]
    out, places = io.BytesIO(), list[int]()
    out.write(b"%PDF-1.7\n\n% /ByteRange\n")
    for number, content in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%b\nendobj\n" % (number, content))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    out.write(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
    return out.getvalue()
