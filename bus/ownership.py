"""Whose the files are: what the daemon must be able to write, and which secrets may be read by others.

``unwritable`` is asked before a daemon starts: one that reads its store and cannot write it would refuse every document. ``exposed`` is
what ``check`` and ``run`` warn of. Both look at rights alone. ``handed_over`` keeps
root's commands from leaving files that the daemon cannot write.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from bus.errors import Deferred, Fault

#: How the files of keys end, below certs/own and certs/development.
_KEYS = (".key", ".p12", ".p11")


def demand_writable(data: Path, *, embedded: bool) -> None:
    """The daemon's own files must be this user's to write. Raises Deferred 4.3.1 that names the first which is not."""
    directories = [data, data / "generation", data / "revocation", data / "blobs", *sorted((data / "blobs").glob("??"))]
    store = [data / f"bus.db{suffix}" for suffix in ("", "-wal", "-shm")] if embedded else []
    for path in (*directories, *store):
        wanted = os.W_OK | (os.X_OK if path.is_dir() else os.R_OK)
        if path.exists() and not os.access(path, wanted, effective_ids=True):
            raise Deferred("data-not-ours", file=path, owner=path.stat().st_uid, user=os.geteuid())


@contextlib.contextmanager
def handed_over(root: Path) -> Iterator[None]:
    """What root's command makes in ``data/`` is afterwards the owner's of that directory, or of the site where it made the directory."""
    data = root / "data"
    place = data if data.is_dir() else root
    owner = place.stat() if os.geteuid() == 0 and place.is_dir() else None
    try:
        yield
    finally:
        if owner is not None and owner.st_uid and data.is_dir():
            for path in (data, *data.rglob("*")):
                with contextlib.suppress(OSError):
                    if not path.lstat().st_uid:
                        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def exposed(root: Path) -> Iterator[Fault]:
    """A warning for each secret that others than its owner can read, or replace."""
    certs = root / "certs"
    secrets = [path for place in ("own", "development") for path in sorted((certs / place).rglob("*")) if path.suffix in _KEYS]
    for path in (root / "site.env", *secrets):
        mode = _mode(path)
        if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IRGRP | stat.S_IWGRP):
            yield _warning(path, root, mode, "chmod 600")
    for directory in (root, certs, certs / "own"):
        mode = _mode(directory)
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield _warning(directory, root, mode, "chmod o-w")


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _warning(path: Path, root: Path, mode: int, cure: str) -> Fault:
    name, rights = path.relative_to(root).as_posix(), f"{stat.S_IMODE(mode):04o}"
    text = f"others than its owner can read or change it (mode {rights}): {cure}"
    return Fault(name, 1, 1, text, warning=True, vi=f"người khác chủ sở hữu đọc hoặc sửa được (quyền {rights}): {cure}")
