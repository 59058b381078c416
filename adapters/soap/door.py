"""The serving side: one HTTP door that speaks all six operations of ``urn:govbus:exchange:v1``.

Order of work: read the envelope, tell who sent it, and only then look at what it says. Every failure, foreseen or not, is journalled
and answered as a SOAP fault with a reference; nothing is acknowledged that the bus has not committed.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import parse_qs

from adapters.soap import payloads
from adapters.soap.contract import Contract
from adapters.soap.options import Options
from adapters.soap.payloads import Parameters
from adapters.soap.security import Caller, Guard, carries_password, carries_signature
from bus import edxml, mime, soap, xop
from bus.endpoint import Bus, Request, Response, SignedRequest
from bus.errors import BusError, Deferred, Rejected
from bus.message import CONTENT_TYPE, CREDENTIAL, LEGACY, SENDER, SENDER_MESSAGE_ID, Message, bounded
from bus.octets import Body, joined
from bus.offload import act_for, offload
from bus.revocation import settled
from bus.signature import wss
from bus.site import Site
from bus.soap import Envelope, Version

#: Mailbox entries in one listing: when the caller does not say, and at most.
_DEFAULT_LISTING = 100
_MOST_LISTING = 1000
_LONGEST_REASON = 2000
#: Retry-After of a 4.x fault that has no wish of its own, in seconds.
_RETRY_AFTER = 30
_PART = "content@govbus"


@dataclass(frozen=True, slots=True)
class Call:
    """One request past the guard; ``size``: octets of its body; ``signed``: itself, where it bears its sender's signature."""

    parameters: Parameters
    caller: Caller
    size: int
    signed: SignedRequest | None = None

    @property
    def partner(self) -> str:
        """Who called."""
        return self.caller.partner


@dataclass(frozen=True, slots=True)
class Reply:
    """An operation's answer; ``content`` where a part of it may travel by MTOM: its base64 is the payload's one ``Encoded`` piece.

    ``canonical``: as ``wss.enclose`` says; worth knowing of a payload that may be large.
    """

    payload: Body
    canonical: bool = False
    content: Body = b""


