"""The nineteen ways in which counterparties' edXML differs: each is read, or refused, as the notes say."""

import io
import zipfile
from base64 import b64encode
from datetime import UTC, date, datetime

import pytest
from edxml_letters import HEADER, TRACES, attachment, letter, reference

from bus import edxml
from bus.edxml.model import VIETNAM, Document, StatusMessage
from bus.errors import Rejected
from bus.message import Message
from bus.organisations import CodeBook


def document(body: bytes) -> Document:
    message = edxml.read(edxml.parse(body))
    assert isinstance(message, Document)
    return message


def status(body: bytes) -> StatusMessage:
    message = edxml.read(edxml.parse(body))
    assert isinstance(message, StatusMessage)
    return message


PLAIN = document(letter())


def test_01_prefixes_are_of_no_consequence() -> None:
    """Without prefix, with another one, or with a prefixed AttachmentEncoded, a message reads the same."""
    body = letter(references=reference(), attachments=attachment("YWJj"))
    prefixed = body.decode().replace("<", "<q:").replace("<q:/", "</q:").replace("<q:?", "<?").replace("xmlns=", "xmlns:q=")
    assert document(prefixed.encode()) == document(body)


def test_02_order_is_of_no_consequence() -> None:
    """The standard's order, the Java library's, hops before or after the business: the same content."""
    other_way_round = "\n".join(reversed(HEADER.strip().splitlines()))
    first, second = TRACES.split("\n")[1:3]
    assert document(letter(other_way_round, f"<TraceHeaderList>{second}{first}</TraceHeaderList>")) == PLAIN


def test_03_other_spellings_are_known() -> None:
    """``Business…``, ``OrganInCharge`` and ``DigitalSignature`` stand for the standard's own names, without a warning."""
    header = HEADER.replace("<OrganName>Cục", "<OrganInCharge>Bộ</OrganInCharge><OrganName>Cục")
    traces = TRACES.replace("Bussiness", "Business").replace("DocType>0", "DocType>2") + "<DigitalSignature/>"
    read = document(letter(header, traces))
    assert (read.header.sender.organization_in_charge, read.trace_list.business.doc_type, read.warnings) == ("Bộ", 2, ())


@pytest.mark.parametrize("front", [b"\xef\xbb\xbf", b"HTTP rubbish\r\n", b"\xef\xbb\xbf\r\n", b"\n\n"])
def test_04_rubbish_in_front_is_cut_off(front: bytes) -> None:
    """A byte order mark or stray text before the declaration, and comments anywhere, do no harm."""
    assert document(front + letter(HEADER.replace("<Code>", "<!-- x --><Code><!-- y -->"))) == PLAIN


def test_05_an_undeclared_xlink_prefix_is_mended() -> None:
    """``xlink:href`` on a Reference whose prefix nobody declared does not cost the message."""
    attributes = ' xlink:href="cid:a" xlink:role="XLinkRole" xlink:type="simple"'
    read = document(letter(references=reference(attributes=attributes), attachments=attachment("YWJj")))
    assert read.attachments[0].data == b"abc"


@pytest.mark.parametrize("front", [b"", b"stray text "])
def test_06_a_doctype_is_refused(front: bytes) -> None:
    """Any DOCTYPE is refused, also behind stray text that would be cut off."""
    with pytest.raises(Rejected) as refused:
        edxml.parse(front + b'<!DOCTYPE edXML [<!ENTITY e "x">]>' + letter().split(b"\n", 1)[1])
    assert refused.value.code == "5.6.2"


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("2026/03/15", date(2026, 3, 15)),
        ("15/03/2026", date(2026, 3, 15)),
        ("15/03/2026 08:30:00", date(2026, 3, 15)),
        ("2026-03-15", date(2026, 3, 15)),
        ("2026-03-15T08:30:00", date(2026, 3, 15)),
        ("2026-03-14T20:30:00Z", date(2026, 3, 15)),
        ("2026/3/5", date(2026, 3, 5)),
        ("2026/02/30", None),
        ("ngày 15", None),
    ],
)
def test_07_dates_in_many_patterns(written: str, day: date | None) -> None:
    """Every pattern met is understood, the raw text kept; an impossible day is None with a warning, never another day."""
    read = document(letter(HEADER.replace("<PromulgationDate>2026/03/15", f"<PromulgationDate>{written}")))
    path = "MessageHeader/PromulgationInfo/PromulgationDate"
    assert read.header.promulgation_info.promulgation_date == day
    assert read.raw.get(path, "2026/03/15") == written
    assert bool(read.warnings) == (day is None)


