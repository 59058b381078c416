"""The publisher: it says "done" for what is in a queue, and the truth about everything else, whatever the broker and the line do."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from rabbit_hands import got, until, waiting
from rabbit_line import Line
from rabbit_server import MAX_MESSAGE_SIZE, RabbitServer

from bus.amqp import Broker, Consumer, Letter, Publisher, Received, check_url
from bus.errors import Deferred, Rejected

Publishers = Callable[[Broker], Publisher]


def test_done_means_that_the_message_is_in_the_queue(rabbit: RabbitServer, queue: str, publisher: Publishers) -> None:
    """Persistent, with its properties, octet for octet."""
    letter = Letter(b"\x00\xff", "", queue, "id-1", "about-1", "application/xml", {"kind": "document"})
    publisher(Broker(rabbit.url(), "office")).publish(letter).result(20)
    message = got(rabbit, queue)
    assert message is not None
    told = message.properties
    assert (message.body, told["message_id"], told["correlation_id"], told["content_type"], told["delivery_mode"]) == (
        b"\x00\xff",
        "id-1",
        "about-1",
        "application/xml",
        2,
    )
    assert message.headers["kind"] == "document"


def test_fault_21_a_message_over_the_brokers_limit_is_refused_for_good(rabbit: RabbitServer, queue: str, publisher: Publishers) -> None:
    """Rejected with the broker's reason; the next message goes through."""
    office = publisher(Broker(rabbit.url(), "office"))
    with pytest.raises(Rejected, match=r"5\.4\.0 .*larger than configured max size"):
        office.publish(Letter(bytes(MAX_MESSAGE_SIZE + 1), "", queue)).result(20)
    office.publish(Letter(b"small", "", queue)).result(20)
    assert waiting(rabbit, queue) == 1


@pytest.mark.parametrize(("exchange", "reason"), [("", "NO_ROUTE"), ("nobody-declared-it", "NOT_FOUND")])
def test_fault_23_an_unroutable_message_is_noticed(
    rabbit: RabbitServer, queue: str, publisher: Publishers, exchange: str, reason: str
) -> None:
    """Mandatory: a queue or exchange that is gone is no delivery; once it is back, the same publisher delivers."""
    office = publisher(Broker(rabbit.url(), "office"))
    with pytest.raises(Deferred, match=rf"4\.4\.5 .*{reason}"):
        office.publish(Letter(b"x", exchange, "nowhere")).result(20)
    office.publish(Letter(b"x", "", queue)).result(20)
    assert waiting(rabbit, queue) == 1


def test_fault_25_a_confirm_that_never_comes_is_a_failure_in_time(
    rabbit: RabbitServer, queue: str, publisher: Publishers, line: Line
) -> None:
    """The answer is lost on the line: Deferred after our patience, heartbeats or not; afterwards a new connection delivers."""
    office = publisher(Broker(rabbit.url(port=line.port), "office", heartbeat=60, patience=1))
    office.publish(Letter(b"first", "", queue)).result(20)
    line.dead.set()
    with pytest.raises(Deferred, match=r"4\.4\.1 .*no confirm within 1 s"):
        office.publish(Letter(b"second", "", queue)).result(20)
    line.dead.clear()
    office.publish(Letter(b"third", "", queue)).result(20)
    assert waiting(rabbit, queue) == 2


def test_fault_25_a_nack_is_no_delivery(rabbit: RabbitServer, name: str, publisher: Publishers) -> None:
    """A full queue that refuses publishing nacks: Deferred, and the message is not in it."""
    with rabbit.connect() as connection:
        full = {"x-max-length": 1, "x-overflow": "reject-publish"}
        connection.channel().queue_declare(name, durable=True, auto_delete=False, arguments=full)
    office = publisher(Broker(rabbit.url(), "office"))
    office.publish(Letter(b"fits", "", name)).result(20)
    with pytest.raises(Deferred, match=r"4\.4\.5 .*nack"):
        office.publish(Letter(b"does not", "", name)).result(20)
    assert waiting(rabbit, name) == 1


def test_fault_22_a_half_open_line_is_noticed_while_nothing_is_sent(
    rabbit: RabbitServer, queue: str, publisher: Publishers, line: Line
) -> None:
    """Two heartbeats of silence end the connection, so that the next message finds a good one."""
    office = publisher(Broker(rabbit.url(port=line.port), "office", heartbeat=1, patience=20))
    office.publish(Letter(b"first", "", queue)).result(20)
    line.dead.set()
    until(lambda: office._link is None)
    line.dead.clear()
    office.publish(Letter(b"second", "", queue)).result(5)
    assert waiting(rabbit, queue) == 2


