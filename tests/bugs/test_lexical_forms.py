"""White space, numbers, dates and ids are what XML Schema says, at every door alike; an id comes back as it was sent."""

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from itertools import count

import pytest
from forms_rig import bus, call, forms_certs, refused, waiting  # noqa: F401 - fixtures
from lxml import etree
from soap_rig import Rig, document, now

from adapters.soap import payloads
from bus import edxml, lexical, soap
from bus.edxml import values
from bus.message import SENDER, SENDER_MESSAGE_ID, Message
from bus.octets import whole
from bus.retry import retry_after
from bus.signature import security_header, wss
from bus.soap import SOAP_11

NUMBERS = count(1)
ODD_SPACES = ["\u00a0", "\u0085", "\u2003", "\u3000", "\u200b", "\ufeff", "\u2028"]
#: A composed and a decomposed e with acute and dot: one letter to the eye, two ids.
NFC, NFD = "S\u1ed1 1", "So\u0302\u0301 1"

INTEGERS = [
    "10",
    "+10",
    "-10",
    "007",
    "+007",
    "0",
    "-0",
    "+0",
    " 10\n",
    "",
    "+",
    "--1",
    "1_000",
    "1,000",
    "1.0",
    "1e3",
    "0x10",
    "١٠",
    "１０",
    "1 0",
]
INTEGERS += ["\u00a010", "10\u0085", "²", "+ 1", "999999999999999999999", "-000000000000000000000000000000001", "NaN", "inf", "½"]
DATES = ["2026-11-30", "2026-11-30Z", "2026-11-30+07:00", "2026-11-30-14:00", "12026-11-30", "-0044-03-15", " 2026-11-30\t", "2024-02-29"]
DATES += [
    "2026-02-29",
    "0000-01-01",
    "02026-01-01",
    "26-11-30",
    "20261130",
    "2026-W01-1",
    "2026-11-3",
    "2026-13-01",
    "2026-11-31",
    "2026-11-30T00:00:00",
]
DATES += [
    "2026-11-30z",
    "2026-11-30+7:00",
    "2026-11-30+14:01",
    "2026-11-30+15:00",
    "+2026-11-30",
    "٢٠٢٦-11-30",
    "2026-11-30\u00a0",
    "",
    "2026/11/30",
    "2026-11-30Zx",
]
TIMES = ["2026-11-30T10:00:00", "2026-11-30T10:00:00Z", "2026-11-30T10:00:00+07:00", "2026-11-30T24:00:00Z", "2026-11-30T24:00:00.000Z"]
TIMES += [
    "2026-11-30T10:00:00.1",
    "2026-11-30T10:00:00.123456789012345678901Z",
    " 2026-11-30T10:00:00Z\r\n",
    "12026-11-30T10:00:00Z",
    "-0001-01-01T00:00:00Z",
]
TIMES += [
    "2026-11-30T24:00:01Z",
    "2026-11-30T24:00:00.1Z",
    "2026-11-30T25:00:00Z",
    "2026-11-30T10:60:00Z",
    "2026-11-30T10:00:60Z",
    "2026-11-30 10:00:00Z",
]
TIMES += [
    "2026-11-30T10:00Z",
    "2026-11-30T10:00:00.Z",
    "2026-11-30T10:00:00,5Z",
    "20261130T100000Z",
    "2026-11-30T10:00:00+0700",
    "2026-11-30T10:00:00 Z",
    "2026-11-30",
]
TIMES += ["2026-02-30T10:00:00Z", "2026-11-30T10:00:00\u00a0", "2026-11-30T1٠:00:00Z", "2026-11-30t10:00:00z", ""]
BOOLEANS = ["true", "false", "1", "0", " true ", "TRUE", "True", "yes", "01", "", "\u00a0true"]

TABLE = [
    *[("integer", lexical.integer, text) for text in INTEGERS],
    *[("date", lexical.day, text) for text in DATES],
    *[("dateTime", lexical.instant, text) for text in TIMES],
    *[("boolean", lexical.boolean, text) for text in BOOLEANS],
]


def valid(kind: str, text: str) -> bool:
    """What libxml2 says, which reads XML Schema by code that is not ours."""
    schema = f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:element name="v" type="xs:{kind}"/></xs:schema>'
    value = etree.Element("v")
    # libxml2 forgets to collapse the white space of dates (XML Schema Part 2, 3.2.7 and 3.2.9).
    value.text = text.strip(" \t\r\n") if kind.startswith("date") else text
    return etree.XMLSchema(etree.fromstring(schema)).validate(value)


@pytest.mark.parametrize(("kind", "read", "text"), TABLE, ids=lambda value: ascii(value) if isinstance(value, str) else "")
def test_a_value_is_read_where_the_schema_has_it_and_nowhere_else(kind: str, read: object, text: str) -> None:
    """Our reader and an independent validator agree on every form."""
    try:
        read(text)  # type: ignore[operator]
    except ValueError:
        assert not valid(kind, text)
    else:
        assert valid(kind, text)


