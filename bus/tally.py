"""Tally: counters, gauges and histograms that all workers of a site write into memory they share, so that whoever is asked knows them all.

Each worker has a *board*, memory mapped before the fork: it writes into its own and reads everybody's. A board outlives its worker, and the
worker that replaces it goes on counting there, so a counter never goes down; what the dead one said of *now* (its gauges) is dropped.
There is no file: a full disk costs nothing here. A board that is full counts no new series, and says so once.

Why not ``prometheus_client``'s own multiprocess mode: it maps files, and a full disk under a mapped file ends the process (SIGBUS); it must
be chosen before its first import; and it cannot take a series back. What is used of it is its exposition (``bus.metrics``).
Any thread may count. A value is eight aligned octets, written at once: a reader in another process sees the old one or the new one.
"""

import contextlib
import json
import math
import mmap
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

#: Octets of one board. Pages that nothing is written to cost nothing; a series takes some hundred octets.
BOARD: Final = 2 << 20
_HEAD: Final = 8
_ABSENT: Final = math.nan

_log = structlog.get_logger()

#: (metric, what of it: "" or a bucket, label values)
Key = tuple[str, str, tuple[str, ...]]


class Board:
    """One worker's values. Layout: octets in use, then for each series the length of its key, the key, padding, and its value."""

    def __init__(self, size: int = BOARD, *, shared: bool = False) -> None:
        """``shared``: with the processes that are forked from this one; else each of them has a copy of its own from then on."""
        self._memory = mmap.mmap(-1, size, flags=mmap.MAP_ANONYMOUS | (mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE))
        self._numbers = memoryview(self._memory).cast("d")
        self._places: dict[Key, int] = {}
        self._full = False
        self._lock = threading.Lock()
        if not self._used():
            self._use(_HEAD)

    def _used(self) -> int:
        return int(struct.unpack_from("q", self._memory)[0])

    def _use(self, octets: int) -> None:
        struct.pack_into("q", self._memory, 0, octets)

    def take_over(self) -> None:
        """Go on where a worker that died left off: its series are known, what it counted stands."""
        with self._lock:
            self._places = dict(self._walk())

    def _walk(self) -> Iterator[tuple[Key, int]]:
        """Every series and its place. What is added meanwhile, by another process perhaps, may be missed."""
        at, used = _HEAD, self._used()
        while at < used:
            (length,) = struct.unpack_from("q", self._memory, at)
            metric, part, labels = json.loads(self._memory[at + 8 : at + 8 + length])
            place = (at + 8 + length + 7) // 8
            yield (metric, part, tuple(labels)), place
            at = place * 8 + 8

    def _place(self, key: Key) -> int | None:
        place = self._places.get(key)
        return self._new(key) if place is None else place

    def _new(self, key: Key) -> int | None:
        octets, at = json.dumps(key).encode(), self._used()
        place = (at + 8 + len(octets) + 7) // 8
        if place * 8 + 8 > len(self._memory):
            if not self._full:
                self._full = True
                _log.error("metrics.full", series=len(self._places))
            return None
        struct.pack_into("q", self._memory, at, len(octets))
        self._memory[at + 8 : at + 8 + len(octets)] = octets
        self._numbers[place] = _ABSENT
        # Last: who reads meanwhile must not see half of it.
        self._use(place * 8 + 8)
        self._places[key] = place
        return place

    def add(self, key: Key, amount: float) -> None:
        """Count ``amount`` more."""
        with self._lock:
            place = self._place(key)
            if place is not None:
                before = self._numbers[place]
                self._numbers[place] = amount if math.isnan(before) else before + amount

    def set(self, key: Key, value: float) -> None:
        """Let it be ``value``."""
        with self._lock:
            place = self._place(key)
            if place is not None:
                self._numbers[place] = value

    def drop(self, wanted: Callable[[Key], bool]) -> None:
        """Take back the series that are ``wanted``: they are shown no more, until somebody sets them again."""
        with self._lock:
            for key, place in self._places.items():
                if wanted(key):
                    self._numbers[place] = _ABSENT

    def values(self) -> Iterator[tuple[Key, float]]:
        """Every series that has a value; of any process's board."""
        for key, place in self._walk():
            value = self._numbers[place]
            if not math.isnan(value):
                yield key, value


@dataclass(slots=True)
class Tally:
    """All boards of a site, and which of them is this process's."""

    boards: dict[str, Board] = field(default_factory=lambda: {"": Board()})
    name: str = ""

    @property
    def own(self) -> Board:
        """The board of this process."""
        return self.boards[self.name]

    def share(self, names: Sequence[str]) -> None:
        """Before the fork: one board for each worker."""
        self.boards = {name: Board(shared=True) for name in names}
        self.name = names[0]

    def join(self, name: str) -> None:
        """After the fork: this process is worker ``name``. Without ``share`` it is the only one, and keeps its board."""
        if name in self.boards:
            self.name = name
            self.own.take_over()

    def together(self, metric: str, join: Callable[[Sequence[float]], float]) -> Mapping[tuple[str, tuple[str, ...]], float]:
        """The values of a metric by part and labels, those of several workers joined."""
        found: dict[tuple[str, tuple[str, ...]], list[float]] = {}
        for board in list(self.boards.values()):
            for (name, part, labels), value in board.values():
                if name == metric:
                    found.setdefault((part, labels), []).append(value)
        return {key: join(values) for key, values in found.items()}

    def elsewhere(self, key: Key) -> float:
        """The largest value of one series on the boards of the other workers; 0 where there is none."""
        others = (board for name, board in self.boards.items() if name != self.name)
        return max((value for board in others for other, value in board.values() if other == key), default=0.0)


@dataclass(frozen=True, slots=True)
class Series:
    """One metric with its label values."""

    tally: Tally
    metric: str
    values: tuple[str, ...]
    bounds: tuple[float, ...] = ()

    def inc(self, amount: float = 1.0) -> None:
        """Count."""
        self.tally.own.add((self.metric, "", self.values), amount)

    def set(self, value: float) -> None:
        """Say how it stands."""
        self.tally.own.set((self.metric, "", self.values), float(value))

    def observe(self, value: float) -> None:
        """Count one more value of a histogram."""
        own, bucket = self.tally.own, next((str(bound) for bound in self.bounds if value <= bound), "+Inf")
        own.add((self.metric, bucket, self.values), 1.0)
        own.add((self.metric, "sum", self.values), value)

    @contextlib.contextmanager
    def time(self) -> Iterator[None]:
        """Observe how long it takes, in seconds, also when it fails."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.observe(time.monotonic() - begun)

    @property
    def value(self) -> float:
        """How it stands in this process; 0 where nobody has said."""
        key = (self.metric, "", self.values)
        return next((value for other, value in self.tally.own.values() if other == key), 0.0)
