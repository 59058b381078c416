"""The simulation itself: the same seed is the same run, a few hundred seeds find nothing, and bugs that are planted are found.

``make simulate SEEDS=10000`` runs many more; see ``simulate.py``.
"""

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from kept import KEPT
from plants import PLANTS
from simulate import many
from simulated_store import Database
from simulation import run

#: How many seeds a test run takes, and what they must have met at least once: a branch that no seed takes is one that nobody tests.
SEEDS = 150
MET = (
    "answer-late",
    "answer-lost",
    "boot-failed",
    "clock-stepped",
    "commit-unknown",
    "confirm-again",
    "declines",
    "died at accept.stored",
    "died at lane.claimed",
    "died at lane.processed",
    "died at lane.sent",
    "died at store.after-commit",
    "died at store.before-commit",
    "doubled",
    "frozen",
    "journal: cancelled",
    "journal: dead",
    "journal: deferred",
    "journal: expired",
    "journal: overdue",
    "journal: rejected",
    "journal: released",
    "journal: resent",
    "killed",
    "log: delivery.claim-lost",
    "log: alarm.partner-down",
    "no-id",
    "nudge-lost",
    "other-content",
    "partner-had-it",
    "partner-silent",
    "partner-slow",
    "polled",
    "pruned",
    "reloaded",
    "request-doubled",
    "stopped",
    "store-away",
)
#: Each planted bug, and what its finding says.
FOUND_BY = {
    "ack-before-commit": ("a receipt that is not in the store", "the receipts differ"),
    "finish-without-fence": ("cannot go from DONE to DONE",),
    "skip-idempotency-key": ("took effect 2 times", "the receipts differ"),
}
#: A planted bug that needs more seeds than this is not found.
MOST_SEEDS = 1000


def test_fault_59_a_seed_is_the_same_run_in_every_process(database: Database) -> None:
    """Twice here and once in a process with other hashes: the same events at the same times, or a seed would reproduce nothing."""
    here = [run(4, database) for _ in range(2)]
    script = "from simulation import run; from simulated_store import Database; print(hash_of(run(4, Database())))"
    script = f"import hashlib; hash_of = lambda o: hashlib.sha256(repr(o.trace).encode()).hexdigest(); {script}"
    elsewhere = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent,
        env={"PYTHONPATH": ":".join([str(Path(__file__).parent), *sys.path]), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert here[0].trace == here[1].trace
    assert elsewhere.stdout.strip() == hashlib.sha256(repr(here[0].trace).encode()).hexdigest()


def test_fault_59_no_seed_finds_anything_and_every_trouble_is_met() -> None:
    """Under crashes, zombies, lost answers, outages, leaps and reloads: nothing lost, nothing twice, every end with its receipt."""
    met, found = Counter[str](), {}
    for outcome in many(range(SEEDS)):
        met += outcome.count
        if outcome.findings:
            found[outcome.seed] = outcome.findings
    assert found == {}
    assert [kind for kind in MET if not met[kind]] == []


@pytest.mark.parametrize("seed", KEPT)
def test_a_seed_that_once_failed_finds_nothing(seed: int, database: Database) -> None:
    """What was mended stays mended."""
    assert run(seed, database).findings == (), KEPT[seed]


@pytest.mark.parametrize("plant", FOUND_BY)
def test_a_planted_bug_is_found(plant: str) -> None:
    """The oracle has eyes: each of these bugs is found within a thousand seeds, for what it is."""
    assert set(FOUND_BY) == set(PLANTS) - {""}
    for outcome in many(range(MOST_SEEDS), plant):
        if any(words in finding for words in FOUND_BY[plant] for finding in outcome.findings):
            return
    pytest.fail(f"{plant} was not found in {MOST_SEEDS} seeds")
