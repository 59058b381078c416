"""Data to edXML, strictly: the element order of the exchange's Java library, the literal prefix ``edXML:`` and the literal
un-prefixed ``AttachmentEncoded``, because one receiver on the exchange looks for those very names.

No serialiser chooses a prefix here: the text is put together from the field table in ``model``. The same value gives the same
octets. UTF-8, without the CR LF that the transport appends. Rejected ``edxml-invalid`` when something mandatory is missing or a
text holds a character that XML cannot.
"""

import re
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape

import pybase64

from bus.edxml import values
from bus.edxml.files import pack, without_cid
from bus.edxml.frame import NAMESPACE
from bus.edxml.model import Document, Kind, Spec, StatusMessage, specs
from bus.errors import Rejected

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_OPEN = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    f'<edXML xmlns="{NAMESPACE}">\n'
    f'  <edXML:edXMLEnvelope xmlns:edXML="{NAMESPACE}">\n'
    "    <edXML:edXMLHeader>\n"
)
_CLOSE_ENVELOPE = "  </edXML:edXMLEnvelope>\n"
_CLOSE_HEADER = "    </edXML:edXMLHeader>\n"
_CLOSE = "</edXML>"
#: Depth of MessageHeader and TraceHeaderList in the frame above.
_HEADER_DEPTH = 3
_MANIFEST_ORDER = ("ContentId", "ContentType", "Description", "AttachmentName")
_ATTACHMENT_ORDER = ("ContentId", "AttachmentName", "Description", "ContentType")
#: Always written, even when nothing differs from the defaults: the standard demands them.
_ALWAYS = frozenset({"Bussiness"})


def write_document(document: Document) -> bytes:
    """The document as ``.edxml``. An attachment without an id is given its place as one."""
    header = _element("MessageHeader", document.header, _HEADER_DEPTH, "")
    trace = _element("TraceHeaderList", document.trace_list, _HEADER_DEPTH, "")
    files = [(without_cid(file.content_id) or f"file-{number}", file) for number, file in enumerate(document.attachments, 1)]
    packed = [(content_id, file, *pack(file, content_id)) for content_id, file in files]
    _refuse_doubles([content_id for content_id, *_ in packed])
    references = "".join(_reference(content_id, file.name, file.description, label) for content_id, file, label, _ in packed)
    manifest = f'      <edXML:edXMLManifest version="1.0">\n{references}      </edXML:edXMLManifest>\n'
    body = f"    <edXML:edXMLBody>\n{manifest}    </edXML:edXMLBody>\n"
    parts = [f"{_OPEN}{header}{trace}{_CLOSE_HEADER}{body}{_CLOSE_ENVELOPE}".encode()]
    if packed:
        parts.append(b"  <AttachmentEncoded>\n")
        for content_id, file, label, data in packed:
            parts += _attachment(content_id, file.name, file.description, label, data)
        parts.append(b"  </AttachmentEncoded>\n")
    parts.append(_CLOSE.encode())
    return b"".join(parts)


def write_status(status: StatusMessage) -> bytes:
    """The status as ``.edxml``."""
    return f"{_OPEN}{_element('MessageHeader', status.header, _HEADER_DEPTH, '')}{_CLOSE_HEADER}{_CLOSE_ENVELOPE}{_CLOSE}".encode()


def _element(name: str, record: Any, depth: int, path: str) -> str:
    here = f"{path}/{name}"
    content = "".join(line for field, spec in specs(type(record)) for line in _field(spec, getattr(record, field), depth + 1, here))
    pad = "  " * depth
    return f"{pad}<edXML:{name}>\n{content}{pad}</edXML:{name}>\n"


def _field(spec: Spec, value: Any, depth: int, path: str) -> Iterator[str]:
    """The lines of one field: nothing for what is absent, Rejected if it must not be."""
    if value is None or value in ("", ()) or (spec.kind is Kind.INTEGER and value < 0):
        if spec.required:
            raise Rejected("edxml-invalid", detail=f"{path}/{spec.element} is missing", at=f"{path}/{spec.element}")
        return
    match spec.kind:
        case Kind.RECORD:
            if spec.required or spec.element in _ALWAYS or value != type(value)():
                yield _element(spec.element, value, depth, path)
        case Kind.RECORDS:
            for record in value:
                yield _element(spec.element, record, depth, path)
        case Kind.LIST:
            pad = "  " * depth
            write = _element if spec.model else _leaf
            items = (write(spec.item, item, depth + 1, path) for item in value)
            yield f"{pad}<edXML:{spec.element}>\n{''.join(items)}{pad}</edXML:{spec.element}>\n"
        case _:
            yield _leaf(spec.element, _spelt(spec.kind, value), depth, path)


def _spelt(kind: Kind, value: Any) -> str:
    match kind:
        case Kind.DATE:
            return values.write_day(value)
        case Kind.TIME:
            return values.write_moment(value)
        case Kind.FLAG:
            return "true" if value else "false"
        case _:
            return str(value)


def _leaf(name: str, value: str, depth: int, path: str, prefix: str = "edXML:") -> str:
    return f"{'  ' * depth}<{prefix}{name}>{_escaped(value, f'{path}/{name}')}</{prefix}{name}>\n"


def _escaped(value: str, path: str) -> str:
    if bad := _NOT_XML.search(value):
        raise Rejected("edxml-invalid", detail=f"{path} holds U+{ord(bad[0]):04X}, which XML cannot", at=path)
    return escape(value, {"\r": "&#13;"})


def _refuse_doubles(content_ids: list[str]) -> None:
    double = next((content_id for content_id in content_ids if content_ids.count(content_id) > 1), None)
    if double is not None:
        raise Rejected("edxml-invalid", detail=f"two attachments have the ContentId '{double}'")


def _reference(content_id: str, name: str, description: str, label: str) -> str:
    naming = _naming("/Reference", _MANIFEST_ORDER, content_id, name, description, label)
    return f"        <edXML:Reference>\n{naming}        </edXML:Reference>\n"


def _attachment(content_id: str, name: str, description: str, label: str, data: bytes) -> tuple[bytes, bytes, bytes]:
    """In three parts, so that the base64 is copied once, into the whole."""
    naming = _naming("/Attachment", _ATTACHMENT_ORDER, content_id, name, description, label)
    head = f'    <Attachment>\n{naming}      <edXML:ContentTransferEncoded xmlns:edXML="{NAMESPACE}">'
    return head.encode(), pybase64.b64encode(data), b"</edXML:ContentTransferEncoded>\n    </Attachment>\n"


def _naming(path: str, order: tuple[str, ...], content_id: str, name: str, description: str, label: str) -> str:
    """The naming elements, which the manifest and the attachment hold in different orders and with different prefixes."""
    if not name:
        raise Rejected("edxml-invalid", detail=f"{path}/AttachmentName is missing", at=f"{path}/AttachmentName")
    told = {"ContentId": f"cid:{content_id}", "AttachmentName": name, "Description": description, "ContentType": label}
    depth, prefix = (5, "edXML:") if order is _MANIFEST_ORDER else (3, "")
    return "".join(_leaf(field, told[field], depth, path, prefix) for field in order if told[field])
