"""Attacks by holding connections: many that idle, readers that do not read, bodies that do not come, and TLS that is not ours."""

import asyncio
import contextlib
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import attacked_site
import pytest
from edges import Dial, edge, ended

from bus import arriving, http
from bus.endpoint import Request, Response
from sandbox.process import BusProcess

PATIENCE = 0.3
GET = b"GET /door HTTP/1.1\r\nHost: localhost\r\n\r\n"
#: More than a socket's buffers hold, of what a door answers in one piece.
LARGE = 8 << 20


@pytest.fixture
async def dial(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Dial]:
    """Opens connections to an edge with little patience and room for four; its one door answers LARGE octets."""
    for module in (http, arriving):
        monkeypatch.setattr(module, "MOST_SILENCE", PATIENCE)
    monkeypatch.setattr(http, "MOST_CONNECTIONS", 4)

    async def door(_request: Request) -> Response:
        return Response(200, "text/plain", bytes(LARGE))

    async with edge(door, tmp_path) as connect:
        yield connect


async def healthy(dial: Dial) -> bool:
    """Whether a new connection is served."""
    reader, writer = await dial()
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    return (await ended(reader)).startswith(b"HTTP/1.1 200")


async def test_fault_28_the_connection_that_idles_longest_makes_room(dial: Dial) -> None:
    """However many sockets somebody opens and leaves, the next client is served; those that wait longest go first."""
    first, *others = [await dial() for _ in range(4)]
    assert await healthy(dial)
    assert await ended(first[0]) == b""
    for _reader, writer in others:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    for reader, _writer in others:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("requests", [2, 200], ids=["two", "many"])
async def test_fault_28_whoever_asks_on_without_reading_is_let_go(dial: Dial, requests: int) -> None:
    """The second answer waits for the first to be read: not for ever, and the rest of a pipeline is not even worked."""
    reader, writer = await dial()
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(GET * requests)
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            while True:  # our own octets tell us when the other side is gone
                writer.write(b"\r\n")
                await writer.drain()
                await asyncio.sleep(PATIENCE / 10)
    assert await healthy(dial)


async def test_fault_28_a_promised_body_that_never_comes_is_not_waited_for(dial: Dial) -> None:
    """``Expect: 100-continue`` and then silence: 408, and the end of the connection."""
    reader, writer = await dial()
    writer.write(b"POST /door HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
    got = await ended(reader)
    assert re.findall(rb"HTTP/1\.1 (\d+)", got) == [b"100", b"408"]


async def test_fault_28_a_handshake_that_is_not_finished_is_not_waited_for(
    certs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket that never begins TLS, or stops in the middle of it, is let go."""
    monkeypatch.setattr(http, "MOST_HANDSHAKE", PATIENCE)

    async def door(_request: Request) -> Response:
        return Response(200, "text/plain", b"")

    def context(*_: object) -> ssl.SSLContext:
        return http.tls_context(certs / "own" / "tls.crt", certs / "own" / "tls.key")

    async with edge(door, tmp_path, ssl_context_factory=context) as connect:
        for said in (b"", bytes.fromhex("16030100f8010000f40303")):
            reader, writer = await connect()
            writer.write(said)
            assert await ended(reader) == b""


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory, certs: Path) -> Iterator[BusProcess]:
    """The daemon, with TLS."""
    site = attacked_site.write(tmp_path_factory.mktemp("tls") / "site", certs, tls=True)
    with BusProcess(site, environment=attacked_site.ENVIRONMENT) as process:
        yield process


def client_context(bus: BusProcess) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(bus.site / "certs" / "own" / "ca.crt"))
    context.check_hostname = False
    return context


def ask(bus: BusProcess, context: ssl.SSLContext) -> bytes:
    """The answer to a health check over a new connection."""
    address = urlsplit(bus.url)
    with (
        socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as channel,
    ):
        channel.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return channel.recv(1 << 16)


def refused(bus: BusProcess, context: ssl.SSLContext) -> bool:
    """Whether the handshake fails; in TLS 1.3 a client learns what became of its certificate only when it reads."""
    try:
        return ask(bus, context) == b""
    except (ssl.SSLError, ConnectionError):
        return True


def test_hundreds_of_idle_connections_keep_nobody_out(bus: BusProcess) -> None:
    """Three hundred that never begin TLS, and a hundred that finish it and say nothing: the next client is served."""
    address = urlsplit(bus.url)
    where = (address.hostname or "", address.port or 0)
    with contextlib.ExitStack() as held:
        for _ in range(300):
            held.enter_context(socket.create_connection(where, timeout=10))
        for _ in range(100):
            plain = held.enter_context(socket.create_connection(where, timeout=10))
            held.enter_context(client_context(bus).wrap_socket(plain, server_hostname="localhost"))
        assert ask(bus, client_context(bus)).startswith(b"HTTP/1.1 200")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=["1.0", "1.1"])
def test_old_tls_is_refused(bus: BusProcess, version: ssl.TLSVersion) -> None:
    """A client that knows no better than TLS 1.1 gets no connection, whatever it is ready to lower its guard to."""
    context = client_context(bus)
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    assert refused(bus, context)
    assert ask(bus, client_context(bus)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("ciphers", ["aNULL:eNULL:@SECLEVEL=0", "AES128-SHA:AES256-SHA:@SECLEVEL=0", "AES128-GCM-SHA256:@SECLEVEL=0"])
def test_weak_ciphers_are_refused(bus: BusProcess, ciphers: str) -> None:
    """No cipher without authentication, of an old kind, or without forward secrecy and authenticated encryption."""
    context = client_context(bus)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    assert refused(bus, context)


def test_a_certificate_of_a_stranger_does_not_get_in(bus: BusProcess) -> None:
    """A client certificate that no partner's authority issued ends the handshake; none at all is for the door to judge."""
    stranger = bus.site / "certs" / "development" / "stranger" / "own" / "system"
    context = client_context(bus)
    context.load_cert_chain(f"{stranger}.crt", f"{stranger}.key")
    assert refused(bus, context)
    assert ask(bus, client_context(bus)).startswith(b"HTTP/1.1 200")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl program is not installed")
def test_a_client_cannot_renegotiate(bus: BusProcess) -> None:
    """TLS 1.2's renegotiation, which costs us ten times what it costs the client, ends the connection."""
    address = urlsplit(bus.url)
    command = ["openssl", "s_client", "-tls1_2", "-connect", f"{address.hostname}:{address.port}"]
    asked = subprocess.run(command, input=b"R\n", capture_output=True, timeout=20, check=False)
    assert b"RENEGOTIATING" in asked.stdout + asked.stderr
    assert asked.returncode != 0
    assert ask(bus, client_context(bus)).startswith(b"HTTP/1.1 200")
