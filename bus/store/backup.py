"""Backup of an embedded store while it is in use, and its way back into a site that is stopped.

The database is copied first, as it was at one moment (SQLite's online backup, https://www.sqlite.org/backup.html); then every large body
that the copy names. Bodies never change and are named by their digest, so that order makes the whole consistent; a pruning must not run
meanwhile. The parcel holds ``bus.db``, ``blobs/<digest>`` and ``site/…``.

What a backup cannot know is what was sent since. So nothing that was owed then is sent again until an operator says so: ``hold``.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bus.delivery import State
from bus.errors import LANGUAGES, Deferred, catalogue, text
from bus.store import debts, dialect, parcel
from bus.store.blobs import Files
from bus.store.snapshot import Snapshot
from bus.store.tables import NEVER, deliveries
from bus.store.transaction import Transaction

KIND = "govbus-backup/1"
DATABASE = "bus.db"
SITE = "site/"
#: Deliveries held in one transaction.
AT_ONCE = 500
#: Why a delivery is held.
HELD = "delivery-held"


def write(reading: sa.Engine, files: Files, path: Path, site: Mapping[str, Path], said: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write a backup to ``path``, with the files of ``site`` by their names in it. Returns what it says. Raises Deferred 4.3.1."""
    try:
        with tempfile.TemporaryDirectory(prefix=".backup-", dir=path.parent) as directory:
            copy = Path(directory) / DATABASE
            _copy(reading, copy)
            return _pack(copy, files, path, site, said)
    except OSError as error:
        raise Deferred("file-unwritable", file=path, detail=error.strerror or error) from error
    except sqlite3.Error as error:
        raise Deferred("file-unwritable", file=path, detail=error) from error


def _pack(copy: Path, files: Files, path: Path, site: Mapping[str, Path], said: Mapping[str, Any]) -> Mapping[str, Any]:
    rows, digests = _contents(copy, files)
    with parcel.packing(path) as packing:
        packing.add_file(DATABASE, copy)
        for digest in digests:
            if packing.wants(digest):
                packing.add_blob_file(digest, files.path(digest))
        for name, file in site.items():
            packing.add_file(SITE + name, file)
        told = {**said, "rows": rows, "bodies": len(digests)}
        packing.close(KIND, told)
    return told


def _copy(reading: sa.Engine, copy: Path) -> None:
    """Copy the database as it is at one moment; writers go on meanwhile."""
    source: Any = reading.raw_connection()
    target = sqlite3.connect(copy)
    try:
        source.driver_connection.backup(target)
        # One file, not three.
        target.execute("PRAGMA journal_mode = DELETE")
    finally:
        target.close()
        source.close()


def _contents(copy: Path, files: Files) -> tuple[dict[str, int], list[str]]:
    engine = sa.create_engine(dialect.address(copy))
    with engine.connect() as connection:
        snapshot = Snapshot(connection, files)
        counts = {str(table): rows for table, rows in snapshot.counts().items()}
        digests = list(snapshot.named_files())
    engine.dispose()
    return counts, digests


def unpack(path: Path, data: Path, site: Path) -> Mapping[str, Any]:
    """Unpack a backup: the store into ``data``, which must not exist; of the site's files those that ``site`` lacks. Returns the manifest.

    Raises Rejected 5.6.11 for what is no whole backup, and leaves no ``data`` then.
    """
    opened = parcel.Opened(path, KIND)
    files = Files(data / "blobs")
    try:
        data.mkdir(mode=0o750)
        for name, stream in opened.members():
            digest = name.removeprefix(parcel.BLOBS)
            place = site / name.removeprefix(SITE) if name.startswith(SITE) else data / name if digest == name else files.path(digest)
            if not (name.startswith(SITE) and place.exists()):
                parcel.save(parcel.pieces(stream), place)
    except BaseException:
        shutil.rmtree(data, ignore_errors=True)
        raise
    return opened.manifest


def hold(tx: Transaction) -> int:
    """Hold some of what is owed: READY, never due, until an operator sends it again or cancels it. Returns how many; 0 when all are.

    The order of a key stands: what is held holds back what comes after it.
    """
    owed = sa.and_(deliveries.c.state.in_([State.READY, State.CLAIMED]), deliveries.c.due != NEVER)
    rows = tx.ask(sa.select(deliveries).where(owed).order_by(deliveries.c.seq).limit(AT_ONCE)).all()
    reasons = {f"last_reason_{language}": text(HELD, language) for language in LANGUAGES}
    held = {"due": NEVER, "expires": NEVER, "last_code": catalogue()[HELD].code, **reasons}
    for row in rows:
        if row.state == State.CLAIMED:
            changed = debts.change(tx, row, State.READY, claimed_by="", lease_until="", **held)
        else:
            changed = debts.annotate(tx, row, **held)
        tx.append("held", row.message_id, row.id, {**changed, "was": row.state})
    return len(rows)
