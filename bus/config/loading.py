"""From a site's directory to a running configuration, or to every fault in it. ``govbus check`` and start-up are this one path.

The order: the file, then what stands outside it (environment, keys, code book), then blocks one by one, then names, and only when
nothing is wrong, routes. A fault in one part keeps no other part from being checked. Starts nothing and opens no connection.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from bus.config import environment as outside
from bus.config import marks, wiring
from bus.config.blocks import BranchBlock, Entries, Limits, PartnerBlock, RouteBlock, SiteBlock, SiteFile
from bus.config.components import Component, adapters, steps
from bus.config.faults import Faults, secrets_in
from bus.delivery import ROUTE_PREFIX
from bus.endpoint import Adapter
from bus.errors import ConfigurationError, Fault, suggestion
from bus.exchange import Step
from bus.keys import Keyring
from bus.options import Surroundings
from bus.organisations import CodeBook
from bus.retry import RetryPolicy
from bus.route import Branch, Entry, Route
from bus.schemas import Library
from bus.site import Clock, Partner, Site

FILE = "routes.yaml"
#: A certificate that ends within this time is a warning.
EXPIRY_WARNING = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A site that is ready to run. ``warnings`` are faults that stop nothing."""

    site: Site
    endpoints: Mapping[str, Adapter]
    routes: Mapping[str, Route]
    tls: str
    language: str
    limits: Limits
    warnings: tuple[Fault, ...] = ()


def load(root: Path, *, environment: Mapping[str, str], clock: Clock) -> Loaded:
    """The site in ``root``. Raises ConfigurationError with every fault there is."""
    loaded, faults = _examine(root, environment, clock)
    if loaded is None:
        raise ConfigurationError(faults)
    return loaded


def check(root: Path, *, environment: Mapping[str, str], clock: Clock) -> list[Fault]:
    """Every fault and warning of the site in ``root``, in the file's order."""
    return sorted(_examine(root, environment, clock)[1])


def _examine(root: Path, environment: Mapping[str, str], clock: Clock) -> tuple[Loaded | None, list[Fault]]:
    try:
        text = (root / FILE).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        return None, [Fault(FILE, 1, 1, f"cannot be read: {reason}; is {str(root)!r} a site? 'govbus init' makes one")]
    try:
        document = marks.read(text, FILE)
    except ConfigurationError as error:
        return None, list(error.faults)
    loading = _Loading(root, document, environment, clock)
    return loading.run(), loading.faults.found


