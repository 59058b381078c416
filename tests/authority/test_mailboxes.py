"""Least authority: a partner sees its own messages and nothing else, whatever ids, codes and names it guesses, at whichever door."""

import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attacked_site
import pytest
import sqlalchemy as sa
from callers import DOORS, HUB_OPERATIONS, OPERATIONS, Caller, nobody
from lxml import etree
from soap_rig import OTHER, UNIT, Rig, document, fault_code

from adapters.soap import payloads
from bus import soap
from bus.octets import whole

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Codes that are not the thief's, or only look so.
CODES = (
    UNIT,
    OTHER,
    "G18",
    "g18",
    "000.00.00.G14",
    "G14",
    "G22",
    "*",
    "%",
    "000.00.%",
    "G1_",
    "G\u20191",
    "\uff27\uff11\uff18",
    "G18 G19",
    "G19 G18",
    "G18,G19",
    "000.00.00.G18' OR '1'='1",
    "../G18",
    "unit",
)


@pytest.fixture(scope="module")
def thief(guarded: Rig, certs: Path) -> Caller:
    """A partner like any other, with questions."""
    home = certs / "development" / "thief"
    return Caller(guarded, "thief", home, attacked_site.THIEF_PASSWORD, attacked_site.THIEF, attacked_site.THIEF_SECRET)


def store(rig: Rig) -> sqlite3.Connection:
    return sqlite3.connect(rig.site.root / "data" / "bus.db")


def every_id(rig: Rig) -> set[str]:
    """All that names a message, a delivery, a receipt or a content, in this store."""
    found: set[str] = {f"{UNIT},2026/03/15,7/CV-TN"}
    with store(rig) as connection:
        for table in ("messages", "deliveries", "receipts"):
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            wanted = [name for name in names if name == "id" or name.endswith(("_id", "_key", "digest"))]
            for row in connection.execute(f"SELECT {', '.join(wanted)} FROM {table}"):
                found.update(str(value) for value in row if value)
    return found


def variants(known: str) -> Iterator[str]:
    """An id as it is, and as somebody writes it who hopes that a comparison is not quite one."""
    yield known
    yield known.upper()
    yield f" {known} "
    yield f"{known}\u200b"
    yield f"{known[:-1]}%"
    yield "_" * len(known)
    yield f"{known}' OR '1'='1"
    yield unicodedata.normalize("NFKD", known.replace("1", "\uff11").replace("a", "\u0430"))


def standing(rig: Rig) -> list[tuple[object, ...]]:
    """Deliveries and receipts as they stand."""
    with store(rig) as connection:
        deliveries = connection.execute("SELECT id, state, owner, fetched, ended, outcome FROM deliveries ORDER BY id").fetchall()
        return [*deliveries, *connection.execute("SELECT id, status FROM receipts ORDER BY id").fetchall()]


async def test_no_id_shows_or_changes_what_is_another_partners(guarded: Rig, thief: Caller) -> None:
    """Each id of the store, and each false spelling of it, is answered as one that nobody ever had: same code, same words."""
    before, told = standing(guarded), Counter[str]()
    ids = every_id(guarded)
    assert "letter-of-unit" in ids
    for known in ids:
        for guessed in variants(known):
            for operation, more in OPERATIONS:
                there = await thief.asks("named", operation, guessed, **more)
                assert there == await thief.asks("named", operation, nobody(guessed), **more)
                told[operation] += 1
        for door in ("documents", "shown"):
            for operation, more in OPERATIONS:
                there = await thief.asks(door, operation, known, **more)
                assert there == await thief.asks(door, operation, nobody(known), **more)
                told[door] += 1
    assert standing(guarded) == before
    assert sum(told.values()) >= 320


async def test_no_id_shows_or_changes_anything_at_the_hub(guarded: Rig, thief: Caller) -> None:
    """The same for a system of the thief's at the VXP door."""
    before = standing(guarded)
    for known in every_id(guarded):
        for guessed in (each for each in variants(known) if each.isascii()):
            for method, operation, more in HUB_OPERATIONS:
                there = await thief.asks_hub(method, operation, guessed, **more)
                assert there == await thief.asks_hub(method, operation, nobody(guessed), **more)
    assert standing(guarded) == before