class Door:
    """Answers the HTTP requests of one endpoint. ``bus`` is set when the endpoint starts."""

    bus: Bus

    def __init__(self, name: str, options: Options, site: Site) -> None:
        self._name = name
        self.paths = tuple(dict.fromkeys((options.path, f"/soap/{name}")))
        self._site = site
        self._guard = Guard(options.security, site)
        self._signer, self._style = options.security.signer(site.keyring), options.security.style
        self._contract = Contract(site.library, options.wsdl)
        self._operations: Mapping[str, Callable[[Call], Awaitable[Reply]]] = {
            "SendDocument": self._send_document,
            "GetPendingDocumentIds": self._pending,
            "GetDocument": self._document,
            "ConfirmReceived": self._confirm,
            "GetReceipts": self._receipts,
            "GetOrganizations": self._organisations,
        }

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        if request.path not in self.paths:
            return Response(404, "text/plain; charset=utf-8", b"No such endpoint.\n")
        if request.method == "GET":
            return self._page(request)
        if request.method == "POST":
            return await self._post(request)
        return _not_allowed()

    def _page(self, request: Request) -> Response:
        query = {name.lower(): values[0] for name, values in parse_qs(request.query, keep_blank_values=True).items()}
        address = request.base_url + request.path
        if "wsdl" in query or "singlewsdl" in query:
            return Response(200, "text/xml; charset=utf-8", self._contract.wsdl(address))
        if "xsd" not in query:
            return _not_allowed()
        schema = self._contract.schema(query["xsd"], address)
        if schema is None:
            return Response(404, "text/plain; charset=utf-8", b"No such schema.\n")
        return Response(200, "text/xml; charset=utf-8", schema)

    async def _post(self, request: Request) -> Response:
        envelope: Envelope | None = None
        caller: Caller | None = None
        try:
            envelope = await offload(len(request.body), _read, request)
            received, opened = await offload(len(request.body), self._opened, request, envelope)
            envelope = opened
            identified = partial(offload, len(request.body), self._identified, envelope, request.peer_certificate)
            caller = await settled(self._site.keyring.statuses, identified)
            act_for(caller.partner)
            self.bus.turn(caller.partner)
            if caller.used is not None:
                await self.bus.once(caller.partner, caller.used.digest, caller.used.until)
            parameters = payloads.parameters(envelope.payload, envelope.hollow)
            soap.check_action(envelope, payloads.action(parameters.operation), parameters.operation)
            signed = _signed(received, envelope, caller)
            reply = await self._operations[parameters.operation](Call(parameters, caller, len(request.body), signed))
            by_mtom = bool(reply.content) and (envelope.optimised or _accepts_mtom(request))
            return await offload(len(reply.payload), self._answer, envelope, caller, parameters.operation, reply, by_mtom)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the caller gets a fault and the journal a line
            return await self._refused(request, envelope, caller, error)

    def _opened(self, request: Request, envelope: Envelope) -> tuple[Request, Envelope]:
        """Both as if they had come unencrypted: what is kept of a request is what its signature was verified on."""
        opened = self._guard.open(envelope)
        if opened is envelope:
            return request, envelope
        clear = soap.written(opened)
        headers = {**request.headers, "content-type": f"{opened.version.media_type}; charset=utf-8"}
        return replace(request, body=clear, headers=headers), opened

    def _identified(self, envelope: Envelope, certificate: bytes | None) -> Caller:
        soap.check_understood(envelope, self._guard.understood)
        return self._guard.identify(envelope, certificate)

    # --- operations -------------------------------------------------------------------------------------------------

    async def _send_document(self, call: Call) -> Reply:
        message = await offload(call.size, _message, call)
        answer = await self.bus.accept(self._name, message, call.signed)
        # A receipt that was sealed now is canonical; one out of the store may be of an older version's making.
        return Reply(payloads.receipts_reply("SendDocument", [answer.xml]), canonical=not answer.duplicate)

    async def _pending(self, call: Call) -> Reply:
        organ = call.parameters.required("OrganId")
        owner = self._site.partner_of(organ)
        if owner is None or owner.name != call.partner:
            raise Rejected("mailbox-not-yours", organ=organ, partner=call.partner, at=call.parameters.at("OrganId"))
        limit = payloads.whole_number(call.parameters, "Max", _DEFAULT_LISTING, _MOST_LISTING)
        return Reply(payloads.pending_reply(await self.bus.pending(call.partner, limit)))

    async def _document(self, call: Call) -> Reply:
        fetched = await self.bus.fetch(call.partner, call.parameters.required("MessageId"))
        return Reply(payloads.document_reply(fetched.body, fetched.digest), canonical=True, content=fetched.body)

    async def _confirm(self, call: Call) -> Reply:
        message_id, status = call.parameters.required("MessageId"), call.parameters.required("Status")
        if status not in {"done", "fail"}:
            raise payloads.misfit(f"'{status}' is neither done nor fail", call.parameters.at("Status"))
        reason = call.parameters.text("Reason")[:_LONGEST_REASON]
        # Its Content-Type is not kept with it: a package could not be read again.
        signed = call.signed if call.signed and not call.signed.content_type.lower().startswith("multipart/") else None
        answer = await self.bus.confirm(call.partner, message_id, status == "done", reason, signed)
        return Reply(payloads.receipts_reply("ConfirmReceived", [answer.xml]))

    async def _receipts(self, call: Call) -> Reply:
        receipts = await self.bus.receipts(call.partner, call.parameters.required("MessageId"))
        return Reply(payloads.receipts_reply("GetReceipts", receipts))

    async def _organisations(self, call: Call) -> Reply:
        return Reply(payloads.organisations_reply(self.bus.organisations(payloads.day(call.parameters, "ChangedSince"))))

    # --- answers ----------------------------------------------------------------------------------------------------

    def _answer(self, request: Envelope, caller: Caller, operation: str, reply: Reply, by_mtom: bool) -> Response:
        version = request.version
        headers = soap.reply_headers(request, f"{payloads.action(operation)}Response")
        data = self._enclosed(version, reply, headers, sign=caller.signs)
        if not by_mtom or isinstance(data, bytes):
            return Response(200, f"{version.media_type}; charset=utf-8", joined(data))
        # The signature stands over the inlined form, so the part is taken out after signing.
        root = xop.outline(data, _PART)
        root_type = f'application/xop+xml; charset=utf-8; type="{version.media_type}"'
        content_type, package = mime.package(root, root_type, version.media_type, {_PART: reply.content})
        return Response(200, content_type, package)

    def _enclosed(self, version: Version, reply: Reply, headers: bytes, *, sign: bool) -> Body:
        if not sign or not self._signer:
            return soap.envelope(version, reply.payload, headers)
        now = self._site.clock()
        return wss.enclose(
            version.namespace, reply.payload, self._signer, now, headers=headers, canonical=reply.canonical, style=self._style
        )

    async def _refused(self, request: Request, envelope: Envelope | None, caller: Caller | None, error: Exception) -> Response:
        digest = hashlib.sha256(request.body).hexdigest()
        reference = await self.bus.refuse(self._name, caller.partner if caller else "", error, digest)
        failure = error if isinstance(error, BusError) else Deferred("bus-error", reference=reference)
        version = envelope.version if envelope else soap.guess_version(request.headers.get("content-type", ""))
        signs = caller.signs if caller else envelope is not None and carries_signature(envelope)
        fault = Reply(soap.fault(version, failure, reference))
        headers = soap.reply_headers(envelope)
        try:
            data = self._enclosed(version, fault, headers, sign=signs)
        except Deferred:
            # Our own key is out of reach. Few stacks sign their faults; one that nobody signed says more than none.
            data = self._enclosed(version, fault, headers, sign=False)
        status, media_type = soap.fault_status(version, failure), f"{version.media_type}; charset=utf-8"
        return Response(status, media_type, data, _retry_after(failure))


