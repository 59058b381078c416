"""One message in two orders: that a stylesheet changed the order of an edXML message, and nothing that it says.

``said_the_same`` takes a message as its sender wrote it and as a stylesheet put it in order. It promises that whatever the one says
stands in the other: every element, every attribute, every text, between elements too; each as often. What the stylesheet made up is taken
out again, and attributes that it forgot are put back, so that a schema judges the sender's own message. What else is lost makes it False:
a second body, a child of the root, text between elements.

Lost may be what says nothing, as producers write it: an empty element that the standard knows and of which there is no second one beside
it, an empty ``ResponseFor`` or ``DueDate`` say; and the ``xlink:`` attributes of a ``Reference``. Spellings are the standard's own.

Pure. Raises nothing.
"""

from collections import Counter
from collections.abc import Collection, Iterator

from lxml import etree

from bus import lexical
from bus.edxml.frame import NAMESPACE, standard_name
from bus.mending import XLINK

#: Elements that a message of the other kind may have, empty: a status a body.
_STRUCTURE = frozenset({"edXMLBody", "edXMLManifest", "AttachmentEncoded", "TraceHeaderList", "Signature"})
#: The manifest's version, which is always the same.
_VERSION = (f"{{{NAMESPACE}}}edXMLManifest", "version")

#: What a message says: kind (element, text, tail), name in Clark notation, text.
Said = tuple[str, str, str]


def said_the_same(written: etree._Element, ordered: etree._Element, known: Collection[str]) -> bool:
    """Whether ``ordered``, which is changed as the module says, says what ``written`` does. ``known``: names of the schema's elements."""
    before, after = Counter(_all_said(written, _silent(written, known))), Counter(_all_said(ordered, ()))
    if before - after:
        return False
    _take_out(ordered, Counter({said: count for said, count in (after - before).items() if said[0] == "text"}))
    return _attributes_put_back(written, ordered)


def _name(element: etree._Element) -> str:
    name = etree.QName(element)
    return f"{{{name.namespace or ''}}}{standard_name(name.localname) if name.namespace == NAMESPACE else name.localname}"


def _text(element: etree._Element) -> str:
    return lexical.trimmed(element.text or "")


def _all_said(tree: etree._Element, without: Collection[etree._Element]) -> Iterator[Said]:
    for element in tree.iter(etree.Element):
        if element in without:
            continue
        name = _name(element)
        yield "element", name, ""
        if text := _text(element):
            yield "text", name, text
        if element is not tree and (text := lexical.trimmed(element.tail or "")):
            yield "tail", name, text


def _silent(tree: etree._Element, known: Collection[str]) -> set[etree._Element]:
    """The elements that may be left out: no text, no attribute, nothing inside that says something, and no second one beside them."""
    names = {f"{{{NAMESPACE}}}{name}" for name in _STRUCTURE.union(known)}
    beside = Counter((element.getparent(), _name(element)) for element in tree.iter(etree.Element))
    silent: set[etree._Element] = set()
    # Children come before their parents.
    for element in reversed(list(tree.iter(etree.Element))):
        name = _name(element)
        bare = not _text(element) and all((name, attribute) == _VERSION for attribute in element.attrib)
        quiet = bare and all(child in silent for child in element) and not lexical.trimmed(element.tail or "")
        if quiet and element is not tree and name in names and beside[element.getparent(), name] == 1:
            silent.add(element)
    return silent


def _take_out(tree: etree._Element, added: Counter[Said]) -> None:
    """Remove what the stylesheet made up, and what is then empty: a default must not stand in for what is mandatory."""
    for element in list(tree.iter(etree.Element)):
        said = ("text", _name(element), _text(element))
        if added[said] > 0:
            added[said] -= 1
            empty = element
            while (parent := empty.getparent()) is not None and not len(empty):
                parent.remove(empty)
                empty = parent


def _attributes_put_back(written: etree._Element, ordered: etree._Element) -> bool:
    """Put the attributes of ``written`` where they were; False where it cannot be told which element they were of."""
    places, before = _by_name(ordered), _by_name(written)
    for name, elements in before.items():
        lost = {str(attribute): str(value) for element in elements for attribute, value in element.attrib.items()}
        lost = {attribute: value for attribute, value in lost.items() if not _is_noise(name, attribute)}
        if not lost or (name not in places and {(name, attribute) for attribute in lost} == {_VERSION}):
            continue
        if len(elements) != 1 or len(places.get(name, ())) != 1:
            return False
        for attribute, value in lost.items():
            places[name][0].set(attribute, value)
    return True


def _by_name(tree: etree._Element) -> dict[str, list[etree._Element]]:
    found: dict[str, list[etree._Element]] = {}
    for element in tree.iter(etree.Element):
        found.setdefault(_name(element), []).append(element)
    return found


def _is_noise(element: str, attribute: str) -> bool:
    return element == f"{{{NAMESPACE}}}Reference" and attribute.startswith(f"{{{XLINK}}}")
