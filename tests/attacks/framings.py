"""Attacks on HTTP itself: requests that two readers frame differently, and heads that no honest client writes.

Each carries a rightly signed envelope, so that a bus that is taken in would accept a document. RFC 9112 sections 2.2 (bare line ends), 2.3
(version), 3 (request line), 3.2 (Host), 5.1 and 5.2 (field names, obs-fold), 6.1 to 6.3 (framing), 7.1 (chunks).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

DOOR = b"/soap/documents"
HOST = b"Host: localhost\r\n"
TYPE = b"Content-Type: text/xml; charset=utf-8\r\n"
#: Closed without an answer.
CLOSED = 0
#: A SOAP fault, which must have a 5.6 or 5.7 code.
FAULT = 500


@dataclass(frozen=True, slots=True)
class Raw:
    """Octets for a socket, and the one answer to them: an HTTP status, or CLOSED."""

    kind: str
    name: str
    octets: bytes
    status: int


#: Makes a rightly signed request that was never sent before.
Fresh = Callable[[], bytes]


def post(*headers: bytes, target: bytes = DOOR, method: bytes = b"POST", version: bytes = b"HTTP/1.1") -> bytes:
    """A request's head, without the empty line."""
    return b"%b %b %b\r\n" % (method, target, version) + HOST + TYPE + b"".join(header + b"\r\n" for header in headers)


def _length(body: bytes) -> bytes:
    return b"Content-Length: %d" % len(body)


def chunked(body: bytes) -> bytes:
    """The body as one chunk and the last one."""
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


_CODINGS = {
    "identity": 400,
    "xchunked": 400,
    "chunked, identity": 400,
    "chunked, chunked": 400,
    "gzip, chunked": 501,
    "chunked, gzip": 400,
    "\x0bchunked": 400,
    "chunked\x00": 400,
    '"chunked"': 400,
    "chunked;q=1": 400,
    "": 400,
}


def framings(fresh: Fresh) -> Iterator[Raw]:
    """Two lengths, two codings, a length and a coding: with another signed request behind, for whoever reads it the other way."""

    def raw(name: str, status: int, head: bytes, body: bytes) -> Raw:
        behind = fresh()
        return Raw("framing", name, head + b"\r\n" + body + post(_length(behind)) + b"\r\n" + behind, status)

    for order in ("before", "after"):
        for length in ("right", "0", "5"):
            body = fresh()
            both = [b"Transfer-Encoding: chunked", b"Content-Length: " + {"right": b"%d" % len(chunked(body))}.get(length, length.encode())]
            yield raw(f"Content-Length {length} {order} a coding", 400, post(*(both if order == "after" else both[::-1])), chunked(body))
    for words, second in (("twice the same", 0), ("twice, one less", -1), ("twice, one more", 1), ("twice, 0", None)):
        body = fresh()
        other = b"0" if second is None else b"%d" % (len(body) + second)
        yield raw(f"Content-Length {words}", 400, post(_length(body), b"Content-Length: " + other), body)
    for words in ("+%d", "-%d", "0x%x", "%d, %d", "%d %d", "%d;", "%d.0", "%de0", "０%d", "1%022d", " ", "\t", '"%d"', "%d\x00"):
        body = fresh()
        text = words % ((len(body),) * words.count("%"))
        yield raw(f"Content-Length {words!r}", 400, post(b"Content-Length: " + text.encode()), body)
    for coding, status in _CODINGS.items():
        yield raw(f"Transfer-Encoding {coding!r}", status, post(b"Transfer-Encoding: " + coding.encode()), chunked(fresh()))
    for name in (b"Transfer-Encoding ", b" Transfer-Encoding", b"Transfer\x00-Encoding", b"Transfer-Encoding\t", b"Content-Length "):
        body = fresh()
        value = b": chunked" if b"T" in name else b": %d" % len(body)
        yield raw(f"the field name {name!r}", 400, post(name + value), chunked(body) if b"T" in name else body)
    twice = post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")
    yield raw("Transfer-Encoding twice", 400, twice, chunked(fresh()))
    yield raw("Transfer-Encoding in HTTP/1.0", 400, post(b"Transfer-Encoding: chunked", version=b"HTTP/1.0"), chunked(fresh()))


