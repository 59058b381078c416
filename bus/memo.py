"""Memo: results that are remembered, of small inputs only: whoever sends the inputs decides how large they are."""

from collections.abc import Callable
from functools import lru_cache
from typing import Generic, TypeVar

Given = TypeVar("Given", bound=str | bytes)
Result = TypeVar("Result")


class Remembered(Generic[Given, Result]):
    """A pure function whose last results are remembered; see ``remembered``. ``cache_info()``: as ``functools.lru_cache`` gives it."""

    def __init__(self, work: Callable[[Given], Result], entries: int, most: int) -> None:
        self._work, self._most = work, most
        self._known = lru_cache(maxsize=entries)(work)
        self.cache_info = self._known.cache_info

    def __call__(self, given: Given) -> Result:
        """The result for ``given``."""
        return self._known(given) if len(given) <= self._most else self._work(given)


def remembered(entries: int, most: int) -> Callable[[Callable[[Given], Result]], Remembered[Given, Result]]:
    """Remember the last ``entries`` results, of inputs whose length is at most ``most``; the others are worked out anew."""
    return lambda work: Remembered(work, entries, most)
