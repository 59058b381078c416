"""Attacks on the daemon's socket: what is ambiguous, oversize or no HTTP is refused, nothing of it is kept, and others are served."""

import contextlib
import itertools
import re
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import attacked_site
import pytest
from framings import CLOSED, FAULT, HOSTS, KINDS, LEAST, QUERIES, Fresh, Raw

from bus.soap import SOAP_11
from sandbox.process import BusProcess

MOST_SECONDS, MOST_GROWTH_MB = 2.0, 400
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory, certs: Path) -> Iterator[BusProcess]:
    """The daemon, without TLS: what is below HTTP is not what these attacks are about."""
    site = attacked_site.write(tmp_path_factory.mktemp("plain") / "site", certs, tls=False)
    with BusProcess(site, environment=attacked_site.ENVIRONMENT) as process:
        yield process


@pytest.fixture(scope="module")
def fresh(certs: Path) -> Fresh:
    """Makes signed requests with documents of their own."""
    forger, numbers = attacked_site.forger(certs), itertools.count(1)
    return lambda: forger.signed(SOAP_11, "ours", next(numbers))


def send(bus: BusProcess, octets: bytes, patience: float = 5.0) -> bytes:
    """What comes back until one reply is complete, or the connection ends."""
    address = urlsplit(bus.url)
    got = b""
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=patience) as channel:
        with contextlib.suppress(ConnectionError):  # it did not want to hear all of it; what it said before is still to be read
            channel.sendall(octets)
        with contextlib.suppress(ConnectionError):
            while not _complete(got) and (more := channel.recv(1 << 16)):
                got += more
    return got


def _complete(got: bytes) -> bool:
    head, end, body = got.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return bool(end) and (length is None or len(body) >= int(length[1]) or head.startswith(b"HTTP/1.1 405"))


def status(got: bytes) -> int:
    found = _STATUS.match(got)
    return int(found[1]) if found else CLOSED


def resident_mb(pid: int) -> int:
    """The most memory that the process ever had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) >> 10


def accepted(bus: BusProcess) -> int:
    with sqlite3.connect(bus.site / "data" / "bus.db") as store:
        return int(store.execute("SELECT count(*) FROM messages").fetchone()[0])


def good(fresh: Fresh) -> bytes:
    body = fresh()
    return b"POST /soap/documents HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_honest_http_is_refused_and_reaches_nothing(bus: BusProcess, fresh: Fresh, kind: str) -> None:
    """Each gets its one answer in time, however rightly its body is signed; then a good request is accepted as ever."""
    before, size = accepted(bus), resident_mb(bus.pid)
    cases = list(KINDS[kind](fresh))
    wrong = [text for case in cases if (text := _judged(bus, case))]
    assert wrong == []
    assert len({case.name for case in cases}) >= LEAST[kind]
    assert accepted(bus) == before
    assert resident_mb(bus.pid) - size < MOST_GROWTH_MB
    assert status(send(bus, good(fresh))) == 200
    assert accepted(bus) == before + 1


def _judged(bus: BusProcess, case: Raw) -> str:
    began = time.monotonic()
    got = send(bus, case.octets)
    spent = time.monotonic() - began
    if status(got) != case.status or spent > MOST_SECONDS:
        return f"{case.name}: {status(got)} instead of {case.status}, {spent:.1f} s, {got[-80:]!r}"
    if case.status == FAULT and not re.search(rb"<\w+:Code>5\.[67]\.", got):
        return f"{case.name}: a fault without its code: {got[-300:]!r}"
    return ""


def test_no_host_is_reflected_that_is_none(bus: BusProcess) -> None:
    """What is no name or address comes back in no page: the contract then names the socket that was reached."""
    for host in HOSTS:
        got = send(bus, b"GET /soap/documents?wsdl HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n")
        assert status(got) in {200, 400}, host
        assert b"evil" not in got, host
        assert status(got) == 400 or bus.url.encode() in got, host


def test_no_query_opens_a_file(bus: BusProcess) -> None:
    """The contract's schemas are known by name; nothing else is looked for, whatever a query says."""
    for query in QUERIES:
        got = send(bus, b"GET /soap/documents?" + query.encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert status(got) in {404, 405, 400}, query
        assert b"organisation" not in got, query
