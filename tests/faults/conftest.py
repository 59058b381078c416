"""The buses and partners of the fault tests."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from faults_rig import AGENCY, HASTY, MINISTRY, Bus, Rig, hub_answer, now
from partner_server import PartnerServer

from bus import config
from bus.engine import Engine
from bus.evidence import Evidence
from bus.http import tls_context
from bus.ids import uuid7
from bus.store import Store
from sandbox import sites


@pytest.fixture(scope="session")
def made_sites(tmp_path_factory: pytest.TempPathFactory) -> sites.Sites:
    """Sites with their keys, made once."""
    return sites.create(tmp_path_factory.mktemp("faults"), now())


@asynccontextmanager
async def bus(directory: Path, routes: str, environment: dict[str, str]) -> AsyncIterator[Bus]:
    """A bus over a site's keys, with these routes."""
    (directory / "routes.yaml").write_text(routes, encoding="utf-8")
    loaded = config.load(directory, environment=environment, clock=now)
    evidence = Evidence(loaded.site.keyring.signer(loaded.site.key), loaded.site.keyring.own, now)
    url = f"sqlite:///{directory / 'data' / 'bus.db'}"
    store = Store.open(url, seal=evidence.seal, organisation=loaded.site.organisation, clock=now, ids=uuid7(now), chain="main")
    engine = Engine(loaded.site, store, loaded.endpoints, loaded.routes, clock=now, ids=uuid7(now))
    await engine.start()
    yield Bus(loaded.site, store, engine, evidence, loaded.endpoints)
    await engine.stop(grace=2.0)
    store.close()


@pytest.fixture
def make_rig(made_sites: sites.Sites, tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Rig]]:
    """Starts the ministry, by these routes, and its two partners."""

    @asynccontextmanager
    async def start(routes: str = MINISTRY) -> AsyncIterator[Rig]:
        for name in ("ministry", "agency"):
            shutil.copytree(getattr(made_sites, name), tmp_path / name)
            (tmp_path / name / ".env").unlink(missing_ok=True)
        async with AsyncExitStack() as stack:
            agency = await stack.enter_async_context(bus(tmp_path / "agency", AGENCY, {}))
            own = tmp_path / "agency" / "certs" / "own"
            service = await PartnerServer(agency.asked).open(tls_context(own / "tls.crt", own / "tls.key"))
            hub = await PartnerServer(hub_answer).open()
            for server in (service, hub):
                stack.push_async_callback(server.shut)
            environment = {
                "AGENCY_URL": f"https://127.0.0.1:{service.port}/soap/documents",
                "VXP_URL": f"http://127.0.0.1:{hub.port}/vxp/exchange",
                "VXP_SECRET": "a secret of the tests",
            }
            ministry = await stack.enter_async_context(bus(tmp_path / "ministry", routes, environment))
            yield Rig(ministry, agency, {"agency": service, "exchange": hub})

    return start


@pytest.fixture
async def rig(make_rig: Callable[..., AbstractAsyncContextManager[Rig]]) -> AsyncIterator[Rig]:
    """The ministry and its two partners, running."""
    async with make_rig() as made:
        yield made


@pytest.fixture
async def hasty(make_rig: Callable[..., AbstractAsyncContextManager[Rig]]) -> AsyncIterator[Rig]:
    """The same, giving up a call after a second."""
    async with make_rig(HASTY) as made:
        yield made
