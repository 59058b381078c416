"""The content of edXML messages as frozen data, and at the same time the grammar that the reader and the writer follow.

Each field says which element it stands for and how that is spelt as text (``Spec``); the order of the fields *is* the order in
which the exchange's own Java library writes (and re-writes) elements. So a field is added in one place, here, and in the schema.

Times on the wire carry no zone; they are Vietnam's (UTC+7), and so are they here. What was absent, and what could not be
understood, has the field's default; the text as written is then in ``raw`` of the message, and a sentence in its ``warnings``.
"""

# ruff: noqa: RUF009  (the functions called in the classes' bodies make dataclass fields)

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

#: Vietnam has no daylight saving time.
VIETNAM = timezone(timedelta(hours=7), "ICT")

#: StatusCode -> meaning. Others (103, 104 …) are one product's own: kept, never acted on.
STATUS_CODES: Mapping[str, str] = {
    "01": "Đã đến",
    "02": "Từ chối tiếp nhận",
    "03": "Đã tiếp nhận",
    "04": "Phân công",
    "05": "Đang xử lý",
    "06": "Hoàn thành",
    "13": "Lấy lại",
    "15": "Đồng ý",
    "16": "Từ chối",
}
#: BussinessDocType -> meaning.
NEW, RECALL, UPDATE, REPLACE = 0, 1, 2, 3
BUSINESS_TYPES: Mapping[int, str] = {NEW: "văn bản mới", RECALL: "thu hồi", UPDATE: "cập nhật", REPLACE: "thay thế"}
#: Priority -> meaning; 4 is older usage: read it, do not write it.
PRIORITIES: Mapping[int, str] = {0: "Thường", 1: "Khẩn", 2: "Thượng khẩn", 3: "Hỏa tốc", 4: "Hỏa tốc hẹn giờ"}
#: SteeringType -> meaning; 0 occurs in the field and means 1.
STEERING_TYPES: Mapping[int, str] = {1: "không phải văn bản chỉ đạo", 2: "văn bản chỉ đạo", 3: "báo cáo kết quả thực hiện chỉ đạo"}
#: ReceiverType -> meaning.
RECEIVER_TYPES: Mapping[int, str] = {0: "bỏ khỏi nơi nhận", 1: "thêm vào nơi nhận"}


class Kind(StrEnum):
    """How a field is spelt in XML."""

    TEXT = "text"
    INTEGER = "integer"
    FLAG = "flag"
    DATE = "date"
    TIME = "time"
    RECORD = "record"
    #: The element once for each item.
    RECORDS = "records"
    #: One element that holds an ``item`` element for each text, or for each record.
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Spec:
    """One field's place in the XML.

    ``model``   the record's class; ``item`` the element inside a list
    ``values``  what an integer may be; ``means`` what other numbers that occur stand for
    """

    element: str
    kind: Kind
    model: type[Any] | None = None
    item: str = ""
    required: bool = False
    values: Mapping[int, str] | None = None
    means: Mapping[int, int] = field(default_factory=dict)


def _text(element: str, *, required: bool = False) -> Any:
    return field(default="", metadata={"spec": Spec(element, Kind.TEXT, required=required)})


def _integer(element: str, default: int | None, values: Mapping[int, str] | None = None, means: Mapping[int, int] | None = None) -> Any:
    return field(default=default, metadata={"spec": Spec(element, Kind.INTEGER, values=values, means=means or {})})


def _scalar(element: str, kind: Kind, *, required: bool = False) -> Any:
    return field(default=None, metadata={"spec": Spec(element, kind, required=required)})


def _record(element: str, model: type[Any], *, required: bool = False) -> Any:
    return field(default_factory=model, metadata={"spec": Spec(element, Kind.RECORD, model, required=required)})


def _records(element: str, model: type[Any], *, required: bool = False) -> Any:
    return field(default=(), metadata={"spec": Spec(element, Kind.RECORDS, model, required=required)})


def _list(element: str, item: str, model: type[Any] | None = None) -> Any:
    return field(default=(), metadata={"spec": Spec(element, Kind.LIST, model, item)})


def specs(model: type[Any]) -> tuple[tuple[str, Spec], ...]:
    """(field name, Spec) of every field of ``model`` that stands for an element, in the order of writing."""
    return tuple((item.name, item.metadata["spec"]) for item in dataclasses.fields(model) if "spec" in item.metadata)


