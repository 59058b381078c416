"""Fixtures of the SOAP tests: a running bus, and sockets for partners of every kind."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from soap_rig import ROUTES, Rig, build, now

from bus import pki
from bus.http import tls_context


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
        if arrange is None:
            return build(root, certs, routes, environment)
        own = tmp_path_factory.mktemp("certs") / "certs"
        shutil.copytree(certs, own)
        arrange(own)
        return build(root, own, routes, environment)

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
