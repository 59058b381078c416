"""The audit finds every byte that was changed, and every row that was added, removed or moved, by someone who owns the database."""

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from store_contract import LARGE, LEASE, LIFE, REASONS, ROUTE, message

from bus.audit import audit
from bus.delivery import ROUTE_PREFIX
from bus.endpoint import Sent
from bus.receipt import Status
from bus.store import Owed, dialect
from bus.store.tables import FIXED, blobs, journal, messages, receipts

#: Every column of what is append-only, and the columns of a delivery that never change, with the state it stands in.
COLUMNS = {
    **{table.name: tuple(column.name for column in table.columns) for table in (messages, receipts, journal, blobs)},
    "deliveries": (*FIXED, "state", "outcome", "revision"),
    "heads": ("chain", "seq", "hash"),
}


@pytest.fixture
async def store(open_store, clock):
    """A store with a delivered message, a mailbox message, a dead one, a large one, and receipts in a mailbox."""
    store = open_store()
    route = ROUTE_PREFIX + ROUTE
    for number, body in enumerate((b"", b"", b"", LARGE)):
        sent = message(number, body)
        await store.accept(sent, Owed(route=ROUTE, target=route, message=sent, expires=clock() + LIFE), receipts_to="unit-inbox")
    for work in await store.claim(route, 10, LEASE):
        await store.routed(work, [Owed(route=ROUTE, target="a", message=work.message, expires=clock() + LIFE)], {"tap": "1"}, ["validate"])
    first, second, third, _large = await store.claim("a", 10, LEASE)
    await store.finish(first, Sent(first.message.digest, b"<Reply/>"))
    await store.bury(second, Status.DEAD, "5.4.0", REASONS)
    await store.defer(third, clock() + timedelta(hours=1), "4.4.1", REASONS)
    entry = (await store.pending("unit", 1))[0]
    await store.confirm("unit", entry.message_id, True)
    return store


@pytest.fixture
def database(tmp_path: Path, store) -> Iterator[sqlite3.Connection]:
    """A hand on the file itself: without guards, without foreign keys; the guards are put back as they were."""
    connection = sqlite3.connect(tmp_path / "bus.db", isolation_level=None)
    for name in dialect.guards():
        connection.execute(f"DROP TRIGGER {name}")
    yield connection
    connection.close()


def restore_guards(connection: sqlite3.Connection) -> None:
    for guard in dialect.guards().values():
        connection.execute(guard)


async def test_a_store_nobody_touched_is_sound(store, evidence) -> None:
    """No finding, no note, and counts that add up."""
    report = audit(store, evidence)
    assert (report.ok, report.findings, report.notes) == (True, (), ())
    stand = {"accepted": 4, "delivered": 1, "dead": 1, "waiting": 2, "rejected": 0, "expired": 0}
    expected = {**stand, "messages": 4, "receipts": 6, "files": 1}
    assert {name: report.counts[name] for name in expected} == expected


@pytest.mark.parametrize("table", COLUMNS)
async def test_fault_44_one_changed_byte_is_found(store, evidence, database: sqlite3.Connection, table: str) -> None:
    """In any column of a message, receipt, journal row or blob, in what a delivery is and where it stands: at either end of the value."""
    restore_guards(database)
    missed = []
    for column in COLUMNS[table]:
        row, value = database.execute(f"SELECT rowid, {column} FROM {table} ORDER BY length({column}) DESC, rowid LIMIT 1").fetchone()
        for changed in _changes(value):
            _overwrite(database, table, column, row, changed)
            if audit(store, evidence).ok:
                missed.append(f"{table}.{column} = {changed!r}")
            _overwrite(database, table, column, row, _octets(value))
    assert missed == []
    assert audit(store, evidence).findings == ()


def _overwrite(database: sqlite3.Connection, table: str, column: str, row: int, value: object) -> None:
    """Set one value past the guards, as text where the column is text, and put the guards back."""
    for name in dialect.guards():
        database.execute(f"DROP TRIGGER {name}")
    cast = "?" if column in {"xml", "body"} or isinstance(value, int) else "CAST(? AS TEXT)"
    database.execute(f"UPDATE {table} SET {column} = {cast} WHERE rowid = ?", (value, row))
    restore_guards(database)


def _octets(value: object) -> object:
    return value.encode() if isinstance(value, str) else value


def _changes(value: object) -> list[object]:
    """The value with its first byte another letter, and with its last no text at all; another number; something for nothing."""
    if isinstance(value, int):
        return [value + 1000]
    octets = _octets(value)
    if not octets:
        return [b"?"]
    return [bytes([octets[0] ^ 1]) + octets[1:], octets[:-1] + bytes([octets[-1] ^ 0x80])]


