"""``make crash``: hundreds of kills over every named point, on both stores at once, and a table of what came of them.

Exit code 1 when anything was lost, done twice or left without its receipt, when an audit found something, or when a point was missed.
"""

import argparse
import asyncio
import itertools
import multiprocessing
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from crash_life import BUSES, Verdict, live
from crash_nodes import Runs
from crash_plan import SHOTS, Shot
from servers import PostgresServer, programs

#: Kills in one life: enough that each bus has died often, few enough that the life is audited soon after.
SHOTS_A_LIFE = 24
#: How many workers the ministry's bus has, life by life.
WORKERS = (1, 1, 2)
#: A life waits much: for starts, for a point to be reached.
LIVES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Order:
    """One life to be lived."""

    store: str
    number: int
    urls: Mapping[str, str]
    shots: Sequence[Shot]
    seed: int

    @property
    def workers(self) -> int:
        """How many workers the ministry's bus has."""
        return WORKERS[self.number % len(WORKERS)]


def orders(stores: Mapping[str, PostgresServer | None], kills: int, seed: int) -> Iterator[Order]:
    """Lives with together so many kills, the stores taking turns: on each every shot once, in another order each time round."""
    rng = random.Random(seed)
    shots = {store: itertools.chain.from_iterable(rng.sample(SHOTS, len(SHOTS)) for _ in itertools.count()) for store in stores}
    for number, begin in enumerate(range(0, kills, SHOTS_A_LIFE)):
        store = list(stores)[number % len(stores)]
        server = stores[store]
        urls = {bus: server.url(server.create()) for bus in BUSES} if server else {}
        mine = tuple(itertools.islice(shots[store], min(SHOTS_A_LIFE, kills - begin)))
        yield Order(store, number // len(stores), urls, mine, seed + number)


def lived(order: Order) -> Verdict:
    """In a process of its own: the life, in a directory that is gone afterwards."""

    async def whole(directory: str) -> Verdict:
        async with Runs() as runs:
            return await live(runs, Path(directory), order.urls, order.shots, order.seed, order.workers)

    with tempfile.TemporaryDirectory(prefix="govbus-crash-") as directory:
        try:
            return asyncio.run(whole(directory))
        except Exception:
            return Verdict(other=[f"the life ended early: {traceback.format_exc()}"])


def told(order: Order, verdict: Verdict) -> str:
    """A life in some lines."""
    line = (
        f"{order.store}, life {order.number + 1}, seed {order.seed}, {order.workers} worker(s): {verdict.kills.total()} kills,"
        f" {verdict.documents} documents, {verdict.receipts} receipts, {len(verdict.findings)} findings, {verdict.seconds:.0f} s"
    )
    return "\n  ".join([line, *verdict.findings[:20]])


def table(results: Mapping[str, Sequence[Verdict]]) -> Iterator[str]:
    """Point by store: kills, and what was wrong in the lives that this kill was part of."""
    yield f"{'point':44} {'store':12} {'kills':>6} {'lost':>6} {'twice':>6} {'no receipt':>11}"
    rows: dict[tuple[str, str], Counter[str]] = {}
    for store, verdicts in results.items():
        for verdict in verdicts:
            for visit, kills in verdict.kills.items():
                row = rows.setdefault((visit, store), Counter())
                row["kills"] += kills
                row.update(lost=len(verdict.lost), twice=len(verdict.duplicated), missing=len(verdict.missing))
    for (visit, store), row in sorted(rows.items()):
        yield f"{visit:44} {store:12} {row['kills']:6} {row['lost']:6} {row['twice']:6} {row['missing']:11}"


def main(kills: int, seed: int) -> int:
    """Run, print, judge."""
    begin = time.monotonic()
    results: dict[str, list[Verdict]] = {}
    with ExitStack() as stack:
        stores: dict[str, PostgresServer | None] = {"SQLite": None}
        if (binaries := programs()) is not None:
            stores["PostgreSQL"] = stack.enter_context(PostgresServer(binaries))
        pool = stack.enter_context(ProcessPoolExecutor(LIVES_AT_ONCE, multiprocessing.get_context("spawn")))
        lives = {pool.submit(lived, order): order for order in orders(stores, kills, seed)}
        for life in as_completed(lives):
            results.setdefault(lives[life].store, []).append(life.result())
            print(told(lives[life], life.result()), flush=True)
    print(*table(results), sep="\n")
    everything = [verdict for verdicts in results.values() for verdict in verdicts]
    total = sum(verdict.kills.total() for verdict in everything)
    lost, twice, missing, other = (
        sum(len(getattr(verdict, name)) for verdict in everything) for name in ("lost", "duplicated", "missing", "other")
    )
    print(
        f"{total} kills on {', '.join(results)} with seed {seed} in {time.monotonic() - begin:.0f} s,"
        f" {sum(verdict.documents for verdict in everything)} documents:"
        f" {lost} lost, {twice} done twice, {missing} receipts missing, {other} other findings"
    )
    return 1 if lost or twice or missing or other or total < kills else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    options = parser.parse_args()
    sys.exit(main(options.kills, options.seed))
