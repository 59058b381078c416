"""The calling side against a listener that records, or misbehaves: what leaves is what the SDK sends, and no answer is misread."""

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from vxp_buses import MINISTRY, now

from adapters.vxp import Account, Client
from bus import pki, vxp
from bus.errors import Deferred, Rejected

Answer = Callable[[web.Request], Any]


class Listener:
    """A hub that does what the test says, and keeps every request as it came."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: Answer = lambda _: web.Response(body=vxp.reply(DocId="d", data=[]))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Keep and answer."""
        headers = {name.decode(): value.decode("latin-1") for name, value in request.raw_headers}
        self.requests.append((request.method, request.path, headers, await request.read()))
        answer = self.answer(request)
        return await answer if asyncio.iscoroutine(answer) else answer


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    """The listener, with its address in ``url``."""
    heard = Listener()
    application = web.Application(client_max_size=1 << 24)
    application.router.add_route("*", "/{operation}", heard.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    heard.url = f"http://127.0.0.1:{runner.addresses[0][1]}"  # type: ignore[attr-defined]
    yield heard
    await runner.cleanup()


def _client(listener: Any, stamp: str = "22112026T140706+0473", **account: Any) -> Client:
    at = vxp.read_timestamp(stamp)
    return Client(Account(listener.url, MINISTRY, "test-secret", **account), name="exchange", clock=lambda: at)


CALLS: list[tuple[str, Callable[[Client], Any]]] = [
    ("getAgenciesList", lambda client: client.agencies()),
    ("getReceivedEdocList", lambda client: client.received("edoc")),
    ("getSentEdocList", lambda client: client.sent("edoc", "d1")),
    ("sendEdoc", lambda client: client.send(b"<edXML>x</edXML>", "edoc", MINISTRY, ["000.00.00.G22", "000.00.00.H41"])),
]


@pytest.mark.parametrize("version", ["2.0.0", "2.0.1"])
@pytest.mark.parametrize(("operation", "call"), CALLS)
async def test_what_leaves_is_what_the_sdk_sends(listener: Listener, version: str, operation: str, call: Callable[[Client], Any]) -> None:
    """Method, path, every header of the protocol and the body, byte for byte, at the recorded time."""
    captured = json.loads((Path(__file__).parent / f"data/sdk-{version}.json").read_text(encoding="utf-8"))
    expected = next(request for request in captured if request["operation"] == operation)
    client = _client(listener, expected["headers"]["XroadVnpt-timestamp"])
    await call(client)
    await client.close()
    ((method, path, headers, body),) = listener.requests
    assert (method, path, body) == (expected["method"], "/" + operation, expected["body"].encode())
    assert {name: value for name, value in headers.items() if name in expected["headers"]} == expected["headers"]


async def test_the_standard_hash_is_behind_its_switch(listener: Listener) -> None:
    """``hash-file: standard`` sends the digest with its zeros."""
    client = _client(listener, hash_form="standard")
    await client.send(b"<edXML>28</edXML>", "edoc", MINISTRY, [])
    await client.close()
    assert listener.requests[0][2]["XroadVnpt-hash-file"] == "07123e835fde1d258a20ea638d9e7b0ce9dbcc05ff1afab59962e1ac60966e6e"
    assert "XroadVnpt-to" not in listener.requests[0][2]


async def test_a_reason_leaves_as_ascii(listener: Listener) -> None:
    """A Vietnamese reason reaches any hub readable and verifiable."""
    client = _client(listener)
    await client.update_status("d1", "fail", "5.7.7 Chữ ký không hợp lệ")
    await client.close()
    headers = listener.requests[0][2]
    assert headers["XroadVnpt-description"] == "5.7.7 Chu ky khong hop le"
    wire = {name.lower(): value for name, value in headers.items()}
    at = vxp.read_timestamp(headers["XroadVnpt-timestamp"])
    assert vxp.verify(wire, {MINISTRY: "test-secret"}.get, at, timedelta()).parameter("docId") == "d1"


async def _failure(listener: Listener, answer: Answer, **account: Any) -> Rejected | Deferred:
    listener.answer = answer
    client = _client(listener, **account)
    with pytest.raises((Rejected, Deferred)) as caught:
        await client.send(b"<edXML/>", "edoc", MINISTRY, ["000.00.00.G22"])
    await client.close()
    return caught.value


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_busy_hub_is_left_alone_as_long_as_it_asks(listener: Listener, status: int) -> None:
    """Retry-After is passed on to the retry clock, whatever the page says."""
    error = await _failure(listener, lambda _: web.Response(status=status, text="<html>", headers={"Retry-After": "120"}))
    assert isinstance(error, Deferred)
    assert (error.key, error.retry_after) == ("partner-busy", 120)


@pytest.mark.parametrize("status", [302, 401, 404])
async def test_any_other_status_is_no_verdict(listener: Listener, status: int) -> None:
    """A proxy's redirect or refusal says nothing about the document, and is not followed."""
    error = await _failure(listener, lambda _: web.Response(status=status, headers={"Location": "/elsewhere"}))
    assert (error.key, len(listener.requests)) == ("partner-error", 1)


async def test_a_page_is_no_acknowledgement(listener: Listener) -> None:
    """HTML with HTTP 200, from a captive portal or a proxy, is tried again."""
    error = await _failure(listener, lambda _: web.Response(text="<html>Bảo trì</html>", content_type="text/html"))
    assert (type(error), error.key) == (Deferred, "partner-error")


async def test_a_silent_hub_is_given_up_for_now(listener: Listener) -> None:
    """The whole request is bounded by ``timeout``."""

    async def silent(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    error = await _failure(listener, silent, timeout=timedelta(milliseconds=50))
    assert (type(error), error.key) == (Deferred, "partner-unreachable")


async def test_a_hub_that_hangs_up_is_unreachable(listener: Listener) -> None:
    """A connection cut in mid-answer leaves it open whether the hub has it: tried again."""

    async def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    error = await _failure(listener, cut)
    assert (type(error), error.key) == (Deferred, "partner-unreachable")


async def test_an_endless_answer_is_cut_off(listener: Listener) -> None:
    """What a hub may say is bounded, compressed or not."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_compression()
        await response.prepare(request)
        for _ in range(30):
            await response.write(b" " * (1 << 20))
        return response

    error = await _failure(listener, endless)
    assert (type(error), error.key) == (Deferred, "partner-error")


async def test_no_reason_shows_the_secret(listener: Listener) -> None:
    """Neither a failure nor the account's own description holds it."""
    error = await _failure(listener, lambda _: web.Response(status=401))
    account = Account(listener.url, MINISTRY, "test-secret")  # type: ignore[attr-defined]
    assert "test-secret" not in f"{error}{error.reasons}{account!r}"


@pytest.mark.parametrize(("anchor", "trusted"), [("ca.crt", True), ("tls.crt", True), ("../ca.crt", False), ("", False)])
async def test_tls_trusts_the_partners_anchors_and_nobody_else(tmp_path: Path, anchor: str, trusted: bool) -> None:
    """The hub's authority, or its pinned certificate, opens the line; another authority, or only the public ones, do not."""
    pki.development(tmp_path, organisation_name="Bộ thử nghiệm", partners={"hub": "Trục thử nghiệm"}, now=now(), key_type="ec-p256")
    keys = tmp_path / "development" / "hub"
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(keys / "tls.crt", keys / "tls.key")
    heard = Listener()
    application = web.Application()
    application.router.add_route("*", "/{operation}", heard.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    pem = re.search(r"-----BEGIN.*?END CERTIFICATE-----", (keys / anchor).read_text(), re.DOTALL) if anchor else None
    anchors = (ssl.PEM_cert_to_DER_cert(pem[0]),) if pem else ()
    client = Client(Account(f"https://127.0.0.1:{runner.addresses[0][1]}", MINISTRY, "s", anchors=anchors), name="exchange", clock=now)
    try:
        with contextlib.nullcontext() if trusted else pytest.raises(Deferred, match=r"4\.4\.1"):
            assert await client.received("edoc") == []
    finally:
        await client.close()
        await runner.cleanup()
    assert len(heard.requests) == trusted
