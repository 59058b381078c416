"""Generation: the site's files as a running daemon has taken them up; and how a daemon tells which generation it runs.

Files are replaced while they are read: by an editor that writes in place, by a rename, by a directory of symbolic links that is switched
(a Kubernetes ConfigMap). ``load`` looks at all of them before and after, and takes only what did not change meanwhile; so a generation is
never a mixture of two. What is broken raises ConfigurationError, and the daemon goes on with what it has.

Each worker tells of itself in ``data/generation/<chain>.json``, for ``govbus reload`` and for people.
"""

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from bus import config
from bus.config import Loaded
from bus.errors import ConfigurationError, Fault
from bus.site import Clock

#: What a generation is made of, below the site's directory.
_FILES = ("routes.yaml", "site.env", "schemas", "certs")
#: How often files that keep changing are read again, and the pause between, in seconds.
_TRIES = 5
_PAUSE = 0.2


@dataclass(frozen=True, slots=True)
class Generation:
    """What one worker says of the last time it read the site's files. ``faults``: why it did not take them up; "" digest: none yet;
    ``warnings``: what it took up all the same.

    ``number`` counts the generations it has run; ``begun`` is when it began to read (UTC).
    """

    chain: str
    pid: int
    number: int
    begun: str
    digest: str
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def load(root: Path, environment: Mapping[str, str], clock: Clock, *, sleep: Callable[[float], None] = time.sleep) -> tuple[Loaded, str]:
    """The site's files, all as they were at one moment, and a digest of which. Raises ConfigurationError."""
    for _ in range(_TRIES):
        seen = _look(root)
        try:
            loaded = config.load(root, environment=environment, clock=clock)
        except ConfigurationError:
            # A fault of a file that was half written is none.
            if seen == _look(root):
                raise
        else:
            if seen == _look(root):
                return loaded, hashlib.sha256(repr(seen).encode()).hexdigest()
        sleep(_PAUSE)
    raise ConfigurationError([Fault(str(root), 0, 0, f"the site's files kept changing while they were read, {_TRIES} times")])


def _look(root: Path) -> Sequence[tuple[str, int, int, int]]:
    """Name, place, time and size of every file; what a link leads to, not the link."""
    found = []
    for name in _FILES:
        top = root / name
        for path in sorted([top, *top.rglob("*")]):
            try:
                seen = path.stat()
            except OSError:
                # It went while we looked: another look will not see it either, or see it whole.
                continue
            if path.is_file():
                found.append((str(path.relative_to(root)), seen.st_ino, seen.st_mtime_ns, seen.st_size))
    return found


@dataclass(slots=True)
class Teller:
    """A worker's word on its generations."""

    root: Path
    chain: str
    number: int = 0

    def taken(self, begun: datetime, digest: str, warnings: Sequence[Fault] = ()) -> None:
        """Another generation runs now."""
        self.number += 1
        told = tuple(map(str, warnings))
        self._tell(Generation(self.chain, os.getpid(), self.number, begun.isoformat(), digest, warnings=told))

    def refused(self, begun: datetime, faults: Sequence[Fault]) -> None:
        """The files are broken; the generation before goes on."""
        self._tell(Generation(self.chain, os.getpid(), self.number, begun.isoformat(), "", tuple(map(str, faults))))

    def _tell(self, generation: Generation) -> None:
        directory = self.root / "data" / "generation"
        beside = directory / f".{self.chain}"
        try:
            directory.mkdir(exist_ok=True)
            beside.write_text(json.dumps(asdict(generation)), encoding="utf-8")
            beside.replace(directory / f"{self.chain}.json")
        except OSError:
            # A full disk must not keep a daemon from running; whoever waits for this word is told that none came.
            return


def running(root: Path) -> list[Generation]:
    """What each worker that lives says."""
    said = []
    for path in sorted((root / "data" / "generation").glob("*.json")):
        told = json.loads(path.read_bytes())
        said.append(Generation(**{**told, **{name: tuple(told.get(name, ())) for name in ("faults", "warnings")}}))
    return [generation for generation in said if _lives(generation.pid)]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Another user's, which lives.
        return True
    return True


async def answers(root: Path, asked: datetime, patience: float) -> list[Generation]:
    """Wait until each worker has read the files since it was ``asked``; those that have, when ``patience`` seconds are over."""
    deadline = time.monotonic() + patience
    while True:
        workers = running(root)
        done = [worker for worker in workers if datetime.fromisoformat(worker.begun) >= asked]
        if (workers and len(done) == len(workers)) or time.monotonic() > deadline:
            return done
        await asyncio.sleep(0.05)
