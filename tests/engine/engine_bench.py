"""A real engine over a real store, between a door the test holds and a partner that the test scripts."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from helping import until

from bus.endpoint import Bus, Door, Features, Sent
from bus.engine import Engine
from bus.evidence import Evidence
from bus.message import DOCUMENT_ID, FROM, KIND, RECEIVERS, SENDER, SENDER_MESSAGE_ID, Message
from bus.receipt import Receipt
from bus.retry import RetryPolicy
from bus.route import Branch, Entry, Route
from bus.site import Site
from bus.store import Store
from bus.xpath import XPath

UNIT, OFFICE, DIGITAL_AGENCY = "000.00.01.G14", "000.00.00.G22", "000.00.02.G14"
#: Longer than anything here takes; a test that waits this long has failed.
PATIENCE = 20.0


@dataclass
class Partner:
    """An adapter whose partner behaves as scripted: for each send the next of ``script``, then "taken" for ever."""

    name: str
    script: list[Exception] = field(default_factory=list)
    taken: list[Message] = field(default_factory=list)
    attempts: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: bool = False
    features: Features = field(default_factory=lambda: Features(sends=True))

    def __post_init__(self) -> None:
        self.gate.set()

    def doors(self) -> Sequence[tuple[str, Door]]:
        return ()

    async def start(self, bus: Bus) -> None:
        """Nothing to poll."""

    async def stop(self) -> None:
        """Whoever is being sent something is cut off."""
        self.stopped = True

    async def send(self, message: Message) -> Sent:
        self.attempts += 1
        await self.gate.wait()
        if self.script:
            raise self.script.pop(0)
        self.taken.append(message)
        return Sent(message.digest, b"<taken/>")


class HandClock:
    """A machine's time of day, and how long it has run: both stand still until the test moves them."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
        self.elapsed = 0.0

    def __call__(self) -> datetime:
        return self.now

    def advance(self, time: timedelta, *, leap: timedelta = timedelta()) -> None:
        """Let ``time`` pass; and the time of day ``leap`` ahead, or back, besides."""
        self.now += time + leap
        self.elapsed += time.total_seconds()


@dataclass
class Bench:
    """What a test of the message's life holds in its hands."""

    site: Site
    store: Store
    evidence: Evidence
    clock: HandClock
    partners: dict[str, Partner]
    engine: Engine

    async def hand_in(self, name: str, to: str = "agency", key: str = "", door: str = "door") -> Receipt:
        """Accept a small document for the partner ``to``."""
        headers = {
            SENDER: "telecom-authority",
            SENDER_MESSAGE_ID: name,
            FROM: UNIT,
            RECEIVERS: OFFICE,
            KIND: "document",
            DOCUMENT_ID: key or name,
        }
        body = f"<d><to>{to}</to><key>{key or name}</key><name>{name}</name></d>".encode()
        return (await self.engine.accept(door, Message("", headers, body))).receipt

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something to be so."""
        await until(holds)

    def statuses(self, name: str) -> list[str]:
        """What the receipts of a message say, oldest first."""
        return [self.evidence.read(xml).status.value for xml in self.store.receipts_of(name)]

    def attempt(self, name: str) -> Mapping[str, object]:
        """The delivery row of a message at its endpoint, or {}."""
        rows = [d for story in self.store.show(name) for d in story.deliveries if d["target"] in self.partners and not d["receipt_id"]]
        return rows[0] if rows else {}

    async def deferred(self, name: str, attempt: int = 1) -> None:
        """Wait until an attempt of this message was put off."""

        def is_deferred() -> bool:
            row = self.attempt(name)
            return row.get("state") == "READY" and row["attempt"] == attempt

        await self.until(is_deferred)


def make_routes(site: Site, partners: Mapping[str, Partner]) -> dict[str, Route]:
    """One route at the door: to the partner that the document names, in order of its key."""
    retry = RetryPolicy(first=timedelta(seconds=30), factor=2, most=timedelta(hours=1), give_up=timedelta(hours=2))
    branches = tuple(Branch(XPath(f"to = '{name}'"), (Entry(name),)) for name in partners)
    return {"out": Route("out", "door", site, choose=branches, order_by=XPath("string(key)"), retry=retry)}
