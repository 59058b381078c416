"""What the rest of the bus sees of an edXML message: message headers, and a plain tree for the XPaths in routes.yaml.

Both touch the header only, never the attachments, so their cost does not grow with the message.
Rejected ``edxml-invalid`` when the tree is no edXML; nothing else is raised.
"""

import unicodedata
from collections.abc import Callable, Iterable

from lxml import etree

from bus import lexical, message
from bus.edxml.frame import child, children, frame, invalid, local, text

#: Characters of a subject in a listing, which has hundreds; the document keeps its own.
MOST_SUBJECT = 1_000

Aliases = Callable[[str], Iterable[str]]


def no_aliases(_code: str) -> tuple[str, ...]:
    """The code book of a site that has none."""
    return ()


def describe(tree: etree._Element) -> dict[str, str]:
    """The message headers KIND, FROM, RECEIVERS, DOCUMENT_ID, SUBJECT and, of a document, NUMBER. What is missing in the message is ""."""
    parts = frame(tree)
    header = parts.message_header
    described = {
        message.KIND: message.KIND_STATUS if parts.is_status else message.KIND_DOCUMENT,
        message.FROM: _code(child(child(header, "From"), "OrganId")),
    }
    return described | (_status(header) if parts.is_status else _document(header))


def _document(header: etree._Element) -> dict[str, str]:
    return {
        message.RECEIVERS: " ".join(_receivers(header)),
        message.DOCUMENT_ID: _identifier(child(header, "DocumentId")),
        message.NUMBER: _number(child(header, "Code")),
        message.SUBJECT: _line(child(header, "Subject"))[:MOST_SUBJECT],
    }


def _status(header: etree._Element) -> dict[str, str]:
    response = child(header, "ResponseFor")
    return {
        message.RECEIVERS: _code(child(response, "OrganId")),
        message.DOCUMENT_ID: _identifier(child(response, "DocumentId")),
        message.SUBJECT: f"{_line(child(header, 'StatusCode'))} {_line(child(header, 'Description'))}".strip()[:MOST_SUBJECT],
    }


def receivers(tree: etree._Element, aliases: Aliases = no_aliases) -> tuple[str, ...]:
    """The codes the message is for, as written, in order, one an organisation: hubs address a ministry by its old and new code at once."""
    parts = frame(tree)
    if parts.is_status:
        code = _code(child(child(parts.message_header, "ResponseFor"), "OrganId"))
        return (code,) if code else ()
    seen: set[str] = set()
    kept: list[str] = []
    for code in _receivers(parts.message_header):
        if code not in seen:
            kept.append(code)
            seen.update((code, *aliases(code)))
    return tuple(kept)


def _receivers(header: etree._Element) -> tuple[str, ...]:
    codes = (_code(code) for receiver in children(header, "To") for code in children(receiver, "OrganId"))
    return tuple(dict.fromkeys(code for code in codes if code))


def _line(element: etree._Element | None) -> str:
    """The text on one line, NFC."""
    return unicodedata.normalize("NFC", lexical.collapsed(text(element)))


def _code(element: etree._Element | None) -> str:
    """A code as one word: a blank inside stays visible as ``_``, lest one odd code pass for two good ones in a list."""
    return "_".join(lexical.words(_bounded(text(element), element)))


def _number(code: etree._Element | None) -> str:
    """Number and notation, as people write them: for listings, so that a long one is cut and not refused."""
    parts = (_line(child(code, name)) for name in ("CodeNumber", "CodeNotation"))
    return "/".join(filter(None, parts))[: lexical.MOST_IDENTIFIER]


def _identifier(element: etree._Element | None) -> str:
    """An identifier as it was sent: collapsed, and in no other normal form than its own."""
    return _bounded(lexical.collapsed(text(element)), element)


def _bounded(value: str, element: etree._Element | None) -> str:
    if len(value) > lexical.MOST_IDENTIFIER:
        raise invalid(f"an identifier is longer than {lexical.MOST_IDENTIFIER} characters", [element] if element is not None else None)
    return value


def view(tree: etree._Element, aliases: Aliases = no_aliases) -> etree._Element:
    """A ``MessageHeader`` without namespace, for XPaths such as ``To/OrganId = 'G18'`` or ``TraceHeaderList/Bussiness/Paper = '1'``.

    Its children are those of the message's header in their order, standard spellings, text trimmed and NFC, then ``TraceHeaderList``.
    Every OrganId is followed by one OrganId for each other code of the same organisation. It is a copy: the message stays as it is.
    """
    parts = frame(tree)
    seen = etree.Element("MessageHeader")
    _copy_children(parts.message_header, seen, aliases)
    if parts.trace_list is not None:
        _copy_children(parts.trace_list, etree.SubElement(seen, "TraceHeaderList"), aliases)
    return seen


def _copy_children(source: etree._Element, target: etree._Element, aliases: Aliases) -> None:
    for element in source:
        name = local(element)
        if not name:
            continue
        copy = etree.SubElement(target, name)
        if len(element):
            _copy_children(element, copy, aliases)
            continue
        copy.text = value = unicodedata.normalize("NFC", text(element))
        if name == "OrganId":
            for code in aliases(value):
                etree.SubElement(target, name).text = code
