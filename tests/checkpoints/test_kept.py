"""Checkpoints in the store: each row is proved by one, whoever wrote it, whatever was pruned since; on both kinds of database."""

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
import sqlalchemy as sa
from checkpoint_rig import checkpoint, life, rows
from lxml import etree

from bus import merkle
from bus.checkpoint import NONE_BEFORE, parse, write
from bus.errors import Deferred, Rejected
from bus.store import Store, checkpoints, dialect
from bus.store.archive import Order


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Either kind of store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'bus.db'}"
    postgres = request.getfixturevalue("postgres")
    return str(postgres.url(postgres.create()))


def proves(store: Store, evidence, chain: str, seq: int, digest: str) -> int:
    """The number of the checkpoint that proves a row; AssertionError where it does not."""
    proof = store.proof(chain, seq)
    assert proof is not None
    kept = store.checkpoint(proof.number)
    span = evidence.read_checkpoint(kept.xml).span(chain)
    assert (span.first, span.last, proof.first + proof.index) == (proof.first, proof.last, seq)
    assert merkle.root_from_path(bytes.fromhex(digest), proof.index, proof.size, proof.path).hex() == span.root
    return proof.number


async def test_every_row_is_proved_by_the_checkpoint_that_came_after_it(store: Store, evidence, clock) -> None:
    """Rows, paths and signed roots agree; what no checkpoint speaks of yet has no proof."""
    await life(store, clock, 1)
    first = await checkpoint(store, evidence, clock)
    await life(store, clock, 2)
    await life(store, clock, 3)
    second = await checkpoint(store, evidence, clock)
    await life(store, clock, 4)
    found = rows(store)
    assert (first.spans[0].last, second.spans[0].first, second.spans[0].last) == (3, 4, 9)
    assert [proves(store, evidence, "main", seq, found[seq]) for seq in range(1, 10)] == [1] * 3 + [2] * 6
    assert [store.proof("main", 10), store.proof("main", 0), store.proof("other", 1)] == [None, None, None]
    assert second.spans[0].head == found[9]


async def test_each_names_the_one_before_it_by_its_signed_octets(store: Store, evidence, clock) -> None:
    """From the first, which names none, to the last: so one time-stamp covers all before it."""
    written = []
    for number in range(1, 4):
        await life(store, clock, number)
        written.append(await checkpoint(store, evidence, clock))
    kept = store.checkpoints_since(1)
    digests = [sha256(each.xml).hexdigest() for each in kept]
    assert [each.digest for each in kept] == digests
    assert [evidence.read_checkpoint(each.xml) for each in kept] == written
    assert [each.previous for each in written] == [NONE_BEFORE, *digests[:2]]
    assert [each.number for each in store.checkpoints_since(2, 1)] == [2]
    assert store.newest_checkpoint() == kept[-1]


async def test_every_chain_that_has_grown_is_in_it(open_store, evidence, clock) -> None:
    """Of two nodes' chains, those with new rows, in the order of their names; of none, nothing."""
    one, other = open_store("b"), open_store("a")
    await life(one, clock, 1)
    await life(other, clock, 2)
    assert [span.chain for span in (await checkpoint(one, evidence, clock)).spans] == ["a", "b"]
    await life(other, clock, 3)
    assert [(span.chain, span.first) for span in (await checkpoint(one, evidence, clock)).spans] == [("a", 4)]
    assert one.growth().spans == ()


async def test_the_faster_node_has_the_number(open_store, evidence, clock) -> None:
    """Of two that write the same checkpoint one is kept; the other hears that it was late, and what it kept is nothing."""
    one, other = open_store("a"), open_store("b")
    await life(one, clock, 1)
    late = other.growth()
    kept = await checkpoint(one, evidence, clock)
    assert await other.keep_checkpoint(late, clock(), b"<late/>") is False
    assert [evidence.read_checkpoint(each.xml) for each in other.checkpoints_since(1)] == [kept]
    assert other.growth() == replace(other.growth(), number=2, spans=())


async def test_a_long_journal_goes_into_several(store: Store, evidence, clock, monkeypatch) -> None:
    """What is journalled in a busy minute, or was before there were checkpoints, is taken a bounded number of rows at a time."""
    monkeypatch.setattr(checkpoints, "_NEXT", checkpoints._NEXT.limit(4))
    for number in range(3):
        await life(store, clock, number)
    found, more = rows(store), []
    while (grown := store.growth()).spans:
        more.append(grown.more)
        await checkpoint(store, evidence, clock)
    assert more == [True, True, False]
    assert [proves(store, evidence, "main", seq, found[seq]) for seq in found] == [1] * 4 + [2] * 4 + [3]


