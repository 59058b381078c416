"""Two nodes of the ministry's bus on one PostgreSQL, woken through RabbitMQ: whichever of the three is killed, nothing is lost."""

import asyncio
import json
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rabbit_hands import until
from rabbit_server import RabbitServer
from second_daemon import govbus_run
from servers import PostgresServer

from bus import audit, daemon
from bus.errors import Deferred
from bus.receipt import Status
from sandbox import documents, sites
from sandbox.process import BusProcess
from sandbox.unit import Unit

#: So that a test need not wait three minutes for what a dead node held.
LEASE = "5"


@dataclass(slots=True)
class Ministry:
    """The nodes, the agency beside them, and what all were made of."""

    made: sites.Sites
    one: BusProcess
    two: BusProcess
    agency: BusProcess
    store: str

    def unit(self, node: BusProcess) -> Unit:
        """The telecom authority's client of one node."""
        party = documents.TELECOM_AUTHORITY
        keys, trust = self.made.key("telecom-authority"), self.made.ministry / "certs" / "own"
        return Unit.connect(node.url, party.code, keys=keys, trust=trust)

    def desk(self) -> Unit:
        """The agency's own staff."""
        keys, trust = self.made.key("partner-agency"), self.made.agency / "certs" / "own"
        return Unit.connect(self.agency.url, documents.PARTNER_AGENCY.code, keys=keys, trust=trust, inbox="/soap/desk")

    def page(self, node: BusProcess, path: str) -> str:
        """What a node says of itself to operators."""
        return node.page(path)[1]

    def figure(self, node: BusProcess, name: str) -> float:
        """One of a node's metrics."""
        lines = self.page(node, "/metrics").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


@pytest.fixture(scope="module")
def ministry(postgres: PostgresServer, rabbit: RabbitServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministry]:
    """Everything running. The lane to the agency is narrow, so that one node alone cannot keep up."""
    directory = tmp_path_factory.mktemp("sites")
    made = sites.create(directory, datetime.now(UTC))
    routes = made.ministry / "routes.yaml"
    text = routes.read_text(encoding="utf-8")
    narrow = text.replace("soap: {url: env:AGENCY_URL,", "soap: {url: env:AGENCY_URL, width: 1,")
    assert narrow != text
    routes.write_text(narrow.replace("retry: {first: 30s", "retry: {first: 1s"), encoding="utf-8")
    second = shutil.copytree(made.ministry, directory / "second")
    store = postgres.url(postgres.create())
    shared = {"GOVBUS_STORE": store, "GOVBUS_BROKER": rabbit.url(), "GOVBUS_LEASE": LEASE}
    agency = BusProcess(made.agency, port=made.ports["agency"])
    one = BusProcess(made.ministry, environment={**shared, "GOVBUS_NODE": "one"})
    two = BusProcess(second, environment={**shared, "GOVBUS_NODE": "two"})
    try:
        agency.start()
        # Together, on an empty database.
        starting = threading.Thread(target=two.start)
        starting.start()
        one.start()
        starting.join()
        yield Ministry(made, one, two, agency, store)
    finally:
        for node in (one, two, agency):
            node.kill()


async def send(units: list[Unit], number: int) -> str:
    """A document to the agency, through the first node that takes it; what is Deferred is repeated, as every client must."""
    body = documents.make(size=5_000, seed=number, receivers=(documents.PARTNER_AGENCY,), number=number + 1)
    async with asyncio.timeout(60):
        while True:
            for unit in units:
                try:
                    return (await unit.send(body, f"doc-{number}")).message_id
                except Deferred:
                    await asyncio.sleep(0.05)


async def arrivals(desk: Unit, count: int) -> list[str]:
    """The DocumentIds in the agency's hands, each as often as it came."""
    found: list[str] = []
    async with asyncio.timeout(90):
        while len(found) < count:
            for entry in await desk.pending():
                if entry.kind == "document":
                    found.append(entry.document_id)
                    await desk.confirm(entry.message_id)
            await asyncio.sleep(0.05)
    return found


def test_fault_08_two_nodes_of_one_store_need_two_names(ministry: Ministry, tmp_path: Path) -> None:
    """A copy of the site, as on another machine, started under a name that is taken: it refuses and says why; the first goes on."""
    copy = shutil.copytree(ministry.made.ministry, tmp_path / "copy")
    third = govbus_run(copy, {"GOVBUS_STORE": ministry.store, "GOVBUS_NODE": "one"})
    assert third.returncode != 0
    assert "another node writes journal chain 'one'" in re.sub(r"\s+", " ", third.stdout + third.stderr)
    assert not ministry.one.died


async def test_two_nodes_one_killed_and_the_broker_killed_under_load(rabbit: RabbitServer, ministry: Ministry) -> None:
    """Work is shared; a node dies with SIGKILL and the broker with it; all that was accepted arrives once, with its receipts."""
    one, two = ministry.unit(ministry.one), ministry.unit(ministry.two)
    async with one, two, ministry.desk() as desk:
        until(lambda: ministry.figure(ministry.two, 'govbus_broker_connected{side="listening"}') == 1)
        # All of this comes in at node one, whose lane to the agency takes one at a time: node two is woken and helps.
        await asyncio.gather(*(send([one], number) for number in range(30)))
        until(lambda: ministry.figure(ministry.two, 'govbus_attempts_total{outcome="delivered"') > 0)
        assert ministry.figure(ministry.two, "govbus_nudges_heard_total") > 0

        sending = asyncio.gather(*(send([one, two] if number % 2 else [two, one], number) for number in range(30, 90)))
        await asyncio.to_thread(rabbit.kill)
        await asyncio.to_thread(until, lambda: ministry.figure(ministry.one, "govbus_messages_accepted_total") > 35)
        ministry.one.kill()
        await sending
        ready = json.loads(await asyncio.to_thread(ministry.page, ministry.two, "/readyz"))
        assert (ready["status"], set(ready["warnings"]) & {"broker, listening"}) == ("ok", {"broker, listening"})
        back = asyncio.create_task(asyncio.to_thread(rabbit.start))
        found = await arrivals(desk, 90)
        assert (len(found), len(set(found))) == (90, 90)
        # What arrived just before the node died was not recorded: it is sent again when its lease is over, and recognised.
        async with asyncio.timeout(60):
            for number in range(90):
                while [receipt.status for receipt in await two.receipts(f"doc-{number}")] != [Status.ACCEPTED, Status.DELIVERED]:
                    await asyncio.sleep(0.1)
        await back
        until(lambda: ministry.figure(ministry.two, 'govbus_broker_connected{side="listening"}') == 1, 60)
    assert ministry.two.stop() == 0
    with daemon.opened(ministry.made.ministry, {"GOVBUS_STORE": ministry.store}, "observer") as (loaded, store):
        report = audit.audit(store, daemon.open_evidence(loaded.site))
    assert report.findings == ()
