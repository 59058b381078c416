"""Packages in the forms that MIME allows: preamble, epilogue, cases, quotes and blanks change nothing; what hides a part is refused."""

from base64 import b64encode

import pytest
from forms_rig import bus, fetched, forms_certs, refused  # noqa: F401 - fixtures
from lxml import etree
from soap_rig import Rig, document, now

from bus import mime, soap
from bus.errors import Rejected
from bus.signature import wss
from bus.soap import SOAP_11

ROOT = b"Content-Type: text/xml\r\nContent-ID: <root>\r\n\r\n<r/>"
FILE = b"Content-Type: application/pdf\r\nContent-ID: <file>\r\n\r\n%PDF\r\n--x\r\n"
BODY = b"--b\r\n" + ROOT + b"\r\n--b\r\n" + FILE + b"\r\n--b--\r\n"
TYPE = 'multipart/related; boundary=b; type="text/xml"; start="<root>"'


def parts(content_type: str, body: bytes) -> tuple[bytes, dict[str, bytes]]:
    cut = mime.related(mime.media_type(content_type), body)
    return bytes(cut.root.data), {name: bytes(data) for name, data in cut.parts.items()}


PLAIN = parts(TYPE, BODY)
FORMS = {
    "a preamble": (TYPE, b"This is a multi-part message in MIME format.\r\n" + BODY),
    "a preamble of lines": (TYPE, b"\r\n--\r\n--bb\r\nx --b\r\n\r\n" + BODY),
    "an epilogue": (TYPE, BODY + b"This is the end.\r\n--\r\n--cc\r\n"),
    "an epilogue without a line end": (TYPE, BODY + b"\0"),
    "no line end at the end": (TYPE, BODY[:-2]),
    "blanks after the boundaries": (TYPE, BODY.replace(b"--b\r\n", b"--b \t \r\n").replace(b"--b--\r\n", b"--b-- \t\r\n")),
    "bare line feeds in the head": (TYPE, BODY.replace(b"\r\nContent-ID", b"\nContent-ID")),
    "capitals": (TYPE.replace("multipart/related; boundary", "Multipart/RELATED; BOUNDARY"), BODY.replace(b"Content-ID", b"CONTENT-id")),
    "a quoted boundary": (TYPE.replace("=b;", '="b";'), BODY),
    "a boundary quoted with a backslash": (TYPE.replace("=b;", '="\\b";'), BODY),
    "an unquoted start": (TYPE.replace('"<root>"', "root"), BODY),
    "a start without brackets": (TYPE.replace('"<root>"', '"root"'), BODY),
    "no start": (TYPE.partition("; start")[0], BODY),
    "blanks around parameters": (TYPE.replace("; boundary=b", " ;\tboundary = b "), BODY),
    "a folded header": (TYPE, BODY.replace(b"Content-ID: <file>", b"Content-ID:\r\n <file>")),
    "a blank before the value": (TYPE, BODY.replace(b"Content-ID: <file>", b"Content-ID:\t <file> ")),
    "percent-encoded ids": (TYPE, BODY.replace(b"<file>", b"<%66ile>")),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_that_mime_allows_is_read_alike(name: str) -> None:
    """The same root and the same parts, octet for octet."""
    assert parts(*FORMS[name]) == PLAIN


HIDDEN = b"\r\n--b\r\nContent-ID: <more>\r\n\r\nx\r\n--b--\r\n"
ATTACKS = {
    "a part after the closing boundary": (TYPE, BODY + HIDDEN),
    "a part right after the closing boundary": (TYPE, BODY + HIDDEN[2:]),
    "a second closing boundary": (TYPE, BODY + b"--b--\r\n"),
    "a second package": (TYPE, BODY + BODY),
    "the real Content-Type in the preamble": (TYPE, b"Content-Type: multipart/related; boundary=c\r\n\r\n" + BODY),
    "the same in capitals, further down": (TYPE, b"x\r\ny\r\nCONTENT-TYPE: multipart/related; boundary=c\r\n\r\n" + BODY),
    "a part of another boundary in the preamble": (TYPE, b"--c\r\nContent-ID: <root>\r\n\r\n<evil/>\r\n--c--\r\n" + BODY),
    "another blank in the boundary": (TYPE.replace("=b;", "=b\u00a0;"), BODY),
    "a boundary with a line end": (TYPE.replace("=b;", '="b\r\n";'), BODY),
    "two boundaries": (TYPE.replace("=b;", "=b; Boundary=c;"), BODY),
    "ids that differ in encoding alone": (TYPE, BODY.replace(b"--b--\r\n", b"--b\r\nContent-ID: <%66ile>\r\n\r\nx\r\n--b--\r\n")),
    "ids that differ in brackets alone": (TYPE, BODY.replace(b"--b--\r\n", b"--b\r\nContent-ID: file\r\n\r\nx\r\n--b--\r\n")),
    "the closing boundary cut off, with an epilogue": (TYPE, BODY.replace(b"--b--\r\n", b"the end")),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_two_readers_would_cut_in_two_ways_is_refused(name: str) -> None:
    """A preamble that has headers, an epilogue that has boundaries: each is 5.6.6, and nothing is dropped."""
    with pytest.raises(Rejected) as raised:
        parts(*ATTACKS[name])
    assert raised.value.key == "mime-invalid"


def package(envelope: bytes, data: bytes, content_id: bytes) -> bytes:
    root = b'Content-Type: application/xop+xml; type="text/xml"\r\nContent-ID: <root>\r\n\r\n' + envelope
    return b"preamble\r\n--b\r\n" + root + b"\r\n--b\r\nContent-ID: <" + content_id + b">\r\n\r\n" + data + b"\r\n--b--\r\nepilogue"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("href", ["cid:f%40x", "CID:f@x", "Cid:%66%40x", "cid:f@x"])
async def test_a_reference_may_be_written_in_capitals(bus: Rig, href: str) -> None:  # noqa: F811
    """A scheme has no case: the signed MTOM request is accepted, and its document is the part's octets."""
    known_as, data = f"mtom-{href}", document(abs(hash(href)) % 10_000)
    content = '<i:Include xmlns:i="http://www.w3.org/2004/08/xop/include" href="{}"/>'
    call = '<x:SendDocument xmlns:x="urn:govbus:exchange:v1"><x:MessageId>{}</x:MessageId><x:Content>{}</x:Content></x:SendDocument>'
    inlined = call.format(soap.text(known_as), b64encode(data).decode())
    signed = wss.sign(soap.envelope(SOAP_11, inlined.encode()), bus.unit, now())
    root = etree.fromstring(signed)
    element = root.find(".//{urn:govbus:exchange:v1}Content")
    assert element is not None
    element.text = None
    element.append(etree.fromstring(content.format(href)))
    body = package(etree.tostring(root), data, b"f@x")
    response = await bus.post(body, content_type='multipart/related; boundary=b; type="application/xop+xml"; start="<root>"')
    assert response.status == 200, refused(response)
    assert await fetched(bus, known_as) == data


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("href", ["cid:F@x", "cidf@x", "cid :f@x", "xcid:f@x", "cid:", "CID:CID:f@x"])
async def test_what_follows_the_scheme_has_its_case(bus: Rig, href: str) -> None:  # noqa: F811
    """Another id, another scheme: the part is missing, and the request refused."""
    content = f'<x:Content><i:Include xmlns:i="http://www.w3.org/2004/08/xop/include" href="{href}"/></x:Content>'
    call = f'<x:SendDocument xmlns:x="urn:govbus:exchange:v1">{content}</x:SendDocument>'
    body = package(soap.envelope(SOAP_11, call.encode()), b"x", b"f@x")
    response = await bus.post(body, content_type='multipart/related; boundary=b; type="application/xop+xml"; start="<root>"')
    assert refused(response).startswith("5.6.6")
