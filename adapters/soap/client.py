"""The calling side: one partner's SOAP service, called over one shared HTTP session.

Each call is signed afresh, because its timestamp expires. Promise: what ``call`` returns is a reply that was proved to be the
partner's, and no fault; everything else is raised as what it means for the message:

Rejected ``partner-refused``        the partner's fault is for good
Deferred ``partner-postponed``      the partner's fault is not
Deferred ``partner-security``       the partner does not believe the call: our clock, key or certificate
Deferred ``partner-busy``           HTTP 429, 502, 503 or 504, with the partner's Retry-After
Deferred ``partner-unreachable``    no connection, or no answer in time
Deferred ``partner-error``          an answer that proves nothing: HTML, unsigned, signed by someone else, not SOAP

Standards: as ``bus.soap``; TLS 1.2 and up, the partner's own anchors.
"""

import asyncio
import io
import secrets
import ssl
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path

import aiohttp

from adapters.soap.security import carries_signature, note_legacy
from bus import mime, soap, xop
from bus.errors import Deferred, Rejected
from bus.octets import Body, joined, streamed
from bus.offload import offload
from bus.resolver import Resolver
from bus.retry import retry_after
from bus.revocation import Statuses, settled
from bus.signature import username, wss
from bus.signature.encryption import Holder, Recipient
from bus.signature.policy import SignaturePolicy, usual
from bus.signature.security_header import Style
from bus.signature.tokens import Certificates
from bus.signer import Signer
from bus.site import Clock
from bus.soap import Envelope, Version
from bus.trust import check_dates

#: A reply is read to this many octets: a listing or a document, never more than our own door takes.
_MOST_REPLY = 160 << 20
_BUSY = frozenset({429, 502, 503, 504})
_PART = "content@govbus"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom we call and how both sides prove themselves.

    ``target``    name of the service in error messages
    ``partner``   who must have signed a reply; ``identify`` tells who did, from the signer's certificate (DER) and the time
    ``signer``    signs our requests, if any
    ``policy``    what a reply's signature must be like; None: TLS alone proves the partner
    ``known``     finds certificates that a reply only names
    ``policies``  which signature methods count for whom
    ``statuses``  where the status of its certificate is asked for, when it is not known
    ``style``     how our signature is written; where it covers headers, a request carries WS-Addressing, and its reply must name it
    ``account``   what we log in with, if we do
    ``recipient`` the partner as one that our requests are encrypted for, if they are; ``holder`` we, for its replies
    ``anchors``   certificates (DER) that the partner's TLS certificate must chain to; the system's where there are none
    ``shown``     our own TLS certificate and key files, if any
    """

    target: str
    partner: str
    identify: Callable[[bytes, datetime], str]
    signer: Signer | None = None
    policy: wss.Policy | None = field(default_factory=wss.Policy)
    known: Certificates | None = None
    policies: Callable[[str], SignaturePolicy] = usual
    statuses: Statuses = field(default_factory=Statuses)
    style: Style = wss.DEFAULT_STYLE
    account: username.Account | None = None
    recipient: Recipient | None = None
    holder: Holder | None = None
    anchors: Sequence[bytes] = ()
    shown: tuple[Path, Path] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A proved reply: its payload is ``envelope.payload``; ``octets`` are what came, the proof."""

    envelope: Envelope
    octets: bytes


