"""Paced: an answer that may cost much, asked for again only when a multiple of what it cost has passed."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

#: Seconds that cost nobody anything: such an answer is never kept.
CHEAP = 0.05
#: A kept answer is good for so many times what it cost: asking takes a twentieth of one processor at most.
REST = 20.0


class Paced(Generic[T]):
    """``ask`` at a bearable pace: who calls meanwhile is given the last answer, and while it is asked everyone waits for the one.

    A failure is raised, never kept. ``clock``: seconds that only run forward.
    """

    def __init__(self, ask: Callable[[], T], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[T] | None = None
        self._until = 0.0

    def __call__(self) -> T:
        """The answer, asked for now or kept."""
        with self._lock:
            began = self._clock()
            if self._kept is None or began >= self._until:
                self._kept = (self._ask(),)
                ended = self._clock()
                cost = ended - began
                self._until = ended + cost * REST if cost > CHEAP else began
            return self._kept[0]
