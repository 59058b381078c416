"""Workers: one process a journal chain, forked from here, and replaced when it dies.

The supervisor does nothing else. SIGTERM and SIGINT are passed on, and it ends when the last worker has; SIGHUP is passed on. It promises
that no worker outlives it, however it ends and whenever the signal comes, and that one which cannot start is not started as fast as it
ends.
"""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from bus import beginning, log
from bus.errors import ConfigurationError

#: Pause before a worker that died is replaced, in seconds.
_PAUSE: Final = 1.0
_PR_SET_PDEATHSIG: Final = 1
_PASSED_ON: Final = beginning.SIGNALS

_log = structlog.get_logger()


def supervise(work: Callable[[str], None], chains: Sequence[str]) -> None:
    """Run ``work`` in a process of its own for each of ``chains``, until told to stop."""
    children: dict[int, str] = {}
    stopping = False

    def pass_on(number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = stopping or number != signal.SIGHUP
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def start(chain: str) -> None:
        # A signal waits until there is a process to pass it on to.
        signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
        pid = _fork(work, chain)
        children[pid] = chain
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
        if stopping:
            os.kill(pid, signal.SIGTERM)

    for number in _PASSED_ON:
        signal.signal(number, pass_on)
    for chain in chains:
        start(chain)
    while children:
        pid, status = os.wait()
        chain = children.pop(pid)
        if not stopping:
            _log.error(log.WORKER_DIED, pid=pid, chain=chain, status=os.waitstatus_to_exitcode(status))
            time.sleep(_PAUSE)
        if not stopping:
            start(chain)


def _end_with(supervisor: int) -> None:
    """Let this worker be told to end when its supervisor dies (prctl(2), PR_SET_PDEATHSIG): it would hold the site's port and its lock."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor:
        # It died before we asked.
        os._exit(0)


def _fork(work: Callable[[str], None], chain: str) -> int:
    """Called with these signals blocked: before it has handlers of its own a child would take its parent's for it, and go on."""
    supervisor = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    beginning.guard()
    _end_with(supervisor)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    code = 1
    try:
        work(chain)
        code = 0
    except ConfigurationError as error:
        _log.error(log.WORKER_REFUSED, chain=chain, faults=[str(fault) for fault in error.faults])
    except Exception:  # noqa: BLE001 - nobody else would say why this process ended
        _log.exception(log.UNEXPECTED, chain=chain)
    finally:
        os._exit(code)
