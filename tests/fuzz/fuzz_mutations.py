"""Mutations that know what they change: XML trees, header lines in front of a body, and octets where nothing else helps.

Most octets changed at random in a signed message only show that a hash works. What finds holes in a verifier is a message that is
still well-formed and says something else: an element moved, an Id given twice, a namespace bound to another name. Each mutation draws
from the ``Random`` it is given and from nothing else, so that a seed tells a whole run.
"""

import copy
import re
from collections.abc import Callable
from random import Random

from lxml import etree

DS = "http://www.w3.org/2000/09/xmldsig#"
_WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
_WSU = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
#: Names and values that readers look for; what means nothing to them finds nothing.
NAMES = ("Id", "ID", "id", f"{{{_WSU}}}Id", "{http://www.w3.org/XML/1998/namespace}id", "URI", "Algorithm", "Type", "href", "PrefixList")
NAMESPACES = (DS, _WSSE, _WSU, "http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope", "urn:x", "")
VALUES = ("", "#", "#x", "0", "-1", "true", "http://www.w3.org/2001/10/xml-exc-c14n#", DS + "enveloped-signature", "cid:1", "9" * 30)
TEXTS = ("\u00a0", "\u0301", "e\u0323\u0302", "\r", "\n", "]]>", "&", "<", "\t", "A", "=", "0000-00-00T00:00:00Z", "99999", "\U0001f4dc")
#: Octets that mean something to a reader of one format or another.
TOKENS = (
    b"<!DOCTYPE a>", b"<!---->", b"<![CDATA[", b"]]>", b"<?a?>", b"<?xml version='1.0' encoding='utf-16'?>", b"\xef\xbb\xbf", b"\xff\xfe",
    b"\0", b"\r\n", b"\r", b"--", b"\r\n--b--\r\n", b"&#13;", b"&#x0;", b"&lt;", b" xmlns:x='u'", b" xml:id='x'", b"xlink:", b"%00",
    b"\\u0000", b"\"", b"'", b"{", b"}", b"[", b"]", b":", b";", b",", b"=", b"/", b"<", b">", b"</a>", b"<a/>", b"\xc3", b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80", b"&anchor", b"*anchor", b"!!python/object:x ", b"- ", b"\n", b"\t", b"1e999", b"-0", b"null", b"PK\x03\x04",
)  # fmt: skip
_HEAD_END = re.compile(rb"\r?\n\r?\n")

Mutator = Callable[[bytes, Random], bytes]


def octets(data: bytes, random: Random) -> bytes:
    """``data`` with one stretch of it flipped, cut out, doubled, moved, or written over with something that means something."""
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice((1, 1, 2, 4, 16, 64, 1024)))
    piece = data[at:end]
    rest = data[:at] + data[end:]
    there = random.randrange(len(rest) + 1)
    flipped = bytes((piece[0] ^ 1 << random.randrange(8),)) if piece else b""
    return random.choice(
        (
            b"".join((data[:at], flipped, data[at + 1 :])),
            rest,
            b"".join((data[:end], piece * random.choice((1, 2, 50)), data[end:])),
            b"".join((rest[:there], piece, rest[there:])),
            data[:at],
            b"".join((data[:at], random.choice(TOKENS), data[end:])),
            b"".join((data[:at], random.choice(TOKENS), data[at:])),
        )
    )


def xml(data: bytes, random: Random) -> bytes:
    """``data`` with its tree changed in one to three places; now and then its octets, and always where it has no tree."""
    if random.random() < 0.2:
        return octets(data, random)
    try:
        root = etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True))
    except (etree.XMLSyntaxError, ValueError):
        return octets(data, random)
    for _ in range(random.randint(1, 3)):
        try:
            random.choice(_TREE)(root, random)
        except (ValueError, TypeError):  # what XML cannot hold, or an element into itself: no change
            continue
    return etree.tostring(root, encoding=random.choice(("utf-8", "utf-8", "utf-8", "utf-16")))


