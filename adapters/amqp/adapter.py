"""Adapter: one ``amqp:`` endpoint of routes.yaml, taking in or sending."""

import asyncio
from collections.abc import Sequence
from typing import Final

from adapters.amqp.inbox import Inbox, Source
from adapters.amqp.options import Options
from bus.amqp import Broker, Letter, Publisher
from bus.endpoint import Bus, Door, Features, Sent
from bus.errors import Deferred
from bus.message import CONTENT_TYPE, DOCUMENT_ID, FROM, KIND, Message
from bus.octets import whole
from bus.offload import UPKEEP, offload
from bus.site import Site

#: What a receiver may want to know without opening the document; anything longer stands in the document only.
_TOLD: Final = (KIND, FROM, DOCUMENT_ID)
_LONGEST_TOLD: Final = 1024


class Adapter:
    """AMQP 0-9-1 queues (RabbitMQ) of units and agencies, one direction an endpoint.

    In (``take``): a message is acknowledged when it is accepted, on disk, with its receipt. What can never be accepted is journalled and
    rejected (the queue's dead-letter exchange gets it), or told to ``answers`` and acknowledged. Anything else is tried again, after
    growing pauses. The queue's credentials prove the partner; the message-id property is the sender's id: it marks a redelivery.

    Out (``exchange``, ``routing-key``): the document is published persistent and mandatory, and delivered when the broker has confirmed it.
    Properties: message-id is the bus's own and the same in every retry; headers kind, from, document-id and sha-256.

    Delivery is at least once: a confirm that is lost makes us publish again, with the same message-id. Give every queue a dead-letter
    exchange: without one a broker drops what exceeds a delivery limit.
    """

    #: What the adapter can do; one endpoint is one direction of it.
    features: Features = Features(accepts=True, sends=True)

    def __init__(self, name: str, options: Options, site: Site) -> None:
        self.name = name
        self.features = Features(accepts=True) if options.take else Features(sends=True, lane=options)
        self._options = options
        anchors = site.keyring.anchors(options.partner)
        self._broker = Broker(options.url.get_secret_value(), name, anchors, patience=options.timeout.total_seconds())
        self._inbox: Inbox | None = None
        self._publisher: Publisher | None = None

    def doors(self) -> Sequence[tuple[str, Door]]:
        """None: it connects to the broker."""
        return ()

    async def start(self, bus: Bus) -> None:
        """Take in, or send, from now on."""
        options = self._options
        if options.take:
            source = Source(self.name, options.partner, options.take, options.answers, options.prefetch)
            self._inbox = Inbox(source, self._broker, bus)
        else:
            self._publisher = Publisher(self._broker)

    async def stop(self) -> None:
        """Settle what is known and close the connections; what is unsettled goes back to its queue."""
        if self._inbox is not None:
            await self._inbox.stop()
        if self._publisher is not None:
            await UPKEEP.run(self._publisher.stop)

    async def send(self, message: Message) -> Sent:
        """Publish once, and wait for the confirm. Raises what ``bus.amqp`` says."""
        if self._publisher is None:
            raise Deferred("endpoint-missing", endpoint=self.name)
        headers = {name: value for name in _TOLD if 0 < len(value := message.header(name)) <= _LONGEST_TOLD}
        letter = Letter(
            await offload(len(message.body), whole, message.body),
            self._options.exchange,
            self._options.routing_key,
            message_id=message.id,
            content_type=message.header(CONTENT_TYPE) or "application/xml",
            headers={**headers, "sha-256": message.digest},
        )
        await asyncio.wrap_future(self._publisher.publish(letter))
        return Sent(message.digest)
