"""The process that reads PDFs: ``python -m bus.pdf``, started by ``bus.pdf.inspector`` with a socket as its standard input.

It answers one request after the other until the socket is closed, each in a fork of its own. The fork has the limits (getrlimit(2)): so
much processor time, so much memory, no files, no processes. What goes wrong in it, or ends it, is that PDF's matter; its siblings and
this process never see its octets parsed. This process reads no PDF, and the forks have nothing of the bus: no keys, no environment.
"""

import json
import os
import resource
import signal
import socket
import sys
from base64 import b64decode
from datetime import datetime
from typing import Any

from bus.pdf.report import NAMES, Anchors, Inspection, State
from bus.pdf.verification import Unreadable, inspect
from bus.pdf.wire import receive, send

#: Beside its three standard streams and the pipe a fork opens next to nothing.
_MOST_FILES = 16


def serve(line: socket.socket) -> None:
    """Answer requests until the other side is gone."""
    send(line, b"ready")
    while (request := receive(line)) is not None:
        data = receive(line)
        if data is None:
            return
        send(line, json.dumps(_apart(json.loads(request), data)).encode())


def _apart(request: dict[str, Any], data: bytes) -> dict[str, Any]:
    """The inspection in a fork, and the seconds of processor time that it took."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _work(request, data, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        said = answer.read()
    _, status, used = os.wait4(child, 0)
    found = json.loads(said) if status == 0 else Inspection(State.UNREADABLE, _ended(status, request)).as_json()
    return {"found": found, "seconds": used.ru_utime + used.ru_stime}


def _work(request: dict[str, Any], data: bytes, writing: int) -> None:
    """In the fork: never returns."""
    status = 1
    try:
        _limit(request["seconds"], request["memory"])
        found = _inspected(request, data)
        with os.fdopen(writing, "wb") as answer:
            answer.write(json.dumps(found.as_json()).encode())
        status = 0
    finally:
        os._exit(status)


def _inspected(request: dict[str, Any], data: bytes) -> Inspection:
    try:
        return inspect(data, _anchors(request), datetime.fromisoformat(request["at"]))
    except Unreadable as error:
        return Inspection(State.UNREADABLE, str(error))
    except RecursionError:
        return Inspection(State.UNREADABLE, "nested too deeply")
    except MemoryError:
        return Inspection(State.UNREADABLE, _too_much(request))


def _anchors(request: dict[str, Any]) -> Anchors:
    return Anchors(*(tuple(b64decode(each) for each in request[name]) for name in NAMES))


def _limit(seconds: int, memory: int) -> None:
    limits = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_NOFILE: _MOST_FILES,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for limit, most in limits.items():
        resource.setrlimit(limit, (most, most))


def _ended(status: int, request: dict[str, Any]) -> str:
    by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if by in {signal.SIGXCPU, signal.SIGKILL}:
        return f"takes more than {request['seconds']} s to read"
    return f"its reader ended by {signal.Signals(by).name}" if by else _too_much(request)


def _too_much(request: dict[str, Any]) -> str:
    return f"takes more than {request['memory'] >> 20} MiB to read"


if __name__ == "__main__":
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - what a library says about hostile octets is no log line of ours
    serve(socket.socket(fileno=os.dup(0)))
