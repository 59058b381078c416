"""Whatever is sent to the VXP door that the SDK would not send fails in the protocol's own form, keeps nothing, and tells nothing."""

import json
import resource
import sqlite3
import time

import attacked_site
import exchanges
import pytest
from exchanges import KINDS, LEAST, LETTER, Ask, plain, signed
from soap_rig import Rig

from bus import vxp
from bus.endpoint import Request, Response
from bus.octets import whole

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST_SECONDS, MOST_GROWTH_MB = 2.0, 400
#: A refusal's row in the journal may hold this much of what a stranger wrote.
MOST_KEPT = 4096


async def ask(rig: Rig, case: Ask) -> Response:
    ((path, door),) = rig.endpoints["exchange"].doors()
    return await door(Request(case.method, f"{path}/{case.operation}", "", plain(case.headers), case.body, "https://bus.example"))


def store(rig: Rig) -> sqlite3.Connection:
    return sqlite3.connect(rig.site.root / "data" / "bus.db")


def kept(rig: Rig) -> tuple[object, ...]:
    """What the store holds but refusals."""
    with store(rig) as connection:
        asked = (
            "SELECT count(*) FROM messages",
            "SELECT count(*) FROM deliveries",
            "SELECT count(*) FROM journal WHERE event != 'refused'",
        )
        return tuple(connection.execute(each).fetchone()[0] for each in asked)


@pytest.mark.parametrize("kind", KINDS)
async def test_no_attack_on_the_hub_is_taken(guarded: Rig, kind: str) -> None:
    """``status: FAIL`` with an ErrorCode for each, within its time and memory; nothing but the refusal is kept, and that is short."""
    assert exchanges.SECRET == attacked_site.HUB_SECRET
    before, wrong, names = kept(guarded), [], set()
    for case in KINDS[kind]():
        names.add(case.name)
        began, size = time.process_time(), _resident_mb()
        response = await ask(guarded, case)
        spent, grown = time.process_time() - began, _resident_mb() - size
        told = json.loads(whole(response.body))
        if response.status != 200 or told["status"] != "FAIL" or "5." not in told["ErrorDesc"][:2] or spent > MOST_SECONDS:
            wrong.append(f"{case.name}: HTTP {response.status}, {told}, {spent:.2f} s"[:400])
        if grown > MOST_GROWTH_MB or len(whole(response.body)) > 2 * MOST_KEPT:
            wrong.append(f"{case.name}: {grown} MB, an answer of {len(whole(response.body))} octets")
    assert wrong == []
    assert len(names) >= LEAST[kind]
    assert kept(guarded) == before
    with store(guarded) as connection:
        assert connection.execute("SELECT max(length(detail)) FROM journal WHERE event = 'refused'").fetchone()[0] <= MOST_KEPT


async def test_the_unaltered_requests_are_taken(guarded: Rig) -> None:
    """The attacks fail for what they changed: unchanged, the same requests are answered."""
    for operation, more in (("getReceivedEdocList", {}), ("countReceiveEdoc", {}), ("getAgenciesList", {})):
        told = json.loads(whole((await ask(guarded, Ask("", operation, signed(messagetype="edoc", **more)))).body))
        assert told["status"] == "OK"
    digest = vxp.file_hash(LETTER)
    headers = signed(kind=vxp.FILE, messagetype="edoc", hash_file=digest, **{"from": "000.00.01.G14"})
    told = json.loads(whole((await ask(guarded, Ask("", "sendEdoc", headers, LETTER))).body))
    assert told["status"] == "OK"
    again = json.loads(whole((await ask(guarded, Ask("", "sendEdoc", headers, LETTER))).body))
    assert again["DocId"] == told["DocId"]


def _resident_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
