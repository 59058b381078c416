"""A throw-away RabbitMQ: its own node, name server, cookie and data in a temporary directory, on free loopback ports, ended by process id.

It runs as whoever runs the tests. ``rabbitmqctl`` is called with the node's own cookie, so that no other RabbitMQ of this machine is met.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import amqp
from servers import DidNotStart, free_port

#: Starting takes about ten seconds, more on a busy machine.
START_SECONDS = 120.0
#: Small enough for a test to send a message that is larger.
MAX_MESSAGE_SIZE = 1_000_000


def programs() -> Path | None:
    """The directory with ``rabbitmq-server`` and ``rabbitmqctl`` themselves: Debian's wrappers insist on a user. None without."""
    found = [Path("/usr/lib/rabbitmq/bin"), *(Path(directory) for directory in os.environ.get("PATH", "").split(os.pathsep))]
    return next((path for path in found if (path / "rabbitmq-server").is_file() and (path / "rabbitmq-env").is_file()), None)


class RabbitServer:
    """One node; ``with RabbitServer(...)`` starts it and takes everything away again. ``certs``: holds its tls.crt, tls.key and ca.crt."""

    def __init__(self, binaries: Path, certs: Path) -> None:
        self.port, self.tls_port, self._names_port, self._peers_port = free_port(), free_port(), free_port(), free_port()
        self._binaries = binaries
        self._root = Path(tempfile.mkdtemp(prefix="govbus-rabbit-"))
        self._node = f"govbus-{self.port}@localhost"
        self._processes: list[subprocess.Popen[bytes]] = []
        for name in ("home", "log"):
            (self._root / name).mkdir()
        (self._root / "rabbitmq-env.conf").touch()
        (self._root / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}\n"
            f"ssl_options.cacertfile = {certs / 'ca.crt'}\n"
            f"ssl_options.certfile = {certs / 'tls.crt'}\n"
            f"ssl_options.keyfile = {certs / 'tls.key'}\n"
            f"max_message_size = {MAX_MESSAGE_SIZE}\n"
            # Of a test machine's disk and memory nothing is known; the alarms are raised on purpose.
            "disk_free_limit.absolute = 1MB\n"
        )

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._root, ignore_errors=True)

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self._root / "home"),
            "ERL_EPMD_PORT": str(self._names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._peers_port),
            # On loopback only; and its idle threads sleep instead of spinning, since the tests need the cores.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none",
            # With it the script becomes the node, so that the process id is the node's.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_START_ARGS": "-noinput",
            "RABBITMQ_MNESIA_BASE": str(self._root / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._root / "log"),
            "RABBITMQ_CONFIG_FILE": str(self._root / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self._root / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._root / "plugins"),
        }

    # --- its life -----------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start it and wait until it answers. Raises DidNotStart."""
        if not self._processes:
            self._spawn("epmd", "-port", str(self._names_port), "-address", "127.0.0.1")
        node = self._spawn(str(self._binaries / "rabbitmq-server"))
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and node.poll() is None:
            with contextlib.suppress(OSError, amqp.AMQPError), self.connect():
                return self
            time.sleep(0.05)
        said = self.log()[-4000:]
        self.kill()
        raise DidNotStart(said)

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        with (self._root / "output").open("ab") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self._root, env=self._environment()
            )
        self._processes.append(process)
        return process

    def stop(self) -> None:
        """Orderly: connections are closed with a reason."""
        self._end(signal.SIGTERM)

    def restart(self) -> Self:
        """Stop and start, on the same port with the same data."""
        self.stop()
        return self.start()

    def kill(self) -> None:
        """kill -9 of the node and of its name server."""
        self._end(signal.SIGKILL)
        while self._processes:
            names = self._processes.pop()
            names.kill()
            names.wait()

    def _end(self, number: signal.Signals) -> None:
        for node in self._processes[1:]:
            node.send_signal(number)
            try:
                node.wait(60)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()
        del self._processes[1:]

    def log(self) -> str:
        """What the node has said."""
        return (self._root / "output").read_text(encoding="utf-8", errors="replace")

    # --- a hand on it -------------------------------------------------------------------------------------------------

    def control(self, *arguments: str) -> str:
        """``rabbitmqctl``."""
        done = subprocess.run(
            [str(self._binaries / "rabbitmqctl"), "--quiet", "-n", self._node, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env=self._environment(),
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def create(self, vhost: str) -> str:
        """A virtual host of a test's own; gives its URL."""
        self.control("add_vhost", vhost)
        self.control("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")
        return self.url(vhost)

    def url(self, vhost: str = "/", port: int = 0) -> str:
        """The address of a virtual host; ``port`` of a proxy."""
        return f"amqp://guest:guest@127.0.0.1:{port or self.port}/{vhost.replace('/', '%2F')}"

    def connect(self, vhost: str = "/") -> Any:
        """A connection past our own code."""
        connection = amqp.Connection(f"127.0.0.1:{self.port}", "guest", "guest", virtual_host=vhost, connect_timeout=5)
        connection.connect()
        return connection
