"""Raw octets over TLS against the real daemon: the habits of HTTP stacks that the SOAP endpoint must live with."""

import re
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from soap_rig import document

from adapters.soap import payloads
from bus import scaffold, soap
from bus.receipt import Status
from bus.signature import wss
from bus.signer import Signer
from bus.soap import SOAP_11, SOAP_12
from sandbox.process import BusProcess
from sandbox.unit import Unit, read_signer

UNIT = "000.00.01.G14"
ASK = payloads.request("GetOrganizations")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BusProcess]:
    """``govbus run`` on a fresh reference site."""
    site = tmp_path_factory.mktemp("wire") / "site"
    scaffold.create(site, datetime.now(UTC))
    with BusProcess(site) as process:
        yield process


@pytest.fixture(scope="module")
def signer(daemon: BusProcess) -> Signer:
    """The telecom authority's key."""
    return read_signer(daemon.site / "certs" / "development" / "telecom-authority")


def signed(signer: Signer, payload: bytes = ASK) -> bytes:
    return wss.sign(soap.envelope(SOAP_11, payload), signer, datetime.now(UTC))


def exchange(daemon: BusProcess, head: str, *chunks: bytes, path: str = "/soap/documents", version: str = "1.1") -> tuple[int, str, bytes]:
    """Send octets, and read until the daemon closes: status, header, body."""
    port = int(daemon.url.rsplit(":", 1)[1])
    context = ssl.create_default_context(cafile=str(daemon.site / "certs" / "own" / "ca.crt"))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
        tls.sendall(f"POST {path} HTTP/{version}\r\nHost: 127.0.0.1:{port}\r\n{head}\r\n".replace("\n", "\n").encode())
        received = b""
        if "100-continue" in head:
            received = tls.recv(4096)
            assert received.startswith(b"HTTP/1.1 100"), received
            received = b""
        for chunk in chunks:
            tls.sendall(chunk)
        while data := tls.recv(1 << 16):
            received += data
    header, _, body = received.partition(b"\r\n\r\n")
    return int(header.split(b" ")[1]), header.decode().lower(), body


def lines(*headers: str) -> str:
    return "".join(f"{header}\r\n" for header in headers)


def test_a_client_that_closes_is_told_so(daemon: BusProcess, signer: Signer) -> None:
    """strong-soap hangs until the answer repeats ``Connection: close``."""
    body = signed(signer)
    status, header, _ = exchange(daemon, lines("Content-Type: text/xml", f"Content-Length: {len(body)}", "Connection: close"), body)
    assert (status, "connection: close" in header) == (200, True)


def test_http_1_0_is_answered_and_closed(daemon: BusProcess, signer: Signer) -> None:
    """Old Perl and PHP clients."""
    body = signed(signer)
    assert exchange(daemon, lines("Content-Type: text/xml", f"Content-Length: {len(body)}"), body, version="1.0")[0] == 200


def test_a_client_that_waits_for_100_continue_gets_it(daemon: BusProcess, signer: Signer) -> None:
    """PHP with curl, .NET and Java do so for larger bodies."""
    body = signed(signer)
    head = lines("Content-Type: text/xml", f"Content-Length: {len(body)}", "Expect: 100-continue", "Connection: close")
    assert exchange(daemon, head, body)[0] == 200


def test_chunked_requests_are_read(daemon: BusProcess, signer: Signer) -> None:
    """node and Java stream their bodies."""
    body = signed(signer)
    chunks = [b"%x\r\n%b\r\n" % (len(body[at : at + 700]), body[at : at + 700]) for at in range(0, len(body), 700)]
    head = lines("Content-Type: text/xml;charset=UTF-8", "Transfer-Encoding: chunked", 'SOAPAction: ""', "Connection: close")
    assert exchange(daemon, head, *chunks, b"0\r\n\r\n")[0] == 200


@pytest.mark.parametrize(
    ("head", "version", "status", "answered"),
    [
        (lines("Content-Type: text/xml"), SOAP_11, 500, "text/xml; charset=utf-8"),
        (lines('Content-Type: application/soap+xml; charset="utf-8"; action="urn:x"'), SOAP_12, 400, "application/soap+xml; charset=utf-8"),
    ],
)
def test_a_fault_has_the_status_and_media_type_of_its_version(
    daemon: BusProcess, head: str, version: soap.Version, status: int, answered: str
) -> None:
    """SOAP 1.1 with 500, SOAP 1.2 with 400 for the sender's mistakes."""
    body = soap.envelope(version, ASK)
    got = exchange(daemon, head + lines(f"Content-Length: {len(body)}", "Connection: close"), body)
    assert (got[0], f"content-type: {answered}" in got[1]) == (status, True)
    assert b"5.7.0" in got[2]


def test_the_address_in_the_wsdl_is_the_one_the_client_used(daemon: BusProcess) -> None:
    """Host and port as in the request."""
    port = int(daemon.url.rsplit(":", 1)[1])
    context = ssl.create_default_context(cafile=str(daemon.site / "certs" / "own" / "ca.crt"))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain, server_hostname="localhost") as tls:
        tls.sendall(f"GET /soap/documents?wsdl HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: tls.recv(1 << 16), b""))
    assert set(re.findall(rb'address location="([^"]*)"', answer)) == {f"https://localhost:{port}/soap/documents".encode()}


async def test_a_unit_and_the_daemon_understand_each_other(daemon: BusProcess) -> None:
    """The integrator's example, over TLS: send, send again, and ask for the receipts."""
    certs = daemon.site / "certs"
    body = document(1, sender=UNIT, receiver="000.00.02.G14")
    keys = certs / "development"
    sender = Unit.connect(daemon.url, UNIT, keys=keys / "telecom-authority", trust=certs / "own")
    async with sender:
        first, again = await sender.send(body, "wire-1"), await sender.send(body, "wire-1", mtom=True)
        assert (first.status, again.id) == (Status.ACCEPTED, first.id)
        assert (await sender.receipts("wire-1"))[0].id == first.id
