"""Who the site is and whom it trusts: partners, keys, code book; and whether its certificates still hold."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from bus import keyfiles, lists
from bus.answers import issued
from bus.config.blocks import PartnerBlock, SiteBlock, TimestampBlock
from bus.config.marks import Path
from bus.config.reading import Reading
from bus.errors import ConfigurationError, Fault, suggestion
from bus.keys import KeyEntry, Keyring
from bus.ocsp import SKEW
from bus.organisations import CodeBook
from bus.outside import Outside
from bus.quotas import Quota
from bus.revocation import Rules
from bus.revocation import named as named_by
from bus.schemas import Library
from bus.signature.policy import named
from bus.site import Partner, Site
from bus.timestamps import Authority
from bus.trust import Demands, Trust, der, name_text, subject
from bus.watch import EXPIRY_WARNING, said_of_end


def partners(reading: Reading) -> dict[str, Partner]:
    """The partners that are declared without a fault."""
    found: dict[str, Partner] = {}
    owners: dict[str, str] = {}
    for name, data in reading.mapping("partners").items():
        path: Path = ("partners", name)
        block = reading.faults.validated(PartnerBlock, data, path, None)
        if block is None:
            continue
        reading.demand_outside(block, path)
        _check_partner(reading, block, path, owners)
        owners |= {code: owners.get(code, name) for code in block.codes}
        found[name] = Partner(
            name,
            tuple(block.codes),
            block.trust,
            block.password.get_secret_value(),
            signatures=named(block.signatures, block.legacy),
            demands=_demands(block),
            mailbox=Quota(block.mailbox.messages, block.mailbox.bytes),
            rate=block.rate.rate() if block.rate else None,
        )
    return found


def _demands(block: PartnerBlock) -> Demands:
    asked = block.revocation
    rules = Rules(
        asked.check, asked.when_unknown == "accept", asked.fresh, asked.grace, tuple(asked.crl), asked.ocsp, Outside.of(asked.hosts)
    )
    return Demands(frozenset(block.certificate_policies), block.tls_certificates_sign, rules)


def _check_partner(reading: Reading, block: PartnerBlock, path: Path, owners: Mapping[str, str]) -> None:
    for index, code in enumerate(block.codes):
        if code in owners:
            reading.faults.add((*path, "codes", index), f"code {code!r} already belongs to partner {owners[code]!r}")
    for index, name in enumerate(block.legacy):
        text = f"{name} is outdated: a forger may find a second document for one signature. Ask this partner for a method of today"
        reading.faults.add((*path, "legacy", index), text, warning=True)
    if block.trust and not (reading.root / "certs" / block.trust).is_dir():
        reading.faults.add((*path, "trust"), f"certs/{block.trust} does not exist; put this partner's CA or certificates there")


def site(reading: Reading, block: SiteBlock, declared: Mapping[str, Partner]) -> Site:
    """The site; with an empty keyring or code book where those cannot be read, which is then among the faults."""
    library = Library(reading.root / "schemas")
    reading.demand_outside(block, ("site",))
    keyring = _keyring(reading, block, {name: partner for name, partner in declared.items() if partner.trust})
    return Site(
        root=reading.root,
        organisation=block.organisation,
        name=block.name,
        key=block.key,
        partners=declared,
        keyring=keyring,
        library=library,
        organisations=_code_book(reading, library, block.organisations),
        clock=reading.clock,
        environment=reading.environment,
        timestamps=_timestamps(reading, getattr(block, "timestamps", None)),
        past=_past(reading, block, keyring),
    )


def _past(reading: Reading, block: SiteBlock, keyring: Keyring) -> tuple[bytes, ...]:
    """Certificates of the keys that signed for the site before: the present key's earlier ones, and those of ``past-keys``."""
    held = [keyring.signers[name].certificate_der for name in block.past_keys if name in keyring.signers]
    lying = keyfiles.past(reading.root / "certs", [block.key, *block.past_keys], keyring.signers)
    return tuple(dict.fromkeys([*held, *map(der, lying)]))


def _timestamps(reading: Reading, block: TimestampBlock | None) -> Authority | None:
    """The time-stamping authority, with what vouches for it."""
    if block is None:
        return None
    path: Path = ("site", "timestamps", "trust")
    faults: list[Fault] = []
    trust = keyfiles.trust(reading.root / "certs" / block.trust, "tsa", Demands(), faults)
    reading.elsewhere(ConfigurationError(faults))
    where = path if "trust" in reading.data["site"]["timestamps"] else path[:2]
    if trust.pinned or trust.crls:
        reading.faults.warn(where, "trust-timestamps-idle", place=block.trust)
    if all(fault.warning for fault in faults) and not trust.authorities:
        reading.faults.add(where, f"certs/{block.trust} holds no authority; put the root of the time-stamping authority there")
    return Authority(block.url, trust.authorities, block.every, block.limit, block.policy or "")


def own_keys(reading: Reading) -> frozenset[str]:
    """Names of the keys that lie under certs/own, readable or not."""
    return keyfiles.names(reading.root / "certs")


