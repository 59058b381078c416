"""One RabbitMQ for all tests of this folder; each test has queues of its own in it."""

import os
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rabbit_line import Line
from rabbit_server import RabbitServer, programs

from bus import pki
from bus.amqp import Broker, Publisher


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One development PKI for the broker and all the sites."""
    directory = tmp_path_factory.mktemp("pki") / "certs"
    pki.development(directory, organisation_name="Bộ thử nghiệm", partners={}, now=datetime.now(UTC), key_type="ec-p256")
    return directory


@pytest.fixture(scope="session")
def rabbit(certs: Path) -> Iterator[RabbitServer]:
    """A RabbitMQ of the tests' own. Without its programs the test is skipped; in CI they must be there."""
    binaries = programs()
    if binaries is None and os.environ.get("CI") == "true":
        pytest.fail("RabbitMQ is not installed; .ci/run installs it")
    if binaries is None:
        pytest.skip("RabbitMQ is not installed (package rabbitmq-server)")
    with RabbitServer(binaries, certs / "own") as server:
        yield server


@pytest.fixture
def name() -> str:
    """A name that nothing on the broker has yet."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def queue(rabbit: RabbitServer, name: str) -> str:
    """A durable quorum queue."""
    with rabbit.connect() as connection:
        connection.channel().queue_declare(name, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
    return name


@pytest.fixture
def line(rabbit: RabbitServer) -> Iterator[Line]:
    """A line to the broker that can go dead."""
    with Line(rabbit.port) as line:
        yield line


@pytest.fixture
def publisher() -> Iterator[Callable[[Broker], Publisher]]:
    """Makes publishers, and stops them."""
    made: list[Publisher] = []

    def make(broker: Broker) -> Publisher:
        made.append(Publisher(broker))
        return made[-1]

    yield make
    for each in made:
        each.stop()
