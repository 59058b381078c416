"""``site: timestamps:`` in routes.yaml: what is left out has a safe default, and each mistake is found at its line, with its cure."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tsa_server import Authority

from bus import config
from bus.errors import ConfigurationError
from bus.site import Site

ENVIRONMENT = {"VXP_URL": "http://127.0.0.1:9/", "VXP_SECRET": "none", "AGENCY_URL": "https://127.0.0.1:9/", "TSA_URL": "http://tsa.test/"}


@pytest.fixture
def load(make_site: Callable[..., Path]) -> Callable[[str], Site]:
    """Loads a site with this ``timestamps`` block, and an authority's root under certs/trust/tsa."""

    def loading(block: str) -> Site:
        root = make_site()
        Authority(datetime.now(UTC)).write(root / "certs" / "trust" / "tsa")
        routes = root / "routes.yaml"
        text = routes.read_text(encoding="utf-8")
        routes.write_text(text.replace("  tls: own/tls\n", f"  tls: own/tls\n{block}"), encoding="utf-8")
        return config.load(root, environment=ENVIRONMENT, clock=lambda: datetime.now(UTC)).site

    return loading


def test_a_site_of_before_has_no_authority_and_no_switch(load: Callable[[str], Site]) -> None:
    """Nothing is asked and nothing stops where routes.yaml says nothing about time-stamps."""
    assert load("").timestamps is None


def test_an_address_is_enough(load: Callable[[str], Site]) -> None:
    """Asked every ten minutes, trusted by certs/trust/tsa, any policy; and acceptance does not depend on it."""
    found = load("  timestamps: {url: env:TSA_URL}\n").timestamps
    assert (found.url, found.every, found.limit, found.policy, len(found.anchors)) == (
        "http://tsa.test/",
        timedelta(minutes=10),
        None,
        "",
        1,
    )


@pytest.mark.parametrize(
    ("block", "fault"),
    [
        ("{every: 1m}", "'url' is missing"),
        ("{url: env:NO_SUCH}", "NO_SUCH is set neither"),
        ("{url: ftp://tsa}", "url"),
        ("{url: env:TSA_URL, trust: trust/nobody}", "certs/trust/nobody holds no authority"),
        ("{url: env:TSA_URL, every: 1h, limit: 90m}", "must be twice 'every' at least"),
        ("{url: env:TSA_URL, limit: soon}", "'soon' is not a duration"),
        ("{url: env:TSA_URL, policy: any}", "policy"),
    ],
)
def test_each_mistake_is_found(load: Callable[[str], Site], block: str, fault: str) -> None:
    """At the block's own line, in words that say what to do."""
    with pytest.raises(ConfigurationError) as found:
        load(f"  timestamps: {block}\n")
    [said] = [str(each) for each in found.value.faults]
    assert said.startswith("routes.yaml:10:")
    assert fault in said
