"""Store: the one place where state lives (D1). Each method is one transaction, and has happened, for good, when it returns.

Raises Rejected for what a partner asks wrongly, Deferred 4.3.1 when the database or the disk fails, LostClaim for a claim that no longer
stands; nothing else that is not a bug.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from bus.endpoint import Answer, Fetched, Pending, Sent, SignedRequest
from bus.errors import Deferred, Rejected
from bus.message import SENDER, Message
from bus.octets import Body, digest, whole
from bus.offload import FILES, READS, UPKEEP
from bus.quotas import Quota
from bus.receipt import Receipt, Status
from bus.store import (
    accepting,
    archive,
    backup,
    checkpoints,
    deadlines,
    dialect,
    filling,
    mailbox,
    migrate,
    names,
    naming,
    nonces,
    operating,
    working,
)
from bus.store.archive import Order
from bus.store.blobs import IN_ROW, Files, Shelf
from bus.store.deadlines import Missed, Term
from bus.store.inline import InlineWriter
from bus.store.model import Accepted, Checkpoint, Growth, Owed, Proof, Work, full
from bus.store.names import Held, Ledger
from bus.store.parts import Parts
from bus.store.pruning import Pruned, Pruning
from bus.store.questions import Questions
from bus.store.readers import Readers
from bus.store.snapshot import Snapshot
from bus.store.tables import sha256, stamp
from bus.store.transaction import Context, Transaction
from bus.store.writer import Writer

T = TypeVar("T")
#: What a failure of the disk or the database is.
_TROUBLE = "store-unavailable"


class Store(Questions):
    """Messages, deliveries, receipts and the journal. Several processes may share one database; each opens its own Store."""

    def __init__(
        self,
        writing: sa.Engine,
        reading: sa.Engine,
        context: Context,
        files: Shelf,
        on_trouble: Callable[[Deferred], None] = lambda _error: None,
    ) -> None:
        """Use ``Store.open``."""
        self._engines = (writing, reading)
        self._files = files
        self._writer = (InlineWriter if dialect.embedded(writing) else Writer)(writing, context)
        self._on_trouble = on_trouble
        self._names, self._quotas = context.names, context.quotas
        super().__init__(Readers(reading, self._names, context.quota), context.clock)
        self._learn_names()

    @classmethod
    def open(
        cls,
        url: str,
        *,
        seal: Callable[[Receipt], bytes],
        organisation: str,
        clock: Callable[[], datetime],
        ids: Callable[[], str],
        chain: str,
        sole: bool = False,
        blobs: Path | None = None,
        on_trouble: Callable[[Deferred], None] = lambda _error: None,
    ) -> "Store":
        """Open the database at ``url``, bring its tables up to date, and start the writer of journal chain ``chain``.

        ``sole``: refuse when another process has opened the same chain so (PostgreSQL; the daemon of an SQLite site locks the site).
        ``blobs``: the directory of an SQLite store's large bodies; by default it lies beside the file. Raises ConfigurationError.
        ``on_trouble``: told, from any thread, each time something could not be kept; whoever wanted it kept is told as well.
        """
        writing, reading = dialect.engine(url, writer=True, sole=chain if sole else ""), dialect.engine(url, writer=False)
        shelf = Parts(reading) if reading.dialect.name == "postgresql" else Files(blobs or migrate.beside(url))
        migrate.up_to_date(writing, chain)
        naming.fill_at_opening(reading, writing)
        context = Context(chain=chain, organisation=organisation, seal=seal, clock=clock, ids=ids)
        return cls(writing, reading, context, shelf, on_trouble)

    def _learn_names(self) -> None:
        with dialect.availability(), self._engines[1].connect() as connection:
            self._names.became = Ledger.read(connection).names.became

    def names_of(self, partner: str) -> tuple[str, ...]:
        """Every name under which this partner's rows stand, the present one first."""
        return self._names.of(partner)

    async def take(self, codes: Mapping[str, Sequence[str]], quotas: Mapping[str, Quota] | None = None) -> None:
        """A generation is taken up, with these partners, their codes and what their mailboxes may hold. Raises Deferred 4.3.1."""
        await self._write(partial(names.take, codes=codes))
        await UPKEEP.run(self._learn_names)
        self._quotas.clear()
        self._quotas.update(quotas or {})
        if await UPKEEP.run(self._read.miscounted):
            await self._write(partial(filling.recount))

    def close(self) -> None:
        """Finish what is queued and let go of the database."""
        self._writer.close()
        for engine in self._engines:
            engine.dispose()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """One unchanging view of everything, for the audit. Deferred 4.3.1, with the cause, where the database cannot be read."""
        with dialect.availability(), self._engines[1].connect() as connection:
            # This connection reads text its own way, so it does not go back to the readers.
            dialect.settle_for_audit(connection)
            connection.detach()
            yield Snapshot(connection, self._files)

    async def _write(self, unit: Callable[[Transaction], T], *, last: bool = False) -> T:
        with self._told():
            return await self._writer.submit(unit, last=last)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Deferred as error:
            if error.key == _TROUBLE:
                self._on_trouble(error)
            raise

    async def prove(self) -> None:
        """Write, for good, as a message would be written, and nothing that anybody sees. Raises Deferred 4.3.1."""
        await self._write(partial(operating.prove))

    # --- the door ---------------------------------------------------------------------------------------------------

    async def accept(
        self,
        message: Message,
        *owed: Owed,
        receipts_to: str = "",
        note: Mapping[str, Any] | None = None,
        request: SignedRequest | None = None,
    ) -> Accepted:
        """Take responsibility: message, debts, receipt ACCEPTED. The same again gives the first receipt. Raises Rejected 5.6.9.

        Raises Deferred 4.2.2, and takes nothing, where a mailbox that it goes into is full.
        ``note``: what the gate found, for the journal. ``request``: what it came in, signed by its sender.
        """
        await self._demand_room(message, owed)
        kept = await self._kept(message, request)
        message = await self._shelved(message)
        shelved = [replace(each, message=await self._shelved(each.message)) if _large(each.message) else each for each in owed]
        unit = partial(accepting.accept, message=message, owed=shelved, receipts_to=receipts_to, note=note or {}, request=kept)
        return await self._write(unit)

    async def _demand_room(self, message: Message, owed: Sequence[Owed]) -> None:
        """A large body that no mailbox has room for is not even kept; the unit decides, and knows what was sent before."""
        large = {each.owner: each for each in owed if each.owner and _large(each.message)}
        if not large:
            return
        overfull = await READS.run(self._read.overfull, {owner: len(each.message.body) for owner, each in large.items()})
        if overfull and not await READS.run(self._read.sent, message.header(SENDER), accepting.sender_key(message)):
            raise full({owner: large[owner].receiver for owner in overfull})

    async def _kept(self, message: Message, request: SignedRequest | None) -> tuple[str, SignedRequest] | None:
        """The request with its digest, a large one kept for good, and read from where it is kept from now on.

        Signed afresh, a repetition is other octets each time: for a message that is known there is nothing to be kept.
        """
        if request is None:
            return None
        if len(request.body) <= IN_ROW:
            return sha256(whole(request.body)), request
        if await READS.run(self._read.sent, message.header(SENDER), accepting.sender_key(message)):
            return None
        name = (await FILES.run(digest, request.body)).hex()
        return name, replace(request, body=await self._keep(name, request.body))

    async def _keep(self, name: str, body: Body) -> Body:
        with self._told():
            return await self._files.keep(name, body)

    async def _shelved(self, message: Message) -> Message:
        """The message with a large body kept for good, and read from where it is kept from now on."""
        return message.moved(await self._keep(message.digest, message.body)) if _large(message) else message

    async def refuse(
        self,
        *,
        endpoint: str,
        partner: str,
        code: str,
        reasons: Mapping[str, str],
        digest: str,
        message_id: str,
        about: Mapping[str, str] | None = None,
        source: str = "",
        count: int = 1,
    ) -> None:
        """Journal a refusal; ``message_id`` is its reference.

        ``about``: place, document_id, number and subject, as far as they are known. ``source``: where a stranger's came from; ``count``: of
        how many it tells.
        """
        said = {"endpoint": endpoint, "partner": partner, "code": code, "digest": digest, **(about or {})}
        detail: dict[str, Any] = {**said, "reasons": dict(reasons)}
        detail |= {"source": source, "count": count} if source else {}
        await self._write(partial(accepting.refuse, message_id=message_id, detail=detail))

    async def once(self, partner: str, digest: str, until: datetime) -> None:
        """Use up what counts once for the whole site, such as a nonce; it is remembered ``until`` then. Raises Rejected 5.7.9."""
        await self._write(partial(nonces.use, partner=partner, digest=digest, until=until))

    async def forget_nonces(self) -> int:
        """Forget what no longer counts; how many there were."""
        oldest = await READS.run(self._read.oldest_nonce)
        return await self._write(nonces.forget) if oldest and oldest < stamp(self._clock()) else 0

    # --- workers ----------------------------------------------------------------------------------------------------

    async def claim(self, target: str, limit: int, lease: timedelta, most_bytes: int = 1 << 40) -> list[Work]:
        """Claim due deliveries to ``target``, oldest first, for as long as ``lease``, in order per order key.

        At most ``limit`` of them, and no more when their bodies have reached ``most_bytes`` together.

        One whose octets are lost ends DEAD and is not among them.
        """
        # Claims come last of what is written together: they find what the others have just made claimable.
        rows = await self._write(partial(working.claim, target=target, limit=limit, lease=lease, most_bytes=most_bytes), last=True)
        works = []
        for row in rows:
            try:
                body = await self._body(row.body, row.digest, row.size)
            except Rejected as error:
                await self.bury(working.work(row, b""), Status.DEAD, error.code, error.reasons)
                continue
            works.append(self._of_today(working.work(row, body)))
        return works

    def _of_today(self, work: Work) -> Work:
        """The work as its sender is called now: its steps look for it among the partners of this generation."""
        sender = work.message.header(SENDER)
        now = self._names.current(sender)
        return work if now == sender else replace(work, message=work.message.with_headers(**{SENDER: now}))

    async def _body(self, in_row: bytes | None, digest: str, size: int) -> Body:
        if in_row is not None and len(in_row) == size:
            return bytes(in_row)
        if size <= IN_ROW:
            raise Rejected("content-lost", digest=digest)
        return await FILES.run(self._files.read, digest, size)

    async def routed(self, work: Work, results: Sequence[Owed], taps: Mapping[str, Any], history: Sequence[str]) -> Sequence[Work]:
        """A route has decided: its delivery is DONE and ``results`` are owed; gives those claimed at once. Raises LostClaim, ValueError."""
        if not results:
            raise ValueError("a route must owe its message to somebody, or reject it")
        shelved = [replace(each, message=await self._shelved(each.message)) if _large(each.message) else each for each in results]
        digests = [result.message.digest for result in shelved]
        note = {"taps": dict(taps), "history": list(history)}
        return await self._write(partial(working.routed, work=work, results=shelved, digests=digests, note=note))

    async def finish(self, work: Work, sent: Sent) -> Answer:
        """The partner took it: DONE, receipt DELIVERED, its reply kept. Raises LostClaim."""
        await self._keep(sha256(sent.reply), sent.reply)
        return await self._write(partial(working.finish, work=work, sent=sent))

    async def defer(self, work: Work, due: datetime, code: str, reasons: Mapping[str, str]) -> None:
        """To be tried again at ``due``. Raises LostClaim."""
        await self._write(partial(working.defer, work=work, due=due, code=code, reasons=reasons))

    async def bury(self, work: Work, status: Status, code: str, reasons: Mapping[str, str]) -> Answer:
        """Given up: DEAD, and a receipt with ``status`` that says why. Raises LostClaim."""
        return await self._write(partial(working.bury, work=work, status=status, code=code, reasons=reasons))

    async def expire(self, target: str, at: datetime, created: datetime, last: Mapping[str, str]) -> Sequence[Missed]:
        """End what waits for ``target``, was made until ``created`` and was over ``at``: at most a hundred deliveries, with their receipts.

        ``last``: why those that were never tried were not, by language.
        """
        ids = await READS.run(deadlines.late, self._engines[1], target, at, created)
        return await self._write(partial(deadlines.expire, ids=ids, at=at, last=last)) if ids else ()

    async def unconfirmed(self, term: Term, now: datetime) -> tuple[Mapping[str, int], Sequence[Missed]]:
        """By owner, how many deliveries are overdue; and those of them, a hundred at most, that an alarm is now journalled about."""
        numbers, ids = await READS.run(deadlines.unconfirmed, self._engines[1], term, now)
        return numbers, await self._write(partial(deadlines.alarm, ids=ids, deadline=term.created)) if ids else ()

    async def release(self, *, expired_at: datetime | None, over_at: datetime | None = None, holding: Collection[str] = frozenset()) -> int:
        """At start (None): give back what this chain had claimed. Later: claims over at ``expired_at``, but those of ``holding``.

        And end mailbox deliveries whose time was over at ``over_at``, by default the same. Gives how many there were of both.
        """
        released = self._writer.submit(partial(working.release, expired_at=expired_at, holding=holding))
        expired = self._writer.submit(partial(mailbox.expire, at=over_at or expired_at or self._clock()))
        # Both are heard, also when both fail.
        return sum(await asyncio.gather(released, expired))

    async def name_some(self) -> int:
        """Have messages of before found by number and subject (``naming``), some of them. Gives how many; 0 when there are none left."""
        rows = await READS.run(dialect.ask, self._engines[1], naming.UNNAMED)
        return await self._write(partial(naming.fill_some, rows=rows)) if rows else 0

    # --- mailboxes and receipts, as in bus.endpoint.Bus ---------------------------------------------------------------

    async def pending(self, partner: str, limit: int, kinds: Sequence[str] = ()) -> Sequence[Pending]:
        """The partner's mailbox, oldest first, receipts last; all kinds when ``kinds`` is empty."""
        return await READS.run(partial(self._read.pending, partner, limit, kinds))

    async def fetch(self, partner: str, message_id: str) -> Fetched:
        """One message of the mailbox; the first fetch writes a FETCHED receipt. Raises Rejected 5.2.1."""
        row, in_row = await self._write(partial(mailbox.fetch, partner=partner, public_id=message_id))
        # A receipt's octets are always at hand, whatever their size.
        body = bytes(in_row) if row.receipt_id and in_row is not None else await self._body(in_row, row.digest, row.size)
        return Fetched(message_id=message_id, kind=row.kind, body=body, digest=row.digest)

    async def confirm(self, partner: str, message_id: str, done: bool, reason: str = "", request: SignedRequest | None = None) -> Answer:
        """End a mailbox delivery: CONFIRMED, or REJECTED with the partner's reason; again, the first answer. Raises Rejected 5.2.1.

        ``request``: what the partner signed it in. One that has been blown up to more than it takes is not kept.
        """
        said = whole(request.body) if request is not None and len(request.body) <= IN_ROW else b""
        return await self._write(partial(mailbox.confirm, partner=partner, public_id=message_id, done=done, reason=reason, said=said))

    async def receipts(self, partner: str, message_id: str) -> Sequence[bytes]:
        """Signed receipts of a message this partner sent, or has in its mailbox; oldest first."""
        return await READS.run(partial(self._read.receipts_for, partner, message_id))

    async def known(self, endpoint: str, partner: str, sender_message_id: str) -> bool:
        """Whether a message that this partner knows by this id already came in at this endpoint."""
        return await READS.run(partial(self._read.known, endpoint, partner, sender_message_id))

    # --- operators --------------------------------------------------------------------------------------------------

    async def resend(self, ids: Sequence[str], by: str, reason: str, *, lifetime: timedelta = timedelta(days=5)) -> list[str]:
        """Have deliveries (by message id or their own) sent now; dead ones owe again for ``lifetime``. Gives the ids of the deliveries."""
        return await self._write(partial(operating.resend, ids=ids, by=by, reason=reason, lifetime=lifetime))

    async def cancel(self, ids: Sequence[str], by: str, reason: str) -> list[str]:
        """Give up deliveries (by message id or their own) that nobody is working on; with receipts CANCELLED. Gives their ids."""
        return await self._write(partial(operating.cancel, ids=ids, by=by, reason=reason))

    async def rename(self, old: str, new: str, codes: Sequence[str], by: str, reason: str) -> Held:
        """What hangs on the name ``old`` is the partner ``new``'s from now on, whose codes are ``codes``. Raises Rejected 5.3.4."""
        held = await self._write(partial(names.rename, old=old, new=new, codes=codes, by=by, reason=reason))
        self._learn_names()
        return held

    async def prune(self, order: Order) -> Pruned:
        """Remove what ended long ago, some messages at a time. Raises Deferred 4.3.1, also half-way: see ``pruning``."""
        return await Pruning(self._write, self.snapshot, self._files).run(order)

    def archive(self, order: Order, path: Path, since: datetime | None = None) -> dict[str, int]:
        """Write to ``path`` what ended before ``order.before`` and not before ``since``; nothing is removed. Gives the rows by table."""
        with self.snapshot() as snapshot:
            chosen = archive.segment(snapshot, stamp(order.before), stamp(since) if since else "")
            return archive.write(snapshot, chosen, order, path)

    def backup(
        self, path: Path, site: Mapping[str, Path], said: Mapping[str, Any], seal: Callable[[bytes], bytes] | None = None
    ) -> Mapping[str, Any]:
        """Copy an embedded store in use to ``path``; ``seal`` signs the manifest. Raises Rejected 5.3.3 for another, Deferred 4.3.1."""
        if not isinstance(self._files, Files):
            raise Rejected("backup-elsewhere")
        return backup.write(self._engines[1], self._files, path, site, said, seal)

    async def hold_back(self, work: Work, code: str, reasons: Mapping[str, str]) -> None:
        """Keep a delivery that failed by our own fault for an operator's word. Raises LostClaim."""
        await self._write(partial(working.hold, work=work, code=code, reasons=reasons))

    async def hold(self) -> int:
        """Hold everything that is owed to be pushed, in a store that was restored, until an operator resends it. How many deliveries."""
        held = 0
        while some := await self._write(backup.hold):
            held += some
        return held

    def chains(self) -> list[str]:
        """Every journal chain there is."""
        with self.snapshot() as snapshot:
            return sorted(snapshot.heads())

    def held(self, limit: int) -> list[str]:
        """Ids of messages with deliveries that are held since a backup was restored."""
        return self._read.held(limit)

    def archived(self, public_id: str, digest: str) -> bool:
        """Whether a message that its sender knows by this id, with this content, was pruned."""
        return self._read.archived(public_id, digest)

    async def note(self, event: str, said: Mapping[str, Any]) -> None:
        """Journal what an operator did to the store as a whole."""
        await self._write(partial(operating.note, event=event, said=said))

    # --- checkpoints of the journal -------------------------------------------------------------------------------------

    def growth(self) -> Growth:
        """What has been journalled since the last checkpoint. Reads every row of it."""
        with self.snapshot() as snapshot:
            return checkpoints.growth(snapshot)

    async def keep_checkpoint(self, growth: Growth, at: datetime, xml: bytes) -> bool:
        """Keep a signed checkpoint about ``growth``; False when another node was faster."""
        return await self._write(partial(checkpoints.sealed, grown=growth, at=at, xml=xml))

    async def keep_timestamp(self, number: int, at: datetime, token: bytes) -> bool:
        """Keep the time-stamp of a checkpoint, and journal it; False when it has one already."""
        return await self._write(partial(checkpoints.stamped, number=number, at=at, token=token))

    def checkpoint(self, number: int) -> Checkpoint | None:
        """One checkpoint."""
        return self._read.checkpoint(checkpoints.ONE, number=number)

    def newest_checkpoint(self, *, stamped: bool = False) -> Checkpoint | None:
        """The newest checkpoint; the newest that has a time-stamp."""
        return self._read.checkpoint(checkpoints.NEWEST_STAMPED if stamped else checkpoints.NEWEST)

    def checkpoints_since(self, number: int, most: int = 1000) -> Sequence[Checkpoint]:
        """At most so many checkpoints, in order, from this number on."""
        return self._read.checkpoints(number, most)

    def proof(self, chain: str, seq: int) -> Proof | None:
        """The proof that a journal row stands in a checkpoint; None where none speaks of it yet."""
        return self._read.proof(chain, seq)


def _large(message: Message) -> bool:
    return len(message.body) > IN_ROW
