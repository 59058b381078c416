"""The Government Office's own desk: a document management system that speaks VXP to its hub, as any ministry's or province's does.

It is what a demo and a test put at the far end of the national exchange, and an example for those who write such a system: send and
keep the DocId; list, fetch, keep, and only then confirm; then owe the sender the statuses 01 and 03. Raises Rejected and Deferred.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Self

from adapters.vxp import Account, Client
from bus import edxml
from bus.edxml.model import STATUS_CODES, VIETNAM, Organ, ResponseFor, StaffInfo, StatusHeader, StatusMessage
from bus.octets import whole
from bus.site import Clock

CODE = "000.00.00.G22"
NAME = "Văn phòng Chính phủ"
DOCUMENTS, STATUSES = "edoc", "status"


@dataclass(frozen=True, slots=True)
class Letter:
    """Something that waits, or waited, at the hub: ``doc_id`` is the hub's id, ``kind`` DOCUMENTS or STATUSES."""

    doc_id: str
    kind: str
    body: bytes

    @property
    def content(self) -> edxml.Document | edxml.StatusMessage:
        """What it says."""
        return edxml.read(edxml.parse(self.body))


#: Stores a letter durably before it returns, or raises: only what was kept is confirmed.
Keep = Callable[[Letter], Awaitable[None]]


class Desk:
    """The desk. Use as ``async with Desk(...) as desk``."""

    def __init__(self, url: str, secret: str, clock: Clock, *, code: str = CODE, name: str = NAME, anchors: Sequence[bytes] = ()) -> None:
        """``url`` is the hub's without the operation, such as ``http://127.0.0.1:8080/vxp/exchange``; ``anchors`` (DER) for its TLS."""
        self._client = Client(Account(url, code, secret, anchors=anchors), name="hub", clock=clock)
        self._clock = clock
        self._organ = Organ(organ_id=code, organization_in_charge=name, organ_name=name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_failure: object) -> None:
        await self._client.close()

    async def send(self, body: bytes, receivers: Sequence[str] = (), kind: str = DOCUMENTS) -> str:
        """Hand edXML to the hub for ``receivers`` (none: its To elements); the hub's DocId. Again after a failure: the same DocId."""
        reply = await self._client.send(body, kind, self._organ.organ_id, receivers)
        return str(json.loads(reply)["DocId"])

    async def outcome(self, doc_id: str, kind: str = DOCUMENTS) -> list[dict[str, str]]:
        """What became of something sent: one entry a receiver, with receiveStatus initial, processing, done or fail."""
        return await self._client.sent(kind, doc_id)

    async def waiting(self) -> AsyncIterator[Letter]:
        """What waits now, documents first, each fetched when its turn comes and still unconfirmed."""
        for kind in (DOCUMENTS, STATUSES):
            for doc_id in await self._client.received(kind):
                yield Letter(doc_id, kind, whole(await self._client.fetch(doc_id)))

    async def confirm(self, letter: Letter) -> None:
        """It is safe with us: the hub takes it off the list."""
        await self._client.update_status(letter.doc_id, "done")

    async def decline(self, letter: Letter, reason: str) -> None:
        """It can never be taken: the hub takes it off the list, and tells its sender why."""
        await self._client.update_status(letter.doc_id, "fail", reason)

    async def collect(self, keep: Keep) -> int:
        """One round of receiving: keep each letter, confirm it, and report to a document's sender that it has come; how many there were."""
        count = 0
        async for letter in self.waiting():
            await keep(letter)
            await self.confirm(letter)
            if letter.kind == DOCUMENTS:
                await self.report(letter, "01")
            count += 1
        return count

    async def report(self, letter: Letter, code: str, description: str = "") -> str:
        """Tell a document's sender how far we are with it (STATUS_CODES, such as 03, Đã tiếp nhận); the status's DocId."""
        document = letter.content
        if not isinstance(document, edxml.Document):
            raise TypeError("a status is not reported upon")
        header = document.header
        about = ResponseFor(header.sender.organ_id, str(header.code), header.document_id, header.promulgation_info.promulgation_date)
        status = StatusHeader(
            sender=self._organ,
            response_for=about,
            staff=(StaffInfo(department="Văn thư"),),
            status_code=code,
            description=description or STATUS_CODES[code],
            timestamp=self._clock().astimezone(VIETNAM),
        )
        return await self.send(edxml.write_status(StatusMessage(status)), [header.sender.organ_id], STATUSES)
