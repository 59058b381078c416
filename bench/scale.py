"""Scale: from accepted to delivered with one worker and with two, on the embedded store and on PostgreSQL.

Wall time is told for what it is: the sender, the agency's bus and the database share the processors with the bus that is measured, so on
a machine with few of them a second worker finds none free. ``cores`` is how many processors everything together kept busy: where that is
near what the machine has, the rate is the machine's and not the bus's. What more workers cost is seen in CPU time: ``work_ratio`` is how
many messages a second of CPU time is good for with two workers, as a multiple of one worker's. It says how much is lost by sharing the
store; with processors to spare two workers can carry twice that many times what one does.
"""

import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import accounting, load, requests

SIZE = 5_000
SECONDS = 8.0
FEWEST, MOST = 100, 4_000
#: The address of a database for this, with nothing in it; without it a PostgreSQL is started, where there is one.
POSTGRES = "GOVBUS_BENCH_POSTGRES"


def measure(say: Callable[[str], None]) -> dict[str, Any]:
    """The figures of each way, and two workers' as a multiple of one's."""
    say("scale: one worker")
    one = _run(1)
    say("scale: two workers")
    two = _run(2)
    figures: dict[str, Any] = {
        "one_worker": one,
        "two_workers": two,
        "rate_ratio": round(two["messages_per_second"] / one["messages_per_second"], 2),
        "work_ratio": round(one["cpu_ms"] / two["cpu_ms"], 2),
    }
    with _postgres() as (url, why_not):
        say(f"scale: PostgreSQL {why_not}")
        figures["postgresql"] = _run(1, url) if url else {"skipped": why_not}
    return figures


def _run(workers: int, store: str = "") -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="govbus-scale-") as directory, load.running(Path(directory), workers, store) as bench:
        unit = requests.Unit(bench.sites)
        bench.run(unit.requests(SIZE, load.WARM_UP))
        warm = bench.run(unit.requests(SIZE, load.WARM_UP))
        documents = unit.requests(SIZE, round(min(max(warm.rate * SECONDS, FEWEST), MOST)))
        began, others = time.monotonic(), _others(bench)
        full = bench.run(documents)
        seconds = time.monotonic() - began
        cores = (_others(bench) - others + full.cpu_ms * full.messages / 1000) / seconds
    return {
        "messages_per_second": round(full.rate, 1),
        "cpu_ms": round(full.cpu_ms, 3),
        "cores": round(cores, 2),
        "messages": full.messages,
    }


def _others(bench: load.Bench) -> float:
    """CPU seconds of the sender and of the agency's bus."""
    mine = resource.getrusage(resource.RUSAGE_SELF)
    return mine.ru_utime + mine.ru_stime + accounting.cpu_seconds(bench.agency_pid)


@contextmanager
def _postgres() -> Iterator[tuple[str, str]]:
    """The address of a fresh database, or why there is none."""
    if given := os.environ.get(POSTGRES):
        yield given, ""
        return
    try:
        from tests.servers import PostgresServer, programs
    except ImportError as error:
        yield "", f"{error}; set {POSTGRES}"
        return
    binaries = programs()
    if binaries is None:
        yield "", f"PostgreSQL is not installed; set {POSTGRES}"
        return
    with PostgresServer(binaries) as server:
        yield server.url(server.create()), ""
