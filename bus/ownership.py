"""Whose the files are: what the daemon must be able to write, and which secrets may be read by others.

``demand_writable`` is asked before a daemon starts: one that reads its store and cannot write it would refuse every document.
``exposed`` is what ``check`` and ``run`` warn of, ``leaving`` what ``check`` does.
``handed_over`` keeps root's commands from leaving files that the daemon cannot write.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bus import sitefiles
from bus.errors import Deferred, Fault

_OTHERS = stat.S_IROTH | stat.S_IWOTH | stat.S_IRGRP | stat.S_IWGRP
#: The text for the others of a kind.
_MORE = {
    "site-exposed": "site-exposed-more",
    "site-link-nowhere": "site-link-nowhere-more",
    "site-link-outside": "site-link-outside-more",
    "site-no-file": "site-no-file-more",
}
#: Warnings of one kind that are told one by one.
_MOST = 5


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
    """A warning for each file of the site that others can read or change and should not, or that is no file."""
    return _few(root, _strange)


def leaving(root: Path) -> Iterator[Fault]:
    """A warning for each link that leaves the site, or leads nowhere."""
    return _few(root, _led)


def _few(root: Path, look: Callable[[Path, Path], Iterator[tuple[str, dict[str, str]]]]) -> Iterator[Fault]:
    """What ``look`` finds: of one kind the first few by name, and the number of the others."""
    found: dict[str, list[Fault]] = {}
    for path in _paths(root):
        for key, values in look(path, root):
            found.setdefault(key, []).append(_warning(path, root, key, values))
    for key, warnings in found.items():
        yield from warnings[:_MOST]
        if len(warnings) > _MOST:
            yield _warning(root / warnings[_MOST].file, root, _MORE[key], {"count": len(warnings) - _MOST})


def _paths(root: Path) -> Iterator[Path]:
    """Everything that a site is made of; what lies behind a link to a directory is not looked at."""
    yield from (root, root / "routes.yaml", root / "site.env", root / "data", root / "data" / "bus.db")
    for top in (root / "certs", root / "schemas"):
        yield top
        for directory, directories, files in os.walk(top):
            yield from (Path(directory, name) for name in sorted([*directories, *files]))


def _led(path: Path, root: Path) -> Iterator[tuple[str, dict[str, str]]]:
    if path == root or not path.is_symlink():
        return
    if not path.exists():
        yield "site-link-nowhere", {"target": str(path.readlink())}
    elif not path.resolve().is_relative_to(root.resolve()):
        yield "site-link-outside", {"target": str(path.resolve())}


def _strange(path: Path, root: Path) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    rights = f"{stat.S_IMODE(mode):04o}"
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        yield "site-no-file", {}
    elif mode & _OTHERS and stat.S_ISREG(mode) and _secret(path, root):
        yield "site-exposed", {"rights": rights, "cure": "chmod 600"}
    elif mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        yield "site-exposed", {"rights": rights, "cure": "chmod o-w"}


def _secret(path: Path, root: Path) -> bool:
    if path == root / "site.env" or path.suffix in sitefiles.SECRETS:
        return True
    with contextlib.suppress(OSError):
        return path.is_relative_to(root / "certs") and sitefiles.holds_key(path)
    return False


def _warning(path: Path, root: Path, key: str, values: Mapping[str, object]) -> Fault:
    return Fault.of(path.relative_to(root).as_posix(), key, values, warning=True)
