"""Append a hop to a document's trace list by splicing octets: every other octet of the message stays as it was.

The exchange asks each organisation that handles a document to add its ``TraceHeader`` (QCVN 102:2016, 2.1). Parsing and
re-serialising for that would touch every octet and copy every attachment. Instead a lexer for XML that is *known to be well-formed
and without a DTD* (it has passed ``xmlio``) walks the tags up to the end of the header: comments, CDATA sections, processing
instructions and attribute values are whole tokens to it, so nothing inside them can pose as a tag. The result is then proved on the
header alone, parsed; should the proof fail, or the octets be no UTF-8, the message is parsed and serialised after all.

A status carries no trace list and is returned as it is. Raises what ``parse`` and ``frame`` raise; ValueError for a bad code.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime

from lxml import etree

from bus.edxml.frame import MOST_NAME, NAMESPACE, child, children, frame, standard_name, text
from bus.edxml.values import write_moment
from bus.errors import Rejected
from bus.memo import remembered
from bus.mending import parse
from bus.organisations import well_formed

#: Groups: 1 "/" of an end tag, 2 the qualified name (None for what is no tag), 3 the attributes and "/" of an empty element.
_TOKEN = re.compile(
    rb"""<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>|<(/?)([^\s/>"'=<!?]+)((?:[^>"']++|"[^"]*"|'[^']*')*+)>""",
    re.DOTALL,
)


def append_trace(body: bytes, organ: str, at: datetime) -> bytes:
    """``body`` with a TraceHeader for ``organ`` after the last one, its time in Vietnam's; the list is made where there is none."""
    if not well_formed(organ):
        raise ValueError(f"{organ!r} is not an organisation code")
    stamp = write_moment(at)
    walk = _walk(body)
    if walk is None:
        return _through_tree(body, organ, stamp)
    if walk.is_status:
        return body
    start, end, inserted = _splice(walk, organ, stamp)
    head = b"".join((body[:start], inserted, body[end : walk.header_end]))
    if _proved(head, walk, organ, stamp):
        return b"".join((head, body[walk.header_end :]))
    return _through_tree(body, organ, stamp)


@dataclass(slots=True)
class _Tag:
    """One tag: its qualified name as written, its standard local name, its octets' range, and whether it is ``<empty/>``."""

    written: str
    name: str
    start: int
    end: int
    empty: bool

    @property
    def prefix(self) -> str:
        """``edXML:``, or "" for a name without prefix."""
        before, colon, _ = self.written.rpartition(":")
        return before + colon


@dataclass(slots=True)
class _Walk:
    """What was met on the way to the end of ``edXMLHeader``; the offsets are those of octets in the message."""

    header: _Tag | None = None
    message_header_end: int = 0
    names: set[str] = field(default_factory=set)
    list_open: _Tag | None = None
    list_close: _Tag | None = None
    traces: int = 0
    last_trace_end: int = 0
    header_end: int = 0
    still_open: tuple[str, ...] = ()

    @property
    def is_status(self) -> bool:
        """As ``frame`` decides it."""
        return "StatusCode" in self.names and "To" not in self.names


#: Nothing deeper in the tree than a child of MessageHeader or of TraceHeaderList matters (with the root counted as 1).
_DEEPEST = 5


def _tag(token: re.Match[bytes]) -> _Tag:
    written, name = _names(token[2])
    return _Tag(written, name, token.start(), token.end(), token[3][-1:] == b"/")


@remembered(512, MOST_NAME)
def _names(qualified: bytes) -> tuple[str, str]:
    """A tag's name as written, and its standard local name."""
    written = qualified.decode("utf-8", "replace")
    return written, standard_name(written.rpartition(":")[2])


def _walk(body: bytes) -> _Walk | None:
    """Follow the tags to the end of the header; None where that is not reached (the tree will say why)."""
    walk, depth, opened = _Walk(), 0, list[_Tag]()
    for token in _TOKEN.finditer(body):
        if token[2] is None:
            continue
        closing, empty = token[1], token[3][-1:] == b"/"
        if not closing:
            depth += 1
            if depth <= _DEEPEST:
                opened.append(_tag(token))
                _enter(walk, _inside_header(opened), opened[-1])
        if closing or empty:
            depth -= 1
            if depth < len(opened):
                inside = _inside_header(opened)
                ended = opened.pop()
                if inside == []:
                    walk.header_end, walk.still_open = token.end(), tuple(element.written for element in opened)
                    return walk if walk.message_header_end else None
                _leave(walk, inside, ended if empty else _tag(token))
            if depth < 0:
                return None
    return None


def _inside_header(opened: list[_Tag]) -> list[str] | None:
    """The names below ``edXMLHeader``, [] for itself, None outside of it. The envelope may be the root."""
    names = [tag.name for tag in opened]
    outer = ["edXML", "edXMLEnvelope", "edXMLHeader"] if names[0] == "edXML" else ["edXMLEnvelope", "edXMLHeader"]
    return names[len(outer) :] if names[: len(outer)] == outer else None


def _enter(walk: _Walk, inside: list[str] | None, tag: _Tag) -> None:
    match inside:
        case []:
            walk.header = tag
        case ["MessageHeader", name]:
            walk.names.add(name)
        case ["TraceHeaderList"] if walk.list_open is None:
            walk.list_open = tag


def _leave(walk: _Walk, inside: list[str] | None, tag: _Tag) -> None:
    match inside:
        case ["MessageHeader"]:
            walk.message_header_end = tag.end
        case ["TraceHeaderList"] if walk.list_close is None:
            walk.list_close = tag
        case ["TraceHeaderList", "TraceHeader"] if walk.list_close is None:
            walk.traces += 1
            walk.last_trace_end = tag.end


def _splice(walk: _Walk, organ: str, stamp: str) -> tuple[int, int, bytes]:
    """(start, end, octets to put there instead), with a prefix that is in scope at that place."""
    opening, closing = walk.list_open, walk.list_close
    if opening is None or closing is None:
        prefix = walk.header.prefix if walk.header else ""
        made = f"<{prefix}TraceHeaderList>{_hop(prefix, organ, stamp)}</{prefix}TraceHeaderList>"
        return walk.message_header_end, walk.message_header_end, made.encode()
    hop = _hop(opening.prefix, organ, stamp)
    if opening.empty:  # <TraceHeaderList/>: its "/>" becomes ">", the hop and an end tag
        return opening.end - 2, opening.end, f">{hop}</{opening.written}>".encode()
    offset = walk.last_trace_end or closing.start
    return offset, offset, hop.encode()


def _hop(prefix: str, organ: str, stamp: str) -> str:
    fields = f"<{prefix}OrganId>{organ}</{prefix}OrganId><{prefix}Timestamp>{stamp}</{prefix}Timestamp>"
    return f"<{prefix}TraceHeader>{fields}</{prefix}TraceHeader>"


def _proved(head: bytes, walk: _Walk, organ: str, stamp: str) -> bool:
    """Whether a parser sees in the new header exactly one hop more than the lexer saw before, ours, as the last one."""
    ends = "".join(f"</{name}>" for name in reversed(walk.still_open))
    try:
        parts = frame(parse(head + ends.encode()))
    except Rejected:
        return False
    traces = list(children(parts.trace_list, "TraceHeader"))
    return len(traces) == walk.traces + 1 and (text(child(traces[-1], "OrganId")), text(child(traces[-1], "Timestamp"))) == (organ, stamp)


def _through_tree(body: bytes, organ: str, stamp: str) -> bytes:
    """The long way round, for octets that the lexer cannot follow: always right, but a new serialisation."""
    tree = parse(body)
    parts = frame(tree)
    if parts.is_status:
        return body
    hops = parts.trace_list
    if hops is None:
        hops = _made(parts.header, "TraceHeaderList")
        parts.message_header.addnext(hops)
    hop = _made(hops, "TraceHeader")
    traces = list(children(hops, "TraceHeader"))
    if len(traces) > 1:
        traces[-2].addnext(hop)
    for name, value in (("OrganId", organ), ("Timestamp", stamp)):
        _made(hop, name).text = value
    return etree.tostring(tree, encoding="UTF-8", xml_declaration=True)


def _made(parent: etree._Element, name: str) -> etree._Element:
    """A new last child with the prefix that its parent has."""
    return etree.SubElement(parent, f"{{{NAMESPACE}}}{name}", nsmap={parent.prefix: NAMESPACE})
