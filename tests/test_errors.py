"""Failures say the same in both languages, also when they quote somebody."""

import pytest

from bus.errors import Deferred, Phrase, Quoted, Rejected, suggestion


def test_a_quotation_is_in_the_readers_language() -> None:
    """A partner's reason given in two languages reaches each reader in his own; a reason in one language reaches all."""
    both = Rejected("partner-refused", target="agency", detail=Quoted({"vi": "5.6.3 sai lược đồ", "en": "5.6.3 wrong schema"}))
    assert "sai lược đồ" in both.reason("vi")
    assert "wrong schema" in both.reason("en")
    one = Rejected("partner-refused", target="agency", detail=Quoted({"fr": "non"}))
    assert "non" in one.reason("vi")


def test_a_text_inside_a_text_is_translated_too() -> None:
    """A list of catalogue phrases is said in the language of the sentence it stands in."""
    phrases = (Phrase("xsd-more", {"count": 3}),)
    error = Rejected("schema-invalid", schema="s.xsd", errors=phrases)
    assert error.reason("vi") != error.reason("en")


def test_a_key_of_the_wrong_family_is_our_bug() -> None:
    """A permanent code cannot be deferred, nor a transient one rejected."""
    with pytest.raises(ValueError, match="not one of family"):
        Deferred("schema-invalid", schema="", errors="")
    with pytest.raises(ValueError, match="not one of family"):
        Rejected("bus-busy")


def test_a_suggestion_names_the_nearest_and_all() -> None:
    """A misspelling is answered with what was probably meant, and with everything that could be."""
    assert suggestion("trasnform", ["transform", "trace"]) == "; did you mean 'transform'? (known: trace, transform)"
