"""The hub side of VXP: what VNPT's SDK, or another bus, calls. One method an operation, found through ``OPERATIONS``.

Only what the request's signature covers is acted upon. Failures are answered in the protocol's own form, ``status: FAIL``: with
HTTP 200 when the request is at fault, and with HTTP 503 and Retry-After when we are, so that no client takes the latter for final.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Final

from adapters.vxp import intake, lists
from adapters.vxp.options import Options
from bus import lexical, vxp
from bus.edxml.model import VIETNAM
from bus.endpoint import Bus, Pending, Request, Response
from bus.errors import BusError, Deferred, Rejected
from bus.message import CREDENTIAL, KIND, RECEIVERS, SENDER
from bus.octets import Body
from bus.offload import act_for, offload, owner
from bus.organisations import well_formed
from bus.site import Partner, Site

#: Entries of a mailbox in one list. The protocol has no pages; a confirmed entry leaves the list and makes room.
_MOST_LISTED: Final = 10_000
#: Receivers of one file; the whole address book has some 125 000, and no letter goes to all of it.
_MOST_RECEIVERS: Final = 10_000
#: Characters of a parameter that names or digests something, and how many of a wrong one are said again.
_LONGEST: Final = 255
_MOST_SAID: Final = 80
#: What a caller is asked to wait when the failure is ours and names no time itself, seconds.
_RETRY_AFTER: Final = 30


class Hub:
    """The operations over one bus. ``endpoint`` is the adapter's name."""

    def __init__(self, endpoint: str, options: Options, site: Site, bus: Bus) -> None:
        self._endpoint = endpoint
        self._options = options
        self._site = site
        self._bus = bus

    async def answer(self, request: Request) -> Response:
        """The door: verify, find the operation, answer. Every failure is journalled and answered; nothing is raised."""
        try:
            answer = await self._answer(request)
        except Exception as error:  # noqa: BLE001 - the caller speaks VXP and must be answered in it
            return await self._failed(request, error)
        return answer if isinstance(answer, Response) else _json(200, answer)

    async def _answer(self, request: Request) -> Body | Response:
        if request.refusal is not None:
            raise request.refusal
        operation = self._operation(request)
        call = vxp.verify(request.headers, self._secret, self._site.clock(), self._options.skew)
        partner = self._partner(call).name
        act_for(partner)
        self._bus.turn(partner)
        return await operation(self, call, request)

    def _operation(self, request: Request) -> "Operation":
        name = request.path.removeprefix(self._options.path).strip("/")
        found = OPERATIONS.get((request.method, name))
        if found is None:
            asked = f"{request.method} {name[:_MOST_SAID]}"
            raise Rejected("operation-unknown", operation=asked, known=", ".join(known for _, known in OPERATIONS))
        return found

    async def _failed(self, request: Request, error: Exception) -> Response:
        # Whom the headers only name is not whom they prove.
        partner = owner().name if owner().known else ""
        digest = hashlib.sha256(request.body).hexdigest()
        reference = await self._bus.refuse(self._endpoint, partner, error, digest)
        failure = error if isinstance(error, BusError) else Deferred("bus-error", reference=reference)
        body = vxp.failure(failure, reference)
        if isinstance(failure, Rejected):
            return _json(200, body)
        wait = getattr(failure, "retry_after", None) or _RETRY_AFTER
        return _json(503, body, ("Retry-After", str(int(wait))))

    def _secret(self, system: str) -> str | None:
        account = self._options.systems.get(system)
        return account.secret.get_secret_value() if account else None

    def _partner(self, call: vxp.Call) -> Partner:
        return self._site.partners[self._options.systems[call.system].partner]

    # --- files ------------------------------------------------------------------------------------------------------------

    async def send_edoc(self, call: vxp.Call, request: Request) -> bytes:
        """Answer sendEdoc: DocId is the id of the receipt; the same octets again get the same one."""
        data = await offload(len(request.body), vxp.verified_file, request.body, _required(call, "hash-file"))
        partner = self._partner(call)
        sender = call.parameter("from") or call.system
        if sender != call.system and self._site.partner_of(sender) != partner:
            raise Rejected("sender-not-authorised", partner=partner.name, organ=sender[:_MOST_SAID])
        origin = {SENDER: partner.name, CREDENTIAL: "vxp"}
        receivers = _receivers(call.parameter("to"))
        if receivers:
            # A sender may split one document over several hubs: this copy is for these receivers, whoever else its To elements name.
            origin[RECEIVERS] = " ".join(receivers)

        def check(described: Mapping[str, str]) -> None:
            if described[KIND] != _kind(call):
                raise Rejected("parameter-invalid", name="messagetype", value=call.parameter("messagetype")[:_MOST_SAID])
            named = {self._canonical(code) for code in lexical.words(described[RECEIVERS])}
            for code in receivers:
                if self._canonical(code) not in named:
                    raise Rejected("parameter-invalid", name="to", value=code)

        answer = await intake.accept(self._bus, self._endpoint, data, origin, check)
        return vxp.reply(DocId=answer.receipt.message_id)

    def _canonical(self, code: str) -> str:
        return self._site.organisations.canonical(code)

    async def received_list(self, call: vxp.Call, _request: Request) -> bytes:
        """Answer getReceivedEdocList: what waits for the caller's partner, within fromDate and toDate if they are given."""
        earliest, latest = _time(call, "fromDate"), _time(call, "toDate")
        within = [
            entry
            for entry in await self._waiting(call)
            if (earliest is None or entry.received_at >= earliest) and (latest is None or entry.received_at <= latest)
        ]
        return vxp.reply(data=[lists.waiting(entry, call.system) for entry in within])

    async def count(self, call: vxp.Call, _request: Request) -> bytes:
        """Answer countReceiveEdoc and countReceiveStatus."""
        return vxp.reply(count=len(await self._waiting(call)))

    async def _waiting(self, call: vxp.Call) -> Sequence[Pending]:
        return await self._bus.pending(self._partner(call).name, _MOST_LISTED, [_kind(call)])

    async def get_edoc(self, call: vxp.Call, _request: Request) -> Body:
        """Answer getEdoc: the file as base64. ``filePath``, a folder on the caller's own disk, is of no use here."""
        fetched = await self._bus.fetch(self._partner(call).name, _required(call, "docId"))
        return vxp.file_reply(fetched.body)

    async def download_edoc(self, call: vxp.Call, _request: Request) -> Response:
        """Answer downloadEdoc: the file as it is."""
        fetched = await self._bus.fetch(self._partner(call).name, _required(call, "docId"))
        return Response(200, vxp.FILE, fetched.body)

    async def update_status(self, call: vxp.Call, _request: Request) -> bytes:
        """Answer updateStatus: done and fail end the delivery, with the caller's reason; processing is thanked for and changes nothing."""
        status, doc_id = call.parameter("status"), _required(call, "docId")
        if status not in {"processing", "done", "fail"}:
            raise Rejected("parameter-invalid", name="status", value=status[:_MOST_SAID])
        if status != "processing":
            await self._bus.confirm(self._partner(call).name, doc_id, status == "done", call.parameter("description"))
        return vxp.reply()

    async def sent_list(self, call: vxp.Call, _request: Request) -> bytes:
        """Answer getSentEdocList for one docId, from its receipts. Without a docId there is nothing to answer from, and it is refused."""
        doc_id = _required(call, "docId")
        receipts = await self._bus.receipts(self._partner(call).name, doc_id)
        return vxp.reply(data=lists.sent_entries(doc_id, call.parameter("messagetype") or "edoc", receipts))

    # --- agencies -----------------------------------------------------------------------------------------------------------

    async def agencies(self, call: vxp.Call, _request: Request) -> bytes:
        """Answer getAgenciesList and getAgenciesListQD20: who is in the code book today, of one level if ``level`` is given."""
        today, wanted = self._today(), call.parameter("level")
        valid = [row for row in self._bus.organisations() if row.valid(today) and wanted in {"", str(lists.level(row.code))}]
        return vxp.reply(data=[lists.agency(row) for row in valid])

    async def synchronised_units(self, _call: vxp.Call, _request: Request) -> bytes:
        """Answer getSynchronizeUnit: the whole code book, closed codes marked as deleted."""
        today = self._today()
        return vxp.reply(data=[lists.synchronised(row, today) for row in self._bus.organisations()])

    async def refuse_change(self, _call: vxp.Call, request: Request) -> bytes:
        """Refuse registerAgency and deleteAgency."""
        raise Rejected("agencies-fixed", operation=request.path.rpartition("/")[2])

    def _today(self) -> date:
        return self._site.clock().astimezone(VIETNAM).date()


