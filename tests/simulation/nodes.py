"""Nodes: the real engine on the simulated store, in processes that are killed, stopped, frozen, doubled and configured anew."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import small_site
from knobs import Knobs
from partners import Feed, Link, Partner, Poller
from simulated_store import Database, SimulatedStore
from virtual_loop import LIFE, Life
from world import World

from bus import checkpointing, housekeeping, lanes, points
from bus import engine as machine
from bus.checkpointing import Checkpointing
from bus.endpoint import Adapter, Bus, Door, Features, Sent
from bus.engine import Engine
from bus.errors import Deferred
from bus.evidence import Evidence
from bus.message import Message
from bus.receipt import Receipt
from bus.retry import RetryPolicy
from bus.steady import Steady
from bus.store import pruning
from bus.store.transaction import Context
from bus.store.writer import Writer


class Mailbox:
    """The adapter of an endpoint that partners fetch from: nothing to do but to be there."""

    features = Features(mailbox=True)

    def __init__(self, name: str) -> None:
        self.name = name

    def doors(self) -> list[tuple[str, Door]]:
        return []

    async def start(self, bus: Bus) -> None:
        """Nothing to poll."""

    async def stop(self) -> None:
        """Nothing to close."""

    async def send(self, message: Message) -> Sent:
        raise NotImplementedError


@dataclass(eq=False)
class Cluster:
    """All nodes on the one store, and what they are connected to."""

    world: World
    seal: Callable[[Receipt], bytes]
    evidence: Evidence
    blobs: Path
    writing: Callable[[Database, Context], Writer]
    partners: dict[str, Partner] = field(default_factory=dict)
    feed: Feed = field(init=False)
    nodes: list["Node"] = field(default_factory=list)

    def __post_init__(self) -> None:
        world, knobs = self.world, self.world.knobs
        self.partners = {name: Partner(world, name) for name in small_site.PUSHED}
        self.feed = Feed(world, small_site.FEED)
        self.site = small_site.site(world.clock, self.blobs)
        self.plan = small_site.Plan(self.site, RetryPolicy(first=knobs.first, most=knobs.most, give_up=knobs.give_up), knobs.confirm_within)
        self.nodes = [Node(self, f"node-{number}") for number in range(knobs.nodes)]
        world.killed = self._killed

    def open_store(self, chain: str) -> SimulatedStore:
        """A store on journal chain ``chain``."""
        world = self.world
        return SimulatedStore(
            world.database,
            self.writing,
            chain=chain,
            clock=world.clock,
            ids=world.ids,
            seal=self.seal,
            organisation=small_site.ORGANISATION,
            blobs=self.blobs,
        )

    def endpoints(self, generation: int) -> dict[str, Adapter]:
        """New adapters, as a load of the configuration makes them."""
        links = [Link(self.partners[name], self.world.knobs.lane) for name in self.plan.pushed(generation)]
        boxes = [Mailbox(small_site.MAILBOX), Mailbox(small_site.RECEIPTS)]
        feed = Poller(self.feed, period=self.world.knobs.poll)
        return {adapter.name: adapter for adapter in (*links, *boxes, feed)}

    def tell_others(self, teller: "Node", target: str) -> None:
        """What RabbitMQ does between nodes, as far as it can be relied upon."""
        for node in self.nodes:
            if node is not teller and node.engine is not None and not self.world.strikes("nudge-lost"):
                self.world.outside(_nudge, node.life, node.engine, target, after=self.world.latency())

    def any_node(self) -> "Node":
        return self.world.dice.choice(self.nodes)

    def _killed(self, life: Life) -> None:
        self.world.loop.end(life)
        for node in self.nodes:
            if node.life is life:
                node.gone()


@dataclass(eq=False)
class Node:
    """One node: a chain in the journal, and at most one process that everyone believes to be it."""

    cluster: Cluster
    name: str
    life: Life = field(init=False)
    engine: Engine | None = None
    generation: int = 0
    lives: int = 0

    def boot(self) -> None:
        """A new process."""
        self.lives += 1
        self.life = Life(f"{self.name}/{self.lives}")
        self.engine = None
        self.cluster.world.live(self.life, self._serve())

    async def _serve(self) -> None:
        world, cluster = self.cluster.world, self.cluster
        try:
            store = cluster.open_store(self.name)
        except Deferred as error:
            # As a daemon that finds no store: it ends, and is started again.
            world.note("boot-failed", error)
            world.killed(self.life)
            return
        endpoints, routes = cluster.endpoints(self.generation), cluster.plan.routes(self.generation)
        engine = Engine(
            cluster.site,
            store,
            endpoints,
            routes,
            clock=world.clock,
            ids=world.ids,
            jitter=world.dice.random,
            on_nudge=lambda target: cluster.tell_others(self, target),
            steady=Steady(world.clock, world.loop.time),
            lease=timedelta(seconds=world.knobs.lease),
            checkpointing=Checkpointing(store, cluster.evidence, small_site.ORGANISATION, world.clock),
        )
        try:
            await engine.start()
        except Deferred as error:
            world.note("boot-failed", error)
            world.killed(self.life)
            return
        world.note("booted")
        if LIFE.get() is self.life:
            # Not a zombie that was frozen while it started: nobody speaks to it.
            self.engine, self._store = engine, store

    # --- what befalls it ----------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL."""
        self.cluster.world.note("killed", self.life.name)
        self.cluster.world.killed(self.life)

    def gone(self) -> None:
        """Its process is no more; somebody starts it again."""
        self.engine = None
        world = self.cluster.world
        world.outside(self.boot, after=world.dice.uniform(0.1, 30) if world.troubled else 0.1)

    def double(self) -> None:
        """It is taken for dead and started again; the old process goes on beside the new one, for a while."""
        world, zombie = self.cluster.world, self.life
        world.note("doubled", zombie.name)
        if world.dice.random() < 0.5:
            world.freeze(zombie)
        world.outside(world.loop.end, zombie, after=world.dice.uniform(0.5, 3.0) * world.knobs.lease)
        self.boot()

    def stop(self) -> None:
        """SIGTERM: drain, close, go; then started again."""

        async def stopping() -> None:
            await engine.stop(grace=world.dice.choice((0.0, 1.0, 20.0)))
            store.close()
            world.note("stopped")
            world.killed(LIFE.get() or self.life)

        world, engine = self.cluster.world, self.engine
        if engine is not None:
            store, self.engine = self._store, None
            world.note("stopping", self.life.name)
            world.live(self.life, stopping())

    def reload(self, generation: int) -> None:
        """SIGHUP: another generation of the configuration."""
        cluster, engine, self.generation = self.cluster, self.engine, generation

        async def reloading() -> None:
            # What lies there when it comes to it: a process that was frozen meanwhile reads the newest files.
            generation = self.generation
            cluster.world.note("reloading", generation)
            await engine.replace_configuration(cluster.site, cluster.endpoints(generation), cluster.plan.routes(generation))
            cluster.world.note("reloaded", generation)

        if engine is not None:
            cluster.world.live(self.life, reloading())


