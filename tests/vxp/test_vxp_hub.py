"""The hub side over a real socket, engine and store: what VNPT's SDK, or another bus, meets."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from vxp_buses import MINISTRY, OFFICE, UNIT, Node, eventually, letter, now, status

from adapters.vxp import Client
from bus import vxp
from bus.endpoint import Request
from bus.errors import Deferred, Rejected

Clients = Callable[..., Client]


async def _raw(node: Node, operation: str, parameters: dict[str, str], body: bytes = b"", method: str = "POST", secret: str = "") -> Any:
    """One signed request of the ministry's, beside the client: status, headers and reply."""
    signed = {"systemid": MINISTRY, **parameters, "timestamp": vxp.timestamp(now()), "Content-Type": vxp.JSON}
    headers = vxp.signed_headers(signed, secret or "ministry-secret")
    async with aiohttp.request(method, f"{node.url}/vxp/exchange/{operation}", headers=headers, data=body) as response:
        return response.status, response.headers, await response.read()


async def _ask(node: Node, operation: str, **parameters: str) -> dict[str, Any]:
    return json.loads((await _raw(node, operation, parameters))[2])


async def _sent(office: Client, ministry: Client, data: bytes, kind: str = "edoc") -> str:
    """Send from the office; the docId under which the ministry then finds it."""
    before = set(await ministry.received(kind))
    await office.send(data, kind, OFFICE, [MINISTRY])

    async def arrived() -> set[str]:
        return set(await ministry.received(kind)) - before

    return (await eventually(arrived)).pop()


async def test_a_document_is_sent_listed_fetched_and_confirmed(hub: Node, client: Clients) -> None:
    """The whole receive loop of the protocol; the octets arrive as they were sent, and done ends the stay in the list."""
    office, ministry = client(hub, OFFICE), client(hub, MINISTRY)
    data = letter("1", OFFICE, MINISTRY)
    doc_id = await _sent(office, ministry, data)
    assert await ministry.fetch(doc_id) == data
    await ministry.update_status(doc_id, "processing")
    assert await ministry.received("edoc") == [doc_id]
    await ministry.update_status(doc_id, "done")
    assert await ministry.received("edoc") == []
    await ministry.update_status(doc_id, "done")


async def test_a_status_travels_as_a_status(hub: Node, client: Clients) -> None:
    """Documents and statuses are separate lists."""
    office, ministry = client(hub, OFFICE), client(hub, MINISTRY)
    doc_id = await _sent(office, ministry, status("03", "000.00.00.G14,2024/03/15,1/BTN-VP"), "status")
    assert (await ministry.received("edoc"), await ministry.received("status")) == ([], [doc_id])


async def test_the_list_says_what_waits(hub: Node, client: Clients) -> None:
    """An entry names sender, receiver, kind and time; counts and time windows agree with it."""
    doc_id = await _sent(client(hub, OFFICE), client(hub, MINISTRY), letter("2", OFFICE, MINISTRY))
    (entry,) = (await _ask(hub, "getReceivedEdocList", messagetype="edoc"))["data"]
    assert entry["docId"] == doc_id
    assert (entry["from"], entry["to"], entry["messageType"], entry["status"]) == (OFFICE, MINISTRY, "edoc", "initial")
    assert abs(vxp.read_list_time(entry["created_time"]) - now()) < timedelta(minutes=1)
    tomorrow = vxp.list_time(now() + timedelta(days=1))
    assert (await _ask(hub, "getReceivedEdocList", messagetype="edoc", fromDate=tomorrow))["data"] == []
    assert len((await _ask(hub, "getReceivedEdocList", messagetype="edoc", toDate=tomorrow))["data"]) == 1
    assert (await _ask(hub, "countReceiveEdoc", messagetype="edoc"))["count"] == 1
    assert (await _ask(hub, "countReceiveStatus", messagetype="status"))["count"] == 0


async def test_the_same_file_again_gets_the_same_doc_id(hub: Node, client: Clients) -> None:
    """A client that never saw our answer sends again; nothing is doubled, and the answer is the first one."""
    office, ministry = client(hub, OFFICE), client(hub, MINISTRY)
    data = letter("3", OFFICE, MINISTRY)
    doc_id = await _sent(office, ministry, data)
    first, second = [json.loads(await office.send(data, "edoc", OFFICE, [MINISTRY]))["DocId"] for _ in range(2)]
    assert first == second
    assert await ministry.received("edoc") == [doc_id]


