"""The retry clock, and what a partner's Retry-After may say."""

from datetime import UTC, datetime, timedelta

import pytest

from bus.retry import RetryPolicy, retry_after

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)
POLICY = RetryPolicy(first=timedelta(seconds=30), factor=2, most=timedelta(hours=1), give_up=5 * DAY)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 120 ", 120.0),
        ("0", 0.0),
        ("Fri, 20 Nov 2026 02:10:00 GMT", 600.0),
        ("Friday, 20-Nov-26 02:10:00 GMT", 600.0),
        ("Fri Nov 20 02:10:00 2026", 600.0),
        ("Fri, 20 Nov 2026 01:59:59 GMT", None),
        ("9" * 400, 30 * 86400.0),
        ("Fri, 20 Nov 9999 02:10:00 GMT", 30 * 86400.0),
        ("²", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("Fri, 99 Nov 2026 99:99:99 GMT", None),
        (", , ,", None),
    ],
)
def test_a_retry_after_is_seconds_or_any_http_date(value: str, seconds: float | None) -> None:
    """RFC 9110, 10.2.3 and 5.6.7; anything else, and the past, is no wish at all; none is believed beyond a month."""
    assert retry_after(value, NOW) == seconds


def test_pauses_grow_to_the_longest_and_end_at_the_last_try() -> None:
    """30 s, a minute, ... an hour; the last one ends when the message does."""
    dues = [POLICY.next_due(attempt, NOW, NOW + 5 * DAY, 0.5) - NOW for attempt in (1, 2, 3, 8, 100, 5000)]
    assert dues == [timedelta(seconds=seconds) for seconds in (30, 60, 120, 3600, 3600, 3600)]
    assert POLICY.next_due(100, NOW, NOW + timedelta(minutes=7), 0.5) == NOW + timedelta(minutes=7)


def test_a_wish_lengthens_and_never_shortens_the_pause() -> None:
    """A partner may ask for more, not for less; and never for more than our longest pause, nor for more than the message has."""
    assert POLICY.next_due(3, NOW, NOW + DAY, 0.5, 600.0) == NOW + timedelta(minutes=10)
    assert POLICY.next_due(3, NOW, NOW + DAY, 0.5, 1.0) == NOW + timedelta(minutes=2)
    assert POLICY.next_due(3, NOW, NOW + DAY, 0.5, float("inf")) == NOW + timedelta(hours=1)
    assert POLICY.next_due(3, NOW, NOW + timedelta(minutes=7), 0.5, float("inf")) == NOW + timedelta(minutes=7)


def test_fault_35_a_deadline_that_a_leap_has_put_in_the_past_leaves_the_pause() -> None:
    """What is not given up is not tried over and over either."""
    assert POLICY.next_due(1, NOW, NOW - DAY, 0.5) == NOW + timedelta(seconds=30)
