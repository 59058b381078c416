"""The receiving half of a VXP client: list, fetch, hand over, and only then confirm.

An item leaves the hub's list when we report ``done`` (it is on disk here) or ``fail`` (it never can be: the reason goes along).
Everything else, our own bugs included, leaves it there for the next round; so a lost confirmation or a killed process costs one
more round and never a document. One bad item stops no other. Trouble with one item is logged when it begins, changes and ends, not each
round; a hub that cannot be asked, or whose items cannot be brought in, is a condition (``fetching-trouble``) for as long as it lasts.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from adapters.vxp import intake
from adapters.vxp.client import Client
from bus import conditions, points
from bus.endpoint import Bus
from bus.errors import BusError, Deferred, Rejected
from bus.message import CREDENTIAL, SENDER, SENDER_MESSAGE_ID, TRANSPORT_ID
from bus.octets import Body

#: Files held in memory at once.
_AT_A_TIME: Final = 4

_log = structlog.get_logger()


class Poller:
    """Brings what waits at the hub into the bus. ``endpoint`` is the adapter's name, ``partner`` whom the messages count as sent by."""

    def __init__(self, client: Client, bus: Bus, *, endpoint: str, partner: str) -> None:
        self._client = client
        self._bus = bus
        self._endpoint = endpoint
        self._partner = partner
        self._troubles: dict[str, str] = {}
        self._failures: dict[str, Deferred] = {}

    async def run(self, pause: float) -> None:
        """Round after round, ``pause`` seconds between them, until cancelled."""
        while True:
            try:
                await self.round()
            except Exception as error:  # noqa: BLE001 - what nobody foresaw, in the hub's answer or in us, must not end the fetching for good
                _log.exception("vxp.round-failed", endpoint=self._endpoint)
                self._tell(Deferred("bus-error", reference=type(error).__name__))
            await asyncio.sleep(pause)

    async def round(self) -> None:
        """Everything that waits now, documents before statuses, in the hub's order."""
        listed = set[str]()
        for message_type in intake.KINDS:
            try:
                waiting = await self._client.received(message_type)
            except (Rejected, Deferred) as error:
                self._tell(error)
                return
            listed.update(waiting)
            for start in range(0, len(waiting), _AT_A_TIME):
                await self._take(waiting[start : start + _AT_A_TIME])
        self._troubles = {what: code for what, code in self._troubles.items() if what in listed}
        self._failures = {what: error for what, error in self._failures.items() if what in listed}
        self._tell(next(iter(self._failures.values()), None))

    async def _take(self, doc_ids: Sequence[str]) -> None:
        """Fetch together, accept one after the other (the list's order is the order of the documents), report together."""
        fetched = await asyncio.gather(*(self._fetch(doc_id) for doc_id in doc_ids))
        points.reach("poller.fetched")
        outcomes = [await self._settle(doc_id, found) for doc_id, found in zip(doc_ids, fetched, strict=True)]
        points.reach("poller.accepted")
        await asyncio.gather(*(self._report(doc_id, outcome) for doc_id, outcome in zip(doc_ids, outcomes, strict=True)))
        points.reach("poller.reported")

    async def _fetch(self, doc_id: str) -> Body | BusError | None:
        """The file, or why not; None for one that is on disk here already, and whose confirmation must have got lost."""
        try:
            return None if await self._bus.known(self._endpoint, self._partner, doc_id) else await self._client.fetch(doc_id)
        except Rejected as error:
            # The hub's refusal to hand a file out is no judgement on the file: it stays in the list.
            return Deferred("partner-error", target=self._endpoint, detail=error.reason("en"))
        except Deferred as error:
            return error

    async def _settle(self, doc_id: str, fetched: Body | BusError | None) -> BusError | None:
        """Hand a fetched file to the bus. None: it is on disk here. Otherwise why it is not."""
        if fetched is None or isinstance(fetched, BusError):
            return fetched
        try:
            origin = {SENDER: self._partner, CREDENTIAL: "vxp", SENDER_MESSAGE_ID: doc_id, TRANSPORT_ID: doc_id}
            await intake.accept(self._bus, self._endpoint, fetched, origin)
        except (Rejected, Deferred) as error:
            return error
        except Exception as error:  # noqa: BLE001 - one item must not stop the others
            _log.exception("vxp.item-failed", endpoint=self._endpoint, document=doc_id)
            return Deferred("bus-error", reference=type(error).__name__)
        return None

    async def _report(self, doc_id: str, outcome: BusError | None) -> None:
        """Tell the hub: done, or fail with the reason. What may yet succeed is not reported, and so is listed again."""
        self._note(doc_id, outcome)
        if isinstance(outcome, Deferred):
            return
        status, reason = ("fail", f"{outcome.code} {outcome.reason('vi')}") if outcome else ("done", "")
        try:
            await self._client.update_status(doc_id, status, reason)
        except (Rejected, Deferred) as error:
            self._note(doc_id, error)

    def _tell(self, error: BusError | None) -> None:
        """Whether what waits at the hub can be brought in."""
        if error is None:
            conditions.close(conditions.FETCHING, self._endpoint)
        else:
            conditions.open(conditions.FETCHING, self._endpoint, error.reasons, endpoint=self._endpoint, code=error.code)

    def _note(self, what: str, error: BusError | None) -> None:
        """Log a trouble with one docId when it begins, changes or ends; what stays in the hub's list for it is remembered."""
        if isinstance(error, Deferred):
            self._failures[what] = error
        else:
            self._failures.pop(what, None)
        before, now = self._troubles.get(what, ""), error.code if error else ""
        if before == now:
            return
        self._troubles[what] = now
        if error is None:
            _log.info("vxp.recovered", endpoint=self._endpoint, document=what)
        else:
            _log.warning("vxp.trouble", code=now, reason=error.reason("en"), endpoint=self._endpoint, document=what)
