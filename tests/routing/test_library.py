"""Schemas and stylesheets: a closed world, compiled once, whose errors people can act on."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from lxml import etree

from bus import schemas
from bus.errors import Rejected, text
from bus.schemas import Library

XS = 'xmlns:xs="http://www.w3.org/2001/XMLSchema"'
TYPES = f"""<xs:schema {XS} targetNamespace="urn:t" xmlns="urn:t" elementFormDefault="qualified">
<xs:simpleType name="Code"><xs:restriction base="xs:string"><xs:maxLength value="3"/></xs:restriction></xs:simpleType></xs:schema>"""
MAIN = f"""<xs:schema {XS} targetNamespace="urn:t" xmlns="urn:t" elementFormDefault="qualified"><xs:include schemaLocation="types.xsd"/>
<xs:element name="r"><xs:complexType><xs:sequence><xs:element name="code" type="Code" maxOccurs="99"/><xs:element name="n" type="xs:int"/>
<xs:element name="k" minOccurs="0"><xs:simpleType><xs:restriction base="xs:string">
<xs:enumeration value="a"/><xs:enumeration value="b"/></xs:restriction>
</xs:simpleType></xs:element></xs:sequence><xs:attribute name="id" use="required"/></xs:complexType></xs:element></xs:schema>"""
XSL = (
    '<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">'
    '<xsl:template match="/"><o>{}</o></xsl:template></xsl:stylesheet>'
)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """A library of two schemas."""
    (tmp_path / "t/v1").mkdir(parents=True)
    (tmp_path / "t/v1/types.xsd").write_text(TYPES)
    (tmp_path / "t/v1/main.xsd").write_text(MAIN)
    return Library(tmp_path)


def errors(library: Library, document: str) -> list[str]:
    with pytest.raises(Rejected) as caught:
        library.validate("t/v1/main.xsd", etree.fromstring(document))
    return [text(error.key, "en", **error.values) for error in caught.value.values["errors"]]  # type: ignore[attr-defined]


def test_every_error_is_listed_with_path_line_and_what_was_expected(library: Library) -> None:
    """Not the first error only, and in words rather than in libxml2's."""
    document = '<r xmlns="urn:t">\n<code>ABCDE</code>\n<code/><n>x</n>\n<k>c</k></r>'
    assert errors(library, document) == [
        "/r (line 1): attribute 'id' is missing",
        "/r/code[1] (line 2): the value is 5 characters long; the limit is 3",
        "/r/n (line 3): the value 'x' is not of type xs:int",
        "/r/k (line 4): the value 'c' is not allowed; expected one of 'a', 'b'",
    ]


def test_prefixes_do_not_change_the_path(library: Library) -> None:
    """The path names elements, whichever prefix was written."""
    assert errors(library, '<p:r xmlns:p="urn:t" id="1"><p:code/><p:code/><p:z/></p:r>') == [
        "/r/z (line 1): 'z' is not allowed here; expected n"
    ]


def test_the_number_of_errors_is_bounded(library: Library) -> None:
    """A document with a thousand errors gets an answer that can be read."""
    found = errors(library, '<r xmlns="urn:t" id="1">' + "<code>ABCDE</code>" * 99 + "<n>1</n></r>")
    assert (len(found), found[-1]) == (schemas.MOST_ERRORS + 1, "and 79 more errors")


def test_reasons_are_in_both_languages(library: Library) -> None:
    """A Vietnamese reader is told in Vietnamese, part by part."""
    with pytest.raises(Rejected) as caught:
        library.validate("t/v1/main.xsd", etree.fromstring('<r xmlns="urn:t"><code/><n>1</n></r>'))
    assert caught.value.reason("vi") == "Không đúng lược đồ 't/v1/main.xsd': /r (dòng 1): thiếu thuộc tính 'id'"


@pytest.mark.parametrize("outside", ["file:///etc/hostname", "http://127.0.0.1:9/x.xsd", "../../../etc/x.xsd"])
def test_a_schema_cannot_reach_out_of_the_library(library: Library, outside: str) -> None:
    """Whatever a schema includes comes from the library or not at all."""
    (library.root / "t/v1/bad.xsd").write_text(
        f'<xs:schema {XS}><xs:include schemaLocation="{outside}"/><xs:element name="a" type="b"/></xs:schema>'
    )
    with pytest.raises(ValueError, match=r"schema 't/v1/bad\.xsd'"):
        library.schema("t/v1/bad.xsd")


@pytest.mark.parametrize("outside", ["file:///etc/hostname", "http://127.0.0.1:9/x.xml", "types.xsd"])
def test_a_stylesheet_cannot_read_documents(library: Library, outside: str) -> None:
    """document() is refused, for files and for the network."""
    (library.root / "t/v1/s.xsl").write_text(
        XSL.format(f"<xsl:copy-of xmlns:xsl='http://www.w3.org/1999/XSL/Transform' select=\"document('{outside}')\"/>")
    )
    with pytest.raises(etree.XSLTApplyError):
        library.stylesheet("t/v1/s.xsl")(etree.fromstring("<a/>"))


def test_a_file_changed_on_disk_changes_nothing_until_a_reload(library: Library) -> None:
    """What history says about a stylesheet is what was applied, in every thread."""
    library.schema("t/v1/main.xsd")
    digest = library.digest("t/v1/main.xsd")
    (library.root / "t/v1/main.xsd").write_text("broken")
    (library.root / "t/v1/types.xsd").write_text("broken")
    with ThreadPoolExecutor(1) as other:
        other.submit(library.validate, "t/v1/main.xsd", etree.fromstring('<r xmlns="urn:t" id="1"><code/><n>1</n></r>')).result(10)
    assert library.digest("t/v1/main.xsd") == digest


class Halting:
    """A parser target that stops in the middle of its document until it is told to go on."""

    def __init__(self) -> None:
        self.started, self.ended = Event(), Event()

    def start(self, tag: str, attributes: object) -> None:
        self.started.set()
        assert self.ended.wait(10)

    def close(self) -> None:
        """Nothing is kept of the document."""


def test_a_schema_compiles_while_other_threads_parse(library: Library) -> None:
    """libxml2's loader of references belongs to the whole process; a parse that ends just then takes nothing away."""
    (library.root / "t/v1/both.xsd").write_text(MAIN.replace("<xs:element", '<xs:include schemaLocation="more.xsd"/><xs:element', 1))
    (library.root / "t/v1/more.xsd").write_text(TYPES.replace("Code", "Other"))
    halting = Halting()

    class Watched(Library):
        def read(self, name: str) -> bytes:
            if name == "t/v1/types.xsd":
                halting.ended.set()
                other.shutdown()
            return super().read(name)

    with ThreadPoolExecutor(1) as other:
        parse = other.submit(etree.fromstring, "<a/>", etree.XMLParser(target=halting))
        assert halting.started.wait(10)
        Watched(library.root).schema("t/v1/both.xsd")
    assert parse.exception() is None


def test_threads_do_not_mix_up_their_errors(library: Library) -> None:
    """Two documents validated at once each get their own errors."""
    documents = ['<r xmlns="urn:t" id="1"><code/><n>x</n></r>', '<r xmlns="urn:t"><code/><n>1</n></r>']
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda index: errors(library, documents[index % 2]), range(200)))
    assert found == [errors(library, documents[index % 2]) for index in range(200)]
