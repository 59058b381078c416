"""Pruning takes what ended long ago and nothing else, tells of it, and what it took can be proved from the archive alone."""

import os
import tarfile
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from store_contract import LARGE, LEASE, LIFE, REASONS, ROUTE, message

from bus.audit import audit, audit_archive
from bus.delivery import ROUTE_PREFIX
from bus.endpoint import Sent
from bus.errors import Rejected
from bus.receipt import Status
from bus.store import LostClaim, Owed, Store, pruning
from bus.store.archive import Order
from bus.store.blobs import Files

ROUTED = ROUTE_PREFIX + ROUTE


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Either kind of store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'bus.db'}"
    return request.getfixturevalue("postgres").url(request.getfixturevalue("database"))


async def ending(store: Store, clock, number: int, body: bytes = b"", status: str = "DELIVERED") -> None:
    """A message that has ended: delivered, dead, or in a mailbox and confirmed."""
    await owing(store, clock, number, body)
    [work] = await store.claim("a", 10, LEASE)
    if status == "DEAD":
        await store.bury(work, Status.DEAD, "5.4.0", REASONS)
    else:
        await store.finish(work, Sent(work.message.digest, b"<Reply/>"))


async def owing(store: Store, clock, number: int, body: bytes = b"") -> None:
    """A message whose delivery is still owed."""
    sent = message(number, body)
    await store.accept(sent, Owed(route=ROUTE, target=ROUTED, message=sent, expires=clock() + LIFE), receipts_to="unit-inbox")
    [work] = await store.claim(ROUTED, 10, LEASE)
    await store.routed(work, [Owed(route=ROUTE, target="a", message=work.message, expires=clock() + LIFE)], {}, ["validate"])


async def refusing(store: Store, reference: str) -> None:
    await store.refuse(endpoint="door", partner="unit", code="5.6.0", reasons=REASONS, digest="00" * 32, message_id=reference)


def order(clock, archive: Path | None = None) -> Order:
    return Order(clock() - timedelta(days=30), "an", "mỗi tháng một lần", archive, {"bus.crt": b"PEM"})


@pytest.fixture
async def aged(store: Store, clock) -> Store:
    """A month ago: one delivered, one large, one dead, one refused, one still owed (it came between them); and one of today."""
    await ending(store, clock, 1)
    await ending(store, clock, 2, LARGE)
    await owing(store, clock, 3)
    [held] = await store.claim("a", 10, LEASE)
    await store.defer(held, clock() + timedelta(days=60), "4.4.1", REASONS)
    await ending(store, clock, 4, status="DEAD")
    await refusing(store, "ref-old")
    clock.advance(days=31)
    await ending(store, clock, 5)
    await refusing(store, "ref-new")
    return store


def settle(files) -> None:
    """Files lie untouched for a day. (Bodies in a shared database need not: a row is held by whoever is about to name it.)"""
    for name in files.names() if isinstance(files, Files) else ():
        os.utime(files.path(name), (0, 0))


async def test_what_ended_before_goes_and_nothing_else(aged: Store, clock, evidence) -> None:
    """Messages, receipts, journal rows and octets of what ended; not of what is owed, nor of what happened since."""
    settle(aged._files)
    done = await aged.prune(order(clock))
    assert (done.messages, done.refusals, done.blobs) == (3, 1, 3)
    assert [found.id for found in aged.search()] == ["message-5", "message-3"]
    assert aged.refusals() == {"door": 1}
    assert len(aged.receipts_of("message-3")) == 1
    report = audit(aged, evidence)
    assert (report.findings, report.notes) == ((), ())
    assert [told["event"] for told in report.prunings] == ["pruning", "pruned"]
    assert (report.prunings[0]["by"], report.prunings[0]["reason"]) == ("an", "mỗi tháng một lần")


async def test_a_pruned_message_that_comes_again_is_known(aged: Store, clock) -> None:
    """5.6.10 for the same content, 5.6.9 for another; neither becomes a second message."""
    await aged.prune(order(clock))
    for number, body, code in ((1, b"", r"5\.6\.10"), (1, b"<other/>", r"5\.6\.9")):
        with pytest.raises(Rejected, match=code):
            await owing(aged, clock, number, body)
    assert len(aged.search()) == 2
    assert await aged.known("unit-documents", "unit", "unit-1")


