"""The HTTP edge: health, metrics, limits and silence, over real sockets."""

import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bus import arriving
from sandbox.process import BusProcess


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BusProcess]:
    """One daemon for the module."""
    from datetime import UTC, datetime

    from bus import scaffold

    site = tmp_path_factory.mktemp("edge") / "site"
    scaffold.create(site, datetime.now(UTC))
    with BusProcess(site) as process:
        yield process


def connection(bus: BusProcess) -> http.client.HTTPSConnection:
    address = urlsplit(bus.url)
    context = ssl.create_default_context(cafile=str(bus.site / "certs" / "own" / "ca.crt"))
    return http.client.HTTPSConnection(address.hostname or "", address.port, context=context, timeout=20)


def get(bus: BusProcess, path: str) -> tuple[int, str, bytes]:
    channel = connection(bus)
    channel.request("GET", path)
    response = channel.getresponse()
    return response.status, response.headers["Content-Type"], response.read()


def test_health_and_readiness_are_json(bus: BusProcess) -> None:
    """A well bus answers 200 and says so in JSON; its TLS certificate is the site's own."""
    for path in ("/healthz", "/readyz"):
        assert get(bus, path) == (200, "application/json", b'{"status":"ok"}\n')


def test_metrics_are_prometheus_text(bus: BusProcess) -> None:
    """The metrics hold no id and no secret: only names from routes.yaml."""
    status, body = bus.page("/metrics")
    assert status == 200
    assert "govbus_certificate_days_left" in body


@pytest.mark.parametrize("path", ["/", "/soap", "/soap/nothing", "/console/../metrics", "/vxp/x/sendEdoc"])
def test_what_is_no_door_is_404(bus: BusProcess, path: str) -> None:
    """Paths that nobody declared lead nowhere."""
    assert get(bus, path)[0] == 404


def test_a_body_over_the_limit_is_a_fault_and_is_not_kept(bus: BusProcess) -> None:
    """A request over the size limit gets a SOAP fault 5.6.1; it is refused from its Content-Length, and while it streams in."""
    channel = connection(bus)
    channel.putrequest("POST", "/soap/documents")
    channel.putheader("Content-Type", "text/xml; charset=utf-8")
    channel.putheader("Transfer-Encoding", "chunked")
    channel.endheaders()
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    for _ in range(arriving.MOST_BODY // 0x100000 + 2):
        channel.send(chunk)
    channel.send(b"0\r\n\r\n")
    response = channel.getresponse()
    body = response.read()
    assert response.status == 500
    assert b"5.6.1" in body


def test_a_client_that_falls_silent_is_let_go(bus: BusProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is cut in mid-body costs nothing: the bus answers the next request at once."""
    address = urlsplit(bus.url)
    context = ssl.create_default_context(cafile=str(bus.site / "certs" / "own" / "ca.crt"))
    half = b"POST /soap/documents HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: 1000\r\n\r\n<half"
    with (
        socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as channel,
    ):
        channel.sendall(half)
    assert get(bus, "/healthz")[0] == 200


def test_a_false_host_header_is_not_reflected(bus: BusProcess) -> None:
    """The address in the served WSDL is the one the client reached, and never what an attacker wrote into Host."""
    channel = connection(bus)
    channel.putrequest("GET", "/soap/documents?wsdl", skip_host=True)
    channel.putheader("Host", 'evil"/><script>')
    channel.endheaders()
    body = channel.getresponse().read()
    assert b"evil" not in body
    assert bus.url.encode() in body


def test_the_wsdl_names_the_address_the_client_used(bus: BusProcess, make_site: Callable[..., Path]) -> None:
    """A client that came by name finds the name in the WSDL, not our idea of our address."""
    port = urlsplit(bus.url).port
    channel = connection(bus)
    channel.request("GET", "/soap/documents?wsdl", headers={"Host": f"bus.example:{port}"})
    assert f"https://bus.example:{port}/soap/documents".encode() in channel.getresponse().read()
