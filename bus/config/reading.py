"""The first look at a site: its routes.yaml with places, and what that fetches from outside. Raises ConfigurationError if there is none."""

import contextlib
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bus import regular
from bus.config import environment as outside
from bus.config import marks
from bus.config.blocks import SiteFile
from bus.config.faults import Faults, secrets_in
from bus.errors import ConfigurationError, Fault, suggestion
from bus.site import Clock

FILE = "routes.yaml"
#: The top-level keys -> what they hold.
_SHAPES: Mapping[str, tuple[type, str]] = {"partners": (dict, "a mapping"), "endpoints": (dict, "a mapping"), "routes": (list, "a list")}


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of one site. ``data`` has its outside values filled in; ``fetched`` are the paths that had one.

    ``tolerant``: what can be used is used, whatever else has a fault.
    """

    root: Path
    document: marks.Document
    faults: Faults
    data: Mapping[str, Any]
    fetched: AbstractSet[marks.Path]
    environment: Mapping[str, str]
    clock: Clock
    tolerant: bool = False

    def mapping(self, key: str) -> Mapping[str, Any]:
        """The mapping under a top-level key, empty if it is none."""
        value = self.data.get(key)
        return value if isinstance(value, dict) else {}

    def listed(self, key: str) -> list[Any]:
        """The list under a top-level key, empty if it is none."""
        value = self.data.get(key)
        return value if isinstance(value, list) else []

    def demand_outside(self, model: BaseModel, path: marks.Path) -> None:
        """No secret may stand in routes.yaml itself."""
        for secret in secrets_in(model, path):
            if secret not in self.fetched:
                self.faults.add(secret, f"{secret[-1]!r} is a secret: write env:NAME or file:PATH, and put the value there")

    def elsewhere(self, error: ConfigurationError) -> None:
        """Take over the faults of another file, named as seen from the site."""
        for fault in error.faults:
            path = Path(fault.file)
            name = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else fault.file
            self.faults.found.append(replace(fault, file=name))


def read(root: Path, environment: Mapping[str, str], clock: Clock) -> Reading:
    """The site's routes.yaml, its shape checked at the top only."""
    document = marks.read(_text(root), FILE)
    return _reading(root, document, environment, clock)


def salvage(root: Path, environment: Mapping[str, str], clock: Clock) -> tuple[Reading, list[Fault]]:
    """The site's routes.yaml as far as it can be read, and why it cannot be read further: nothing where only its content has faults.

    What is no YAML is taken apart at its top-level keys: a slip among the routes leaves the site and its partners as they are.
    """
    try:
        return _reading(root, marks.read(_text(root), FILE), environment, clock, tolerant=True), []
    except ConfigurationError as error:
        document = marks.Document(FILE, _blocks(root))
        return _reading(root, document, environment, clock, tolerant=True), list(error.faults)


def _blocks(root: Path) -> dict[str, Any]:
    """The top-level blocks that are YAML by themselves."""
    try:
        text = regular.octets(root / FILE).decode("utf-8-sig", "replace")
    except OSError:
        return {}
    found: dict[str, Any] = {}
    for block in re.split(r"^(?=[^\s#])", text, flags=re.MULTILINE):
        with contextlib.suppress(ConfigurationError):
            data = marks.read(block, FILE).data
            found |= data if isinstance(data, dict) else {}
    return found


def _reading(root: Path, document: marks.Document, environment: Mapping[str, str], clock: Clock, *, tolerant: bool = False) -> Reading:
    faults = Faults(document)
    if not isinstance(document.data, dict):
        faults.add((), "must be a mapping with 'site', 'partners', 'endpoints' and 'routes'")
        raise ConfigurationError(faults.found)
    _check_top(document.data, faults)
    everything = _everything(root, environment, faults.found, tolerant=tolerant)
    fetcher = outside.Outside(root, everything, faults)
    filled = {key: fetcher.resolve(document.data[key], (key,)) for key in ("site", "partners", "endpoints") if key in document.data}
    return Reading(root, document, faults, {**document.data, **filled}, fetcher.fetched, everything, clock, tolerant)


def _everything(root: Path, environment: Mapping[str, str], faults: list[Fault], *, tolerant: bool) -> Mapping[str, str]:
    try:
        return outside.read(root, environment, faults)
    except (OSError, ValueError) as error:
        if not tolerant:
            raise
        faults.append(Fault(outside.FILE, 1, 1, f"cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}"))
        return environment


def _text(root: Path) -> str:
    try:
        return regular.words(root / FILE)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        text = f"cannot be read: {reason}; is {str(root)!r} a site? 'govbus init' makes one"
        raise ConfigurationError([Fault(FILE, 1, 1, text)]) from None


def _check_top(data: Mapping[str, Any], faults: Faults) -> None:
    known = list(SiteFile.model_fields)
    for key in data:
        if key not in known:
            faults.add((key,), f"unknown key {key!r}{suggestion(key, known)}", key=True)
    for key in ("site", "endpoints", "routes"):
        if data.get(key) is None:
            faults.add((), f"{key!r} is missing", key=True)
    for key, (kind, words) in _SHAPES.items():
        if data.get(key) is not None and not isinstance(data[key], kind):
            faults.add((key,), f"{key!r} must be {words}")