async def test_pruning_goes_on_month_after_month(aged: Store, clock, evidence, tmp_path: Path) -> None:
    """Each archive begins where the one before it ended; a message that lived longer comes whole in a later one."""
    first, second = tmp_path / "first.tar", tmp_path / "second.tar.gz"
    await aged.prune(order(clock, first))
    [work] = await aged.claim("a", 10, LEASE) or [None]
    assert work is None
    clock.advance(days=61)
    [work] = await aged.claim("a", 10, LEASE)
    await aged.finish(work, Sent("11" * 32))
    clock.advance(days=31)
    await ending(aged, clock, 6)
    done = await aged.prune(order(clock, second))
    assert done.messages == 2
    assert audit(aged, evidence).findings == ()
    reports = [audit_archive(path, evidence, aged) for path in (first, second)]
    assert [report.findings for report in reports] == [(), ()]
    assert [report.counts["messages"] for report in reports] == [3, 2]
    assert all("pruned at" in report.notes[-1] for report in reports)


async def test_an_archive_proves_itself(aged: Store, clock, evidence, tmp_path: Path) -> None:
    """Without the store: octets, receipts, chain and fingerprints hold; any byte that was changed is found."""
    path = tmp_path / "archive.tar"
    await aged.prune(order(clock, path))
    report = audit_archive(path, evidence)
    assert (report.findings, report.counts["delivered"], report.counts["dead"], report.counts["files"]) == ((), 2, 1, 1)
    octets = path.read_bytes()
    for at in range(600, octets.rindex(b"}") - 1000, len(octets) // 97):
        if octets[at]:
            path.write_bytes(octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :])
            with pytest.raises(Rejected, match=r"5\.6\.11"):
                assert audit_archive(path, evidence).findings == (), "seen only by the audit"
                path.write_bytes(octets)
    path.write_bytes(octets[: len(octets) // 2])
    with pytest.raises(Rejected, match=r"5\.6\.11"):
        audit_archive(path, evidence)


async def test_an_archive_rewritten_as_a_whole_is_found(aged: Store, clock, evidence, tmp_path: Path) -> None:
    """Whoever changes a row and makes the manifest fit is found by the chain; whoever makes the chain fit, by the store's journal."""
    path = tmp_path / "archive.tar"
    await aged.prune(order(clock, path))
    forged = _rewritten(path, b'"subject":"B\xc3\xa1o c\xc3\xa1o s\xe1\xbb\x91 1"', b'"subject":"B\xc3\xa1o c\xc3\xa1o s\xe1\xbb\x91 9"')
    report = audit_archive(forged, evidence, aged)
    assert report.findings == ("message message-1: its row was changed",)
    assert "no pruning of this store names it" in report.notes[-1]


def _rewritten(path: Path, old: bytes, new: bytes) -> Path:
    """The archive with some octets replaced and its manifest made to fit."""
    from bus.store import parcel

    opened, forged = parcel.Opened(path, "govbus-archive/1"), path.with_name("forged.tar")
    with parcel.packing(forged) as packing:
        for name, stream in opened.members():
            octets = stream.read()
            if name.startswith(parcel.BLOBS):
                packing.add_blob(name.removeprefix(parcel.BLOBS), octets)
            else:
                packing.add(name, octets.replace(old, new))
        said = {name: value for name, value in opened.manifest.items() if name not in {"kind", "sha256"}}
        packing.close("govbus-archive/1", said)
    return forged


async def test_an_archive_that_cannot_be_written_prunes_nothing(aged: Store, clock, tmp_path: Path) -> None:
    """Nothing goes before its archive is on disk."""
    from bus.errors import Deferred

    with pytest.raises(Deferred, match=r"4\.3\.1"):
        await aged.prune(order(clock, tmp_path / "no-such-directory" / "archive.tar"))
    assert len(aged.search()) == 5


async def test_a_pruning_cut_short_leaves_a_sound_store_and_the_next_goes_on(aged: Store, clock, evidence, monkeypatch) -> None:
    """Killed between any two of its transactions: sound, noted as unfinished, and finished by ordering it again."""
    monkeypatch.setattr(pruning, "AT_ONCE", 1)
    for allowed in range(1, 9):
        writes = 0

        async def dying(unit, *, last=False, write=aged._write):
            nonlocal writes
            writes += 1
            if writes > allowed:
                raise KeyboardInterrupt
            return await write(unit, last=last)

        monkeypatch.setattr(aged, "_write", dying)
        try:
            await aged.prune(order(clock))
        except KeyboardInterrupt:
            monkeypatch.undo()
            monkeypatch.setattr(pruning, "AT_ONCE", 1)
            report = audit(aged, evidence)
            assert report.findings == ()
            assert "has not ended" in "\n".join(report.notes)
            continue
        break
    monkeypatch.undo()
    await aged.prune(order(clock))
    assert audit(aged, evidence).findings == ()
    assert len(aged.search()) == 2


async def test_the_guards_stay_shut_while_a_pruning_runs(aged: Store) -> None:
    """Outside a pruning's own transaction nothing can be deleted, whatever stands in the table that opens the guards is a break."""
    with aged._engines[0].connect() as connection:
        for table in ("messages", "receipts", "journal"):
            with pytest.raises(sa.exc.DBAPIError, match="append-only"), connection.begin_nested():
                connection.exec_driver_sql(f"DELETE FROM {table}")


async def test_open_guards_are_found(aged: Store, evidence) -> None:
    """A name left standing in ``pruning`` lets its rows go: the audit says so."""
    with aged._engines[0].begin() as connection:
        connection.exec_driver_sql("INSERT INTO pruning VALUES ('message-5')")
    assert "guards are open" in "\n".join(audit(aged, evidence).findings)


async def test_rows_that_stayed_before_the_base_are_vouched_for(aged: Store, clock, evidence) -> None:
    """One of them removed, with its message and all, after the pruning: found."""
    await aged.prune(order(clock))
    with aged._engines[0].begin() as connection:
        connection.exec_driver_sql("INSERT INTO pruning VALUES ('message-3')")
        for table in ("deliveries", "receipts", "journal"):
            connection.exec_driver_sql(f"DELETE FROM {table} WHERE message_id = 'message-3'")
        connection.exec_driver_sql("DELETE FROM messages WHERE id = 'message-3'")
        connection.exec_driver_sql("DELETE FROM pruning")
    assert "are not those that stayed" in "\n".join(audit(aged, evidence).findings)


async def test_octets_that_are_named_again_stay(aged: Store, clock, evidence, monkeypatch) -> None:
    """The same content from another sender, between the look for unnamed octets and their removal, keeps them."""
    looked = pruning.Pruning._unnamed
    settle(aged._files)

    def looking(self):
        seen = looked(self)
        arrived.set()
        return seen

    import asyncio

    arrived, loop = asyncio.Event(), asyncio.get_running_loop()
    arrived.set = lambda: asyncio.run_coroutine_threadsafe(both(), loop).result(10)  # type: ignore[method-assign]

    async def both() -> None:
        await owing_as(aged, clock, 1, "agency")
        await owing_as(aged, clock, 2, "agency", LARGE)

    monkeypatch.setattr(pruning.Pruning, "_unnamed", looking)
    await aged.prune(order(clock))
    report = audit(aged, evidence)
    assert report.findings == ()
    assert report.counts["files"] == 1


async def owing_as(store: Store, clock, number: int, sender: str, body: bytes = b"") -> None:
    from dataclasses import replace

    sent = replace(message(number, body, sender=sender), id=f"{sender}-{number}")
    await store.accept(sent, Owed(route=ROUTE, target=ROUTED, message=sent, expires=clock() + LIFE))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_file_touched_just_now_is_left_alone(aged: Store, clock) -> None:
    """It may be about to be named; the audit notes it until the next pruning takes it."""
    await aged.prune(order(clock))
    assert len(list(aged._files.names())) == 1
    settle(aged._files)
    assert (await aged.prune(order(clock))).blobs == 1
    assert list(aged._files.names()) == []


async def test_an_archive_by_time_removes_nothing(aged: Store, clock, evidence, tmp_path: Path) -> None:
    """`archive` writes what ended in a time, proved by itself, and leaves the store as it is."""
    path = tmp_path / "january.tar"
    rows = aged.archive(order(clock), path, clock() - timedelta(days=400))
    assert rows["messages"] == 3
    assert audit_archive(path, evidence).findings == ()
    later = tmp_path / "february.tar"
    assert aged.archive(Order(clock() + timedelta(days=1), "an", "", None, {}), later, clock() - timedelta(days=30))["messages"] == 1
    assert audit_archive(later, evidence).findings == ()
    assert len(aged.search()) == 5
    with tarfile.open(path) as tar:
        assert {name.partition("/")[0] for name in tar.getnames()} == {
            "certificates", "journal", "messages", "deliveries", "receipts", "blobs", "manifest.json",
        }  # fmt: skip


async def test_a_worker_that_wakes_after_its_message_was_pruned_is_fenced(store: Store, clock) -> None:
    """Whatever it wants to say of the message, it has lost its claim, and that is all it learns."""
    await owing(store, clock, 1)
    [sleeper] = await store.claim("a", 10, LEASE)
    clock.advance(minutes=4)
    await store.release(expired_at=clock())
    [second] = await store.claim("a", 10, LEASE)
    await store.finish(second, Sent(second.message.digest, b"<Reply/>"))
    clock.advance(days=31)
    assert (await store.prune(order(clock))).messages == 1
    owed = [Owed(route=ROUTE, target="b", message=sleeper.message, expires=clock() + LIFE)]
    for late in (
        store.bury(sleeper, Status.EXPIRED, "5.4.7", REASONS),
        store.finish(sleeper, Sent("11" * 32)),
        store.defer(sleeper, clock(), "4.4.1", REASONS),
        store.routed(sleeper, owed, {}, []),
    ):
        with pytest.raises(LostClaim):
            await late
