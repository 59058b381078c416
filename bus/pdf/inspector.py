"""Inspector: our side of the process that reads PDFs (``bus.pdf.__main__``).

The process is started when the first PDF that may be signed comes, and costs about 60 MB. There is one for each thread of ``PDFS``
(``bus.offload``), so that the PDFs of one partner keep nobody else's waiting. ``inspect`` waits for it, so it demands such a thread first;
of what is not signed it says so at once.

Bounds, for each PDF: ``Limits.seconds`` of processor time and ``Limits.memory`` octets of address space, both the kernel's; what goes
beyond them is an Inspection UNREADABLE. If there is no answer at all in PATIENCE (the machine is overloaded, or has no memory), it is
killed and Deferred ``inspection-unavailable`` (4.3.2) is raised: no document pays for our machine.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

import bus
from bus.errors import Deferred
from bus.octets import Body, whole
from bus.offload import PDFS, demand
from bus.pdf.report import NAMES, Anchors, Inspection, State, find
from bus.pdf.wire import receive, send
from bus.trust import Trust, der

#: Seconds of real time that starting, and that one answer, may take.
PATIENCE = 60.0
#: Largest PDF that is read, octets.
MOST_SIZE = 50 << 20


#: With a fixed threshold the C library gives the memory of each large PDF back.
_ENVIRONMENT = {"PYTHONPATH": str(Path(bus.__file__).parent.parent), "TZ": "UTC", "MALLOC_MMAP_THRESHOLD_": "1048576"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What reading one PDF may cost: whole seconds of processor time, octets of address space (a quarter of it is the reader itself)."""

    seconds: int = 5
    memory: int = 400 << 20


DEFAULT = Limits()


class Inspector:
    """One reading process, started when it is needed and again when it is gone."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    def inspect(self, data: Body, anchors: Anchors, at: datetime, limits: Limits = DEFAULT) -> tuple[Inspection, float]:
        """What the signatures in ``data`` prove at ``at``, and the processor time that it took."""
        state = find(data)
        if state is not State.SIGNED:
            return Inspection(state), 0.0
        demand(PDFS)
        if len(data) > MOST_SIZE:
            return Inspection(State.UNREADABLE, f"larger than {MOST_SIZE >> 20} MiB"), 0.0
        request = json.dumps(_request(anchors, at, limits)).encode()
        with self._lock:
            answer = json.loads(self._asked(request, whole(data)))
        return Inspection.of_json(answer["found"]), float(answer["seconds"])

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _asked(self, request: bytes, data: bytes) -> bytes:
        """The answer. A process that has gone since it was last asked is replaced once."""
        for _ in range(2):
            try:
                line = self._line or self._start()
                send(line, request)
                send(line, data)
                answer = receive(line)
            except TimeoutError as error:
                self._end()
                raise Deferred("inspection-unavailable") from error
            except OSError:
                answer = None
            if answer is not None:
                return answer
            self._end()
        raise Deferred("inspection-unavailable")

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(self._patience)
        # Nothing of our environment, and none of our signals: it ends when our end of the line is closed, as it is when we die.
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-s", "-P", "-m", "bus.pdf"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=_ENVIRONMENT,
                start_new_session=True,
            )
        self._line = ours
        receive(ours)
        return ours

    def _end(self) -> None:
        line, process, self._line, self._process = self._line, self._process, None, None
        if line is not None:
            line.close()
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()


def anchors_of(trust: Trust) -> Anchors:
    """What a trust directory holds, as it is sent."""
    return Anchors(
        authorities=tuple(der(one) for one in trust.anchors),
        intermediates=tuple(der(one) for one in trust.intermediates),
        pinned=tuple(der(one) for one in trust.pinned),
        crls=tuple(one.public_bytes(Encoding.DER) for one in trust.crls),
    )


def _request(anchors: Anchors, at: datetime, limits: Limits) -> dict[str, Any]:
    lists = {name: [b64encode(each).decode() for each in getattr(anchors, name)] for name in NAMES}
    return {**lists, "at": at.isoformat(), "seconds": limits.seconds, "memory": limits.memory}


_of_thread = threading.local()


def inspector() -> Inspector:
    """The one of this thread."""
    if not hasattr(_of_thread, "inspector"):
        _of_thread.inspector = Inspector()
    found: Inspector = _of_thread.inspector
    return found
