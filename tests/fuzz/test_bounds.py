"""Ten megabytes in cost at most 400 MB and two seconds of CPU, whatever they are: each kind is read in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from bounds_inputs import KINDS

from bus import config
from bus.config import marks
from bus.errors import ConfigurationError

HERE = Path(__file__).resolve().parent
MOST_SECONDS, MOST_MB = 2.0, 400
#: Characters of a refusal, which is stored and sent.
MOST_WORDS = 5_000


@pytest.fixture(scope="module")
def measured() -> Mapping[str, Mapping[str, Any]]:
    """What each kind came to, by name: one process forks for each, so that a peak is its own."""
    paths = os.pathsep.join(map(str, (HERE.parent.parent, HERE.parent, HERE)))
    command = [sys.executable, str(HERE / "bounds_child.py")]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=300, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(KINDS), done.stderr[-2000:]
    return {line["name"]: line for line in lines}


@pytest.mark.parametrize("kind", KINDS)
def test_ten_megabytes_are_read_or_refused_within_bounds(measured: Mapping[str, Mapping[str, Any]], kind: str) -> None:
    """An answer or a refusal of a few words, in bounded time and memory; never a traceback, and never the kernel's help."""
    line = measured[kind]
    key, _, words = line["said"].partition(" ")
    assert ":" not in key, line["said"]
    assert int(words or 0) <= MOST_WORDS
    assert line["seconds"] <= MOST_SECONDS
    assert line["mb"] <= MOST_MB


def test_a_configuration_nested_without_end_is_a_fault_and_no_crash() -> None:
    """libyaml composes by recursion, and would end the process."""
    with pytest.raises(ConfigurationError, match=f"routes.yaml:1:101: nested more than {marks.MOST_DEPTH} deep"):
        marks.read("[" * 200_000, config.reading.FILE)
