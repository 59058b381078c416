"""Addresses in a message lead nowhere: whatever it names, the bus calls nobody on its word."""

import socket
from collections.abc import Iterator

import pytest
from soap_rig import UNIT, Rig, document

from adapters.soap import payloads
from bus import soap
from bus.octets import whole
from bus.signature import wss
from bus.soap import SOAP_11

_XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


@pytest.fixture
def nobody() -> Iterator[socket.socket]:
    """A socket on loopback to which nobody may come."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening
        with pytest.raises(BlockingIOError):
            listening.accept()


def _named(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}/x"


@pytest.mark.parametrize("header", ["ReplyTo", "FaultTo", "From", "To", "RelatesTo"])
async def test_addressing_headers_are_answered_here_or_refused(rig: Rig, nobody: socket.socket, header: str) -> None:
    """WS-Addressing: nobody is answered at an address of his choice."""
    address, addressing = _named(nobody), soap.ADDRESSING
    inside = address if header in {"To", "RelatesTo"} else f"<a:Address>{address}</a:Address>"
    block = f'<a:{header} xmlns:a="{addressing}">{inside}</a:{header}><a:MessageID xmlns:a="{addressing}">urn:uuid:1</a:MessageID>'
    payload = whole(payloads.send_content("", document(sender=UNIT)))
    signed = wss.sign(soap.envelope(SOAP_11, payload, block.encode()), rig.unit, rig.engine._clock())
    assert (await rig.post(signed)).status in {200, 500}


@pytest.mark.parametrize(
    "words",
    [
        '{xsi} xsi:schemaLocation="http://www.mic.gov.vn/TBT/QCVN_102_2016 {address}"',
        '{xsi} xsi:noNamespaceSchemaLocation="{address}"',
        'xml:base="{address}"',
        'href="{address}"',
    ],
)
async def test_addresses_in_documents_are_never_fetched(rig: Rig, nobody: socket.socket, words: str) -> None:
    """Schemas, bases, links: read as text, or refused."""
    said = words.format(xsi=_XSI, address=_named(nobody))
    body = document(sender=UNIT).replace(b"<edXML ", f"<edXML {said} ".encode(), 1)
    assert (await rig.post(rig.signed(payloads.send_content("", body)))).status in {200, 500}


@pytest.mark.parametrize(
    "prologue",
    [
        '<?xml-stylesheet type="text/xsl" href="{address}"?>',
        '<!DOCTYPE edXML SYSTEM "{address}">',
        '<!DOCTYPE edXML [<!ENTITY % a SYSTEM "{address}"> %a;]>',
    ],
)
async def test_what_stands_before_the_root_is_never_fetched(rig: Rig, nobody: socket.socket, prologue: str) -> None:
    """Stylesheets and document types, of the letter and of the envelope itself."""
    before = prologue.format(address=_named(nobody)).encode()
    for body in (
        rig.signed(payloads.send_content("", before + document(sender=UNIT))),
        before + rig.signed(payloads.request("GetOrganizations")),
    ):
        assert (await rig.post(body)).status in {200, 400, 500}
