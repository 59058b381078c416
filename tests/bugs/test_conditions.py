"""What needs a person is said once when it begins, shown as long as it lasts, and said once when it is over."""

import asyncio
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from helping import govbus, until

from bus import log
from sandbox.process import BusProcess, DidNotStart

#: Root without what lets root write other people's files: files of another owner are that to it, while it can still read our Python.
NO_ROOT = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner,-chown", "--inh-caps=-all")


def events(bus: BusProcess, *names: str) -> list[object]:
    """Which of these events the log has, in order."""
    return [line["event"] for line in bus.log_lines() if line["event"] in names]


async def ready(bus: BusProcess, status: int) -> dict[str, dict[str, str]]:
    """Wait for this answer of the operators' /readyz."""
    async with asyncio.timeout(60):
        while (found := await asyncio.to_thread(bus.page, "/readyz"))[0] != status:
            await asyncio.sleep(0.1)
    said: dict[str, dict[str, str]] = json.loads(found[1])
    return said


async def test_a_foreign_lock_on_the_store_is_503_as_long_as_it_lasts(
    make_site: Callable[..., Path], start: Callable[..., BusProcess]
) -> None:
    """Another process holds the write lock: readable, not writable, so not ready; free again, ready again. One alarm, no bug of ours."""
    bus = await asyncio.to_thread(start, make_site())
    await ready(bus, 200)
    stranger = sqlite3.connect(bus.site / "data" / "bus.db", isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    assert "store" in (await ready(bus, 503))["parts"]
    stranger.execute("ROLLBACK")
    stranger.close()
    await ready(bus, 200)
    await until(lambda: log.STORE_BACK in events(bus, log.STORE_BACK))
    assert events(bus, log.STORE_UNAVAILABLE, log.STORE_BACK, log.UNEXPECTED) == [log.STORE_UNAVAILABLE, log.STORE_BACK]


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root, and setpriv to be less than root")
async def test_a_store_of_another_owner_is_no_start_until_it_is_ours_again(
    make_site: Callable[..., Path], start: Callable[..., BusProcess]
) -> None:
    """Readable and not writable: the daemon does not start and names the file; it is ready when the owner is mended."""
    site = make_site()
    database = site / "data" / "bus.db"
    assert govbus("messages", "--site", site).code == 0
    os.chown(database, 65534, 0)
    database.chmod(0o644)
    with pytest.raises(DidNotStart, match=r"bus\.db"):
        await asyncio.to_thread(start, site, under=NO_ROOT)
    os.chown(database, 0, 0)
    bus = await asyncio.to_thread(start, site, under=NO_ROOT)
    await ready(bus, 200)
    assert events(bus, log.UNEXPECTED) == []


@pytest.mark.parametrize("status", [401, 403, 404, 500, 200])
async def test_a_hub_that_refuses_every_poll_is_one_alarm_and_a_gauge(
    make_site: Callable[..., Path], start: Callable[..., BusProcess], status: int
) -> None:
    """Whatever it answers that is no list: opened once, shown by gauge and /readyz, and the bus goes on accepting."""
    polls = 0

    async def answer(_request: web.Request) -> web.Response:
        nonlocal polls
        polls += 1
        return web.Response(status=status, text="<html>no</html>", content_type="text/html")

    hub = web.Application()
    hub.router.add_route("*", "/{any:.*}", answer)
    runner = web.AppRunner(hub)
    await runner.setup()
    where = web.TCPSite(runner, "127.0.0.1", 0)
    await where.start()
    site = make_site()
    port = runner.addresses[0][1]
    settings = (site / "site.env").read_text().splitlines()
    hub_url = next(line.partition("=")[0] for line in settings if "8440" in line)
    try:
        bus = await asyncio.to_thread(start, site, environment={hub_url: f"http://127.0.0.1:{port}"})
        await until(lambda: polls and events(bus, log.FETCHING_FAILS))
        said = await ready(bus, 200)
        assert any(name.startswith("fetching-trouble") for name in said["warnings"])
        page = await asyncio.to_thread(bus.page, "/metrics")
        assert 'govbus_condition{about="national-exchange",key="fetching-trouble"} 1.0' in page[1]
        assert events(bus, log.FETCHING_FAILS, log.FETCHING_WORKS) == [log.FETCHING_FAILS]
    finally:
        await runner.cleanup()
