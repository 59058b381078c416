"""The site's edXML schemas and stylesheets, compiled once; the test data; the code book."""

from collections.abc import Callable
from pathlib import Path

import pytest
from lxml import etree

from bus.organisations import CodeBook

SITE = Path(__file__).parents[2] / "schemas"
DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def book() -> CodeBook:
    return CodeBook.load(SITE / "organisations" / "v1" / "organisations.csv")


@pytest.fixture(scope="session")
def schemas() -> dict[str, etree.XMLSchema]:
    folder = SITE / "edxml" / "v1"
    return {name: etree.XMLSchema(etree.parse(folder / f"{name}.xsd")) for name in ("document", "status", "received", "agency")}


@pytest.fixture(scope="session")
def transform() -> Callable[[str, etree._Element], bytes]:
    """``transform("normalise", tree)``: as the transform step runs it, every access denied."""
    folder = SITE / "edxml" / "v1"
    compiled = {
        name: etree.XSLT(etree.parse(folder / f"{name}.xsl"), access_control=etree.XSLTAccessControl.DENY_ALL)
        for name in ("normalise", "agency")
    }
    return lambda name, tree: bytes(compiled[name](tree))
