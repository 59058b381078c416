"""Folding: the form in which what people type is compared, whatever their keyboard makes of case, accents and đ.

NFC (Unicode Standard Annex 15), lower case, without combining marks, đ as d, one blank between words: ``ĐỀ NGHỊ``, ``đề nghị`` in either
normal form, and ``de nghi`` are one. Both sides of a comparison are folded here, so that no database's own idea of case matters.
"""

import unicodedata

#: Letters that no normal form takes apart. The second is the Icelandic eth, which old Vietnamese fonts show as đ.
_STROKES = str.maketrans({"đ": "d", "ð": "d"})


def fold(text: str) -> str:
    """``text`` folded; "" where it holds nothing but blanks and marks."""
    apart = unicodedata.normalize("NFD", unicodedata.normalize("NFC", text).lower())
    bare = "".join(each for each in apart if not unicodedata.combining(each))
    return " ".join(unicodedata.normalize("NFC", bare).translate(_STROKES).split())
