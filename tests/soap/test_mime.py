"""multipart/related as real stacks write it, and as attackers would."""

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import mime
from bus.errors import Rejected

RELATED = mime.media_type('multipart/related; boundary="b"; type="application/xop+xml"; start="<root>"; start-info="text/xml"')


def body(*parts: bytes, close: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + close


ROOT = b"Content-Type: text/xml\r\nContent-ID: <root>\r\n\r\n<e/>"
FILE = b"Content-Type: application/pdf\r\nContent-ID: <file>\r\n\r\n\x00\x01"


@pytest.mark.parametrize(
    ("value", "name", "parameters"),
    [
        ("text/xml", "text/xml", {}),
        ("text/xml;charset=utf-8", "text/xml", {"charset": "utf-8"}),
        ('Text/XML; Charset="UTF-8"', "text/xml", {"charset": "UTF-8"}),
        ("text/xml; charset='utf-8'", "text/xml", {"charset": "utf-8"}),
        ("text/xml; charset=utf-8;", "text/xml", {"charset": "utf-8"}),
        ('application/soap+xml; charset=utf-8; action="urn:a;b=c"', "application/soap+xml", {"charset": "utf-8", "action": "urn:a;b=c"}),
        (
            'multipart/related;type="application/xop+xml";start="<r@x>";start-info="application/soap+xml; action=\\"urn:a\\""',
            "multipart/related",
            {"type": "application/xop+xml", "start": "<r@x>", "start-info": 'application/soap+xml; action="urn:a"'},
        ),
    ],
)
def test_media_types_are_read_with_every_odd_quoting_that_clients_use(value: str, name: str, parameters: dict[str, str]) -> None:
    """The name in lower case and the parameters unquoted, whatever the quotes."""
    media = mime.media_type(value)
    assert (media.name, dict(media.parameters)) == (name, parameters)


@given(st.dictionaries(st.from_regex(r"\A[a-z0-9@.-]{1,20}\Z"), st.binary(max_size=300), max_size=4), st.binary(max_size=100))
def test_what_is_packaged_comes_back_byte_for_byte(parts: dict[str, bytes], root: bytes) -> None:
    """Any octets, line ends and dashes included, survive the package."""
    parts.pop("root@govbus", None)
    content_type, data = mime.package(root, "application/xop+xml", "text/xml", parts)
    read = mime.related(mime.media_type(content_type), data)
    assert (read.root.data, dict(read.parts)) == (root, parts)


def test_bare_line_feeds_are_read_like_crlf() -> None:
    """Some Unix clients end their lines with LF alone."""
    read = mime.related(RELATED, body(ROOT, FILE).replace(b"\r\n", b"\n"))
    assert (read.root.data, read.parts) == (b"<e/>", {"file": b"\x00\x01"})


def test_the_start_parameter_finds_the_root_wherever_it_stands() -> None:
    """The root need not be the first part."""
    assert mime.related(RELATED, body(FILE, ROOT)).root.data == b"<e/>"


def test_without_start_the_first_part_is_the_root() -> None:
    """RFC 2387, 3.2; its Content-ID may be missing then."""
    read = mime.related(mime.media_type("multipart/related; boundary=b"), body(b"Content-Type: text/xml\r\n\r\n<e/>", FILE))
    assert read.root.data == b"<e/>"


@pytest.mark.parametrize(
    ("header", "name"),
    [(b"Content-ID: <a@b>", "a@b"), (b"content-id: a@b", "a@b"), (b"Content-Id: <a%40b>", "a@b"), (b"Content-ID:\r\n <a@b>", "a@b")],
)
def test_content_ids_are_one_name_with_or_without_brackets_and_percent_encoding(header: bytes, name: str) -> None:
    """So that a ``cid:`` reference finds them."""
    assert list(mime.related(RELATED, body(ROOT, header + b"\r\n\r\nx")).parts) == [name]


@pytest.mark.parametrize(
    ("encoding", "sent", "meant"),
    [
        (b"binary", b"\x00\xff", b"\x00\xff"),
        (b"8bit", "Hà Nội".encode(), "Hà Nội".encode()),
        (b"7bit", b"abc", b"abc"),
        (b"base64", b"AAEC\r\nAwQ=\r\n", b"\x00\x01\x02\x03\x04"),
        (b"Quoted-Printable", b"H=C3=A0 N=E1=BB=99i=\r\n!", "Hà Nội!".encode()),
    ],
)
def test_every_transfer_encoding_is_undone(encoding: bytes, sent: bytes, meant: bytes) -> None:
    """SOAP::Lite mangles binary parts unless base64 is set, so it is set."""
    part = b"Content-ID: <file>\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n" + sent
    assert mime.related(RELATED, body(ROOT, part)).parts["file"] == meant


def test_a_longer_boundary_that_begins_alike_is_content() -> None:
    """``--bc`` within a part is not the boundary ``--b``, and neither is ``--b`` in mid-line."""
    part = b"Content-ID: <file>\r\n\r\n--bc\r\nx--b\r\n-"
    assert mime.related(RELATED, body(ROOT, part)).parts["file"] == b"--bc\r\nx--b\r\n-"


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (body(ROOT, FILE, close=b""), "closing boundary"),
        (body(ROOT, FILE, close=b"--b-"), "closing boundary"),
        (b"Content-Type: multipart/related; boundary=c\r\n\r\n" + body(ROOT), "before the first boundary"),
        (body(ROOT).replace(b"--b", b"--c"), "nowhere"),
        (body(ROOT, FILE, FILE), "two parts"),
        (body(ROOT, FILE.replace(b"<file>", b"<root>")), "two parts"),
        (body(ROOT, b"Content-Type: text/plain\r\n\r\nx"), "no Content-ID"),
        (body(FILE), "'start'"),
        (body(ROOT, b"Content-ID: <m>\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x--"), "within a package"),
        (body(ROOT, b"Content-ID: <a>\r\nContent-ID: <b>\r\n\r\nx"), "repeated"),
        (body(ROOT, b"Content-ID: <a>\r\nContent-Transfer-Encoding: base64\r\n\r\nA!"), "base64"),
        (body(ROOT, b"Content-ID: <a>\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nA"), "unknown"),
        (body(ROOT, b"Content-ID: <a>\r\nX: " + b"x" * 9000 + b"\r\n\r\nA"), "does not end"),
        (body(ROOT) + b"more\r\n--b--", "after the closing"),
        (body(), "no parts"),
        (body(*[ROOT] * 101), "more than 100"),
    ],
)
def test_what_cannot_be_accounted_for_is_refused(data: bytes, named: str) -> None:
    """Axis 1.4 leaves out the closing boundary, Mono's WCF puts a second Content-Type into the body: no byte is lost silently."""
    with pytest.raises(Rejected, match=named) as raised:
        mime.related(RELATED, data)
    assert raised.value.key == "mime-invalid"


