"""One letter in the plain form of the standard, to be varied by tests as counterparties vary it."""

from bus.edxml import NAMESPACE

HEADER = """
<From><OrganId>000.00.01.G14</OrganId><OrganName>Cục Viễn thông</OrganName></From>
<To><OrganId>000.00.00.G22</OrganId><OrganName>Văn phòng Chính phủ</OrganName></To>
<DocumentId>000.00.01.G14,2026/03/15,77/CVT-VP</DocumentId>
<Code><CodeNumber>77</CodeNumber><CodeNotation>CVT-VP</CodeNotation></Code>
<PromulgationInfo><Place>Hà Nội</Place><PromulgationDate>2026/03/15</PromulgationDate></PromulgationInfo>
<Subject>V/v số liệu</Subject>
<SteeringType>1</SteeringType>
"""
TRACES = """<TraceHeaderList>
<TraceHeader><OrganId>000.00.01.G14</OrganId><Timestamp>2026/03/15 09:00:00</Timestamp></TraceHeader>
<Bussiness><BussinessDocType>0</BussinessDocType><Paper>0</Paper></Bussiness>
</TraceHeaderList>"""


def letter(header: str = HEADER, traces: str = TRACES, references: str = "", attachments: str = "", root: str = "") -> bytes:
    """The letter, un-prefixed, with parts of it replaced; ``root`` goes in front of the envelope."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<edXML xmlns="{NAMESPACE}">{root}<edXMLEnvelope><edXMLHeader>'
        f"<MessageHeader>{header}</MessageHeader>{traces}</edXMLHeader>"
        f'<edXMLBody><edXMLManifest version="1.0">{references}</edXMLManifest></edXMLBody></edXMLEnvelope>'
        f"<AttachmentEncoded>{attachments}</AttachmentEncoded></edXML>"
    ).encode()


def attachment(content: str, name: str = "a.pdf", content_id: str = "cid:a", label: str = "application/pdf") -> str:
    """An Attachment element; an empty argument leaves its element out."""
    fields = {"ContentId": content_id, "AttachmentName": name, "ContentType": label, "ContentTransferEncoded": content}
    return "<Attachment>" + "".join(f"<{field}>{value}</{field}>" for field, value in fields.items() if value) + "</Attachment>"


def reference(name: str = "a.pdf", content_id: str = "cid:a", attributes: str = "") -> str:
    """A Reference element."""
    return f"<Reference{attributes}><ContentId>{content_id}</ContentId><AttachmentName>{name}</AttachmentName></Reference>"
