"""Partners on real sockets that do what partners do: each fault by its number, at both of our clients."""

import asyncio
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from faults_rig import MINISTRY, Rig
from partner_server import FAULT, Asked, Misbehaviour, PartnerServer, reply, says

from bus.audit import audit
from bus.errors import Rejected
from bus.http import tls_context
from bus.store import Standing


def sound(rig: Rig) -> None:
    """The oracle: everything adds up, at both ends."""
    for bus in (rig.ministry, rig.agency_bus):
        assert audit(bus.store, bus.evidence).findings == ()


def pause(rig: Rig, name: str) -> timedelta:
    """How long the one failed attempt at a document has put it off."""
    (put_off,) = rig.acts(name, "deferred")
    return datetime.fromisoformat(put_off["due"]) - datetime.fromisoformat(put_off["at"])


async def test_fault_27_a_partner_that_accepts_and_never_answers(hasty: Rig) -> None:
    """The call is cut off after its timeout and tried again; the other partner's documents go out meanwhile."""
    hasty.servers["agency"].script["stuck"] = ["takes the request and never answers"]
    await hasty.hand_in("stuck", "agency")
    await hasty.until(lambda: hasty.servers["agency"].times("stuck") == 1)
    await hasty.hand_in("free", "exchange")
    await hasty.delivered("free")
    assert hasty.statuses("stuck") == ["ACCEPTED"]
    await hasty.delivered("stuck")
    assert (set(hasty.failures("stuck")), hasty.agency_bus.count()) == ({"4.4.1"}, 1)
    sound(hasty)


async def test_fault_28_a_partner_that_answers_a_byte_at_a_time(hasty: Rig) -> None:
    """The whole call is bounded, not only its silences; a reply without end, or in another protocol, is cut off as well."""
    await hasty.survives(["answers a byte at a time", "speaks another protocol"])
    sound(hasty)


async def test_fault_29_a_line_cut_in_either_direction(rig: Rig) -> None:
    """Cut in mid-reply, before any reply, or after the partner took it: sent again with the same id, and taken once."""
    await rig.survives(["cuts the line in mid-reply", "hangs up", "takes it and cuts the line before the reply"], code="4.4.1")
    # What was taken before the cut came twice, and the agency's bus has it once.
    assert rig.servers["agency"].taken["agency-takes-it-and-cuts-the-line-before-the-reply"] == 2
    assert rig.agency_bus.count() == 3
    sound(rig)


async def test_fault_30_busy_servers_and_pages(rig: Rig) -> None:
    """502, 503, HTML or nothing with 200, redirects: none is taken for an answer, all are tried again."""
    await rig.survives(["502", "503, Retry-After: nonsense"], code="4.4.5")
    await rig.survives(["HTML with 200", "nothing with 200", "a login page elsewhere"], code="4.4.0")
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


# --- receipts that prove nothing (fault 31) ---------------------------------------------------------------------------


def _of_another(rig: Rig) -> Misbehaviour:
    """The agency's answer to another document, which it has signed just now: a receipt for a message that is not this one."""

    async def answer(server: PartnerServer, asked: Asked, writer: asyncio.StreamWriter) -> None:
        other = next(each for each in server.asked if each.name == "earlier")
        await reply(writer, await rig.agency_bus.asked(other))

    return answer


def _altered(change: Callable[[bytes], bytes]) -> Misbehaviour:
    """The agency's own answer, with something done to it on the way."""

    async def answer(server: PartnerServer, asked: Asked, writer: asyncio.StreamWriter) -> None:
        response = await server.well(asked)
        await reply(writer, replace(response, body=change(response.body)))

    return answer


def _replayed() -> Misbehaviour:
    """The very octets that answered an earlier document."""

    async def answer(server: PartnerServer, asked: Asked, writer: asyncio.StreamWriter) -> None:
        await reply(writer, server.answered["earlier"])

    return answer


def _doubled(body: bytes) -> bytes:
    receipt = re.search(rb"<(\w+:)?Receipt\b.*</(\w+:)?Receipt>", body, re.DOTALL)
    assert receipt
    return body.replace(receipt[0], receipt[0] * 2)


@pytest.mark.parametrize(
    "way",
    ["for another message", "replayed", "twice", "forged", "left out"],
)
async def test_fault_31_a_receipt_that_is_not_for_this_message(rig: Rig, way: str) -> None:
    """Another's, replayed, doubled, changed or missing: it ends nothing. The document is sent again and its true receipt is kept."""
    server = rig.servers["agency"]
    await rig.hand_in("earlier", "agency")
    await rig.delivered("earlier")
    ways = {
        "for another message": _of_another(rig),
        "replayed": _replayed(),
        "twice": _altered(_doubled),
        "forged": _altered(lambda body: body.replace(b">ACCEPTED<", b">CONFIRMED<")),
        "left out": _altered(lambda body: re.sub(rb"<(\w+:)?Receipt\b.*</(\w+:)?Receipt>", b"", body, flags=re.DOTALL)),
    }
    server.script["m"] = [ways[way]]
    await rig.hand_in("m", "agency")
    await rig.delivered("m")
    assert (rig.failures("m"), server.times("m"), rig.agency_bus.count()) == (["4.4.0"], 2, 2)
    sound(rig)


