"""More than the bus can take: refused at the door with a time to come again, and never lost."""

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest
import uvicorn
from faults_rig import Rig, letter

from bus import arriving
from bus.audit import audit
from bus.errors import Deferred
from bus.http import Application
from bus.store import Standing
from sandbox import sites
from sandbox.unit import Unit

DOCUMENTS = 60


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the test runner owns the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _served(rig: Rig) -> AsyncIterator[str]:
    """The ministry's door on a TLS socket; its address."""
    own = rig.ministry.site.root / "certs" / "own"
    doors = [door for adapter in rig.ministry.endpoints.values() for door in adapter.doors()]
    application = Application(doors, {})
    settings = uvicorn.Config(
        application,  # type: ignore[arg-type]
        port=0,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        ssl_certfile=own / "tls.crt",
        ssl_keyfile=str(own / "tls.key"),
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
    )
    server = _Server(settings)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"https://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


async def test_fault_54_more_than_fits_is_put_off_and_never_lost(
    rig: Rig, made_sites: sites.Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too much at once is told 4.3.2 and when to come again; in the end each document is there, once."""
    text = "x" * 4000
    size = len(letter("document-00", "agency", text)) * 4 // 3 + 4000
    # Room for twenty of the sixty that come at once.
    monkeypatch.setattr(arriving, "MOST_SMALL", size * DOCUMENTS // 3)
    refused = Counter[str]()

    async def hand_in(unit: Unit, name: str) -> None:
        while True:
            try:
                await unit.send(letter(name, "agency", text), name)
            except Deferred as error:
                refused[error.reason("en")] += 1
                assert error.retry_after
                await asyncio.sleep(0.05)
            else:
                return

    trust = rig.ministry.site.root / "certs" / "own"
    names = [f"document-{number:02}" for number in range(DOCUMENTS)]
    async with _served(rig) as url, Unit.connect(url, "000.00.01.G14", keys=made_sites.key("telecom-authority"), trust=trust) as unit:
        await asyncio.gather(*(hand_in(unit, name) for name in names))
    assert refused
    assert all("4.3.2" in reason for reason in refused)
    await rig.until(lambda: rig.ministry.store.overview()["documents"][Standing.DELIVERED] == DOCUMENTS)
    assert rig.agency_bus.count() == DOCUMENTS
    for bus in (rig.ministry, rig.agency_bus):
        assert audit(bus.store, bus.evidence).findings == ()
