"""The world around the bus: its clock, its dice, its network, and the nodes that live and die in it."""

import contextvars
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from knobs import Knobs
from simulated_store import Database
from virtual_loop import LIFE, Died, Life, VirtualLoop

from bus.ids import uuid7

T = TypeVar("T")
#: Seconds that a commit takes at most, on a troubled disk.
SLOWEST_COMMIT = 40.0
BEGIN = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)


class Unreachable(Exception):
    """The other side did not answer: nobody knows whether it did what it was asked."""


class World:
    """What everyone in a run shares. ``troubled``: whether things still go wrong; ``count`` and ``trace``: what happened."""

    def __init__(self, seed: int, database: Database) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.knobs = Knobs.draw(self.dice)
        self.loop = VirtualLoop(self.dice, orderly=self.knobs.orderly)
        self.database = database
        self.ids = uuid7(self.clock, self.dice.getrandbits)
        self.step = timedelta()
        self.store_away = False
        self.troubled = True
        self.count: Counter[str] = Counter()
        self.trace: list[tuple[float, str]] = []
        self.findings: list[str] = []
        self._outside = contextvars.Context()
        self.killed: Callable[[Life], None] = self.loop.end
        database.reset(self)

    def clock(self) -> datetime:
        """The wall clock, which may be set; the loop's own never goes back."""
        return BEGIN + timedelta(seconds=self.loop.time()) + self.step

    def note(self, kind: str, text: object = "") -> None:
        """Something happened."""
        self.count[kind] += 1
        life = LIFE.get()
        self.trace.append((self.loop.time(), f"{life.name if life else '':>10}  {kind}  {text}"))

    def find(self, finding: str) -> None:
        """Something that must not be."""
        self.note("FINDING", finding)
        self.findings.append(finding)

    def strikes(self, kind: str) -> bool:
        """Whether a trouble of this kind happens now."""
        chance = self.knobs.chance.get(kind, 0.0)
        if not self.troubled or not chance or self.dice.random() >= chance:
            return False
        self.count[kind] += 1
        return True

    # --- what the store meets (simulated_store.Hazards) -----------------------------------------------------------------

    def pause(self) -> float:
        """A commit takes milliseconds; on a troubled disk, seconds."""
        return self.dice.uniform(1, SLOWEST_COMMIT) if self.strikes("slow-commit") else self.dice.uniform(0.001, 0.01)

    def away(self) -> bool:
        return self.store_away

    def commit_refused(self) -> bool:
        return self.strikes("commit-refused")

    def answer_lost(self) -> bool:
        return self.strikes("commit-unknown")

    # --- where a node may die ----------------------------------------------------------------------------------------------

    def reach(self, name: str, about: object = None) -> None:
        """``bus.points.reach``: the process is at a named point."""
        life = LIFE.get()
        if life is None:
            return
        if not life.alive:
            raise Died
        if self.strikes("freeze-at-point"):
            self.freeze(life, name)
        if self.strikes("die-at-point"):
            self.note(f"died at {name}")
            self.killed(life)
            raise Died

    def freeze(self, life: Life, where: str = "") -> None:
        """SIGSTOP, and SIGCONT before or after its leases are over."""
        self.note("frozen", f"{life.name} {where}")
        self.loop.hold(life)
        self.outside(self.thaw, life, after=self.dice.uniform(0.1, 2.0) * self.knobs.lease)

    def thaw(self, life: Life) -> None:
        """It goes on, unless it has died."""
        if life.alive and life.still:
            self.note("thawed", life.name)
            self.loop.let_go(life)

    # --- the network -----------------------------------------------------------------------------------------------------

    def outside(self, callback: Callable[..., object], *args: object, after: float = 0.0) -> None:
        """Have the world do something, whoever asked for it may die meanwhile."""
        self.loop.call_later(after, callback, *args, context=self._outside)

    def spawn(self, work: Any) -> None:
        """A task of the world's own."""
        self.loop.create_task(work, context=self._outside.copy())

    def live(self, life: Life, work: Coroutine[Any, Any, Any]) -> None:
        """A task of a life."""
        context = contextvars.Context()
        context.run(LIFE.set, life)
        self.loop.create_task(work, context=context)

    def latency(self) -> float:
        return self.dice.uniform(0.001, 0.2)

    async def request(self, life: Life, ask: Callable[[], Awaitable[T]], patience: float) -> T:
        """Ask a node over the network. Raises what it raises, and Unreachable: it is down, or the request or its answer was lost."""
        reply = self.loop.create_future()

        def settle(value: Any, error: BaseException | None) -> None:
            if reply.done():
                return
            if error is None:
                reply.set_result(value)
            elif isinstance(error, Exception):
                reply.set_exception(error)
            # Died, or cancelled: nobody answers.

        async def serve() -> None:
            try:
                outcome = (await ask(), None)
            except Exception as error:
                outcome = (None, error)
            if not self.strikes("answer-lost"):
                self.outside(settle, *outcome, after=self.latency())

        def arrive() -> None:
            if life.alive:
                self.live(life, serve())

        if not self.strikes("request-lost"):
            self.outside(arrive, after=self.latency())
        if self.strikes("request-doubled"):
            self.outside(arrive, after=self.latency() * self.dice.choice((1, 1000)))
        self.outside(settle, None, Unreachable(), after=patience)
        return await reply
