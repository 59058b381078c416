"""VXP, the national document exchange: a channel adapter for both sides of VNPT's "XRoad/VPCP" interface (wire format: ``bus/vxp.py``).

With ``url`` it is a **client** of a hub: it sends by sendEdoc, and every ``poll`` it lists, fetches, hands over, and only then
confirms (``poller.py``). With ``path`` it is a **hub** (``hub.py``): a system that uses VNPT's SDK points its endpoint here, unchanged;
the mailbox it lists is its partner's mailbox on this bus.

Delivery to a hub is at least once: a hub that answered too late is sent the same octets again, and ours then gives the same DocId.
Both sides of this adapter agree with each other by construction; that they agree with the SDK is what the golden vectors prove.
"""

import asyncio
import contextlib
from collections.abc import Sequence

from adapters.vxp import intake
from adapters.vxp.client import Account, Client
from adapters.vxp.hub import Hub
from adapters.vxp.options import Options
from adapters.vxp.poller import Poller
from bus import lexical
from bus.endpoint import Bus, Door, Features, Request, Response, Sent
from bus.errors import Deferred, Rejected
from bus.message import KIND, RECEIVERS, Message
from bus.site import Site

__all__ = ["Account", "Adapter", "Client", "Options"]


class Adapter:
    """VXP, the national document exchange (VNPT's "XRoad/VPCP" interface).

    Client (``url``): sends by sendEdoc; every ``poll`` it lists, fetches, hands over and then confirms. A file that can never be taken
    is reported as ``fail`` with the reason; any other trouble leaves it in the hub's list for the next round.

    Hub (``path``): a system that uses VNPT's SDK points its endpoint here, unchanged. It sends, and fetches from its partner's mailbox;
    the agencies are the site's code book, which it cannot change.

    Delivery to a hub is at least once: one that answered too late is sent the same octets again. This hub then gives the same DocId.
    """

    #: What the adapter can do; one endpoint is one side of it.
    features: Features = Features(accepts=True, sends=True, mailbox=True)

    def __init__(self, name: str, options: Options, site: Site) -> None:
        self.name = name
        self.features = Features(accepts=True, sends=bool(options.url), mailbox=bool(options.path), lane=options, relays=bool(options.url))
        self._options = options
        self._site = site
        self._client = Client(_account(options, site), name=name, clock=site.clock) if options.url else None
        self._hub: Hub | None = None
        self._polling: asyncio.Task[None] | None = None

    def doors(self) -> Sequence[tuple[str, Door]]:
        """The hub's door, if this is a hub."""
        return [(self._options.path, self._door)] if self._options.path else []

    async def _door(self, request: Request) -> Response:
        if self._hub is None:
            return Response(503, "text/plain", b"Not started.\n", (("Retry-After", "5"),))
        return await self._hub.answer(request)

    async def start(self, bus: Bus) -> None:
        """Take messages in from now on: at the door, or by polling."""
        if self._client is None:
            self._hub = Hub(self.name, self._options, self._site, bus)
            return
        partner, pause = self._options.partner or "", self._options.poll.total_seconds()
        self._polling = asyncio.create_task(Poller(self._client, bus, endpoint=self.name, partner=partner).run(pause))

    async def stop(self) -> None:
        """Stop polling at its next await. What was accepted by then but not confirmed is confirmed after the next start."""
        if self._polling is not None:
            self._polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._polling
            self._polling = None
        if self._client is not None:
            await self._client.close()

    async def send(self, message: Message) -> Sent:
        """Send by sendEdoc, once. The hub's JSON reply with its DocId is kept as the proof of delivery."""
        if self._client is None:
            # Only a route that names a hub as a push target can bring a message here; it waits for routes.yaml to be put right.
            raise Deferred("partner-unreachable", target=self.name, detail="a hub sends nothing; route to a mailbox of it")
        message_type = intake.TYPES.get(message.header(KIND))
        if message_type is None:
            raise Rejected("edxml-invalid", detail=f"VXP carries documents and statuses, not kind {message.header(KIND)!r}")
        receivers = lexical.words(message.header(RECEIVERS))
        reply = await self._client.send(message.body, message_type, self._site.organisation, receivers)
        return Sent(digest=message.digest, reply=reply)


def _account(options: Options, site: Site) -> Account:
    return Account(
        url=options.url,
        system=options.system or "",
        secret=options.secret.get_secret_value() if options.secret else "",
        service_type=options.service_type,
        hash_form=options.hash_file,
        timeout=options.timeout,
        anchors=site.keyring.anchors(options.partner or "") if options.url.startswith("https:") else (),
    )