@dataclass(slots=True)
class _Loading:
    """One reading of one site: what was found so far."""

    root: Path
    document: marks.Document
    environment: Mapping[str, str]
    clock: Clock
    faults: Faults = field(init=False)
    data: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.faults = Faults(self.document)

    def run(self) -> Loaded | None:
        if not self._top():
            return None
        fetched = self._resolve()
        block = self.faults.validated(SiteBlock, self.data.get("site"), ("site",), None) if "site" in self.data else None
        partners = self._partners(fetched)
        site = self._site(block or SiteBlock.model_construct(organisation="", name=""), partners)
        surroundings = Surroundings(site.library, frozenset(_own(site.keyring)), frozenset(self._mapping("partners")))
        endpoints = self._endpoints(site, surroundings, fetched)
        routes = self._routes(site, surroundings, endpoints)
        wiring.check(self.data, {name: adapter.features if adapter else None for name, adapter in endpoints.items()}, self.faults)
        self._keys(site, block)
        if self.faults or block is None:
            return None
        ready = {name: adapter for name, adapter in endpoints.items() if adapter}
        warnings = tuple(sorted(self.faults.found))
        return Loaded(site, ready, {route.name: route for route in routes}, block.tls, block.language, block.limits, warnings)

    # --- the file as a whole ----------------------------------------------------------------------------------------

    def _top(self) -> bool:
        data = self.document.data
        if not isinstance(data, dict):
            self.faults.add((), "must be a mapping with 'site', 'partners', 'endpoints' and 'routes'")
            return False
        known = list(SiteFile.model_fields)
        for key in data:
            if key not in known:
                self.faults.add((key,), f"unknown key {key!r}{suggestion(key, known)}", key=True)
        for key in ("site", "endpoints", "routes"):
            if data.get(key) is None:
                self.faults.add((), f"{key!r} is missing")
        for key, kind, words in (("partners", dict, "a mapping"), ("endpoints", dict, "a mapping"), ("routes", list, "a list")):
            if data.get(key) is not None and not isinstance(data[key], kind):
                self.faults.add((key,), f"{key!r} must be {words}")
        return True

    def _resolve(self) -> set[marks.Path]:
        """Fetch outside values of partners and endpoints; returns the paths that had one."""
        data = self.document.data
        self.environment = outside.read(self.root, self.environment, self.faults.found)
        fetcher = outside.Outside(self.root, self.environment, self.faults)
        fetch = {key: fetcher.resolve(data[key], (key,)) for key in ("partners", "endpoints") if key in data}
        self.data = {**data, **fetch}
        return fetcher.fetched

    def _mapping(self, key: str) -> dict[str, Any]:
        value = self.data.get(key)
        return value if isinstance(value, dict) else {}

    # --- the site itself --------------------------------------------------------------------------------------------

    def _partners(self, fetched: set[marks.Path]) -> dict[str, Partner]:
        partners: dict[str, Partner] = {}
        owner: dict[str, str] = {}
        for name, data in self._mapping("partners").items():
            path: marks.Path = ("partners", name)
            block = self.faults.validated(PartnerBlock, data, path, None)
            if block is None:
                continue
            self._demand_outside(block, path, fetched)
            for index, code in enumerate(block.codes):
                if code in owner:
                    self.faults.add((*path, "codes", index), f"code {code!r} already belongs to partner {owner[code]!r}")
                owner.setdefault(code, name)
            if block.trust and not (self.root / "certs" / block.trust).is_dir():
                self.faults.add((*path, "trust"), f"certs/{block.trust} does not exist; put this partner's CA or certificates there")
            partners[name] = Partner(name, tuple(block.codes), block.trust, block.password.get_secret_value())
        return partners

    def _site(self, block: SiteBlock, partners: Mapping[str, Partner]) -> Site:
        library = Library(self.root / "schemas")
        trust = {name: partner.trust for name, partner in partners.items() if partner.trust}
        return Site(
            root=self.root,
            organisation=block.organisation,
            name=block.name,
            key=block.key,
            partners=partners,
            keyring=self._keyring(trust),
            library=library,
            organisations=self._code_book(library, block.organisations),
            clock=self.clock,
            environment=self.environment,
        )

    def _keyring(self, trust: Mapping[str, str]) -> Keyring:
        try:
            return Keyring.load(self.root / "certs", trust)
        except ConfigurationError as error:
            self._elsewhere(error)
            return Keyring.load(self.root / "certs", {})

    def _code_book(self, library: Library, name: str) -> CodeBook:
        try:
            return CodeBook.load(library.path(name))
        except FileNotFoundError as error:
            self.faults.add(("site", "organisations"), f"code book {error}")
        except ConfigurationError as error:
            self._elsewhere(error)
        return CodeBook(())

    def _elsewhere(self, error: ConfigurationError) -> None:
        """Faults of other files, named as seen from the site."""
        for fault in error.faults:
            path = Path(fault.file)
            name = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else fault.file
            self.faults.found.append(replace(fault, file=name))

    # --- endpoints --------------------------------------------------------------------------------------------------

    def _endpoints(self, site: Site, surroundings: Surroundings, fetched: set[marks.Path]) -> dict[str, Adapter | None]:
        """Each endpoint's adapter, None for one that could not be made."""
        return {name: self._endpoint(name, data, site, surroundings, fetched) for name, data in self._mapping("endpoints").items()}

    def _endpoint(self, name: str, data: Any, site: Site, surroundings: Surroundings, fetched: set[marks.Path]) -> Adapter | None:
        path: marks.Path = ("endpoints", name)
        found = self._component("adapter", data, path, adapters())
        if found is None:
            return None
        component, options, at = found
        model = self.faults.validated(component.options, options, at, surroundings)
        if model is None:
            return None
        self._demand_outside(model, at, fetched)
        try:
            adapter: Adapter = component.make(name, model, site)
        except ConfigurationError as error:
            self._elsewhere(error)
        except (ValueError, KeyError, FileNotFoundError) as error:
            self.faults.add(at, str(error.args[0] if error.args else error))
        else:
            return adapter
        return None

    def _demand_outside(self, model: Any, path: marks.Path, fetched: set[marks.Path]) -> None:
        for secret in secrets_in(model, path):
            if secret not in fetched:
                self.faults.add(secret, f"{secret[-1]!r} is a secret: write env:NAME or file:PATH, and put the value there")

    def _component(self, what: str, data: Any, path: marks.Path, known: Mapping[str, Component]) -> tuple[Component, Any, marks.Path] | None:
        """The component that ``{name: options}`` or ``name`` means, its options, and where they stand."""
        name, options, at = (data, None, path) if isinstance(data, str) else ("", None, path)
        if isinstance(data, dict) and len(data) == 1:
            ((name, options),) = data.items()
            at = (*path, name)
        if not name:
            self.faults.add(path, f"must be one {what} with its options, such as {{{next(iter(known), what)}: {{…}}}}")
            return None
        if name not in known:
            self.faults.add(at, f"unknown {what} {name!r}{suggestion(name, known)}", key=True)
            return None
        return known[name], options, at

    # --- routes -----------------------------------------------------------------------------------------------------

    def _routes(self, site: Site, surroundings: Surroundings, endpoints: Mapping[str, object]) -> list[Route]:
        listed = self.data.get("routes")
        routes = [self._route(data, ("routes", index), site, surroundings, endpoints) for index, data in enumerate(listed or [])]
        return [route for route in routes if route]

    def _route(self, data: Any, path: marks.Path, site: Site, surroundings: Surroundings, endpoints: Mapping[str, object]) -> Route | None:
        block = self.faults.validated(RouteBlock, data, path, surroundings)
        listed = data if isinstance(data, dict) else {}
        gate = self._steps(listed.get("gate"), (*path, "gate"), site, surroundings)
        steps = self._steps(listed.get("steps"), (*path, "steps"), site, surroundings)
        if block is None or gate is None or steps is None:
            return None
        return _route(block, site, gate, steps, endpoints)

    def _steps(self, listed: Any, path: marks.Path, site: Site, surroundings: Surroundings) -> tuple[Step, ...] | None:
        """The steps under ``gate`` or ``steps``, or None if any cannot be made."""
        if not isinstance(listed, list):
            return ()
        made = [self._step(one, (*path, index), site, surroundings, last=index == len(listed) - 1) for index, one in enumerate(listed)]
        return tuple(step for step in made if step) if all(made) else None

    def _step(self, data: Any, path: marks.Path, site: Site, surroundings: Surroundings, *, last: bool) -> Step | None:
        found = self._component("step", data, path, steps())
        if found is None:
            return None
        component, options, at = found
        if component.name == "sign" and ("gate" in path or not last):
            self.faults.add(at, "'sign' must be the last of 'steps': nothing may change what is signed", key=True)
        model = self.faults.validated(component.options, options, at, surroundings)
        if model is None:
            return None
        try:
            step: Step = component.make(model, site)
        except (ValueError, KeyError) as error:
            self.faults.add(at, str(error.args[0] if error.args else error))
            return None
        return step

    # --- keys -------------------------------------------------------------------------------------------------------

    def _keys(self, site: Site, block: SiteBlock | None) -> None:
        """The site's own keys must be there; every certificate in use must not have ended, and warns before it does."""
        own = _own(site.keyring)
        for option in ("key", "tls") if block else ():
            name = getattr(block, option)
            if name not in own and (option, name) != ("tls", "none"):
                self.faults.add(("site", option), f"key {name!r} does not exist under certs/{suggestion(name, own)}")
        now = self.clock()
        for entry in site.keyring.entries():
            path = self._place_of(entry.name, entry.partner, block)
            if path is None or entry.kind == "crl":
                continue
            what = f"key {entry.name!r}" if entry.kind == "own" else f"certificate {entry.subject!r} of {entry.partner!r}"
            if entry.not_after <= now:
                self.faults.add(path, f"{what} expired on {entry.not_after:%Y-%m-%d}; replace it")
            elif entry.not_after - now < EXPIRY_WARNING:
                days = (entry.not_after - now).days
                self.faults.add(path, f"{what} expires {entry.not_after:%Y-%m-%d}, in {days} days", warning=True)

    def _place_of(self, key: str, partner: str, block: SiteBlock | None) -> marks.Path | None:
        """Where the document speaks of a certificate: the first place that names it."""
        if partner:
            return ("partners", partner, "trust")
        named = next((path for path, text in self.document.scalars() if text == key), None)
        return named or (("site",) if block and key in (block.key, block.tls) else None)


def _own(keyring: Keyring) -> set[str]:
    return {entry.name for entry in keyring.entries() if entry.kind == "own"}


def _route(block: RouteBlock, site: Site, gate: tuple[Step, ...], steps: tuple[Step, ...], endpoints: Mapping[str, object]) -> Route:
    retry = block.retry
    return Route(
        name=block.name,
        source=block.source,
        site=site,
        when=block.when,
        gate=gate,
        steps=steps,
        choose=tuple(_branch(branch, endpoints) for branch in block.choose),
        to=_targets(block.to, endpoints),
        order_by=block.order_by,
        receipts=block.receipts,
        retry=RetryPolicy(retry.first, retry.factor, retry.most, retry.give_up),
    )


def _branch(block: BranchBlock, endpoints: Mapping[str, object]) -> Branch:
    return Branch(block.when, _targets(block.to or block.otherwise, endpoints))


def _targets(entries: Entries | None, endpoints: Mapping[str, object]) -> tuple[Entry, ...]:
    """The entries with their targets' full names: what is no endpoint is a route."""
    named = entries or []
    return tuple(entry if entry.name in endpoints else Entry(ROUTE_PREFIX + entry.name, entry.owners) for entry in named)