@dataclass(frozen=True, slots=True)
class Organ:
    """``From`` and ``To``. ``organization_in_charge`` is the direct superior's name."""

    organ_id: str = _text("OrganId", required=True)
    organization_in_charge: str = _text("OrganizationInCharge")
    organ_name: str = _text("OrganName", required=True)
    organ_add: str = _text("OrganAdd")
    email: str = _text("Email")
    telephone: str = _text("Telephone")
    fax: str = _text("Fax")
    website: str = _text("Website")


@dataclass(frozen=True, slots=True)
class Code:
    """The number (``1234``, for legal documents ``28/2018``) and the notation (``BTTTT-VP``)."""

    code_number: str = _text("CodeNumber", required=True)
    code_notation: str = _text("CodeNotation", required=True)

    def __str__(self) -> str:
        return f"{self.code_number}/{self.code_notation}"


@dataclass(frozen=True, slots=True)
class PromulgationInfo:
    """Where and when it was issued."""

    place: str = _text("Place")
    promulgation_date: date | None = _scalar("PromulgationDate", Kind.DATE, required=True)


@dataclass(frozen=True, slots=True)
class DocumentType:
    """Trust ``type_name`` alone: the numbers contradict one another in real traffic (``type`` 1 legal normative, 2 administrative)."""

    type: int = _integer("Type", 2)
    type_detail: int = _integer("TypeDetail", 0)
    type_name: str = _text("TypeName")


@dataclass(frozen=True, slots=True)
class SignerInfo:
    """Who signed, such as "KT. BỘ TRƯỞNG", "Thứ trưởng" and the name."""

    competence: str = _text("Competence")
    position: str = _text("Position")
    full_name: str = _text("FullName")


@dataclass(frozen=True, slots=True)
class OtherInfo:
    """``priority`` by PRIORITIES; ``promulgation_amount`` copies, ``page_amount`` pages; ``direction`` only the Java library writes."""

    priority: int = _integer("Priority", 0, PRIORITIES)
    sphere_of_promulgation: str = _text("SphereOfPromulgation")
    typer_notation: str = _text("TyperNotation")
    promulgation_amount: int | None = _integer("PromulgationAmount", None)
    page_amount: int | None = _integer("PageAmount", None)
    reply_fors: str = _text("ReplyFors")
    direction: bool | None = _scalar("Direction", Kind.FLAG)
    reference_codes: str = _text("ReferenceCodes")
    appendixes: tuple[str, ...] = _list("Appendixes", "Appendix")


@dataclass(frozen=True, slots=True)
class ResponseFor:
    """The document this one answers, or recalls; in a status ``organ_id`` is whom the report is *for*. ``code`` is number/notation."""

    organ_id: str = _text("OrganId")
    code: str = _text("Code")
    document_id: str = _text("DocumentId")
    promulgation_date: date | None = _scalar("PromulgationDate", Kind.DATE)