def chunks(fresh: Fresh) -> Iterator[Raw]:
    """Chunks whose sizes lie, or are written so that readers differ."""
    head = post(b"Transfer-Encoding: chunked") + b"\r\n"
    body = fresh()
    size = b"%x" % len(body)
    sizes = {
        "negative": b"-" + size,
        "with a sign": b"+" + size,
        "with 0x": b"0x" + size,
        "beyond 64 bits": b"f" * 17,
        "a blank before": b" " + size,
        "an underscore": size[:1] + b"_" + size[1:],
        "one too large": b"%x" % (len(body) + 1),
        "one too small": b"%x" % (len(body) - 1),
        "not hexadecimal": b"xyz",
        "empty": b"",
        "in full width": "１".encode(),
        "with an unended extension": size + b';a="\r\nb"',
        "with a NUL": size + b"\0",
    }
    for words, written in sizes.items():
        yield Raw("chunk", f"a size that is {words}", head + written + b"\r\n" + fresh() + b"\r\n0\r\n\r\n", 400)
    body = fresh()
    size = b"%x" % len(body)
    for words, octets in {
        "bare line feeds": size + b"\n" + body + b"\n0\n\n",
        "a carriage return alone": size + b"\r" + body + b"\r\n0\r\n\r\n",
        "no line end behind": size + b"\r\n" + body + b"0\r\n\r\n",
        "a trailer that frames again": size + b"\r\n" + body + b"\r\n0\r\nContent-Length: 3\r\n\r\n",
        "a trailer that is no field": size + b"\r\n" + body + b"\r\n0\r\nnothing\r\n\r\n",
    }.items():
        yield Raw("chunk", words, head + octets, 400)


def heads(fresh: Fresh) -> Iterator[Raw]:
    """Field names and values with what must not be in them; fields that are missing, doubled, folded, too many or too large."""

    def raw(name: str, head: bytes, status: int = 400) -> Raw:
        body = fresh()
        return Raw("head", name, head + _length(body) + b"\r\n\r\n" + body, status)

    for octet in (*range(0x21), *b'"(),/:;<=>?@[\\]{}', 0x7F, 0x80, 0xFF):
        if octet not in b"\r\n:":
            yield raw(f"octet {octet:#04x} in a field name", post(b"X-a" + bytes([octet]) + b"b: c"))
    for words, octets in {"NUL": b"\0", "a carriage return": b"\r", "a fold": b"\r\n ", "a tabbed fold": b"\r\n\t"}.items():
        for field in (b"X-a", b"SOAPAction", b"Content-Type"):
            yield raw(f"{words} in {field.decode()}", post(field + b": a" + octets + b"b"))
    for field in ("Host: other", "Content-Type: text/plain", "SOAPAction: a\r\nSOAPAction: b", "Expect: 100-continue\r\nExpect: x"):
        yield raw(f"two of {field.partition(':')[0]}", post(field.encode()))
    yield raw("no Host", post().replace(HOST, b""))
    yield raw("a blank before the first field", post().replace(HOST, b" " + HOST))
    yield raw("a line without a colon", post(b"nothing"))
    yield raw("no field name", post(b": nothing"))
    yield raw("bare line feeds", post().replace(b"\r\n", b"\n"))
    yield raw("Expect of something else", post(b"Expect: 200-ok"), 417)
    for coding in ("gzip", "deflate", "br", "zstd", "compress", "x-gzip", "gzip, gzip", "identity, gzip", "unknown"):
        yield raw(f"Content-Encoding {coding}", post(b"Content-Encoding: " + coding.encode()), 415)
    yield raw("two Content-Encodings", post(b"Content-Encoding: identity", b"Content-Encoding: gzip"))
    for words in ("websocket", "WebSocket", "h2c, websocket", "websocket/13, h2c"):
        yield raw(f"Upgrade to {words}", post(b"Connection: Upgrade", b"Upgrade: " + words.encode()))
    yield raw("a field of 2 MB", post(b"X-a: " + b"a" * (2 << 20)), CLOSED)
    yield raw("200,000 fields", post(*(b"X-%d: a" % number for number in range(200_000))))


