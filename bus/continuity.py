"""Continuity: whether a configuration keeps what hangs on names in the store.

The owner of mail and ids is the organisation behind the codes, and the store knows it by its partner's name. A configuration in which a
name is gone, or stands for another organisation, while mail or ids hang on it is refused: by ``check``, by a reload, by a start. The
cure is in the text. What waits for an endpoint or a route that is gone waits on, and is a warning.

Reads the store and changes nothing, not even the tables of an older version; a store that was never started says nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bus import config, generation
from bus.config import Loaded
from bus.config.marks import Mark
from bus.delivery import ROUTE_PREFIX
from bus.errors import ConfigurationError, Fault
from bus.site import Clock
from bus.store import Held, Ledger, surveyed

_FILE = "routes.yaml"
#: Ids that a sentence names.
_SHOWN = 10


def take_up(root: Path, environment: Mapping[str, str], url: str, clock: Clock) -> tuple[Loaded, str]:
    """The site's files and their digest, if nothing that the store at ``url`` holds would be lost by them. Raises ConfigurationError."""
    loaded, digest = generation.load(root, environment, clock)
    found = examine(loaded, url)
    if any(not fault.warning for fault in found):
        raise ConfigurationError(found)
    return replace(loaded, warnings=tuple(sorted([*loaded.warnings, *found]))), digest


def check(root: Path, environment: Mapping[str, str], url: str, clock: Clock) -> list[Fault]:
    """Every fault and warning of the site's files; where they have no fault, also of names on which something hangs in the store.

    A store that cannot be read is a warning.
    """
    try:
        loaded = config.load(root, environment=environment, clock=clock)
    except ConfigurationError as error:
        return list(error.faults)
    try:
        found = examine(loaded, url)
    except ConfigurationError as error:
        detail = "; ".join(fault.text for fault in error.faults)
        found = [_fault(Mark(1, 1), "names-unread", {"detail": detail}, warning=True)]
    return sorted([*loaded.warnings, *found])


def examine(loaded: Loaded, url: str) -> list[Fault]:
    """Faults and warnings of ``loaded`` against the store at ``url``. Raises ConfigurationError where that cannot be read."""
    with surveyed(url) as ledger:
        return sorted(_Examination(loaded, ledger).faults()) if ledger is not None else []


def _fault(mark: Mark, key: str, values: Mapping[str, object], *, warning: bool = False) -> Fault:
    return Fault.of(_FILE, key, values, line=mark.line, column=mark.column, warning=warning)


@dataclass(frozen=True, slots=True)
class _Examination:
    loaded: Loaded
    ledger: Ledger

    def faults(self) -> Iterator[Fault]:
        """Every fault and warning."""
        owners = self._owners()
        for name in self.ledger.present():
            codes = self.ledger.codes.get(name, ())
            heirs = sorted({owners[code] for code in codes if code in owners} - {name})
            if name not in self.loaded.site.partners:
                yield from self._gone(name, heirs)
            elif codes and not any(owners.get(code) == name for code in codes):
                yield from self._another(name, codes, heirs)
            else:
                yield from self._moved(name, {code: owners[code] for code in codes if owners.get(code, name) != name})
        yield from self._reused()
        yield from self._targets()

    def _owners(self) -> Mapping[str, str]:
        """By organisation code, in each of its forms, the partner it belongs to."""
        site, found = self.loaded.site, dict[str, str]()
        for name, partner in site.partners.items():
            for code in partner.codes:
                found |= {each: found.get(each, name) for each in site.organisations.aliases(code)}
        return found | {code: name for name, partner in site.partners.items() for code in partner.codes}

    def _mark(self, name: str) -> Mark:
        return self.loaded.places.get(name) or self.loaded.places.get("", Mark(1, 1))

    def _gone(self, name: str, heirs: list[str]) -> Iterator[Fault]:
        held = self.ledger.held(name)
        hangs = {"old": name, **_counted(held)}
        if heirs and held.any:
            yield _fault(self._mark(heirs[0]), "names-renamed", {"new": heirs[0], **hangs})
        elif held.documents:
            yield _fault(self._mark(""), "names-removed", {"ids": _listed(held.first, held.documents), **hangs})
        elif name not in self.ledger.codes and held.any:
            # Written down by no generation: a store of before. It is said until one is, and then the name is known to be gone.
            yield _fault(self._mark(""), "names-unknown", hangs, warning=True)

    def _another(self, name: str, codes: Sequence[str], heirs: list[str]) -> Iterator[Fault]:
        held = self.ledger.held(name)
        if held.any:
            stood = {"name": name, "codes": " ".join(codes), "owners": ", ".join(heirs) or "-"}
            yield _fault(self._mark(name), "names-another", {**stood, **_counted(held)})

    def _moved(self, name: str, moved: Mapping[str, str]) -> Iterator[Fault]:
        for code, new in moved.items():
            waiting, sent = self.ledger.addressed(name, code), self.ledger.sent_as(name, code)
            move = {"code": code, "old": name, "new": new}
            if waiting:
                listed = {"documents": len(waiting), "ids": _listed(waiting[:_SHOWN], len(waiting))}
                yield _fault(self._mark(new), "names-code-moved", {**move, **listed})
            elif sent:
                yield _fault(self._mark(new), "names-code-ids", {**move, "sent": sent}, warning=True)

    def _reused(self) -> Iterator[Fault]:
        """A former name of one partner must not become another's: the rows under it are the first one's."""
        partners, owners = self.loaded.site.partners, self._owners()
        for name, now in sorted(self.ledger.names.became.items()):
            returned = any(owners.get(code) == name for code in self.ledger.codes.get(now, ()))
            if name in partners and (now in partners or not returned):
                yield _fault(self._mark(name), "names-former", {"name": name, "owner": now})

    def _targets(self) -> Iterator[Fault]:
        declared = {*self.loaded.endpoints, *(ROUTE_PREFIX + name for name in self.loaded.routes)}
        for target, count in sorted(self.ledger.ready().items()):
            if target not in declared:
                key = "names-route-gone" if target.startswith(ROUTE_PREFIX) else "names-endpoint-gone"
                yield _fault(Mark(1, 1), key, {"name": target.removeprefix(ROUTE_PREFIX), "count": count}, warning=True)


def _counted(held: Held) -> Mapping[str, object]:
    return {"documents": held.documents, "receipts": held.receipts, "sent": held.sent}


def _listed(ids: Sequence[str], count: int) -> str:
    return " ".join(ids) + (" …" if count > len(ids) else "")
