"""Large documents through the real daemon: whole, in memory bounded by bytes, and in nobody's way."""

import asyncio
import contextlib
import os
import sqlite3
import ssl
from collections.abc import Callable

import pytest
from helping import until

from bench import large
from bus import arriving
from sandbox import documents, sites
from sandbox.process import BusProcess

Dial = Callable[[], ssl.SSLSocket]
MEGABYTE = large.MEGABYTE
#: What a warm process may grow by whatever the size of a document: arenas of threads, connections, the interpreter's own.
SLACK = 24 * MEGABYTE
BEGINNING = b"POST /soap/documents HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml; charset=utf-8\r\n"


def opened_files(process: BusProcess) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def accepted(places: sites.Sites) -> int:
    with contextlib.closing(sqlite3.connect(places.ministry / "data" / "bus.db")) as store:
        return int(store.execute("SELECT count(*) FROM messages").fetchone()[0])


@pytest.mark.parametrize(("way", "times"), [(large.WAYS[0], 1.0), (large.WAYS[1], 2.34)], ids=["mtom", "base64"])
def test_fault_52_a_document_of_50_mb_passes_in_bounded_memory(
    places: sites.Sites, ministry: BusProcess, way: large.Way, times: float
) -> None:
    """By MTOM the bus holds it once; as base64 the request (4/3 of it) and the document out of it: never 2.5 times, SLACK apart."""
    asyncio.run(large.passed(places, ministry, way, large.document(2 * MEGABYTE, 1, way.receiver), f"warm-{way.name}"))
    body = large.document(50 * MEGABYTE, 2, way.receiver)
    held = large.start_measuring(ministry.pid)
    asyncio.run(large.passed(places, ministry, way, body, way.name))
    assert large.growth(ministry.pid, held) < times * len(body) + SLACK


async def test_fault_52_small_documents_pass_while_large_ones_crawl_in(places: sites.Sites, ministry: BusProcess, dial: Dial) -> None:
    """Bodies that are still coming in lie in files: they take neither memory nor the place of a small document."""
    held = large.start_measuring(ministry.pid)
    part = bytes(30 * MEGABYTE)
    for _ in range(3):
        channel = dial()
        channel.sendall(BEGINNING + b"Content-Length: %d\r\n\r\n" % (100 * MEGABYTE))
        await asyncio.to_thread(channel.sendall, part)
    body = documents.make(size=1_000, seed=52, receivers=(documents.SECURITY_AUTHORITY,))
    async with asyncio.timeout(10), large.connect(places, ministry, "telecom-authority", documents.TELECOM_AUTHORITY.code) as unit:
        await unit.send(body, "small-among-large")
    assert large.growth(ministry.pid, held) < SLACK


@pytest.mark.parametrize("framing", [b"Content-Length: 1000000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
def test_fault_07_a_gigabyte_is_refused_before_it_is_in_memory(ministry: BusProcess, dial: Dial, framing: bytes) -> None:
    """By what it declares, at once; or, where it declares nothing, as soon as it is over the limit. The answer is a fault 5.6.1."""
    held = large.start_measuring(ministry.pid)
    channel = dial()
    channel.sendall(BEGINNING + framing)
    sent = 0
    if b"chunked" in framing:
        chunk = b"100000\r\n" + bytes(0x100000) + b"\r\n"
        with contextlib.suppress(OSError):
            while sent <= arriving.MOST_BODY:
                channel.sendall(chunk)
                sent += 0x100000
    answer = b""
    while b"5.6.1" not in answer:
        octets = channel.recv(65536)
        assert octets, answer
        answer += octets
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert large.growth(ministry.pid, held) < SLACK


async def test_fault_29_a_body_cut_in_the_middle_leaves_nothing(places: sites.Sites, ministry: BusProcess, dial: Dial) -> None:
    """Small or large, declared or chunked: nothing is accepted, no file, no connection and no memory is kept."""
    files, messages, held = opened_files(ministry), accepted(places), large.start_measuring(ministry.pid)
    left = {path.name for path in (places.ministry / "data").iterdir()}
    for framing, part in ((b"Content-Length: 2000\r\n\r\n", b"<a>"), (b"Content-Length: 90000000\r\n\r\n", bytes(20 * MEGABYTE))):
        channel = dial()
        await asyncio.to_thread(channel.sendall, BEGINNING + framing + part)
        channel.close()
    await until(lambda: opened_files(ministry) <= files)
    assert accepted(places) == messages
    assert {path.name for path in (places.ministry / "data").iterdir()} == left
    assert large.growth(ministry.pid, held) < SLACK