def request_lines(fresh: Fresh) -> Iterator[Raw]:
    """Methods, targets and versions that are not ours."""

    def raw(name: str, status: int, **line: bytes) -> Raw:
        body = fresh()
        return Raw("request line", name, post(_length(body), **line) + b"\r\n" + body, status)

    for method in (b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"HEAD", b"PROPFIND", b"MKCOL", b"SEARCH", b"GET"):
        yield raw(f"method {method.decode()}", 405, method=method)
    for method in (b"post", b"Post", b"POSTS", b"JUNK", b"P\0ST", b"", b" POST", b"POST\t", b"CONNECT", b"PRI", b"RTSP", b"A" * 100_000):
        yield raw(f"method {method[:12]!r}", 400, method=method)
    for version in (b"HTTP/0.9", b"HTTP/2.0"):
        yield raw(f"version {version!r}", 505, version=version)
    for version in (
        b"HTTP/1.2",
        b"HTTP/3.0",
        b"HTTP/9.9",
        b"http/1.1",
        b"HTTP/1.1.1",
        b"HTTP/1,1",
        b"HTTP/11",
        b"HTTPS/1.1",
        b"HTTP/1.1 x",
    ):
        yield raw(f"version {version!r}", 400, version=version)
    for target in (
        "/soap/documents/",
        "/soap/documents/x",
        "/soap/documents/..",
        "/soap/../soap/documents",
        "/soap/./documents",
        "/soap/%2e%2e/soap/documents",
        "//soap/documents",
        "/soap//documents",
        "/SOAP/documents",
        "/soap/documents%00",
        "/soap/documents%20",
        "/soap/documents;a=b",
        "/soap%2fdocuments",
        "/soap/documents%2f",
        "/soap/%64ocuments",
        "/soap\\documents",
        "/soap/documents%0d%0aX:%20y",
        "/soap/documents%ff",
        "/soap/documents%c0%af",
        "/soap/documents%zz",
        "/soap/documents%",
        "/soap/ｄocuments",
        "/soap/nobody",
        "/",
        "/.",
        "/routes.yaml",
        "/../site.env",
        "/certs/own/bus.key",
        "/vxp",
        "/metrics",
        "/healthz",
        "*",
    ):
        octets = target.encode()
        status = 400 if not target.isascii() else 404
        yield raw(f"target {target}", status, target=octets)
    for target in ("soap/documents", "/soap/\x00", "/soap/\x7f", "/soap/doc uments", "/" + "a" * 70_000, "", "/soap/\tdocuments"):
        yield raw(f"target {target[:20]!r}", 400, target=target.encode())


def noise(_fresh: Fresh) -> Iterator[Raw]:
    """What is no HTTP at all."""
    for words, octets in {
        "every octet": bytes(range(256)) * 16,
        "the HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
        "a TLS hello": bytes.fromhex("16030100f8010000f40303") + bytes(245),
        "an SSH greeting": b"SSH-2.0-OpenSSH_9.2p1\r\n",
        "an SMTP greeting": b"EHLO localhost\r\n",
        "an AMQP greeting": b"AMQP\x00\x00\x09\x01\r\n\r\n",
        "a PROXY line": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        "a reply": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "XML": b"<?xml version='1.0'?><a/>\r\n\r\n",
        "a megabyte of zeros": bytes(1 << 20),
        "a megabyte of letters": b"A" * (1 << 20),
    }.items():
        yield Raw("noise", words, octets, 400)


KINDS: dict[str, Callable[[Fresh], Iterator[Raw]]] = {
    "framing": framings,
    "chunk": chunks,
    "head": heads,
    "request line": request_lines,
    "noise": noise,
}
#: Cases of each kind, at least.
LEAST = {"framing": 42, "chunk": 18, "head": 88, "request line": 72, "noise": 11}

#: Host headers that must not come back in an address.
HOSTS = (
    'evil"/><x>',
    "evil'onload='x",
    "evil<x>",
    "evil&x",
    "evil x",
    "evil/path",
    "evil?x",
    "evil#x",
    "evil@localhost",
    "user:evil@localhost",
    "evil:port",
    "evil:123456",
    "[evil]",
    "evil\\x",
    "evil%0d%0ax",
    "\u0435vil",
    "evil" + "l" * 100_000 + "<",
)
#: Queries that name no schema of the contract.
QUERIES = (
    "xsd=../../routes.yaml",
    "xsd=../../../site.env",
    "xsd=/etc/passwd",
    "xsd=file:///etc/passwd",
    "xsd=http://127.0.0.1:9/",
    "xsd=..%2f..%2fsite.env",
    "xsd=%00",
    "xsd=exchange.xsd%00",
    "xsd=.",
    "xsd=",
    "xsd",
    "xsd=" + "a" * 50_000,
    "xsd=<x>",
    "XSD=*",
    "a=" * 5_000,
    "&" * 50_000,
    "%",
    "wsd",
)
