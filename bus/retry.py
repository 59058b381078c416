"""The retry clock: from an attempt's number to its next due time, or None to give up. Pure: no clock, no randomness."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with jitter: ``first``, times ``factor`` each time, never more than ``most``.

    ``give_up`` bounds the message's whole life, counted from its acceptance.
    """

    first: timedelta = timedelta(seconds=30)
    factor: float = 2.0
    most: timedelta = timedelta(hours=1)
    give_up: timedelta = timedelta(days=5)

    def next_due(self, attempt: int, now: datetime, expires: datetime, jitter: float, retry_after: float | None = None) -> datetime | None:
        """When to try again after failed attempt number ``attempt`` (from 1), or None: give up, it has expired.

        ``jitter`` in [0, 1) spreads retries over ±10 %. ``retry_after`` (seconds) is the partner's wish and only ever lengthens
        the pause. The last try is made at ``expires``, so that a message is never given up long before its time.
        """
        if now >= expires:
            return None
        # The exponent is capped: 2.0**1024 overflows a float, and `most` rules long before.
        pause = min(self.first * self.factor ** min(attempt - 1, 64), self.most)
        pause *= 0.9 + 0.2 * jitter
        if retry_after is not None:
            pause = max(pause, timedelta(seconds=retry_after))
        return min(now + pause, expires)
