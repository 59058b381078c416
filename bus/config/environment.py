"""Values that stand outside routes.yaml: ``env:NAME`` and ``file:PATH``, and the ``site.env`` file beside it.

``site.env`` is UTF-8 text of lines ``NAME=value`` (blank lines and ``#`` remarks aside). Quotes around a value, single or double, are
taken off, as a shell and systemd's EnvironmentFile do; nothing is expanded. The process's own environment wins over it. The path of
``file:`` is relative to the site; that file's trailing line end is not part of the value. No fault ever shows a value.
"""

import codecs
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bus import regular
from bus.config import marks
from bus.config.faults import Faults
from bus.errors import Fault, suggestion

FILE = "site.env"
_ENV, _FILE = "env:", "file:"
#: What is wrong with a line, in English and in Vietnamese. No value is shown.
NOT_UTF8 = ("not UTF-8 text; save the file as UTF-8", "không phải văn bản UTF-8; hãy lưu tệp theo UTF-8")
NO_ASSIGNMENT = ("not a line NAME=value", "không phải dòng TÊN=giá trị")
NOT_QUOTED = (
    'a value that begins with a quote must end with it, and hold it only as \\" between double quotes',
    'giá trị mở đầu bằng dấu nháy phải kết thúc bằng chính dấu đó; giữa hai dấu nháy kép, viết dấu nháy kép là \\"',
)
_LINE_END = re.compile(rb"\r\n|\n|\r")
_QUOTED = {"'": re.compile(r"'([^']*)'"), '"': re.compile(r'"((?:[^"\\]|\\.)*)"')}
#: What a backslash takes the meaning of between double quotes (POSIX, Shell Command Language, 2.2.3).
_ESCAPE = re.compile(r'\\(["\\$`])')


def read(root: Path, environment: Mapping[str, str], faults: list[Fault]) -> dict[str, str]:
    """``site.env``, if there is one, under the process's environment."""
    found: dict[str, str] = {}
    for number, octets in enumerate(_lines(root / FILE, faults), 1):
        try:
            line = octets.decode()
        except UnicodeDecodeError as error:
            faults.append(_fault(number, len(octets[: error.start].decode()) + 1, NOT_UTF8))
            continue
        name, separator, value = (part.strip(" \t") for part in line.partition("="))
        if not line.strip() or name.startswith("#"):
            continue
        if not separator or not name.isidentifier() or "\0" in value:
            faults.append(_fault(number, 1, NO_ASSIGNMENT))
            continue
        try:
            found[name] = _unquoted(value)
        except ValueError:
            faults.append(_fault(number, line.index("=") + 2, NOT_QUOTED))
    return {**found, **environment}


def _lines(path: Path, faults: list[Fault]) -> list[bytes]:
    try:
        octets = regular.octets(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        faults.append(Fault(FILE, 1, 1, f"cannot be read: {error.strerror}", vi=f"không đọc được: {error.strerror}"))
        return []
    if octets.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        faults.append(_fault(1, 1, NOT_UTF8))
        return []
    return _LINE_END.split(octets.removeprefix(codecs.BOM_UTF8))


def _unquoted(value: str) -> str:
    """The value as a shell or systemd takes it: quotes around the whole of it are not part of it. Raises ValueError."""
    quote = value[:1]
    if quote not in _QUOTED:
        return value
    whole = _QUOTED[quote].fullmatch(value)
    if whole is None:
        raise ValueError
    return _ESCAPE.sub(r"\1", whole[1]) if quote == '"' else whole[1]


def _fault(line: int, column: int, words: tuple[str, str]) -> Fault:
    text, vi = words
    return Fault(FILE, line, column, text, vi=vi)


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
            return regular.words(self._root / reference.removeprefix(_FILE)).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{reference!r} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
