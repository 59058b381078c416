"""Questions that a store answers at once: what operators search, what is counted, what is due. Short; nothing is changed."""

from collections.abc import Callable, Sequence
from datetime import datetime

from bus.store.filling import Fill
from bus.store.paced import Paced
from bus.store.readers import Gauge, Readers, Story
from bus.store.refusals import Refusal, WantedRefusals
from bus.store.searching import Hits, Wanted
from bus.store.standing import Standing


class Questions:
    """The reading half of ``Store``."""

    def __init__(self, read: Readers, clock: Callable[[], datetime]) -> None:
        self._read = read
        self._clock = clock
        self._gauges = Paced(lambda: read.gauges(clock()))

    def search(
        self,
        route: str = "",
        partner: str = "",
        state: str = "",
        key: str = "",
        since: datetime | None = None,
        limit: int = 50,
        before: datetime | None = None,
    ) -> Hits:
        """Messages, newest first. ``key``: any id, the DocumentId, a number or its beginning, or a part of the subject.

        ``state``: of any of a message's deliveries.
        """
        return self._read.search(Wanted(route, partner, state, key, since, before, limit))

    def show(self, key: str) -> list[Story]:
        """The whole story of each message with this id: the bus's, the sender's, or its DocumentId. Oldest first."""
        return self._read.show(key)

    def refused(self, wanted: WantedRefusals) -> list[Refusal]:
        """Refusals, newest first."""
        return self._read.refused(wanted)

    def refusal(self, reference: str) -> list[Refusal]:
        """The refusals whose reference is this, or begins so, oldest first."""
        return self._read.refusal(reference)

    def receipts_of(self, key: str) -> list[bytes]:
        """Every signed receipt of the messages with this id, oldest first."""
        return self._read.receipts_of(key)

    def overview(self) -> dict[str, dict[Standing, int]]:
        """By route, how many messages stand where; accepted is the sum."""
        return self._read.overview()

    def refusals(self) -> dict[str, int]:
        """By endpoint, how many messages were refused at the door."""
        return self._read.refusals()

    def gauges(self) -> list[Gauge]:
        """How many deliveries stand where and for how long, by target and state; where counting takes long, as of a while ago."""
        return self._gauges()

    def mailboxes(self) -> list[Fill]:
        """How full the mailbox of each partner is."""
        return self._read.mailboxes()

    def next_due(self, target: str) -> datetime | None:
        """When the next delivery to ``target`` may be claimed, or None."""
        return self._read.next_due(target)

    def hurried(self, targets: Sequence[str]) -> list[str]:
        """Those of ``targets`` for which an operator wants something sent now."""
        return self._read.hurried(targets)

    def targets_with_work(self) -> list[str]:
        """Targets that have something to claim now."""
        return self._read.targets_with_work(self._clock())