def test_07_times_are_vietnams() -> None:
    """A time without a zone is Vietnam's; one with a zone is converted."""
    stamps = [
        document(letter(traces=TRACES.replace("2026/03/15 09:00:00", written))).trace_list.traces[0].timestamp
        for written in ("2026/03/15 09:00:00", "15/03/2026 09:00", "2026-03-15T02:00:00Z")
    ]
    assert stamps == [datetime(2026, 3, 15, 9, tzinfo=VIETNAM)] * 3
    assert stamps[0] == datetime(2026, 3, 15, 2, tzinfo=UTC)


@pytest.mark.parametrize(("written", "warned"), [("", False), ("null", False), (" 2 ", False), ("hai", True), ("-4", True), ("9", True)])
def test_08_numbers_as_text(written: str, warned: bool) -> None:
    """Empty and "null" are the default; what is no number, or no known one, is the default with a warning and its raw text."""
    read = document(letter(HEADER + f"<OtherInfo><Priority>{written}</Priority><SphereOfPromulgation>x</SphereOfPromulgation></OtherInfo>"))
    assert read.header.other_info.priority == (2 if written == " 2 " else 0)
    assert (bool(read.warnings), "MessageHeader/OtherInfo/Priority" in read.raw) == (warned, warned)


def test_09_missing_parts_have_defaults() -> None:
    """Without Bussiness, hop codes, Place and address a message is a new document, silently."""
    traces = (
        "<TraceHeaderList><TraceHeader><OrganId>null</OrganId><Timestamp>2026/03/15 09:00:00</Timestamp></TraceHeader></TraceHeaderList>"
    )
    read = document(letter(HEADER.replace("<Place>Hà Nội</Place>", ""), traces))
    assert (read.trace_list.business.doc_type, read.trace_list.traces[0].organ_id, read.warnings) == (0, "", ())


@pytest.mark.parametrize("empty", ["<ResponseFor/>", "<ResponseFor><OrganId/><Code> </Code></ResponseFor>"])
def test_10_an_empty_response_is_dropped(empty: str) -> None:
    """The exchange writes an empty ResponseFor where there was none."""
    assert document(letter(HEADER + empty)) == PLAIN


@pytest.mark.parametrize(("in_manifest", "at_file"), [("cid:a", "cid:a"), ("cid:a", "a"), ("a", "cid:cid:a"), ("cid:cid:a", " cid:a ")])
def test_11_content_ids_with_and_without_cid(in_manifest: str, at_file: str) -> None:
    """However often "cid:" was put, the id is the same, and finds its reference among others."""
    references = reference("other.pdf", "cid:z") + reference("named.pdf", in_manifest)
    read = document(letter(references=references, attachments=attachment("YWJj", name="", content_id=at_file)))
    assert [(file.content_id, file.name) for file in read.attachments] == [("a", "named.pdf")]