def test_values_are_what_they_say() -> None:
    """Signs, zeros, zones, midnight's other name, fractions; what Python cannot hold is its nearest."""
    assert [lexical.integer(text) for text in ("+10", "007", "-0", "9" * 40, "-" + "9" * 40)] == [10, 7, 0, 10**18 - 1, 1 - 10**18]
    assert [lexical.day(text) for text in ("2026-11-30-14:00", "12026-01-01", "-0044-03-15")] == [date(2026, 11, 30), date.max, date.min]
    assert lexical.instant("2026-11-30T24:00:00+07:00") == datetime(2026, 11, 30, 17, tzinfo=UTC)
    assert lexical.instant("2026-11-30T10:00:00.1234567899Z") == datetime(2026, 11, 30, 10, 0, 0, 123456, tzinfo=UTC)
    assert lexical.instant("99999-01-01T00:00:00-14:00").year == 9999
    assert lexical.instant("-0001-01-01T00:00:00+14:00").year == 1


@pytest.mark.parametrize("space", ODD_SPACES, ids=ascii)
def test_only_four_characters_are_white_space(space: str) -> None:
    """What else looks blank stays, within and at the ends."""
    assert lexical.collapsed(f"\t a \r\n b{space}\n") == f"a b{space}"
    assert lexical.identifier(f"{space}a") == f"{space}a"


@pytest.mark.parametrize("text", ["", " \t", "a\x01", "a\x00", "\ufffe", "x" * 256, "\ud800"])
def test_what_is_no_identifier_is_refused(text: str) -> None:
    """Nothing, too much, and what no receipt could hold."""
    with pytest.raises(ValueError, match=r"identifier|character"):
        lexical.identifier(text)


async def send(bus: Rig, message_id: str) -> soap.Envelope:  # noqa: F811
    return await bus.send(document(next(NUMBERS)), message_id)


def receipt_id(reply: soap.Envelope) -> str:
    return reply.payload.findtext(".//{urn:govbus:receipt:v1}MessageId") or ""


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("odd", [*ODD_SPACES, NFC, NFD, "\u202e", "e\u0301", "&<>\"'", "𝒏"], ids=ascii)
async def test_an_id_comes_back_as_it_was_sent(bus: Rig, odd: str) -> None:  # noqa: F811
    """Beside the plain id it is another id: two documents; receipts, listing, fetch, confirmation and receipts again know it."""
    plain, other = f"id-{next(NUMBERS)}", f"id-{next(NUMBERS)}"
    for known_as in (plain, plain + odd, odd + other):
        assert receipt_id(await send(bus, known_as)) == known_as
        assert known_as in await waiting(bus)
        written = soap.text(known_as)
        assert (await call(bus, "GetDocument", MessageId=written)).payload[0].text
        confirmed = await call(bus, "ConfirmReceived", MessageId=written, Status="done")
        assert receipt_id(confirmed) == known_as
        receipts = await call(bus, "GetReceipts", MessageId=f"\r\n\t {written} ")
        assert {child.findtext("{urn:govbus:receipt:v1}MessageId") for child in receipts.payload} == {known_as}


@pytest.mark.asyncio(loop_scope="module")
async def test_white_space_of_xml_is_no_part_of_an_id(bus: Rig) -> None:  # noqa: F811
    """An xs:token: around it and doubled within it, white space makes no other id, so the second document is refused."""
    known_as = f"so {next(NUMBERS)}"
    assert receipt_id(await send(bus, f" \t{known_as}\n")) == known_as
    again = await bus.post(bus.signed(whole(payloads.send_content(known_as.replace(" ", "  "), document(next(NUMBERS))))))
    assert refused(again).startswith("5.6.9")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("text", INTEGERS)
async def test_max_is_a_positive_integer(bus: Rig, text: str) -> None:  # noqa: F811
    """Accepted where the contract's schema accepts it, and refused with its place where it does not."""
    content = f"<x:OrganId>G18</x:OrganId><x:Max>{text}</x:Max>"
    body = f"<x:GetPendingDocumentIds {payloads.DECLARATION.decode()}>{content}</x:GetPendingDocumentIds>"
    response = await bus.post(bus.signed(body.encode(), signer=bus.other))
    assert (response.status == 200) == valid("positiveInteger", text)
    assert response.status == 200 or (refused(response).startswith("5.6.5") and "/Max" in refused(response))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("text", DATES)
async def test_changed_since_is_a_date(bus: Rig, text: str) -> None:  # noqa: F811
    """The same for GetOrganizations."""
    body = f"<x:GetOrganizations {payloads.DECLARATION.decode()}><x:ChangedSince>{text}</x:ChangedSince></x:GetOrganizations>"
    response = await bus.post(bus.signed(body.encode(), signer=bus.other))
    assert (response.status == 200) == valid("date", text)


@pytest.mark.asyncio(loop_scope="module")
async def test_an_element_within_a_text_is_refused(bus: Rig) -> None:  # noqa: F811
    """A text that goes on behind an element would be read in two ways."""
    body = f"<x:GetReceipts {payloads.DECLARATION.decode()}><x:MessageId>a<x:b/>c</x:MessageId></x:GetReceipts>"
    assert refused(await bus.post(bus.signed(body.encode(), signer=bus.other))).startswith("5.6.5")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("space", ODD_SPACES[:4], ids=ascii)
