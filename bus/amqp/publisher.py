"""Publisher: one letter after the other; each is in a queue, or its failure is known."""

import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

import kombu
from amqp.exceptions import AMQPError, ContentTooLarge, NotFound, PreconditionFailed

from bus.amqp.broker import Broker, part
from bus.errors import BusError, Rejected

#: After a failure to connect the same failure is given for so long, in seconds, without trying.
_PAUSE: Final = 1.0
#: What was given before the end is decided gets so long, in seconds.
_GRACE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Letter:
    """One message to publish. Without an ``exchange`` the ``routing_key`` is a queue's name."""

    body: bytes
    exchange: str
    routing_key: str
    message_id: str = ""
    correlation_id: str = ""
    content_type: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)


class Publisher:
    """Publishes persistent, mandatory letters and waits for each one's confirm.

    One at a time, so that a broker's refusal is always about a known letter: at most one a round trip and disk flush of the broker.
    It connects when there is something to send; while the broker is away, letters fail at once instead of queueing up.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._letters = queue.SimpleQueue[tuple[Letter, Future[None]] | None]()
        #: When ``stop`` ends even what is under way.
        self._until = float("inf")
        self._link: Any = None
        self._channel: Any = None
        self._sent = 0
        self._answer: bool | None = None
        self._returned = ""
        self._blocked = ""
        self._attempts = -1
        self._away: tuple[float, BusError] | None = None
        self._thread = threading.Thread(target=self._run, name=f"publish {broker.name}", daemon=True)
        self._thread.start()

    def publish(self, letter: Letter) -> Future[None]:
        """Done when the letter is in a queue; or the failure."""
        promise = Future[None]()
        if self._stopping():
            promise.set_exception(self._broker.postponed("closed"))
        else:
            self._letters.put((letter, promise))
        return promise

    def stop(self, grace: float = _GRACE) -> None:
        """Send what was given before, as far as that is done in ``grace`` seconds, then close; returns when the thread has ended."""
        self._until = time.monotonic() + grace
        self._letters.put(None)
        self._thread.join()

    def _stopping(self) -> bool:
        return self._until != float("inf")

    # --- in the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                given = self._letters.get(timeout=self._broker.heartbeat / 4)
            except queue.Empty:
                self._keep_alive()
                continue
            if given is None:
                break
            self._keep_promise(*given)
        self._drop(orderly=not self._blocked)
        while not self._letters.empty():
            # Given while the end was being decided.
            if late := self._letters.get():
                late[1].set_exception(self._broker.postponed("closed"))

    def _keep_promise(self, letter: Letter, promise: Future[None]) -> None:
        if promise.set_running_or_notify_cancel():
            try:
                if time.monotonic() > self._until:
                    raise self._broker.postponed("closed")
                self._send(letter)
            except BusError as failure:
                promise.set_exception(failure)
            else:
                promise.set_result(None)

    def _send(self, letter: Letter) -> None:
        """One letter. A connection that could not do it is not used again: a late confirm must not count for the next letter."""
        try:
            self._connect()
            self._put(letter)
            confirmed = self._confirmed()
        except BusError:
            raise
        except (PreconditionFailed, ContentTooLarge) as error:
            self._drop(orderly=False)
            raise Rejected("partner-refused", target=self._broker.name, detail=error.reply_text) from error
        except NotFound as error:
            self._drop(orderly=True)
            raise self._broker.postponed(error.reply_text) from error
        except Exception as error:
            # Whatever it is: py-amqp raises AttributeError, too, where a connection is lost.
            self._drop(orderly=False)
            raise self._broker.failure(error) from error
        if self._returned:
            raise self._broker.postponed(f"unroutable: {self._returned}")
        if not confirmed:
            raise self._broker.postponed("the broker did not take it (nack)")

    def _connect(self) -> None:
        if self._link is not None:
            return
        if self._away and time.monotonic() < self._away[0]:
            raise self._away[1]
        try:
            self._open()
        except Exception as error:
            self._drop(orderly=False)
            failure = self._broker.failure(error)
            self._away = (time.monotonic() + _PAUSE, failure)
            raise failure from error

    def _open(self) -> None:
        self._attempts += 1
        self._link = self._broker.connect(self._attempts, on_blocked=self._on_blocked, on_unblocked=self._on_unblocked)
        self._channel = self._link.channel()
        self._channel.confirm_select()
        for event, heard in (("basic_ack", self._on_ack), ("basic_nack", self._on_nack), ("basic_return", self._on_return)):
            self._channel.events[event].add(heard)
        self._sent = 0

    def _put(self, letter: Letter) -> None:
        while self._hear(0.0):
            pass
        if self._blocked:
            raise self._broker.postponed(f"the broker blocks publishers: {self._blocked}")
        self._answer, self._returned = None, ""
        self._sent += 1
        kombu.Producer(self._channel, auto_declare=False).publish(
            letter.body,
            exchange=letter.exchange,
            routing_key=letter.routing_key,
            content_type=letter.content_type,
            content_encoding="binary",
            headers=dict(letter.headers),
            message_id=letter.message_id or None,
            correlation_id=letter.correlation_id or None,
            delivery_mode=2,
            mandatory=True,
            timeout=self._broker.patience,
        )

    def _confirmed(self) -> bool:
        """The broker's ack or nack. Our own wait, because py-amqp's begins anew with every heartbeat."""
        deadline = time.monotonic() + self._broker.patience
        while self._answer is None:
            left = min(deadline, self._until) - time.monotonic()
            if left <= 0:
                blocked = f"; the broker blocks publishers: {self._blocked}" if self._blocked else ""
                raise TimeoutError(f"no confirm within {self._broker.patience:g} s{blocked}")
            self._hear(min(left, self._broker.heartbeat / 4))
        return self._answer

    def _hear(self, timeout: float) -> bool:
        """Whether a frame came in time; and our heartbeat, when it is due."""
        try:
            self._link.blocking_read(timeout)
        except TimeoutError:
            return False
        finally:
            self._link.heartbeat_tick()
        return True

    def _keep_alive(self) -> None:
        if self._link is not None:
            try:
                while self._hear(0.0):
                    pass
            except Exception:  # noqa: BLE001 - nothing was being sent; the next letter connects anew and says what is wrong
                self._drop(orderly=False)

    def _drop(self, *, orderly: bool) -> None:
        link, self._link, self._blocked = self._link, None, ""
        if link is not None:
            part(link, orderly=orderly)

    # --- what the broker says -----------------------------------------------------------------------------------------

    def _on_ack(self, tag: int, multiple: bool) -> None:
        if tag == self._sent or (multiple and tag == 0):
            self._answer = True

    def _on_nack(self, *_: object) -> None:
        self._answer = False

    def _on_return(self, error: AMQPError, exchange: str, routing_key: str, _message: object) -> None:
        self._returned = f"{error.reply_text} (exchange '{exchange}', routing key '{routing_key}')"

    def _on_blocked(self, reason: str = "") -> None:
        self._blocked = reason or "it is short of memory or disk"

    def _on_unblocked(self) -> None:
        self._blocked = ""
