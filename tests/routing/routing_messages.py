"""edXML made of a few codes, as an adapter would hand it in, at one fixed moment."""

from collections.abc import Mapping
from datetime import UTC, datetime

from bus import edxml, message
from bus.message import Message

#: Every test of routing happens at this moment, 09:00 in Vietnam.
NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)

_DOCUMENT = """<edXML xmlns="http://www.mic.gov.vn/TBT/QCVN_102_2016"><edXMLEnvelope><edXMLHeader><MessageHeader>
<From><OrganId>{sender}</OrganId><OrganName>Đơn vị gửi</OrganName></From>{receivers}
<DocumentId>{sender},2026/11/20,12/CVT-VP</DocumentId><Code><CodeNumber>12</CodeNumber><CodeNotation>CVT-VP</CodeNotation></Code>
<PromulgationInfo><Place>Hà Nội</Place><PromulgationDate>2026/11/20</PromulgationDate></PromulgationInfo>
<DocumentType><Type>2</Type><TypeDetail>18</TypeDetail><TypeName>Công văn</TypeName></DocumentType>
<Subject>V/v kiểm tra định tuyến</Subject><SteeringType>1</SteeringType></MessageHeader>
<TraceHeaderList><TraceHeader><OrganId>{sender}</OrganId><Timestamp>2026/11/20 08:59:00</Timestamp></TraceHeader></TraceHeaderList>
</edXMLHeader><edXMLBody><edXMLManifest version="1.0"/></edXMLBody></edXMLEnvelope></edXML>"""


def document(sender: str, *receivers: str) -> bytes:
    """A small edXML document."""
    to = "".join(f"<To><OrganId>{code}</OrganId><OrganName>Nơi nhận</OrganName></To>" for code in receivers)
    return _DOCUMENT.format(sender=sender, receivers=to).encode()


def received(body: bytes, partner: str = "") -> Message:
    """The message as an adapter hands it in; by default from the partner whose code it names as sender."""
    headers: Mapping[str, str] = edxml.describe(edxml.parse(body))
    return Message("0192a000-0000-7000-8000-000000000001", {**headers, message.SENDER: partner}, body)
