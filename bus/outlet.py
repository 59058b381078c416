"""Outlet: standard error as a place for the lines of the log, which may be full, closed or unread. Then lines are lost and counted.

Nobody waits for a reader, and no failure gets further than this file. A line goes out by one call, whole or not at all: to a pipe or a
socket, which several workers share, no longer than the system takes in one piece. What was lost is told of before the next line that
goes out (``log.lines-lost``), and counted in ``govbus_log_lines_lost_total``. Nothing is held back, so nothing is flushed at the end.
"""

import contextlib
import os
import select
import socket
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import orjson

from bus import metrics

LINES_LOST = "log.lines-lost"
LINE_TOO_LONG = "log.line-too-long"
#: What a pipe takes whole or not at all (pipe(7), PIPE_BUF), and what a socket of the local machine does (one buffer of the kernel's).
PIPE_OCTETS: Final = select.PIPE_BUF
SOCKET_OCTETS: Final = 32 << 10
#: Stands where something was left out of a line that is too long.
_GAP: Final = " … "


class Outlet:
    """A descriptor that lines are written to, as the file of ``logging`` and ``structlog``."""

    def __init__(self, descriptor: int = 2) -> None:
        self.lost = 0
        self._rest = b""
        # Lines come from threads, too.
        self._lock = threading.Lock()
        self._write, self._most = _writer(descriptor)

    def write(self, text: str) -> int:
        """Write a line, or lose it."""
        line = text.encode("utf-8", "backslashreplace")
        if len(line) > self._most:
            line = shortened(line, self._most)
        with self._lock:
            self._send(line)
        return len(text)

    def _send(self, line: bytes) -> None:
        told = self.lost
        if not told or self._out(_confession(told)):
            self.lost = 0
            if self._out(line):
                return
        self.lost += 1
        metrics.LOG_LINES_LOST.inc()

    def _out(self, line: bytes) -> bool:
        """Whether ``line`` has gone out, or begun to: a full disk takes a part of it, and its rest then goes before anything else."""
        pending, before, sent = self._rest + line, len(self._rest), 0
        with contextlib.suppress(OSError):
            while sent < len(pending):
                sent += self._write(pending[sent:])
        begun = sent > before
        self._rest = pending[sent:] if begun else pending[sent:before]
        return begun

    def flush(self) -> None:
        """Nothing is held back."""


def _writer(descriptor: int) -> tuple[Callable[[bytes], int], int]:
    """What writes to ``descriptor`` without waiting for anybody, and how many octets it takes in one piece."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        with socket.socket(fileno=os.dup(descriptor)) as same:
            journal = same.dup()
        return (lambda octets: journal.send(octets, socket.MSG_DONTWAIT)), SOCKET_OCTETS
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        descriptor = _unwaiting(descriptor, pipe=stat.S_ISFIFO(mode))
    return (lambda octets: os.write(descriptor, octets)), PIPE_OCTETS if stat.S_ISFIFO(mode) else 1 << 30


def _unwaiting(descriptor: int, *, pipe: bool) -> int:
    """The same pipe or device, opened once more: that we do not wait must not become everybody's affair who holds ``descriptor``."""
    with contextlib.suppress(OSError):
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if pipe:
        # Another user's, as in a container: then it is ours alone in practice.
        os.set_blocking(descriptor, False)
    return descriptor


def _confession(lost: int) -> bytes:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return orjson.dumps({"timestamp": now, "level": "warning", "event": LINES_LOST, "lost": lost, "pid": os.getpid()}) + b"\n"


def shortened(line: bytes, most: int) -> bytes:
    """A JSON line in at most ``most`` octets: its longest values lose their middle, and it stays JSON."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        event = None
    if not isinstance(event, dict):
        event = {"event": line.decode("utf-8", "replace").rstrip("\n")}
    octets, each = line, most
    while len(octets) > most and each > len(_GAP):
        each //= 2
        octets = orjson.dumps({name: _cut(value, each) for name, value in event.items()}) + b"\n"
    return octets if len(octets) <= most else orjson.dumps({"event": LINE_TOO_LONG, "octets": len(line)}) + b"\n"


def _cut(value: object, most: int) -> object:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    half = most // 2
    return value if len(text) <= most else f"{text[:half]}{_GAP}{text[len(text) - half :]}"
