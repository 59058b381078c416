"""Receipts that bring a time-stamp along: an auditor's, years later."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tsa_server import Authority, TimestampServer

from bus import timestamps
from bus.signature import xades
from sandbox import documents, sites
from sandbox.process import BusProcess
from sandbox.unit import Unit


async def test_receipts_are_given_as_xades_b_t(tmp_path: Path, start: Callable[..., BusProcess]) -> None:
    """Each with a token of the site's authority over its signature; a site without one says so in its operator's language."""
    made = sites.create(tmp_path, datetime.now(UTC))
    authority = Authority(datetime.now(UTC))
    authority.write(made.ministry / "certs" / "trust" / "tsa")
    environment = {"AGENCY_URL": "https://127.0.0.1:1/soap", "GOVBUS_LANG": "vi"}
    bus = await asyncio.to_thread(start, made.ministry, environment=environment)
    keys, trust = made.key("telecom-authority"), made.ministry / "certs" / "own"
    async with Unit.connect(bus.url, "000.00.01.G14", keys=keys, trust=trust) as unit:
        await unit.send(documents.make(), "m1")
    with TimestampServer(authority) as server:
        environment |= {"TSA_URL": server.url}
        none = await asyncio.to_thread(_receipts, made.ministry, environment)
        assert (none.returncode, "không khai báo cơ quan cấp dấu thời gian" in none.stdout + none.stderr) == (1, True)
        routes = made.ministry / "routes.yaml"
        text = routes.read_text(encoding="utf-8")
        routes.write_text(text.replace("  tls: own/tls\n", "  tls: own/tls\n  timestamps: {url: env:TSA_URL}\n"), encoding="utf-8")
        done = await asyncio.to_thread(_receipts, made.ministry, environment)
    (receipt,) = json.loads(done.stdout)
    verified = xades.verify(receipt.encode(), lambda certificate: True)
    (stamp,) = verified.time_stamps
    at = timestamps.verify(stamp.token, stamp.octets, authority.anchors()).at
    assert b"<Status>ACCEPTED</Status>" in verified.octets
    assert at >= verified.signed_at.replace(microsecond=0)


def _receipts(site: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bus", "receipts", "m1", "--time-stamp", "--site", str(site), "--json"]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
