"""edXML to data, tolerantly: order-insensitive, any prefix, alias spellings, odd dates and numbers.

Only what is not edXML at all is refused (Rejected ``edxml-invalid``, see ``frame``). Everything else that is unknown, doubled or not
understood becomes a sentence in ``warnings``, and its text stays in ``raw``.
"""

import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from lxml import etree

from bus.edxml import values
from bus.edxml.files import read_attachments
from bus.edxml.frame import frame, local, text
from bus.edxml.model import Document, Header, Kind, Spec, StatusHeader, StatusMessage, TraceList, specs

_SCALARS: Mapping[Kind, Callable[[str], object]] = {
    Kind.INTEGER: values.integer,
    Kind.FLAG: values.flag,
    Kind.DATE: values.day,
    Kind.TIME: values.moment,
}
#: Elements read elsewhere or meant for nobody, which are no oddity where they stand.
_NO_ODDITY = frozenset({"Signature"})


def read(tree: etree._Element) -> Document | StatusMessage:
    """The whole content of a message, its files decoded."""
    parts = frame(tree)
    notes = _Notes()
    if parts.is_status:
        return StatusMessage(notes.record(StatusHeader, parts.message_header, "MessageHeader"), tuple(notes.warnings), notes.raw)
    header = notes.record(Header, parts.message_header, "MessageHeader")
    trace_list = TraceList() if parts.trace_list is None else notes.record(TraceList, parts.trace_list, "TraceHeaderList")
    files, file_warnings = read_attachments(tree)
    return Document(header, trace_list, files, (*notes.warnings, *file_warnings), notes.raw)


class _Notes:
    """Reads records by their specs, and collects what was odd on the way."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.raw: dict[str, str] = {}

    def record(self, model: type[Any], element: etree._Element, path: str) -> Any:
        """A ``model`` from the element's children, in whatever order they come."""
        found: dict[str, list[etree._Element]] = {}
        for child in element:
            found.setdefault(local(child), []).append(child)
        given: dict[str, object] = {}
        for name, spec in specs(model):
            elements = found.pop(spec.element, None)
            if elements:
                value = self._value(spec, elements, f"{path}/{spec.element}")
                if value is not None:
                    given[name] = value
        self.warnings += [f"{path}: unknown element '{name or 'of another namespace'}'" for name in found if name not in _NO_ODDITY]
        return model(**given)

    def _value(self, spec: Spec, elements: list[etree._Element], path: str) -> object:
        """The field's value, or None for its default."""
        match spec.kind:
            case Kind.RECORDS:
                return self._records(spec, elements, path)
            case Kind.LIST:
                items = [item for wrapper in elements for item in wrapper if local(item) == spec.item]
                return self._records(spec, items, f"{path}/{spec.item}") if spec.model else tuple(filter(None, map(_clean, items)))
        if len(elements) > 1:
            self.warnings.append(f"{path} occurs {len(elements)} times; the first is taken")
        if spec.kind is Kind.RECORD and spec.model is not None:
            return self.record(spec.model, elements[0], path)
        return self._scalar(spec, _clean(elements[0]), path)

    def _records(self, spec: Spec, elements: list[etree._Element], path: str) -> tuple[object, ...]:
        """The records, without empty ones: the exchange's library writes an empty ResponseFor where there was none."""
        if spec.model is None:
            return ()
        records = [self.record(spec.model, element, path) for element in elements]
        empty = spec.model()
        return tuple(record for record in records if record != empty)

    def _scalar(self, spec: Spec, written: str, path: str) -> object:
        if spec.kind is Kind.TEXT:
            return None if spec.element == "OrganId" and written in values.NOTHING else written
        if written in values.NOTHING:
            return None
        value = _SCALARS[spec.kind](written)
        if isinstance(value, int) and value in spec.means:
            self.raw[path] = written
            return spec.means[value]
        if value is None or (spec.kind is Kind.INTEGER and _outside(spec, value)):
            self.raw[path] = written
            self.warnings.append(f"{path}: '{written}' is not understood as {spec.kind}")
            return None
        if spec.kind in {Kind.DATE, Kind.TIME} and written != _normal(value, spec.kind):
            self.raw[path] = written
        return value


def _outside(spec: Spec, value: Any) -> bool:
    return bool(value < 0 or (spec.values is not None and value not in spec.values))


def _normal(value: Any, kind: Kind) -> str:
    return values.write_day(value) if kind is Kind.DATE else values.write_moment(value)


def _clean(element: etree._Element) -> str:
    return unicodedata.normalize("NFC", text(element))
