"""Checkpoints as the daemon writes them and has them time-stamped, and the switch: what has no time-stamp for too long stops acceptance."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
import structlog
from checkpoint_rig import ORGANISATION, life
from engine_bench import DIGITAL_AGENCY, Bench, Partner, make_routes
from helping import HandClock
from tsa_server import POLICY, TimestampServer
from tsa_server import Authority as Tsa

from bus import checkpointing, config, log, metrics
from bus.checkpointing import Checkpointing
from bus.engine import Engine
from bus.errors import Deferred
from bus.evidence import Evidence
from bus.ids import uuid7
from bus.route import Entry, Route
from bus.signer import Signer
from bus.store import Store
from bus.timestamps import Authority
from bus.timestamps import verify as verify_token
from bus.xpath import XPath

EVERY, LIMIT = timedelta(minutes=10), timedelta(hours=4)
WORDS = {
    "vi": (
        "Tạm ngừng tiếp nhận: dấu thời gian gần nhất đã có từ {since}, quá thời hạn 4:00:00; hãy gửi lại sau. "
        "Người vận hành: kiểm tra cơ quan cấp dấu thời gian."
    ),
    "en": (
        "Not accepting for now: the last time-stamp is of {since}, older than the limit of 4:00:00; send again later. "
        "Operators: check the time-stamping authority."
    ),
}


def trusted(server: TimestampServer, **options: object) -> Authority:
    """The site's view of the authority."""
    return replace(Authority(server.url, tuple(server.authority.anchors()), EVERY, LIMIT), **options)


@pytest.fixture
def make(store: Store, evidence: Evidence, clock: HandClock, authority: TimestampServer) -> Callable[..., Checkpointing]:
    """Makes the checkpointing of a process, by default of the first one on the test's store."""

    def making(on: Store = store, **options: object) -> Checkpointing:
        return Checkpointing(on, evidence, ORGANISATION, clock, trusted(authority, **options))

    return making


@pytest.fixture
def checkpoints(make: Callable[..., Checkpointing]) -> Checkpointing:
    return make()


# --- what is written, and when --------------------------------------------------------------------------------------------


async def test_the_first_start_is_the_first_checkpoint(checkpoints: Checkpointing, store: Store, clock, authority) -> None:
    """Before anything is journalled there is one that says when the store began, and it is time-stamped at once."""
    await checkpoints.round()
    [first] = store.checkpoints_since(1)
    assert (first.number, first.at, first.stamped, authority.requests) == (1, clock(), clock(), 1)


async def test_a_checkpoint_a_minute_a_time_stamp_every_so_often(checkpoints: Checkpointing, store: Store, clock, authority) -> None:
    """However often a process looks, and only while something is journalled; each time-stamp covers all before it."""
    for second in range(0, 25 * 60, 15):
        if second % 60 == 0:
            await life(store, clock, second)
        await checkpoints.round()
        clock.advance(seconds=15)
    kept = store.checkpoints_since(1)
    assert [each.number for each in kept] == list(range(1, 26))
    assert [each.number for each in kept if each.token] == [1, 11, 21]
    assert authority.requests == 3


async def test_a_night_in_which_nothing_happens_is_time_stamped_too(checkpoints: Checkpointing, store: Store, clock) -> None:
    """Each time-stamp is journalled, which the next checkpoint covers: the last one never grows old while the authority answers."""
    for _ in range(4 * 60):
        await checkpoints.round()
        assert checkpoints.stale() is None
        clock.advance(minutes=1)
    kept = store.checkpoints_since(1)
    assert 20 < len(kept) < 30
    assert sum(bool(each.token) for each in kept) > 20


async def test_an_authority_whose_clock_is_ahead_is_not_asked_more_often(
    checkpoints: Checkpointing, authority: TimestampServer, clock: HandClock
) -> None:
    """Four minutes ahead is taken, and does not make its last time-stamp look like one from before a leap."""
    authority.clock = lambda: clock() + timedelta(minutes=4)
    for _ in range(28):
        await checkpoints.round()
        clock.advance(minutes=1)
    assert authority.requests == 2


async def test_without_an_authority_there_are_checkpoints_and_no_switch(store: Store, evidence, clock, authority) -> None:
    """Nobody is asked, nothing stops, and an idle bus writes nothing."""
    checkpoints = Checkpointing(store, evidence, ORGANISATION, clock)
    for number in (1, 2):
        await life(store, clock, number)
        for _ in range(60):
            await checkpoints.round()
            clock.advance(minutes=1)
        checkpoints.admit()
    assert (len(store.checkpoints_since(1)), authority.requests, checkpoints.unwell("vi")) == (2, 0, {})


async def test_a_clock_that_went_back_stops_neither(checkpoints: Checkpointing, store: Store, clock) -> None:
    """Set back by half a day, the bus goes on writing checkpoints and having them time-stamped."""
    await checkpoints.round()
    clock.advance(hours=-12)
    await life(store, clock, 1)
    await checkpoints.round()
    assert [bool(each.token) for each in store.checkpoints_since(1)] == [True, True]


