"""What partners mint is bounded and their own: nonces count once for the site, order keys have their sender in them."""

import asyncio
import base64
import hashlib
import secrets
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attacked_site
import pytest
from helping import HandClock
from soap_rig import MINISTRY, OTHER, UNIT, build, document, fault_code

from adapters.soap import payloads
from bus import soap
from bus.errors import Rejected
from bus.ids import uuid7
from bus.message import SENDER, Message
from bus.octets import whole
from bus.route import Entry, Route
from bus.store import Owed, Store
from bus.xpath import XPath
from sandbox.process import BusProcess

ROUTES = f"""\
site: {{organisation: {MINISTRY}, name: Bộ Thông tin và Truyền thông, tls: none}}
partners:
  unit: {{codes: [{UNIT}], trust: trust/unit, password: env:UNIT_PASSWORD}}
  other: {{codes: [{OTHER}, G18], trust: trust/other, password: env:UNIT_PASSWORD}}
endpoints:
  documents: {{soap: {{path: /soap/documents, security: {{verify: wss-username}}}}}}
  second: {{soap: {{path: /soap/second, security: {{verify: wss-username}}}}}}
routes:
  - {{name: documents, from: documents, to: [{{documents: To/OrganId}}], receipts: documents}}
  - {{name: second, from: second, to: [{{documents: To/OrganId}}], receipts: documents}}
"""
PASSWORD = "bí mật"
_WSS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"


def asked(user: str = "unit", nonce: bytes | None = None) -> bytes:
    """A question by password, with a nonce."""
    nonce, created = nonce or secrets.token_bytes(16), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    digest = base64.b64encode(hashlib.sha1(nonce + created.encode() + PASSWORD.encode()).digest()).decode()
    token = (
        f'<w:Security xmlns:w="{_WSS}wssecurity-secext-1.0.xsd" xmlns:u="{_WSS}wssecurity-utility-1.0.xsd" s:mustUnderstand="1" '
        f'xmlns:s="{soap.SOAP_11.namespace}"><w:UsernameToken><w:Username>{user}</w:Username>'
        f'<w:Password Type="{_WSS}username-token-profile-1.0#PasswordDigest">{digest}</w:Password>'
        f"<w:Nonce>{base64.b64encode(nonce).decode()}</w:Nonce><u:Created>{created}</u:Created></w:UsernameToken></w:Security>"
    )
    return whole(soap.envelope(soap.SOAP_11, whole(payloads.request("GetOrganizations")), token.encode()))


async def test_a_nonce_counts_once_at_whichever_door(siege_certs: Path, tmp_path: Path) -> None:
    """The same token at another endpoint is a replay; the same nonce of another partner is not."""
    rig = build(tmp_path, siege_certs, ROUTES, {"UNIT_PASSWORD": PASSWORD})
    await rig.engine.start()
    token, nonce = asked(), secrets.token_bytes(16)
    assert (await rig.post(token, "documents")).status == 200
    for endpoint in ("documents", "second"):
        assert fault_code(await rig.post(token, endpoint)) == "5.7.9"
    assert (await rig.post(asked("unit", nonce), "second")).status == 200
    assert (await rig.post(asked("other", nonce), "documents")).status == 200
    await rig.engine.stop(grace=1)
    rig.store.close()


async def test_a_nonce_counts_once_over_reloads_and_restarts(siege_certs: Path, tmp_path: Path, start: Callable[..., BusProcess]) -> None:
    """What a process remembers ends with it; what the site knows does not."""
    site = attacked_site.write(tmp_path / "site", siege_certs, tls=False)
    (site / "routes.yaml").write_text(ROUTES, encoding="utf-8")
    bus = start(site, environment={"UNIT_PASSWORD": PASSWORD})
    token = asked()

    def status() -> int:
        request = urllib.request.Request(bus.url + "/soap/documents", token, {"Content-Type": "text/xml; charset=utf-8"})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            assert b"5.7.9" in error.read()
            return error.code

    assert status() == 200
    assert bus.stop() == 0
    bus.start()
    assert status() == 500
    with sqlite3.connect(site / "data" / "bus.db") as connection:
        assert connection.execute("SELECT partner FROM nonces").fetchall() == [("unit",)]


async def test_nodes_of_one_store_take_a_nonce_once_and_forget_it_when_it_is_over(tmp_path: Path) -> None:
    """Two chains, one database: the second is told so, alone or in one batch with the first; each partner's are its own."""
    clock = HandClock()

    def opened(chain: str) -> Store:
        url = f"sqlite:///{tmp_path / 'bus.db'}"
        return Store.open(url, seal=lambda _: b"<x/>", organisation="G14", clock=clock, ids=uuid7(clock), chain=chain)

    first, second = opened("one"), opened("two")
    until = clock() + timedelta(minutes=25)
    await first.once("unit", "00", until)
    for store in (first, second):
        with pytest.raises(Rejected, match=r"5\.7\.9"):
            await store.once("unit", "00", until)
    await second.once("other", "00", until)
    both = [first.once("unit", "11", until), first.once("unit", "11", until)]
    told = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(str(one)[:5] for one in told) == ["5.7.9", "None"]
    assert await first.forget_nonces() == 0
    clock.advance(minutes=26)
    assert await first.forget_nonces() == 3
    await second.once("unit", "00", clock())
    first.close()
    second.close()


async def test_a_nonce_of_a_renamed_partner_stays_used_up(open_store: Callable[..., Store], clock: HandClock) -> None:
    """Under the new name, and under the old one on a node that has not reloaded; it is forgotten as any other."""
    store, until = open_store(), clock() + timedelta(minutes=25)
    await store.take({"old": ["G1"]})
    sent = Message("id", {SENDER: "old"}, b"<d/>")
    await store.accept(sent, Owed("r", "inbox", sent, clock() + timedelta(days=5), owner="old"))
    await store.once("old", "00", until)
    await store.rename("old", "new", ["G1"], "nguyen.a", "đổi tên")
    for name in ("new", "old"):
        with pytest.raises(Rejected, match=r"5\.7\.9"):
            await store.once(name, "00", until)
    await store.once("new", "11", until)
    await store.once("other", "00", until)
    clock.advance(minutes=26)
    assert await store.forget_nonces() == 3


def test_what_a_renamed_partner_sends_waits_for_what_it_sent_before(siege_certs: Path, tmp_path: Path) -> None:
    """The key is the organisation's, by its first code, whatever the partner is called."""
    rig = build(tmp_path, siege_certs)
    partners = dict(rig.site.partners)
    partners["called-otherwise"] = replace(partners.pop("unit"), name="called-otherwise")
    keys = [
        Route("r", "e", site, order_by=XPath("DocumentId"), to=(Entry("agency"),)).order_key(Message("", {SENDER: sender}, document()))
        for sender, site in (("unit", rig.site), ("called-otherwise", replace(rig.site, partners=partners)))
    ]
    assert keys[0] == keys[1]
    rig.store.close()


def test_nobody_holds_back_what_another_sends_by_knowing_its_number(siege_certs: Path, tmp_path: Path) -> None:
    """Two partners with one DocumentId are two orders; one partner's are one."""
    rig = build(tmp_path, siege_certs)
    route = Route("r", "e", rig.site, order_by=XPath("DocumentId"), to=(Entry("agency"),))
    mine, again, other = (Message("", {SENDER: sender}, document()) for sender in ("unit", "unit", "other"))
    assert route.order_key(mine) == route.order_key(again) != route.order_key(other)
    assert route.order_key(mine).startswith(f"{UNIT}\t")
    rig.store.close()