async def test_the_to_parameter_narrows_the_receivers(hub: Node, client: Clients) -> None:
    """A copy sent for one receiver does not reach the others that its To elements name."""
    office, ministry = client(hub, OFFICE), client(hub, MINISTRY)
    await office.send(letter("4", OFFICE, MINISTRY, OFFICE), "edoc", OFFICE, ["G22"])
    await eventually(lambda: office.received("edoc"))
    assert await ministry.received("edoc") == []


async def test_download_gives_the_file_itself(hub: Node, client: Clients) -> None:
    """downloadEdoc (SDK 2.0.1) is a GET with the octets as its body."""
    data = letter("5", OFFICE, MINISTRY)
    doc_id = await _sent(client(hub, OFFICE), client(hub, MINISTRY), data)
    http, headers, body = await _raw(hub, "downloadEdoc", {"docId": doc_id, "filePath": "store"}, method="GET")
    assert (http, headers["Content-Type"], body) == (200, vxp.FILE, data)


async def test_fail_ends_the_delivery_with_the_reason(hub: Node, client: Clients) -> None:
    """The receiver's reason reaches the sender through getSentEdocList."""
    office, ministry = client(hub, OFFICE), client(hub, MINISTRY)
    reply = json.loads(await office.send(letter("6", OFFICE, MINISTRY), "edoc", OFFICE, [MINISTRY]))
    (doc_id,) = await eventually(lambda: ministry.received("edoc"))
    (waiting,) = await office.sent("edoc", reply["DocId"])
    assert (waiting["sendStatus"], waiting["receiveStatus"]) == ("done", "initial")
    await ministry.update_status(doc_id, "fail", "Lỗi chữ ký")
    (entry,) = await office.sent("edoc", reply["DocId"])
    assert (entry["toCode"], entry["receiveStatus"]) == (MINISTRY, "fail")
    assert "Loi chu ky" in entry["receiveStatusDesc"]


async def test_the_code_book_is_the_list_of_agencies(hub: Node, client: Clients) -> None:
    """Open codes in the list, by level if asked; closed ones only where closing is news."""
    agencies = await client(hub, MINISTRY).agencies()
    assert {agency["code"] for agency in agencies} == {"G14", "G22", "G14.99"}
    assert {agency["oldCode"] for agency in agencies} == {MINISTRY, OFFICE, UNIT}
    assert {agency["code102"] for agency in (await _ask(hub, "getAgenciesListQD20", level="1"))["data"]} == {MINISTRY, OFFICE}
    units = {unit["code"]: unit for unit in (await _ask(hub, "getSynchronizeUnit"))["data"]}
    assert (units["G98"]["deleted"], units["G98"]["centerCode"], units["G14"]["deleted"]) == (True, "G14", False)


@pytest.mark.parametrize("operation", ["registerAgency", "deleteAgency"])
async def test_national_data_is_not_changed_here(hub: Node, operation: str) -> None:
    """Both operations are answered, and refused, in the protocol's own form."""
    answer = await _ask(hub, operation, AgencyCode=UNIT)
    assert (answer["status"], answer["ErrorCode"]) == ("FAIL", "21")


async def _code(call: Any) -> str:
    with pytest.raises((Rejected, Deferred)) as caught:
        await call
    return str(caught.value)


async def test_who_may_not_is_told_why(hub: Node, client: Clients) -> None:
    """Wrong secret, unknown system, a foreign From, an unknown receiver, no edXML: each its ErrorCode, and nothing is accepted."""
    office, ministry = client(hub, OFFICE), client(hub, MINISTRY)
    assert " 15 " in await _code(client(hub, OFFICE, secret="wrong").received("edoc"))
    assert " 19 " in await _code(office.send(letter("7", MINISTRY, OFFICE), "edoc", OFFICE, []))
    assert " 19 " in await _code(office.send(letter("7", OFFICE, MINISTRY), "edoc", MINISTRY, []))
    assert "receiver" in await _code(office.send(letter("7", OFFICE, "000.00.00.H99"), "edoc", OFFICE, ["000.00.00.H99"]))
    assert " 22 " in await _code(office.send(b"<edXML>x</edXML>", "edoc", OFFICE, []))
    assert " 21 " in await _code(office.send(letter("7", OFFICE, MINISTRY), "status", OFFICE, []))
    assert await ministry.received("edoc") == await ministry.received("status") == []