@pytest.mark.parametrize("boundary", ["", "x" * 71, "a\tb"])
def test_an_unusable_boundary_is_refused(boundary: str) -> None:
    """RFC 2046, 5.1.1: 1 to 70 characters of a small set."""
    with pytest.raises(Rejected, match="boundary"):
        mime.related(mime.media_type(f'multipart/related; boundary="{boundary}"'), body(ROOT))


@pytest.mark.parametrize("smuggled", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r", "\x00"])
def test_a_header_is_one_header_to_every_reader(smuggled: str) -> None:
    """Only a line end ends a header's line: whoever knows more of them would read a Transfer-Encoding where others read none."""
    head = f"Content-ID: <root>{smuggled}Content-Transfer-Encoding: base64\r\n\r\n".encode()
    with pytest.raises(Rejected, match="malformed") if smuggled < "\x80" else nullcontext():
        package = mime.related(mime.media_type("multipart/related; boundary=b"), b"--b\r\n" + head + b"PGEvPg==\r\n--b--")
        assert bytes(package.root.data) == b"PGEvPg=="


@pytest.mark.parametrize("line", ["<!DOCTYPE a>Content-ID: <1>", "Content-ID : <1>", "Content\x01-ID: <1>", ": <1>", "Content-ID"])
def test_a_header_that_has_no_name_is_refused(line: str) -> None:
    """RFC 5322, section 2.2: printable letters and a colon; anything else is read differently elsewhere."""
    with pytest.raises(Rejected, match="malformed"):
        mime.related(mime.media_type("multipart/related; boundary=b"), f"--b\r\n{line}\r\n\r\nx\r\n--b--".encode())


def test_a_parameter_means_one_thing() -> None:
    """Two boundaries would be two packages; the same charset twice is met in the field, and harms nobody."""
    assert mime.media_type("text/xml; charset=utf-8; charset=utf-8").parameter("charset") == "utf-8"
    with pytest.raises(Rejected, match="twice"):
        mime.media_type('multipart/related; boundary="a"; boundary="b"')
