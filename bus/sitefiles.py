"""The site's own files: which of them a backup holds, and how a restore brings them back.

A site's files are ``routes.yaml``, ``site.env``, and what lies in ``schemas/`` and ``certs/``. A restore adds what is missing and writes
over nothing: ``compare`` says of every file what would become of it, ``add`` does it. What is secret comes back for its owner's eyes only.

Raises OSError.
"""

import glob
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path, PurePosixPath

from bus import durable

_FILES, _DIRECTORIES = frozenset({"routes.yaml", "site.env"}), frozenset({"schemas", "certs"})
#: How the names of files with private keys end; and the end of a PEM key's first line.
_KEYS = frozenset({".key", ".p12", ".pfx"})
_REFERENCE = ".p11"
#: And of what is to be read by its owner only: keys, and where a token's key lies.
SECRETS = _KEYS | {_REFERENCE}
_PRIVATE_KEY = b"PRIVATE KEY-----"
#: Octets of a file in which a key is looked for: with a long chain before it, it comes within these.
_LOOKED_AT = 1 << 20
SECRET, OPEN, DIRECTORY = 0o600, 0o640, 0o750


@dataclass(frozen=True, slots=True)
class Listing:
    """Names of a backup's site files, sorted, by what a restore does with them.

    ``added``: there is none yet; ``kept``: the same is there; ``different``: another is there, and stays; ``outside``: its directory is a
    link that leaves the site, so nothing is written there.
    """

    added: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    different: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()

    @property
    def believed(self) -> tuple[str, ...]:
        """Of what is added, the certificates and lists: they vouch for somebody, or for us, from then on."""
        return tuple(name for name in self.added if name.startswith("certs/") and PurePosixPath(name).suffix not in SECRETS)


def chosen(site: Path, *, with_keys: bool) -> dict[str, Path]:
    """The site's files by their names; those that hold a private key, and ``site.env``, only ``with_keys``."""
    found = [site / "routes.yaml", *(path for name in ("schemas", "certs") for path in sorted((site / name).rglob("*")))]
    if with_keys:
        found.append(site / "site.env")
    return {path.relative_to(site).as_posix(): path for path in found if path.is_file() and (with_keys or not holds_key(path))}


def belongs(name: str) -> bool:
    """Whether this is the name of a site's file, and stays in the site."""
    parts = name.split("/")
    if any(part in {"", ".", ".."} or "\\" in part or "\0" in part for part in parts):
        return False
    return parts[0] in _DIRECTORIES if len(parts) > 1 else name in _FILES


def holds_key(path: Path) -> bool:
    """Whether a file holds a private key, by its name or its content."""
    if path.suffix.lower() in _KEYS:
        return True
    with path.open("rb") as file:
        return _PRIVATE_KEY in file.read(_LOOKED_AT)


def compare(site: Path, aside: Path) -> Listing:
    """What would become of the files that lie in ``aside``."""
    found: dict[str, list[str]] = {"added": [], "kept": [], "different": [], "outside": []}
    for path in sorted(path for path in aside.rglob("*") if path.is_file()):
        name = path.relative_to(aside).as_posix()
        found[_verdict(site, name, path)].append(name)
    return Listing(**{verdict: tuple(names) for verdict, names in found.items()})


def _verdict(site: Path, name: str, path: Path) -> str:
    place = site / name
    if os.path.lexists(place):
        return "kept" if place.is_file() and digest(place) == digest(path) else "different"
    return "added" if place.parent.resolve().is_relative_to(site.resolve()) else "outside"


def digest(path: Path) -> str:
    """SHA-256 of a file, lower-case hex."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def add(site: Path, aside: Path, names: Iterable[str]) -> None:
    """Write these files of ``aside`` into the site, each complete or absent. What root adds is the site's owner's."""
    owner = site.stat()
    for name in names:
        place, source = site / name, aside / name
        _make(place.parent, site, owner)
        secret = name == "site.env" or place.suffix == _REFERENCE or holds_key(source)
        with durable.writing(place) as file:
            os.fchmod(file.fileno(), SECRET if secret else OPEN)
            _give(file.fileno(), owner)
            file.write(source.read_bytes())


def _make(directory: Path, site: Path, owner: os.stat_result) -> None:
    """A directory below the site, and those above it, with their rights whatever the umask."""
    for place in reversed([directory, *directory.parents]):
        if place.is_relative_to(site) and not place.exists():
            place.mkdir()
            place.chmod(DIRECTORY)
            _give(place, owner)


def _give(place: Path | int, owner: os.stat_result) -> None:
    if os.geteuid() == 0 and owner.st_uid:
        os.chown(place, owner.st_uid, owner.st_gid)


def remove(site: Path, added: Mapping[str, str]) -> None:
    """Take away files that were added, by name and digest, and what is unfinished of them; one that somebody has changed since is his."""
    for name, known in added.items():
        place = site / name
        if not belongs(name):
            continue
        for unfinished in place.parent.glob(f"{durable.UNFINISHED}*-{glob.escape(place.name)}"):
            unfinished.unlink()
        if place.is_file() and not place.is_symlink() and digest(place) == known:
            place.unlink()