def test_fault_20_a_memory_alarm_postpones_and_is_over_by_itself(rabbit: RabbitServer, queue: str, publisher: Publishers) -> None:
    """The broker blocks publishers: Deferred that says so, at once when it is known; when the alarm ends, the same publisher delivers."""
    office = publisher(Broker(rabbit.url(), "office", patience=1))
    office.publish(Letter(b"before", "", queue)).result(20)
    rabbit.control("set_vm_memory_high_watermark", "0.00001")
    try:
        with pytest.raises(Deferred, match="blocks publishers"):
            office.publish(Letter(b"during", "", queue)).result(20)
    finally:
        rabbit.control("set_vm_memory_high_watermark", "0.4")

    def delivered() -> bool:
        return office.publish(Letter(b"after", "", queue)).exception(20) is None

    until(delivered)
    assert waiting(rabbit, queue) >= 2


def test_while_the_broker_is_away_messages_fail_at_once() -> None:
    """Nobody listens: Deferred without a queue building up, and stopping takes no time."""
    nobody = Publisher(Broker("amqp://127.0.0.1:1/", "office"))
    failures = [nobody.publish(Letter(b"x", "", "q")) for _ in range(100)]
    assert {type(each.exception(5)) for each in failures} == {Deferred}
    nobody.stop()
    assert "closed" in str(nobody.publish(Letter(b"x", "", "q")).exception(1))


def test_wrong_credentials_are_called_that_and_not_shown(rabbit: RabbitServer) -> None:
    """4.7.0 with the broker's reason; neither the password nor the address is in any text."""
    broker = Broker(f"amqp://guest:sesame-9@127.0.0.1:{rabbit.port}/", "office")
    stranger = Publisher(broker)
    failure = stranger.publish(Letter(b"x", "", "q")).exception(20)
    stranger.stop()
    assert isinstance(failure, Deferred)
    assert failure.code == "4.7.0"
    assert "sesame" not in f"{failure} {failure.reason('vi')} {failure!r} {broker!r}"


def test_over_tls_the_brokers_certificate_is_checked(rabbit: RabbitServer, queue: str, publisher: Publishers, certs: Path) -> None:
    """With the partner's authority messages go out and come in; with another's, or the system's, there is no connection."""
    url = rabbit.url().replace("amqp:", "amqps:").replace(str(rabbit.port), str(rabbit.tls_port))
    authority = ssl.PEM_cert_to_DER_cert((certs / "own" / "ca.crt").read_text())
    office = Broker(url, "office", [authority])
    taken: list[bytes] = []

    def take(received: Received) -> None:
        taken.append(received.body)
        received.settle(True)

    consumer = Consumer(office, declare=lambda _link: queue, prefetch=10, take=take, noted=lambda _error: None)
    bodies = [bytes([number]) * size for number, size in enumerate((1, 70_000, 200_000, 5))]
    for body in bodies:
        publisher(office).publish(Letter(body, "", queue)).result(20)
    until(lambda: len(taken) == len(bodies))
    consumer.stop()
    assert (taken, waiting(rabbit, queue)) == (bodies, 0)
    for anchors in ((), [_stranger()]):
        failure = publisher(Broker(url, "office", anchors)).publish(Letter(b"x", "", queue)).exception(20)
        assert isinstance(failure, Deferred)
        assert "certificate verify failed" in str(failure)


def _stranger() -> bytes:
    """An authority that has certified nothing here."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA of nobody")])
    day = timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, datetime.now(UTC) - day, datetime.now(UTC) + day)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_several_nodes_of_a_cluster_are_tried_in_turn(rabbit: RabbitServer, queue: str, publisher: Publishers) -> None:
    """The first is down: the second attempt goes to the other one."""
    office = publisher(Broker(f"amqp://127.0.0.1:1/;{rabbit.url()}", "office"))
    until(lambda: office.publish(Letter(b"x", "", queue)).exception(20) is None)


@pytest.mark.parametrize("url", ["", "localhost", "http://u:sesame@h/", "amqp://", "amqp://h:0/", "amqp://h:99999/", "amqp://h/;amqp://"])
def test_what_is_no_address_is_refused_without_being_shown(url: str) -> None:
    """The text says what to write; the value, which may hold a password, is not in it."""
    with pytest.raises(ValueError, match=r"write amqp://user:password@host") as refused:
        check_url(url)
    assert "sesame" not in str(refused.value)