def _nudge(life: Life, engine: Engine, target: str) -> None:
    if life.alive and not life.still:
        engine.nudge(target)


async def ask(node: Node, question: Callable[[Engine], Awaitable[Any]]) -> Any:
    """Ask a node's engine, over the network. Raises what it raises, and Unreachable."""
    world, engine, life = node.cluster.world, node.engine, node.life
    if engine is None:
        await asyncio.sleep(world.latency())
        raise ConnectionRefusedError
    return await world.request(life, lambda: question(engine), patience=world.dice.uniform(5, 60))


@contextlib.contextmanager
def tuned(knobs: Knobs, world: World) -> Iterator[None]:
    """The engine tuned as the seed wants it, and dying at named points."""
    values = (
        (lanes, "POLL_SECONDS", knobs.poll),
        (housekeeping, "PAUSE_SECONDS", knobs.housekeeping),
        (checkpointing, "PAUSE_SECONDS", knobs.housekeeping),
        (machine, "MAILBOX_LIFE", knobs.mailbox),
    )
    with contextlib.ExitStack() as stack:
        for module, name, value in values:
            stack.enter_context(mock.patch.object(module, name, value))
        stack.enter_context(mock.patch.object(points, "reach", world.reach))
        stack.enter_context(mock.patch.object(pruning, "time", SimpleNamespace(monotonic=world.loop.time, time=world.loop.time)))
        yield
