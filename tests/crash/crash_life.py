"""One life: two real buses with sockets, TLS and stores of their own, the parties around them, and a list of kills.

After each kill the bus is started again, as a service manager would, and the post goes on. At the end nothing new is sent, everything
is waited for, both buses are stopped, and the verdict is read from three sides: what the parties hold, what the audit of each store
finds, and the exit codes.
"""

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from crash_agency import Agency
from crash_nodes import Node, Runs
from crash_plan import Cue, Shot
from crash_post import Book, Post
from tsa_server import Authority, TimestampServer

from bus import audit, daemon
from sandbox import sites

BUSES = ("ministry", "hub")
#: A point that nobody comes to in this time was missed, which is a finding.
REACH_SECONDS = 60.0
#: At the end, when nothing has arrived for so long, what has not arrived is lost.
SETTLE_SECONDS = 45.0
#: Retries and probes are quick here: a life is short.
_QUICK = (
    ("retry: {first: 30s, factor: 2, most: 1h, give-up: 5d}", "retry: {first: 50ms, factor: 2, most: 400ms, give-up: 5d}"),
    ("  tls: own/tls\n", "  tls: own/tls\n  timestamps: {url: env:TSA_URL, every: 500ms, limit: 1h}\n"),
    ("poll: 1s", "poll: 200ms, probe-first: 100ms, probe-most: 400ms"),
    ("partner: partner-agency, security", "partner: partner-agency, probe-first: 100ms, probe-most: 400ms, security"),
)


@dataclass(slots=True)
class Verdict:
    """What came of a life. ``kills`` by visit, as ``ministry lane.sent``; lists hold sentences."""

    kills: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    documents: int = 0
    receipts: int = 0
    seconds: float = 0.0

    @property
    def findings(self) -> list[str]:
        """All that is wrong."""
        lists = {"lost": self.lost, "duplicated": self.duplicated, "missing receipt": self.missing, "other": self.other}
        return [f"{name}: {finding}" for name, findings in lists.items() for finding in findings]


