"""Partners on real sockets that do what partners do: each fault by its number, at both of our clients."""

from datetime import datetime, timedelta

import pytest
from faults_rig import Rig
from partner_server import FAULT, says

from bus.audit import audit


def sound(rig: Rig) -> None:
    """The oracle: everything adds up, at both ends."""
    for bus in (rig.ministry, rig.agency_bus):
        assert audit(bus.store, bus.evidence).findings == ()


def pause(rig: Rig, name: str) -> timedelta:
    """How long the one failed attempt at a document has put it off."""
    (put_off,) = rig.acts(name, "deferred")
    return datetime.fromisoformat(put_off["due"]) - datetime.fromisoformat(put_off["at"])


async def test_fault_27_a_partner_that_accepts_and_never_answers(rig: Rig) -> None:
    """The call is cut off after its timeout and tried again; the other partner's documents go out meanwhile."""
    rig.servers["agency"].script["stuck"] = ["takes the request and never answers"]
    await rig.hand_in("stuck", "agency")
    await rig.until(lambda: rig.servers["agency"].times("stuck") == 1)
    await rig.hand_in("free", "exchange")
    await rig.delivered("free")
    assert rig.statuses("stuck") == ["ACCEPTED"]
    await rig.delivered("stuck")
    assert (rig.failures("stuck"), rig.servers["agency"].taken) == (["4.4.1"], {"stuck": 1})
    sound(rig)


async def test_fault_28_a_partner_that_answers_a_byte_at_a_time(rig: Rig) -> None:
    """The whole call is bounded, not only its silences; a reply without end, or in another protocol, is cut off as well."""
    await rig.survives(["answers a byte at a time", "speaks another protocol"])
    sound(rig)


async def test_fault_29_a_line_cut_in_either_direction(rig: Rig) -> None:
    """Cut in mid-reply, before any reply, or after the partner took it: sent again with the same id, and taken once."""
    await rig.survives(["cuts the line in mid-reply", "hangs up", "takes it and cuts the line before the reply"], code="4.4.1")
    # What was taken before the cut came twice, and the agency's bus has it once.
    assert rig.servers["agency"].taken["agency-2"] == 2
    assert rig.agency_bus.count() == 3
    sound(rig)


async def test_fault_30_busy_servers_and_pages(rig: Rig) -> None:
    """502, 503, HTML or nothing with 200, redirects: none is taken for an answer, all are tried again."""
    await rig.survives(["502", "503, Retry-After: nonsense", "HTML with 200", "nothing with 200", "a login page elsewhere"])
    sound(rig)


async def test_fault_30_a_retry_after_is_kept(rig: Rig) -> None:
    """The next try comes when the partner said, not when our own clock would have it; a wish without sense does no harm."""
    busy = ["503, Retry-After: 7", "429, Retry-After: 7", "503, Retry-After: for ever"]
    names = {f"{to}-{number}": (to, way) for to in rig.servers for number, way in enumerate(busy)}
    for name, (to, way) in names.items():
        rig.servers[to].script[name] = [way]
        await rig.hand_in(name, to)
    await rig.until(lambda: all(rig.failures(name) for name in names))
    for name, (_, way) in names.items():
        expected = 3600 if "for ever" in way else 7
        assert pause(rig, name).total_seconds() == pytest.approx(expected, abs=2), (name, way)


@pytest.mark.parametrize("status", [200, 500])
async def test_fault_30_a_soap_fault_by_the_partner_itself(rig: Rig, status: int) -> None:
    """With 200 or 500, from behind the partner's own TLS: a fault of theirs is tried again, one of ours ends in REJECTED."""
    rig.servers["agency"].script |= {
        "theirs": [f"a SOAP fault with {status}, theirs"],
        "ours": [says(status, FAULT.format("Client"), "text/xml")],
    }
    await rig.hand_in("theirs", "agency")
    await rig.hand_in("ours", "agency")
    await rig.delivered("theirs")
    await rig.until(lambda: rig.statuses("ours") == ["ACCEPTED", "REJECTED"])
    assert (rig.failures("theirs"), rig.servers["agency"].times("ours")) == (["4.4.5"], 1)
    sound(rig)
