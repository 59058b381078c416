"""One run: a seed, the troubles it brings, their end, the rest that must follow, and the judgement.

The bus is given time: after the last trouble everything must come to rest by itself, within a bounded time and number of steps.
"""

import asyncio
import contextlib
import functools
import gc
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog
from nodes import Cluster, tuned
from oracle import judge
from partners import MOODS, SimulatedBug
from people import People
from plants import PLANTS
from simulated_store import Database, as_a_server
from virtual_loop import Stuck
from world import BEGIN, World

from bus import housekeeping, lanes, log, pki
from bus.errors import BusError
from bus.evidence import Evidence
from bus.keys import Keyring
from bus.receipt import Receipt

#: A run takes some ten thousand; this many are a hang.
MOST_STEPS = 2_000_000


@functools.cache
def _keyring() -> Keyring:
    """The site's keys; P-256, because a run signs and verifies some twenty receipts."""
    with tempfile.TemporaryDirectory() as directory:
        pki.development(Path(directory), organisation_name="Bộ Thử nghiệm", partners={}, now=BEGIN, key_type="ec-p256")
        return Keyring.load(Path(directory), {})


class Notary:
    """The site's real one, and what it remembers: when each receipt was sealed, by its id, and what the octets say that it gave away."""

    def __init__(self, world: World) -> None:
        self.evidence = Evidence(_keyring().signer("own/bus"), _keyring().own, world.clock)
        self.sealed: dict[str, float] = {}
        self.said: dict[bytes, Receipt] = {}
        self._elapsed = world.loop.time

    def seal(self, receipt: Receipt) -> bytes:
        xml = self.evidence.seal(receipt)
        self.sealed[receipt.id], self.said[xml] = self._elapsed(), receipt
        return xml


@dataclass(frozen=True)
class Outcome:
    """What came of a seed."""

    seed: int
    findings: tuple[str, ...]
    count: Counter[str]
    steps: int
    trace: tuple[tuple[float, str], ...]


def run(seed: int, database: Database, plant: str = "", *, told: bool = False) -> Outcome:
    """Run one seed; ``plant`` names a bug to be planted first; ``told``: the bus's own log goes into the trace."""
    gc.disable()
    world = World(seed, database)
    blobs = Path(tempfile.gettempdir()) / "govbus-simulation-blobs"
    notary = Notary(world)
    with contextlib.ExitStack() as stack:
        writing = stack.enter_context(PLANTS[plant](world.knobs.server))
        if world.knobs.server:
            stack.enter_context(as_a_server())
        stack.enter_context(_listening(world, told=told))
        stack.enter_context(tuned(world.knobs, world))
        cluster = Cluster(world, notary.seal, notary.evidence, blobs, writing)
        people = People(cluster)
        try:
            world.loop.run(_live(world, cluster, people), MOST_STEPS)
        except Stuck as error:
            world.find(f"stuck: {error}")
        judge(world, cluster, people.ledger, notary)
    for row in database.rows("SELECT event, count(*) AS times FROM journal GROUP BY event"):
        world.count[f"journal: {row['event']}"] += row["times"]
    gc.enable()
    return Outcome(seed, tuple(world.findings), world.count, world.loop.steps, tuple(world.trace))


async def _live(world: World, cluster: Cluster, people: People) -> None:
    """Troubles until the horizon, then rest."""
    world.note("knobs", world.knobs)
    for node in cluster.nodes:
        node.boot()
    people.begin()
    for kind, act in _troubles(world, cluster, people).items():
        if kind in world.knobs.mean:
            world.spawn(_befall(world, kind, act))
    await asyncio.sleep(world.knobs.horizon)
    _calm_down(world, cluster)
    await _rest(world, cluster, people)
    for node in cluster.nodes:
        if node.engine is None or not node.engine.alive():
            world.find(f"{node.name}: a loop of its engine has ended")
    # What nobody listened to is reported when it is collected: now, and not in the middle of another run.
    gc.collect()
    for trouble in world.loop.troubles:
        world.find(trouble)