async def test_text_beside_the_inline_document_is_refused(bus: Rig, space: str) -> None:  # noqa: F811
    """Only XML's white space may stand beside the element in `Document`: what else stands there would be lost."""
    inner = document(next(NUMBERS)).decode() + space
    body = f"<x:SendDocument {payloads.DECLARATION.decode()}><x:Document>{inner}</x:Document></x:SendDocument>"
    assert refused(await bus.post(bus.signed(body.encode()))).startswith("5.6.5")


def signed(bus: Rig, created: str, expires: str) -> bytes:  # noqa: F811
    """A request whose Timestamp is written so, and signed as it is."""
    body = f"<x:GetReceipts {payloads.DECLARATION.decode()}><x:MessageId>a</x:MessageId></x:GetReceipts>".encode()
    kept = security_header.in_milliseconds
    written = iter((created, expires))
    security_header.in_milliseconds = lambda _: next(written)  # type: ignore[assignment]
    try:
        return wss.sign(soap.envelope(SOAP_11, body), bus.other, now())
    finally:
        security_header.in_milliseconds = kept


@pytest.mark.asyncio(loop_scope="module")
async def test_a_timestamp_is_any_xs_datetime(bus: Rig) -> None:  # noqa: F811
    """Fractions of any length, zones, white space around, a year of five digits; nothing that only Python reads."""
    at = now().astimezone(UTC)
    local = at + timedelta(hours=7)
    good = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    for created in (good, f" {good}\n", good[:-1] + ".1234567890123456789Z", local.strftime("%Y-%m-%dT%H:%M:%S+07:00"), good[:-1]):
        assert (await bus.post(signed(bus, created, "12026-11-30T00:00:00Z"))).status == 200
    for created in (
        at.strftime("%Y%m%dT%H%M%SZ"),
        good.replace("T", " "),
        good + "\u00a0",
        good.replace("-", "−", 1),
        good[:-1] + ".Z",
        good[:-4] + "Z",
    ):
        assert refused(await bus.post(signed(bus, created, "12026-11-30T00:00:00Z"))).startswith("5.7.9")


def test_a_document_says_its_ids_as_they_are() -> None:
    """DocumentId in NFD stays NFD; a code with another blank is another code, and passes for none that it looks like."""
    letter = document(1).decode()
    described = edxml.describe(edxml.parse(letter.replace("1/CV-TN</", f"{NFD}\u00a0</").encode()))
    assert described["document-id"].endswith(f"{NFD}\u00a0")
    for space in ODD_SPACES:
        assert edxml.describe(edxml.parse(letter.replace("G14</", f"G14{space}</", 1).encode()))["from"].endswith(f"G14{space}")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_receiver_with_an_odd_blank_is_one_unknown_receiver(bus: Rig) -> None:  # noqa: F811
    """U+00A0 between two known codes makes one unknown code of them, and not two receivers."""
    body = document(next(NUMBERS), receiver="G18\u00a0000.00.00.G18")
    response = await bus.post(bus.signed(whole(payloads.send_content(f"id-{next(NUMBERS)}", body))))
    assert refused(response).startswith("5.1.1")


@pytest.mark.parametrize("text", ["1_0", "١٠", "+5", "1e3", "inf", "nan", "\u00a05"])
def test_retry_after_is_digits(text: str) -> None:
    """RFC 9110: delay-seconds are ASCII digits, or it is no wish."""
    assert retry_after(text, now()) is None


@pytest.mark.parametrize("text", ["١٥/03/2026", "2026/03/1٥"])
def test_dates_in_documents_have_ascii_digits(text: str) -> None:
    """The tolerant reader knows many patterns, and ten digits."""
    assert (values.moment(text), values.integer("١٥")) == (None, None)


@pytest.mark.asyncio(loop_scope="module")
async def test_what_other_doors_bring_in_can_be_fetched_and_confirmed(bus: Rig) -> None:  # noqa: F811
    """An id that was accepted by the AMQP door's rule is listed so that GetDocument and ConfirmReceived know it."""
    known_as = lexical.identifier(f" so {next(NUMBERS)} \u00a0")
    body = document(next(NUMBERS))
    headers = {**edxml.describe(edxml.parse(body)), SENDER: "unit", SENDER_MESSAGE_ID: known_as}
    await bus.engine.accept("documents", Message("", headers, body))
    (listed,) = [found for found in await waiting(bus) if found == known_as]
    assert (await call(bus, "GetDocument", MessageId=listed)).payload[0].text
    assert receipt_id(await call(bus, "ConfirmReceived", MessageId=listed, Status="done")) == known_as
    with closing(sqlite3.connect(bus.site.root / "data" / "bus.db")) as store:
        assert store.execute("SELECT count(*) FROM messages WHERE public_id = ?", [known_as]).fetchone() == (1,)
