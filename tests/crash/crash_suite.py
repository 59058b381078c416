"""``make crash``: hundreds of kills over every named point, on both stores at once, and a table of what came of them.

Exit code 1 when anything was lost, done twice or left without its receipt, when an audit found something, or when a point was missed.
"""

import argparse
import asyncio
import contextlib
import itertools
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from crash_life import NewStore, Verdict, embedded, live
from crash_nodes import Runs
from crash_plan import SHOTS, Shot
from servers import PostgresServer, programs

#: Kills in one life: enough that each bus has died often, few enough that the life is audited soon after.
SHOTS_A_LIFE = 24
#: How many workers the ministry's bus has, life by life.
WORKERS = (1, 1, 2)


@contextlib.contextmanager
def stores() -> Iterator[Mapping[str, NewStore]]:
    """The stores there are on this machine, by name."""
    with contextlib.ExitStack() as stack:
        found: dict[str, NewStore] = {"SQLite": embedded}
        binaries = programs()
        if binaries is not None:
            server = stack.enter_context(PostgresServer(binaries))
            found["PostgreSQL"] = lambda _site: server.url(server.create())
        yield found


def plan(kills: int, seed: int) -> Iterator[Sequence[Shot]]:
    """Lives with together at least so many kills: every shot once, in another order each time round."""
    rng = random.Random(seed)
    shots = itertools.chain.from_iterable(rng.sample(SHOTS, len(SHOTS)) for _ in itertools.count())
    for begin in range(0, kills, SHOTS_A_LIFE):
        yield tuple(itertools.islice(shots, min(SHOTS_A_LIFE, kills - begin)))


async def run_store(runs: Runs, name: str, new_store: NewStore, kills: int, seed: int) -> list[Verdict]:
    """All lives on one store, one after the other."""
    verdicts = []
    for number, shots in enumerate(plan(kills, seed)):
        with tempfile.TemporaryDirectory(prefix="govbus-crash-") as directory:
            workers = WORKERS[number % len(WORKERS)]
            verdict = await live(runs, Path(directory), new_store, shots, seed + number, workers)
        verdicts.append(verdict)
        print(
            f"{name}, life {number + 1}, {workers} worker(s): {verdict.kills.total()} kills, {verdict.documents} documents,"
            f" {verdict.receipts} receipts, {len(verdict.findings)} findings, {verdict.seconds:.0f} s",
            *(f"  {finding}" for finding in verdict.findings[:20]),
            sep="\n",
            flush=True,
        )
    return verdicts


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


async def main(kills: int, seed: int) -> int:
    """Run, print, judge."""
    begin = time.monotonic()
    with stores() as found:
        share = -(-kills // len(found))
        async with Runs() as runs:
            verdicts = await asyncio.gather(*(run_store(runs, name, new, share, seed) for name, new in found.items()))
    results = dict(zip(found, verdicts, strict=True))
    print(*table(results), sep="\n")
    everything = [verdict for verdicts in results.values() for verdict in verdicts]
    total = sum(verdict.kills.total() for verdict in everything)
    lost, twice, missing, other = (
        sum(len(getattr(verdict, name)) for verdict in everything) for name in ("lost", "duplicated", "missing", "other")
    )
    documents = sum(verdict.documents for verdict in everything)
    print(
        f"{total} kills on {', '.join(results)} with seed {seed} in {time.monotonic() - begin:.0f} s, {documents} documents:"
        f" {lost} lost, {twice} done twice, {missing} receipts missing, {other} other findings"
    )
    return 1 if lost or twice or missing or other or total < kills else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    options = parser.parse_args()
    sys.exit(asyncio.run(main(options.kills, options.seed)))
