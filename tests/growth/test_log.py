"""SQLite's write-ahead log: as long as it must be, and no longer."""

from collections.abc import Callable
from pathlib import Path

from bench import backlog
from bus.store import Store
from bus.store.blobs import IN_ROW
from bus.store.dialect import LOG_BYTES


async def test_the_log_gives_the_disk_back_when_the_audit_that_held_it_up_has_ended(filled: Callable[[int], Store], tmp_path: Path) -> None:
    """While a snapshot is read nothing of the log may be used again; afterwards it shrinks to what it may keep."""
    store, letter = filled(0), backlog.letters(IN_ROW, seed=1)
    log = tmp_path / "0.db-wal"

    async def accept(numbers: range) -> None:
        for number in numbers:
            message, owed = letter(number)
            await store.accept(message, owed)

    await accept(range(1))
    with store.snapshot() as snapshot:
        assert snapshot.counts()["messages"] == 1
        await accept(range(1, 1 + LOG_BYTES // IN_ROW + 20))
        assert log.stat().st_size > LOG_BYTES
    await accept(range(1000, 1100))
    assert log.stat().st_size <= LOG_BYTES