@pytest.mark.parametrize(
    ("act", "finding"),
    [
        ("DELETE FROM journal WHERE seq = 3", "follows row 2"),
        ("DELETE FROM journal WHERE seq = (SELECT max(seq) FROM journal)", "does not end where its head says"),
        ("DELETE FROM journal", "has a head and no rows"),
        ("DELETE FROM heads", "does not end where its head says"),
        ("DELETE FROM receipts WHERE status = 'DEAD'", "was issued and is gone"),
        ("DELETE FROM messages WHERE id = 'message-1'", "was accepted and is gone"),
        ("DELETE FROM deliveries WHERE message_id = 'message-1'", "was accepted and nothing is owed for it"),
        ("DELETE FROM deliveries WHERE receipt_id <> ''", "was owed and is gone"),
        ("DELETE FROM blobs WHERE rowid = 1", "is named and lost"),
        ("INSERT INTO blobs SELECT 'ab', body FROM blobs LIMIT 1", "its octets were changed"),
        (
            "INSERT INTO messages SELECT 'forged','','y','','','','','','','','',digest,1,'{}','','','','','','' FROM messages LIMIT 1",
            "vouches",
        ),
        ("UPDATE deliveries SET state = 'DONE', outcome = 'DELIVERED' WHERE state = 'DEAD'", "is DONE, the journal says DEAD"),
        ("UPDATE deliveries SET outcome = 'EXPIRED' WHERE target = 'a' AND state = 'DEAD'", "ended EXPIRED without that receipt"),
        ("UPDATE receipts SET xml = (SELECT xml FROM receipts WHERE status = 'DELIVERED') WHERE status = 'DEAD'", "was signed is not what"),
        ("UPDATE receipts SET xml = CAST('no xml' AS BLOB) WHERE status = 'DEAD'", "5.6.0"),
    ],
)
async def test_what_was_added_removed_or_swapped_is_found(store, evidence, database: sqlite3.Connection, act: str, finding: str) -> None:
    """Each tampering is found, and said in a sentence that names it."""
    database.execute(act)
    restore_guards(database)
    assert finding in "\n".join(audit(store, evidence).findings)


async def test_guards_that_were_taken_away_are_missed(store, evidence, database: sqlite3.Connection) -> None:
    """Whoever drops the append-only guards is found, even before anything is changed."""
    findings = audit(store, evidence).findings
    assert len(findings) == len(dialect.GUARDED)


async def test_a_changed_file_is_found_and_an_unnamed_one_is_noted(tmp_path: Path, store, evidence) -> None:
    """A large body is watched as a small one is; what a crash left behind is no break."""
    digest = message(3, LARGE).digest
    path = tmp_path / "blobs" / digest[:2] / digest
    (path.parent / ".unfinished-x").write_bytes(b"half")
    orphan = tmp_path / "blobs" / "e3" / "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"")
    report = audit(store, evidence)
    assert (report.findings, len(report.notes)) == ((), 2)
    path.write_bytes(LARGE[:-1] + b"y")
    assert audit(store, evidence).findings == (f"file {digest}: its octets were changed",)
    path.unlink()
    assert audit(store, evidence).findings == (f"blob {digest}: is named and lost",)


async def test_receipts_of_another_key_are_found(store, keyring, evidence) -> None:
    """An audit that does not trust the key that sealed finds every receipt."""
    from dataclasses import replace

    report = audit(store, replace(evidence, trust=lambda certificate: False))
    assert sum("5.7.8" in finding for finding in report.findings) == report.counts["receipts"]


async def test_the_report_of_a_ruin_stays_bounded(store, evidence, database: sqlite3.Connection, monkeypatch) -> None:
    """However much is wrong, the report tells so many findings and counts the rest."""
    monkeypatch.setattr("bus.audit.MOST_FINDINGS", 3)
    database.execute("UPDATE journal SET detail = 'x'")
    findings = audit(store, evidence).findings
    assert len(findings) == 4
    assert findings[-1].startswith("and ")


async def test_a_database_that_cannot_be_read_is_a_finding(tmp_path: Path, store, evidence) -> None:
    """Pages overwritten with rubbish end the audit with the database's own words."""
    store.close()
    path = tmp_path / "bus.db"
    octets = path.read_bytes()
    path.write_bytes(octets[:4096] + b"\xff" * (len(octets) - 4096))
    report = audit(store, evidence)
    assert not report.ok
    assert "malformed" in report.findings[0]
