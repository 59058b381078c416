"""Outside addresses: whether one that somebody else wrote may be called (SSRF).

A certificate, a contract or a document names addresses; whoever wrote it would have us knock at doors that only we can reach. So the site
says which hosts may be called, and what they lead to must be public, unless the site names that network as well.

Promise: ``Outside.check`` passes an address only if it is http or https, without credentials, of a host in ``hosts``, written one way only;
``Outside.admits`` passes an IP address only if it is public, or lies in ``networks``. A name is looked up when it is called, and each of
the addresses that it leads to is held to ``admits`` then (``bus.resolver``): what it led to before decides nothing. No redirection is ever
followed: the address it names would have to pass ``check`` itself.

Raises ``Forbidden``, whose text says why; it is for the site's log, and not for whoever wrote the address.

Standards: RFC 3986 section 3.2 (authority); RFC 6890 (special-purpose addresses); RFC 4291 section 2.5.5, RFC 6052, RFC 3056 (IPv4 in
IPv6).
"""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")


class Forbidden(Exception):
    """An address that may not be called."""


@dataclass(frozen=True, slots=True)
class Outside:
    """Where a site's calls may go. ``hosts``: names and IP addresses in lower case; ``networks``: those that need not be public."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
        """From entries as routes.yaml has them: names, IP addresses, networks (``10.1.0.0/16``). Raises ValueError.

        An IP address, and ``localhost``, are networks of their own: who writes them knows where they are.
        """
        hosts, networks = set[str](), list[Network]()
        for entry in entries:
            host = _plain(entry)
            if "/" in host:
                networks.append(ipaddress.ip_network(host))
                continue
            if host == "localhost":
                networks += [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1")]
            elif (literal := _literal(host)) is not None:
                networks.append(ipaddress.ip_network(literal))
                host = str(literal)
            elif not host or set(host) & set(" :@?#\\[]") or _ambiguous(host):
                raise ValueError(f"{entry!r} is neither a host's name, an IP address nor a network, such as ocsp.example or 10.1.0.0/16")
            hosts.add(host)
        return cls(frozenset(hosts), tuple(networks))

    def check(self, url: str) -> None:
        """Raises Forbidden for an address that may not be called, whatever its host leads to."""
        try:
            parts = urlsplit(url)
            host, _port = _plain(parts.hostname or ""), parts.port
        except ValueError:
            raise Forbidden("it cannot be read") from None
        if parts.scheme not in {"http", "https"}:
            raise Forbidden("neither http:// nor https://")
        if not host or "@" in parts.netloc or "\\" in url or " " in url or not (url.isascii() and url.isprintable()):
            raise Forbidden("not a plain address of a host")
        literal = _literal(host)
        if literal is None and _ambiguous(host):
            raise Forbidden(f"{host} is an IP address in a form that readers differ about")
        if literal is not None and not self.admits(str(literal)):
            raise Forbidden(f"{host} is not public, and no network that is allowed")
        if (str(literal) if literal else host) not in self.hosts and not (literal and self._listed(literal)):
            raise Forbidden(f"{host} is not among the hosts that may be asked")

    def admits(self, address: str) -> bool:
        """Whether a host may be at this IP address."""
        literal = _literal(address.partition("%")[0])
        return literal is not None and (self._listed(literal) or _public(literal))

    def _listed(self, literal: Address) -> bool:
        return any(literal in network for network in self.networks)


def _plain(host: str) -> str:
    return host.strip().lower().rstrip(".").strip("[]")


def _literal(host: str) -> Address | None:
    """The IP address that ``host`` is, IPv4 in IPv6 as the IPv4 that it leads to; None for a name."""
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return None
    return literal if isinstance(literal, ipaddress.IPv4Address) else _inner(literal) or literal


def _inner(literal: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if literal.ipv4_mapped or literal.sixtofour:
        return literal.ipv4_mapped or literal.sixtofour
    if literal in _NAT64 or (literal in _COMPATIBLE and int(literal) > 1):
        return ipaddress.IPv4Address(int(literal) & 0xFFFFFFFF)
    return literal.teredo[1] if literal.teredo else None


def _public(literal: Address) -> bool:
    return literal.is_global and not literal.is_multicast and not literal.is_reserved


def _ambiguous(host: str) -> bool:
    """Whether the system's resolver takes it for an IPv4 address though it is not written as one: 127.1, 0x7f000001, 2130706433."""
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True