@dataclass(frozen=True, slots=True)
class StaffInfo:
    """A person at the records office that sends."""

    department: str = _text("Department")
    department_id: str = _text("DepartmentId")
    staff: str = _text("Staff")
    staff_id: str = _text("StaffId")
    email: str = _text("Email")
    mobile: str = _text("Mobile")


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver that an update drops (``receiver_type`` 0) or adds (1); no default: neither may be guessed."""

    organ_id: str = _text("OrganId", required=True)
    receiver_type: int | None = _integer("ReceiverType", None, RECEIVER_TYPES)


@dataclass(frozen=True, slots=True)
class DocumentChange:
    """``BussinessDocumentInfo``: whether an update changed the data or files (1), whether the receivers, and which."""

    document_info: int = _integer("DocumentInfo", 0)
    document_receiver: int = _integer("DocumentReceiver", 0)
    receivers: tuple[Receiver, ...] = _list("ReceiverList", "Receiver", Receiver)


@dataclass(frozen=True, slots=True)
class Replacement:
    """A document that is replaced, and the receivers for which it is."""

    document_id: str = _text("DocumentId", required=True)
    organ_ids: tuple[str, ...] = _list("OrganIdList", "OrganId")


@dataclass(frozen=True, slots=True)
class Business:
    """``Bussiness``: new, recall, update or replace, by BUSINESS_TYPES. Absent in some real messages: then a new document.

    ``document_id`` is the document that a recall or an update is about; ``paper`` 1 = a paper copy follows.
    """

    document_id: str = _text("DocumentId")
    doc_type: int = _integer("BussinessDocType", NEW, BUSINESS_TYPES)
    doc_reason: str = _text("BussinessDocReason")
    paper: int = _integer("Paper", 0)
    changes: tuple[DocumentChange, ...] = _records("BussinessDocumentInfo", DocumentChange)
    replacements: tuple[Replacement, ...] = _list("ReplacementInfoList", "ReplacementInfo", Replacement)
    staff: tuple[StaffInfo, ...] = _records("StaffInfo", StaffInfo)


@dataclass(frozen=True, slots=True)
class Trace:
    """One hop. The exchange itself writes some without a code."""

    organ_id: str = _text("OrganId")
    timestamp: datetime | None = _scalar("Timestamp", Kind.TIME)


@dataclass(frozen=True, slots=True)
class TraceList:
    """``TraceHeaderList``."""

    paper: str = _text("Paper")
    business: Business = _record("Bussiness", Business)
    traces: tuple[Trace, ...] = _records("TraceHeader", Trace)


@dataclass(frozen=True, slots=True)
class Attachment:
    """One file, decoded and unpacked; where that failed, ``error`` is the cause (a short English phrase) and ``data`` is empty.

    ``content_id`` is without ``cid:``; ``label`` is the content type on the wire, which is often wrong: see ``files.media_type``.
    """

    name: str
    data: bytes
    content_id: str = ""
    description: str = ""
    label: str = field(default="", compare=False)
    error: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """``MessageHeader`` of a document, in the order of writing."""

    sender: Organ = _record("From", Organ, required=True)
    to: tuple[Organ, ...] = _records("To", Organ, required=True)
    document_id: str = _text("DocumentId", required=True)
    code: Code = _record("Code", Code, required=True)
    promulgation_info: PromulgationInfo = _record("PromulgationInfo", PromulgationInfo, required=True)
    document_type: DocumentType = _record("DocumentType", DocumentType)
    subject: str = _text("Subject", required=True)
    content: str = _text("Content")
    signer_info: SignerInfo = _record("SignerInfo", SignerInfo)
    due_date: date | None = _scalar("DueDate", Kind.DATE)
    other_info: OtherInfo = _record("OtherInfo", OtherInfo)
    response_for: tuple[ResponseFor, ...] = _records("ResponseFor", ResponseFor)
    steering_type: int = _integer("SteeringType", 1, STEERING_TYPES, means={0: 1})
    task_codes: tuple[str, ...] = _list("ResponseForTask", "TaskCode")
    application_type: str = _text("ApplicationType")
    to_places: tuple[str, ...] = _list("ToPlaces", "Place")


@dataclass(frozen=True, slots=True)
class StatusHeader:
    """``MessageHeader`` of a status, in the order of writing."""

    sender: Organ = _record("From", Organ, required=True)
    response_for: ResponseFor = _record("ResponseFor", ResponseFor, required=True)
    staff: tuple[StaffInfo, ...] = _records("StaffInfo", StaffInfo)
    status_code: str = _text("StatusCode", required=True)
    description: str = _text("Description")
    timestamp: datetime | None = _scalar("Timestamp", Kind.TIME, required=True)


@dataclass(frozen=True, slots=True)
class Document:
    """An edXML document. ``raw`` holds what had to be changed to be understood: the element's path -> the text as written."""

    header: Header
    trace_list: TraceList = field(default_factory=TraceList)
    attachments: tuple[Attachment, ...] = ()
    warnings: tuple[str, ...] = field(default=(), compare=False)
    raw: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class StatusMessage:
    """An edXML status. It has no id of its own: ``key`` tells repeats from news."""

    header: StatusHeader
    warnings: tuple[str, ...] = field(default=(), compare=False)
    raw: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def key(self) -> tuple[str, str, str, datetime | None]:
        """(sender, document, code, time): two statuses with one key are the same one."""
        header = self.header
        return header.sender.organ_id, header.response_for.document_id, header.status_code, header.timestamp


def document_id(organ: str, day: date, number: str, notation: str) -> str:
    """The normal form of a DocumentId: ``000.00.00.G14,2024/03/15,1234/BTTTT-VP``. On input an id is opaque: UUIDs occur."""
    return f"{organ},{day:%Y/%m/%d},{number}/{notation}"
