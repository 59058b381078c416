"""Fictitious official documents that look and weigh like real ones, for the demo, the tests and the measurements.

Everything follows from a seed: the same arguments give the same octets. Subjects, persons and units are made up;
the organisations' names are the public ones. ``make`` gives the message as it goes over the wire; ``document`` and ``status`` give
the data; ``invalid`` and ``wrong_sender`` give what a bus must refuse.
"""

import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from enum import StrEnum

from bus.edxml import write_document, write_status
from bus.edxml.model import (
    NEW,
    RECALL,
    REPLACE,
    STATUS_CODES,
    UPDATE,
    VIETNAM,
    Attachment,
    Business,
    Code,
    Document,
    DocumentChange,
    DocumentType,
    Header,
    Organ,
    OtherInfo,
    PromulgationInfo,
    Receiver,
    Replacement,
    ResponseFor,
    SignerInfo,
    StaffInfo,
    StatusHeader,
    StatusMessage,
    Trace,
    TraceList,
    document_id,
)
from sandbox.files import MAKERS


@dataclass(frozen=True, slots=True)
class Party:
    """An organisation: ``notation`` is its abbreviation in document numbers, ``unit`` that of the drafting unit."""

    code: str
    name: str
    superior: str
    notation: str
    unit: str
    place: str = "Hà Nội"

    @property
    def organ(self) -> Organ:
        """As From or To."""
        address = f"vanthu@{self.notation.lower().replace('đ', 'd')}.example.gov.vn"
        return Organ(organ_id=self.code, organization_in_charge=self.superior, organ_name=self.name, email=address, telephone="02400000000")


MINISTRY = Party("000.00.00.G14", "Bộ Thông tin và Truyền thông", "Bộ Thông tin và Truyền thông", "BTTTT", "VP")
TELECOM_AUTHORITY = Party("000.00.01.G14", "Cục Viễn thông (đơn vị giả định)", MINISTRY.name, "CVT", "CSPT")
SECURITY_AUTHORITY = Party("000.00.02.G14", "Cục An toàn thông tin (đơn vị giả định)", MINISTRY.name, "CATTT", "TĐQLGS")
GOVERNMENT_OFFICE = Party("000.00.00.G22", "Văn phòng Chính phủ", "Văn phòng Chính phủ", "VPCP", "KSTT")
PARTNER_AGENCY = Party("000.00.00.G18", "Bộ Y tế", "Bộ Y tế", "BYT", "VPB")
PUBLIC_SECURITY = Party("000.00.00.G01", "Bộ Công an", "Bộ Công an", "BCA", "V01")
PARTIES: Mapping[str, Party] = {
    party.code: party for party in (MINISTRY, TELECOM_AUTHORITY, SECURITY_AUTHORITY, GOVERNMENT_OFFICE, PARTNER_AGENCY, PUBLIC_SECURITY)
}


class Kind(StrEnum):
    """What a document does."""

    NEW = "new"
    REPLY = "reply"
    RECALL = "recall"
    UPDATE = "update"
    REPLACE = "replace"


