"""The operators' listener: ``/metrics``, the whole ``/readyz`` and ``/healthz``, over plain HTTP, at an address of its own.

The partners' door says of itself only whether it is well. What names partners, certificates and backlogs is served here, on loopback unless
the operator says otherwise; who opens it to a network puts what he wants to guard it with in front of it.
"""

import errno
import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final

#: Where it listens when nothing is said: a port that is taken is no reason then not to start.
USUAL: Final = "127.0.0.1:8451"
OFF: Final = "off"

_WRITTEN: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9.\-]+)):(?P<port>\d{1,5})")


class NoAddress(ValueError):
    """What was written is no address; the text says how one is written."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0 takes a free one."""

    host: str
    port: int

    @classmethod
    def read(cls, written: str) -> "Address | None":
        """``HOST:PORT``, ``[::1]:PORT``, or ``off`` for None. Raises NoAddress."""
        if written == OFF:
            return None
        found = _WRITTEN.fullmatch(written)
        if found is None or int(found["port"]) > 0xFFFF:  # noqa: PLR2004 - the last port there is
            raise NoAddress(f"{written!r} is no address: write HOST:PORT, [IPV6]:PORT, or {OFF}")
        return cls(found["six"] or found["host"], int(found["port"]))

    @property
    def guarded(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_taken(error: BaseException | None) -> bool:
    """Whether somebody else listens there."""
    return isinstance(error, OSError) and error.errno == errno.EADDRINUSE


def url(listener: socket.socket, scheme: str = "http") -> str:
    """The address of a listening socket, as it is typed."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://{Address(host, port)}"
