"""A partner on a real socket that misbehaves as scripted, message by message, and otherwise does what it should."""

import asyncio
import contextlib
import re
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from bus.endpoint import Response

#: The tests' documents are known by their subject.
NAMED = re.compile(rb"Subject>([\w.,:-]+)<")
FAULT = (
    '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><e:Fault>'
    "<faultcode>e:{}</faultcode><faultstring>because</faultstring></e:Fault></e:Body></e:Envelope>"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One HTTP request, read whole. ``name``: of the document in it, or ""."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    name: str


Well = Callable[[Asked], Awaitable[Response]]
Misbehaviour = Callable[["PartnerServer", Asked, asyncio.StreamWriter], Awaitable[None]]


async def _silent(server: "PartnerServer", _asked: Asked, _writer: asyncio.StreamWriter) -> None:
    await server.closing.wait()


async def _slowly(server: "PartnerServer", _asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 100000\r\n\r\n")
    while not server.closing.is_set():
        writer.write(b"<")
        await writer.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.closing.wait(), 0.02)


async def _cut_in_reply(_server: "PartnerServer", _asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 1000\r\n\r\n<half")
    await writer.drain()
    writer.transport.abort()


async def _cut_after_taking(server: "PartnerServer", asked: Asked, writer: asyncio.StreamWriter) -> None:
    await server.well(asked)
    writer.transport.abort()


async def _hang_up(_server: "PartnerServer", _asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _endless(server: "PartnerServer", _asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nConnection: close\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        while not server.closing.is_set():
            writer.write(b" " * (1 << 20))
            await writer.drain()


async def _no_http(_server: "PartnerServer", _asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n")
    await writer.drain()


def says(status: int, body: str = "", content_type: str = "text/html", **headers: str) -> Misbehaviour:
    """A fixed answer."""

    async def answer(_server: "PartnerServer", _asked: Asked, writer: asyncio.StreamWriter) -> None:
        named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        await reply(writer, Response(status, content_type, body.encode(), named))

    return answer


MISBEHAVIOURS: Mapping[str, Misbehaviour] = {
    "takes the request and never answers": _silent,
    "answers a byte at a time": _slowly,
    "cuts the line in mid-reply": _cut_in_reply,
    "takes it and cuts the line before the reply": _cut_after_taking,
    "hangs up": _hang_up,
    "answers without end": _endless,
    "speaks another protocol": _no_http,
    "502": says(502, "<html>Bad Gateway</html>"),
    "503, Retry-After: 7": says(503, "<html>", Retry_After="7"),
    "429, Retry-After: 7": says(429, "", Retry_After="7"),
    "503, Retry-After: nonsense": says(503, "", Retry_After="²"),
    "503, Retry-After: for ever": says(503, "", Retry_After="9" * 300),
    "HTML with 200": says(200, "<html><body>Hệ thống đang bảo trì</body></html>"),
    "nothing with 200": says(200, "", "text/xml"),
    "a login page elsewhere": says(302, "", Location="https://127.0.0.1:1/login"),
    "a SOAP fault with 200, theirs": says(200, FAULT.format("Server"), "text/xml"),
    "a SOAP fault with 500, theirs": says(500, FAULT.format("Server"), "text/xml"),
}


@dataclass
class PartnerServer:
    """``script``: by the document's name, how to misbehave each time it comes, then ``well`` for ever.

    ``asked``: every request; ``taken``: how often each document was answered well, and ``answered`` how.
    """

    well_asked: Well
    script: dict[str, list[str | Misbehaviour]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    taken: Counter[str] = field(default_factory=Counter)
    answered: dict[str, Response] = field(default_factory=dict)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    _server: asyncio.Server | None = None
    _tls: ssl.SSLContext | None = None

    async def open(self, tls: ssl.SSLContext | None = None) -> Self:
        """Listen; again on the same port after ``shut``."""
        self.closing.clear()
        self._tls = tls or self._tls
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def shut(self) -> None:
        """Stop listening and end what hangs."""
        self.closing.set()
        if self._server is not None:
            self._server.close()
            self._server = None

    def times(self, name: str) -> int:
        """How often a document has come."""
        return sum(asked.name == name for asked in self.asked)

    async def well(self, asked: Asked) -> Response:
        """Answer as a partner should."""
        response = await self.well_asked(asked)
        if asked.name:
            self.taken[asked.name] += 1
            self.answered[asked.name] = response
        return response

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            asked = await _read(reader)
            self.asked.append(asked)
            steps = self.script.get(asked.name) or []
            if steps:
                step = steps.pop(0)
                await (MISBEHAVIOURS[step] if isinstance(step, str) else step)(self, asked, writer)
            else:
                await reply(writer, await self.well(asked))
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    found = NAMED.search(body)
    return Asked(method, path, headers, body, found[1].decode() if found else "")


async def reply(writer: asyncio.StreamWriter, response: Response) -> None:
    """Write a response whole."""
    fixed = {"Content-Type": response.content_type, "Content-Length": str(len(response.body)), "Connection": "close"}
    headers = fixed | dict(response.headers)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {response.status} X\r\n{lines}\r\n".encode() + response.body)
    await writer.drain()
