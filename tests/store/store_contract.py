"""What every store must keep, whatever database it is on. A store's test class inherits this and gives the fixture ``open_store``."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from bus.audit import audit
from bus.delivery import ROUTE_PREFIX
from bus.endpoint import Sent, SignedRequest
from bus.errors import Rejected
from bus.evidence import Evidence
from bus.message import DOCUMENT_ID, ENDPOINT, FROM, KIND, KIND_DOCUMENT, RECEIVERS, SENDER, SENDER_MESSAGE_ID, SUBJECT, Message
from bus.octets import whole
from bus.receipt import Status
from bus.store import LostClaim, Owed, Standing, Store, Term, Work

ROUTE = "unit-documents"
LEASE = timedelta(minutes=3)
LIFE = timedelta(days=5)
REASONS = {"vi": "Bên nhận không trả lời.", "en": "The receiver does not answer."}
LARGE = b"x" * (256 * 1024 + 1)


def message(number: int, body: bytes = b"", **headers: str) -> Message:
    """A document of the partner ``unit``, with an id of its own."""
    known = {
        SENDER: "unit",
        SENDER_MESSAGE_ID: f"unit-{number}",
        ENDPOINT: "unit-documents",
        KIND: KIND_DOCUMENT,
        FROM: "000.00.07.G14",
        RECEIVERS: "000.00.00.G18",
        DOCUMENT_ID: f"000.00.07.G14,2026/01/31,{number:08}",
        SUBJECT: f"Báo cáo số {number}",
    }
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Message(f"message-{number}", {**known, **given}, body or f"<edXML>{number}</edXML>".encode())


class StoreContract:
    """The promises, one test each."""

    @pytest.fixture(autouse=True)
    def _environment(self, clock, evidence: Evidence, open_store: Callable[..., Store]) -> None:
        self.clock, self.evidence, self.open = clock, evidence, open_store
        self.store = open_store()

    # --- words the tests are written in ---------------------------------------------------------------------------------

    async def accept(self, sent: Message, order_key: str = "", receipts_to: str = ""):
        owed = Owed(route=ROUTE, target=ROUTE_PREFIX + ROUTE, message=sent, order_key=order_key, expires=self.clock() + LIFE)
        return await self.store.accept(sent, owed, receipts_to=receipts_to)

    async def claim(self, target: str = ROUTE_PREFIX + ROUTE, limit: int = 10) -> list[Work]:
        return await self.store.claim(target, limit, LEASE)

    async def route(self, work: Work, *targets: str, owner: str = "", body: bytes = b"") -> None:
        result = work.message.with_body(body) if body else work.message
        expires, key = self.clock() + LIFE, work.delivery.order_key
        owed = [Owed(route=ROUTE, target=t, owner=owner, message=result, order_key=key, expires=expires) for t in targets]
        await self.store.routed(work, owed, {"wiretap": "sha256:00"}, ["validate", "transform"])

    async def accepted_and_routed(self, number: int, *targets: str, owner: str = "", **options: str) -> None:
        await self.accept(message(number), **options)
        [work] = await self.claim()
        await self.route(work, *targets, owner=owner)

    async def one(self, target: str) -> Work:
        [work] = await self.claim(target)
        return work

    def statuses(self, key: str) -> list[str]:
        return [self.evidence.read(xml).status for xml in self.store.receipts_of(key)]

    def stands(self) -> dict[str, int]:
        return {place: number for place, number in self.store.overview().get(ROUTE, {}).items() if number}

    def assert_sound(self) -> None:
        report = audit(self.store, self.evidence)
        assert report.findings == ()

    # --- the door ---------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("body", [b"<Envelope/>", LARGE], ids=["in a row", "beside"])
    async def test_the_request_that_its_sender_signed_is_kept_with_a_message(self, body: bytes) -> None:
        """Its octets and its Content-Type, vouched for by the journal; a repetition, which is signed afresh, changes nothing."""
        sent = message(1)
        owed = Owed(route=ROUTE, target=ROUTE_PREFIX + ROUTE, message=sent, expires=self.clock() + LIFE)
        await self.store.accept(sent, owed, request=SignedRequest(body, "text/xml"))
        assert (await self.store.accept(sent, owed, request=SignedRequest(body + b" ", "text/plain"))).duplicate
        with self.store.snapshot() as snapshot:
            row = snapshot.message(sent.id)
            kept = snapshot.body(row.request)
            names = list(snapshot.unnamed_blobs()), sorted(set(snapshot.files.names()) - set(snapshot.named_files()))
        assert (whole(kept), row.request_type, names) == (body, "text/xml", ([], []))
        self.assert_sound()

    async def test_accepting_gives_a_signed_receipt_that_states_the_message(self) -> None:
        """The answer to a message is a receipt ACCEPTED over its digest, signed, from the site."""
        answer = await self.accept(message(1))
        receipt = self.evidence.read(answer.xml)
        assert receipt == answer.receipt
        assert (receipt.status, receipt.message_id, receipt.digest) == (Status.ACCEPTED, "unit-1", message(1).digest)
        assert (receipt.sender, receipt.recipient) == ("000.00.07.G14", "000.00.00.G14")

    async def test_the_same_message_again_gives_the_first_receipt(self) -> None:
        """A sender that never saw our answer may repeat: it gets the same receipt and nothing happens twice."""
        first = await self.accept(message(1))
        self.clock.advance(hours=1)
        again = await self.accept(message(1))
        assert (again.duplicate, again.xml, again.receipt) == (True, first.xml, first.receipt)
        assert self.stands() == {Standing.WAITING: 1}

    async def test_the_same_id_with_other_content_is_refused(self) -> None:
        """An id stands for one content for ever: 5.6.9."""
        await self.accept(message(1))
        with pytest.raises(Rejected, match=r"5\.6\.9"):
            await self.accept(message(1, b"<other/>"))

    async def test_two_senders_may_use_the_same_id(self) -> None:
        """An id is the sender's own; another partner's id of the same name is another message."""
        await self.accept(message(1))
        other = Message("message-2", {**message(1).headers, SENDER: "agency"}, b"<other/>")
        assert not (await self.accept(other)).duplicate

    async def test_without_an_id_the_content_is_the_key(self) -> None:
        """A sender without ids of its own may repeat a message too."""
        await self.accept(message(1, b"<a/>", sender_message_id=""))
        assert (await self.accept(message(2, b"<a/>", sender_message_id=""))).duplicate
        assert not (await self.accept(message(3, b"<b/>", sender_message_id=""))).duplicate

    async def test_one_of_many_simultaneous_repeats_is_the_first(self) -> None:
        """However the repeats race, one is accepted and the others get its receipt."""
        answers = await asyncio.gather(*(self.accept(message(1)) for _ in range(20)))
        assert sorted(answer.duplicate for answer in answers) == [False] + [True] * 19
        assert len({answer.xml for answer in answers}) == 1

    async def test_a_refusal_is_journalled_and_counted(self) -> None:
        """Of a refused message the journal's row is kept and nothing else."""
        await self.store.refuse(endpoint="unit-documents", partner="unit", code="5.7.1", reasons=REASONS, digest="00", message_id="r1")
        assert self.store.refusals() == {"unit-documents": 1}
        assert self.store.search() == []
        self.assert_sound()

    async def test_a_poller_can_ask_what_it_already_brought_in(self) -> None:
        """``known`` answers by endpoint and the sender's own id."""
        await self.accept(message(1))
        assert await self.store.known("unit-documents", "unit", "unit-1")
        assert not await self.store.known("elsewhere", "unit", "unit-1")
        assert not await self.store.known("unit-documents", "other", "unit-1")

    # --- workers ----------------------------------------------------------------------------------------------------------

    async def test_a_message_reaches_its_targets_and_every_end_has_a_receipt(self) -> None:
        """Accepted, routed to two, delivered twice: three receipts, and the message stands as delivered."""
        await self.accepted_and_routed(1, "a", "b")
        for target in ("a", "b"):
            await self.store.finish(await self.one(target), Sent("11" * 32, b"<Reply/>"))
        assert self.statuses("message-1") == ["ACCEPTED", "DELIVERED", "DELIVERED"]
        assert self.stands() == {Standing.DELIVERED: 1}
        self.assert_sound()

    async def test_a_claimed_delivery_is_not_claimed_again(self) -> None:
        """Two workers never hold the same delivery."""
        await self.accept(message(1))
        assert len(await self.claim()) == 1
        assert await self.claim() == []

    async def test_a_lease_that_ran_out_gives_the_delivery_to_another_and_fences_the_first(self) -> None:
        """A worker that wakes after its lease changes nothing (D8)."""
        await self.accept(message(1))
        [sleeper] = await self.claim()
        self.clock.advance(minutes=4)
        assert await self.store.release(expired_at=self.clock()) == 1
        with pytest.raises(LostClaim):
            await self.route(sleeper, "a")
        [second] = await self.claim()
        assert second.delivery.attempt == 2
        for act in (self.route(sleeper, "a"), self.store.defer(sleeper, self.clock(), "4.4.1", REASONS)):
            with pytest.raises(LostClaim):
                await act
        await self.route(second, "a")
        self.assert_sound()

    async def test_a_restart_gives_back_what_this_chain_held_and_no_other(self) -> None:
        """After a crash a worker's own claims are free at once; other workers' are left alone."""
        other = self.open("worker-1")
        for number in (1, 2):
            await self.accept(message(number))
        [mine] = await self.claim(limit=1)
        [theirs] = await other.claim(ROUTE_PREFIX + ROUTE, 1, LEASE)
        assert await self.store.release(expired_at=None) == 1
        assert [work.delivery.id for work in await self.claim()] == [mine.delivery.id]
        await other.defer(theirs, self.clock(), "4.4.1", REASONS)
        self.assert_sound()

    async def test_what_this_node_has_in_hand_is_not_given_back(self) -> None:
        """A claim that seems to be over stays with who is working it right here; another node's does not."""
        await self.accept(message(1))
        [work] = await self.claim()
        self.clock.advance(minutes=4)
        assert await self.store.release(expired_at=self.clock(), holding={work.delivery.id}) == 0
        await self.route(work, "a")
        self.assert_sound()

    async def test_a_claim_ends_where_its_bytes_do(self) -> None:
        """Bodies are taken until they have reached the bound; the first is taken however large it is."""
        for number in range(1, 6):
            await self.accept(message(number, b"<a>%d</a>" % number * 100))
        size = len(message(1, b"<a>1</a>" * 100).body)
        taken = [len(await self.store.claim(ROUTE_PREFIX + ROUTE, 10, LEASE, most)) for most in (1, size + 1, 10 * size)]
        assert taken == [1, 2, 2]

    async def test_what_waits_for_a_partner_that_is_down_is_ended_when_its_time_is_over(self) -> None:
        """Only what waits, and only when its time is over: DEAD, with a receipt EXPIRED that says why; the next of its key may go."""
        for number in (1, 2):
            await self.accepted_and_routed(number, "a", order_key="k")
        created = self.clock()
        assert await self.store.expire("a", created, created, REASONS) == ()
        self.clock.advance(days=30)
        ended = await self.store.expire("a", self.clock(), created, REASONS)
        assert [(each.target, each.status, each.attempt) for each in ended] == [("a", Status.EXPIRED, 0)] * 2
        assert self.statuses("unit-1") == [Status.ACCEPTED, Status.EXPIRED]
        assert REASONS["vi"] in self.evidence.read(self.store.receipts_of("unit-1")[-1]).reasons["vi"]
        assert await self.store.expire("a", self.clock(), created, REASONS) == ()
        self.assert_sound()

    async def test_an_alarm_about_an_unconfirmed_delivery_is_raised_once_a_day(self) -> None:
        """By owner, how many are overdue; each is told, and journalled, once, and again a day later."""
        await self.accepted_and_routed(1, "inbox", owner="reader")
        term = Term(ROUTE, "inbox", self.clock())
        answers = [await self.store.unconfirmed(term, self.clock()) for _ in range(2)]
        self.clock.advance(hours=25)
        answers.append(await self.store.unconfirmed(term, self.clock()))
        assert [(numbers, len(missed)) for numbers, missed in answers] == [({"reader": 1}, 1), ({"reader": 1}, 0), ({"reader": 1}, 1)]
        self.assert_sound()

    async def test_a_deferred_delivery_is_due_again_at_its_time(self) -> None:
        """Not before, with its failure noted and its attempt counted."""
        await self.accept(message(1))
        [work] = await self.claim()
        later = self.clock() + timedelta(seconds=30)
        await self.store.defer(work, later, "4.4.1", REASONS)
        assert (await self.claim(), self.store.next_due(ROUTE_PREFIX + ROUTE), self.store.targets_with_work()) == ([], later, [])
        self.clock.advance(seconds=30)
        assert self.store.targets_with_work() == [ROUTE_PREFIX + ROUTE]
        [again] = await self.claim()
        assert again.delivery.attempt == 2
        [story] = self.store.show("message-1")
        assert (story.deliveries[0]["last_code"], story.deliveries[0]["last_reason_vi"]) == ("4.4.1", REASONS["vi"])

    @pytest.mark.parametrize(
        ("status", "standing"), [(Status.REJECTED, Standing.REJECTED), (Status.EXPIRED, Standing.EXPIRED), (Status.DEAD, Standing.DEAD)]
    )
    async def test_a_buried_delivery_has_a_receipt_that_says_why(self, status: Status, standing: Standing) -> None:
        """Every bad end is stated to the sender."""
        await self.accepted_and_routed(1, "a")
        answer = await self.store.bury(await self.one("a"), status, "5.4.0", REASONS)
        assert (answer.receipt.status, answer.receipt.reasons, answer.receipt.recipient) == (status, REASONS, "000.00.00.G18")
        assert self.stands() == {standing: 1}
        self.assert_sound()

    async def test_an_ended_delivery_does_not_change(self) -> None:
        """What has ended stays ended, whatever a late worker says."""
        await self.accepted_and_routed(1, "a")
        work = await self.one("a")
        await self.store.finish(work, Sent("11" * 32))
        for act in (self.store.finish(work, Sent("11" * 32)), self.store.bury(work, Status.DEAD, "5.0.0", REASONS)):
            with pytest.raises(LostClaim):
                await act
        assert self.statuses("message-1") == ["ACCEPTED", "DELIVERED"]

    async def test_deliveries_with_one_order_key_leave_in_order(self) -> None:
        """The second is not to be had until the first has ended, even while the first waits for its next attempt."""
        for number in (1, 2, 3):
            await self.accept(message(number), order_key="k" if number < 3 else "")
        first, free = await self.claim()
        assert [first.message.id, free.message.id] == ["message-1", "message-3"]
        await self.store.defer(first, self.clock() + timedelta(hours=1), "4.4.1", REASONS)
        assert await self.claim() == []
        self.clock.advance(hours=1)
        [again] = await self.claim()
        await self.route(again, "a")
        assert [work.message.id for work in await self.claim()] == ["message-2"]

    async def test_a_resent_delivery_goes_before_younger_ones_but_not_beside_them(self) -> None:
        """Two deliveries with one order key are never claimed together, and the older goes first when it comes back."""
        for number in (1, 2, 3):
            await self.accept(message(number), order_key="k")
        [first] = await self.claim()
        await self.store.bury(first, Status.DEAD, "5.0.0", REASONS)
        [second] = await self.claim()
        await self.store.resend(["message-1"], "operator", "partner repaired")
        assert await self.claim() == []
        await self.store.defer(second, self.clock(), "4.4.1", REASONS)
        assert [work.message.id for work in await self.claim()] == ["message-1"]
        self.assert_sound()

    # --- claimed as it is recorded ------------------------------------------------------------------------------------------

    def debt(self, sent: Message, target: str, order_key: str = "") -> Owed:
        return Owed(route=ROUTE, target=target, message=sent, order_key=order_key, expires=self.clock() + LIFE, lease=LEASE)

    async def test_what_is_recorded_with_a_lease_is_claimed_by_who_recorded_it(self) -> None:
        """One transaction instead of two: nobody else gets it, it is worked as any claim is, and the journal knows the claim."""
        accepted = await self.store.accept(message(1), self.debt(message(1), ROUTE_PREFIX + ROUTE), receipts_to="unit-inbox")
        [work] = accepted.works
        assert (await self.claim(), work.delivery.attempt, work.message) == ([], 1, message(1))
        [sending] = await self.store.routed(work, [self.debt(message(1), "a")], {}, [])
        await self.store.finish(sending, Sent("11" * 32))
        [story] = self.store.show("message-1")
        assert [row["event"] for row in story.journal] == ["accepted", "claimed", "routed", "claimed", "delivered"]
        assert self.statuses("message-1") == ["ACCEPTED", "DELIVERED"]
        self.assert_sound()

    async def test_what_is_recorded_with_a_lease_waits_for_its_order(self) -> None:
        """Only the first of its order key is claimed at once, also among those of one transaction; the others when it has ended."""
        debts = [self.store.accept(message(number), self.debt(message(number), "a", "k")) for number in (1, 2, 3)]
        first, *others = [accepted.works for accepted in await asyncio.gather(*debts)]
        assert ([work.message.id for work in first], others) == (["message-1"], [(), ()])
        await self.store.finish(first[0], Sent("11" * 32))
        assert [work.message.id for work in await self.claim("a")] == ["message-2"]
        self.assert_sound()

    async def test_what_was_claimed_at_once_is_given_back_when_its_worker_dies(self) -> None:
        """By the restarted node, or when the lease is over; the late worker is fenced."""
        for number in (1, 2):
            [lost] = (await self.store.accept(message(number), self.debt(message(number), "a"))).works
            self.clock.advance(minutes=4)
            assert await self.store.release(expired_at=self.clock() if number == 1 else None) == 1
            [again] = await self.claim("a")
            assert (again.delivery.attempt, again.message.id) == (2, lost.message.id)
            with pytest.raises(LostClaim):
                await self.store.finish(lost, Sent("11" * 32))
            await self.store.finish(again, Sent("11" * 32))
        self.assert_sound()

    async def test_a_repeated_message_is_not_worked_again(self) -> None:
        """The first receipt, and nothing claimed."""
        await self.store.accept(message(1), self.debt(message(1), "a"))
        again = await self.store.accept(message(1), self.debt(message(1), "a"))
        assert (again.duplicate, again.works) == (True, ())

    async def test_a_mailbox_is_never_claimed(self) -> None:
        """A lease on what a partner fetches means nothing."""
        owed = Owed(route=ROUTE, target="inbox", owner="unit", message=message(1), expires=self.clock() + LIFE, lease=LEASE)
        assert (await self.store.accept(message(1), owed)).works == ()
        assert [entry.message_id for entry in await self.store.pending("unit", 10)] == ["unit-1"]

    async def test_large_bodies_come_back_as_they_were(self) -> None:
        """Accepted, transformed and replied octets survive, in a row or in a file."""
        await self.accept(message(1, LARGE))
        [work] = await self.claim()
        assert work.message.body == LARGE
        await self.route(work, "a", body=LARGE + b"y")
        out = await self.one("a")
        assert (out.message.body, out.original_digest) == (LARGE + b"y", message(1, LARGE).digest)
        await self.store.finish(out, Sent(out.message.digest, LARGE + b"z"))
        self.assert_sound()

    async def test_headers_come_back_as_they_were(self) -> None:
        """Headers hold any text, Vietnamese and control characters too."""
        sent = message(1, subject="Về việc “thử”\r\n\x01 nghiệm", odd="ừ")
        await self.accept(sent)
        [work] = await self.claim()
        assert work.message.headers == sent.headers

    # --- mailboxes --------------------------------------------------------------------------------------------------------

    async def test_a_mailbox_lists_gives_and_ends(self) -> None:
        """Listed, fetched, confirmed: FETCHED once, CONFIRMED once, and the mailbox is empty."""
        await self.accepted_and_routed(1, "inbox", owner="agency")
        [entry] = await self.store.pending("agency", 10)
        assert (entry.message_id, entry.subject, entry.kind, entry.from_organ) == ("unit-1", "Báo cáo số 1", "document", "000.00.07.G14")
        for _ in range(2):
            fetched = await self.store.fetch("agency", "unit-1")
            assert (fetched.body, fetched.digest) == (message(1).body, message(1).digest)
        answer = await self.store.confirm("agency", "unit-1", done=True)
        assert (answer.receipt.status, answer.duplicate) == (Status.CONFIRMED, False)
        assert (await self.store.pending("agency", 10), self.stands()) == ([], {Standing.DELIVERED: 1})
        assert self.statuses("message-1") == ["ACCEPTED", "FETCHED", "CONFIRMED"]
        assert (await self.store.fetch("agency", "unit-1")).body == message(1).body
        self.assert_sound()

    @pytest.mark.parametrize("first", [True, False])
    async def test_repeating_a_confirmation_gives_the_first_answer(self, first: bool) -> None:
        """Also when the partner has changed its mind: what was stated stays stated."""
        await self.accepted_and_routed(1, "inbox", owner="agency")
        answer = await self.store.confirm("agency", "unit-1", first, "Sai mẫu\x02")
        assert answer.receipt.status == (Status.CONFIRMED if first else Status.REJECTED)
        for done in (True, False):
            again = await self.store.confirm("agency", "unit-1", done, "khác")
            assert (again.xml, again.duplicate) == (answer.xml, True)
        self.assert_sound()

    async def test_another_partners_mailbox_is_closed(self) -> None:
        """An id one does not own is as unknown as one that does not exist: 5.2.1."""
        await self.accepted_and_routed(1, "inbox", owner="agency")
        for act in (self.store.fetch("unit", "unit-1"), self.store.confirm("unit", "unit-1", True), self.store.fetch("", "")):
            with pytest.raises(Rejected, match=r"5\.2\.1"):
                await act

    async def test_an_id_taken_in_the_mailbox_gives_way_to_the_bus_own(self) -> None:
        """Two senders may use one id; in a mailbox each message still has an id of its own."""
        await self.accepted_and_routed(1, "inbox", owner="agency")
        other = Message("message-2", {**message(1).headers, SENDER: "agency-2"}, b"<other/>")
        await self.accept(other)
        [work] = await self.claim()
        await self.route(work, "inbox", "inbox", owner="agency")
        ids = [entry.message_id for entry in await self.store.pending("agency", 10)]
        assert ids[:2] == ["unit-1", "message-2"]
        assert len(set(ids)) == 3
        assert (await self.store.fetch("agency", "message-2")).body == b"<other/>"

    async def test_a_sender_finds_its_receipts_in_its_mailbox_after_its_documents(self) -> None:
        """Every receipt is laid there; fetching and confirming one makes no other (receipts never beget receipts)."""
        await self.accepted_and_routed(1, "a", receipts_to="unit-inbox")
        await self.store.finish(await self.one("a"), Sent("11" * 32))
        await self.accepted_and_routed(2, "inbox", owner="unit")
        entries = await self.store.pending("unit", 10)
        assert [entry.kind for entry in entries] == ["document", "receipt", "receipt"]
        receipt_id = entries[1].message_id
        fetched = await self.store.fetch("unit", receipt_id)
        assert self.evidence.read(fetched.body).status == Status.ACCEPTED
        answer = await self.store.confirm("unit", receipt_id, done=True)
        assert (answer.xml, answer.receipt.id) == (fetched.body, receipt_id)
        assert (await self.store.confirm("unit", receipt_id, done=False)).xml == fetched.body
        assert [entry.kind for entry in await self.store.pending("unit", 10, ["receipt"])] == ["receipt"]
        assert self.statuses("message-1") == ["ACCEPTED", "DELIVERED"]
        self.assert_sound()

    async def test_receipts_are_shown_to_the_sender_and_to_the_receiver_they_name(self) -> None:
        """The sender sees all of its message's receipts, the mailbox's owner those of its own delivery, others none."""
        await self.accepted_and_routed(1, "inbox", owner="agency")
        await self.store.confirm("agency", "unit-1", True)
        asked = {who: await self.store.receipts(who, "unit-1") for who in ("unit", "agency", "x")}
        seen = {who: [self.evidence.read(xml).status for xml in found] for who, found in asked.items()}
        assert seen == {"unit": ["ACCEPTED", "CONFIRMED"], "agency": ["CONFIRMED"], "x": []}

    async def test_what_nobody_confirms_expires_with_a_receipt(self) -> None:
        """A mailbox that its owner never opens does not keep the sender waiting for ever."""
        await self.accepted_and_routed(1, "inbox", owner="agency", receipts_to="unit-inbox")
        self.clock.advance(days=6)
        await self.store.release(expired_at=self.clock())
        assert (self.stands(), self.statuses("message-1")) == ({Standing.EXPIRED: 1}, ["ACCEPTED", "EXPIRED"])
        assert [entry.kind for entry in await self.store.pending("unit", 10)] == ["receipt", "receipt"]
        self.assert_sound()

    # --- operators --------------------------------------------------------------------------------------------------------

    async def test_a_dead_delivery_is_resent_with_a_new_life_and_the_journal_names_who(self) -> None:
        """It goes out again, ends with a second receipt, and its attempts go on counting."""
        await self.accepted_and_routed(1, "a")
        await self.store.bury(await self.one("a"), Status.EXPIRED, "5.4.7", REASONS)
        self.clock.advance(days=30)
        assert len(await self.store.resend(["message-1"], "nguyen.a", "đối tác đã sửa", lifetime=timedelta(days=1))) == 1
        work = await self.one("a")
        assert (work.delivery.attempt, work.delivery.expires) == (2, self.clock() + timedelta(days=1))
        await self.store.finish(work, Sent("11" * 32))
        assert self.statuses("message-1") == ["ACCEPTED", "EXPIRED", "DELIVERED"]
        [story] = self.store.show("message-1")
        [resent] = [row for row in story.journal if row["event"] == "resent"]
        assert (resent["detail"]["by"], resent["detail"]["reason"]) == ("nguyen.a", "đối tác đã sửa")
        assert await self.store.resend(["message-1"], "nguyen.a", "again") == []
        self.assert_sound()

    async def test_a_declined_mailbox_delivery_can_be_resent_and_confirmed(self) -> None:
        """It waits in the mailbox again, under the same id, and its second answer stands beside the first."""
        await self.accepted_and_routed(1, "inbox", owner="agency")
        await self.store.confirm("agency", "unit-1", False, "Sai mẫu")
        await self.store.resend(["message-1"], "operator", "asked to")
        answer = await self.store.confirm("agency", "unit-1", True)
        assert (answer.receipt.status, (await self.store.confirm("agency", "unit-1", True)).xml) == (Status.CONFIRMED, answer.xml)
        self.assert_sound()

    async def test_cancelling_ends_what_nobody_is_working_on(self) -> None:
        """Waiting, ready and dead deliveries end as cancelled, once; one in a worker's hands does not."""
        await self.accept(message(1))
        [work] = await self.claim()
        assert await self.store.cancel(["message-1"], "operator", "duplicate") == []
        await self.route(work, "a", "b")
        await self.store.bury(await self.one("b"), Status.DEAD, "5.0.0", REASONS)
        assert len(await self.store.cancel(["message-1"], "operator", "duplicate")) == 2
        assert await self.store.cancel(["message-1"], "operator", "duplicate") == []
        assert (self.stands(), self.statuses("message-1")) == ({Standing.REJECTED: 1}, ["ACCEPTED", "DEAD", "CANCELLED", "CANCELLED"])
        self.assert_sound()

    # --- readers ----------------------------------------------------------------------------------------------------------

    async def test_a_search_finds_by_any_id_subject_route_partner_state_and_time(self) -> None:
        """Newest first; wildcards in what is asked for are ordinary characters."""
        for number in (1, 2):
            self.clock.advance(hours=1)
            await self.accept(message(number, subject=f"Tờ trình 100% số {number}"))
        for key in ("message-1", "unit-1", message(1).header(DOCUMENT_ID), "số 1"):
            assert [found.id for found in self.store.search(key=key)] == ["message-1"]
        assert [found.id for found in self.store.search(key="100% SỐ".lower())] == ["message-2", "message-1"]
        assert self.store.search(key="%2") == []
        assert [found.id for found in self.store.search(since=self.clock())] == ["message-2"]
        assert [found.id for found in self.store.search(route=ROUTE, partner="unit", state="READY", limit=1)] == ["message-2"]
        assert self.store.search(route="other") == self.store.search(partner="x") == self.store.search(state="DEAD") == []

    async def test_the_gauges_tell_number_and_age_of_what_stands(self) -> None:
        """By target and state, with the age of the oldest in seconds."""
        await self.accept(message(1))
        self.clock.advance(seconds=90)
        await self.accept(message(2))
        [gauge] = self.store.gauges()
        assert (gauge.target, gauge.state, gauge.count, gauge.age) == (ROUTE_PREFIX + ROUTE, "READY", 2, 90.0)

    # --- the chain ----------------------------------------------------------------------------------------------------------

    async def test_receipts_name_the_journal_before_them(self) -> None:
        """Each receipt holds the hash of the journal row before its own: partners hold the chain's beads."""
        answers = [await self.accept(message(number)) for number in (1, 2, 3)]
        hashes = [story.journal[0]["hash"] for number in (1, 2) for story in self.store.show(f"message-{number}")]
        assert [answer.receipt.previous for answer in answers] == ["0" * 64, *hashes]

    async def test_stores_on_one_chain_and_on_others_share_one_database(self) -> None:
        """Several processes write at the same time, on their own chains or on the same one, and every chain stays whole."""
        stores = [self.store, self.open("main"), self.open("worker-1")]
        expires = self.clock() + LIFE
        await asyncio.gather(
            *(
                stores[number % 3].accept(message(number), Owed(route=ROUTE, target="a", message=message(number), expires=expires))
                for number in range(60)
            )
        )
        claimed = await asyncio.gather(*(store.claim("a", 30, LEASE) for store in stores))
        ids = [work.delivery.id for works in claimed for work in works]
        assert len(ids) == len(set(ids)) == 60
        self.assert_sound()