def _read(request: Request) -> Envelope:
    if request.refusal is not None:
        raise request.refusal
    return soap.read(request.body, request.headers.get("content-type", ""), request.headers.get("soapaction", ""))


def _signed(request: Request, envelope: Envelope, caller: Caller) -> SignedRequest | None:
    """The request as it proves its sender to others; one that holds a password as well is kept nowhere."""
    if not caller.signs or carries_password(envelope):
        return None
    return SignedRequest(request.body, request.headers.get("content-type", ""))


def _message(call: Call) -> Message:
    """The document of a SendDocument request: the octets that were verified; in canonical form where they came inline.

    Prefixes that only its values use keep their declarations, which the envelope may have made: exclusive C14N would leave them out.
    """
    elements = call.parameters.elements
    if ("Document" in elements) == ("Content" in elements):
        raise payloads.misfit("give either 'Document' or 'Content'", "/Envelope/Body/SendDocument")
    if "Content" in elements:
        message = Message("", {}, bounded(payloads.octets(elements["Content"], call.parameters.hollow)))
        tree = message.outline
    else:
        tree = payloads.document_element(elements["Document"])
        message = Message("", {}, bounded(call.parameters.hollow.document(tree)))
    headers = {**edxml.describe(tree), SENDER: call.partner, CONTENT_TYPE: "application/xml", CREDENTIAL: call.caller.credential}
    if call.caller.legacy:
        headers[LEGACY] = call.caller.legacy
    if "MessageId" in elements:
        headers[SENDER_MESSAGE_ID] = call.parameters.required("MessageId")
    return replace(message, headers=headers)


def _accepts_mtom(request: Request) -> bool:
    accept = request.headers.get("accept", "").lower()
    return "multipart/related" in accept or "application/xop+xml" in accept


def _not_allowed() -> Response:
    text = b"This is a SOAP endpoint: POST an envelope, or GET ?wsdl for the contract.\n"
    return Response(405, "text/plain; charset=utf-8", text, (("Allow", "GET, POST"),))


def _retry_after(failure: BusError) -> tuple[tuple[str, str], ...]:
    if not isinstance(failure, Deferred):
        return ()
    return (("Retry-After", str(max(1, round(failure.retry_after or _RETRY_AFTER)))),)
