"""Site: what one installation is, as steps and adapters see it. Built by ``config.py``; read-only afterwards."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from bus.errors import Fault
from bus.keys import Keyring
from bus.organisations import CodeBook
from bus.quotas import QUOTA, Quota, Rate
from bus.schemas import Library
from bus.signature.policy import DEFAULT, SignaturePolicy
from bus.timestamps import Authority
from bus.trust import Demands

#: Returns the time now, aware, UTC. Injected everywhere, so that tests and the simulation own the clock.
Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Partner:
    """An organisation that may connect; ``signatures``: which methods count in what it signs.

    ``codes``: all its organisation codes, the first being the one we write.

    ``demands``: what its certificates must be beyond lying in its ``trust`` directory. ``mailbox``: how much may wait for it; ``rate``: how
    often it may call, if that is bounded.
    """

    name: str
    codes: tuple[str, ...]
    trust: str = ""
    signatures: SignaturePolicy = field(default=DEFAULT, kw_only=True)
    password: str = field(default="", repr=False)
    demands: Demands = field(default_factory=Demands)
    mailbox: Quota = QUOTA
    rate: Rate | None = None

    def speaks_for(self, organ: str) -> bool:
        """Whether ``organ`` is one of this partner's codes."""
        return organ in self.codes


@dataclass(frozen=True, slots=True)
class Site:
    """``root`` holds routes.yaml, schemas/ and certs/; ``organisation`` is our own code; ``key`` the signing key's name (``own/bus``)."""

    root: Path
    organisation: str
    name: str
    key: str
    partners: Mapping[str, Partner]
    keyring: Keyring
    library: Library
    organisations: CodeBook
    clock: Clock
    environment: Mapping[str, str]
    timestamps: Authority | None = None
    #: What a part found in its files when it was made and that stops nothing; ``check`` and the start tell of it.
    warnings: list[Fault] = field(default_factory=list, repr=False, compare=False)
    #: Certificates (DER) of the keys that signed for the site before.
    past: tuple[bytes, ...] = ()

    @property
    def signing(self) -> tuple[bytes, ...]:
        """Certificates (DER) of the key that signs for the site, and of those that did: no other key of ours signs receipts."""
        present = self.keyring.signers.get(self.key)
        return (*([present.certificate_der] if present else []), *self.past)

    def signs(self, certificate: bytes) -> bool:
        """Whether this certificate (DER) is that of a key that signs for the site, or did."""
        return certificate in self.signing

    def signatures(self, partner: str) -> SignaturePolicy:
        """Which methods count in the signatures of ``partner``."""
        return self.partners[partner].signatures if partner in self.partners else DEFAULT

    def codes(self) -> Mapping[str, tuple[str, ...]]:
        """By partner, its organisation codes."""
        return {name: partner.codes for name, partner in self.partners.items()}

    def quotas(self) -> Mapping[str, Quota]:
        """By partner, what its mailbox may hold."""
        return {name: partner.mailbox for name, partner in self.partners.items()}

    def rates(self) -> Mapping[str, Rate]:
        """By partner, how often it may call; without those that may always."""
        return {name: partner.rate for name, partner in self.partners.items() if partner.rate is not None}

    def code_of(self, partner: str) -> str:
        """The organisation code that we write for a partner of this name, or "" where there is none."""
        return self.partners[partner].codes[0] if partner in self.partners else ""

    def partner_of(self, organ: str) -> Partner | None:
        """The partner one of whose codes, or of whose codes' other forms in the code book, is ``organ``."""
        same = {organ, *self.organisations.aliases(organ)}
        return next((partner for partner in self.partners.values() if same.intersection(partner.codes)), None)
