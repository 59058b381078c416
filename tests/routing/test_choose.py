"""The router: who gets a copy, through which target, and that nobody is lost."""

from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from routing_messages import NOW, document, received

from bus.errors import Rejected
from bus.exchange import Target
from bus.message import RECEIVERS
from bus.route import Branch, Entry, Route
from bus.site import Site
from bus.xpath import XPath

UNIT = "000.00.01.G14"
KNOWN = [
    "000.00.00.G18",
    "G18",
    "000.00.01.G14",
    "000.00.02.G14",
    "000.00.00.G14",
    "G14",
    "000.00.00.G22",
    "G22",
    "000.00.00.G01",
    "H41",
    "000.00.00.H41",
]


def admit(route: Route, body: bytes, partner: str = "telecom-authority") -> tuple[Target, ...]:
    return route.admit(received(body, partner), NOW).to


def test_a_document_to_an_agency_and_to_the_government_goes_to_both(routes: Mapping[str, Route]) -> None:
    """One document, two receivers, two ways: neither is lost."""
    targets = admit(routes["unit-documents"], document(UNIT, "000.00.00.G18", "000.00.00.G22"))
    assert targets == (
        Target("route:unit-to-agency", receivers=("000.00.00.G18",)),
        Target("route:unit-to-government", receivers=("000.00.00.G22",)),
    )


def test_receivers_that_share_a_way_share_a_copy(routes: Mapping[str, Route]) -> None:
    """Three receivers behind the national exchange are one delivery to it, for all three."""
    targets = admit(routes["unit-documents"], document(UNIT, "000.00.00.G22", "000.00.00.G01", "000.00.00.H41"))
    assert targets == (Target("route:unit-to-government", receivers=("000.00.00.G22", "000.00.00.G01", "000.00.00.H41")),)


def test_a_fellow_unit_gets_it_into_its_own_mailbox(routes: Mapping[str, Route]) -> None:
    """A mailbox target names the partner that owns it."""
    targets = admit(routes["unit-documents"], document(UNIT, "000.00.02.G14"))
    assert targets == (Target("unit-inbox", owner="digital-agency", receivers=("000.00.02.G14",)),)


def test_the_old_and_the_new_code_of_one_organisation_are_one_receiver(routes: Mapping[str, Route]) -> None:
    """A hub addresses a ministry by both its codes: it gets one copy, whichever form a condition is written in."""
    targets = admit(routes["unit-documents"], document(UNIT, "G18", "000.00.00.G18"))
    assert targets == (Target("route:unit-to-agency", receivers=("G18",)),)


def test_an_unknown_receiver_is_refused_by_name(routes: Mapping[str, Route]) -> None:
    """A receiver in nobody's book is a 5.1.1 that names it, at the door."""
    with pytest.raises(Rejected) as caught:
        admit(routes["unit-documents"], document(UNIT, "000.00.00.G22", "999.99.99.Z99"))
    assert (caught.value.code, "999.99.99.Z99" in caught.value.reason("vi")) == ("5.1.1", True)


def test_a_closed_receiver_says_who_took_over(routes: Mapping[str, Route]) -> None:
    """A code closed by Decision 09/2025 is refused with its successor."""
    with pytest.raises(Rejected) as caught:
        admit(routes["unit-documents"], document(UNIT, "000.00.00.G13"))
    assert (caught.value.key, caught.value.values["successor"]) == ("receiver-closed", "G10")


def test_a_unit_may_not_send_for_another(routes: Mapping[str, Route]) -> None:
    """From must be a code of the partner that was authenticated."""
    with pytest.raises(Rejected) as caught:
        admit(routes["unit-documents"], document("000.00.02.G14", "000.00.00.G22"), partner="telecom-authority")
    assert caught.value.code == "5.7.1"


def test_an_internal_route_serves_only_the_receivers_it_was_given(routes: Mapping[str, Route]) -> None:
    """The copy for the agency does not go to the Government Office a second time, though the document names both."""
    message = received(document(UNIT, "000.00.00.G18", "000.00.00.G22"), "telecom-authority").with_headers(**{RECEIVERS: "000.00.00.G18"})
    assert routes["unit-to-agency"].process(message, NOW).to == (Target("agency-service", receivers=("000.00.00.G18",)),)


def test_from_the_exchange_each_unit_gets_its_copy_and_strangers_are_passed_over(routes: Mapping[str, Route]) -> None:
    """Of a document to two units and another ministry, two copies are ours to deliver."""
    body = document("000.00.00.G22", "000.00.01.G14", "000.00.00.G01", "000.00.02.G14")
    targets = admit(routes["government-to-units"], body, "government-office")
    assert targets == (
        Target("unit-inbox", owner="telecom-authority", receivers=("000.00.01.G14",)),
        Target("unit-inbox", owner="digital-agency", receivers=("000.00.02.G14",)),
    )


def test_from_the_exchange_a_document_for_nobody_here_is_refused(routes: Mapping[str, Route]) -> None:
    """What the exchange misdirects goes back as 5.1.1, not into a void."""
    with pytest.raises(Rejected) as caught:
        admit(routes["government-to-units"], document("000.00.00.G22", "000.00.00.G01"), "government-office")
    assert caught.value.code == "5.1.1"


def test_a_receiver_that_no_branch_takes_fails_the_whole_message(site: Site) -> None:
    """Without `otherwise`, a receiver may not vanish while the others are served."""
    route = Route("r", "e", site, choose=(Branch(XPath("To/OrganId = 'G18'"), (Entry("agency"),)),))
    with pytest.raises(Rejected) as caught:
        admit(route, document(UNIT, "000.00.00.G18", "000.00.00.G22"))
    assert caught.value.values["receiver"] == "000.00.00.G22"


def test_a_long_order_key_is_digested(site: Site) -> None:
    """Every store keeps an index of it, and no index takes whatever a stranger writes; equal ones stay equal."""
    route = Route("r", "e", site, order_by=XPath("concat(SteeringType, Subject)"), to=(Entry("agency"),))
    long = document(UNIT, "G18").replace("kiểm tra".encode(), b"x" * 3_000)
    other = long.replace(b"<SteeringType>1", b"<SteeringType>2")
    keys = [route.order_key(received(body, "telecom-authority")) for body in (long, long, other)]
    assert keys[0] == keys[1] != keys[2]
    assert {len(key) for key in keys} == {64}


def test_a_body_that_is_not_edxml_goes_to_the_receivers_its_headers_name(site: Site) -> None:
    """After a transform into an agency's own format, the receivers are those the message came with."""
    route = Route("r", "e", site, to=(Entry("agency"),))
    message = received(document(UNIT, "000.00.00.G18"), "telecom-authority").with_body(b"<Incoming><To>x</To></Incoming>")
    assert route.process(message, NOW).to == (Target("agency", receivers=("000.00.00.G18",)),)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(receivers=st.lists(st.sampled_from(KNOWN), min_size=1, max_size=8))
def test_choose_loses_no_receiver_and_doubles_none(routes: Mapping[str, Route], site: Site, receivers: list[str]) -> None:
    """Whoever a document names, in whatever form and number: each organisation is served by exactly one target."""
    targets = admit(routes["unit-documents"], document(UNIT, *receivers))
    served = [site.organisations.canonical(code) for target in targets for code in target.receivers]
    assert sorted(served) == sorted({site.organisations.canonical(code) for code in receivers})
