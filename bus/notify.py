"""The word to the service manager that started us: sd_notify(3)'s datagram, where ``NOTIFY_SOCKET`` names a socket; else nothing.

A service of ``Type=notify`` counts as started, and is sent SIGHUP, from ``READY=1`` on. Workers tell together: the last that is ready
tells for all. A manager that does not listen changes nothing for us.
"""

import contextlib
import mmap
import socket
from collections.abc import Mapping

READY = "READY=1"


def tell(environment: Mapping[str, str], state: str) -> None:
    """Send ``state``; a name that begins with ``@`` is one of the abstract namespace (unix(7))."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    # The manager's queue may be full, or the manager gone.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.settimeout(1.0)
        told.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)


class Quorum:
    """Which of the processes forked from this one are ready: a byte each, in memory that they share."""

    def __init__(self, members: int) -> None:
        self._ready = mmap.mmap(-1, members)

    def join(self, member: int) -> bool:
        """Member ``member`` is ready; whether all of them are."""
        self._ready[member] = 1
        return all(self._ready[:])