async def test_the_work_for_an_id_of_somebody_elses_is_the_work_for_no_id(guarded: Rig, thief: Caller) -> None:
    """The store is asked the very same questions either way, so that time tells no more than the words do."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if "public_id" in statement and not statement.startswith(("INSERT", "UPDATE")):
            asked.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        for operation, more in OPERATIONS:
            told = []
            for message in ("letter-of-unit", nobody("letter-of-unit")):
                asked.clear()
                await thief.asks("documents", operation, message, **more)
                told.append(tuple(asked))
            assert told[0] == told[1]
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("door", DOORS)
async def test_no_code_opens_another_partners_mailbox(thief: Caller, door: str) -> None:
    """A code of another's, in any form or disguise, is not the thief's; its own shows an empty mailbox."""
    for code in CODES:
        response = await thief.soap(door, payloads.request("GetPendingDocumentIds", OrganId=code))
        assert fault_code(response) == "5.7.1", code
    mine = await thief.soap(door, payloads.request("GetPendingDocumentIds", OrganId=attacked_site.THIEF))
    assert payloads.pending(soap.read(whole(mine.body), mine.content_type).payload) == []


async def test_the_hub_lists_a_system_its_own_and_nothing_else(thief: Caller) -> None:
    """Counting and listing know no parameter that says whose."""
    for operation in ("getReceivedEdocList", "countReceiveEdoc", "countReceiveStatus"):
        for code in CODES:
            if code.isascii():
                parameters = {"messagetype": "edoc", "from": code, "to": code, "partner": code, "OrganId": code}
                told = whole((await thief.hub("POST", operation, parameters)).body)
                assert b'"data":[]' in told or b'"count":0' in told, (operation, code, told)


@pytest.mark.parametrize("door", DOORS)
async def test_nobody_sends_in_anothers_name(guarded: Rig, thief: Caller, door: str) -> None:
    """A document From somebody else is refused at every door, and one that names two senders as well."""
    before = standing(guarded)
    for code in CODES:
        body = document(9, sender=code.replace("'", "&apos;"), receiver=OTHER)
        response = await thief.soap(door, whole(payloads.send_content(f"forged-{nobody(code)[:8]}", body)))
        assert fault_code(response).startswith(("5.7.1", "5.6")), code
    twice = document(9, sender=attacked_site.THIEF, receiver=OTHER)
    sender = twice[twice.index(b"<edXML:From>") : twice.index(b"</edXML:From>") + len(b"</edXML:From>")]
    both = twice.replace(sender, sender + sender.replace(attacked_site.THIEF.encode(), UNIT.encode()))
    response = await thief.soap(door, whole(payloads.send_content("forged-both", both)))
    assert fault_code(response).startswith(("5.7.1", "5.6"))
    assert standing(guarded) == before


async def test_an_id_that_another_partner_used_is_free_and_tells_nothing(guarded: Rig, thief: Caller) -> None:
    """Idempotency is per sender: the thief's own message under that id is a new one, and its receipts are its own."""
    mine = document(11, sender=attacked_site.THIEF, receiver=OTHER)
    response = await thief.soap("documents", whole(payloads.send_content("letter-of-unit", mine)))
    (receipt,) = payloads.receipts(guarded.read(response).payload)
    assert etree.fromstring(receipt).findtext("{urn:govbus:receipt:v1}Sender") == "thief" or b"G19" in receipt
    asked = await thief.soap("documents", payloads.request("GetReceipts", MessageId="letter-of-unit"))
    for each in payloads.receipts(guarded.read(asked).payload):
        assert UNIT.encode() not in each
        assert b"7/CV-TN" not in each


async def test_what_was_refused_to_the_thief_its_owner_has(guarded: Rig, certs: Path) -> None:
    """The ids were real: the rightful partners fetch, confirm, and read the receipts by them."""
    other = Caller(guarded, "other", certs / "development" / "other", "", OTHER, attacked_site.ENVIRONMENT["OTHER_SECRET"])
    waiting = await guarded.engine.pending("other", 10)
    letter = next(entry for entry in waiting if entry.from_organ == UNIT)
    fetched = await other.soap("documents", payloads.request("GetDocument", MessageId=letter.message_id))
    assert fetched.status == 200
    confirmed = await other.soap("shown", payloads.request("ConfirmReceived", MessageId=letter.message_id, Status="done"))
    assert confirmed.status == 200
    unit = Caller(guarded, "unit", certs / "development" / "unit", attacked_site.PASSWORD, UNIT, attacked_site.HUB_SECRET)
    receipts = await unit.soap("named", payloads.request("GetReceipts", MessageId="letter-of-unit"))
    said = payloads.receipts(soap.read(whole(receipts.body), receipts.content_type).payload)
    assert len(said) >= 3
