"""Steady: the time by which something may be given up for good, on a machine whose clock may leap.

The time of day is what leases, due times and expiries are written in, and it can be wrong: an NTP step, a wrong time zone, a clock set by
hand. Ending a message is final, so that decision reads this clock instead. It follows the time of day, but

* after a leap ahead it only closes the gap, by one second in a hundred: an hour is believed after four days, or after a restart;
* back it goes at once: a message then lives longer than it should, never shorter.

What a leap still does, none of it final: ahead, deliveries waiting for their next try are tried at once, which costs them an attempt, and
another node's claims look abandoned, so that a message under way there may be sent a second time (recorded once, by the fence; what this
node has in hand it never takes for abandoned); back, what waits for its next try waits longer by as much.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

#: How fast it runs while the time of day is ahead.
_CLOSING = 1.01


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
        self._now, self._asked = min(self._wall(), self._now + passed * _CLOSING), asked
        return self._now
