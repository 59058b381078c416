"""The daemon itself, with a partner that is not there."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from faults_rig import MINISTRY, copy_site, letter
from helping import until

from bus import log
from sandbox import sites
from sandbox.process import BusProcess
from sandbox.unit import Unit


async def test_fault_26_a_partner_that_is_down_is_an_alarm_and_not_our_unreadiness(
    made_sites: sites.Sites, tmp_path: Path, start: Callable[..., BusProcess]
) -> None:
    """The lane's gauge and one alarm say it; /readyz stays well, the doors take documents, and what waits is not tried in vain."""
    site = copy_site(made_sites.ministry, tmp_path)
    (site / "routes.yaml").write_text(MINISTRY.replace("tls: none", "tls: own/tls").replace("probe-first: 100ms", "probe-first: 1h"))
    nobody = {"AGENCY_URL": "https://127.0.0.1:1/soap", "VXP_URL": "http://127.0.0.1:1", "VXP_SECRET": "a secret of the tests"}
    daemon = await asyncio.to_thread(start, site, environment=nobody)
    keys = made_sites.key("telecom-authority")
    async with Unit.connect(daemon.url, "000.00.01.G14", keys=keys, trust=site / "certs" / "own") as unit:

        async def page(path: str) -> tuple[int, str]:
            return await asyncio.to_thread(daemon.page, path)

        for number in range(12):
            await unit.send(letter(f"document-{number}", "agency"), f"document-{number}")
        await until(lambda: any(line["event"] == log.PARTNER_DOWN for line in daemon.log_lines()))
        assert 'govbus_lane_stopped{target="agency"} 1.0' in (await page("/metrics"))[1]
        assert (await page("/readyz"))[0] == 200
    lines = daemon.log_lines()
    (alarm,) = [line for line in lines if line["event"] == log.PARTNER_DOWN]
    assert (alarm["level"], alarm["target"]) == ("error", "agency")
    tried = {line["message"] for line in lines if line["event"] == log.DEFERRED}
    assert 5 <= len(tried) < 12
