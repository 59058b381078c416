"""Resolver: hosts looked up for aiohttp, in threads of their own, of which one host holds two at most.

An event loop's own look-ups share four threads (uvloop) or the default executor: the name servers of one partner that do not answer would
keep every other partner's calls waiting. With an ``Outside``, a name leads nowhere that the site does not allow; it is asked again for
each connection, so what it led to a moment ago decides nothing.
"""

import socket
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from bus.errors import Deferred
from bus.offload import Pool, acting_for
from bus.outside import Outside

#: Look-ups under way. A system's resolver gives up after some ten seconds.
NAMES = Pool("names", 16, share=2, line=512, each=64, patience=20.0)


class Resolver(AbstractResolver):
    """The look-ups of one session."""

    def __init__(self, outside: Outside | None = None) -> None:
        """``outside``: where names may lead; anywhere without."""
        self._outside = outside

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """The addresses of ``host``. Raises OSError, also where one of them is none that may be called."""
        try:
            # Its owner is the host, whoever wants to know: one whose name servers say nothing keeps no other waiting.
            with acting_for(f"host {host}"):
                found = await NAMES.run(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        except Deferred as error:
            raise OSError("too many look-ups are under way") from error
        if self._outside is not None and not all(self._outside.admits(str(where[0])) for *_, where in found):
            raise OSError(f"{host} leads to an address that is not public, and no network that is allowed")
        return [_result(host, *one) for one in found]

    async def close(self) -> None:
        """Nothing is held."""


def _result(host: str, family: int, _kind: int, protocol: int, _name: str, where: Any) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=str(where[0]),
        port=int(where[1]),
        family=family,
        proto=protocol,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
