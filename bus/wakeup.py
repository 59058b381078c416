"""Wake-ups between the processes of one bus, over RabbitMQ: "there is work for this target, and I have no room for it".

A nudge is a hint (D1). It names a target and carries nothing else: no body, no id, nothing that could be lost with it. Whoever hears it
asks the store, which gives each delivery to one of those who ask. So every process has a queue of its own behind one fanout exchange, and
a nudge that is lost, late or doubled costs half a second, or one empty claim.

It promises: ``tell`` never blocks and never fails; nudges for one target that come quickly are sent as one; what cannot be sent at once,
because the broker is away, is forgotten. A lost broker is reported (log, metric, ``unwell``) and changes nothing else.

On the broker, with ``<bus>`` the site's organisation code and ``<chain>`` the process's journal chain:

===============================  ===============================================================================================
``govbus.<bus>.nudges``          durable fanout exchange; published to with confirms, persistent, mandatory
``govbus.<bus>.nudges.<chain>``  quorum queue: a nudge lives 30 s in it, and at most 1,000 do; it goes a day after its process
``govbus.<bus>.nudges.dead``     fanout exchange and quorum queue: what a process left lying, for a day: who slept, and when
===============================  ===============================================================================================
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import structlog
from kombu import Exchange, Queue

from bus import log, metrics
from bus.amqp import Broker, Consumer, Letter, Publisher, Received
from bus.errors import BusError
from bus.offload import UPKEEP

#: Pause between two rounds of sending, in seconds; what is told meanwhile goes out together.
_ROUND: Final = 0.05
#: A nudge older than this is of no use: the store has been polled sixty times since.
_LIFE: Final = 30
_DAY: Final = 86_400
_MOST: Final = 1_000
#: Redeliveries before a nudge is set aside; RabbitMQ 4 would take the same number by itself.
_DELIVERY_LIMIT: Final = 20
_PREFETCH: Final = 100
#: The header with the chain of the process that says it.
_FROM: Final = "from"
#: For the broker given to ``Wakeup``: what a nudge is about is found by polling long before, so none waits longer for its confirm.
PATIENCE: Final = 5.0

_log = structlog.get_logger()


class Wakeup:
    """One process's ear and voice. ``heard`` is called with a target, in a thread of this object's."""

    def __init__(self, broker: Broker, *, bus: str, chain: str, heard: Callable[[str], None]) -> None:
        self._bus = bus
        self._chain = chain
        self._heard = heard
        self._told: dict[str, None] = {}
        self._asked = asyncio.Event()
        #: What of it works now: "listening", "telling".
        self.working: set[str] = set()
        self._away: dict[str, BusError] = {}
        self._publisher = Publisher(broker)
        self._consumer = Consumer(
            broker,
            declare=partial(_declare, bus=bus, chain=chain),
            prefetch=_PREFETCH,
            take=self._take,
            noted=partial(self._note, "listening"),
        )
        self._telling = asyncio.create_task(self._tell())

    def tell(self, target: str) -> None:
        """Let the other processes know; on the loop."""
        self._told[target] = None
        self._asked.set()

    async def stop(self) -> None:
        """Say no more, hear no more; returns when no thread is left."""
        self._telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._telling
        await asyncio.gather(UPKEEP.run(self._consumer.stop), UPKEEP.run(self._publisher.stop))

    def unwell(self) -> Mapping[str, str]:
        """What is wrong with the broker, by what it keeps us from; empty when nothing is."""
        return {f"broker, {what}": error.reason("en") for what, error in self._away.copy().items()}

    async def _tell(self) -> None:
        """Round after round: what was told since the last one, each target once."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            told, self._told = self._told, {}
            for target in told:
                letter = Letter(target.encode(), _nudges(self._bus), "", content_type="text/plain", headers={_FROM: self._chain})
                try:
                    await asyncio.wrap_future(self._publisher.publish(letter))
                except BusError as error:
                    self._note("telling", error)
                else:
                    self._note("telling", None)
            await asyncio.sleep(_ROUND)

    def _take(self, received: Received) -> None:
        received.settle(True)
        if received.headers.get(_FROM) != self._chain:
            metrics.NUDGES.inc()
            self._heard(received.body.decode("utf-8", "replace"))

    def _note(self, what: str, error: BusError | None) -> None:
        """A side of the broker failed, or works: the metric always, the log when that is news."""
        metrics.BROKER.labels(what).set(error is None)
        before = self._away.pop(what, None)
        if error is None:
            if what not in self.working:
                _log.info(log.BROKER_CONNECTED, side=what)
            self.working.add(what)
            return
        self.working.discard(what)
        self._away[what] = error
        if before is None or before.code != error.code:
            _log.warning(log.BROKER_LOST, side=what, code=error.code, reason=error.reason("en"))


def _nudges(bus: str) -> str:
    return f"govbus.{bus}.nudges"


def _declare(link: Any, *, bus: str, chain: str) -> str:
    """What is in the module's table; the name of the process's own queue."""
    nudges, dead = Exchange(_nudges(bus), "fanout"), Exchange(f"{_nudges(bus)}.dead", "fanout")
    quorum = {"x-queue-type": "quorum", "x-delivery-limit": _DELIVERY_LIMIT}
    aside = Queue(dead.name, dead, message_ttl=_DAY, max_length=_MOST, queue_arguments=quorum)
    own = Queue(
        f"{_nudges(bus)}.{chain}",
        nudges,
        expires=_DAY,
        message_ttl=_LIFE,
        max_length=_MOST,
        queue_arguments={**quorum, "x-dead-letter-exchange": dead.name},
    )
    channel = link.channel()
    for each in (aside, own):
        each.bind(channel).declare()
    channel.close()
    return f"{_nudges(bus)}.{chain}"
