"""The buses and partners of the fault tests."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from faults_rig import AGENCY, HASTY, MINISTRY, Rig, bus, copy_site, hub_answer, now
from partner_server import PartnerServer

from bus.http import tls_context
from bus.site import Clock
from sandbox import sites


@pytest.fixture(scope="session")
def made_sites(tmp_path_factory: pytest.TempPathFactory) -> sites.Sites:
    """Sites with their keys, made once."""
    return sites.create(tmp_path_factory.mktemp("faults"), now())


@pytest.fixture
def make_rig(made_sites: sites.Sites, tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Rig]]:
    """Starts the ministry, by these routes and this clock, and its two partners."""

    @asynccontextmanager
    async def start(routes: str = MINISTRY, clock: Clock = now) -> AsyncIterator[Rig]:
        for name in ("ministry", "agency"):
            copy_site(getattr(made_sites, name), tmp_path)
        async with AsyncExitStack() as stack:
            agency = await stack.enter_async_context(bus(tmp_path / "agency", {}, routes=AGENCY))
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
            ministry = await stack.enter_async_context(bus(tmp_path / "ministry", environment, routes=routes, clock=clock))
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
