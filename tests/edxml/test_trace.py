"""Appending a hop: one splice, every other octet untouched, whatever the message looks like."""

from datetime import UTC, datetime

import pytest
from edxml_letters import HEADER, TRACES, letter
from hypothesis import given, settings
from hypothesis import strategies as st

from bus import edxml
from bus.edxml.model import VIETNAM, Document, Trace
from sandbox.documents import GOVERNMENT_OFFICE, document, make, make_status

NOW = datetime(2026, 11, 22, 17, 30, 5, tzinfo=UTC)
HOP = Trace("000.00.00.G14", datetime(2026, 11, 23, 0, 30, 5, tzinfo=VIETNAM))
HOP_TEXT = "<OrganId>000.00.00.G14</OrganId><Timestamp>2026/11/23 00:30:05</Timestamp>"


def traced(body: bytes) -> bytes:
    return edxml.append_trace(body, "000.00.00.G14", NOW)


def hops(body: bytes) -> tuple[Trace, ...]:
    message = edxml.read(edxml.parse(body))
    assert isinstance(message, Document)
    return message.trace_list.traces


def assert_only_inserted(before: bytes, after: bytes) -> None:
    """``after`` is ``before`` with one run of octets inserted."""
    same = next((index for index, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), len(before))
    assert after[len(after) - (len(before) - same) :] == before[same:]


PREFIXED = make(size=5_000)
LIST_ON_ITS_OWN_PREFIX = letter(traces=f'<t:TraceHeaderList xmlns:t="{edxml.NAMESPACE}"><t:Paper>0</t:Paper></t:TraceHeaderList>')
HEADER_ON_ITS_OWN_PREFIX = (
    letter(traces="")
    .replace(b"<MessageHeader>", f'<m:MessageHeader xmlns:m="{edxml.NAMESPACE}">'.encode())
    .replace(b"</MessageHeader>", b"</m:MessageHeader>")
)
TRICKS = letter(
    HEADER + "<Content><![CDATA[</MessageHeader><TraceHeaderList><TraceHeader/>]]></Content><!-- </MessageHeader><TraceHeaderList> -->",
    TRACES.replace("</TraceHeader>", "<!-- </TraceHeader></TraceHeaderList> --></TraceHeader>").replace(
        "<TraceHeaderList>", "<TraceHeaderList id='/TraceHeaderList>' version=\"a>b\">"
    ),
)


@pytest.mark.parametrize(
    "body",
    [
        PREFIXED,
        letter(),
        TRICKS,
        LIST_ON_ITS_OWN_PREFIX,
        b"\xef\xbb\xbf" + letter(),
        b"stray text\n" + letter(),
        letter(traces=TRACES.replace("Bussiness", "Business")),
        letter(traces="<TraceHeaderList></TraceHeaderList>"),
        letter(traces="<TraceHeaderList>" + "<TraceHeader/>" * 3 + "</TraceHeaderList>"),
        letter().replace(b"<edXMLBody>", b'<edXMLBody><x:y xmlns:x="u" xlink:z=""/>', 1),
    ],
)
def test_only_the_hop_is_added(body: bytes) -> None:
    """The new hop is the last one, and taking it out again gives the octets that were there."""
    after = traced(body)
    assert hops(after)[-1] == HOP
    assert len(hops(after)) == len(hops(body)) + 1
    assert_only_inserted(body, after)


@pytest.mark.parametrize(
    "body", [letter(traces=""), HEADER_ON_ITS_OWN_PREFIX, letter(traces="").replace(b"edXMLEnvelope>", b"EdXMLEnvelope>")]
)
def test_a_missing_list_is_made(body: bytes) -> None:
    """Without a list one is made behind MessageHeader, with a prefix that is in force there."""
    after = traced(body)
    assert hops(after) == (HOP,)
    assert_only_inserted(body, after)


def test_the_prefix_in_use_is_kept() -> None:
    """A message that says edXML: is answered in edXML:, one without prefix without."""
    assert HOP_TEXT.encode() in traced(letter())
    assert b"<edXML:TraceHeader>" + HOP_TEXT.replace("</", "</edXML:").replace("<O", "<edXML:O").replace(
        "<T", "<edXML:T"
    ).encode() in traced(PREFIXED)


def test_an_empty_list_is_opened() -> None:
    """``<TraceHeaderList id="x"/>`` keeps its attribute and gets the hop inside."""
    after = traced(letter(traces='<TraceHeaderList id="x" />'))
    assert hops(after) == (HOP,)
    assert b'<TraceHeaderList id="x" ><TraceHeader>' in after


def test_a_second_hop_follows_the_first() -> None:
    """Hops stay together and in order, before or after Bussiness, so that what was valid stays valid."""
    after = edxml.append_trace(traced(letter()), "G22", NOW)
    assert [hop.organ_id for hop in hops(after)] == ["000.00.01.G14", "000.00.00.G14", "G22"]
    assert after.index(b"G22</OrganId><Timestamp>") < after.index(b"<Bussiness>")


def test_elements_of_another_namespace_do_not_mislead() -> None:
    """A foreign TraceHeaderList is none: the hop goes where every reader looks for it."""
    foreign = letter(traces=f'<TraceHeaderList xmlns="urn:other"><TraceHeader/></TraceHeaderList>{TRACES}')
    assert hops(traced(foreign)) == (*hops(foreign), HOP)


def test_octets_that_are_no_utf_8_are_serialised_anew() -> None:
    """A UTF-16 message cannot be spliced; it gets its hop all the same."""
    body = letter().decode().replace("UTF-8", "UTF-16").encode("utf-16")
    assert hops(traced(body)) == (*hops(letter()), HOP)


def test_a_status_is_left_alone() -> None:
    """A status has no trace list: it is returned as it is."""
    body = make_status("03", document(size=5_000), GOVERNMENT_OFFICE)
    assert traced(body) == body


def test_a_bad_code_is_a_mistake_of_ours() -> None:
    """Nothing but an organisation code is ever spliced in."""
    with pytest.raises(ValueError, match="organisation code"):
        edxml.append_trace(letter(), "G14</OrganId>", NOW)


_PIECES = st.lists(
    st.sampled_from(
        [
            "<!-- <TraceHeaderList> -->",
            "<![CDATA[</Subject></MessageHeader>]]>",
            "&lt;/MessageHeader&gt;",
            " > ",
            '"',
            "'",
            "x",
            "<?p </q>?>",
        ]
    ),
    max_size=6,
)


@settings(max_examples=80, deadline=None)
@given(before=_PIECES, inside=_PIECES, attribute=st.sampled_from([" a='>'", ' a="/>"', ""]))
def test_no_text_poses_as_a_tag(before: list[str], inside: list[str], attribute: str) -> None:
    """Comments, CDATA, instructions, quotes and attribute values anywhere in the header never move the splice."""
    header = HEADER.replace("<Subject>", f"<Subject{attribute}>{''.join(inside)}")
    body = letter(header, "".join(before).replace("<![CDATA[</Subject></MessageHeader>]]>", "") + TRACES)
    after = traced(body)
    assert hops(after) == (*hops(body), HOP)
    assert_only_inserted(body, after)
