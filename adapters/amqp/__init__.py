"""``amqp:`` queues of units and agencies whose systems speak AMQP 0-9-1 (RabbitMQ), one direction an endpoint.

With ``take`` the endpoint brings what waits in a queue into the bus (``inbox.py``); with ``exchange`` or ``routing-key`` it publishes to
one (``adapter.py``). Connections, confirms and their failures are ``bus.amqp``.
"""

from adapters.amqp.adapter import Adapter
from adapters.amqp.options import Options

__all__ = ["Adapter", "Options"]
