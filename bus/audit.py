"""Audit: the one oracle. It believes nothing but hashes and signatures, and says everything that does not agree.

It finds: any byte changed in a message row, a delivery's fixed columns, a receipt, a journal row or stored octets; rows added or removed;
a chain broken, cut short or out of step with its head; a receipt whose signature does not hold or that says something else than its row;
a delivery whose state is not where the journal left it, or that ended without its receipt, or with two; a message that stands nowhere.
A journal whose end was cut off together with its head is found where a checkpoint knows better (``audit_checkpoints``); what no checkpoint
speaks of yet, the receipts in others' hands show, which name the journal's hash before them.

What was pruned is not missed: the journal says where its chains begin since, and the report says who ordered it, and why. An archive is
audited by itself, as a store whose chains begin and end with it, and then held against the store's journal.

Everything is read in one snapshot, row by row, so that memory stays bounded. Files nobody names are notes: a crash may leave them.
"""

import heapq
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path
from typing import Any

from cryptography import x509

from bus.audit_checkpoints import CheckpointAudit
from bus.delivery import ROUTE_PREFIX, TRANSITIONS, State
from bus.errors import Deferred, Rejected
from bus.evidence import Evidence
from bus.receipt import FINAL
from bus.store import Standing, Store, archive, naming
from bus.store.issuing import receipt_of
from bus.store.names import RENAMED, replayed
from bus.store.pruning import kept
from bus.store.snapshot import Snapshot
from bus.store.tables import DERIVED, FIXED, GENESIS, Row, columns, deliveries, fingerprint, messages, receipts, sha256
from bus.store.transaction import row_hash

#: More findings than this are counted, not told one by one.
MOST_FINDINGS = 1000
_FINAL_EVENTS = frozenset(status.lower() for status in FINAL)
#: What operators do to a delivery that leaves it in its state: hold back one that may have been sent, let it go, close a dead letter.
_IN_PLACE = frozenset({("held", State.READY), ("resent", State.READY), ("cancelled", State.DEAD)})


@dataclass(frozen=True, slots=True)
class Report:
    """``ok`` when there is no finding. ``counts``: what was looked at, and where messages stand. ``prunings``: as journalled."""

    ok: bool
    findings: tuple[str, ...]
    notes: tuple[str, ...]
    counts: Mapping[str, int]
    prunings: tuple[Mapping[str, Any], ...] = ()


def audit(store: Store, evidence: Evidence, anchors: Collection[x509.Certificate] = ()) -> Report:
    """Check everything the store holds. Raises nothing for what it finds, however damaged it is.

    ``anchors``: who vouches for the time-stamping authority; without them time-stamps are only held against the journal.
    """
    try:
        with store.snapshot() as snapshot:
            return _Audit(snapshot, evidence, _prunings(snapshot), anchors=anchors).report()
    except Deferred as error:
        return Report(ok=False, findings=(f"database: {error.__cause__}",), notes=(), counts={})
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        return Report(ok=False, findings=(f"journal: cannot be read: {type(error).__name__} {error}",), notes=(), counts={})


def audit_archive(path: Path, evidence: Evidence, store: Store | None = None) -> Report:
    """Check an archive by itself, and that ``store`` is the one it was pruned from. Raises Rejected 5.6.11 for what is no archive."""
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    with tempfile.TemporaryDirectory(prefix="govbus-audit-") as directory:
        engine, files, manifest = archive.load(path, Path(directory))
        with engine.connect() as connection:
            began = {"event": "pruning", "chains": manifest["after"]}
            report = _Audit(Snapshot(connection, files), evidence, [began], whole=False).report()
        engine.dispose()
    if store is None:
        return report
    with store.snapshot() as snapshot:
        named = [told for told in _prunings(snapshot) if told["archive"] == digest]
    note = f"archive {digest}: " + (f"pruned at {named[0]['at']} by {named[0]['by']}" if named else "no pruning of this store names it")
    differs = any(told["chains"] != manifest["until"] for told in named)
    findings = (*report.findings, *([f"archive {digest}: the store's chains do not begin where it ends"] if differs else []))
    return Report(not findings, findings, (*report.notes, note), report.counts)


