"""XPath as routes.yaml uses it."""

import pytest
from lxml import etree

from bus.xpath import XPath

VIEW = etree.fromstring("<MessageHeader><To><OrganId> G18 </OrganId></To><To><OrganId>G22</OrganId><OrganId/></To><N>2</N></MessageHeader>")


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("To", True),
        ("not(StatusCode)", True),
        ("StatusCode", False),
        ("To/OrganId = 'G22'", True),
        ("N = 2", True),
        ("number(X)", False),
        ("count(X)", False),
        ("string(N)", True),
    ],
)
def test_a_condition_is_what_boolean_says(text: str, holds: bool) -> None:
    """Node sets, numbers (0 and NaN) and strings convert as XPath 1.0 converts them."""
    assert XPath(text).holds(VIEW) is holds


@pytest.mark.parametrize(
    ("text", "strings"),
    [
        ("To/OrganId", ("G18", "G22")),
        ("'G14'", ("G14",)),
        ("count(To)", ("2",)),
        ("N + 0.5", ("2.5",)),
        ("N = 2", ("true",)),
        ("To/OrganId/text()", ("G18", "G22")),
        ("X", ()),
    ],
)
def test_values_are_trimmed_and_blank_ones_left_out(text: str, strings: tuple[str, ...]) -> None:
    """Every kind of value as text."""
    assert XPath(text).strings(VIEW) == strings


@pytest.mark.parametrize("text", ["To[", "lower-case(To)", "q:To", "To = = 1", "$secret", "re:test(To, 'x')"])
def test_what_cannot_be_evaluated_is_refused_when_loaded(text: str) -> None:
    """Syntax, unknown functions, prefixes and variables are found before a message comes."""
    with pytest.raises(ValueError, match=r"not an XPath 1\.0 expression"):
        XPath(text)
