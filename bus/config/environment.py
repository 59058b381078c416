"""Values that stand outside routes.yaml: ``env:NAME`` and ``file:PATH``, and the ``site.env`` file beside it.

``site.env`` holds lines ``NAME=value`` (blank lines and ``#`` remarks aside); the process's own environment wins over it. A file's
path is relative to the site; its trailing line end is not part of the value. No fault ever shows a value.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bus.config import marks
from bus.config.faults import Faults
from bus.errors import Fault, suggestion

FILE = "site.env"
_ENV, _FILE = "env:", "file:"


def read(root: Path, environment: Mapping[str, str], faults: list[Fault]) -> dict[str, str]:
    """``site.env``, if there is one, under the process's environment."""
    path = root / FILE
    found: dict[str, str] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        name, separator, value = line.partition("=")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not separator or not name.strip().isidentifier():
            faults.append(Fault(FILE, number, 1, "not a line NAME=value"))
            continue
        found[name.strip()] = value.strip()
    return {**found, **environment}


class Outside:
    """Fetches outside values. ``fetched`` remembers which paths of the document got theirs from outside."""

    def __init__(self, root: Path, environment: Mapping[str, str], faults: Faults) -> None:
        self._root = root
        self._environment = environment
        self._faults = faults
        self.fetched: set[marks.Path] = set()

    def resolve(self, data: Any, path: marks.Path) -> Any:
        """``data`` with every ``env:`` and ``file:`` text replaced; one that leads nowhere is a fault and stays as it is."""
        if isinstance(data, dict):
            return {key: self.resolve(value, (*path, key)) for key, value in data.items()}
        if isinstance(data, list):
            return [self.resolve(value, (*path, index)) for index, value in enumerate(data)]
        if not isinstance(data, str) or not data.startswith((_ENV, _FILE)):
            return data
        self.fetched.add(path)
        try:
            return self._from_environment(data) if data.startswith(_ENV) else self._from_file(data)
        except ValueError as error:
            self._faults.add(path, str(error))
            return data

    def _from_environment(self, reference: str) -> str:
        name = reference.removeprefix(_ENV)
        value = self._environment.get(name, "")
        if not value:
            near = suggestion(name, (known for known in self._environment if known[:1] == name[:1])).partition(" (known")[0].rstrip(";")
            raise ValueError(f"{reference!r}: {name} is set neither in the environment nor in {FILE}{near}")
        return value

    def _from_file(self, reference: str) -> str:
        try:
            return (self._root / reference.removeprefix(_FILE)).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{reference!r} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
