"""The calling side of VXP: one system's account at a hub, one method an operation.

Raises what ``bus.vxp.check_reply`` makes of the hub's ErrorCode, and Deferred ``partner-unreachable`` (no answer), ``partner-busy``
(HTTP 429 or 5xx, with the hub's Retry-After) or ``partner-error`` (any other status, too large, or not JSON).
"""

import io
import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from bus import vxp
from bus.errors import Deferred
from bus.octets import Body, joined, streamed
from bus.offload import offload
from bus.resolver import Resolver
from bus.retry import retry_after
from bus.site import Clock

#: Larger replies are not read on: the base64 of the largest message (``bus.message.MOST``), and some room.
_MOST_FILE: Final = 144 << 20
_MOST_LIST: Final = 20 << 20
#: The SDK's own upper bound for client.max-connection.
_MOST_CONNECTIONS: Final = 10


@dataclass(frozen=True, slots=True)
class Account:
    """Who calls which hub. ``anchors`` (DER) replace the system's TLS authorities where there are any."""

    url: str
    system: str
    secret: str = field(repr=False)
    service_type: str = "eDoc"
    hash_form: vxp.HashForm = "sdk"
    timeout: timedelta = timedelta(seconds=60)
    anchors: Sequence[bytes] = ()


class Client:
    """One account at a hub. Every method is one request, and raises Rejected or Deferred for anything but success."""

    def __init__(self, account: Account, *, name: str, clock: Clock) -> None:
        """``name`` stands for the hub in reasons."""
        self.account = account
        self._name = name
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def send(self, data: Body, message_type: str, sender: str, receivers: Sequence[str]) -> bytes:
        """Hand a file to the hub for ``receivers`` (none: the hub reads the To elements); the hub's reply, which holds its DocId."""
        parameters = {
            "servicetype": self.account.service_type,
            "messagetype": message_type,
            "hash-file": await offload(len(data), vxp.file_hash, data, self.account.hash_form),
            "from": sender,
        }
        if receivers:
            parameters["to"] = json.dumps(list(receivers), separators=(",", ":"))
        reply = await self._post("sendEdoc", parameters, joined(data, vxp.LINE_END), content_type=vxp.FILE)
        vxp.check_reply(vxp.read_reply(reply, self._name), self._name, receivers)
        return reply

    async def received(self, message_type: str) -> list[str]:
        """The docIds that wait for us, documents or statuses, in the hub's order."""
        answer = await self._ask("getReceivedEdocList", self._kind(message_type))
        return vxp.document_ids(answer, self._name)

    async def fetch(self, doc_id: str) -> Body:
        """The file with that docId."""
        reply = await self._post("getEdoc", {"docId": doc_id}, b"{}", most=_MOST_FILE)
        return await offload(len(reply), vxp.document, reply, self._name)

    async def update_status(self, doc_id: str, status: str, description: str = "") -> None:
        """Tell the hub what became of a file: processing, done or fail. Done and fail end its stay in the list."""
        described = {"description": vxp.ascii_text(description)} if description else {}
        await self._ask("updateStatus", {"docid": doc_id, "status": status, **described}, b"{}")

    async def sent(self, message_type: str, doc_id: str) -> list[dict[str, str]]:
        """What the hub knows of a file we sent, one entry a receiver."""
        answer = await self._ask("getSentEdocList", {**self._kind(message_type), "docId": doc_id})
        return [entry for entry in answer.get("data") or () if isinstance(entry, dict)]

    async def agencies(self) -> list[dict[str, str]]:
        """The hub's address book."""
        answer = await self._ask("getAgenciesList", {}, most=_MOST_FILE)
        return [entry for entry in answer.get("data") or () if isinstance(entry, dict)]

    async def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _kind(self, message_type: str) -> dict[str, str]:
        return {"servicetype": self.account.service_type, "messagetype": message_type}

    async def _ask(self, operation: str, parameters: Mapping[str, str], body: bytes = b"", most: int = _MOST_LIST) -> Mapping[str, Any]:
        reply = await self._post(operation, parameters, body, most=most)
        answer = await offload(len(reply), vxp.read_reply, reply, self._name)
        vxp.check_reply(answer, self._name)
        return answer

    async def _post(
        self, operation: str, parameters: Mapping[str, str], body: Body, *, content_type: str = vxp.JSON, most: int = _MOST_LIST
    ) -> bytes:
        signed = {
            "systemid": self.account.system,
            **parameters,
            "timestamp": vxp.timestamp(self._clock()),
            "Content-Type": content_type,
        }
        headers = {**vxp.signed_headers(signed, self.account.secret), "Content-Length": str(len(body))}
        sent = body if isinstance(body, bytes) else streamed(body)
        address = f"{self.account.url.rstrip('/')}/{operation}"
        try:
            async with self._connected().post(address, data=sent, headers=headers, allow_redirects=False) as response:
                self._refuse_http_failure(response)
                return await self._bounded(response, most)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Deferred("partner-unreachable", target=self._name, detail=f"{type(error).__name__} {error}".strip()) from error

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=Resolver(), limit=_MOST_CONNECTIONS, ssl=self._tls() if self.account.anchors else True
            )
            timeout = aiohttp.ClientTimeout(total=self.account.timeout.total_seconds())
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=timeout,
                # A reply is what came, and no larger than what came; and a hub is not given a place to keep things with us.
                auto_decompress=False,
                headers={"Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata="".join(ssl.DER_cert_to_PEM_cert(anchor) for anchor in self.account.anchors))
        # A pinned leaf certificate is an anchor as well; Python 3.13 has this by default.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context

    def _refuse_http_failure(self, response: aiohttp.ClientResponse) -> None:
        status = response.status
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            wish = retry_after(response.headers.get("Retry-After", ""), self._clock())
            raise Deferred("partner-busy", target=self._name, status=status, retry_after=wish)
        if status != HTTPStatus.OK:
            raise Deferred("partner-error", target=self._name, detail=f"HTTP {status}")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Deferred("partner-error", target=self._name, detail="a compressed reply, which was not asked for")

    async def _bounded(self, response: aiohttp.ClientResponse, most: int) -> bytes:
        held = io.BytesIO()
        async for chunk in response.content.iter_chunked(1 << 16):
            held.write(chunk)
            if held.tell() > most:
                raise Deferred("partner-error", target=self._name, detail=f"more than {most} bytes")
        return held.getvalue()
