"""The breaker by itself: what opens it, what does not, and when it asks again. Time is a number."""

from datetime import timedelta

from bus.breaker import Breaker
from bus.errors import Deferred, Rejected
from bus.options import MOST_AT_ONCE, PushOptions

DOWN = Deferred("partner-unreachable", target="agency", detail="no route to host")
OURS = Deferred("store-unavailable")
UNSENDABLE = Rejected("edxml-invalid", detail="a kind that this protocol does not carry")
REFUSED = Rejected("partner-refused", target="agency", detail="no")


def breaker(after: int = 3) -> Breaker:
    return Breaker(PushOptions(open_after=after, probe_first=timedelta(seconds=5), probe_most=timedelta(seconds=20)))


def opened(at: float = 100.0) -> Breaker:
    made = breaker()
    for name in ("a", "b", "c"):
        made.heard(name, DOWN, at)
    return made


def test_different_messages_failing_one_after_the_other_open_it() -> None:
    """At the third of three it is open, and says why in both languages."""
    made = breaker()
    states = []
    for name in ("a", "b", "c"):
        made.heard(name, DOWN, 100.0)
        states.append(made.opened)
    assert states == [None, None, 100.0]
    assert made.reasons == DOWN.reasons


def test_one_poisonous_message_opens_nothing() -> None:
    """However often the same message fails, it says nothing about the others."""
    made = breaker()
    for _ in range(50):
        made.heard("poison", DOWN, 100.0)
    assert made.opened is None


def test_several_poisonous_messages_open_nothing_while_others_get_through() -> None:
    """An answer, even a refusal, shows that the partner is there: counting begins again."""
    made = breaker()
    for answer in (None, REFUSED, None, REFUSED):
        for name in ("poison-1", "poison-2"):
            made.heard(name, DOWN, 100.0)
        made.heard("good", answer, 100.0)
    assert made.opened is None


def test_our_own_troubles_say_nothing_about_the_partner() -> None:
    """Neither the store's failures nor our bugs count, for or against."""
    made = breaker()
    for name in "abcdefgh":
        made.heard(name, OURS, 100.0)
        made.heard(name, ZeroDivisionError(), 100.0)
    assert made.opened is None
    made = opened()
    made.heard("d", OURS, 101.0)
    made.heard("e", UNSENDABLE, 101.0)
    assert made.opened is not None


def test_pauses_between_probes_grow_up_to_the_longest() -> None:
    """5 s, 10 s, 20 s, 20 s: one probe each."""
    made, now, pauses = opened(), 100.0, []
    for _ in range(4):
        pauses.append(made.probe_at - now)
        now = made.probe_at
        assert not made.probe_due(now - 0.01)
        assert made.probe_due(now)
        made.sending("probe")
        assert not made.probe_due(now + 1000)
        made.heard("probe", DOWN, now)
    assert pauses == [5, 10, 20, 20]


def test_the_partners_own_wish_lengthens_the_pause() -> None:
    """A Retry-After is kept, but for an hour at most: a mistake of the partner's must not cost a day."""
    made = breaker(after=1)
    made.heard("a", Deferred("partner-busy", target="agency", status=503, retry_after=600.0), 100.0)
    assert made.probe_at == 700.0
    made = breaker(after=1)
    made.heard("a", Deferred("partner-busy", target="agency", status=503, retry_after=1e9), 100.0)
    assert made.probe_at == 3700.0


def test_a_probe_that_ends_without_a_verdict_is_repeated() -> None:
    """A probe that our own store failed was none: the next may go out at once."""
    made = opened()
    made.sending("probe")
    made.heard("probe", OURS, 105.0)
    assert made.probe_due(105.0)


def test_late_news_neither_lengthens_the_pause_nor_is_a_probe() -> None:
    """Deliveries that left before it opened fail after it: nothing changes. One that succeeds closes it."""
    made = opened()
    made.heard("left-earlier", DOWN, 104.0)
    assert made.probe_at == 105.0
    made.heard("left-earlier-too", None, 104.0)
    assert made.opened is None


def test_a_partner_just_up_is_not_overrun() -> None:
    """After the probe one delivery at a time, then two, four, and so on with each answer."""
    made = opened()
    assert made.pace == MOST_AT_ONCE
    paces = []
    for name in ("probe", "a", "b", "c"):
        made.heard(name, None, 105.0)
        paces.append(made.pace)
    assert paces == [1, 2, 4, 8]
