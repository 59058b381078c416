"""How a demo ends: the verdict, from what the clients hold and from the three buses' own stores; the table; and --keep."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bus import audit, daemon
from bus.cli.screen import emit, say
from bus.config import Loaded
from bus.delivery import ROUTE_PREFIX
from bus.errors import Rejected
from bus.evidence import Evidence
from bus.receipt import Receipt
from bus.store import Standing, Store
from sandbox.run import Run

#: More of a list than this is not printed.
MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table: a route's deliveries to one target, or one standing of them."""

    route: str
    target: str
    owed: int
    delivered: int
    waiting: int
    dead: int
    receipts: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict and its reasons. Counts are messages of the ministry's bus; lists hold sentences."""

    accepted: int
    delivered: int
    waiting: int
    refused: int
    repeated: int
    receipts: int
    receipts_verified: int
    receipts_mailed: int
    lost: int
    duplicated: int
    damaged: int
    restarts: int
    seconds: float
    findings: tuple[str, ...]
    lines: tuple[Line, ...]
    refusals: tuple[dict[str, str], ...]

    @property
    def good(self) -> bool:
        """Whether everything adds up."""
        return not self.findings and self.receipts == self.receipts_verified


def opened(site: Path) -> AbstractContextManager[tuple[Loaded, Store]]:
    """A site and its store, beside its running daemon, with nothing of our own environment."""
    return daemon.opened(site, {}, "observer")


@contextmanager
def watched(run: Run) -> Iterator[list[Store]]:
    """The stores of all buses, to be asked whether they are ``drained``."""
    with ExitStack() as stack:
        yield [stack.enter_context(opened(bus.site))[1] for bus in run.buses.values()]


def drained(stores: Iterable[Store]) -> bool:
    """Whether no bus owes anything but receipts that nobody has read yet."""
    return not any(standings[Standing.WAITING] for store in stores for standings in store.overview().values())


def judge(run: Run, seconds: float) -> Outcome:
    """Compare, verify, audit."""
    findings = [*run.ledger.damaged, *run.ledger.strange, *run.unexpected]
    findings += [f"lost: {each}" for each in run.ledger.lost] + [f"duplicated: {each}" for each in run.ledger.duplicated]
    for name, bus in run.buses.items():
        with opened(bus.site) as (loaded, store):
            report = audit.audit(store, daemon.open_evidence(loaded.site))
            findings += [f"audit of {name}: {finding}" for finding in report.findings]
    with opened(run.buses["ministry"].site) as (loaded, store):
        standings = Counter[str]()
        for counts in store.overview().values():
            standings.update({str(place): count for place, count in counts.items()})
        receipts, verified, lines = _receipts(loaded, store)
    return Outcome(
        accepted=sum(standings.values()),
        delivered=standings["delivered"],
        waiting=standings["waiting"],
        refused=len(run.refused),
        repeated=run.repeated,
        receipts=receipts,
        receipts_verified=verified,
        receipts_mailed=run.mailed_receipts,
        lost=len(run.ledger.lost),
        duplicated=len(run.ledger.duplicated),
        damaged=len(run.ledger.damaged),
        restarts=run.restarts,
        seconds=round(seconds, 1),
        findings=tuple(findings),
        lines=lines,
        refusals=tuple(asdict(refused) for refused in run.refused),
    )


def _receipts(loaded: Loaded, store: Store) -> tuple[int, int, tuple[Line, ...]]:
    """Every receipt there is, how many of them verify, and the table's lines."""
    evidence = daemon.open_evidence(loaded.site)
    total = verified = 0
    owed: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    stated: dict[tuple[str, str], Counter[str]] = {}
    for found in store.search(limit=1_000_000):
        good = {receipt.id: receipt for receipt in map(_verified(evidence), store.receipts_of(found.id)) if receipt}
        verified += len(good)
        for story in store.show(found.id):
            total += len(story.receipts)
            pushed = {
                each["id"]: each for each in story.deliveries if not each["receipt_id"] and not each["target"].startswith(ROUTE_PREFIX)
            }
            for delivery in pushed.values():
                owed.setdefault(_place(delivery), []).append(delivery)
            for receipt in story.receipts:
                if receipt["delivery_id"] in pushed and receipt["id"] in good:
                    stated.setdefault(_place(pushed[receipt["delivery_id"]]), Counter())[receipt["status"]] += 1
    return total, verified, tuple(_line(place, owed[place], stated.get(place, Counter())) for place in sorted(owed))


def _verified(evidence: Evidence) -> Callable[[bytes], Receipt | None]:
    def verified(xml: bytes) -> Receipt | None:
        try:
            return evidence.read(xml)
        except Rejected:
            return None

    return verified


def _place(delivery: Mapping[str, Any]) -> tuple[str, str]:
    return delivery["route"], delivery["target"]


def _line(place: tuple[str, str], owed: Sequence[Mapping[str, Any]], statuses: Counter[str]) -> Line:
    states = Counter(delivery["state"] for delivery in owed)
    receipts = ", ".join(f"{status} {count}" for status, count in sorted(statuses.items()))
    waiting = len(owed) - states["DONE"] - states["DEAD"]
    return Line(*place, len(owed), states["DONE"], waiting, states["DEAD"], receipts)


def show(outcome: Outcome, *, json: bool) -> None:
    """The table for people, or one line of JSON."""
    if json:
        emit({**asdict(outcome), "good": outcome.good})
        return
    console = Console(highlight=False)
    grid = Table(title=say("demo-routes"), title_justify="left", header_style="bold")
    for column in ("route", "target", "owed", "delivered", "waiting", "dead", "receipts"):
        grid.add_column(say(f"column-{column}"), overflow="fold", no_wrap=column in {"route", "target"})
    for line in outcome.lines:
        grid.add_row(*(str(value) for value in asdict(line).values()))
    console.print(grid)
    grid = Table(title=say("demo-refused"), title_justify="left", header_style="bold")
    for column in ("message", "code", "reason"):
        grid.add_column(say(f"column-{column}"), overflow="fold")
    for refusal in outcome.refusals:
        grid.add_row(refusal["item"], refusal["code"], refusal["reason"])
    console.print(grid)
    for finding in outcome.findings[:MOST_SHOWN]:
        console.print(finding, style="red", markup=False)
    console.print(say("demo-good" if outcome.good else "demo-bad", **asdict(outcome)), style="green" if outcome.good else "red")


def keep_running(run: Run) -> None:
    """Leave everything running until a signal ends it: the handler of ``sandbox.demo`` raises SystemExit."""
    console = Console(highlight=False)
    console.print(say("demo-keep", url=run.ministry, site=run.sites.ministry, ca=run.sites.authority, pid=os.getpid()), markup=False)
    while True:
        signal.pause()
