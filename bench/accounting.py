"""What processes cost, as the kernel counts it: CPU time and peak memory of a whole process tree, from /proc (Linux)."""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
#: Fields 14 and 15 of /proc/<pid>/stat, utime and stime, counted from behind the command's closing parenthesis; see proc(5).
_UTIME, _STIME = 11, 12


def tree(pid: int) -> Iterator[int]:
    """``pid`` and everything it started, directly or not."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from tree(int(child))


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree under ``pid`` so far, all threads."""
    return sum(_ticks(each) for each in tree(pid)) / _TICKS


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[_UTIME]) + int(fields[_STIME])


def peak_rss_mb(pid: int) -> float:
    """Highest resident size of each process of the tree, added up, in MiB."""
    return sum(_status(each, "VmHWM") for each in tree(pid)) / 1024


def rss_mb(pid: int) -> float:
    """Resident size of each process of the tree now, added up, in MiB."""
    return sum(_status(each, "VmRSS") for each in tree(pid)) / 1024


def _status(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(f"{name}:"))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that ``percent`` of all values do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]