#: (TypeName, TypeDetail in list B of the standard, abbreviation of Decree 30/2020; an official letter has none)
_LETTER = ("Công văn", 18, "")
_TYPES = (
    *(_LETTER, _LETTER, _LETTER, _LETTER),
    ("Báo cáo", 14, "BC"),
    ("Tờ trình", 16, "TTr"),
    ("Kế hoạch", 10, "KH"),
    ("Thông báo", 7, "TB"),
    ("Quyết định", 2, "QĐ"),
)
_ACTS = (
    "báo cáo tình hình",
    "triển khai",
    "góp ý dự thảo kế hoạch",
    "đề nghị phối hợp",
    "cung cấp số liệu về",
    "hướng dẫn thực hiện",
    "kết quả",
)
_MATTERS = (
    "kết nối, chia sẻ dữ liệu giữa các hệ thống thông tin",
    "gửi, nhận văn bản điện tử liên thông các cấp",
    "bảo đảm an toàn thông tin mạng dịp nghỉ lễ",
    "cung cấp dịch vụ công trực tuyến toàn trình",
    "phủ sóng thông tin di động vùng lõm",
    "số hóa hồ sơ, kết quả giải quyết thủ tục hành chính",
    "chuyển đổi sang địa chỉ Internet thế hệ mới IPv6",
    "rà soát tên miền và trang thông tin điện tử",
    "ứng dụng chữ ký số chuyên dùng công vụ",
)
_PERIODS = ("quý I", "quý II", "quý III", "quý IV", "6 tháng đầu năm", "năm")
_FAMILIES = ("Nguyễn", "Trần", "Lê", "Phạm", "Hoàng", "Vũ", "Đặng", "Bùi", "Đỗ", "Ngô")
_MIDDLES = ("Văn", "Thị", "Minh", "Thanh", "Quốc", "Thu", "Đức", "Hồng")
_GIVENS = ("An", "Bình", "Cường", "Dung", "Giang", "Hà", "Khánh", "Lâm", "Mai", "Nam", "Oanh", "Phúc", "Quỳnh", "Sơn", "Thảo", "Yến")
_SIGNERS = (("KT. BỘ TRƯỞNG", "Thứ trưởng"), ("TL. BỘ TRƯỞNG", "Chánh Văn phòng"), ("KT. CỤC TRƯỞNG", "Phó Cục trưởng"), ("", "Cục trưởng"))
_PRIORITIES = (0, 0, 0, 0, 0, 1, 1, 2, 3)
#: Share of documents that ask for an answer by a day.
_WITH_DUE_DATE = 0.4
_FIRST_DAY = date(2026, 1, 5)
#: Files by share of the whole size; most documents are one signed PDF.
_FILES = (("pdf",), ("pdf",), ("pdf",), ("pdf", "xlsx"), ("pdf", "docx"), ("docx",))
#: A PDF that is the document itself carries its signatures.
_MAIN_ENDINGS = {"pdf": ".signed.pdf"}


def make(
    kind: Kind = Kind.NEW,
    size: int = 20_000,
    seed: int = 1,
    sender: Party = TELECOM_AUTHORITY,
    receivers: Sequence[Party] = (GOVERNMENT_OFFICE,),
    number: int | None = None,
) -> bytes:
    """The ``.edxml`` of a document whose files together have about ``size`` bytes (5 kB to 10 MB)."""
    return write_document(document(kind, size, seed, sender, receivers, number))


def document(
    kind: Kind = Kind.NEW,
    size: int = 20_000,
    seed: int = 1,
    sender: Party = TELECOM_AUTHORITY,
    receivers: Sequence[Party] = (GOVERNMENT_OFFICE,),
    number: int | None = None,
) -> Document:
    """The same as data. A reply answers a letter of the first receiver; recall, update and replace are about this seed's NEW document."""
    rng = random.Random(f"{seed}/{sender.code}")
    fresh = _new(rng, size, sender, receivers, number if number is not None else rng.randint(1, 9999))
    return _VARIANTS[kind](fresh, receivers)


def _new(rng: random.Random, size: int, sender: Party, receivers: Sequence[Party], number: int) -> Document:
    day = _FIRST_DAY + timedelta(days=rng.randrange(350))
    type_name, detail, short = rng.choice(_TYPES)
    notation = f"{short}-{sender.notation}" if short else f"{sender.notation}-{sender.unit}"
    subject = f"{'V/v ' if not short else ''}{rng.choice(_ACTS)} {rng.choice(_MATTERS)} {rng.choice(_PERIODS)} {day.year}"
    subject = subject if not short else subject[0].upper() + subject[1:]
    competence, position = rng.choice(_SIGNERS)
    header = Header(
        sender=sender.organ,
        to=tuple(receiver.organ for receiver in receivers),
        document_id=document_id(sender.code, day, str(number), notation),
        code=Code(str(number), notation),
        promulgation_info=PromulgationInfo(sender.place, day),
        document_type=DocumentType(2, detail, type_name),
        subject=subject,
        content=subject,
        signer_info=SignerInfo(competence, position, _person(rng)),
        due_date=day + timedelta(days=14) if rng.random() < _WITH_DUE_DATE else None,
        other_info=OtherInfo(rng.choice(_PRIORITIES), "Liên thông văn bản quốc gia", "TVC", 1, rng.randint(1, 12), direction=False),
        to_places=("Như trên", "Lưu: VT"),
    )
    staff = (StaffInfo(department="Văn thư", staff=_person(rng), email=sender.organ.email, mobile="0900000000"),)
    sent = datetime.combine(day, time(8 + rng.randrange(9), rng.randrange(60), rng.randrange(60)), VIETNAM)
    business = Business(doc_type=NEW, doc_reason="Văn bản điện tử mới", staff=staff)
    return Document(header, TraceList(business=business, traces=(Trace(sender.code, sent),)), _files(rng, size, header))


