"""Consumer: takes messages from one queue, connects again for as long as it must, and sends one verdict a message."""

import contextlib
import queue
import selectors
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import kombu

from bus.amqp.broker import Broker, part
from bus.errors import BusError

#: Pauses between attempts to connect, in seconds: the first, and the longest.
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 15.0


@dataclass(frozen=True, slots=True)
class Received:
    """A message from a queue.

    ``settle`` is called once, from any thread: True, it is ours now; False, it never will be (the queue's dead-letter exchange gets it, if
    there is one). What is never settled goes back to the queue when the connection ends: then ``lost`` is set, and it comes again.
    """

    body: bytes
    properties: Mapping[str, Any]
    headers: Mapping[str, Any]
    settle: Callable[[bool], None] = field(repr=False)
    lost: threading.Event = field(repr=False)


class Consumer:
    """One queue's listener.

    ``declare`` is given a fresh connection, makes sure that there is a queue, and gives its name. ``take`` is called with each message, and
    must not block. ``noted`` is called with each failure, and with None when the queue is listened to. All three run in this consumer's
    thread. ``prefetch``: so many messages at most are unsettled.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        declare: Callable[[Any], str],
        prefetch: int,
        take: Callable[[Received], None],
        noted: Callable[[BusError | None], None],
    ) -> None:
        self._broker = broker
        self._declare = declare
        self._prefetch = prefetch
        self._take = take
        self._noted = noted
        self._stopping = threading.Event()
        self._waker, self._woken = socket.socketpair()
        for end in (self._waker, self._woken):
            end.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"consume {broker.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send the verdicts that are known, then close. Returns when the thread has ended."""
        self._stopping.set()
        self._wake()
        self._thread.join()
        self._waker.close()
        self._woken.close()

    def _wake(self) -> None:
        # A full pipe wakes as well; a closed one has nobody to wake.
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def _run(self) -> None:
        pause, attempt = _FIRST_PAUSE, 0
        while not self._stopping.is_set():
            session = _Session(self._broker, self._wake)
            try:
                session.open(attempt, self._declare, self._prefetch, self._receive)
                self._noted(None)
                pause = _FIRST_PAUSE
                session.serve(self._woken, self._stopping)
            except Exception as error:  # noqa: BLE001 - whatever it is (py-amqp raises AttributeError, too), the connection is of no use
                self._noted(self._broker.failure(error))
                session.close(orderly=False)
                self._stopping.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                session.close(orderly=True)
            attempt += 1

    def _receive(self, received: Received) -> None:
        if not self._stopping.is_set():
            self._take(received)


class _Session:
    """One connection's life. A verdict belongs to the session its message came in; after that it is of no use, and is dropped with it."""

    def __init__(self, broker: Broker, wake: Callable[[], None]) -> None:
        self._broker = broker
        self._wake = wake
        self._verdicts = queue.SimpleQueue[tuple[Any, bool]]()
        self._over = threading.Event()
        self._link: Any = None

    def open(self, attempt: int, declare: Callable[[Any], str], prefetch: int, take: Callable[[Received], None]) -> None:
        """Connect, declare, and ask for messages."""
        self._link = self._broker.connect(attempt)
        name = declare(self._link)
        channel = self._link.channel()
        channel.auto_decode = False
        channel.basic_qos(0, prefetch, False)

        def received(message: Any) -> None:
            def settle(taken: bool) -> None:
                self._verdicts.put((message, taken))
                self._wake()

            # py-amqp gives an empty body as text.
            take(Received(message.body or b"", message.properties, message.headers or {}, settle, self._over))

        kombu.Consumer(channel, [kombu.Queue(name)], auto_declare=False, on_message=received).consume()

    def serve(self, woken: socket.socket, stopping: threading.Event) -> None:
        """Until ``stopping``: hear the broker, and send the verdicts."""
        with selectors.DefaultSelector() as selector:
            for each in (self._link.sock, woken):
                selector.register(each, selectors.EVENT_READ)
            while not stopping.is_set():
                ready = {key.fileobj for key, _ in selector.select(self._broker.heartbeat / 4)}
                if woken in ready:
                    woken.recv(1 << 16)
                if self._link.sock in ready:
                    self._hear()
                self._send_verdicts()
                self._link.heartbeat_tick()
            self._send_verdicts()

    def _hear(self) -> None:
        """What has come in, frame by frame. TLS decrypts whole records: what it holds already would wake no selector."""
        with contextlib.suppress(TimeoutError):
            self._link.blocking_read(self._broker.heartbeat)
            while getattr(self._link.sock, "pending", int)():
                self._link.blocking_read(self._broker.heartbeat)

    def _send_verdicts(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                message, taken = self._verdicts.get_nowait()
                if taken:
                    message.ack()
                else:
                    message.reject()

    def close(self, *, orderly: bool) -> None:
        """Let go."""
        self._over.set()
        if self._link is not None:
            part(self._link, orderly=orderly)
