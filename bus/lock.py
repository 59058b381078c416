"""The site's lock: two daemons on one embedded store would both believe that they own its leases.

``data/daemon.lock`` is locked (flock(2)) for as long as a daemon runs, and holds its process id. The lock alone counts: a file that
was left behind, or whatever stands in it, keeps nobody from starting. Who holds it is believed only where the system says so as well,
so that no signal goes to a stranger. Raises Deferred 4.3.1 where the file cannot be used.
"""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from bus.errors import Deferred

_FILE = "daemon.lock"
#: Whoever looks whether the lock is held holds it for a moment, and who has just got it has not yet written: tries, and seconds between.
_TRIES, _PAUSE = 10, 0.05


class AlreadyRunning(Exception):
    """Another daemon holds this site; the text is its process id."""


@contextlib.contextmanager
def sole_daemon(root: Path) -> Iterator[None]:
    """Hold the site's lock. Raises AlreadyRunning; Deferred 4.3.1 when something else than a daemon holds it."""
    path = root / "data" / _FILE
    with _usable(path):
        path.parent.mkdir(exist_ok=True, mode=0o750)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o640)
    with os.fdopen(descriptor, "r+b", buffering=0) as lock:
        _regular(path, descriptor)
        if not _taken(descriptor, fcntl.LOCK_EX):
            raise AlreadyRunning(str(_holder(path, descriptor)))
        with _usable(path):
            lock.truncate(0)
            lock.write(str(os.getpid()).encode())
        yield


def holder(root: Path) -> int | None:
    """The process that holds the site's lock, or None. Raises Deferred 4.3.1 when that is no daemon, or cannot be known."""
    path = root / "data" / _FILE
    try:
        with _usable(path):
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except Deferred:
        if not path.exists():
            return None
        raise
    with os.fdopen(descriptor, "rb"):
        _regular(path, descriptor)
        return None if _taken(descriptor, fcntl.LOCK_SH, tries=1) else _holder(path, descriptor)


def _taken(descriptor: int, kind: int, tries: int = _TRIES) -> bool:
    for number in range(tries):
        if number:
            time.sleep(_PAUSE)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
    return False


def _holder(path: Path, descriptor: int) -> int:
    said = b""
    for number in range(_TRIES):
        if number:
            time.sleep(_PAUSE)
        said, known = os.pread(descriptor, 20, 0).strip(), _locking(descriptor)
        if said.isdigit() and (known is None or int(said) in known):
            return int(said)
    raise Deferred("lock-foreign", file=path, pids=", ".join(map(str, sorted(known or ()))) or "?")


def _locking(descriptor: int) -> set[int] | None:
    """The processes that lock this file, as the system says (proc(5), /proc/locks); None where it does not say."""
    seen = os.fstat(descriptor)
    place = f"{os.major(seen.st_dev):02x}:{os.minor(seen.st_dev):02x}:{seen.st_ino}"
    try:
        with open("/proc/locks", encoding="ascii") as file:  # noqa: PTH123
            rows = [line.split() for line in file]
    except OSError:
        return None
    # A process of another namespace is 0 or -1 here.
    return {int(row[4]) for row in rows if "->" not in row and row[1] == "FLOCK" and row[5] == place and int(row[4]) > 0} or None


def _regular(path: Path, descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise Deferred("file-unwritable", file=path, detail="it is not a file")


@contextlib.contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Deferred("file-unwritable", file=error.filename or path, detail=error.strerror or error) from error