async def test_a_mailbox_is_its_partners_alone(hub: Node, client: Clients) -> None:
    """Another system cannot list, fetch, confirm or trace what is not its own."""
    office, ministry = client(hub, OFFICE), client(hub, MINISTRY)
    doc_id = await _sent(office, ministry, letter("8", OFFICE, MINISTRY))
    assert await office.received("edoc") == []
    assert "5.4.0" in await _code(office.fetch(doc_id))
    assert "5.4.0" in await _code(office.update_status(doc_id, "done"))
    assert await ministry.received("edoc") == [doc_id]


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("getReceivedEdocList", {"messagetype": "letter"}),
        ("getReceivedEdocList", {"fromDate": "2024-03-01"}),
        ("updateStatus", {"docid": "x", "status": "perhaps"}),
        ("updateStatus", {"status": "done"}),
        ("getEdoc", {}),
        ("getSentEdocList", {}),
        ("sendEdoc", {"from": MINISTRY}),
        ("noSuchOperation", {}),
    ],
)
async def test_a_wrong_request_is_answered_in_the_protocol(hub: Node, operation: str, parameters: dict[str, str]) -> None:
    """HTTP 200 and FAIL with a reason and a reference, never an HTML page."""
    http, headers, body = await _raw(hub, operation, parameters)
    answer = json.loads(body)
    assert (http, headers["Content-Type"].partition(";")[0], answer["status"], answer["ErrorCode"]) == (200, vxp.JSON, "FAIL", "21")
    assert "[" in answer["ErrorDesc"]


async def test_to_must_be_a_list_of_codes(hub: Node, client: Clients) -> None:
    """A ``to`` that is no JSON array of codes, or names one that the document does not, is refused rather than taken as everybody."""
    data = letter("9", MINISTRY, OFFICE)
    for to in ('"000.00.00.G22"', '["000.00.99.G14"]', "[1]", '["a b"]', "[" * 5000, "{}"):
        parameters = {"messagetype": "edoc", "from": MINISTRY, "to": to, "hash-file": vxp.file_hash(data)}
        answer = json.loads((await _raw(hub, "sendEdoc", parameters, data + b"\r\n"))[2])
        assert (answer["ErrorCode"], "'to'" in answer["ErrorDesc"]) == ("21", True)


async def test_a_failure_of_ours_is_not_the_callers_fault(hub: Node) -> None:
    """A store that cannot be used answers HTTP 503 with Retry-After and ErrorCode 20, so that every client tries again."""
    hub.store.close()
    data = letter("10", MINISTRY, OFFICE)
    parameters = {"messagetype": "edoc", "from": MINISTRY, "hash-file": vxp.file_hash(data, "standard")}
    http, headers, body = await _raw(hub, "sendEdoc", parameters, data + b"\r\n")
    assert (http, json.loads(body)["ErrorCode"]) == (503, "20")
    assert int(headers["Retry-After"]) > 0


def _captured() -> list[Any]:
    files = sorted((Path(__file__).parent / "data").glob("sdk-*.json"))
    return [
        pytest.param(request, id=f"{file.stem}-{request['operation']}-{index}")
        for file in files
        for index, request in enumerate(json.loads(file.read_text(encoding="utf-8")))
        if request["headers"][vxp.SIGN_HEADER].isascii()
    ]


@pytest.mark.parametrize("captured", _captured())
async def test_the_sdks_captured_requests_pass_the_door(hub_of_the_capture: Callable[..., Any], captured: dict[str, Any]) -> None:
    """Every recorded request of the real SDK finds its operation and passes the signature check; what then fails is its dummy content."""
    answer = await hub_of_the_capture(
        Request(
            method=captured["method"],
            path="/vxp/exchange/" + captured["operation"],
            query="",
            headers={name.lower(): value for name, value in captured["headers"].items()},
            body=captured["body"].encode(),
            base_url="http://127.0.0.1",
        )
    )
    expected = {
        "sendEdoc": "22", "getEdoc": "21", "downloadEdoc": "21", "updateStatus": "21", "registerAgency": "21", "deleteAgency": "21"
    }  # fmt: skip
    assert json.loads(answer.body)["ErrorCode"] == expected.get(captured["operation"], "0")


def test_base64_is_what_the_sdk_decodes() -> None:
    """The SDK's decoder takes one line of standard base64: ours has no line breaks."""
    assert vxp.document(vxp.reply(data=base64.b64encode(b"x" * 100).decode()), "hub") == b"x" * 100
