"""Flat: what the bus still holds after thousands of messages. Memory, open files and threads of the same process, run after run."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import accounting, load, requests

SIZE = 5_000
RUNS, MESSAGES = 4, 1_000


def measure(say: Callable[[str], None]) -> dict[str, Any]:
    """Resident memory and open handles of the ministry's bus before the first run and after each."""
    with tempfile.TemporaryDirectory(prefix="govbus-flat-") as directory, load.running(Path(directory)) as bench:
        unit = requests.Unit(bench.sites)
        bench.run(unit.requests(SIZE, load.WARM_UP))
        memory, handles = [accounting.rss_mb(bench.pid)], [_handles(bench.pid)]
        for number in range(RUNS):
            say(f"flat: {(number + 1) * MESSAGES} messages")
            bench.run(unit.requests(SIZE, MESSAGES))
            memory.append(accounting.rss_mb(bench.pid))
            handles.append(_handles(bench.pid))
    return {"messages_a_run": MESSAGES, "rss_mb": [round(each, 1) for each in memory], "open_handles": handles}


def _handles(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