def headed(body: Mutator) -> Mutator:
    """A mutation of an input that has header lines and a blank line in front: of either, the body more often."""

    def mutate(data: bytes, random: Random) -> bytes:
        end = _HEAD_END.search(data)
        if end is None or random.random() < 0.3:
            return octets(data, random)
        return data[: end.end()] + body(data[end.end() :], random)

    return mutate


# --- trees ------------------------------------------------------------------------------------------------------------


def _any(root: etree._Element, random: Random) -> etree._Element:
    return random.choice([root, *root.iterdescendants(etree.Element)])


def _below(root: etree._Element, random: Random) -> etree._Element:
    return random.choice(list(root.iterdescendants(etree.Element)) or [root])


def _place(root: etree._Element, element: etree._Element, random: Random) -> None:
    target = _any(root, random)
    target.insert(random.randint(0, len(target)), element)


def _move(root: etree._Element, random: Random) -> None:
    _place(root, _below(root, random), random)


def _copy(root: etree._Element, random: Random) -> None:
    _place(root, copy.deepcopy(_any(root, random)), random)


def _wrap(root: etree._Element, random: Random) -> None:
    element = _below(root, random)
    parent = element.getparent()
    if parent is not None:
        wrapper = etree.Element(random.choice((element.tag, _any(root, random).tag, "{urn:x}wrapper")))
        parent.replace(element, wrapper)
        wrapper.append(element)


def _forge(root: etree._Element, random: Random) -> None:
    """The original stays somewhere; a copy with a change stands in its place: signature wrapping."""
    original = _below(root, random)
    parent = original.getparent()
    if parent is not None:
        forged = copy.deepcopy(original)
        parent.replace(original, forged)
        _retext(forged, random)
        _place(root, original, random)


def _remove(root: etree._Element, random: Random) -> None:
    element = _below(root, random)
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def _rename(root: etree._Element, random: Random) -> None:
    element, other = _any(root, random), _any(root, random)
    name = random.choice((etree.QName(element).localname, etree.QName(other).localname))
    namespace = random.choice((*NAMESPACES, etree.QName(other).namespace or ""))
    element.tag = f"{{{namespace}}}{name}" if namespace else name


def _attribute(root: etree._Element, random: Random) -> None:
    element, other = _any(root, random), _any(root, random)
    values = [*VALUES, *other.attrib.values(), *(f"#{value}" for value in other.attrib.values())]
    element.set(random.choice([*NAMES, *element.attrib, *other.attrib]), random.choice(values))


def _bare(root: etree._Element, random: Random) -> None:
    element = _any(root, random)
    if element.attrib:
        element.attrib.pop(random.choice(list(element.attrib)))


def _retext(root: etree._Element, random: Random) -> None:
    element, other = _any(root, random), _any(root, random)
    text = element.text or ""
    at = random.randint(0, len(text))
    element.text = random.choice((text[:at] + random.choice(TEXTS) + text[at:], other.text, text[:at], text * 2, random.choice(VALUES)))


def _tail(root: etree._Element, random: Random) -> None:
    element = _below(root, random)
    if element is not root:
        element.tail = random.choice(("", " ", "\n", *TEXTS))


def _divide(root: etree._Element, random: Random) -> None:
    """A comment or a processing instruction within a text: two halves to one reader, one text to another."""
    element = _any(root, random)
    text = element.text or ""
    at = random.randint(0, len(text))
    element.text = text[:at]
    divider = random.choice((etree.Comment("x"), etree.ProcessingInstruction("x", "y")))
    divider.tail = text[at:]
    element.insert(0, divider)


def _rescope(root: etree._Element, random: Random) -> None:
    """An element below a new one whose prefixes mean something else."""
    element = _below(root, random)
    parent = element.getparent()
    if parent is not None:
        prefixes = [prefix for prefix in (*element.nsmap, "x") if prefix != "xml"]
        scope = {random.choice(prefixes): random.choice(NAMESPACES[:-1]) for _ in range(2)}
        wrapper = etree.Element("{urn:x}scope", nsmap=scope)
        parent.replace(element, wrapper)
        wrapper.append(element)


_TREE = (_move, _copy, _wrap, _forge, _remove, _rename, _attribute, _attribute, _bare, _retext, _retext, _tail, _divide, _rescope)
