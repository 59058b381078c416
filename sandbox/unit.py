"""A unit's document-management system, as a client of the bus: the integrator's example, used by the demo and the tests as well.

It holds one signing key, trusts one directory of the bus's certificates, and speaks the six operations of ``urn:govbus:exchange:v1``::

    async with Unit.connect("https://bus.example:8443", "000.00.01.G14", keys=Path("keys"), trust=Path("bus-certificates")) as unit:
        receipt = await unit.send(Path("1234.edxml").read_bytes(), message_id="vt-2026-000123")
        for entry in await unit.pending():
            document = await unit.fetch(entry.message_id)
            ...                                                     # store document.body for good, and only then:
            await unit.confirm(entry.message_id)

Every request is signed, every reply's signature verified, every receipt's own signature too. Sending again with the same id and content
is always safe, and is the cure for every Deferred. Raises Rejected (do not send again unchanged) or Deferred (send again later).
"""

from datetime import UTC, date, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from lxml import etree

from adapters.soap import payloads
from adapters.soap.client import Client, Identity
from bus import evidence
from bus.endpoint import Fetched, Pending
from bus.errors import Deferred
from bus.keys import Keyring
from bus.octets import Body, digest
from bus.organisations import Organisation
from bus.receipt import Receipt
from bus.signature import xades
from bus.signer import Signer, SoftKey
from bus.site import Clock
from bus.soap import Envelope

_BUS = "bus"


def _now() -> datetime:
    return datetime.now(UTC)


def read_signer(keys: Path, name: str = "system") -> Signer:
    """The signing key in ``<name>.key`` with its certificate in ``<name>.crt`` (PEM)."""
    key = serialization.load_pem_private_key((keys / f"{name}.key").read_bytes(), None)
    certificate = x509.load_pem_x509_certificate((keys / f"{name}.crt").read_bytes())
    return Signer(name, SoftKey(key), certificate)  # type: ignore[arg-type]


class Unit:
    """One unit's connection to the bus; an asynchronous context manager."""

    def __init__(self, organ: str, *, documents: Client, inbox: Client, keyring: Keyring, clock: Clock) -> None:
        self.organ = organ
        self._documents = documents
        self._inbox = inbox
        self._keyring = keyring
        self._clock = clock

    @classmethod
    def connect(
        cls,
        url: str,
        organ: str,
        *,
        keys: Path,
        trust: Path,
        clock: Clock = _now,
        documents: str = "/soap/documents",
        inbox: str = "/soap/inbox",
    ) -> Self:
        """A unit with the organisation code ``organ``; ``keys`` holds its system.key and system.crt, ``trust`` the bus's certificates."""
        keyring = Keyring.load(trust, {_BUS: "."})
        identity = Identity(target=_BUS, partner=_BUS, identify=keyring.identify, signer=read_signer(keys), anchors=keyring.anchors(_BUS))
        to_documents, to_inbox = (Client(url.rstrip("/") + path, identity, clock=clock) for path in (documents, inbox))
        return cls(organ, documents=to_documents, inbox=to_inbox, keyring=keyring, clock=clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._documents.close()
        await self._inbox.close()

    async def send(self, edxml: bytes, message_id: str = "", *, mtom: bool = False) -> Receipt:
        """Hand an ``.edxml`` file to the bus; with ``mtom`` as an attachment, else as base64. The receipt says that it is on disk there."""
        payload = payloads.send_content(message_id, edxml)
        reply = await self._call(self._documents, "SendDocument", payload, edxml if mtom else b"")
        return self._receipts(reply.payload)[0]

    async def send_inline(self, document: bytes, message_id: str = "") -> Receipt:
        """Hand over an edXML element inside the envelope. ``document``: UTF-8 and without an XML declaration."""
        before, after = payloads.send_document(message_id)
        return self._receipts((await self._call(self._documents, "SendDocument", before + document + after)).payload)[0]

    async def pending(self, most: int = 100) -> list[Pending]:
        """What waits for this unit, oldest first."""
        payload = payloads.request("GetPendingDocumentIds", OrganId=self.organ, Max=str(most))
        return payloads.pending((await self._call(self._inbox, "GetPendingDocumentIds", payload)).payload)

    async def fetch(self, message_id: str) -> Fetched:
        """One message of the mailbox, its digest checked. It stays there until it is confirmed."""
        reply = await self._call(self._inbox, "GetDocument", payloads.request("GetDocument", MessageId=message_id))
        fetched = payloads.fetched(reply.payload, reply.hollow, message_id)
        if digest(fetched.body).hex() != fetched.digest:
            raise Deferred("partner-error", target=_BUS, detail="the content does not have the digest stated")
        return fetched

    async def confirm(self, message_id: str, refused: str = "") -> Receipt:
        """Say that a message was taken over for good; or, with the reason ``refused``, that it never will be."""
        payload = payloads.request("ConfirmReceived", MessageId=message_id, Status="fail" if refused else "done", Reason=refused)
        return self._receipts((await self._call(self._inbox, "ConfirmReceived", payload)).payload)[0]

    async def receipts(self, message_id: str) -> list[Receipt]:
        """All that the bus has stated about a message, oldest first."""
        payload = payloads.request("GetReceipts", MessageId=message_id)
        return self._receipts((await self._call(self._inbox, "GetReceipts", payload)).payload)

    async def organisations(self, changed_since: date | None = None) -> list[Organisation]:
        """The code book, or what of it changed since a day."""
        payload = payloads.request("GetOrganizations", ChangedSince=changed_since.isoformat() if changed_since else "")
        return payloads.organisations((await self._call(self._inbox, "GetOrganizations", payload)).payload)

    def read_receipt(self, xml: bytes) -> Receipt:
        """A receipt as signed XML (a mailbox message of kind ``receipt``, say), proved to be the bus's."""
        return evidence.parse(xades.verify(xml, lambda certificate: self._keyring.identify(certificate, self._clock())).octets)

    def _receipts(self, reply: etree._Element) -> list[Receipt]:
        return [self.read_receipt(octets) for octets in payloads.receipts(reply)]

    @staticmethod
    async def _call(client: Client, operation: str, payload: Body, attachment: bytes = b"") -> Envelope:
        return (await client.call(payload, payloads.action(operation), attachment)).envelope
