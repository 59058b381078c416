"""Fixtures of the SOAP tests: a running bus, and sockets for partners of every kind."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from soap_rig import MINISTRY, ROUTES, Rig, now

from bus import config, pki
from bus.engine import Engine
from bus.evidence import Evidence
from bus.http import tls_context
from bus.ids import uuid7
from bus.store import Store
from sandbox.unit import read_signer

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One development PKI for all tests of this area: RSA keys take a while to make."""
    directory = tmp_path_factory.mktemp("pki") / "certs"
    pki.development(directory, organisation_name="Bộ Thông tin và Truyền thông", partners={"unit": "Đơn vị", "other": "Bộ khác"}, now=now())
    return directory


@pytest.fixture(scope="session")
def make_rig(tmp_path_factory: pytest.TempPathFactory, certs: Path) -> Callable[..., Rig]:
    """Builds a rig from a routes.yaml; not started yet."""

    def make(routes: str = ROUTES, environment: dict[str, str] | None = None, arrange: Callable[[Path], None] | None = None) -> Rig:
        root = tmp_path_factory.mktemp("site")
        (root / "routes.yaml").write_text(routes, encoding="utf-8")
        shutil.copytree(REPOSITORY / "schemas", root / "schemas")
        shutil.copytree(certs, root / "certs")
        if arrange:
            arrange(root / "certs")
        (root / "data").mkdir()
        loaded = config.load(root, environment={"UNIT_PASSWORD": "bí mật", **(environment or {})}, clock=now)
        evidence = Evidence(loaded.site.keyring.signer("own/bus"), loaded.site.keyring.own, now)
        store = Store.open(
            f"sqlite:///{root / 'data' / 'bus.db'}",
            seal=evidence.seal,
            organisation=MINISTRY,
            clock=now,
            ids=uuid7(now),
            chain="test",
            blobs=root / "data" / "blobs",
        )
        engine = Engine(loaded.site, store, loaded.endpoints, loaded.routes, clock=now, ids=uuid7(now))
        development = root / "certs" / "development"
        unit, other = (read_signer(development / partner) for partner in ("unit", "other"))
        return Rig(loaded.site, engine, store, dict(loaded.endpoints), unit, other)

    return make


@pytest.fixture
async def rig(make_rig: Callable[..., Rig]) -> AsyncIterator[Rig]:
    """The bus of ``ROUTES``, running."""
    made = make_rig()
    await made.engine.start()
    yield made
    await made.engine.stop(grace=1)
    made.store.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_rig(make_rig: Callable[..., Rig]) -> AsyncIterator[Rig]:
    """The same for a whole module."""
    made = make_rig()
    await made.engine.start()
    yield made
    await made.engine.stop(grace=1)
    made.store.close()


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def serve(certs: Path) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Puts a handler on a loopback TLS socket, with the TLS key in that directory; returns its address."""
    runners: list[web.AppRunner] = []

    async def start(handler: Handler, keys: str = "development/other", *, tls: bool = True) -> str:
        application = web.Application(client_max_size=1 << 27)
        application.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(application)
        await runner.setup()
        runners.append(runner)
        context = tls_context(certs / keys / "tls.crt", certs / keys / "tls.key") if tls else None
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port = runner.addresses[0][1]
        return f"{'https' if tls else 'http'}://127.0.0.1:{port}/soap"

    yield start
    for runner in runners:
        await runner.cleanup()
