"""Stamping: asks a time-stamping authority over HTTP, and keeps nothing of its answer but a token that holds.

Promise: the token is over these octets, answers this request, was made by an authority that we trust, and says a time that is ours too,
but for ``SKEW``. Answers are bounded in size and time, and no redirection is followed.

Raises Deferred: ``timestamp-unreachable`` (no answer, or no good one over HTTP), ``timestamp-refused``; Rejected ``timestamp-invalid``
for an answer that does not hold.

Standard: RFC 3161 section 3.4 (time-stamps over HTTP).
"""

import secrets
from datetime import timedelta

import aiohttp

from bus import timestamps
from bus.errors import Deferred
from bus.resolver import Resolver
from bus.site import Clock
from bus.timestamps import Authority, Stamp

#: Seconds that an authority may take.
PATIENCE = 15.0
#: Octets of an answer; a token with its certificates has some 6 kB.
MOST = 256 << 10
#: How far the authority's clock and ours may be apart: beyond it, one of them cannot be believed.
SKEW = timedelta(minutes=5)
_OK = 200


async def fetch(authority: Authority, octets: bytes, clock: Clock) -> tuple[bytes, Stamp]:
    """A token (CMS, DER) over ``octets``, made now, and what it proves."""
    nonce = secrets.randbits(timestamps.NONCE_BITS)
    token = timestamps.granted(await _asked(authority.url, timestamps.request(octets, nonce, authority.policy)))
    stamp = timestamps.verify(token, octets, authority.anchors, nonce=nonce, policy=authority.policy)
    now = clock()
    if abs(stamp.at - now) > SKEW:
        raise timestamps.invalid(f"it says {stamp.at.isoformat()}, and our clock {now.isoformat()}")
    return token, stamp


async def _asked(url: str, request: bytes) -> bytes:
    headers = {"Content-Type": "application/timestamp-query"}
    limit = aiohttp.ClientTimeout(total=PATIENCE)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Resolver()), timeout=limit) as session,
            session.post(url, data=request, headers=headers, allow_redirects=False) as answer,
        ):
            if answer.status != _OK:
                raise Deferred("timestamp-unreachable", url=url, detail=f"HTTP {answer.status}")
            return await _body(answer, url)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise Deferred("timestamp-unreachable", url=url, detail=str(error) or type(error).__name__) from error


async def _body(answer: aiohttp.ClientResponse, url: str) -> bytes:
    octets = bytearray()
    async for piece in answer.content.iter_any():
        octets += piece
        if len(octets) > MOST:
            raise Deferred("timestamp-unreachable", url=url, detail=f"more than {MOST} octets")
    return bytes(octets)
