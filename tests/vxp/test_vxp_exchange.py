"""Two buses and a desk: the client side and the hub side of this adapter over real sockets, stores and engines."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
import structlog
from vxp_buses import HUB, MINISTRY, MINISTRY_BUS, OFFICE, UNIT, Node, eventually, letter, listen_at, now, running, status

from adapters.vxp import Client
from adapters.vxp import poller as poller_module
from adapters.vxp.poller import Poller
from bus import conditions
from bus.config import Loaded
from bus.errors import Deferred
from sandbox.government_office import Desk, Letter

Clients = Callable[..., Client]


@pytest.fixture
async def ministry(hub: Node, make_site: Callable[..., Loaded], listen: Callable[[], object]) -> AsyncIterator[Node]:
    """The ministry's bus, a client of the hub."""
    async with running(make_site("ministry", MINISTRY_BUS, VXP_URL=f"{hub.url}/vxp/exchange"), listen()) as node:  # type: ignore[arg-type]
        yield node


@pytest.fixture
async def desk(hub: Node) -> AsyncIterator[Desk]:
    """The Government Office's desk at the hub."""
    async with Desk(f"{hub.url}/vxp/exchange", "office-secret", now) as desk:
        yield desk


async def _collected(desk: Desk) -> list[Letter]:
    kept: list[Letter] = []

    async def keep(letter: Letter) -> None:
        kept.append(letter)

    async def some() -> int:
        return await desk.collect(keep)

    await eventually(some)
    return kept


async def test_a_letter_goes_out_and_its_status_comes_home(ministry: Node, client: Clients, desk: Desk) -> None:
    """From a unit's SDK through two buses to the desk, octet for octet; and the desk's status 01 back into the unit's list."""
    unit = client(ministry, UNIT, "/vxp/units")
    data = letter("1", UNIT, OFFICE)
    doc_id = json.loads(await unit.send(data, "edoc", UNIT, [OFFICE]))["DocId"]
    (received,) = await _collected(desk)
    assert (received.kind, received.body) == ("edoc", data)
    (status_id,) = await eventually(lambda: unit.received("status"))
    report = await unit.fetch(status_id)
    assert b"<edXML:StatusCode>01</edXML:StatusCode>" in report
    (entry,) = await unit.sent("edoc", doc_id)
    assert (entry["receiveStatus"], entry["toCode"]) == ("done", OFFICE)


async def test_a_letter_comes_in_and_leaves_the_hubs_list(ministry: Node, client: Clients, desk: Desk) -> None:
    """What the office sends is fetched by the ministry's poller, confirmed at the hub, and waits for the unit."""
    unit = client(ministry, UNIT, "/vxp/units")
    data = letter("2", OFFICE, UNIT)
    doc_id = await desk.send(data, [UNIT])
    (waiting,) = await eventually(lambda: unit.received("edoc"))
    assert await unit.fetch(waiting) == data

    async def confirmed() -> bool:
        return [entry["receiveStatus"] for entry in await desk.outcome(doc_id)] == ["done"]

    await eventually(confirmed)


async def test_a_hub_that_is_down_delays_and_loses_nothing(make_site: Callable[..., Loaded], client: Clients) -> None:
    """Sent while the hub is away, a letter arrives when it is back; the poller survives the gap, too."""
    with listen_at() as hub_port, listen_at() as ministry_port:
        host, port = hub_port.getsockname()
        hub_site = make_site("hub", HUB)
        ministry_site = make_site("ministry", MINISTRY_BUS, VXP_URL=f"http://{host}:{port}/vxp/exchange")
        hub_port.close()
        async with running(ministry_site, ministry_port) as ministry:
            unit = client(ministry, UNIT, "/vxp/units")
            data = letter("3", UNIT, OFFICE)
            await unit.send(data, "edoc", UNIT, [OFFICE])
            with listen_at(port) as again:
                async with running(hub_site, again) as hub, Desk(f"{hub.url}/vxp/exchange", "office-secret", now) as desk:
                    assert [received.body for received in await _collected(desk)] == [data]
                    await eventually(lambda: unit.received("status"))


# --- the poller by rounds -------------------------------------------------------------------------------------------------


class Recorder(Client):
    """The real client; keeps what it told the hub, and lets a test cut single requests off."""

    told: list[tuple[str, str, str]]
    broken: set[str]

    async def fetch(self, doc_id: str) -> bytes:
        """Fetch, unless cut off."""
        if doc_id in self.broken:
            raise Deferred("partner-unreachable", target="hub", detail="cut")
        return await super().fetch(doc_id)

    async def update_status(self, doc_id: str, status: str, description: str = "") -> None:
        """Tell the hub, unless cut off."""
        self.told.append((doc_id, status, description))
        if "updateStatus" in self.broken:
            raise Deferred("partner-unreachable", target="hub", detail="cut")
        await super().update_status(doc_id, status, description)


@pytest.fixture
async def poller(hub: Node, make_site: Callable[..., Loaded], client: Clients) -> AsyncIterator[tuple[Poller, Recorder, Node]]:
    """A poller that the test turns by hand; the ministry's own one calls where nobody answers, and then sleeps for a day."""
    by_hand = MINISTRY_BUS.replace("poll: 50ms", "poll: 1d")
    with listen_at() as listener, listen_at() as nobody:
        deaf = f"http://127.0.0.1:{nobody.getsockname()[1]}/vxp/exchange"
        async with running(make_site("ministry", by_hand, VXP_URL=deaf), listener) as node:
            recorder = Recorder(client(hub, MINISTRY).account, name="hub", clock=now)
            recorder.told, recorder.broken = [], set()
            yield Poller(recorder, node.engine, endpoint="national-exchange", partner="government-office"), recorder, node
            await recorder.close()


