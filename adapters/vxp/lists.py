"""What a hub's lists hold: agencies, waiting files, sent files. Pure; field names are the protocol's own."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Final

from lxml import etree

from adapters.vxp import intake
from bus import vxp, xmlio
from bus.endpoint import Pending
from bus.organisations import Organisation
from bus.receipt import NEGATIVE, Status


def agency(organisation: Organisation) -> dict[str, object]:
    """One entry of getAgenciesList and getAgenciesListQD20 (there the old code is called ``code102``)."""
    return {
        "id": organisation.code,
        "pid": "",
        "code": organisation.code,
        "oldCode": organisation.old_code,
        "code102": organisation.old_code,
        "name": organisation.name,
        "mail": "",
    }


def synchronised(organisation: Organisation, today: date) -> dict[str, object]:
    """One entry of getSynchronizeUnit: an agency, and what became of it."""
    closed = organisation.valid_to is not None and organisation.valid_to < today
    changed = organisation.valid_to if closed else organisation.valid_from
    return agency(organisation) | {
        "version": changed.isoformat() if changed else "",
        "centerCode": organisation.successor,
        "deleted": closed,
        "modifyDate": f"{changed:%d/%m/%Y}" if changed else "",
        "isAgency": True,
    }


def level(code: str) -> int:
    """How deep an organisation stands: a ministry or province 1, its unit 2. Old codes fill up with zeros, new ones grow."""
    groups = code.split(".")
    return max(1, sum(1 for group in groups if group.strip("0")))


#: What a receipt's status means to the sender, in the hub's four transport states.
_RECEIVE_STATES: Final[Mapping[Status, str]] = {
    Status.FETCHED: "processing",
    Status.DELIVERED: "done",
    Status.CONFIRMED: "done",
    **dict.fromkeys(NEGATIVE, "fail"),
}


def sent_entries(doc_id: str, message_type: str, receipts: Iterable[bytes]) -> list[dict[str, str]]:
    """Entries of getSentEdocList for one message, one a receiver with the last thing known of it; from signed receipts, oldest first."""
    entries: dict[str, dict[str, str]] = {}
    common = {"senderDocId": doc_id, "title": "", "sendStatus": "done", "serviceType": "eDoc", "messageType": message_type}
    for xml in receipts:
        fields = _receipt_fields(xml)
        at = vxp.list_time(datetime.fromisoformat(fields["At"]))
        common |= {"fromCode": fields["Sender"], "notation": fields.get("DocumentId", "")}
        status = Status(fields["Status"])
        if status is Status.ACCEPTED:
            common |= {"sentTime": at, "sendStatusDesc": fields["Reason"]}
            continue
        entries[fields["Recipient"]] = {
            "receiverDocId": fields["MessageId"],
            "toCode": fields["Recipient"],
            "receiveStatus": _RECEIVE_STATES[status],
            "receiveStatusDesc": fields["Reason"],
            "receivedTime": at,
        }
    if not common.keys() >= {"sentTime"}:
        return []
    unheard = {"receiverDocId": "", "toCode": "", "receiveStatus": "initial", "receiveStatusDesc": "", "receivedTime": ""}
    return [common | entry for entry in entries.values()] or [common | unheard]


def _receipt_fields(xml: bytes) -> dict[str, str]:
    """The texts of one of our own receipts by element name; of the reasons the Vietnamese one, which comes first."""
    fields: dict[str, str] = {}
    for element in xmlio.parse(xml):
        fields.setdefault(etree.QName(element).localname, element.text or "")
    return fields


def waiting(pending: Pending, system: str) -> dict[str, str]:
    """One entry of getReceivedEdocList."""
    at = vxp.list_time(pending.received_at)
    return {
        "docId": pending.message_id,
        "serviceType": "eDoc",
        "messageType": intake.TYPES[pending.kind],
        "created_time": at,
        "updated_time": at,
        "from": pending.from_organ,
        "to": system,
        "status": "initial",
        "status_desc": pending.subject,
    }
