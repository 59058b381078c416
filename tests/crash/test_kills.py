"""A small share of ``make crash``: every named point once on SQLite, some on PostgreSQL, and a zombie."""

import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from crash_life import BUSES, SETTLE_SECONDS, Life, Verdict, live
from crash_nodes import Node, Runs
from crash_plan import ANY_MOMENT, SHOTS, Cue, Shot
from helping import until
from servers import PostgresServer

from bus.receipt import Status
from sandbox import documents
from sandbox.demo import connect_unit
from sandbox.documents import PARTNER_AGENCY, TELECOM_AUTHORITY

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runs() -> AsyncIterator[Runs]:
    """Starts daemons quickly."""
    async with Runs() as running:
        yield running


def once_each(shots: tuple[Shot, ...] = SHOTS) -> list[Shot]:
    """One shot at each point, of whichever bus, and at each kind of transaction, on whichever side of its commit."""
    rng = random.Random(1)
    chosen = {shot.visit.split()[-1]: shot for shot in rng.sample(shots, len(shots)) if shot.cue is not Cue.CLOCK}
    return list(chosen.values())


def assert_good(verdict: Verdict, kills: int) -> None:
    """As many kills as were planned, and nothing wrong."""
    assert verdict.findings == []
    assert verdict.kills.total() == kills
    assert verdict.documents > 0


async def test_fault_01_02_03_05_a_kill_at_every_named_point_loses_nothing_and_does_nothing_twice(runs: Runs, tmp_path: Path) -> None:
    """One life on SQLite with a kill at each point: every document arrives once, every receipt is there, both audits are clean."""
    shots = once_each()
    assert_good(await live(runs, tmp_path, {}, shots, seed=1), len(shots))


async def test_fault_01_kills_on_postgresql_lose_nothing_and_do_nothing_twice(runs: Runs, tmp_path: Path, postgres: PostgresServer) -> None:
    """The same on PostgreSQL, at the points where the store is at its most delicate."""
    delicate = ("store.before-commit accept", "store.after-commit finish", "store.before-commit several", "lane.sent", "blob.written")
    shots = [shot for shot in SHOTS if shot.node == "ministry" and shot.visit in delicate]
    stores = {name: postgres.url(postgres.create()) for name in BUSES}
    assert_good(await live(runs, tmp_path, stores, shots, seed=2), len(shots))


async def test_fault_04_kills_at_moments_that_nobody_chose(runs: Runs, tmp_path: Path) -> None:
    """Both buses are killed again and again under load, wherever they are."""
    shots = [Shot(node, ANY_MOMENT, Cue.CLOCK) for node in ("ministry", "hub", "ministry", "ministry")]
    assert_good(await live(runs, tmp_path, {}, shots, seed=4), len(shots))


async def test_fault_05_sigterm_while_draining_and_while_reloading_ends_in_order(runs: Runs, tmp_path: Path) -> None:
    """Told twice to stop, or to reload and to stop, under load and with two workers: each time it drains, exits 0 and loses nothing."""
    async with Life(runs, tmp_path, {}, seed=5, workers=2) as life:
        ministry = life.nodes["ministry"]
        await life.begin([])
        async with life.post.at_work(ministry):
            for together in (
                (signal.SIGTERM, signal.SIGTERM),
                (signal.SIGHUP, signal.SIGTERM),
                (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM),
            ):
                already = len(life.book.promises)
                await until(lambda already=already: len(life.book.promises) > already + 3)
                for number in together:
                    ministry.signal(number)
                assert await ministry.end() == 0
                await ministry.start()
            await life.post.rest()
            await life.post.settle(SETTLE_SECONDS)
        assert_good(await life.judge(), 0)


async def test_fault_06_a_worker_that_was_stopped_for_longer_than_its_lease_commits_nothing(runs: Runs, tmp_path: Path) -> None:
    """SIGSTOP after the partner's yes: the other worker takes the delivery over and ends it; SIGCONT: the zombie finds its claim lost."""
    async with Life(runs, tmp_path, {}, seed=6, workers=2) as life, connect_unit(life.made, TELECOM_AUTHORITY) as unit:
        ministry = life.nodes["ministry"]
        ministry.environment["GOVBUS_LEASE"] = "5"
        await life.begin([])
        # A process stopped in the middle of a transaction keeps the one lock of an embedded store: both have begun, and rest.
        await until(lambda: "checkpoint.time-stamped" in events(ministry))
        ministry.arm("lane.sent", 1, signal.SIGSTOP)
        body = documents.make(sender=TELECOM_AUTHORITY, receivers=(PARTNER_AGENCY,), number=60)
        life.book.expect(PARTNER_AGENCY.code, body)
        await unit.send(body, "taken-over")
        await until(lambda: bool(ministry.struck()))
        try:
            await until(lambda: "delivery.delivered" in events(ministry))
        finally:
            os.kill(ministry.struck()[0][0], signal.SIGCONT)
        await until(lambda: "delivery.claim-lost" in events(ministry))
        assert [receipt.status for receipt in await unit.receipts("taken-over")] == [Status.ACCEPTED, Status.DELIVERED]
        assert_good(await life.judge(), 0)


def events(node: Node) -> set[str]:
    """What has happened, by the log."""
    return {line.split(b'"event":"')[1].split(b'"')[0].decode() for line in node.log.read_bytes().splitlines() if b'"event":"' in line}