async def _waiting(hub: Node, client: Clients, desk: Desk, *bodies: bytes) -> list[str]:
    """Send ``bodies`` one after the other; their ids in the ministry's list at the hub, in order."""
    ministry = client(hub, MINISTRY)
    for count, body in enumerate(bodies, 1):
        await desk.send(body, [])

        async def listed(count: int = count) -> bool:
            return len(await ministry.received("edoc")) == count

        await eventually(listed)
    return await ministry.received("edoc")


async def test_a_lost_confirmation_is_made_up_for(hub: Node, poller: tuple[Poller, Recorder, Node], client: Clients, desk: Desk) -> None:
    """Accepted but not confirmed: the next round confirms without fetching, and the unit gets it once."""
    turn, recorder, node = poller
    (doc_id,) = await _waiting(hub, client, desk, letter("4", OFFICE, UNIT))
    recorder.broken = {"updateStatus"}
    await turn.round()
    recorder.broken = {doc_id}
    await turn.round()
    assert recorder.told == [(doc_id, "done", "")] * 2
    assert await client(hub, MINISTRY).received("edoc") == []
    assert len(await eventually(lambda: client(node, UNIT, "/vxp/units").received("edoc"))) == 1


async def test_one_bad_item_stops_no_other(hub: Node, poller: tuple[Poller, Recorder, Node], client: Clients, desk: Desk) -> None:
    """One that cannot be fetched stays listed, one that the gate refuses is failed with its reason, the others are done, in order."""
    turn, recorder, _ = poller
    bodies = [letter(str(number), OFFICE, "000.00.00.G14" if number == 3 else UNIT) for number in range(1, 8)]
    ids = await _waiting(hub, client, desk, *bodies)
    recorder.broken = {ids[1]}
    await turn.round()
    assert [(doc_id, told) for doc_id, told, _ in recorder.told] == [
        (doc_id, "fail" if index == 2 else "done") for index, doc_id in enumerate(ids) if index != 1
    ]
    assert next(reason for doc_id, _, reason in recorder.told if doc_id == ids[2]).startswith("5.1.1 ")
    assert await client(hub, MINISTRY).received("edoc") == [ids[1]]
    recorder.broken = set()
    await turn.round()
    assert await client(hub, MINISTRY).received("edoc") == []


async def test_documents_come_before_statuses(hub: Node, poller: tuple[Poller, Recorder, Node], client: Clients, desk: Desk) -> None:
    """A status that overtook its document at the hub does not overtake it here."""
    turn, recorder, _ = poller
    await desk.send(status("13", f"{OFFICE},2024/03/15,9/BTN-VP", receiver=UNIT), kind="status")
    await eventually(lambda: client(hub, MINISTRY).received("status"))
    (document,) = await _waiting(hub, client, desk, letter("9", OFFICE, UNIT))
    await turn.round()
    first, second = recorder.told
    assert (first[0], first[1], second[1]) == (document, "done", "done")


async def test_nothing_is_confirmed_that_the_store_did_not_take(
    hub: Node, poller: tuple[Poller, Recorder, Node], client: Clients, desk: Desk
) -> None:
    """With the store away the hub keeps everything, unreported."""
    turn, recorder, node = poller
    (doc_id,) = await _waiting(hub, client, desk, letter("5", OFFICE, UNIT))
    node.store.close()
    await turn.round()
    assert recorder.told == []
    assert await client(hub, MINISTRY).received("edoc") == [doc_id]


async def test_trouble_with_the_hub_is_said_once(poller: tuple[Poller, Recorder, Node], monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that is down for a night fills no log: one alarm when it begins, one line when it ends."""
    turn, recorder, _ = poller
    lines = structlog.testing.LogCapture()
    for module in (poller_module, conditions):
        monkeypatch.setattr(module, "_log", structlog.wrap_logger(structlog.PrintLogger(), processors=[lines]))
    with listen_at() as closed:
        port = closed.getsockname()[1]
    away = Recorder(replace(recorder.account, url=f"http://127.0.0.1:{port}"), name="hub", clock=now)
    for client in (away, away, recorder, recorder):
        turn._client = client
        await turn.round()
    await away.close()
    assert [line["event"] for line in lines.entries] == ["alarm.fetching-trouble", "alarm.fetching-trouble.over"]


async def test_stopping_in_the_middle_of_a_round_ends_it(
    hub: Node, poller: tuple[Poller, Recorder, Node], client: Clients, desk: Desk
) -> None:
    """A cancelled poller is gone at once, and what it had not confirmed is still listed for the next one."""
    turn, recorder, _ = poller
    (doc_id,) = await _waiting(hub, client, desk, letter("6", OFFICE, UNIT))
    reached = asyncio.Event()

    async def stuck(_doc_id: str) -> bytes:
        reached.set()
        return await asyncio.Event().wait()  # type: ignore[return-value]

    recorder.fetch = stuck  # type: ignore[method-assign]
    polling = asyncio.create_task(turn.run(3600))
    await reached.wait()
    polling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await polling
    assert await client(hub, MINISTRY).received("edoc") == [doc_id]