class Life:
    """The two buses of a life and everybody around them. ``stores``: the addresses of both buses' stores; else they are embedded."""

    def __init__(self, runs: Runs, directory: Path, stores: Mapping[str, str], seed: int, workers: int) -> None:
        self.made = sites.create(directory, datetime.now(UTC))
        self.book = Book()
        self.verdict = Verdict()
        self.tsa = TimestampServer(Authority(datetime.now(UTC)))
        self.agency = Agency(self.made.key("partner-agency"), self.book.ledger.arrive)
        self.post = Post(self.made, self.agency, self.book, seed)
        self._rng = random.Random(seed)
        self._runs = runs
        self._stores = stores
        self._workers = workers
        self.nodes: Mapping[str, Node] = {}

    async def __aenter__(self) -> Self:
        await self.agency.open()
        self.tsa.__enter__()
        self.tsa.authority.write(self.made.ministry / "certs" / "trust" / "tsa")
        routes = self.made.ministry / "routes.yaml"
        text = routes.read_text(encoding="utf-8")
        for usual, quick in _QUICK:
            text = text.replace(usual, quick)
        routes.write_text(text, encoding="utf-8")
        self.nodes = {name: self._node(name) for name in BUSES}
        return self

    def _node(self, name: str) -> Node:
        environment = {"GOVBUS_STORE": self._stores.get(name, ""), "AGENCY_URL": self.agency.url, "TSA_URL": self.tsa.url}
        return Node(self._runs, name, getattr(self.made, name), self.made.ports[name], environment)

    async def __aexit__(self, *_: object) -> None:
        for node in self.nodes.values():
            if node.running:
                node.signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    await node.end()
        self.tsa.__exit__()
        await self.agency.close()

    # --- killing ----------------------------------------------------------------------------------------------------------

    async def begin(self, shots: Sequence[Shot]) -> None:
        """The first start of both buses, killed as often as ``shots`` of a fresh database say."""
        for shot in shots:
            await self._kill(shot)
        self.nodes["ministry"].workers = self._workers
        await asyncio.gather(*(self._revive(node) for node in self.nodes.values()))

    async def kill(self, shot: Shot) -> None:
        """Have the bus come to the point and die there; then it is started again, as a service manager would."""
        await self._kill(shot)
        await self._revive(self.nodes[shot.node])

    async def _kill(self, shot: Shot) -> None:
        node = self.nodes[shot.node]
        if shot.cue is Cue.CLOCK:
            await asyncio.sleep(self._rng.uniform(0.02, 0.5))
            await self._end(node)
            self.verdict.kills[f"{node.name} {shot.visit}"] += 1
        else:
            if shot.cue is Cue.START:
                await self._end(node)
            if shot.cue is Cue.DRAIN:
                await node.settled()
            before, self.post.wanted = len(node.struck()), shot.way
            node.arm(shot.visit, self._rng.randint(1, shot.most))
            if shot.cue in {Cue.START, Cue.FRESH}:
                await node.start()
            if shot.cue is Cue.DRAIN:
                node.signal(signal.SIGTERM)
            await self._struck(node, shot, before)
            self.post.wanted = ""

    @staticmethod
    async def _end(node: Node) -> None:
        """Kill it from outside. A supervisor is asked instead: killed, it would leave its workers behind."""
        node.signal(signal.SIGKILL if node.workers == 1 else signal.SIGTERM)
        await node.end()

    @staticmethod
    async def _revive(node: Node) -> None:
        while not node.running:
            await node.start()

    async def _struck(self, node: Node, shot: Shot, before: int) -> None:
        """Wait for the kill and note it."""
        begin = time.monotonic()
        signalled = 0
        while len(node.struck()) == before:
            if time.monotonic() > begin + REACH_SECONDS or (shot.cue is not Cue.LOAD and not node.running):
                node.disarm()
                self.verdict.other.append(f"{node.name} never came to {shot.visit}")
                return
            if shot.cue is Cue.RELOAD and time.monotonic() > begin + signalled:
                signalled += 1
                node.signal(signal.SIGHUP)
            await asyncio.sleep(0.01)
        pid, _command, visit = node.struck()[-1]
        self.verdict.kills[f"{node.name} {visit}"] += 1
        if pid == node.pid or shot.cue is Cue.DRAIN:
            code = await node.end()
            if pid == node.pid and code != -signal.SIGKILL:
                self.verdict.other.append(f"{node.name} was killed at {visit} and ended with {code}")

    # --- the verdict ------------------------------------------------------------------------------------------------------

    async def judge(self) -> Verdict:
        """Stop both buses and compare."""
        for node in self.nodes.values():
            code = await node.stop()
            if code:
                self.verdict.other.append(f"{node.name} drained and ended with {code}")
        ledger, verdict = self.book.ledger, self.verdict
        verdict.lost += ledger.lost
        verdict.duplicated += [*ledger.duplicated, *self.book.surplus()]
        verdict.missing += self.book.missing()
        verdict.other += [*ledger.damaged, *ledger.strange, *self.book.wrong, *self.agency.changed, *self._disorder()]
        verdict.documents = len(ledger.expected)
        verdict.receipts = sum(map(len, self.book.receipts.values()))
        for name, node in self.nodes.items():
            verdict.other += [f"audit of {name}: {finding}" for finding in await asyncio.to_thread(self._audited, node)]
        return verdict

    def _audited(self, node: Node) -> list[str]:
        with daemon.opened(node.site, node.environment, "observer") as (loaded, store):
            report = audit.audit(store, daemon.open_evidence(loaded.site))
        waiting = [f"{report.counts['waiting']} messages are not at an end"] if report.counts.get("waiting") else []
        return [*report.findings, *waiting]

    def _disorder(self) -> list[str]:
        sent, came = self.book.orders, self.agency.orders
        return [f"{about}: sent {sent[about]}, came {came[about]}" for about in sent if came[about] != sent[about]]


async def live(runs: Runs, directory: Path, stores: Mapping[str, str], shots: Sequence[Shot], seed: int, workers: int = 1) -> Verdict:
    """A whole life with these kills, in this order but for those of a fresh database, which come first."""
    begin = time.monotonic()
    async with Life(runs, directory, stores, seed, workers) as life:
        await life.begin([shot for shot in shots if shot.cue is Cue.FRESH])
        async with life.post.at_work(life.nodes["ministry"]):
            for shot in shots:
                if shot.cue is not Cue.FRESH:
                    await life.kill(shot)
            await life.post.rest()
            await life.post.settle(SETTLE_SECONDS)
        verdict = await life.judge()
    verdict.seconds = time.monotonic() - begin
    return verdict