def _keyring(reading: Reading, block: SiteBlock, partners: Mapping[str, Partner]) -> Keyring:
    directories = {name: partner.trust for name, partner in partners.items()}
    demands = {name: partner.demands for name, partner in partners.items()}
    passwords = {name: key.password.get_secret_value() for name, key in block.keys.items()}
    keyring, faults = Keyring.usable(reading.root / "certs", directories, demands, passwords)
    reading.elsewhere(ConfigurationError(faults))
    return keyring if reading.tolerant or all(fault.warning for fault in faults) else Keyring({}, (), {})


def _code_book(reading: Reading, library: Library, name: str) -> CodeBook:
    try:
        return CodeBook.load(library.path(name))
    except FileNotFoundError as error:
        reading.faults.add(("site", "organisations"), f"code book {error}")
    except ConfigurationError as error:
        reading.elsewhere(error)
    return CodeBook(())


def _check_signing(reading: Reading, block: SiteBlock, own: frozenset[str]) -> None:
    """A key signs what it is for, and those that signed before must be there."""
    if block.tls == block.key:
        text = "the HTTPS door's key is the one that signs: give the door a key of its own"
        reading.faults.add(("site", "tls"), text, warning=True)
    for index, name in enumerate(block.past_keys):
        if name not in own and not keyfiles.past(reading.root / "certs", [name], ()):
            reading.faults.add(("site", "past-keys", index), f"there is no certificate certs/{name}.crt that could have signed")


def check_keys(reading: Reading, keyring: Keyring, block: SiteBlock) -> None:
    """The site's own keys must be there and not have ended; those that end soon, and partners' certificates that ended, are warnings."""
    own = own_keys(reading)
    for option, name in (("key", block.key), ("tls", block.tls)):
        if name not in own and (option, name) != ("tls", "none"):
            reading.faults.add(("site", option), f"key {name!r} does not exist under certs/{suggestion(name, own)}")
    _check_signing(reading, block, own)
    for name in block.keys.keys() - own:
        reading.faults.add(("site", "keys", name), f"key {name!r} does not exist under certs/{suggestion(name, own)}", key=True)
    if block.tls in own and not (reading.root / "certs" / f"{block.tls}.key").exists():
        reading.faults.add(("site", "tls"), f"the HTTPS door's key must be a PEM file: certs/{block.tls}.key and .crt")
    for partner, trust in keyring.trusts.items():
        for certificate in trust.unasked():
            cure = "put its issuer's certificate beside it, or check: directory"
            text = f"nobody can be asked about the status of {subject(certificate)!r}, and it is refused: {cure}"
            reading.faults.add(("partners", partner, "revocation"), text, warning=True)
        _check_hosts(reading, partner, trust)
        _check_lists(reading, partner, trust)
    for entry in keyring.entries():
        path = _place(reading, entry, block)
        if path is not None:
            _check_expiry(reading, entry, path)


def _check_hosts(reading: Reading, partner: str, trust: Trust) -> None:
    """Warn where nobody can be asked: what certificates name counts only as far as ``hosts`` allows it."""
    rules = trust.demands.revocation
    if rules.check.kinds and rules.outside == Outside() and not any(rules.configured(kind) for kind in rules.check.kinds):
        certificates = (*trust.authorities, *trust.pinned)
        addresses = {urlsplit(one).hostname or "" for each in certificates for kind in rules.check.kinds for one in named_by(each, kind)}
        hosts = ", ".join(sorted(addresses - {""})) or "ocsp.example"
        reading.faults.warn(("partners", partner, "revocation"), "revocation-hosts-missing", check=rules.check, hosts=hosts)


def _check_lists(reading: Reading, partner: str, trust: Trust) -> None:
    """Warn of revocation lists that are not valid yet, and of authorities whose newest has run out."""
    now, path = reading.clock(), ("partners", partner, "trust")
    future = [crl for crl in trust.crls if crl.last_update_utc > now + SKEW]
    old = [crl for one in trust.authorities for crl in lists.run_out([crl for crl in trust.crls if issued(one, crl)], now)]
    warned = [("trust-list-future", crl, crl.last_update_utc) for crl in future]
    for key, crl, day in (*warned, *(("trust-list-ended", crl, crl.next_update_utc) for crl in old)):
        reading.faults.warn(path, key, issuer=name_text(crl.issuer), day=f"{day:%Y-%m-%dT%H:%M:%SZ}")


def _place(reading: Reading, entry: KeyEntry, block: SiteBlock) -> Path | None:
    """Where routes.yaml first speaks of a certificate; None for one that is not in use, and for a revocation list."""
    if entry.kind in {"anchor", "intermediate", "pinned"}:
        return ("partners", entry.partner, "trust")
    if entry.kind != "own":
        return None
    named = next((path for path, text in reading.document.scalars() if text == entry.name), None)
    return named or (("site",) if entry.name in (block.key, block.tls) else None)


def _check_expiry(reading: Reading, entry: KeyEntry, path: Path) -> None:
    now = reading.clock()
    if entry.not_after - now < EXPIRY_WARNING:
        said = said_of_end(entry, now)
        # A partner's is refused at the door (5.7.5); it must not keep the bus from starting for everybody else.
        warning = entry.kind != "own" or entry.not_after > now
        reading.faults.add(path, said["en"], warning=warning, vi=said["vi"])
