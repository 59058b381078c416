"""Offers of another protocol on a connection: passed over, as HTTP allows, so that the request is answered in HTTP/1.1.

Java's HttpClient and ``curl --http2`` offer ``h2c`` with every request over plain HTTP. llhttp, the parser under uvicorn, reads no body
behind such an offer: it takes what follows the head for the other protocol. ``without_offer`` writes the head again as if nothing had been
offered, for another parser to begin with. Nothing that decides how long the request is, or where it goes, is changed.

``is_refused`` tells the two wishes that no answer in HTTP/1.1 would serve: a tunnel, and a WebSocket. Raises nothing.

Standards: RFC 9110 sections 7.6.1 (Connection), 7.8 (Upgrade: "A server MAY ignore a received Upgrade header field"), 9.3.6 (CONNECT);
RFC 7540 section 3.2 (h2c), obsolete since RFC 9113.
"""

from collections.abc import Iterable, Sequence

#: Fields that make the offer.
_OFFER = frozenset({b"upgrade", b"http2-settings"})

Headers = Sequence[tuple[bytes, bytes]]


def is_refused(method: bytes, headers: Headers) -> bool:
    """Whether the request is CONNECT, or offers a WebSocket. ``headers``: (name in lower case, value)."""
    return method == b"CONNECT" or any(offer.partition(b"/")[0] == b"websocket" for offer in _tokens(headers, b"upgrade"))


def without_offer(method: bytes, target: bytes, version: str, headers: Headers) -> bytes:
    """The request's head without the offer; every other field as it came."""
    line = b"%b %b HTTP/%b" % (method, target, version.encode("ascii"))
    fields = [b"%b: %b" % field for field in _kept(headers)]
    return b"\r\n".join((line, *fields, b"", b""))


def _kept(headers: Headers) -> Iterable[tuple[bytes, bytes]]:
    for name, value in headers:
        if name == b"connection":
            # Its other words stay: `close` is among them.
            yield name, b", ".join(word for word in _words(value) if word.lower() not in _OFFER)
        elif name not in _OFFER:
            yield name, value


def _tokens(headers: Headers, name: bytes) -> Iterable[bytes]:
    return (word.lower() for field, value in headers if field == name for word in _words(value))


def _words(value: bytes) -> Iterable[bytes]:
    return (word.strip(b" \t") for word in value.split(b","))
