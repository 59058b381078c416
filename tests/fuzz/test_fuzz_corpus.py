"""What fuzzing found stays found: every input kept is replayed, and each target's own seeds are taken and mutated a little."""

import time
from pathlib import Path
from random import Random

import fuzz_targets
import pytest
from fuzz_targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
#: Mutations of each target's seeds in one test run, and the seconds that one input may take on a busy machine.
MUTATIONS, MOST_SECONDS = 300, 2.0
#: Inputs of these cost tens of milliseconds each: a whole site is checked.
SLOW = {"routes": 30, "hollow": 100}
SEED = 20261122
FOUND = [path.relative_to(CORPUS) for path in sorted(CORPUS.glob("*/*"))]


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_right_is_taken(name: str) -> None:
    """The seeds of a target reach its end: a target that refuses everything would find nothing."""
    assert "" in {fuzz_targets.run(name, seed) for seed in TARGETS[name].seeds()}


@pytest.mark.parametrize("found", FOUND, ids=str)
def test_what_was_found_once_stays_cured(found: Path) -> None:
    """An answer or a refusal within its time, where there was a crash, a hang, or an octet too many."""
    began = time.process_time()
    fuzz_targets.run(found.parts[0], (CORPUS / found).read_bytes())
    assert time.process_time() - began < MOST_SECONDS


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_messages_are_answered_or_refused(name: str) -> None:
    """A short run without guidance, always the same: ``make fuzz`` is the long one."""
    seeds = list(TARGETS[name].seeds())
    for number in range(SLOW.get(name, MUTATIONS)):
        random = Random(f"{SEED} {name} {number}")
        data = TARGETS[name].mutate(random.choice(seeds), random)
        try:
            fuzz_targets.run(name, data)
        except Exception as finding:
            raise AssertionError(f"mutation {number} of seed {SEED}: {data!r}") from finding


def test_every_directory_of_the_corpus_has_a_target() -> None:
    """A finding under a name that nothing replays would be lost."""
    assert {path.parts[0] for path in FOUND} <= set(TARGETS)
