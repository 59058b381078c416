"""The partner agency of the crash suite: a SOAP service that records each effect by the message's id, and is as awkward as partners are.

What it does with a document follows from the last digit of the document's number, so that a repeated call meets the same answer.
"""

import base64
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web
from lxml import etree

from bus import edxml, soap
from bus.errors import Rejected
from bus.evidence import Evidence
from bus.ids import uuid7
from bus.receipt import Receipt, Status
from bus.signature import wss
from sandbox.documents import MINISTRY, PARTNER_AGENCY
from sandbox.unit import read_signer

#: Last digits: refused until an operator sends it again; refused for ever; put off once. Any other: taken.
PARDONED, REFUSED, POSTPONED = "1", "2", "3"
_EXCHANGE = "{urn:govbus:exchange:v1}"


def _now() -> datetime:
    return datetime.now(UTC)


class Agency:
    """Listens at ``url``. ``arrived`` is told each new effect; ``orders`` keeps, by document, the codes of its statuses as they came."""

    def __init__(self, keys: Path, arrived: Callable[[str, bytes], None]) -> None:
        self.url = ""
        self.pardoned: set[str] = set()
        self.orders: dict[str, list[str]] = defaultdict(list)
        self.changed: list[str] = []
        self._evidence = Evidence(read_signer(keys), lambda _certificate: True, _now)
        self._arrived = arrived
        self._ids = uuid7(_now)
        self._effects: dict[str, bytes] = {}
        self._calls: Counter[str] = Counter()

    async def open(self) -> None:
        """Listen."""
        application = web.Application(client_max_size=64 << 20)
        application.router.add_post("/soap/documents", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/soap/documents"

    async def close(self) -> None:
        """Close the door."""
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        message_id, body = _read(await request.read())
        self._calls[message_id] += 1
        content = edxml.read(edxml.parse(body))
        if isinstance(content, edxml.Document) and message_id not in self._effects:
            about = content.header.document_id
            digit = content.header.code.code_number[-1]
            if digit == REFUSED or (digit == PARDONED and about not in self.pardoned):
                return self._refusal()
            if digit == POSTPONED and self._calls[message_id] == 1:
                return web.Response(status=503, text="Please come back later.", headers={"Retry-After": "0"})
        self._take(message_id, body, content)
        reply = b'<x:SendDocumentResponse xmlns:x="urn:govbus:exchange:v1">%b</x:SendDocumentResponse>'
        return self._signed(reply % self._receipt(message_id, body))

    def _take(self, message_id: str, body: bytes, content: object) -> None:
        known = self._effects.setdefault(message_id, body)
        if known is not body:
            if known != body:
                self.changed.append(f"the agency was sent {message_id} again with other octets")
            return
        if isinstance(content, edxml.StatusMessage):
            self.orders[content.header.response_for.document_id].append(content.header.status_code)
        self._arrived(PARTNER_AGENCY.code, body)

    def _receipt(self, message_id: str, body: bytes) -> bytes:
        receipt = Receipt(
            id=self._ids(),
            message_id=message_id,
            document_id="",
            sender=MINISTRY.code,
            recipient=PARTNER_AGENCY.code,
            status=Status.ACCEPTED,
            code="2.0.0",
            reasons={"vi": "Đã nhận.", "en": "Taken."},
            at=_now(),
            digest=hashlib.sha256(body).hexdigest(),
            previous="0" * 64,
        )
        return self._evidence.seal(receipt)

    def _refusal(self) -> web.Response:
        fault = soap.fault(soap.SOAP_11, Rejected("content-differs", message="refused by the agency"), "crash")
        return self._signed(fault, status=500)

    def _signed(self, payload: bytes, status: int = 200) -> web.Response:
        data = wss.sign(soap.envelope(soap.SOAP_11, payload), self._evidence.signer, _now())
        return web.Response(body=data, status=status, content_type="text/xml", charset="utf-8")


def _read(envelope: bytes) -> tuple[str, bytes]:
    """The message's id and its octets out of a SendDocument request."""
    [call] = etree.fromstring(envelope).iter(f"{_EXCHANGE}SendDocument")
    message_id, content, document = (call.find(f"{_EXCHANGE}{name}") for name in ("MessageId", "Content", "Document"))
    if content is not None:
        return message_id.text, base64.b64decode(content.text)
    return message_id.text, etree.tostring(document[0], method="c14n", exclusive=True, with_tail=False)
