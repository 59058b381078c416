"""A bus as a child process: started, awaited until it says ``bus.ready``, stopped or killed by its own process id."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

#: A start slower than this is a failure: keys, schemas, migrations and the socket take about a second.
START_SECONDS = 60.0
STOP_SECONDS = 40.0


class DidNotStart(Exception):
    """The daemon ended, or stayed silent; the text is the end of its log."""


class BusProcess:
    """One ``govbus run`` of ``site``; its JSON log goes to ``<site>/bus.log``. ``under``: a command that runs it."""

    def __init__(
        self,
        site: Path,
        *,
        port: int = 0,
        workers: int = 1,
        operators: str = "127.0.0.1:0",
        environment: Mapping[str, str] | None = None,
        under: Sequence[str] = (),
    ) -> None:
        self.site = site
        self._port = port
        self._workers = workers
        self._operators = operators
        self._under = list(under)
        self._environment = {**os.environ, "GOVBUS_STORE": "", "GOVBUS_BROKER": "", **(environment or {})}
        self._log = site / "bus.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False
        self.url = ""
        self.operators_url = ""

    @property
    def pid(self) -> int:
        """The process id of the daemon (with workers: of their supervisor)."""
        if self._process is None:
            raise RuntimeError("the bus is not running")
        return self._process.pid

    @property
    def died(self) -> bool:
        """Whether it was started, was not stopped by us, and runs no more."""
        return self._wanted and (self._process is None or self._process.poll() is not None)

    def start(self) -> Self:
        """Start it and wait until it listens; ``url`` and ``operators_url`` are then its addresses. Started again, it keeps its port.

        Raises DidNotStart.
        """
        command = [
            *self._under,
            sys.executable,
            "-m",
            "bus",
            "run",
            "--site",
            str(self.site),
            "--port",
            str(self._port),
            "--workers",
            str(self._workers),
        ]
        command += ["--operators", self._operators]
        self._wanted = True
        with self._log.open("ab") as log:
            begin = log.tell()
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment)  # noqa: S603
        self.url = self._wait_for_ready(begin)
        self._port = int(self.url.rsplit(":", 1)[1])
        return self

    def _wait_for_ready(self, begin: int) -> str:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            ended = self._process.poll() is not None
            for line in self.log_lines(begin):
                if line.get("event") == "bus.ready":
                    self.operators_url = str(line["operators_url"])
                    return str(line["url"])
            if ended:
                break
            time.sleep(0.02)
        self._end(signal.SIGKILL)
        raise DidNotStart(self._log.read_bytes()[begin:].decode("utf-8", "replace")[-4000:])

    def page(self, path: str) -> tuple[int, str]:
        """Status and text of a page for operators, such as ``/metrics``, over a connection of its own."""
        address = urlsplit(self.operators_url)
        channel = http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)
        try:
            channel.request("GET", path)
            reply = channel.getresponse()
            return reply.status, reply.read().decode()
        finally:
            channel.close()

    def log_lines(self, begin: int = 0) -> list[dict[str, object]]:
        """The log's complete JSON lines from byte ``begin``."""
        lines = []
        for line in self._log.read_bytes()[begin:].splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
        return lines

    def stop(self) -> int:
        """SIGTERM, and the exit code; killed when it does not end in time."""
        self._wanted = False
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL: what a power cut leaves behind."""
        self._wanted = False
        return self._end(signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        """Send one signal to the daemon."""
        os.kill(self.pid, number)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
