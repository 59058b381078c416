"""What the tests do to queues, past our own code."""

import time
from collections.abc import Callable

import amqp
from rabbit_server import RabbitServer


def put(rabbit: RabbitServer, queue: str, body: bytes, times: int = 1, **properties: object) -> None:
    """Put a message into a queue, confirmed; or the same one several times."""
    with rabbit.connect() as connection:
        channel = connection.channel()
        channel.confirm_select()
        acks = [0]
        channel.events["basic_ack"].add(lambda tag, _multiple: acks.append(tag))
        for _ in range(times):
            channel.basic_publish(amqp.Message(body, delivery_mode=2, **properties), routing_key=queue, mandatory=True)
        while max(acks) < times:
            connection.drain_events(timeout=10)


def got(rabbit: RabbitServer, queue: str) -> amqp.Message | None:
    """Take one message out of a queue, or None."""
    with rabbit.connect() as connection:
        return connection.channel().basic_get(queue, no_ack=True)


def awaited(rabbit: RabbitServer, queue: str) -> amqp.Message:
    """The next message of a queue, which may come yet."""
    with rabbit.connect() as connection:
        channel = connection.channel()
        found: list[amqp.Message] = []
        channel.auto_decode = False
        channel.basic_qos(0, 1, False)
        channel.basic_consume(queue, callback=found.append)
        while not found:
            connection.drain_events(timeout=20)
        channel.basic_ack(found[0].delivery_tag)
        return found[0]


def waiting(rabbit: RabbitServer, queue: str) -> int:
    """How many messages a queue has ready."""
    with rabbit.connect() as connection:
        return int(connection.channel().queue_declare(queue, passive=True).message_count)


def until(question: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a thing outside this process to become true, and fail when it does not."""
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
