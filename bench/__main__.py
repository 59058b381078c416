"""``python -m bench``: JSON on standard output, progress on standard error.

For each size of document: the floor's blocks (``floor.py``) and the bus under load (``load.py``), in the same run on the same machine,
so that their ratio means the same on any machine. The latency of a bus that is kept full is that of its queue, so it is measured twice:
kept full, and at half of the rate it reached.
"""

import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import accounting, floor, load, requests

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


def main() -> int:
    """Measure every size and print one JSON object."""
    # Whatever else runs makes both the floor and the bus dearer, the bus more so: believe figures of a quiet machine.
    others = round(os.getloadavg()[0], 2)
    try:
        documents = {str(size): _measure(size) for size in SIZES}
    except load.NotMeasurable as failure:
        _say(str(failure))
        return 1
    machine = {"python": platform.python_version(), "processors": os.cpu_count(), "load_before": others, "workers": 1}
    print(json.dumps({**machine, "documents": documents}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
