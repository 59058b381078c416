"""A throw-away PostgreSQL: its own cluster in a temporary directory, on a free loopback port, ended by its own process ids.

The cluster sorts text by Vietnamese rules (ICU), as a ministry's own server may: an order that must not depend on it is so tested.
PostgreSQL refuses to run as root; started by root it runs as ``postgres``.
"""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import psycopg

#: Starting takes about a second; recovery after kill -9 a little more.
START_SECONDS = 60.0
#: What a test needs to be quick and nothing that makes a commit less durable: fsync and synchronous_commit stay on.
SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "shared_buffers": "64MB", "max_connections": "100"}


class DidNotStart(Exception):
    """The server ended, or stayed silent; the text is the end of its log."""


def programs() -> Path | None:
    """The directory with ``initdb`` and ``postgres``: on the PATH, or where Debian puts them, newest first. None without them."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class PostgresServer:
    """One cluster; ``with PostgresServer(...)`` starts it and takes everything away again."""

    def __init__(self, binaries: Path, **settings: str) -> None:
        self.port = free_port()
        self._binaries = binaries
        self._settings = {**SETTINGS, **settings}
        self._root = Path(tempfile.mkdtemp(prefix="govbus-postgres-"))
        self._names = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self._as: dict[str, Any] = {}
        self._follows: PostgresServer | None = None
        if os.geteuid() == 0:
            self._as = {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(self._root, "postgres", "postgres")

    # --- its life -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            if self._follows is not None:
                self._follow(self._follows)
                return self
            self._run("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", *_VIETNAMESE, "-D", self._data)
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._root, ignore_errors=True)

    def start(self) -> Self:
        """Start it and wait until it answers. Raises DidNotStart."""
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with (self._root / "log").open("ab") as log:
            command = [self._binaries / "postgres", "-D", self._data, "-p", str(self.port), *settings]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._root, **self._as)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError), self.connect():
                return self
            time.sleep(0.02)
        self.kill()
        raise DidNotStart(self.log()[-4000:])

    def stop(self) -> None:
        """Orderly and at once: connections are ended, what is not committed is gone (a "fast" shutdown)."""
        self._end(signal.SIGINT)

    def restart(self) -> Self:
        """Stop and start, on the same port with the same data."""
        self.stop()
        return self.start()

    def kill(self) -> None:
        """kill -9 of the server and of every process it has: nothing is flushed, nothing is said to anybody."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        children = list(_children(process.pid)) if number is signal.SIGKILL else []
        process.send_signal(number)
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._binaries / program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, cwd=self._root, check=False, **self._as)
        if done.returncode:
            raise DidNotStart(done.stdout + done.stderr)

    @property
    def _data(self) -> Path:
        return self._root / "data"

    def log(self) -> str:
        """What the server has said."""
        return (self._root / "log").read_text(encoding="utf-8", errors="replace")

    def standby(self) -> "PostgresServer":
        """A replica that follows this server and is written to before any commit returns; not started yet (``with``)."""
        replica = PostgresServer(self._binaries, **{**self._settings, "hot_standby": "on"})
        replica._follows = self
        return replica

    def _follow(self, primary: "PostgresServer") -> None:
        self._run(
            "pg_basebackup", "--write-recovery-conf", "--no-sync", "-X", "stream", "-D", self._data, "-d", primary.address("postgres")
        )
        self.start()
        with primary.connect() as hand:
            hand.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            hand.execute("SELECT pg_reload_conf()")

    def promote(self) -> None:
        """The replica becomes a server that takes writes; returns when it does."""
        with self.connect() as hand:
            hand.execute("SELECT pg_promote(wait => true)")

    # --- its databases ------------------------------------------------------------------------------------------------

    def url(self, database: str = "postgres") -> str:
        """The address of a database, as ``GOVBUS_STORE`` takes it."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """A hand on a database, past the store; each statement commits by itself."""
        return psycopg.connect(self.address(database), autocommit=True)

    def address(self, database: str) -> str:
        """The address of a database, as libpq takes it."""
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={database} connect_timeout=5"

    def create(self, template: str = "template1") -> str:
        """A new database, empty or a copy of ``template`` (to which nobody may be connected). Gives its name."""
        name = f"test_{next(self._names)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")  # type: ignore[arg-type]
        return name

    def drop(self, database: str) -> None:
        """Take a database away, and whoever is connected to it."""
        with self.connect() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")  # type: ignore[arg-type]


_VIETNAMESE = ("--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=vi-VN")


def _children(parent: int) -> Iterator[int]:
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in brackets, may hold anything; after it come the state and the parent.
            if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                yield int(status.parent.name)