@pytest.mark.parametrize("label", ["application/zip", "text/plain", "application/pdf", ""])
def test_12_content_types_lie_about_zip(label: str) -> None:
    """Whether to unpack is decided by the bytes and the name, whatever the label says."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../../etc/passwd", b"%PDF-1.4")
    wrapped = document(letter(attachments=attachment(b64encode(packed.getvalue()).decode(), label=label)))
    plain = document(letter(attachments=attachment(b64encode(b"%PDF-1.4").decode(), label=label)))
    assert wrapped.attachments[0] == plain.attachments[0]
    assert (plain.attachments[0].name, plain.attachments[0].data, plain.attachments[0].error) == ("a.pdf", b"%PDF-1.4", "")


def test_13_one_organisation_by_two_codes(book: CodeBook) -> None:
    """The exchange addresses a ministry by its new and its old code at once: that is one receiver."""
    both = edxml.parse(letter(HEADER + "<To><OrganId>G22</OrganId></To><To><OrganId>G18</OrganId></To>"))
    assert edxml.receivers(both, book.aliases) == ("000.00.00.G22", "G18")


def test_14_a_document_id_is_opaque() -> None:
    """A UUID is a DocumentId as good as any."""
    read = document(letter(HEADER.replace("000.00.01.G14,2026/03/15,77/CVT-VP", " 5f8d4a52-6c07-4c38-9a57-0d8d5f5d7e11 ")))
    assert (read.header.document_id, read.warnings) == ("5f8d4a52-6c07-4c38-9a57-0d8d5f5d7e11", ())


@pytest.mark.parametrize("name", ["edXMLEnvelope", "EdXMLEnvelope"])
def test_15_the_envelope_as_root(name: str) -> None:
    """The envelope alone is a message; anything flatter is not edXML."""
    inner = letter().decode().partition("<edXMLEnvelope>")[2].partition("</edXMLEnvelope>")[0]
    assert document(f'<{name} xmlns="{edxml.NAMESPACE}">{inner}</{name}>'.encode()) == PLAIN
    with pytest.raises(Rejected, match="root element is 'MessageHeader'"):
        edxml.read(edxml.parse(f'<MessageHeader xmlns="{edxml.NAMESPACE}">{HEADER}</MessageHeader>'.encode()))


def test_16_boundary_and_content_type_under_the_root_are_ignored() -> None:
    """Leftovers of a MIME producer under the root mean nothing."""
    assert document(letter(root="<Boundary>b</Boundary><ContentId>c</ContentId><ContentType>text/xml</ContentType>")) == PLAIN


def test_17_what_may_repeat_does() -> None:
    """Several StaffInfo, ReplacementInfoList and BussinessDocumentInfo are all kept, in order."""
    change = "<BussinessDocumentInfo><DocumentInfo>1</DocumentInfo></BussinessDocumentInfo>"
    replaced = "<ReplacementInfoList><ReplacementInfo><DocumentId>{}</DocumentId></ReplacementInfo></ReplacementInfoList>"
    staff = "<StaffInfo><Staff>A</Staff></StaffInfo><StaffInfo><Staff>B</Staff></StaffInfo>"
    more = f"{staff}{change}{change}{replaced.format(1)}{replaced.format(2)}"
    business = document(letter(traces=TRACES.replace("</Bussiness>", f"{more}</Bussiness>"))).trace_list.business
    assert [person.staff for person in business.staff] == ["A", "B"]
    assert (len(business.changes), [item.document_id for item in business.replacements]) == (2, ["1", "2"])


def test_18_base64_with_blanks_and_base64_that_is_none() -> None:
    """Line breaks and blanks are fine; bad base64 is an error of that file alone."""
    files = document(letter(attachments=attachment(" YW\r\nJj\t\n") + attachment("YW*j", "b.pdf", "b"))).attachments
    assert [(file.data, file.error) for file in files] == [(b"abc", ""), (b"", "ContentTransferEncoded is not valid base64")]


@pytest.mark.parametrize(("written", "meant"), [("0", 1), ("1", 1), ("2", 2), ("3", 3), ("", 1), ("x", 1)])
def test_19_steering_type_zero_means_one(written: str, meant: int) -> None:
    """SteeringType 0, absent or unreadable: no steering document. Type 18 or 71 is kept, and means nothing."""
    read = document(letter(HEADER.replace("<SteeringType>1", f"<SteeringType>{written}") + "<DocumentType><Type>71</Type></DocumentType>"))
    assert (read.header.steering_type, read.header.document_type.type) == (meant, 71)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (letter().replace(edxml.NAMESPACE.encode(), b"http://www.go.vn/eDoc"), "namespace is 'http://www.go.vn/eDoc'"),
        (letter(HEADER.replace("To>", "Cc>")), "neither To .* nor StatusCode"),
        (letter(HEADER + "<From><OrganId>G22</OrganId></From>"), "names 2 senders"),
        (letter(HEADER.replace("</OrganId><OrganName>C", "</OrganId><OrganId>G22</OrganId><OrganName>C")), "names 2 senders"),
        (letter(root="<edXMLEnvelope/>"), "has 2 edXMLEnvelope"),
        (letter().replace(b"edXMLHeader>", b"Header>"), "has no edXMLHeader"),
    ],
)
def test_what_is_not_edxml_or_says_two_things_is_refused(body: bytes, detail: str) -> None:
    """Only what is no edXML at all, or what two readers could read as two senders, is refused, with the precise reason."""
    tree = edxml.parse(body)
    for reader in (edxml.describe, edxml.read, edxml.view):
        with pytest.raises(Rejected, match=detail) as refused:
            reader(tree)
        assert refused.value.key == "edxml-invalid"


def test_a_bare_status_is_read() -> None:
    """A status may lack nearly everything but its code."""
    read = status(letter("<From><OrganId>G22</OrganId></From><StatusCode>103</StatusCode><Timestamp>rất lâu</Timestamp>", traces=""))
    assert (read.header.status_code, read.header.timestamp, len(read.warnings)) == ("103", None, 1)


def test_a_message_keeps_its_octets_while_its_tree_is_mended() -> None:
    """Routing sees through the rubbish in front; what is stored, digested and sent on is what came."""
    body = b"stray text\n" + letter(references=reference(attributes=' xlink:href="cid:a"'))
    message = Message("1", {}, body)
    assert edxml.describe(message.tree)["from"] == "000.00.01.G14"
    assert message.body == body
