"""The only XML parser of the bus, and exclusive canonicalisation.

``parse`` promises: no DTD, no entity, no network, no other encoding than UTF-8 and UTF-16; bounded size, depth, number of elements,
attributes and namespaces, so that neither memory nor the time of a later canonicalisation can be driven up by a hostile document
(libxml2 sorts the attributes of one element by insertion and searches namespaces linearly: both are quadratic without a bound).
Comments and processing instructions are dropped while parsing, so that neither can split a value that was signed.

``value_prefixes`` tells what an element needs beside that to stand alone: declarations of prefixes that only its values use.
``canonicalize`` promises the octets of Exclusive XML Canonicalization 1.0, without comments, of one element in place.

Raises ``Rejected``: ``xml-malformed``, ``xml-version`` (5.6.0: no XML 1.1), ``xml-limit`` (5.6.1), ``xml-doctype`` (5.6.2).

Standards: XML 1.0 (Fifth Edition) sections 2.8, 4.3.3 and appendix F; Namespaces in XML 1.0; Exclusive XML Canonicalization 1.0.
"""

import codecs
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lxml import etree

from bus.errors import Rejected

#: Above this many bytes libxml2's own limits (10 000 000 bytes a text) are lifted; ours still hold.
_HUGE = 7_000_000
_DECLARED = re.compile(rb"""<\?xml\s[^>]*?\bencoding\s*=\s*["']([^"'>]*)["']""")
_VERSION = re.compile(rb"""<\?xml\s+version\s*=\s*["']([^"'>]*)["']""")
_BEFORE_ROOT = re.compile(rb"\s+|<\?.*?\?>|<!--.*?-->", re.DOTALL)
_UTF8 = frozenset({b"utf-8", b"utf8"})
_LITTLE, _BIG = frozenset({b"utf-16", b"utf-16le"}), frozenset({b"utf-16", b"utf-16be"})
#: First bytes that say UTF-16 (appendix F), the codec, and what a declaration may then say: a byte order mark, or ``<`` in either order.
_UTF16_STARTS = (
    (codecs.BOM_UTF16_LE, "utf-16", _LITTLE),
    (codecs.BOM_UTF16_BE, "utf-16", _BIG),
    (b"<\0", "utf-16-le", _LITTLE),
    (b"\0<", "utf-16-be", _BIG),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one document may use. Memory stays under about 40 bytes a byte of markup, so these hold it far below 400 MB.

    ``size``             bytes of the document as received
    ``depth``            nested elements
    ``elements``         elements, comments and processing instructions together
    ``attributes``       attributes and namespace declarations of the whole document, estimated by counting ``=``
    ``attributes_each``  attributes of one element
    ``namespaces``       namespace declarations in scope of one element
    """

    size: int = 96 * 1024 * 1024
    depth: int = 200
    elements: int = 200_000
    attributes: int = 400_000
    attributes_each: int = 256
    namespaces: int = 256


DEFAULT = Limits()


def parse(data: bytes, limits: Limits = DEFAULT) -> etree._Element:
    """The document's root element. Raises Rejected 5.6.0, 5.6.1 or 5.6.2; the tree is the caller's own."""
    _at_most("size", len(data), limits.size)
    data = _as_utf8(data)
    tags, equals = data.count(b"<"), data.count(b"=")
    _bound_markup(data, tags, equals, limits)
    if _has_doctype(data):
        raise Rejected("xml-doctype")
    root = _parsed(data)
    if root.getroottree().docinfo.internalDTD is not None:
        raise Rejected("xml-doctype")
    # Every level of nesting takes two tags, and every attribute and namespace a "=": most documents need no closer look.
    if tags > 2 * limits.depth or equals > min(limits.attributes_each, limits.namespaces):
        _bound_tree(root, limits)
    return root


def canonicalize(element: etree._Element, *, inclusive_prefixes: Sequence[str] = ()) -> bytes:
    """Exclusive C14N 1.0 of ``element`` and what is inside, without comments; ``inclusive_prefixes``: InclusiveNamespaces/@PrefixList."""
    if "#default" in inclusive_prefixes:
        element = _knowing_default(element)
    try:
        return etree.tostring(
            element,
            method="c14n",
            exclusive=True,
            with_comments=False,
            with_tail=False,
            inclusive_ns_prefixes=list(inclusive_prefixes) or None,
        )
    except etree.C14NError:
        # C14N 1.0 section 1.3: documents with relative namespace URIs have no canonical form.
        raise Rejected("xml-malformed", detail="no canonical form: a namespace name is not an absolute URI") from None


#: What may be a qualified name within a value: ``xsd:string``, and not ``http://`` or ``10:00``.
_QUALIFIED_NAME = re.compile(r"(?<![\w.:\-])([^\W\d][\w.\-]*):(?=[^\W\d])")
#: Canonicalisation looks for each of them at every element; documents of the field have two.
MOST_VALUE_PREFIXES = 16
_XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
#: No value of a document means these by a prefix: they are the envelope's own, which is in scope by chance.
_OF_ENVELOPES = (
    "http://schemas.xmlsoap.org/soap/",
    "http://www.w3.org/2003/05/soap-envelope",
    "http://docs.oasis-open.org/wss/",
    "urn:govbus:",
)


def value_prefixes(element: etree._Element) -> tuple[str, ...]:
    """Prefixes that only values in ``element`` use (``xsi:type="xsd:string"``), in order: what exclusive C14N would leave undeclared.

    As ``inclusive_prefixes`` of ``canonicalize`` they keep their declarations. ``#default`` is among them where an unprefixed ``xsi:type``
    means a default namespace that no element shows. Raises Rejected ``xml-limit`` for more than MOST_VALUE_PREFIXES.
    """
    opened: list[str | None] = []
    bound = {prefix: [uri] for prefix, uri in element.nsmap.items()}
    found: dict[str, None] = {}
    shown: Counter[tuple[str | None, str]] = Counter()
    # One pass with a scope of its own: an element's nsmap costs as much as all that is above it.
    for event, node in etree.iterwalk(element, events=("start", "end", "start-ns", "end-ns")):
        if event == "start-ns":
            opened.append(node[0] or None)
            bound.setdefault(opened[-1], []).append(node[1])
        elif event == "end-ns":
            bound[opened.pop()].pop()
        elif event == "end":
            shown[_shown(node)] -= 1
        else:
            shown[_shown(node)] += 1
            for prefix in _named(node):
                uri = (bound.get(prefix) or [""])[-1]
                if uri and not uri.startswith(_OF_ENVELOPES) and not shown[prefix, uri]:
                    found.setdefault(prefix or "#default")
                    _at_most("prefixes that only values use", len(found), MOST_VALUE_PREFIXES)
    return tuple(found)


def _shown(node: etree._Element) -> tuple[str | None, str]:
    """The prefix that the element's own name uses, and what it means: canonical form declares it there."""
    return node.prefix, etree.QName(node).namespace or ""


def _named(node: etree._Element) -> Iterator[str | None]:
    """Prefixes in values of the element; None for the default namespace."""
    for value in (node.text or "", *node.attrib.values(), *(child.tail or "" for child in node)):
        if ":" in value:
            yield from _QUALIFIED_NAME.findall(str(value))
    if ":" not in node.get(_XSI_TYPE, ":"):
        yield None


def _knowing_default(element: etree._Element) -> etree._Element:
    """A copy of ``element``, with all that is in scope, whose document knows the word ``#default``.

    lxml drops every prefix from the list that is not among the names its document has seen, and ``#default`` can be no name
    in XML; a tag filter puts it there.
    """
    parser = etree.XMLPullParser(events=("start",), tag="{#default}#default", resolve_entities=False, no_network=True, huge_tree=True)
    parser.feed(etree.tostring(element, encoding="UTF-8", with_tail=False))
    return parser.close()


def _at_most(limit: str, value: int, most: int) -> None:
    if value > most:
        raise Rejected("xml-limit", limit=limit, value=value, most=most)


def _malformed(line: int, column: int, detail: str) -> Rejected:
    place = f"line {line}, column {column}"
    return Rejected("xml-malformed", at=place, detail=f"{place}: {detail[:200]}")


def _as_utf8(data: bytes) -> bytes:
    """``data`` in UTF-8 and without a byte order mark; refuses every encoding but UTF-8 and UTF-16, and a declaration that lies."""
    for start, codec, names in _UTF16_STARTS:
        if data.startswith(start):
            return _from_utf16(data, codec, names)
    data = data.removeprefix(codecs.BOM_UTF8)
    _check_declaration(data, _UTF8)
    return data


def _from_utf16(data: bytes, codec: str, names: frozenset[bytes]) -> bytes:
    try:
        text = data.decode(codec).encode()
    except UnicodeError as error:
        raise _malformed(1, 1, f"not valid UTF-16 ({error.__class__.__name__})") from None
    declaration = _check_declaration(text, names)
    # Section 4.3.3: with neither a byte order mark nor a declaration it would be UTF-8, and is none.
    if codec != "utf-16" and not _DECLARED.match(text, 0, 256):
        raise _malformed(1, 1, "UTF-16 has a byte order mark, or is declared; send UTF-8")
    # The parser is told UTF-8, so the declaration must go; blanks keep every column where it was.
    return b" " * declaration + text[declaration:]


def _check_declaration(data: bytes, allowed: frozenset[bytes]) -> int:
    """Length of the XML declaration; refuses one that names an encoding that the bytes are not in."""
    if not data.startswith(b"<?xml"):
        return 0
    version = _VERSION.match(data, 0, 256)
    if version and version[1] != b"1.0":
        # libxml2 would read it as 1.0, which has other line ends, control characters and names: two readers, two documents.
        raise Rejected("xml-version", at="line 1", version=version[1].decode("ascii", "replace")[:20])
    declared = _DECLARED.match(data, 0, 256)
    if declared and declared[1].lower() not in allowed:
        name = declared[1].decode("ascii", "replace")
        raise _malformed(1, declared.start(1) + 1, f"encoding {name!r} is not accepted or not the one used; send UTF-8")
    return data.find(b"?>", 0, 1024) + 2


def _bound_markup(data: bytes, tags: int, equals: int, limits: Limits) -> None:
    """Refuse too much markup before a parser builds anything of it."""
    if tags > limits.elements:
        closing = data.count(b"</")
        _at_most("elements", max(closing, tags - closing), limits.elements)
    _at_most("attributes", equals, limits.attributes)
    if equals > limits.namespaces:
        _at_most("namespace declarations", data.count(b"xmlns"), limits.elements)


def _has_doctype(data: bytes) -> bool:
    at = 0
    while found := _BEFORE_ROOT.match(data, at):
        at = found.end()
    return data[at : at + 9].upper() == b"<!DOCTYPE"


def _parsed(data: bytes) -> etree._Element:
    # A parser object each time: a shared one serialises all threads on its lock.
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        remove_comments=True,
        remove_pis=True,
        huge_tree=len(data) > _HUGE,
    )
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        detail = (error.msg or "empty document").removesuffix(f", line {line}, column {column}")
        if detail.startswith("Excessive depth"):
            raise Rejected("xml-limit", at=f"line {line}", limit="depth", value="more than 256", most=DEFAULT.depth) from None
        raise _malformed(line, column, detail) from None


def _bound_tree(root: etree._Element, limits: Limits) -> None:
    """What only the tree can tell: depth, attributes of one element, namespaces in scope."""
    depth = scope = 0
    for event, node in etree.iterwalk(root, events=("start", "end", "start-ns", "end-ns")):
        if event == "start":
            depth += 1
            _at_most("depth", depth, limits.depth)
            _at_most("attributes of one element", len(node.attrib), limits.attributes_each)
        elif event == "end":
            depth -= 1
        elif event == "start-ns":
            scope += 1
            _at_most("namespaces", scope, limits.namespaces)
        else:
            scope -= 1
