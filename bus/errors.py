"""The two ways a message can fail, and the one way a site can.

A step, an adapter or the store raises

``Rejected``   (5.x.y) permanent: the same message will fail the same way for ever;
``Deferred``   (4.x.y) transient: try again later;
``ConfigurationError``   the site's own files are wrong; nothing was started.

Anything else that escapes is a bug of ours: it is logged with its traceback and treated as 4.3.0.

Codes are those of RFC 3463 (enhanced mail system status codes), which the field's operators already read.
Every text a partner or operator may see stands in ``catalogue.toml``, in Vietnamese and in English.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePath
from types import MappingProxyType

from bus.plain import plain

LANGUAGES = ("vi", "en")
#: Characters of one value in a text, and of a place. A stranger chooses what is quoted, and what is quoted is stored and sent.
MOST_SAID = 4_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One catalogue entry: an RFC 3463-style code and its text in both languages, with ``{placeholders}``."""

    code: str
    vi: str
    en: str


@cache
def catalogue() -> Mapping[str, Entry]:
    """Every user-facing text, by key; read once from ``catalogue.toml``."""
    raw = tomllib.loads(files("bus").joinpath("catalogue.toml").read_text(encoding="utf-8"))
    return MappingProxyType({key: Entry(code=value.get("code", ""), vi=value["vi"], en=value["en"]) for key, value in raw.items()})


def text(key: str, language: str, **values: object) -> str:
    """The catalogue's text for ``key`` in ``language`` ("vi" or "en"), its placeholders filled from ``values``."""
    entry = catalogue()[key]
    template = entry.vi if language == "vi" else entry.en
    return template.format(**{name: said(value, language) for name, value in values.items()})


def language(environment: Mapping[str, str]) -> str:
    """The operator's language, from GOVBUS_LANG or the locale: "vi" or "en"."""
    wish = environment.get("GOVBUS_LANG") or environment.get("LC_ALL") or environment.get("LANG") or "en"
    return "vi" if wish.lower().startswith("vi") else "en"


@dataclass(frozen=True, slots=True)
class Phrase:
    """A value that is itself a catalogue text: said in the language of the sentence it stands in."""

    key: str
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Quoted:
    """A value in somebody else's words, by language; where they said nothing in a language, their first words stand."""

    words: Mapping[str, str]


def said(value: object, language: str) -> object:
    """``value`` as it is filled into a text: a Phrase, a Quoted, or a tuple of them, becomes words."""
    if isinstance(value, Phrase):
        return text(value.key, language, **value.values)
    if isinstance(value, Quoted):
        return value.words.get(language) or next(iter(value.words.values()), "")
    if isinstance(value, tuple):
        return "; ".join(str(said(part, language)) for part in value)
    if isinstance(value, str | PurePath):
        value = str(value)
        return plain(value if len(value) <= MOST_SAID else f"{value[:MOST_SAID]}…")
    return value


class BusError(Exception):
    """A failure with a code and a reason in both languages. Raise ``Rejected`` or ``Deferred``, never this."""

    family = ""

    def __init__(self, key: str, /, *, at: str = "", **values: object) -> None:
        """``key`` names a catalogue entry of this family; ``at`` is an XPath or a line, where it is known."""
        entry = catalogue()[key]
        if not entry.code.startswith(self.family):
            raise ValueError(f"catalogue key {key!r} has code {entry.code}, not one of family {self.family}")
        self.key = key
        self.at = at[:MOST_SAID]
        self.values = values
        self.code = entry.code
        super().__init__(f"{entry.code} {self.reason('en')}")

    def reason(self, language: str) -> str:
        """The reason as a sentence in ``language``: "vi" or "en"."""
        return text(self.key, language, **self.values)

    @property
    def reasons(self) -> Mapping[str, str]:
        """The reason in every language, by language code."""
        return {language: self.reason(language) for language in LANGUAGES}


class Rejected(BusError):
    """Permanent failure, 5.x.y: the sender must change something before it can succeed."""

    family = "5."


class Deferred(BusError):
    """Transient failure, 4.x.y: the same message may succeed later.

    ``retry_after`` is the partner's own wish in seconds (an HTTP ``Retry-After``), or None.
    """

    family = "4."

    def __init__(self, key: str, /, *, at: str = "", retry_after: float | None = None, **values: object) -> None:
        super().__init__(key, at=at, **values)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One mistake in a site's files; ``str()`` gives the one-line form ``file:line:column: text``. ``vi``: the text in Vietnamese."""

    file: str
    line: int
    column: int
    text: str
    warning: bool = False
    vi: str = ""

    @classmethod
    def of(cls, file: str, key: str, values: Mapping[str, object], *, line: int = 1, column: int = 1, warning: bool = False) -> "Fault":
        """A fault in the catalogue's words, in both languages."""
        return cls(file, line, column, text(key, "en", **values), warning=warning, vi=text(key, "vi", **values))

    def __str__(self) -> str:
        return self.said("en")

    def said(self, language: str) -> str:
        """The one-line form in ``language``; in English where there is no other."""
        words = self.vi if language == "vi" and self.vi else self.text
        kind = "warning: " if self.warning else ""
        return plain(f"{self.file}:{self.line}:{self.column}: {kind}{words}")


class ConfigurationError(Exception):
    """The site cannot be loaded. ``faults`` holds every mistake found, not just the first."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(faults))
        super().__init__("\n".join(str(fault) for fault in self.faults))


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'? (known: …)`` for an unknown ``word``: the cure beside the cause."""
    choices = sorted(known)
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    meant = f"; did you mean {near[0]!r}?" if near else ";"
    return f"{meant} (known: {', '.join(choices) or 'none'})"
