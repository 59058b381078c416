"""What one run of the demo knows: its sites, its buses, its ledger, and what was refused."""

from collections import Counter
from dataclasses import dataclass, field

from sandbox.ledger import Ledger
from sandbox.process import BusProcess
from sandbox.sites import Sites


@dataclass(slots=True)
class Refused:
    """A refusal: which item, the code and reason it got, and the code it should have got."""

    item: str
    expected: str
    code: str
    reason: str


@dataclass(slots=True)
class Run:
    """Everything one run knows."""

    sites: Sites
    buses: dict[str, BusProcess]
    ledger: Ledger = field(default_factory=Ledger)
    refused: list[Refused] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    accepted: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    mailed_receipts: int = 0
    restarts: int = 0
    stopping: bool = False
    kept: set[tuple[str, str]] = field(default_factory=set)

    def seen(self, place: str, message_id: str) -> bool:
        """Whether ``place`` already keeps this message: a confirmation that was lost makes a client fetch it again."""
        known = (place, message_id) in self.kept
        self.kept.add((place, message_id))
        return known

    @property
    def ministry(self) -> str:
        """Address of the ministry's bus."""
        return f"https://127.0.0.1:{self.sites.ports['ministry']}"
