"""The daemon with its switch: what /readyz, /metrics, a partner and the audit see of an authority that is down from the first start."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from helping import until
from tsa_server import Authority, TimestampServer

from bus import log
from sandbox import documents, sites
from sandbox.process import BusProcess
from sandbox.unit import Unit

LIMITED = "  tls: own/tls\n  timestamps: {url: env:TSA_URL, every: 1s, limit: 3s}\n"


async def test_fault_39_the_daemon_stops_accepting_at_the_limit_and_goes_on_without_a_restart(
    tmp_path: Path, start: Callable[..., BusProcess]
) -> None:
    """Down from the first start: 503 in the operator's language, the alarm, 4.3.2 for a partner; then all is well, for every worker."""
    made = sites.create(tmp_path, datetime.now(UTC))
    routes = made.ministry / "routes.yaml"
    routes.write_text(routes.read_text(encoding="utf-8").replace("  tls: own/tls\n", LIMITED), encoding="utf-8")
    tsa = Authority(datetime.now(UTC))
    tsa.write(made.ministry / "certs" / "trust" / "tsa")
    with TimestampServer(tsa) as server:
        server.down = True
        environment = {"TSA_URL": server.url, "AGENCY_URL": "https://127.0.0.1:1/soap", "GOVBUS_LANG": "vi"}
        bus = await asyncio.to_thread(start, made.ministry, environment=environment, workers=2)

        async def page(path: str) -> tuple[int, str]:
            return await asyncio.to_thread(bus.page, path)

        async def ready(status: int) -> str:
            async with asyncio.timeout(60):
                while (found := await page("/readyz"))[0] != status:
                    await asyncio.sleep(0.1)
            return found[1]

        said = json.dumps(json.loads(await ready(503)), ensure_ascii=False)
        assert "Tạm ngừng tiếp nhận: dấu thời gian gần nhất" in said
        await until(lambda: any(line["event"] == log.TIMESTAMPS_STALE for line in bus.log_lines()))
        assert re.search(r"^govbus_timestamp_age_seconds [1-9]", (await page("/metrics"))[1], re.MULTILINE)
        await refused(made, bus)
        server.down = False
        # Every worker must have heard: with several, each answer may be another's.
        for _ in range(20):
            await ready(200)
    assert "alarm.timestamps-stale" in {line["event"] for line in bus.log_lines()}
    bus.stop()
    command = [sys.executable, "-m", "bus", "audit", "--site", str(made.ministry), "--json"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    report = json.loads(done.stdout)
    assert (report["findings"], report["counts"]["checkpoints"] > 0, report["counts"]["timestamps"] > 0) == ([], True, True)


async def refused(made: sites.Sites, bus: BusProcess) -> None:
    """A unit's document is put off: 4.3.2 in both languages; nothing of it was accepted."""
    keys = made.key("telecom-authority")
    async with Unit.connect(bus.url, "000.00.01.G14", keys=keys, trust=made.ministry / "certs" / "own") as unit:
        with pytest.raises(Exception, match=r"4\.3\.2"):
            await unit.send(documents.make(), "m1")
