r"""Plain text: a stranger's words without characters that command a terminal or turn a line of text around.

Control characters start escape sequences; bidi overrides and invisible format characters make a name read as another. Each is written
as its escape (``\x1b``, ``\u202e``), so that nothing is lost and nothing acts. Letters, marks (also decomposed ones) and spaces stay.

Standards: Unicode 15, categories Cc, Cf, Cs, Zl, Zp; Unicode TR 36, section 2.5 (bidirectional text); RFC 8259, section 7.
"""

import unicodedata
from collections.abc import Callable

#: What may act on its reader. Zero-width joiners are among them: no Vietnamese text needs one.
_ACTING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def plain(text: str) -> str:
    """``text`` with each acting character as a visible escape; a line end is one of them."""
    return _without_acting(text, lambda character: character.encode("unicode_escape").decode())


def plain_lines(text: str) -> str:
    """The same of several lines, whose ends stay."""
    return "\n".join(map(plain, text.split("\n")))


def plain_json(text: str) -> str:
    r"""JSON ``text`` that means the same, with each acting character as ``\uXXXX``. It is one line, as JSON writers make it."""
    return _without_acting(text, _json_escape)


def _without_acting(text: str, escape: Callable[[str], str]) -> str:
    # Nearly every text is printable, and asking that is forty times cheaper than asking for each category.
    if text.isprintable():
        return text
    return "".join(escape(character) if unicodedata.category(character) in _ACTING else character for character in text)


def _json_escape(character: str) -> str:
    octets = character.encode("utf-16-be")
    return "".join(f"\\u{octets[place]:02x}{octets[place + 1]:02x}" for place in range(0, len(octets), 2))