def _person(rng: random.Random) -> str:
    return f"{rng.choice(_FAMILIES)} {rng.choice(_MIDDLES)} {rng.choice(_GIVENS)}"


def _files(rng: random.Random, size: int, header: Header) -> tuple[Attachment, ...]:
    kinds = rng.choice(_FILES)
    return tuple(
        Attachment(
            name=f"{header.code}".replace("/", "_") + (_MAIN_ENDINGS.get(kind, f".{kind}") if number == 0 else f"_phu_luc.{kind}"),
            data=MAKERS[kind](_lines(header), size // len(kinds), rng.getrandbits(32)),
            content_id=str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            description="Văn bản chính" if number == 0 else "Phụ lục",
        )
        for number, kind in enumerate(kinds)
    )


def _lines(header: Header) -> list[str]:
    """The page as Decree 30/2020 lays it out, roughly."""
    day = header.promulgation_info.promulgation_date or _FIRST_DAY
    return [
        header.sender.organ_name.upper(),
        "CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM",
        "Độc lập - Tự do - Hạnh phúc",
        f"{header.promulgation_info.place}, ngày {day:%d} tháng {day:%m} năm {day:%Y}",
        f"Số: {header.code}",
        header.subject,
        *(f"Kính gửi: {receiver.organ_name}" for receiver in header.to),
        "Văn bản giả định, chỉ dùng để thử nghiệm.",
        header.signer_info.competence,
        header.signer_info.position,
        header.signer_info.full_name,
    ]


def _itself(fresh: Document) -> ResponseFor:
    header = fresh.header
    return ResponseFor(header.sender.organ_id, str(header.code), header.document_id, header.promulgation_info.promulgation_date)


def _about(fresh: Document, header: Header, business: Business) -> Document:
    """The document with another header and business, its staff and hops kept."""
    traces = replace(fresh.trace_list, business=replace(business, staff=fresh.trace_list.business.staff))
    return replace(fresh, header=header, trace_list=traces)


def _reply(fresh: Document, receivers: Sequence[Party]) -> Document:
    asked = (fresh.header.promulgation_info.promulgation_date or _FIRST_DAY) - timedelta(days=21)
    asker = receivers[0]
    code = f"{asked.toordinal() % 9000 + 100}/{asker.notation}-{asker.unit}"
    letter = ResponseFor(asker.code, code, f"{asker.code},{asked:%Y/%m/%d},{code}", asked)
    return replace(fresh, header=replace(fresh.header, response_for=(letter,), steering_type=3, due_date=None))


def _recall(fresh: Document, _receivers: Sequence[Party]) -> Document:
    business = Business(document_id=fresh.header.document_id, doc_type=RECALL, doc_reason="Thu hồi: gửi nhầm bản dự thảo")
    return replace(_about(fresh, replace(fresh.header, response_for=(_itself(fresh),)), business), attachments=())


def _update(fresh: Document, receivers: Sequence[Party]) -> Document:
    added = tuple(Receiver(receiver.code, 1) for receiver in receivers[1:])
    change = DocumentChange(document_info=1, document_receiver=1 if added else 0, receivers=added)
    business = Business(document_id=fresh.header.document_id, doc_type=UPDATE, doc_reason="Cập nhật: đính chính số liệu", changes=(change,))
    return _about(fresh, replace(fresh.header, subject=f"{fresh.header.subject} (đính chính)"), business)


def _replacement(fresh: Document, receivers: Sequence[Party]) -> Document:
    old, header = fresh.header.document_id, fresh.header
    number = f"{int(header.code.code_number) + 1}"
    day = header.promulgation_info.promulgation_date or _FIRST_DAY
    replaced = Replacement(old, tuple(receiver.code for receiver in receivers))
    business = Business(doc_type=REPLACE, doc_reason=f"Thay thế văn bản số {header.code}", replacements=(replaced,))
    new_id = document_id(header.sender.organ_id, day, number, header.code.code_notation)
    return _about(fresh, replace(header, document_id=new_id, code=Code(number, header.code.code_notation)), business)


_VARIANTS: Mapping[Kind, Callable[[Document, Sequence[Party]], Document]] = {
    Kind.NEW: lambda fresh, _: fresh,
    Kind.REPLY: _reply,
    Kind.RECALL: _recall,
    Kind.UPDATE: _update,
    Kind.REPLACE: _replacement,
}

#: Description of each status, as a records office words it.
_REPORTS: Mapping[str, str] = {
    "01": "Đã đến: phần mềm quản lý văn bản đã nhận, văn thư chưa xử lý",
    "02": "Từ chối tiếp nhận: văn bản gửi nhầm nơi nhận",
    "03": "Đã tiếp nhận, vào sổ văn bản đến",
    "04": "Lãnh đạo đã phân công xử lý",
    "05": "Đang xử lý",
    "06": "Đã hoàn thành xử lý",
    "13": "Đề nghị lấy lại văn bản: gửi nhầm bản dự thảo",
    "15": "Đồng ý yêu cầu lấy lại, cập nhật",
    "16": "Từ chối yêu cầu lấy lại: văn bản đã được phân công xử lý",
}
_BY_SENDER = frozenset({"13"})


def status(code: str, about: Document, receiver: Party, after: timedelta = timedelta(minutes=20)) -> StatusMessage:
    """A status by ``receiver`` on the document (13 is the sender's own, to the receiver). ``code``: one of the nine."""
    header = about.header
    sent = about.trace_list.traces[0].timestamp or datetime.combine(_FIRST_DAY, time(8), VIETNAM)
    reporter, addressee = (header.sender, receiver.organ) if code in _BY_SENDER else (receiver.organ, header.sender)
    response = replace(_itself(about), organ_id=addressee.organ_id)
    staff = (StaffInfo(department="Văn thư", staff="Lê Văn C", email=reporter.email, mobile="0900000001"),)
    return StatusMessage(StatusHeader(reporter, response, staff, code, _REPORTS[code], sent + after))


def make_status(code: str, about: Document, receiver: Party) -> bytes:
    """The ``.edxml`` of such a status."""
    return write_status(status(code, about, receiver))


def statuses(about: Document, receiver: Party) -> dict[str, bytes]:
    """All nine, by code."""
    return {code: make_status(code, about, receiver) for code in STATUS_CODES}


def wrong_sender(body: bytes, claimed: Party = PUBLIC_SECURITY, true: Party = TELECOM_AUTHORITY) -> bytes:
    """The message with another organisation's code as its sender's: what ``authorize`` must refuse."""
    return body.replace(f"OrganId>{true.code}<".encode(), f"OrganId>{claimed.code}<".encode(), 1)


def _cut_element(body: bytes, name: str) -> bytes:
    start, end = body.index(f"<edXML:{name}>".encode()), body.index(f"</edXML:{name}>".encode())
    return body[:start] + body[end + len(f"</edXML:{name}>") :]


#: What is wrong -> how to spoil a good message.
SPOILT: Mapping[str, Callable[[bytes], bytes]] = {
    "truncated": lambda body: body[: len(body) // 2],
    "doctype": lambda body: body.replace(b"<edXML ", b'<!DOCTYPE edXML [<!ENTITY e "x">]><edXML ', 1),
    "wrong namespace": lambda body: body.replace(b"http://www.mic.gov.vn/TBT/QCVN_102_2016", b"http://www.go.vn/eDoc"),
    "no receiver": lambda body: _cut_element(body, "To"),
    "no subject": lambda body: _cut_element(body, "Subject"),
    "bad date": lambda body: body.replace(b"<edXML:PromulgationDate>20", b"<edXML:PromulgationDate>ngay ", 1),
    "bad code": lambda body: body.replace(b"<edXML:To>\n          <edXML:OrganId>", b"<edXML:To>\n          <edXML:OrganId>G18 ", 1),
    "bad base64": lambda body: body.replace(b"</edXML:ContentTransferEncoded>", b"*</edXML:ContentTransferEncoded>", 1),
}


def invalid(what: str, seed: int = 1, size: int = 5_000) -> bytes:
    """A message that a strict gate must refuse; ``what`` is a key of SPOILT."""
    return SPOILT[what](make(size=size, seed=seed))
