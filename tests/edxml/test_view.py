"""What routing sees: message headers and the plain tree for XPaths."""

import unicodedata

import pytest
from edxml_letters import HEADER, letter
from lxml import etree

from bus import edxml
from bus.errors import Rejected
from bus.organisations import CodeBook
from sandbox.documents import GOVERNMENT_OFFICE, Kind, document, make, make_status


def test_a_documents_headers() -> None:
    """Kind, sender, receivers as written and once each, id and subject on one line."""
    header = HEADER.replace("V/v số liệu", " V/v\n  số liệu ") + "<To><OrganId>G18</OrganId></To><To><OrganId>G18</OrganId></To><To/>"
    assert edxml.describe(edxml.parse(letter(header))) == {
        "kind": "document",
        "from": "000.00.01.G14",
        "receivers": "000.00.00.G22 G18",
        "document-id": "000.00.01.G14,2026/03/15,77/CVT-VP",
        "document-number": "77/CVT-VP",
        "subject": "V/v số liệu",
    }


def test_what_is_listed_and_indexed_is_short() -> None:
    """A listing has hundreds of subjects, and no index of PostgreSQL takes an identifier of three thousand characters."""
    long = "x" * 3_000
    assert edxml.describe(edxml.parse(letter(HEADER.replace("V/v số liệu", long))))["subject"] == long[:1_000]
    for identifier in ("000.00.01.G14</OrganId>", "000.00.00.G22</OrganId>", "77/CVT-VP</DocumentId>"):
        with pytest.raises(Rejected, match=r"5\.6\.3 .*an identifier is longer than 255"):
            edxml.describe(edxml.parse(letter(HEADER.replace(identifier, long + identifier))))


@pytest.mark.parametrize(("many", "words"), [("<To><OrganId>G18</OrganId></To>", "500 receivers"), ("", "1000 Attachment")])
def test_a_crowd_is_refused(many: str, words: str) -> None:
    """Whoever routes a document asks about each receiver, and whoever reads it pairs each file with each name."""
    body = letter(HEADER + many * 501) if many else letter(attachments="<Attachment/>" * 1_001)
    with pytest.raises(Rejected, match=f"more than {words}"):
        edxml.describe(edxml.parse(body))


def test_a_statuss_headers() -> None:
    """A status is for the organisation it answers; its subject is its code and description."""
    about = document(size=5_000)
    described = edxml.describe(edxml.parse(make_status("02", about, GOVERNMENT_OFFICE)))
    assert (described["kind"], described["from"], described["receivers"]) == ("status", "000.00.00.G22", "000.00.01.G14")
    assert (described["document-id"], described["subject"]) == (about.header.document_id, "02 Từ chối tiếp nhận: văn bản gửi nhầm nơi nhận")


def test_missing_headers_are_empty() -> None:
    """No sender, no id, no subject: empty texts, no failure."""
    assert set(edxml.describe(edxml.parse(letter("<To/>"))).values()) == {"document", ""}


def test_one_odd_code_is_not_two_good_ones() -> None:
    """A blank inside a code does not make two receivers of one."""
    assert edxml.describe(edxml.parse(letter(HEADER.replace("000.00.00.G22", "G22 G18"))))["receivers"] == "G22_G18"


@pytest.mark.parametrize("code", ["G22", "000.00.00.G22"])
@pytest.mark.parametrize("body", [letter(), make(size=5_000)], ids=["plain", "prefixed"])
def test_an_xpath_holds_whichever_code_was_written(book: CodeBook, body: bytes, code: str) -> None:
    """``To/OrganId = …`` is true for the old and the new code of a receiver, false for others."""
    seen = edxml.view(edxml.parse(body), book.aliases)
    assert seen.xpath(f"To/OrganId = '{code}'") is True
    assert seen.xpath("To/OrganId = 'G18'") is False


def test_the_view_has_standard_names_and_normal_text() -> None:
    """Other spellings, prefixes, blanks and decomposed letters are gone; the trace list is there; order is kept."""
    header = HEADER.replace("V/v số liệu", unicodedata.normalize("NFD", "\n V/v số liệu "))
    traces = "<TraceHeaderList><Business><BusinessDocType> 1 </BusinessDocType></Business></TraceHeaderList>"
    seen = edxml.view(edxml.parse(letter(header, traces)))
    assert seen.xpath("Subject = 'V/v số liệu' and TraceHeaderList/Bussiness/BussinessDocType = 1") is True
    assert [child.tag for child in seen][:3] == ["From", "To", "DocumentId"]


def test_the_view_is_a_copy() -> None:
    """Looking does not change the message, and the attachments are not copied."""
    tree = edxml.parse(make(Kind.REPLY, size=5_000))
    before = etree.tostring(tree)
    seen = edxml.view(tree, lambda code: (f"{code}.X",))
    assert etree.tostring(tree) == before
    assert not seen.xpath("//Attachment")
