"""``python -m bench [--only SECTION,…]``: JSON on standard output, progress on standard error.

documents  for each size: the floor's blocks (``floor.py``) and the bus under load (``load.py``), in the same run on the same machine,
           so that their ratio means the same on any machine. The latency of a bus that is kept full is that of its queue, so it is
           measured twice: kept full, and at half of the rate it reached
scale      one worker, two, and PostgreSQL (``scale.py``)      flat    memory after thousands of messages (``flat.py``)
commits    group commit on a slow disk (``commits.py``)        routes  a thousand routes (``routes.py``)
large      memory for large documents (``large.py``)           drain   a hundred thousand waiting messages (``drain.py``)
signatures signing and verifying beside signxml and python-xmlsec, and a receipt (``signatures.py``)
growth     a million waiting messages against a thousand (``growth.py``)
siege      an honest unit beside attackers (``siege.py``); SIEGE_SECONDS=3600 is the soak
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench import accounting, commits, drain, flat, floor, growth, large, load, requests, routes, scale, siege, signatures

#: Octets of the document.
SIZES = (5_000, 100_000)
#: How long the bus is kept full, and how long at half of its rate; the warm-up tells how many messages that is.
FULL_SECONDS, HALF_SECONDS = 10.0, 6.0
FEWEST, MOST = 100, 4_000


def _measure(size: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="govbus-bench-") as directory, load.running(Path(directory)) as bench:
        unit = requests.Unit(bench.sites)
        _say(f"{size} bytes: warming up")
        bench.run(unit.requests(size, load.WARM_UP))
        warm = bench.run(unit.requests(size, load.WARM_UP))
        messages = _count(warm.rate * FULL_SECONDS)
        _say(f"{size} bytes: {messages} messages as fast as they are answered")
        full = bench.run(unit.requests(size, messages))
        rate = full.rate / 2
        _say(f"{size} bytes: at {rate:.0f} a second")
        half = bench.run(unit.requests(size, _count(rate * HALF_SECONDS)), rate)
        peak = bench.peak_rss_mb()
        _say(f"{size} bytes: the floor")
        blocks = floor.measure(floor.Material.of(bench.sites.ministry, unit.document(size)))
    floor_ms = sum(block.ms * block.count for block in blocks)
    return {
        "efficiency": round(floor_ms / full.cpu_ms, 3),
        "floor_ms": round(floor_ms, 3),
        "cpu_ms": round(full.cpu_ms, 3),
        "messages_per_second": round(full.rate, 1),
        **_latency(full),
        "at_half_rate": {"messages_per_second": round(half.rate, 1), "cpu_ms": round(half.cpu_ms, 3), **_latency(half)},
        "peak_rss_mb": round(peak, 1),
        "messages": full.messages,
        "floor": {block.name: {"ms": round(block.ms, 3), "count": block.count} for block in blocks},
    }


def _count(messages: float) -> int:
    return round(min(max(messages, FEWEST), MOST))


def _latency(figures: load.Figures) -> dict[str, float]:
    return {
        "p50_ms": round(statistics.median(figures.latencies), 1),
        "p99_ms": round(accounting.percentile(figures.latencies, 99), 1),
    }


def _say(progress: str) -> None:
    print(f"bench: {progress}", file=sys.stderr, flush=True)


def _documents() -> dict[str, Any]:
    return {str(size): _measure(size) for size in SIZES}


#: In this order; all of them take some ten minutes on two processors.
SECTIONS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "documents": _documents,
    "scale": lambda: scale.measure(_say),
    "flat": lambda: flat.measure(_say),
    "commits": commits.measure,
    "routes": routes.measure,
    "signatures": signatures.measure,
    "large": large.measure,
    "drain": drain.measure,
    "growth": lambda: growth.measure(_say),
    "siege": lambda: siege.measure(_say),
}


def main() -> int:
    """Measure what was asked for and print one JSON object; 1 when something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the bus.")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"sections, separated by commas: {', '.join(SECTIONS)}")
    wanted = parser.parse_args().only.split(",")
    if unknown := set(wanted) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}; known: {', '.join(SECTIONS)}")
    # Whatever else runs makes both the floor and the bus dearer, the bus more so: believe figures of a quiet machine.
    report: dict[str, Any] = {
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
    }
    failed = False
    for name in wanted:
        began = time.monotonic()
        _say(name)
        try:
            report[name] = SECTIONS[name]()
        except load.NotMeasurable as failure:
            failed = True
            report[name] = {"not_measurable": str(failure)}
        _say(f"{name}: {time.monotonic() - began:.0f} s")
    print(json.dumps(report, indent=2))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
