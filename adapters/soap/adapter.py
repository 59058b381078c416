"""Adapter: one ``soap:`` endpoint of routes.yaml, serving or calling."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from adapters.soap import payloads
from adapters.soap.client import Client, Identity
from adapters.soap.door import Door
from adapters.soap.options import Options, Security
from adapters.soap.security import note_legacy
from bus import edxml, endpoint, lexical, xmlio
from bus.endpoint import Bus, Features, Sent
from bus.errors import Deferred, Fault, Rejected
from bus.keyfiles import certificates
from bus.message import Message
from bus.octets import Body, around, digest
from bus.offload import offload
from bus.receipt import NEGATIVE, Status
from bus.signature import wss, xades
from bus.signature.encryption import Recipient
from bus.site import Site

_RECEIPT_NAMESPACE = f"{{{etree.QName(payloads.RECEIPT).namespace}}}"


class Adapter:
    """SOAP web services for partner agencies and units.

    Server (``path``): the six operations of the contract. ``SendDocument`` hands a document in; the others are the caller's mailbox,
    its receipts and the code book. WS-Security is verified before a message exists, and replies to signers are signed.

    Client (``url``): each message is sent by ``SendDocument``, inline when it is edXML and as base64 otherwise; its id at the partner is
    the bus's own, so a retry is recognised. The partner's signed receipt ends the delivery and is kept with it.

    Delivery is at least once: a reply that is lost after the partner took the message makes us send it again, with the same id.
    """

    #: What the adapter can do; one endpoint is one side of it.
    features: Features = Features(accepts=True, sends=True, mailbox=True)

    def __init__(self, name: str, options: Options, site: Site) -> None:
        self.name = name
        calls = Features(sends=True, lane=options, calls=options.partner or "")
        self.features = calls if options.url else Features(accepts=True, mailbox=True)
        self._options = options
        self._site = site
        self._door = Door(name, options, site) if options.path else None
        self._client = _client(name, options, site) if options.url else None

    def doors(self) -> Sequence[tuple[str, endpoint.Door]]:
        """Where the service answers: the path declared, and always ``/soap/<endpoint>``."""
        return [(path, self._door) for path in self._door.paths] if self._door else []

    async def start(self, bus: Bus) -> None:
        """Open the door to ``bus``."""
        if self._door:
            self._door.bus = bus

    async def stop(self) -> None:
        """Close the connections to the partner."""
        if self._client:
            await self._client.close()

    async def send(self, message: Message) -> Sent:
        """One call. Raises what ``client`` says, and Deferred ``partner-error`` for a receipt that is not this message's."""
        if self._client is None:
            raise Deferred("endpoint-missing", endpoint=self.name)
        if self._options.payload == "literal":
            literal = await offload(len(message.body), _literal, message)
            reply = await self._client.call(literal.payload, self._options.action, canonical=literal.canonical)
            return Sent(literal.digest, reply.octets)
        request = await offload(len(message.body), _send_document, message)
        reply = await self._client.call(request.payload, payloads.action("SendDocument"), canonical=request.canonical)
        await offload(len(reply.octets), self._check_receipt, reply.envelope.payload, message.id, request.digest)
        return Sent(request.digest, reply.octets)

    def _check_receipt(self, payload: etree._Element, message_id: str, digest: str) -> None:
        """The reply must hold one receipt, sealed by the partner, that says it has exactly what we sent."""
        try:
            sealed = xades.verify_tree(
                payloads.only_receipt(payload),
                lambda certificate: self._site.keyring.identify(certificate, self._site.clock()),
                policies=self._site.signatures,
            )
            receipt = xmlio.parse(sealed.octets)
        except (Rejected, ValueError) as error:
            raise self._nonsense(f"no valid receipt: {error}") from error
        note_legacy(sealed.identity, sealed.legacy)
        said = {
            name: lexical.trimmed(receipt.findtext(_RECEIPT_NAMESPACE + name) or "") for name in ("MessageId", "Sha256", "Status", "Code")
        }
        if sealed.identity != self._options.partner or said["MessageId"] != message_id or said["Sha256"] != digest:
            raise self._nonsense("its receipt is for another message, or by someone else")
        if said["Status"] not in set(Status) - NEGATIVE:
            raise Rejected("partner-refused", target=self.name, detail=f"{said['Code']} {said['Status']}")

    def _nonsense(self, detail: str) -> Deferred:
        return Deferred("partner-error", target=self.name, detail=detail)


@dataclass(frozen=True, slots=True)
class _Request:
    """What is sent, whether it is ``canonical``, and the ``digest`` of what the partner will have received."""

    payload: Body
    canonical: bool
    digest: str


def _send_document(message: Message) -> _Request:
    if not _is_edxml(message):
        return _Request(payloads.send_content(message.id, message.body), canonical=True, digest=message.digest)
    prefixes = xmlio.value_prefixes(message.outline)
    written = xmlio.canonicalize(message.outline, inclusive_prefixes=prefixes)
    document = message.hollow.parsed(written)
    before, after = payloads.send_document(message.id)
    # In canonical form the document would leave out a declaration of ours that it repeats.
    canonical = payloads.DECLARATION not in written and not prefixes
    return _Request(around(before, document, after), canonical, digest(document).hex())


def _literal(message: Message) -> _Request:
    payload = message.hollow.document(message.outline)
    return _Request(payload, not xmlio.value_prefixes(message.outline), digest(payload).hex())


def _is_edxml(message: Message) -> bool:
    try:
        return etree.QName(message.outline).namespace == edxml.NAMESPACE
    except Rejected:
        return False


def _client(name: str, options: Options, site: Site) -> Client:
    security = options.security
    partner = options.partner or ""
    shown = security.client_certificate
    identity = Identity(
        target=name,
        partner=partner,
        identify=site.keyring.identify,
        known=site.keyring,
        policies=site.signatures,
        statuses=site.keyring.statuses,
        signer=security.signer(site.keyring),
        policy=wss.Policy(covers=security.covers_of_reply, skew=security.skew) if "wss-x509" in security.verify else None,
        style=security.style,
        account=security.account,
        recipient=_recipient(site, security) if security.encrypt else None,
        holder=security.holder(site.keyring),
        anchors=site.keyring.anchors(partner),
        shown=(_file(site, f"{shown}.crt"), _file(site, f"{shown}.key")) if shown else None,
    )
    return Client(options.url, identity, clock=site.clock, version=options.soap_version, timeout=options.timeout)


def _recipient(site: Site, security: Security) -> Recipient:
    path, faults = _file(site, f"{security.encrypt}.crt"), list[Fault]()
    found = list(certificates(path, faults))
    if not found:
        raise ValueError(
            f"certs/{security.encrypt}.crt does not exist or cannot be read; put the partner's certificate for encryption there"
        )
    return Recipient(found[0], security.key_transport)


def _file(site: Site, name: str) -> Path:
    return site.root / "certs" / name
