"""What tests of several areas need: a clock that stands, patience, and a console script that runs in a forked process."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from bus import cli

BEGIN = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)


class HandClock:
    """A clock that stands still until the test moves it."""

    def __init__(self, now: datetime = BEGIN) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **step: float) -> None:
        self.now += timedelta(**step)


async def until(holds: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for what must come true; the test fails when it does not in time."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.02)


def become(command: Sequence[str], environment: Mapping[str, str], out: int, err: int, seconds: int = 120) -> NoReturn:
    """Run the console script in this (forked) process, which ends with it; ``out`` and ``err`` are file descriptors."""
    code = 99
    try:
        signal.alarm(seconds)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
        sys.argv = list(command)
        os.environ.update(environment)
        cli.main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    said: str

    @property
    def json(self) -> Any:
        return json.loads(self.said.splitlines()[-1])


def govbus(*words: object, **environment: str) -> Done:
    """One command, as an operator types it: in a process forked from this one, which need not import everything anew."""
    with tempfile.TemporaryFile() as said:
        pid = os.fork()
        if not pid:
            become(["govbus", *map(str, words)], {"GOVBUS_LANG": "en", "GOVBUS_STORE": "", **environment}, said.fileno(), said.fileno())
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said.seek(0)
        return Done(code, said.read().decode())
