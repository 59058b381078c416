"""What workers count in memory that they share."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

from bus.tally import Board, Series, Tally

KEY = ("counted", "", ("one",))


def test_a_board_outlives_its_worker_and_the_next_one_goes_on_there() -> None:
    """A worker is killed in mid-count: what it counted is known to others, and to the worker that takes its place."""
    tally = Tally()
    tally.share(["one", "two"])
    for _ in range(2):
        pid = os.fork()
        if not pid:
            tally.join("two")
            Series(tally, "counted", ("one",)).inc(3)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
    tally.join("one")
    Series(tally, "counted", ("one",)).inc()
    assert tally.together("counted", sum) == {("", ("one",)): 7}
    assert tally.elsewhere(KEY) == 6


def test_threads_lose_no_count() -> None:
    """Many threads at one series."""
    tally = Tally()
    series = Series(tally, "counted", ("one",))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: [series.inc() for _ in range(500)], range(8)))
    assert series.value == 4000


def test_a_full_board_counts_no_new_series_and_goes_on_with_the_others() -> None:
    """Bounded memory: what is known goes on, what is new is not counted, nobody fails."""
    board = Board(1 << 12)
    for number in range(1000):
        board.add(("counted", "", (f"label-{number}",)), 1)
    board.add(("counted", "", ("label-0",)), 1)
    found = {labels: value for (_, _, labels), value in board.values()}
    assert found["label-0",] == 2
    assert 10 < len(found) < 100


def test_a_series_that_was_dropped_is_absent_and_begins_anew() -> None:
    """Taken back, it is not shown as 0; set again, it does not remember."""
    board = Board()
    board.add(KEY, 5)
    board.drop(lambda key: key == KEY)
    assert list(board.values()) == []
    board.add(KEY, 1)
    assert list(board.values()) == [(KEY, 1.0)]