async def _befall(world: World, kind: str, act: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(world.dice.expovariate(1 / world.knobs.mean[kind]))
        if not world.troubled:
            return
        act()


def _troubles(world: World, cluster: Cluster, people: People) -> dict[str, Callable[[], None]]:
    """What each kind of timed trouble does."""

    def outage() -> None:
        world.note("store-away")
        world.store_away = True
        world.outside(_store_back, world, after=world.dice.uniform(0.01, 0.2) * world.knobs.horizon)

    def clock() -> None:
        seconds = world.dice.choice((-1, 1)) * world.dice.choice((1.0, world.knobs.lease, world.knobs.horizon))
        world.step += type(world.step)(seconds=seconds)
        world.note("clock-stepped", seconds)

    def mood() -> None:
        partner = world.dice.choice(list(cluster.partners.values()))
        partner.mood = world.dice.choices(list(MOODS), list(MOODS.values()))[0]
        world.note(f"partner-{partner.mood}", partner.name)

    return {
        "kill": lambda: cluster.any_node().kill(),
        "stop": lambda: cluster.any_node().stop(),
        "freeze": lambda: world.freeze(cluster.any_node().life),
        "takeover": lambda: cluster.any_node().double(),
        "reload": lambda: cluster.any_node().reload(world.dice.randint(0, 9)),
        "clock": clock,
        "outage": outage,
        "partner-mood": mood,
        "operator": people.operate,
        "prune": people.prune,
    }


def _store_back(world: World) -> None:
    world.store_away = False


def _calm_down(world: World, cluster: Cluster) -> None:
    """The last trouble is over; what is frozen or down comes back by itself. Nobody has to hurry any more."""
    world.note("calm")
    world.troubled = world.store_away = False
    for partner in cluster.partners.values():
        partner.mood = "well"
    for node in cluster.nodes:
        node.reload(0)
    lanes.POLL_SECONDS = housekeeping.PAUSE_SECONDS = 60.0 * world.knobs.scale


async def _rest(world: World, cluster: Cluster, people: People) -> None:
    """Wait until nothing is owed any more but what nobody means to fetch."""
    knobs = world.knobs
    patience = 20 * knobs.horizon + 20 * knobs.lease + 100 * knobs.poll + 20 * knobs.most.total_seconds() + abs(world.step.total_seconds())
    deadline = world.loop.time() + patience
    while world.loop.time() < deadline:
        await asyncio.sleep(30.0 * knobs.scale)
        owed = _owed(world, people)
        if not owed and not people.sending and not cluster.feed.waiting and all(node.engine for node in cluster.nodes):
            world.note("rest")
            return
    world.find(f"no rest: {people.sending} senders without an answer, {len(cluster.feed.waiting)} not polled, owed {owed}")


def _owed(world: World, people: People) -> list[str]:
    rows = world.database.rows("SELECT * FROM deliveries WHERE state IN ('READY', 'CLAIMED', 'WAITING')")
    return [
        f"{row['state']} {row['id']} to {row['target']}" for row in rows if (row["owner"], row["public_id"]) not in people.ledger.ignored
    ]


@contextlib.contextmanager
def _listening(world: World, *, told: bool) -> Iterator[None]:
    """Hear what the bus says: an error that nobody foresaw is a finding."""
    before = structlog.get_config()

    def hear(_logger: object, _method: str, event: structlog.typing.EventDict) -> str:
        error = event.pop("exc_info", None)
        error = sys.exc_info()[1] if error is True else error
        world.count[f"log: {event['event']}"] += 1
        if event["event"] == log.UNEXPECTED and not isinstance(error, BusError | SimulatedBug):
            world.find(f"unexpected: {error!r}")
        if told:
            world.note("log", " ".join(f"{name}={value}" for name, value in event.items()) + (f" {error!r}" if error else ""))
        raise structlog.DropEvent

    level = logging.INFO if told else logging.WARNING
    structlog.configure(processors=[hear], wrapper_class=structlog.make_filtering_bound_logger(level), cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
