"""A worker that is stopped and wakes up, and clocks that do not agree: on real processes and real sockets."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from faults_rig import MINISTRY, Bus, Rig, bus, copy_site, handed_in, hub_answer, now
from helping import until
from partner_server import FAULT, Asked, PartnerServer, reply, says

from bus import housekeeping, log
from bus.audit import audit
from bus.store import Owed
from sandbox import sites

LEASE_SECONDS = 3.0


async def _take_over(living: Bus) -> None:
    """Wait until the living node has delivered what the stopped one had claimed."""
    await until(lambda: [living.evidence.read(xml).status for xml in living.store.receipts_of("m")] == ["ACCEPTED", "DELIVERED"])


async def test_fault_06_a_worker_stopped_for_longer_than_its_lease_cannot_commit(
    made_sites: sites.Sites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP in mid-send: another node takes over when the lease is over; the first wakes with the partner's yes in hand, in vain."""
    monkeypatch.setattr(housekeeping, "PAUSE_SECONDS", 0.1)
    site, zombie_log, answer = copy_site(made_sites.ministry, tmp_path), tmp_path / "zombie.log", asyncio.Event()
    (site / "routes.yaml").write_text(MINISTRY, encoding="utf-8")

    async def late(server: PartnerServer, asked: Asked, writer: asyncio.StreamWriter) -> None:
        await answer.wait()
        await reply(writer, await server.well(asked))

    hub = await PartnerServer(hub_answer, {"m": [late]}).open()
    environment = {"AGENCY_URL": "https://127.0.0.1:1/", "VXP_URL": f"http://127.0.0.1:{hub.port}", "VXP_SECRET": "a secret of the tests"}
    async with bus(site, environment, chain="door", lanes=False) as door:
        message = handed_in("m", "exchange")
        await door.store.accept(message, Owed(route="documents", target="exchange", message=message, expires=now() + timedelta(hours=1)))
    with zombie_log.open("wb") as written:
        command = [sys.executable, str(Path(__file__).parent / "worker_node.py"), str(site), "zombie", str(LEASE_SECONDS)]
        paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
        zombie = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=written, env={**os.environ, **environment, **paths})
    try:
        await until(lambda: hub.times("m") == 1)
        zombie.send_signal(signal.SIGSTOP)
        async with bus(site, environment, lease=timedelta(seconds=LEASE_SECONDS)) as living:
            await _take_over(living)
            answer.set()
            await until(lambda: hub.taken["m"] == 2)
            zombie.send_signal(signal.SIGCONT)
            await until(lambda: log.LOST_CLAIM in zombie_log.read_text())
            (story,) = living.store.show("m")
            assert [row["event"] for row in story.journal].count("delivered") == 1
            assert audit(living.store, living.evidence).findings == ()
    finally:
        zombie.kill()
        zombie.wait()
        await hub.shut()


async def test_fault_36_a_service_that_finds_our_timestamp_stale_rejects_no_document(rig: Rig) -> None:
    """Other stacks say so by an unsigned fault of WS-Security's own: the document waits for a clock that is right."""
    stale = FAULT.replace("e:{}", "wsu:MessageExpired")
    rig.servers["agency"].script["m"] = [says(500, stale, "text/xml")]
    await rig.hand_in("m", "agency")
    await rig.delivered("m")
    assert rig.failures("m") == ["4.7.0"]


class Skewed:
    """A clock that is wrong by ``by``."""

    def __init__(self, by: timedelta) -> None:
        self.by = by

    def __call__(self) -> datetime:
        return now() + self.by


@pytest.mark.parametrize("by", [timedelta(minutes=4, seconds=30), timedelta(minutes=-4, seconds=-30)])
async def test_fault_36_a_clock_wrong_by_less_than_the_skew_is_let_pass(
    make_rig: Callable[..., AbstractAsyncContextManager[Rig]], by: timedelta
) -> None:
    """Five minutes either way is what both sides allow; the request and the reply stay within."""
    async with make_rig(clock=Skewed(by)) as rig:
        await rig.hand_in("m", "agency")
        await rig.delivered("m")
        assert rig.failures("m") == []


@pytest.mark.parametrize("by", [timedelta(minutes=20), timedelta(minutes=-20)])
async def test_fault_36_a_clock_wrong_by_more_defers_and_rejects_nothing(
    make_rig: Callable[..., AbstractAsyncContextManager[Rig]], by: timedelta
) -> None:
    """Each side refuses the other's timestamp: no fault of the document's, which waits and goes out when the clock is right."""
    clock = Skewed(by)
    async with make_rig(clock=clock) as rig:
        await rig.hand_in("m", "agency")
        await rig.until(lambda: bool(rig.failures("m")))
        put_off = rig.acts("m", "deferred")[0]
        assert (put_off["code"], rig.statuses("m"), rig.agency_bus.count()) == ("4.4.0", ["ACCEPTED"], 0)
        assert "timestamp" in put_off["reasons"]["en"]
        if by < timedelta():
            clock.by = timedelta()
            await rig.delivered("m")