def _prunings(snapshot: Snapshot) -> list[dict[str, Any]]:
    """What the journal says about prunings, oldest first."""
    return [{"at": row.at, "event": row.event, **json.loads(row.detail)} for row in snapshot.prunings()]


@dataclass(slots=True)
class _Audit:
    """``prunings`` tell where chains begin. ``whole``: rows are about messages that are here; an archive also has rows about others."""

    store: Snapshot
    evidence: Evidence
    prunings: list[dict[str, Any]]
    whole: bool = True
    anchors: Collection[x509.Certificate] = ()
    begins: dict[str, tuple[int, str]] = field(default_factory=dict)
    stayed: dict[str, tuple[int, str]] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    vouched: Counter[str] = field(default_factory=Counter)

    def report(self) -> Report:
        journalled = (self._bases, self._guards, self._chains, self._checkpoints)
        for check in (*journalled, self._numbers, self._names, self._mailboxes, self._deliveries, self._octets, self._conservation):
            self._readable(f"audit{check.__name__.replace('_', ' ')}", check)
        more = self.counts["findings"] - len(self.findings)
        findings = [*self.findings, f"and {more} more"] if more else self.findings
        prunings = tuple(self.prunings) if self.whole else ()
        return Report(not findings, tuple(findings), tuple(self.notes), dict(self.counts), prunings)

    def _find(self, finding: str) -> None:
        self.counts["findings"] += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(finding.encode("utf-8", "replace").decode())

    def _readable(self, place: str, check: Callable[..., None], *given: object) -> None:
        """Run ``check``; what it stumbles over is so damaged, or forged so badly, that it cannot be read."""
        try:
            check(*given)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            self._find(f"{place}: cannot be read: {type(error).__name__} {error}")

    def _check(self, holds: bool, finding: str) -> None:
        if not holds:
            self._find(finding)

    # --- where the chains begin -------------------------------------------------------------------------------------------

    def _bases(self) -> None:
        """The last word on each chain: its base, and, once the pruning has ended, what vouches for the rows that stayed before it."""
        for told in self.prunings:
            chains = archive.onward(self.begins, told["chains"])
            self.begins |= chains
            if told["event"] == "pruned":
                self.stayed |= {chain: (number, digest) for chain, (number, digest) in told["kept"].items() if chain in chains}
            else:
                self.stayed = {chain: vouched for chain, vouched in self.stayed.items() if chain not in chains}
        if self.whole and self.prunings and self.prunings[-1]["event"] == "pruning":
            self.notes.append(f"the pruning of {self.prunings[-1]['at']} has not ended; if none is running, order it again")

    # --- the database guards what is append-only ----------------------------------------------------------------------

    def _guards(self) -> None:
        for name in self.store.missing_guards():
            self._find(f"database: the guard {name} is missing or changed")
        self._check(not self.store.pruning(), "database: the guards are open for messages named in the table pruning")

    # --- the chains, and what each row of them vouches for --------------------------------------------------------------

    def _chains(self) -> None:
        ends = self.store.heads()
        for chain, links in itertools.groupby(self.store.journal(), key=lambda row: row.chain):
            end = self._chain(chain, links)
            self._check(ends.pop(chain, None) == end, f"journal {chain}: does not end where its head says")
        for chain, end in ends.items():
            self._check(end == self.begins.get(chain), f"journal {chain}: has a head and no rows")
            self._check(not self.stayed.get(chain, (0, ""))[0], f"journal {chain}: rows that stayed at its pruning are gone")

    def _chain(self, chain: str, links: Iterable[Row]) -> tuple[int, str]:
        seq, head = base = self.begins.get(chain, (0, GENESIS))
        before = []
        for row in links:
            place = f"journal {chain}/{row.seq}"
            if row.seq <= base[0]:
                before.append((row.seq, row.hash))
            else:
                self._check(row.seq == seq + 1, f"{place}: follows row {seq}")
                self._check(row.previous == head, f"{place}: does not name the hash of the row before it")
                seq, head = row.seq, row.hash
            self._readable(place, self._unchanged, place, row)
            self._readable(place, self._vouched, row)
            self.counts["journal"] += 1
        if chain in self.stayed:
            self._check(kept(before) == self.stayed[chain], f"journal {chain}: the rows before {base[0]} are not those that stayed")
        return seq, head

    def _unchanged(self, place: str, row: Row) -> None:
        self._check(row.hash == row_hash(columns(row)), f"{place}: was changed; its hash does not match")

    def _vouched(self, row: Row) -> None:
        if not self.whole and row.message_id and self.store.message(row.message_id) is None:
            self.counts["others"] += 1
            return
        detail = json.loads(row.detail)
        if row.event == "accepted":
            self._message(row, detail)
        if row.event == "routed":
            self._check(bool(detail.get("owed")), f"delivery {row.delivery_id}: a route was done and owed nothing")
        for entry in detail.get("owed", ()):
            self._owed(entry)
        if "receipt" in detail:
            self._receipt(row, detail["receipt"])

    def _message(self, row: Row, detail: Mapping[str, Any]) -> None:
        self.vouched["messages"] += 1
        found = self.store.message(row.message_id)
        if found is None:
            self._find(f"message {row.message_id}: was accepted and is gone")
        else:
            self._check(fingerprint(messages, columns(found)) == detail.get("message"), f"message {row.message_id}: its row was changed")
            derived = {name: columns(found)[name] for name in DERIVED["messages"]}
            named = found.number is None or derived == naming.names(columns(found))
            self._check(named, f"message {row.message_id}: is searched by a number or a subject that is not its own")

    def _owed(self, entry: Mapping[str, Any]) -> None:
        self.vouched["deliveries"] += 1
        found = self.store.delivery(entry["delivery"])
        if found is None:
            self._find(f"delivery {entry['delivery']}: was owed and is gone")
            return
        fixed = fingerprint(deliveries, {name: columns(found)[name] for name in FIXED})
        self._check(fixed == entry["row"], f"delivery {found.id}: its row was changed")

    def _receipt(self, row: Row, entry: Mapping[str, Any]) -> None:
        self.vouched["receipts"] += 1
        found = self.store.receipt(entry["id"])
        if found is None:
            self._find(f"receipt {entry['id']}: was issued and is gone")
            return
        self._check(fingerprint(receipts, columns(found)) == entry["row"], f"receipt {found.id}: its row was changed")
        self._check(sha256(bytes(found.xml)) == entry["sha256"], f"receipt {found.id}: its XML was changed")
        self._check(found.previous == row.previous, f"receipt {found.id}: does not name the journal row before it")
        try:
            same = self.evidence.read(bytes(found.xml)) == receipt_of(found)
            self._check(same, f"receipt {found.id}: what was signed is not what its row says")
        except Rejected as error:
            self._find(f"receipt {found.id}: {error}")

    def _numbers(self) -> None:
        """Rows that no journal row vouches for."""
        for table, number in self.store.counts().items():
            vouched = self.vouched[table]
            self.counts[table] = number
            self._check(number == vouched, f"{table}: {number} rows, the journal vouches for {vouched}")

    def _names(self) -> None:
        """Whose mail is whose: a partner's former names are those that the journal tells of."""
        if self.whole:
            told = sorted(self.store.told(RENAMED), key=lambda row: (row.at, row.chain, row.seq))
            became = replayed(json.loads(row.detail) for row in told)
            for name in sorted(became.items() ^ self.store.became().items()):
                self._find(f"partner {name[0]}: what it is called now is not what the journal says")

    def _mailboxes(self) -> None:
        """How full they are; an archive says nothing of that."""
        for owner in self.store.miscounted() if self.whole else ():
            self._find(f"mailbox {owner}: holds something else than is counted for it")

    def _checkpoints(self) -> None:
        """What was stated about the journal, and time-stamped; an archive has nothing of that."""
        if self.whole:
            for finding in CheckpointAudit(self.store, self.evidence, self.anchors, self.begins, self.counts).findings():
                self._find(finding)

    # --- every delivery is where the journal left it ---------------------------------------------------------------------

    def _deliveries(self) -> None:
        groups = itertools.groupby(self.store.acts(), key=lambda row: row.delivery_id)
        for row, acts in _merged(self.store.deliveries(), groups):
            if row is None:
                self._check(not self.whole, f"delivery {acts[0].delivery_id}: the journal knows it and it is gone")
            else:
                self._readable(f"delivery {row.id}", self._delivery, row, acts)

    def _delivery(self, row: Row, acts: list[Row]) -> None:
        details = [(act.event, json.loads(act.detail)) for act in acts]
        steps = sorted(((event, detail) for event, detail in details if "revision" in detail), key=lambda step: step[1]["revision"])
        state: str = State.WAITING if row.owner else State.READY
        for number, (event, detail) in enumerate(steps, start=1):
            permitted = detail["state"] in TRANSITIONS[State(state)] or (detail["state"] == state and (event, state) in _IN_PLACE)
            self._check(permitted and detail["revision"] == number, f"delivery {row.id}: cannot go from {state} to {detail['state']}")
            state = detail["state"]
        self._check((row.state, row.revision) == (state, len(steps)), f"delivery {row.id}: is {row.state}, the journal says {state}")
        if not row.receipt_id:
            self._ending(row, steps)

    def _ending(self, row: Row, steps: list[tuple[str, dict[str, Any]]]) -> None:
        """Ended: with its receipt, and with no second one, unless an operator sent it again or cancelled what was dead."""
        endings = [event for event, detail in steps if event in _FINAL_EVENTS and "receipt" in detail]
        again = sum(event == "resent" or (event == "cancelled" and detail.get("was") in FINAL) for event, detail in steps)
        self._check(len(endings) <= 1 + again, f"delivery {row.id}: ended {len(endings)} times")
        if row.state == State.DONE and row.target.startswith(ROUTE_PREFIX):
            self._check(bool(steps) and steps[-1][0] == "routed", f"delivery {row.id}: a route's, done and never routed")
        elif row.state in {State.DONE, State.DEAD}:
            self._check(endings[-1:] == [row.outcome.lower()], f"delivery {row.id}: ended {row.outcome or row.state} without that receipt")

    # --- octets ----------------------------------------------------------------------------------------------------------

    def _octets(self) -> None:
        for row in self.store.blobs():
            self.counts["blobs"] += 1
            self._check(isinstance(row.body, bytes) and sha256(row.body) == row.digest, f"blob {row.digest}: its octets were changed")
        self.notes += [f"blob {digest}: nothing names it" for digest in self.store.unnamed_blobs()]
        self.notes += [f"file {path.name}: was never finished" for path in self.store.files.unfinished()]
        self._files()

    def _files(self) -> None:
        named = ((digest, "named") for digest in self.store.named_files())
        present = ((digest, "present") for digest in self.store.files.names())
        for digest, group in itertools.groupby(heapq.merge(named, present), key=lambda item: item[0]):
            where = {source for _, source in group}
            if "present" not in where:
                self._find(f"blob {digest}: is named and lost")
                continue
            self._file(digest)
            if "named" not in where:
                self.notes.append(f"file {digest}: nothing names it")

    def _file(self, name: str) -> None:
        self.counts["files"] += 1
        self._check(self.store.files.actual(name) == name, f"file {name}: its octets were changed")

    # --- conservation ----------------------------------------------------------------------------------------------------

    def _conservation(self) -> None:
        """Every message stands somewhere: accepted = delivered + rejected + expired + dead + waiting."""
        places = self.store.standings()
        self.counts.update({"accepted": self.vouched["messages"], **{str(place): places.get(place, 0) for place in Standing}})
        total = sum(places.values())
        self._check(total == self.counts["accepted"], f"conservation: {self.counts['accepted']} accepted, {total} stand somewhere")
        for message in self.store.owed_nothing():
            self._find(f"message {message}: was accepted and nothing is owed for it")


def _merged(rows: Iterator[Row], groups: Iterator[tuple[str, Iterator[Row]]]) -> Iterator[tuple[Row | None, list[Row]]]:
    """Deliveries and their journal rows, side by side; both come in the order of the delivery's id."""
    known = ((row.id, 0, [row]) for row in rows)
    acts = ((name, 1, list(group)) for name, group in groups)
    for _name, found in itertools.groupby(heapq.merge(known, acts, key=lambda item: item[:2]), key=lambda item: item[0]):
        sides = {side: items for _, side, items in found}
        yield next(iter(sides.get(0, ())), None), sides.get(1, [])
