"""The partners' side: one that is pushed to, one that is polled. Each keeps a ledger of its own, which is the truth the oracle asks.

A partner is as idempotent as real ones are: what it knows by the bus's id for a message it does not do again. So a message that is *sent*
twice is no fault, and one that *took effect* twice is the bus's.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from world import Unreachable, World

from bus.endpoint import Bus, Door, Features, Sent
from bus.errors import BusError, Deferred, Rejected
from bus.message import SENDER, SENDER_MESSAGE_ID, Message
from bus.options import PushOptions

#: How a partner is, and how likely it is so when its mood changes.
MOODS = {"well": 5, "down": 2, "slow": 1, "silent": 1}
#: Seconds after which a connection that brings nothing is given up.
PATIENCE = 60.0


class SimulatedBug(Exception):
    """What our own code might raise and must survive."""


@dataclass(eq=False)
class Partner:
    """A system that documents are pushed to. ``taken``: what it has, by the bus's id; ``effects``: how often each letter took effect."""

    world: World
    name: str
    mood: str = "well"
    taken: dict[str, Message] = field(default_factory=dict)
    effects: Counter[str] = field(default_factory=Counter)
    refused: set[str] = field(default_factory=set)

    def receive(self, message: Message, answer: Callable[[Any, Exception | None], None]) -> None:
        """A message has arrived; ``answer`` is called with the reply or the failure, perhaps late, perhaps never."""
        world = self.world
        failure: BusError | None = None
        if message.id in self.taken:
            world.note("partner-had-it", f"{self.name} {message.id}")
        elif message.id in self.refused or world.strikes("partner-refuses"):
            self.refused.add(message.id)
            failure = Rejected("partner-refused", target=self.name, detail="5.6.3 not what we take")
        elif world.strikes("partner-defers"):
            retry_after = world.dice.choice((None, 5.0, 300.0))
            failure = Deferred("partner-busy", target=self.name, status=503, retry_after=retry_after)
        else:
            self._take(message)
        if self.mood == "silent" or world.strikes("answer-lost"):
            return
        late = world.dice.uniform(10, 400) if world.strikes("answer-late") else 0.0
        slow = world.dice.uniform(1, 50) if self.mood == "slow" else 0.0
        world.outside(answer, None if failure else self.reply(message), failure, after=world.latency() + late + slow)

    def reply(self, message: Message) -> bytes:
        """What the partner says when it has taken a message: its proof of delivery."""
        return f"<taken by='{self.name}' sha256='{message.digest}'/>".encode()

    def _take(self, message: Message) -> None:
        self.world.note("effect", f"{self.name} {letter(message)} {message.id}")
        self._check_order(message)
        self.taken[message.id] = message
        self.effects[letter(message)] += 1
        if self.effects[letter(message)] > 1:
            self.world.find(f"{letter(message)} took effect {self.effects[letter(message)]} times at {self.name}")

    def _check_order(self, message: Message) -> None:
        """Nothing takes effect while an older delivery of its order key is still owed to the same target, unless an operator mixed them."""
        older = self.world.database.rows(_OLDER, message.id, self.name)
        if older:
            self.world.find(f"{letter(message)} took effect at {self.name} before {', '.join(row['message_id'] for row in older)}")


_OLDER = """
SELECT older.message_id FROM deliveries AS own JOIN deliveries AS older
    ON older.target = own.target AND older.order_key = own.order_key AND older.seq < own.seq
WHERE own.message_id = ? AND own.target = ? AND own.order_key <> '' AND own.receipt_id = ''
    AND older.state IN ('READY', 'CLAIMED')
    AND NOT EXISTS (SELECT 1 FROM journal WHERE delivery_id IN (older.id, own.id) AND event = 'resent')
"""


def letter(message: Message) -> str:
    """What a partner's people would call the same letter: its sender, and the name written in it."""
    return f"{message.header(SENDER)}/{message.header(SENDER_MESSAGE_ID) or message.digest[:12]}"


class Link:
    """The adapter of a pushed endpoint, in one node: an HTTP client as the real ones are, without HTTP."""

    def __init__(self, partner: Partner, lane: PushOptions) -> None:
        self.features = Features(sends=True, lane=lane)
        self.name = partner.name
        self._partner = partner

    def doors(self) -> Sequence[tuple[str, Door]]:
        return ()

    async def start(self, bus: Bus) -> None:
        """Nothing to poll."""

    async def stop(self) -> None:
        """Nothing to close."""

    async def send(self, message: Message) -> Sent:
        partner, world = self._partner, self._partner.world
        world.note("transmission", f"{self.name} {letter(message)} {message.id}")
        if world.strikes("our-bug"):
            raise SimulatedBug("an adapter's own mistake")
        if partner.mood == "down":
            await asyncio.sleep(world.latency())
            raise Deferred("partner-unreachable", target=self.name, detail="connection refused")
        answer = asyncio.get_running_loop().create_future()

        def answered(reply: bytes | None, error: Exception | None) -> None:
            if not answer.done():
                if error:
                    answer.set_exception(error)
                else:
                    answer.set_result(reply)

        if not world.strikes("request-lost"):
            world.outside(partner.receive, message, answered, after=world.latency())
        if world.strikes("request-doubled"):
            world.outside(partner.receive, message, answered, after=world.latency() * world.dice.choice((1, 1000)))
        world.outside(answered, None, Deferred("partner-unreachable", target=self.name, detail="no answer"), after=self._patience())
        return Sent(message.digest, await answer)

    def _patience(self) -> float:
        """Some adapters wait longer than a lease lasts; the engine must cut them off."""
        return 10 * PATIENCE * self._partner.world.knobs.scale if self._partner.world.strikes("impatient") else PATIENCE


@dataclass(eq=False)
class Feed:
    """A partner that is polled: what it has for us, until we say that we have it."""

    world: World
    name: str
    waiting: dict[str, Message] = field(default_factory=dict)


class Poller:
    """The adapter of a polled endpoint, in one node: lists, fetches what is not known, hands it in, and only then says so."""

    features = Features(accepts=True)

    def __init__(self, feed: Feed, period: float) -> None:
        self.name = feed.name
        self._feed = feed
        self._period = period
        self._task: asyncio.Task[None] | None = None

    def doors(self) -> Sequence[tuple[str, Door]]:
        return ()

    async def start(self, bus: Bus) -> None:
        self._task = asyncio.create_task(self._poll(bus))

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _poll(self, bus: Bus) -> None:
        while True:
            await asyncio.sleep(self._period)
            for name, message in list(self._feed.waiting.items()):
                try:
                    await self._fetch(bus, name, message)
                except (BusError, Unreachable) as error:
                    self._feed.world.note("poll-failed", error)

    async def _fetch(self, bus: Bus, name: str, message: Message) -> None:
        world = self._feed.world
        if not await bus.known(self.name, message.header(SENDER), name):
            await asyncio.sleep(world.latency())
            await bus.accept(self.name, message)
            world.note("polled", name)
        await asyncio.sleep(world.latency())
        if not world.strikes("answer-lost"):
            self._feed.waiting.pop(name, None)

    async def send(self, message: Message) -> Sent:
        raise NotImplementedError
