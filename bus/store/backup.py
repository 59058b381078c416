"""Backup of an embedded store while it is in use, and its way back into a site that is stopped.

The database is copied first, as it was at one moment (SQLite's online backup, https://www.sqlite.org/backup.html); then every large body
that the copy names. Bodies never change and are named by their digest, so that order makes the whole consistent; a pruning must not run
meanwhile. The parcel holds ``bus.db``, ``blobs/<digest>`` and ``site/…``; its manifest lists every one of them with size and SHA-256, and
may be signed. A backup of the version before (``govbus-backup/1``) lists no bodies and is never signed.

``unpack`` puts all of it aside and has verified every digest when it returns; ``examine`` asks the database itself. Who signed is for the
caller to judge.

What a backup cannot know is what was sent since. So nothing that was owed then is sent again until an operator says so: ``hold``.
"""

import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bus import sitefiles
from bus.delivery import State
from bus.errors import LANGUAGES, Deferred, Rejected, catalogue, text
from bus.store import debts, dialect, parcel
from bus.store.blobs import Files
from bus.store.snapshot import Snapshot
from bus.store.tables import NEVER, deliveries, journal, messages
from bus.store.transaction import Transaction

KIND, KIND_BEFORE = "govbus-backup/2", "govbus-backup/1"
DATABASE = "bus.db"
SITE = "site/"
_DIGEST = re.compile("[0-9a-f]{64}")
#: Deliveries held in one transaction.
AT_ONCE = 500
#: Why a delivery is held.
HELD = "delivery-held"


#: Gives the signature of a manifest's octets, or none.
Seal = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A backup that lies aside, whole. ``manifest`` is what it says; ``signed``: the manifest's octets and their signature, or none."""

    data: Path
    site: Path
    manifest: Mapping[str, Any]
    signed: tuple[bytes, bytes]


def write(
    reading: sa.Engine, files: Files, path: Path, site: Mapping[str, Path], said: Mapping[str, Any], seal: Seal | None = None
) -> Mapping[str, Any]:
    """Write a backup to ``path``, with the files of ``site`` by their names in it. Returns what it says. Raises Deferred 4.3.1."""
    try:
        with tempfile.TemporaryDirectory(prefix=".backup-", dir=path.parent) as directory:
            copy = Path(directory) / DATABASE
            _copy(reading, copy)
            return _pack(copy, files, path, site, said, seal)
    except OSError as error:
        raise Deferred("file-unwritable", file=path, detail=error.strerror or error) from error
    except sqlite3.Error as error:
        raise Deferred("file-unwritable", file=path, detail=error) from error


def _pack(copy: Path, files: Files, path: Path, site: Mapping[str, Path], said: Mapping[str, Any], seal: Seal | None) -> Mapping[str, Any]:
    rows, digests = _contents(copy, files)
    with parcel.packing(path, everything=True) as packing:
        packing.add_file(DATABASE, copy)
        for digest in digests:
            if packing.wants(digest):
                packing.add_blob_file(digest, files.path(digest))
        for name, file in site.items():
            packing.add_file(SITE + name, file)
        told = {**said, "rows": rows, "bodies": len(digests)}
        packing.close(KIND, told, seal)
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


def unpack(path: Path, beside: Path) -> Unpacked:
    """Unpack a backup into ``beside``, which must not exist: the store into ``data``, the site's files into ``site``.

    Raises Rejected 5.6.11 for what is no whole backup, Deferred 4.3.1; nothing stays then.
    """
    opened = parcel.Opened(path, KIND, KIND_BEFORE, everything=True)
    data, site = beside / "data", beside / "site"
    try:
        for directory in (beside, data, site):
            directory.mkdir()
            directory.chmod(sitefiles.DIRECTORY)
        for name, stream in opened.members():
            parcel.save(parcel.pieces(stream), _place(path, name, data, site))
        listed = opened.manifest["kind"] == KIND_BEFORE or "size" in opened.manifest
        _demand(path, listed, "its manifest lists no sizes")
        _demand(path, (data / DATABASE).exists(), f"it holds no {DATABASE}")
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return Unpacked(data, site, opened.manifest, opened.signed)


def _place(path: Path, name: str, data: Path, site: Path) -> Path:
    """Where a member is unpacked. Raises Rejected 5.6.11 for what no backup of ours holds."""
    if name == DATABASE:
        return data / DATABASE
    if name.startswith(parcel.BLOBS) and _DIGEST.fullmatch(digest := name.removeprefix(parcel.BLOBS)):
        return Files(data / "blobs").path(digest)
    if name.startswith(SITE) and sitefiles.belongs(inner := name.removeprefix(SITE)):
        return site / inner
    raise _damaged(path, f"member {name!r}")


def examine(path: Path, unpacked: Unpacked) -> None:
    """Have the database that was unpacked checked by SQLite, as old as it may be. Raises Rejected 5.6.11."""
    try:
        with closing(sqlite3.connect(unpacked.data / DATABASE)) as database:
            [(said,), *_] = database.execute("PRAGMA quick_check(1)").fetchall()
            # An empty file is an empty database to SQLite, and would become a new store.
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (sqlite3.Error, ValueError) as error:
        raise _damaged(path, f"{DATABASE}: {type(error).__name__} {error}") from error
    _demand(path, said == "ok", f"{DATABASE}: {said}")
    _demand(path, tables >= {messages.name, journal.name}, f"{DATABASE} is no store")


def demand_bodies(path: Path, unpacked: Unpacked) -> None:
    """Every large body that the database names must have come with it; its tables are up to date. Raises Rejected 5.6.11."""
    files = Files(unpacked.data / "blobs")
    _, digests = _contents(unpacked.data / DATABASE, files)
    lost = [digest for digest in digests if not files.path(digest).is_file()]
    _demand(path, not lost, f"{len(lost)} bodies are missing, the first {''.join(lost[:1])}")


def _demand(path: Path, holds: bool, detail: str) -> None:
    if not holds:
        raise _damaged(path, detail)


def _damaged(path: Path, detail: str) -> Rejected:
    return Rejected("parcel-damaged", file=path, detail=detail)


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
