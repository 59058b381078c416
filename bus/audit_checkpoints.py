"""The audit of the checkpoints: they are whole and signed, the journal is what they say it was, and their time-stamps hold.

It finds what the chains by themselves do not show: a journal whose end was cut off together with its head, or that was written anew
with all its hashes. What it cannot see is an end that was cut off together with every checkpoint and time-stamp that speaks of it: the
daemon's log names each checkpoint, and receipts in others' hands name the journal.

Each function gives its findings as sentences; however damaged the rows are, reading them is a finding at most.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import orjson
from cryptography import x509

from bus import merkle, timestamps
from bus.checkpoint import NONE_BEFORE, Span, Summary
from bus.errors import Rejected
from bus.evidence import Evidence
from bus.store import checkpoints
from bus.store.archive import Places
from bus.store.snapshot import Snapshot
from bus.store.tables import GENESIS, Row, sha256, stamp


@dataclass(slots=True)
class CheckpointAudit:
    """``anchors``: who vouches for the authority that time-stamps. ``begins``: where the journal's chains begin since prunings."""

    store: Snapshot
    evidence: Evidence
    anchors: Collection[x509.Certificate]
    begins: Places
    counts: Counter[str]

    def findings(self) -> Iterator[str]:
        """Everything that does not agree."""
        yield from self._documents()
        yield from self._rows()
        yield from self._tokens()

    # --- the checkpoints themselves -----------------------------------------------------------------------------------------

    def _documents(self) -> Iterator[str]:
        """One after the other, each naming the one before; and no span that none of them states."""
        number, previous, spans = 0, NONE_BEFORE, 0
        for row in self.store.checkpoints():
            self.counts["checkpoints"] += 1
            place = f"checkpoint {row.number}"
            if row.number != number + 1:
                yield f"{place}: follows checkpoint {number}"
            rows = self.store.spans_of(row.number)
            spans += len(rows)
            yield from _told(place, self._document, place, row, previous, rows)
            number, previous = row.number, sha256(bytes(row.xml))
        total = self.store.count_spans()
        if total != spans:
            yield f"checkpoints: {total - spans} rows about chains belong to none"

    def _document(self, place: str, row: Row, previous: str, rows: list[Row]) -> Iterator[str]:
        xml = bytes(row.xml)
        if sha256(xml) != row.digest:
            yield f"{place}: its XML was changed"
        try:
            summary = self.evidence.read_checkpoint(xml)
        except Rejected as error:
            yield f"{place}: {error}"
            return
        if (summary.number, stamp(summary.at)) != (row.number, row.at):
            yield f"{place}: what was signed is not what its row says"
        if summary.previous != previous:
            yield f"{place}: does not name the one before it"
        yield from self._stated(place, summary, rows)

    def _stated(self, place: str, summary: Summary, rows: list[Row]) -> Iterator[str]:
        """Each chain as it was signed, the leaves making the root."""
        for row in rows:
            leaves = checkpoints.hashes(bytes(row.leaves))
            found = Span(row.chain, row.first, row.last, row.head, merkle.root(leaves).hex())
            if found not in summary.spans or len(leaves) != found.size or leaves[-1].hex() != row.head:
                yield f"{place}: what it keeps about chain {row.chain} is not what was signed"
        for missing in {span.chain for span in summary.spans} - {row.chain for row in rows}:
            yield f"{place}: what it keeps about chain {missing} is gone"

    # --- the journal is what they say ---------------------------------------------------------------------------------------

    def _rows(self) -> Iterator[str]:
        """Every row that a checkpoint speaks of is there and has that hash, but for what was pruned."""
        for chain, spans in groupby(self.store.spans(), key=lambda row: row.chain):
            yield from _told(f"journal {chain}", self._chain, chain, spans)

    def _chain(self, chain: str, spans: Iterator[Row]) -> Iterator[str]:
        base, _ = self.begins.get(chain, (0, GENESIS))
        done = 0
        for span in spans:
            if span.first != done + 1 and not (done < span.first <= base + 1):
                yield f"journal {chain}: checkpoint {span.number} goes on at row {span.first}, the one before it ended at {done}"
            done = span.last
            yield from self._span(chain, span, base)

    def _span(self, chain: str, span: Row, base: int) -> Iterator[str]:
        leaves = checkpoints.hashes(self.store.leaves(chain, span.last))
        there = 0
        for row in self.store.hashes(chain, span.first, span.last):
            there += row.seq > base
            if row.hash != leaves[row.seq - span.first].hex():
                yield f"journal {chain}/{row.seq}: is not the row that checkpoint {span.number} vouches for"
        missing = max(0, span.last - max(base, span.first - 1)) - there
        if missing:
            rows = f"{missing} of the rows {span.first} to {span.last}"
            yield f"journal {chain}: {rows}, which checkpoint {span.number} vouches for, are gone"

    # --- time-stamps ---------------------------------------------------------------------------------------------------------

    def _tokens(self) -> Iterator[str]:
        """Each as it was journalled, and each that was journalled; and each good for its checkpoint."""
        journalled = dict[int, str]()
        for row in self.store.told(checkpoints.STAMPED):
            yield from _told(f"journal {row.chain}/{row.seq}", self._journalled, row, journalled)
        for row in self.store.timestamps():
            self.counts["timestamps"] += 1
            place = f"time-stamp of checkpoint {row.number}"
            if journalled.pop(row.number, "") != row.digest:
                yield f"{place}: the journal does not know it"
            yield from _told(place, self._token, place, row)
        for number in journalled:
            yield f"time-stamp of checkpoint {number}: was journalled and is gone"

    @staticmethod
    def _journalled(row: Row, journalled: dict[int, str]) -> Iterator[str]:
        detail: dict[str, Any] = orjson.loads(row.detail)
        journalled[detail["checkpoint"]] = detail["sha256"]
        return iter(())

    def _token(self, place: str, row: Row) -> Iterator[str]:
        token = bytes(row.token)
        if sha256(token) != row.digest:
            yield f"{place}: its token was changed"
        xml = self.store.checkpoint(row.number)
        if xml is None:
            yield f"{place}: there is no such checkpoint"
        elif self.anchors:
            try:
                proved = timestamps.verify(token, xml, self.anchors)
            except Rejected as error:
                yield f"{place}: {error}"
            else:
                if stamp(proved.at) != row.at:
                    yield f"{place}: is of {stamp(proved.at)}, its row says {row.at}"


def _told(place: str, check: Callable[..., Iterator[str]], *given: object) -> Iterator[str]:
    """What ``check`` finds; and what it stumbles over, which is so damaged, or forged so badly, that it cannot be read."""
    try:
        yield from check(*given)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        yield f"{place}: cannot be read: {type(error).__name__} {error}"