async def test_what_was_pruned_is_proved_all_the_same(store: Store, evidence, clock) -> None:
    """The hashes stay: a row from an archive stands in the checkpoint of its day. The next checkpoint goes on after it."""
    await life(store, clock, 1)
    await checkpoint(store, evidence, clock)
    found = rows(store)
    clock.advance(days=40)
    await life(store, clock, 2)
    done = await store.prune(Order(clock() - timedelta(days=30), "an", "mỗi tháng một lần", None, {}))
    assert (done.messages, 1 in rows(store)) == (1, False)
    assert [proves(store, evidence, "main", seq, found[seq]) for seq in found] == [1, 1, 1]
    assert (await checkpoint(store, evidence, clock)).spans[0].first == 4


async def test_what_was_pruned_before_any_checkpoint_is_left_out(store: Store, evidence, clock) -> None:
    """The first checkpoint begins where the chain begins since; a row that stayed before that place has no proof."""
    await life(store, clock, 1)
    clock.advance(days=40)
    await life(store, clock, 2)
    await store.prune(Order(clock() - timedelta(days=30), "an", "mỗi tháng một lần", None, {}))
    assert (await checkpoint(store, evidence, clock)).spans[0].first == 4
    assert store.proof("main", 2) is None


@pytest.mark.parametrize("table", ["checkpoints", "checkpoint_spans", "timestamps"])
async def test_the_database_refuses_to_change_or_remove_them(url: str, store: Store, evidence, clock, table: str) -> None:
    """Neither an UPDATE nor a DELETE passes, on either database."""
    await life(store, clock, 1)
    await checkpoint(store, evidence, clock)
    await store.keep_timestamp(1, clock(), b"token")
    engine = sa.create_engine(url)
    for statement in (f"UPDATE {table} SET number = 7", f"DELETE FROM {table}"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
            connection.exec_driver_sql(statement)
    engine.dispose()


async def test_a_time_stamp_is_kept_once_and_journalled(store: Store, evidence, clock) -> None:
    """The first token stands; the journal vouches for it, and a second one changes nothing."""
    await life(store, clock, 1)
    await checkpoint(store, evidence, clock)
    at = clock() + timedelta(seconds=2)
    assert [await store.keep_timestamp(1, at, b"token"), await store.keep_timestamp(1, at, b"other")] == [True, False]
    kept = store.newest_checkpoint(stamped=True)
    assert (kept.number, kept.token, kept.stamped) == (1, b"token", at)
    with store.snapshot() as snapshot:
        [told] = [row for row in snapshot.journal() if row.event == "time-stamped"]
    assert sha256(b"token").hexdigest() in told.detail
    assert [span.last for span in store.growth().spans] == [4]


async def test_nothing_is_kept_where_the_database_fails(store: Store, evidence, clock) -> None:
    """A closed store is no store: 4.3.1, as for everything else."""
    grown = store.growth()
    store.close()
    with pytest.raises(Deferred, match=r"4\.3\.1"):
        await store.keep_checkpoint(grown, clock(), b"")


def test_a_checkpoint_is_valid_by_its_schema_and_is_read_as_it_was_written(repository: Path, evidence, clock) -> None:
    """Signed, it is valid against the published schema, and says what was stated; in another name it is none."""
    from checkpoint_rig import ORGANISATION

    from bus.checkpoint import Span, Summary

    summary = Summary(7, clock(), ORGANISATION, "ab" * 32, (Span("main & co", 4, 9, "cd" * 32, "ef" * 32),))
    xml = evidence.seal_checkpoint(summary)
    etree.XMLSchema(etree.parse(repository / "schemas" / "checkpoint" / "v1" / "checkpoint.xsd")).assertValid(etree.fromstring(xml))
    assert evidence.read_checkpoint(xml) == parse(write(summary)) == summary
    for other in (write(summary).replace(b"urn:govbus:checkpoint:v1", b"urn:other"), write(summary).replace(b"<Number>7", b"<Number>x")):
        with pytest.raises(Rejected, match=r"5\.6\.7"):
            parse(other)
    with pytest.raises(Rejected, match=r"5\.7\.7"):
        evidence.read_checkpoint(xml.replace(b"<Last>9", b"<Last>8"))


def test_the_guards_stand_in_both_dialects() -> None:
    """Three tables, two operations each."""
    assert sum(table in {"checkpoints", "checkpoint_spans", "timestamps"} for table, _ in dialect.GUARDED) == 6
