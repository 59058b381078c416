"""An expensive answer is asked for at a bearable pace."""

from collections.abc import Callable

import pytest

from bus.store.paced import CHEAP, REST, Paced


class Seconds:
    """A clock that asking moves on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def answering(self, cost: float) -> Callable[[], float]:
        def ask() -> float:
            self.now += cost
            return self.now

        return ask


@pytest.mark.parametrize(("cost", "kept"), [(CHEAP / 2, False), (CHEAP * 4, True)])
def test_an_answer_is_kept_for_a_multiple_of_what_it_cost(cost: float, kept: bool) -> None:
    """What costs nothing is asked each time; what costs much takes a twentieth of one processor at most."""
    clock = Seconds()
    paced = Paced(clock.answering(cost), clock)
    first = paced()
    clock.now += cost * REST * 0.9
    assert (paced() == first) is kept
    clock.now += cost * REST
    assert paced() > first


def test_a_failure_is_never_kept() -> None:
    """Whoever asks after a failure asks anew."""
    answers = iter([0, 1])
    paced = Paced(lambda: 1 // next(answers))
    with pytest.raises(ZeroDivisionError):
        paced()
    assert paced() == 1
