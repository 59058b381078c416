"""The driver's end of ``crash_runner``: nodes that are started, armed, killed and started again."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

_RUNNER = Path(__file__).with_name("crash_runner.py")
_CHECKOUT = Path(__file__).resolve().parents[2]
#: A node that is not ready, or has not ended, after this time has failed.
PATIENCE = 60.0


class DidNotStart(Exception):
    """The daemon ended by itself, or stays silent; the text is what it said."""


class Runs:
    """One runner process; ``async with Runs() as runs``."""

    def __init__(self) -> None:
        self._tokens = itertools.count()
        self._started: dict[int, asyncio.Future[int]] = {}
        self._ended: dict[int, asyncio.Future[int]] = {}

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(_RUNNER)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(_CHECKOUT)},
        )
        assert self._process.stdout is not None
        # Its imports take a second or, on a machine that has much else to do, a minute; then it says that it is ready.
        await self._process.stdout.readline()
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            if "run" in said:
                self._ended[said["pid"]] = asyncio.get_running_loop().create_future()
                started = self._started.pop(said["run"])
                if not started.done():
                    started.set_result(said["pid"])
            elif "ended" in said:
                self._ended[said["ended"]].set_result(said["code"])

    async def run(self, argv: list[str], environment: Mapping[str, str], log: Path) -> "tuple[int, asyncio.Future[int]]":
        """Start ``govbus`` with these arguments; its process id, and the future of its exit code."""
        assert self._process.stdin is not None
        token = next(self._tokens)
        started = self._started[token] = asyncio.get_running_loop().create_future()
        order = {"run": token, "argv": ["govbus", *argv], "environment": dict(environment), "log": str(log)}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        pid = await asyncio.wait_for(started, PATIENCE)
        return pid, self._ended[pid]


class Node:
    """One bus of a life: its site, its store, its port, and where it is to die next."""

    def __init__(self, runs: Runs, name: str, site: Path, port: int, environment: Mapping[str, str]) -> None:
        self.name = name
        self.site = site
        self.workers = 1
        self.log = site / "bus.log"
        self._runs = runs
        self._port = port
        self._arm = site / "armed"
        self._struck = site / "struck"
        self.environment = {
            **{variable: os.environ[variable] for variable in ("PATH", "HOME", "LANG") if variable in os.environ},
            **environment,
            "CRASH_ARM": str(self._arm),
            "CRASH_STRUCK": str(self._struck),
        }
        self.pid = 0
        self.ended: asyncio.Future[int] | None = None

    async def start(self) -> bool:
        """Start the daemon; True once it listens, False when it was killed on the way. Raises DidNotStart."""
        begin = self.log.stat().st_size if self.log.exists() else 0
        argv = ["run", "--site", str(self.site), "--port", str(self._port), "--workers", str(self.workers)]
        self.pid, self.ended = await self._runs.run(argv, self.environment, self.log)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if b'"bus.ready"' in self._said(begin):
                return True
            if self.ended.done():
                if self.ended.result() == -signal.SIGKILL:
                    return False
                break
            await asyncio.sleep(0.005)
        self.signal(signal.SIGUSR1)
        await asyncio.sleep(1)
        raise DidNotStart(f"{self.name}: {self._said(begin)[-2000:].decode('utf-8', 'replace')}")

    async def settled(self) -> None:
        """Wait until every worker listens: one that is told to stop while it starts has nothing to drain. Raises DidNotStart."""
        deadline = time.monotonic() + PATIENCE
        while not self._all_listen():
            if time.monotonic() > deadline:
                raise DidNotStart(f"{self.name}: not all of its {self.workers} workers listen")
            await asyncio.sleep(0.01)

    def _all_listen(self) -> bool:
        started = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split() if self.workers > 1 else [str(self.pid)]
        listening = {str(json.loads(line)["pid"]) for line in self._said(0).splitlines() if b'"bus.ready"' in line}
        return len(started) == self.workers and listening.issuperset(started)

    def _said(self, begin: int) -> bytes:
        if not self.log.exists():
            return b""
        with self.log.open("rb") as log:
            log.seek(begin)
            return log.read()

    async def command(self, *argv: str) -> int:
        """Run one of the operator's commands on the site; its exit code."""
        _, ended = await self._runs.run([*argv, "--site", str(self.site)], self.environment, self.site / "commands.log")
        return await asyncio.wait_for(ended, PATIENCE)

    def arm(self, visit: str, number: int, deed: signal.Signals = signal.SIGKILL) -> None:
        """Have whichever process of this node comes to ``visit`` for the ``number``-th time send itself a signal."""
        prepared = self._arm.with_suffix(".new")
        prepared.write_text(f"{visit} {number} {deed.name}")
        prepared.rename(self._arm)

    def disarm(self) -> None:
        """Take the order back, if nobody has come there."""
        self._arm.unlink(missing_ok=True)

    def struck(self) -> list[tuple[int, str, str]]:
        """Who has come to where it was told to die: process id, command, visit."""
        if not self._struck.exists():
            return []
        lines = (line.split(" ", 2) for line in self._struck.read_text().splitlines())
        return [(int(pid), command, visit) for pid, command, visit in lines]

    @property
    def running(self) -> bool:
        """Whether the daemon (with workers: their supervisor) runs."""
        return self.ended is not None and not self.ended.done()

    def signal(self, number: signal.Signals) -> None:
        """Send the daemon a signal."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def end(self) -> int:
        """The exit code, once it has ended; minus the signal that killed it."""
        assert self.ended is not None
        return await asyncio.wait_for(asyncio.shield(self.ended), PATIENCE)

    async def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.signal(signal.SIGTERM)
        return await self.end()