class Client:
    """One SOAP service of one partner."""

    def __init__(
        self,
        url: str,
        identity: Identity,
        *,
        clock: Clock,
        version: Version = soap.SOAP_11,
        timeout: timedelta = timedelta(seconds=60),
        randomness: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._url = url
        self._identity = identity
        self._clock = clock
        self._version = version
        self._randomness = randomness
        self._timeout = aiohttp.ClientTimeout(total=timeout.total_seconds())
        self._session: aiohttp.ClientSession | None = None

    async def call(self, payload: Body, action: str, attachment: Body = b"", *, canonical: bool = False) -> Reply:
        """Send ``payload`` as the Body's one element, and return the partner's proved reply. ``canonical``: as ``wss.enclose`` says.

        ``attachment`` travels by MTOM; its base64 is then the payload's one ``Encoded`` piece.
        """
        message_id = uuid.UUID(bytes=self._randomness(16), version=4).urn if self._identity.style.headers else ""
        addressing = soap.request_headers(self._url, action, message_id) if message_id else b""
        content_type, body = await offload(len(payload), self._packed, payload, action, attachment, addressing, canonical=canonical)
        headers = {"Content-Type": content_type, "Content-Length": str(len(body))}
        sent = body if isinstance(body, bytes) else streamed(body)
        if self._version is soap.SOAP_11:
            headers["SOAPAction"] = f'"{action}"'
        try:
            async with self._opened().post(self._url, data=sent, headers=headers, allow_redirects=False) as response:
                status, answer_headers, data = response.status, response.headers, await self._body(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Deferred("partner-unreachable", target=self._identity.target, detail=_named(error)) from error
        proved = partial(offload, len(data), self._proved, status, answer_headers, data, message_id)
        return await settled(self._identity.statuses, proved)

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # --- the request ------------------------------------------------------------------------------------------------

    def _packed(self, payload: Body, action: str, attachment: Body, addressing: bytes, *, canonical: bool) -> tuple[str, Body]:
        identity, now = self._identity, self._clock()
        if identity.signer or identity.account:
            login = username.write(identity.account, self._randomness(16), now) if identity.account else None
            data = wss.enclose(
                self._version.namespace,
                payload,
                identity.signer,
                now,
                headers=addressing,
                canonical=canonical,
                style=identity.style,
                login=login,
            )
        else:
            data = soap.envelope(self._version, payload, addressing)
        if identity.recipient:
            data = self._encrypted(identity.recipient, data, now)
        media_type = self._version.media_type
        parameter = f'; action="{action}"' if self._version is soap.SOAP_12 and action else ""
        if not attachment or isinstance(data, bytes):
            return f"{media_type}; charset=utf-8{parameter}", joined(data)
        root = xop.outline(data, _PART)
        root_type = f'application/xop+xml; charset=utf-8; type="{media_type}"{parameter}'
        return mime.package(root, root_type, media_type, {_PART: attachment})

    def _encrypted(self, recipient: Recipient, envelope: Body, now: datetime) -> bytes:
        try:
            check_dates(recipient.certificate, now)
        except Rejected as error:
            # The partner has another one by now: no message pays for our having the old one.
            raise self._nonsense(error.reason("en")) from error
        return recipient.enclose(envelope)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(resolver=Resolver(), ssl=_tls(self._identity) if self._url.startswith("https:") else True)
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                # A reply is what came, and no larger than what came; and a partner is not given a place to keep things with us.
                auto_decompress=False,
                headers={"Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    # --- the reply --------------------------------------------------------------------------------------------------

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise self._nonsense("a compressed reply, which was not asked for")
        held = io.BytesIO()
        async for chunk in response.content.iter_chunked(1 << 18):
            held.write(chunk)
            if held.tell() > _MOST_REPLY:
                raise self._nonsense(f"a reply of more than {_MOST_REPLY} octets")
        return held.getvalue()

    def _proved(self, status: int, headers: Mapping[str, str], data: bytes, message_id: str) -> Reply:
        """The reply read and proved; raises for faults, and for anything that is not a SOAP reply of the partner to ``message_id``."""
        content_type, wish = headers.get("Content-Type", ""), retry_after(headers.get("Retry-After", ""), self._clock())
        try:
            envelope = soap.read(data, content_type)
            soap.check_understood(envelope, {wss.SECURITY})
            envelope, data = self._decrypted(envelope, data)
        except Rejected as error:
            if status in _BUSY:
                raise Deferred("partner-busy", target=self._identity.target, status=status, retry_after=wish) from error
            raise self._nonsense(f"HTTP {status}, {content_type or 'no content type'}: {error.reason('en')}") from error
        self._check_sender(envelope, message_id)
        envelope.attach()
        soap.raise_fault(envelope, self._identity.target, wish)
        if status >= HTTPStatus.BAD_REQUEST:
            raise self._nonsense(f"HTTP {status} with a reply that is no fault")
        return Reply(envelope, data)

    def _decrypted(self, envelope: Envelope, data: bytes) -> tuple[Envelope, bytes]:
        """The reply with its Body decrypted, where we expect that, and its octets as they were signed. A fault may come in clear."""
        holder = self._identity.holder
        root = holder.open(envelope.root, envelope.hollow) if holder and not soap.is_fault(envelope) else None
        if root is None:
            return envelope, data
        clear = soap.opened(envelope, root)
        return clear, soap.written(clear)

    def _check_sender(self, envelope: Envelope, message_id: str) -> None:
        identity = self._identity
        if identity.policy is None:
            return
        if soap.is_fault(envelope) and not carries_signature(envelope) and self._url.startswith("https:"):
            # Few stacks sign their faults. TLS has proved the partner, and a fault can only stop this one message.
            return
        try:
            verified = wss.verify(
                envelope.root,
                identity.policy,
                identity.identify,
                self._clock(),
                known=identity.known,
                hollow=envelope.hollow,
                policies=identity.policies,
                attachments=envelope.detached,
            )
        except Rejected as error:
            raise self._nonsense(error.reason("en")) from error
        if verified.identity != identity.partner:
            raise self._nonsense(f"the reply is signed by '{verified.identity}'")
        if "RelatesTo" in identity.policy.covers and envelope.relates_to != message_id:
            raise self._nonsense("the reply is to another request")
        note_legacy(verified.identity, verified.legacy)

    def _nonsense(self, detail: str) -> Deferred:
        return Deferred("partner-error", target=self._identity.target, detail=detail)


def _tls(identity: Identity) -> ssl.SSLContext:
    """Built once a session: loading the system's authorities takes 28 ms."""
    pems = "".join(ssl.DER_cert_to_PEM_cert(anchor) for anchor in identity.anchors)
    context = ssl.create_default_context(cadata=pems or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A pinned certificate, or an authority below a root, is an anchor in its own right.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if identity.shown:
        context.load_cert_chain(*identity.shown)
    return context


def _named(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text and not isinstance(error, asyncio.TimeoutError) else type(error).__name__