# --- names, certificates, repetitions, and a long absence -----------------------------------------------------------------


async def test_fault_33_a_partner_whose_certificate_has_changed_is_not_talked_to(rig: Rig) -> None:
    """Not a word leaves while it shows another's certificate; the reason says so; with its own again everything goes out."""
    server = rig.servers["agency"]
    await server.shut()
    own = rig.ministry.site.root / "certs" / "development" / "telecom-authority"
    await server.open(tls_context(own / "tls.crt", own / "tls.key"))
    await rig.hand_in("m", "agency")
    await rig.until(lambda: bool(rig.failures("m")))
    put_off = rig.acts("m", "deferred")[0]
    assert (put_off["code"], server.asked) == ("4.4.1", [])
    assert "certificate" in put_off["reasons"]["en"].lower()
    await server.shut()
    own = rig.agency_bus.site.root / "certs" / "own"
    await server.open(tls_context(own / "tls.crt", own / "tls.key"))
    await rig.delivered("m")
    assert server.times("m") == 1


async def test_fault_33_a_partner_whose_name_is_gone_from_the_dns(make_rig: Callable[..., AbstractAsyncContextManager[Rig]]) -> None:
    """No address for the name: put off, with the reason; the other partner gets what is its own."""
    async with make_rig(MINISTRY.replace("url: env:AGENCY_URL", "url: https://agency.invalid/soap")) as rig:
        await rig.hand_in("lost", "agency")
        await rig.hand_in("free", "exchange")
        await rig.delivered("free")
        await rig.until(lambda: bool(rig.failures("lost")))
        assert "agency.invalid" in rig.acts("lost", "deferred")[0]["reasons"]["en"]
        assert rig.statuses("lost") == ["ACCEPTED"]


async def test_fault_34_the_same_message_again_while_and_after_its_delivery_fails(rig: Rig) -> None:
    """A sender that repeats itself for a week gets the first receipt each time, and its document is delivered once."""
    server = rig.servers["agency"]
    server.script["m"] = ["502", "hangs up", "HTML with 200"]
    first = await rig.hand_in("m", "agency")
    for number in range(3):
        await rig.until(lambda: server.times("m") > number)
        assert await rig.hand_in("m", "agency") == first
    await rig.delivered("m")
    for _ in range(7):
        assert await rig.hand_in("m", "agency") == first
    with pytest.raises(Rejected, match=r"5\.6\.9"):
        await rig.hand_in("m", "agency", text="other content under the same id")
    assert (server.times("m"), server.taken["m"], rig.agency_bus.count()) == (4, 1, 1)
    assert rig.statuses("m") == ["ACCEPTED", "DELIVERED"]
    sound(rig)


async def test_fault_34_the_same_message_again_after_it_was_refused(rig: Rig) -> None:
    """A repetition revives nothing: it is answered with the first receipt, and the refusal stands."""
    rig.servers["agency"].script["m"] = [says(500, FAULT.format("Client"), "text/xml")]
    first = await rig.hand_in("m", "agency")
    await rig.until(lambda: rig.statuses("m") == ["ACCEPTED", "REJECTED"])
    assert await rig.hand_in("m", "agency") == first
    assert (rig.statuses("m"), rig.servers["agency"].times("m")) == (["ACCEPTED", "REJECTED"], 1)


async def test_fault_26_a_partner_is_away_for_long_and_then_takes_everything(rig: Rig) -> None:
    """Eighty wait for it, untried but for a few; the other partner notices nothing; then all go out, each once."""
    server = rig.servers["agency"]
    await server.shut()
    waiting = [f"waiting-{number}" for number in range(80)]
    for name in waiting:
        await rig.hand_in(name, "agency")
    free = [f"free-{number}" for number in range(10)]
    for name in free:
        await rig.hand_in(name, "exchange")
    await rig.delivered(*free)
    untried = rig.ministry.store.overview()["documents"][Standing.WAITING] - sum(bool(rig.failures(name)) for name in waiting)
    await server.open()
    await rig.until(lambda: rig.ministry.store.overview()["documents"][Standing.DELIVERED] == 90)
    assert untried > 40
    assert (set(server.taken.values()), rig.agency_bus.count()) == ({1}, 80)
    sound(rig)
