"""The first moment of a process: signals that come before anybody is there to handle them, and descriptors that were closed before it.

Until the daemon's own handlers stand (``Daemon.run``, ``workers.supervise``) SIGHUP is remembered instead of deadly, and the files are
read again once more; SIGTERM and SIGINT end the process at once and well, since nothing has been promised to anybody yet. From its last
moment on (``deafen``) none of them changes what comes out. This module is imported before all others and imports next to nothing.
"""

import os
import signal
import sys

#: What a daemon is told by.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_hung_up = False


def guard() -> None:
    """Take the signals of a daemon that is starting."""
    signal.signal(signal.SIGHUP, _remember)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _remember(_number: int, _frame: object) -> None:
    global _hung_up  # noqa: PLW0603 - a signal has nowhere else to put its word
    _hung_up = True


def _end(_number: int, _frame: object) -> None:
    # Not SystemExit: an import half-way or a thread that waits would hold it up, and what a kill leaves every start can go on from.
    os._exit(0)


def reading() -> None:
    """The site's files are about to be read: what was asked until now is thereby done."""
    global _hung_up  # noqa: PLW0603
    _hung_up = False


def hung_up() -> bool:
    """Whether SIGHUP came since the files were read, before the daemon's own handler stood."""
    return _hung_up


def deafen() -> None:
    """The process ends: signals that come now find nothing to do."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def open_descriptors() -> None:
    """Standard input, output and error, each of them there: else the next file that is opened gets its number, and the log its content."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is the one that is missing.
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
