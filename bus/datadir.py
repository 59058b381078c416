"""The site's ``data/``: that an embedded store which was there is there still, and how another one takes its place.

A store that is gone must not be made anew without a word: every id that senders ever used would be new again. So the site itself, outside
``data/``, remembers in ``store.id`` that it has had one, and whoever would open a store asks ``demand`` first. Stores that are elsewhere
(``GOVBUS_STORE``) are their own servers' care.

``put`` adds the site's files that are missing, and takes two renames. While it is under way ``data.restore`` names what was there before
and what is added, so that a kill in between is noticed, and ``recover`` goes back to it. Raises ConfigurationError; Deferred 4.3.1 where
the directory cannot be written.
"""

import contextlib
import fcntl
import itertools
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bus import durable, points, sitefiles
from bus.errors import ConfigurationError, Deferred, Fault

DATABASE = Path("data") / "bus.db"
MARKER = "data.restore"
IDENTITY = "store.id"
#: Where a restore unpacks, and what it puts aside.
RESTORING, REPLACED = "data.restoring", "data.replaced-"


def demand(root: Path, environment: Mapping[str, str]) -> None:
    """Refuse where a store was, and is not. Raises ConfigurationError."""
    if environment.get("GOVBUS_STORE"):
        return
    if (root / MARKER).exists():
        raise _refusal(MARKER, "restore-interrupted")
    if (root / DATABASE).exists():
        return
    left = [*root.glob(RESTORING), *sorted(root.glob(f"{REPLACED}*"))]
    if left or (root / IDENTITY).exists():
        raise _refusal(str(DATABASE), "store-gone", left=", ".join(each.name for each in left) or IDENTITY)


def _refusal(file: str, key: str, **values: str) -> ConfigurationError:
    return ConfigurationError([Fault.of(file, key, values)])


def note(root: Path) -> None:
    """Remember that this site has a store."""
    # A site that its daemon may not write to is none that somebody empties by a slip.
    with contextlib.suppress(OSError):
        (root / IDENTITY).touch(mode=0o644, exist_ok=False)
        (root / IDENTITY).write_text(f"{secrets.token_hex(16)}\n", encoding="utf-8")


def begin_anew(root: Path) -> None:
    """Have a new store made where there is none, since an operator wants it: SQLite takes an empty file for one."""
    if not (root / MARKER).exists():
        (root / DATABASE).parent.mkdir(exist_ok=True, mode=0o750)
        (root / DATABASE).touch(mode=0o640)


def put(root: Path, beside: Path, at: datetime, aside: Path | None = None, added: Sequence[str] = ()) -> Path:
    """Put ``beside`` in the place of ``data/``, whose daemon does not run, and the files ``added`` of ``aside`` into the site.

    Gives the name that what was there has now. What fails is undone.
    """
    name = f"{REPLACED}{at:%Y%m%dT%H%M%SZ}"
    # Two restores within a second: the later name sorts behind.
    replaced = next(place for number in itertools.count(1) if not (place := root / (name if number == 1 else f"{name}-{number}")).exists())
    with _failing(root):
        durable.sync_tree(beside)
        try:
            _put(root, beside, replaced, aside or beside, added)
        except OSError:
            recover(root)
            raise
    return replaced


def _put(root: Path, beside: Path, replaced: Path, aside: Path, added: Sequence[str]) -> None:
    with (root / MARKER).open("wb") as marker:
        fcntl.flock(marker, fcntl.LOCK_EX)
        said = {"replaced": replaced.name, "added": {name: sitefiles.digest(aside / name) for name in added}}
        marker.write(json.dumps(said).encode())
        durable.flush(marker)
        durable.sync(root)
        points.reach("restore.marked")
        sitefiles.add(root, aside, added)
        points.reach("restore.added")
        (root / "data").rename(replaced)
        durable.sync(root)
        points.reach("restore.aside")
        beside.rename(root / "data")
        durable.sync(root)
        points.reach("restore.placed")
        note(root)
        (root / MARKER).unlink()
        durable.sync(root)


def recover(root: Path) -> None:
    """Undo what a ``put`` that was killed has left half done; one that was complete stays. Nothing to undo is fine.

    A program of before left no marker: then it is what was put aside last.
    """
    marker, data = root / MARKER, root / "data"
    with _failing(root), _idle(marker):
        said = _said(marker)
        name = str(said.get("replaced", ""))
        if name and not ((root / name).exists() and (root / DATABASE).exists()):
            sitefiles.remove(root, said.get("added", {}))
        aside = [each for each in sorted(root.glob(f"{REPLACED}*")) if (each / "bus.db").exists()]
        named = [each for each in aside if each.name == name]
        aside = named or aside
        if aside and not (root / DATABASE).exists():
            if data.exists():
                # Whoever came meanwhile made it, and no store in it.
                data.rename(root / f"data.empty-{secrets.token_hex(4)}")
            aside[-1].rename(data)
            durable.sync(root)
        marker.unlink(missing_ok=True)
        durable.sync(root)


def _said(marker: Path) -> dict[str, Any]:
    """What stands in the marker; one that is not whole was written before anything was moved."""
    try:
        said = json.loads(marker.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


@contextlib.contextmanager
def _idle(marker: Path) -> Iterator[None]:
    """Nobody else is at work on it. Raises Deferred 4.3.1."""
    if not marker.exists():
        yield
        return
    with marker.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Deferred("restore-running", file=marker) from error
        yield


@contextlib.contextmanager
def _failing(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Deferred("file-unwritable", file=error.filename or root, detail=error.strerror or error) from error
