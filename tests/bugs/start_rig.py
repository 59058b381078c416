"""A daemon whose first moments and whose standard error are the test's own: started by its command, ended by its process id."""

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

from adapters.soap import payloads
from bus import soap
from bus.octets import whole
from bus.signature import wss
from sandbox.unit import read_signer

#: Seconds for anything that must come true on a machine that is slow.
PATIENCE = 60.0


class Started:
    """``govbus run`` of ``site`` on a port that is known before it listens, with ``stderr`` as it was given."""

    def __init__(
        self,
        site: Path,
        stderr: int | IO[bytes],
        *,
        workers: int = 1,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.site = site
        self.port = free_port()
        command = [sys.executable, "-m", "bus", "run", "--site", site, "--port", str(self.port), "--workers", str(workers)]
        self.process = subprocess.Popen(
            [*prefix, *command],
            stdin=subprocess.DEVNULL,
            stderr=stderr,
            env={**os.environ, "GOVBUS_STORE": "", "GOVBUS_BROKER": "", "NOTIFY_SOCKET": "", **(environment or {})},
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing of it is left: the session is its own."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def await_door(self) -> None:
        """Until the door answers."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}"
            try:
                assert self.get("/healthz") == 200
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("the daemon does not answer")

    def connection(self) -> http.client.HTTPSConnection:
        """A connection that asks for no proof."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=context)

    def get(self, path: str) -> int:
        connection = self.connection()
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    def refused(self, times: int) -> None:
        """That many requests of a partner that are refused, and journalled and logged one by one, over one connection."""
        keys = read_signer(self.site / "certs" / "development" / "telecom-authority")
        question = whole(payloads.request("GetDocument", MessageId="nobody-has-it"))
        asked = whole(wss.enclose(soap.SOAP_11.namespace, question, keys, datetime.now(UTC)))
        connection = self.connection()
        for _ in range(times):
            connection.request("POST", "/soap/documents", asked, {"Content-Type": "text/xml", "SOAPAction": '""'})
            answer = connection.getresponse()
            answer.read()
            assert answer.status >= 400
        connection.close()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def events(octets: bytes) -> list[dict[str, Any]]:
    """Every line, each of which must be whole."""
    return [json.loads(line) for line in octets.splitlines()]
