"""XPath: an XPath 1.0 expression of routes.yaml, compiled once, asked of a view; the only expression language there is.

The context node is the edXML view of a message (``edxml.view``): a ``MessageHeader`` without namespaces, in which every code is
followed by its other forms, so that ``To/OrganId = 'G18'`` holds whichever form was written. A body that is not edXML is asked as it is.

Raises ``ValueError`` for an expression that cannot work. W3C XML Path Language 1.0.
"""

import math
from typing import Any

from lxml import etree

from bus import lexical

_STRING = etree.XPath("string()")


class XPath:
    """One compiled expression; safe to use from several threads."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._evaluate = etree.XPath(text, regexp=False)
            # Unknown functions and prefixes show only when asked: ask an empty header.
            self._evaluate(etree.Element("MessageHeader"))
        except etree.XPathError as error:
            raise ValueError(f"{text!r} is not an XPath 1.0 expression that can be used here: {error}") from error

    def __repr__(self) -> str:
        return f"XPath({self.text!r})"

    def holds(self, context: etree._Element) -> bool:
        """The expression's value as XPath's ``boolean()`` gives it."""
        value = self._evaluate(context)
        return not math.isnan(value) and value != 0 if isinstance(value, float) else bool(value)

    def strings(self, context: etree._Element) -> tuple[str, ...]:
        """The string value of each node found, in document order, without blank ones; or of the one value it gives."""
        value = self._evaluate(context)
        found = [_string(node) for node in value] if isinstance(value, list) else [_string(value)]
        return tuple(text for text in (lexical.trimmed(text) for text in found) if text)

    def string(self, context: etree._Element) -> str:
        """The first of ``strings``, or ""."""
        return next(iter(self.strings(context)), "")


def _string(value: Any) -> str:
    """XPath's ``string()`` of one node or value, as lxml hands it out."""
    if etree.iselement(value):
        return str(_STRING(value))
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
