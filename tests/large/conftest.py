"""One ministry's bus for the folder, and the ways that its tests talk to it: a unit's client, and bare sockets."""

import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sandbox import sites
from sandbox.process import BusProcess


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> sites.Sites:
    """The sandbox's sites, with keys of their own."""
    return sites.create(tmp_path_factory.mktemp("large"), datetime.now(UTC))


@pytest.fixture(scope="session")
def ministry(places: sites.Sites) -> Iterator[BusProcess]:
    """The ministry's bus, running."""
    with BusProcess(places.ministry, port=places.ports["ministry"]) as process:
        yield process


@pytest.fixture
def dial(places: sites.Sites, ministry: BusProcess) -> Iterator[Callable[[], ssl.SSLSocket]]:
    """Opens bare TLS connections to the bus, and closes them after the test."""
    import socket

    context = ssl.create_default_context(cafile=str(Path(places.authority)))
    address = urlsplit(ministry.url)
    opened: list[ssl.SSLSocket] = []

    def connect() -> ssl.SSLSocket:
        plain = socket.create_connection((address.hostname or "", address.port or 0), timeout=60)
        opened.append(context.wrap_socket(plain, server_hostname=address.hostname))
        return opened[-1]

    yield connect
    for channel in opened:
        channel.close()
