"""``make simulate``: many seeds, or one of them told in full; or a planted bug, and how many seeds it takes to find it.

Prints how many seeds were run and how fast, how often each kind of thing happened (a branch that no seed takes is a branch that nobody
tests), and every finding with the command that repeats it. Exits 1 when a seed finds something, or when a planted bug is not found.
"""

import argparse
import contextlib
import functools
import gc
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator

from plants import PLANTS
from simulated_store import Database
from simulation import Outcome, run


@functools.cache
def _database() -> Database:
    """One a process; what is there by then need not be walked by the collector again."""
    database = Database()
    run(0, database)
    gc.collect()
    gc.freeze()
    return database


def one(seed: int, plant: str = "") -> Outcome:
    """Run one seed in this process."""
    outcome = run(seed, _database(), plant)
    return Outcome(outcome.seed, outcome.findings, outcome.count, outcome.steps, ())


def many(seeds: range, plant: str = "", processes: int = 0) -> Iterator[Outcome]:
    """The outcomes of ``seeds``, in order, worked by as many processes as there are cores."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes or os.cpu_count() or 1) as pool:
        yield from pool.imap(functools.partial(one, plant=plant), seeds, chunksize=10)


def tell(seed: int, plant: str) -> int:
    """One seed, event by event, with the bus's own log."""
    outcome = run(seed, _database(), plant, told=True)
    for at, text in outcome.trace:
        print(f"{at:12.3f}  {text}")
    print(*(f"FINDING {finding}" for finding in outcome.findings), sep="\n")
    return bool(outcome.findings)


def survey(seeds: range, plant: str) -> int:
    """Many seeds; with a planted bug, until it is found."""
    began, run_, count, found = time.monotonic(), 0, Counter[str](), []
    for outcome in many(seeds, plant):
        run_ += 1
        count += outcome.count
        if outcome.findings:
            found.append(outcome)
            again = f"make simulate SEED={outcome.seed}" + (f" PLANT={plant}" if plant else "")
            print(f"seed {outcome.seed}: {outcome.findings[0]}", f"    {len(outcome.findings)} findings; repeat with: {again}", sep="\n")
            if plant:
                break
        if run_ % 500 == 0:
            print(f"{run_} seeds, {run_ / (time.monotonic() - began):.1f} a second, {len(found)} with findings", file=sys.stderr)
    if plant:
        print(f"{plant}: " + (f"found at seed {found[0].seed}, the {run_}. one run" if found else f"not found in {run_} seeds"))
        return not found
    for kind, times in sorted(count.items()):
        print(f"{times:10}  {kind}")
    seconds = time.monotonic() - began
    print(f"seeds {run_}, {run_ / seconds:.1f} a second; with findings: {len(found)}")
    return bool(found)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many seeds, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="tell this one in full")
    parser.add_argument("--plant", choices=list(PLANTS), default="", help="a bug to be planted first")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        if given.seed is not None:
            return tell(given.seed, given.plant)
        return survey(range(given.first, given.first + given.seeds), given.plant)
    return 130


if __name__ == "__main__":
    sys.exit(main())