class Broken(Signer):
    """A signer whose token was pulled out."""

    def __init__(self, signer: Signer) -> None:
        self.__dict__.update(signer.__dict__)

    def sign(self, data: bytes) -> bytes:
        raise Deferred("token-unavailable", name=self.name, token="govbus", detail="pulled out")


async def test_fault_40_a_key_out_of_reach_costs_no_proof(make, store: Store, evidence: Evidence, clock) -> None:
    """While the token is away no checkpoint is written; the first one after it covers what they would have."""
    checkpoints = make()
    await checkpoints.round()
    checkpoints.adopt(replace(evidence, signer=Broken(evidence.signer)), checkpoints.authority)
    for number in (1, 2):
        await life(store, clock, number)
        clock.advance(minutes=1)
        with pytest.raises(Deferred, match=r"4\.3\.5"):
            await checkpoints.round()
    checkpoints.adopt(evidence, checkpoints.authority)
    await checkpoints.round()
    span = evidence.read_checkpoint(store.newest_checkpoint().xml).span("main")
    assert (store.newest_checkpoint().number, span.first, span.last) == (2, 1, 7)


# --- fault 39: the authority is down ----------------------------------------------------------------------------------------


@pytest.fixture
async def bench(
    make_site: Callable[..., Path], clock: HandClock, evidence: Evidence, store: Store, checkpoints: Checkpointing
) -> AsyncIterator[Bench]:
    """An engine with the switch, a partner, and a mailbox at the door ``inbox``."""
    site = config.load(make_site(), environment={}, clock=clock).site
    partners = {name: Partner(name) for name in ("agency", "other")}
    routes = make_routes(site, partners) | {"in": Route("in", "inbox", site, to=(Entry("inbox", XPath("to")),))}
    ids = uuid7(clock)
    engine = Engine(site, store, partners, routes, clock=clock, ids=ids, jitter=lambda: 0.5, checkpointing=checkpoints)
    await engine.start()
    yield Bench(site, store, evidence, clock, partners, engine)
    await engine.stop()


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process's own rounds are far apart: the test does them."""
    monkeypatch.setattr(checkpointing, "PAUSE_SECONDS", 3600.0)


async def test_fault_39_an_authority_down_from_the_first_start_stops_acceptance_at_the_limit(
    authority: TimestampServer, by_hand: None, bench: Bench, checkpoints: Checkpointing, clock: HandClock
) -> None:
    """Until then everything is accepted; from then nothing is, while what was accepted goes out and mailboxes are read; then it goes on."""
    authority.down = True
    await bench.engine._checkpointing.round()
    began = clock().isoformat(timespec="seconds")
    bench.partners["agency"].gate.clear()
    await bench.hand_in("m1")
    await bench.hand_in("m2", to=DIGITAL_AGENCY, door="inbox")
    clock.advance(hours=4)
    await bench.hand_in("m3")
    clock.advance(seconds=1)
    with structlog.testing.capture_logs() as logs:
        await checkpoints.round()
        await checkpoints.round()
    with pytest.raises(Deferred) as refusal:
        await bench.hand_in("m4")
    said = {language: words.format(since=began) for language, words in WORDS.items()}
    assert (refusal.value.code, dict(refusal.value.reasons), refusal.value.retry_after) == ("4.3.2", said, 30)
    [alarm] = [line for line in logs if line["event"] == "alarm.timestamps-stale"]
    assert (alarm["reason"], alarm["reason_vi"], alarm["log_level"]) == (said["en"], said["vi"], "error")
    assert [checkpoints.unwell(language) for language in said] == [{"timestamps": said["vi"]}, {"timestamps": said["en"]}]
    assert metrics.TIMESTAMP_AGE.value == 4 * 3600 + 1
    assert bench.store.show("m4") == []
    bench.partners["agency"].gate.set()
    await bench.until(lambda: "DELIVERED" in bench.statuses("m1") and "DELIVERED" in bench.statuses("m3"))
    assert [entry.message_id for entry in await bench.engine.pending("digital-agency", 5)] == ["m2"]
    authority.down = False
    clock.advance(seconds=30)
    with structlog.testing.capture_logs() as logs:
        await checkpoints.round()
    assert [line["event"] for line in logs] == [log.TIMESTAMPED, log.TIMESTAMPS_BACK]
    assert checkpoints.unwell("vi") == {}
    await bench.hand_in("m4")


