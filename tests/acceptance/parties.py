"""Who writes to whom in these tests, and letters between them."""

from dataclasses import dataclass

from sandbox import documents


@dataclass(frozen=True)
class Party:
    """A partner of the reference site: its name in routes.yaml and its organisation code."""

    partner: str
    code: str


TELECOM = Party("telecom-authority", "000.00.01.G14")
DIGITAL = Party("digital-agency", "000.00.02.G14")
OFFICE = Party("ministry-office", "000.00.00.G14")
NOBODY = Party("", "000.99.99.Z99")
#: The telecom authority's, where a password proves it.
PASSWORD = "mật khẩu thử"


def letter(sender: Party, receiver: Party, *, seed: int = 1, size: int = 5_000) -> bytes:
    """A fictitious official document as an ``.edxml`` file."""
    writer, reader = (documents.Party(party.code, f"Cơ quan {party.code}", "Bộ", "CQ", "VP") for party in (sender, receiver))
    return documents.make(size=size, seed=seed, sender=writer, receivers=(reader,))
