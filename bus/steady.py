"""Steady: the time by which something may be given up for good, on a machine whose clock may leap.

The time of day is what leases, due times and expiries are written in, and it can be wrong: an NTP step, a wrong time zone, a clock set by
hand. Ending a message is final, so that decision reads this clock instead, which follows the time of day, but

* ahead it runs at most twice as fast as time really passes: a leap of an hour ahead is believed after it has lasted an hour;
* back it goes at once: a message then lives longer than it should, never shorter.

What a leap still does: ahead, deliveries waiting for their next try are tried at once, which costs an attempt; back, they wait longer by
as much. Neither sends twice at a time or loses: the lease and the fence do not depend on how late it is.
"""

from collections.abc import Callable
from datetime import datetime, timedelta


class Steady:
    """A clock over ``wall`` (aware, UTC) and ``elapsed`` (seconds that only run forward). At the start it believes ``wall``."""

    def __init__(self, wall: Callable[[], datetime], elapsed: Callable[[], float]) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._now = wall()
        self._asked = elapsed()

    def __call__(self) -> datetime:
        """The time that both clocks vouch for."""
        asked = self._elapsed()
        passed = timedelta(seconds=asked - self._asked)
        self._now, self._asked = min(self._wall(), self._now + 2 * passed), asked
        return self._now
