"""The clock that ends things for good, over a time of day that leaps."""

from datetime import timedelta

from engine_bench import HandClock

from bus.steady import Steady

HOUR = timedelta(hours=1)


def steady(clock: HandClock) -> Steady:
    return Steady(clock, lambda: clock.elapsed)


def test_it_is_the_time_of_day_while_that_runs_evenly(clock: HandClock) -> None:
    """Asked often or seldom."""
    asked = steady(clock)
    for time in (timedelta(seconds=5), HOUR, timedelta(days=30)):
        clock.advance(time)
        assert asked() == clock.now


def test_fault_35_a_leap_ahead_is_not_followed_but_the_gap_closes_slowly(clock: HandClock) -> None:
    """An hour ahead at once is no time at all; half of it is believed after fifty hours, all of it after a hundred."""
    asked, start = steady(clock), clock.now
    clock.advance(timedelta(), leap=HOUR)
    assert asked() == start
    clock.advance(50 * HOUR)
    assert clock.now - asked() == HOUR / 2
    clock.advance(50 * HOUR)
    assert asked() == clock.now


def test_fault_35_a_leap_back_is_followed_at_once(clock: HandClock) -> None:
    """What is to end then ends later, never sooner; and nothing is made up for."""
    asked = steady(clock)
    clock.advance(timedelta(seconds=5), leap=-HOUR)
    assert asked() == clock.now
    clock.advance(timedelta(seconds=5))
    assert asked() == clock.now


async def test_an_end_that_is_reckoned_while_the_clock_is_behind_is_judged_as_late(clock: HandClock) -> None:
    """Accepted in a dip that nobody else looked at: the clock that ends things has seen it, and its later leap ahead is not followed."""
    asked = steady(clock)
    clock.advance(HOUR, leap=-2 * HOUR)
    asked()  # as acceptance does
    ends = clock.now + HOUR
    clock.advance(HOUR / 4, leap=2 * HOUR)
    assert asked() < ends