Operation = Callable[[Hub, vxp.Call, Request], Awaitable[Body | Response]]

OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("POST", "sendEdoc"): Hub.send_edoc,
    ("POST", "getReceivedEdocList"): Hub.received_list,
    ("POST", "getEdoc"): Hub.get_edoc,
    ("GET", "downloadEdoc"): Hub.download_edoc,
    ("POST", "updateStatus"): Hub.update_status,
    ("POST", "getSentEdocList"): Hub.sent_list,
    ("POST", "countReceiveEdoc"): Hub.count,
    ("POST", "countReceiveStatus"): Hub.count,
    ("POST", "getAgenciesList"): Hub.agencies,
    ("POST", "getAgenciesListQD20"): Hub.agencies,
    ("POST", "getSynchronizeUnit"): Hub.synchronised_units,
    ("POST", "registerAgency"): Hub.refuse_change,
    ("POST", "deleteAgency"): Hub.refuse_change,
}


def _json(status: int, body: Body, *headers: tuple[str, str]) -> Response:
    return Response(status, "application/json; charset=utf-8", body, headers)


def _required(call: vxp.Call, name: str) -> str:
    value = lexical.collapsed(call.parameter(name))
    if not 0 < len(value) <= _LONGEST:
        raise Rejected("parameter-invalid", name=name, value=value[:_MOST_SAID])
    return value


def _kind(call: vxp.Call) -> str:
    name = call.parameter("messagetype") or "edoc"
    if name not in intake.KINDS:
        raise Rejected("parameter-invalid", name="messagetype", value=name[:_MOST_SAID])
    return intake.KINDS[name]


def _time(call: vxp.Call, name: str) -> datetime | None:
    text = call.parameter(name)
    try:
        return vxp.read_list_time(text) if text else None
    except ValueError as error:
        raise Rejected("parameter-invalid", name=name, value=text[:_MOST_SAID]) from error


def _receivers(text: str) -> tuple[str, ...]:
    """The codes in a ``to`` parameter: a JSON array of texts, or nothing."""
    if not text:
        return ()
    try:
        codes = json.loads(text)
    except (ValueError, RecursionError):
        codes = None
    if (
        not isinstance(codes, list)
        or len(codes) > _MOST_RECEIVERS
        or not all(isinstance(code, str) and well_formed(code) for code in codes)
    ):
        raise Rejected("parameter-invalid", name="to", value=vxp.ascii_text(text)[:_MOST_SAID])
    return tuple(dict.fromkeys(codes))
