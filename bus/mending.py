"""Parse XML whose octets counterparties' exports have slightly broken, without changing the octets that are kept.

Whoever hands such a message on as valid hands on ``mended``: the octets that were read, which every parser reads.

Two accidents are common in edXML files and harmless: stray text in front of the first tag (or a byte order mark in a wrong place),
and an ``xlink:`` prefix that nobody declared. ``parse`` reads past both; the message itself is stored, digested and sent on as it
came. Everything else is ``xmlio``'s to refuse: Rejected 5.6.0 to 5.6.2, a DOCTYPE among it, wherever it stands.
"""

import codecs
import re

from lxml import etree

from bus import xmlio
from bus.errors import Rejected

XLINK = "http://www.w3.org/1999/xlink"
#: More stray text than this before the first ``<`` is no export accident: leave it, and let the parser refuse it.
_MOST_STRAY = 4096
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
#: What was passed over is never gone through again (``*+``): a hundred comments would otherwise be tried in every combination.
_ROOT_NAME = re.compile(rb"(?:\s|<\?.*?\?>|<!--.*?-->)*+<[^\s<>/!?]+", re.DOTALL)


def parse(body: bytes) -> etree._Element:
    """The root element, parsed hardened; well-formed XML costs nothing extra."""
    mended = _without_stray_text(body)
    try:
        return xmlio.parse(mended)
    except Rejected as error:
        if error.key != "xml-malformed" or b"xlink:" not in mended or b"xmlns:xlink" in mended:
            raise
    return xmlio.parse(_with_xlink(mended))


def mended(body: bytes) -> bytes:
    """``body``, or, where XML 1.0 has it for none, what ``parse`` reads of it instead. Raises what ``parse`` raises."""
    rest = _without_stray_text(body)
    stray = body[: len(body) - len(rest)]
    if stray == codecs.BOM_UTF8 or (not stray.strip(b" \t\r\n") and not rest.startswith(b"<?xml")):
        rest = body
    if b"xlink:" not in rest or b"xmlns:xlink" in rest:
        return rest
    try:
        xmlio.parse(rest)
    except Rejected:
        return _with_xlink(rest)
    return rest


def _without_stray_text(body: bytes) -> bytes:
    """``body`` from its first ``<``. A declaration or DOCTYPE begins with one itself, so neither can be cut off unseen."""
    start = body.find(b"<", 0, _MOST_STRAY)
    if start <= 0 or body.startswith(_UTF16_MARKS) or b"\0" in body[:start]:
        return body
    return body[start:]


def _with_xlink(body: bytes) -> bytes:
    root = _ROOT_NAME.match(body)
    return body if root is None else b"".join((body[: root.end()], f' xmlns:xlink="{XLINK}"'.encode(), body[root.end() :]))
