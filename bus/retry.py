"""The retry clock: from an attempt's number to its next due time, and a partner's own wish read. Pure: no clock, no randomness."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

#: A partner's wish is never read as more than this; the clock takes it for less (``RetryPolicy.most``).
_LONGEST_WISH = timedelta(days=30).total_seconds()
_SECONDS = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with jitter: ``first``, times ``factor`` each time, never more than ``most``.

    ``give_up`` bounds the message's whole life, counted from its acceptance.
    """

    first: timedelta = timedelta(seconds=30)
    factor: float = 2.0
    most: timedelta = timedelta(hours=1)
    give_up: timedelta = timedelta(days=5)

    def next_due(self, attempt: int, now: datetime, expires: datetime, jitter: float, retry_after: float | None = None) -> datetime:
        """When to try again after failed attempt number ``attempt`` (from 1).

        ``jitter`` in [0, 1) spreads retries over ±10 %. ``retry_after`` (seconds) is the partner's wish and only ever lengthens
        the pause, to ``most`` at the most: a mistake of the partner's must not use up the message's life. The last try is made at
        ``expires``, so that a message is never given up long before its time; where that lies behind ``now`` (the clock has leapt, see
        ``bus.steady``) the pause is kept all the same.
        """
        # In seconds: a timedelta overflows after some forty doublings, a float (with its exponent capped) never.
        grown = self.first.total_seconds() * self.factor ** min(attempt - 1, 64)
        pause = timedelta(seconds=min(grown, self.most.total_seconds()) * (0.9 + 0.2 * jitter))
        if retry_after is not None:
            pause = max(pause, timedelta(seconds=min(retry_after, self.most.total_seconds())))
        return min(now + pause, expires) if expires > now else now + pause


def retry_after(value: str, now: datetime) -> float | None:
    """An HTTP ``Retry-After`` (RFC 9110, 10.2.3) in seconds from ``now``: seconds, or a date; None for anything else and for the past."""
    value = value.strip(" \t")
    if _SECONDS.fullmatch(value):
        return min(float(value), _LONGEST_WISH)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()
    return min(seconds, _LONGEST_WISH) if seconds > 0 else None
