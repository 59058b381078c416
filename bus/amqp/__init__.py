"""AMQP 0-9-1 as this bus speaks it: a publisher that knows what the broker has taken, a consumer that answers for every message.

kombu is synchronous, so each ``Publisher`` and each ``Consumer`` has a thread with a connection of its own (a broker short of memory stops
reading from connections that publish, and those that consume must go on). No method blocks its caller, but ``stop``.

It promises: a connection that is dead though nobody closed it is noticed within two heartbeats or ``patience``; what ``publish`` reports as
done is in a queue, on the broker's disk; a message is acknowledged only when it is settled. Nothing that is raised or logged shows a URL.

Raises Deferred ``partner-unreachable`` (no connection, or no confirm in time), ``partner-postponed`` (nacked, unroutable, or the broker
blocks publishers), ``partner-credentials``; Rejected ``partner-refused`` for a message that the broker will never take.
"""

from bus.amqp.broker import Broker, check_url
from bus.amqp.consumer import Consumer, Received
from bus.amqp.publisher import Letter, Publisher

__all__ = ["Broker", "Consumer", "Letter", "Publisher", "Received", "check_url"]
