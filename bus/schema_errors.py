"""Every error of an invalid document: what libxml2, which stops at the first unexpected child of each parent, does not get to say.

libxml2 alone decides whether a document is valid. Only what it has refused is asked of ``xmlschema``, for more errors; those at places that
libxml2 named already are left out. Bounded by MOST_FOUND errors. The schema comes from a private copy of its files; nothing that a document
names is opened (``use_location_hints`` is off). Imported when first needed: it takes 0.1 s, a schema 0.2 s, a letter 3 ms.

Raises nothing for a document: what xmlschema cannot say is left unsaid.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from lxml import etree

from bus.errors import Phrase

#: Errors looked at in one document.
MOST_FOUND = 50

_ATTRIBUTE = re.compile(r"^'(?P<name>[^']+)' attribute not allowed")
_MISSING = re.compile(r"^missing required attribute '(?P<name>[^']+)'")


@cache
def _library() -> Any:
    import xmlschema  # noqa: PLC0415 - a command that refuses nothing need not wait for it

    return xmlschema


def compiled(file: Path) -> Any:
    """The schema in ``file``; what it refers to lies beside it. Raises whatever xmlschema raises."""
    return _library().XMLSchema10(str(file.absolute()), allow="local")


def more_errors(schema: Any, tree: etree._Element, path: Callable[[etree._Element], str], known: set[str]) -> Iterator[Phrase]:
    """Errors of ``tree`` at other places than ``known``, a place once; ``path`` gives the XPath of an element."""
    seen = set(known)
    for error in islice(schema.iter_errors(tree, use_location_hints=False), MOST_FOUND):
        element, what, attribute = _explained(error)
        if not etree.iselement(element):
            continue
        place = path(element) + (f"/@{attribute}" if attribute else "")
        if place not in seen:
            seen.add(place)
            yield Phrase("xsd-error", {"path": place, "line": element.sourceline, "what": what})


def _explained(error: Any) -> tuple[Any, Phrase, str]:
    """The element that an error is at, what it is, and the attribute that it is at, if any."""
    reason, element = str(error.reason or ""), error.elem
    if isinstance(error, _library().XMLSchemaChildrenValidationError):
        return _child(error, element)
    for pattern, key in ((_ATTRIBUTE, "xsd-attribute-unknown"), (_MISSING, "xsd-attribute-missing")):
        if found := pattern.search(reason):
            return element, Phrase(key, {"name": found["name"]}), found["name"] if key == "xsd-attribute-unknown" else ""
    if isinstance(error, _library().XMLSchemaDecodeError):
        expected = getattr(error.validator, "prefixed_name", None) or "?"
        return element, Phrase("xsd-type", {"value": str(error.obj)[:60], "expected": expected}), ""
    return element, Phrase("xsd-other", {"detail": reason[:240]}), ""


def _child(error: Any, parent: etree._Element) -> tuple[Any, Phrase, str]:
    expected = ", ".join(str(getattr(one, "local_name", one)) for one in error.expected or ())
    children = list(parent.iterchildren(etree.Element))
    if error.index >= len(children):
        return parent, Phrase("xsd-child-missing", {"expected": expected or "?"}), ""
    child = children[error.index]
    values = {"name": etree.QName(child).localname}
    if expected:
        return child, Phrase("xsd-element-unexpected-expected", values | {"expected": expected}), ""
    return child, Phrase("xsd-element-unexpected", values), ""
