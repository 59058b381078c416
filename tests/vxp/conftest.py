"""Sites, listeners and clients for the buses of ``vxp_buses``."""

import shutil
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from vxp_buses import CAPTURED_AT, CODE_BOOK, HUB, MINISTRY, OFFICE, SECRETS, UNIT, Node, machine, now, running

from adapters.vxp import Account, Client
from bus import config, pki
from bus.config import Loaded
from bus.endpoint import Door
from bus.site import Clock


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One development PKI for all the sites: VXP signs with secrets, only the receipts need a key."""
    directory = tmp_path_factory.mktemp("pki") / "certs"
    pki.development(directory, organisation_name="Bộ thử nghiệm", partners={}, now=now(), key_type="ec-p256")
    return directory


@pytest.fixture
def make_site(tmp_path: Path, certs: Path) -> Callable[..., Loaded]:
    """Writes and loads a site; keywords are more environment."""

    def make(name: str, routes: str, clock: Clock = now, **environment: str) -> Loaded:
        root = tmp_path / name
        (root / "schemas/organisations/v1").mkdir(parents=True)
        (root / "schemas/organisations/v1/organisations.csv").write_text(CODE_BOOK, encoding="utf-8")
        (root / "routes.yaml").write_text(routes, encoding="utf-8")
        (root / "data").mkdir()
        shutil.copytree(certs, root / "certs")
        return config.load(root, environment=SECRETS | environment, clock=clock)

    return make


@pytest.fixture
def listen() -> Iterator[Callable[[], socket.socket]]:
    """Makes loopback listeners."""
    sockets: list[socket.socket] = []

    def make() -> socket.socket:
        sockets.append(listener := socket.create_server(("127.0.0.1", 0)))
        return listener

    yield make
    for listener in sockets:
        listener.close()


@pytest.fixture
async def hub(make_site: Callable[..., Loaded], listen: Callable[[], socket.socket]) -> AsyncIterator[Node]:
    """The hub, running."""
    async with running(make_site("hub", HUB), listen()) as node:
        yield node


@pytest.fixture
async def hub_of_the_capture(make_site: Callable[..., Loaded]) -> AsyncIterator[Door]:
    """The door of a hub in whose time the SDK was recorded, and which knows the secret it used."""
    loaded = make_site("hub", HUB, lambda: CAPTURED_AT, MINISTRY_SECRET="test-secret")
    adapter = loaded.endpoints["exchange"]
    with machine(loaded, lambda: CAPTURED_AT) as (engine, _):
        await adapter.start(engine)
        yield adapter.doors()[0][1]


@pytest.fixture
async def client() -> AsyncIterator[Callable[..., Client]]:
    """Makes clients of a hub for one of our systems, and closes them."""
    clients: list[Client] = []

    def make(node: Node, system: str, path: str = "/vxp/exchange", secret: str = "") -> Client:
        secret = secret or {MINISTRY: "ministry-secret", OFFICE: "office-secret", UNIT: "unit-secret"}[system]
        clients.append(Client(Account(node.url + path, system, secret), name="hub", clock=now))
        return clients[-1]

    yield make
    for each in clients:
        await each.close()
