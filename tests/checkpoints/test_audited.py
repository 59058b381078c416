"""The audit and the checkpoints: what was cut, written anew, changed by one byte or taken away is found, by whoever owns the database."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from checkpoint_rig import checkpoint, life
from helping import HandClock
from tsa_server import Authority as Tsa

from bus.audit import Report, audit
from bus.errors import Rejected
from bus.evidence import Evidence
from bus.store import Store, backup, dialect
from bus.store.archive import Order
from bus.store.tables import checkpoint_spans, checkpoints, timestamps
from bus.store.transaction import row_hash

#: Every column of what is audited here; of the other tables, tests/store/test_audit.py changes them.
COLUMNS = {table.name: tuple(column.name for column in table.columns) for table in (checkpoints, checkpoint_spans, timestamps)}
Tampering = Callable[..., AbstractContextManager[sqlite3.Connection]]


@pytest.fixture
def tsa(clock: HandClock) -> Tsa:
    return Tsa(clock())


@pytest.fixture
async def sealed(store: Store, evidence: Evidence, clock: HandClock, tsa: Tsa) -> Store:
    """Three checkpoints over three messages, the second time-stamped; and a message that none speaks of yet."""
    for number in (1, 2, 3):
        await life(store, clock, number)
        await checkpoint(store, evidence, clock)
        if number == 2:
            await stamped(store, clock, tsa)
        clock.advance(minutes=1)
    await life(store, clock, 4)
    return store


async def stamped(store: Store, clock: HandClock, tsa: Tsa) -> None:
    from hashlib import sha256

    newest = store.newest_checkpoint()
    assert await store.keep_timestamp(newest.number, clock(), tsa.token(sha256(newest.xml).digest(), clock()))


@pytest.fixture
def audited(store: Store, evidence: Evidence, tsa: Tsa) -> Callable[[], Report]:
    return lambda: audit(store, evidence, tsa.anchors())


@pytest.fixture
def tampering(tmp_path: Path) -> Tampering:
    """A hand on the file itself: without guards, without foreign keys, and in the end with the guards put back as they were."""

    @contextmanager
    def hand() -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(tmp_path / "bus.db", isolation_level=None)
        for name in dialect.guards():
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        for guard in dialect.guards().values():
            connection.execute(guard)
        connection.close()

    return hand


async def test_a_store_nobody_touched_is_sound(sealed: Store, audited) -> None:
    """No finding, and the report counts what was looked at."""
    report = audited()
    assert (report.findings, report.notes, report.counts["checkpoints"], report.counts["timestamps"]) == ((), (), 3, 1)


@pytest.mark.parametrize("table", COLUMNS)
async def test_fault_44_any_byte_flipped_in_what_proves_is_found(sealed: Store, audited, tampering: Tampering, table: str) -> None:
    """In any column of a checkpoint, of what it keeps, and of a time-stamp: each of several bytes of the value."""
    missed = []
    for column in COLUMNS[table]:
        with tampering() as database:
            row, value = database.execute(f"SELECT rowid, {column} FROM {table} ORDER BY length({column}) DESC, rowid LIMIT 1").fetchone()
        for changed in _changes(value):
            row = _overwrite(tampering, table, column, row, changed)
            if audited().ok:
                missed.append(f"{table}.{column} = {changed!r}")
        row = _overwrite(tampering, table, column, row, value.encode() if isinstance(value, str) else value)
    assert missed == []
    assert audited().findings == ()


@pytest.mark.parametrize(("table", "column"), [("checkpoints", "xml"), ("timestamps", "token"), ("checkpoint_spans", "leaves")])
async def test_fault_44_every_byte_of_a_signed_statement_counts(
    sealed: Store, audited, tampering: Tampering, table: str, column: str
) -> None:
    """In each fortieth part of a checkpoint's XML, of a token and of the leaves one bit is changed: also where no signature covers it."""
    with tampering() as database:
        row, value = database.execute(f"SELECT rowid, {column} FROM {table} LIMIT 1").fetchone()
    missed = []
    for at in {*range(0, len(value), max(1, len(value) // 40)), len(value) - 1}:
        _overwrite(tampering, table, column, row, value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :])
        if audited().ok:
            missed.append(at)
    assert missed == []


def _overwrite(tampering: Tampering, table: str, column: str, row: int, value: object) -> int:
    """Set one value, as text where the column is text. Gives the row's id, which a whole-number key is at the same time."""
    cast = "?" if column in {"xml", "token", "leaves"} or isinstance(value, int) else "CAST(? AS TEXT)"
    with tampering() as database:
        return database.execute(f"UPDATE {table} SET {column} = {cast} WHERE rowid = ? RETURNING rowid", (value, row)).fetchone()[0]


def _changes(value: object) -> list[object]:
    """Other numbers; the first, a middle and the last byte another, the last one no text at all; something for nothing."""
    if isinstance(value, int):
        return [value + 1000, -value]
    octets = value.encode() if isinstance(value, str) else bytes(value)
    middle = len(octets) // 2
    if not octets:
        return [b"?"]
    return [
        bytes([octets[0] ^ 1]) + octets[1:],
        octets[:middle] + bytes([octets[middle] ^ 1]) + octets[middle + 1 :],
        octets[:-1] + bytes([octets[-1] ^ 0x80]),
    ]


async def test_fault_44_a_journal_whose_end_was_cut_with_its_head_is_found(sealed: Store, audited, tampering: Tampering) -> None:
    """The chain and its head agree, and all that hangs on the rows was taken away with them: the checkpoint knows better."""
    with tampering() as database:
        database.execute("DELETE FROM receipts WHERE message_id IN ('message-3', 'message-4')")
        database.execute("DELETE FROM deliveries WHERE message_id IN ('message-3', 'message-4')")
        database.execute("DELETE FROM messages WHERE id IN ('message-3', 'message-4')")
        database.execute("DELETE FROM journal WHERE seq > 7")
        database.execute("UPDATE heads SET seq = 7, hash = (SELECT hash FROM journal WHERE seq = 7)")
        kept = "SELECT digest FROM messages UNION SELECT digest FROM deliveries UNION SELECT reply FROM receipts"
        database.execute(f"DELETE FROM blobs WHERE digest NOT IN ({kept})")
    assert audited().findings == ("journal main: 3 of the rows 7 to 10, which checkpoint 3 vouches for, are gone",)


async def test_fault_44_a_journal_written_anew_with_all_its_hashes_is_found(sealed: Store, audited, tampering: Tampering) -> None:
    """Whoever owns the database can make the chain agree with itself; not with what was signed."""
    with tampering() as database:
        database.row_factory = sqlite3.Row
        previous = "0" * 64
        for row in database.execute("SELECT * FROM journal ORDER BY seq").fetchall():
            values = dict(row) | {"previous": previous}
            if row["seq"] == 1:
                values["at"] = "2020-01-01T00:00:00.000000Z"
            previous = row_hash(values)
            database.execute("UPDATE journal SET at = ?, previous = ?, hash = ? WHERE seq = ?", (*_anew(values, previous), row["seq"]))
        database.execute("UPDATE heads SET hash = ?", (previous,))
    assert "journal main/1: is not the row that checkpoint 1 vouches for" in audited().findings


def _anew(values: dict[str, object], digest: str) -> tuple[object, ...]:
    return values["at"], values["previous"], digest


async def test_fault_44_history_written_anew_with_the_sites_own_key_does_not_fit_its_time_stamp(
    sealed: Store, open_store, evidence: Evidence, clock: HandClock, tsa: Tsa, tmp_path: Path
) -> None:
    """Who has the key can sign another past; the authority has not time-stamped that one, and will not with a time that is over."""
    old = sealed.checkpoint(2)
    forged = open_store(at=f"sqlite:///{tmp_path / 'forged.db'}")
    for number in (7, 8):
        await life(forged, clock, number)
        await checkpoint(forged, evidence, clock)
    await forged.keep_timestamp(2, old.stamped, old.token)
    [finding] = audit(forged, evidence, tsa.anchors()).findings
    assert finding == "time-stamp of checkpoint 2: 5.7.7 The time-stamp does not hold: Mismatch between messages"


@pytest.mark.parametrize(
    ("act", "finding"),
    [
        ("DELETE FROM checkpoints WHERE number = 2", "checkpoint 3: follows checkpoint 1"),
        ("DELETE FROM checkpoints WHERE number = 1", "checkpoint 2: does not name the one before it"),
        ("DELETE FROM checkpoints", "time-stamp of checkpoint 2: there is no such checkpoint"),
        ("DELETE FROM checkpoint_spans WHERE number = 3", "checkpoint 3: what it keeps about chain main is gone"),
        ("INSERT INTO checkpoint_spans SELECT 'other', last, 9, first, head, leaves FROM checkpoint_spans LIMIT 1", "belong to none"),
        (
            "INSERT INTO checkpoint_spans SELECT 'other', last, 1, first, head, leaves FROM checkpoint_spans LIMIT 1",
            "is not what was signed",
        ),
        ("DELETE FROM timestamps", "time-stamp of checkpoint 2: was journalled and is gone"),
        ("UPDATE timestamps SET number = 3", "time-stamp of checkpoint 3: the journal does not know it"),
        ("UPDATE timestamps SET at = '2020-01-01T00:00:00.000000Z'", "its row says 2020-01-01T00:00:00.000000Z"),
        ("UPDATE checkpoints SET xml = (SELECT xml FROM checkpoints WHERE number = 1)", "what was signed is not what its row says"),
        ("UPDATE checkpoints SET xml = CAST('no xml' AS BLOB) WHERE number = 3", "5.6.0"),
    ],
)
async def test_what_was_removed_added_or_swapped_is_found(sealed: Store, audited, tampering: Tampering, act: str, finding: str) -> None:
    """Each tampering is said in a sentence that names it."""
    with tampering() as database:
        database.execute(act)
    assert finding in "\n".join(audited().findings)


async def test_fault_39_a_token_of_another_authority_is_found(sealed: Store, evidence: Evidence, clock: HandClock) -> None:
    """An audit that does not trust the authority finds its time-stamps; one that knows no authority holds them against the journal only."""
    [finding] = audit(sealed, evidence, Tsa(clock()).anchors()).findings
    assert finding.startswith("time-stamp of checkpoint 2: 5.7.7")
    assert audit(sealed, evidence).findings == ()


async def test_a_token_that_was_swapped_for_another_good_one_is_found(sealed: Store, audited, tampering: Tampering, tsa: Tsa) -> None:
    """A later token of the same authority over the same checkpoint is not the one that was journalled."""
    from hashlib import sha256

    kept = sealed.checkpoint(2)
    token = tsa.token(sha256(kept.xml).digest(), kept.at + timedelta(days=9))
    with tampering() as database:
        given = (token, sha256(token).hexdigest(), "2026-02-09T08:01:00.000000Z")
        database.execute("UPDATE timestamps SET token = ?, digest = ?, at = ?", given)
    assert audited().findings == ("time-stamp of checkpoint 2: the journal does not know it",)


async def test_a_checkpoint_of_another_key_is_found(sealed: Store, evidence: Evidence) -> None:
    """An audit that does not trust the key that signed finds every checkpoint."""
    from dataclasses import replace

    report = audit(sealed, replace(evidence, trust=lambda _: False))
    assert sum(finding.startswith("checkpoint ") and "5.7.8" in finding for finding in report.findings) == 3


async def test_a_pruned_store_is_sound_and_its_checkpoints_too(sealed: Store, audited, clock: HandClock, evidence: Evidence) -> None:
    """What went honestly is not missed, in the middle of what a checkpoint speaks of or before its beginning; what goes after it is."""
    clock.advance(days=40)
    await life(sealed, clock, 5)
    await sealed.prune(Order(clock() - timedelta(days=30), "an", "mỗi tháng một lần", None, {}))
    assert audited().findings == ()
    await checkpoint(sealed, evidence, clock)
    await life(sealed, clock, 6)
    assert (audited().findings, audited().counts["checkpoints"]) == ((), 4)


async def test_a_restored_store_goes_on_with_its_checkpoints(
    sealed: Store, open_store, evidence: Evidence, clock: HandClock, tsa: Tsa, tmp_path: Path
) -> None:
    """A backup holds them; what the restored store journals since is in the next one, and the audit finds nothing."""
    path = tmp_path / "backup.tar"
    sealed.backup(path, {}, {"at": clock().isoformat(), "by": "an", "keys": False})
    await life(sealed, clock, 5)
    await checkpoint(sealed, evidence, clock)
    restored_to = backup.unpack(path, tmp_path / "restored").data
    restored = open_store(at=f"sqlite:///{restored_to / 'bus.db'}", blobs=restored_to / "blobs")
    assert [each.number for each in restored.checkpoints_since(1)] == [1, 2, 3]
    await life(restored, clock, 6)
    summary = await checkpoint(restored, evidence, clock)
    assert (summary.number, audit(restored, evidence, tsa.anchors()).findings) == (4, ())


async def test_a_damaged_row_is_a_finding_and_no_error(sealed: Store, audited, tampering: Tampering) -> None:
    """Leaves that are no hashes, a token that is no octets, a note that is no JSON: each is said, and the rest is audited."""
    with tampering() as database:
        database.execute("UPDATE checkpoint_spans SET leaves = 'none' WHERE number = 1")
        database.execute("UPDATE timestamps SET token = 'none'")
        database.execute("UPDATE journal SET detail = '{' WHERE event = 'time-stamped'")
    findings = "\n".join(audited().findings)
    assert all(f"{place}: cannot be read" in findings for place in ("checkpoint 1", "journal main", "time-stamp of checkpoint 2"))


def test_nothing_is_accepted_as_a_checkpoint_that_is_a_receipt(evidence: Evidence) -> None:
    """A document of ours that says something else, good signature and all, is no checkpoint."""
    from bus.signature import xades

    other = xades.sign_canonical(b'<Receipt xmlns="urn:govbus:receipt:v1"></Receipt>', evidence.signer, evidence.clock())
    with pytest.raises(Rejected, match=r"5\.6\.7"):
        evidence.read_checkpoint(other)


def test_the_report_is_json(evidence: Evidence) -> None:
    """What ``govbus audit --json`` prints of it can be printed."""
    from dataclasses import asdict

    assert json.loads(json.dumps(asdict(Report(True, (), (), {"checkpoints": 3}))))["counts"] == {"checkpoints": 3}