async def test_fault_39_a_backlog_is_time_stamped_by_one_token(
    checkpoints: Checkpointing, store: Store, evidence: Evidence, authority: TimestampServer, clock: HandClock
) -> None:
    """After hours of outage a single token covers every checkpoint of it, through the digest that each holds of the one before."""
    await checkpoints.round()
    authority.down = True
    for number in range(60):
        clock.advance(minutes=1)
        await life(store, clock, number)
        await checkpoints.round()
    asked = authority.requests
    authority.down = False
    clock.advance(minutes=1)
    await checkpoints.round()
    *before, last = store.checkpoints_since(1)
    assert (authority.requests - asked, len(before), last.number) == (1, 60, 61)
    assert verify_token(last.token, last.xml, authority.authority.anchors()).at == last.stamped == clock()
    covered = evidence.read_checkpoint(last.xml).previous
    for each in reversed(before):
        assert sha256(each.xml).hexdigest() == covered
        covered = evidence.read_checkpoint(each.xml).previous
    assert [each.number for each in before if each.token] == [1]


async def test_fault_39_an_authority_that_is_down_is_not_asked_all_the_time(
    checkpoints: Checkpointing, authority: TimestampServer, clock: HandClock
) -> None:
    """Once in half a minute, however often a process looks."""
    authority.down = True
    for _ in range(120):
        await checkpoints.round()
        clock.advance(seconds=5)
    assert authority.requests == 20


@pytest.mark.parametrize(
    ("faults", "check"),
    [
        ({"imprint": bytes(32)}, "Mismatch between messages"),
        ({"nonce": 7}, "the nonce is not ours"),
        ({"policy": "1.2.3"}, f"the policy is 1.2.3, not {POLICY}"),
        ({"late": -6}, "our clock"),
        ({"late": 6}, "our clock"),
        ({"status": "rejection"}, "không cấp"),
    ],
)
async def test_fault_39_a_token_that_does_not_hold_is_not_kept(
    make, store: Store, authority: TimestampServer, clock: HandClock, faults, check: str
) -> None:
    """Forged, of another request, old, from the future, refused: logged with the check that failed, and the switch stays where it is."""
    checkpoints = make(policy=POLICY)
    authority.clock = lambda: clock() + timedelta(minutes=faults.get("late", 0))
    authority.faults = {name: value for name, value in faults.items() if name != "late"}
    with structlog.testing.capture_logs() as logs:
        await checkpoints.round()
    [failed] = [line for line in logs if line["event"] == log.TIMESTAMP_FAILED]
    assert check in failed["reason"]
    assert store.newest_checkpoint(stamped=True) is None
    clock.advance(hours=4, seconds=1)
    with pytest.raises(Deferred, match=r"4\.3\.2"):
        checkpoints.admit()


async def test_fault_39_a_token_of_another_authority_is_not_kept(store: Store, make, authority: TimestampServer, clock: HandClock) -> None:
    """Whoever answers at the address, only what the trusted root vouches for counts."""
    checkpoints = make()
    authority.authority = Tsa(clock())
    await checkpoints.round()
    assert (authority.requests, store.newest_checkpoint(stamped=True)) == (1, None)


async def test_fault_39_every_process_decides_by_the_store(open_store, make, authority: TimestampServer, clock: HandClock) -> None:
    """Another node's time-stamp opens this one's switch, and a restart resets nothing."""
    one, other = make(), make(open_store("other"))
    authority.down = True
    await one.round()
    clock.advance(hours=4, seconds=1)
    restarted = make()
    await restarted.start()
    for process in (one, restarted):
        with pytest.raises(Deferred, match=r"4\.3\.2"):
            process.admit()
    authority.down = False
    await other.round()
    await one.round()
    for process in (one, other):
        process.admit()
    assert authority.requests == 2


async def test_an_authority_without_a_limit_stops_nothing(make, authority: TimestampServer, clock: HandClock) -> None:
    """Time-stamps are tried for and acceptance does not depend on them."""
    authority.down = True
    checkpoints = make(limit=None)
    await checkpoints.round()
    clock.advance(days=9)
    checkpoints.admit()
    assert checkpoints.unwell("en") == {}


async def test_a_site_may_have_them_more_often(make, store: Store, clock: HandClock) -> None:
    """Where time-stamps are wanted every five seconds there are checkpoints as often, and the last one is never older than that."""
    checkpoints = make(every=timedelta(seconds=5), limit=timedelta(seconds=10))
    for _ in range(60):
        await checkpoints.round()
        clock.advance(seconds=5)
        checkpoints.admit()
    assert all(each.token for each in store.checkpoints_since(1))


async def test_a_reload_takes_up_another_authority(checkpoints: Checkpointing, evidence: Evidence, clock: HandClock) -> None:
    """The next round asks the one that stands in routes.yaml now, and its limit holds."""
    with TimestampServer(Tsa(clock()), clock) as moved:
        checkpoints.adopt(evidence, trusted(moved, limit=timedelta(hours=1)))
        await checkpoints.round()
        assert moved.requests == 1
    clock.advance(hours=1, seconds=1)
    with pytest.raises(Deferred, match=r"1:00:00"):
        checkpoints.admit()
