"""Sources: whose a connection is before anybody is identified, and what the heads of requests hold together.

Promise: the heads of one process hold MOST_HEADS octets at most, and those of one source MOST_HEADS_EACH, but for heads of up to
SMALL_HEAD: those are taken in any case, and bounded by the number of connections.
"""

import ipaddress
from collections import Counter

#: Header fields of a request. Each costs some hundred octets of memory, however short it is.
MOST_FIELDS = 128
#: Octets of all heads in one process together, and of one source's; a head of up to SMALL_HEAD is taken in any case.
MOST_HEADS = 64 << 20
MOST_HEADS_EACH = 32 << 20
SMALL_HEAD = 16 << 10


def source_of(address: str) -> str:
    """Whose an address is: itself, and of IPv6 the network, because everybody has many of those."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    return str(known.ipv4_mapped or ipaddress.ip_network((known, 64), strict=False))


class Heads:
    """Octets of heads in hand."""

    def __init__(self) -> None:
        self._each: Counter[str] = Counter()

    def fits(self, source: str, before: int, octets: int) -> bool:
        """Count ``octets`` of a head of which ``before`` were counted already. Whether it may go on: large ones have an end."""
        self._each[source] += octets - before
        if not self._each[source]:
            del self._each[source]
        return octets <= SMALL_HEAD or (self._each.total() <= MOST_HEADS and self._each[source] <= MOST_HEADS_EACH)


#: Those of this process.
HEADS = Heads()
