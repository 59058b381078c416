"""A partner that calls more often than it may is told 4.3.2 with Retry-After, at every door; nobody else notices, or uses up its turns."""

import json
import signal
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sieged_site
from helping import until
from sieged_site import OTHER, UNIT

from adapters.soap import payloads
from adapters.vxp import Account, Client
from bus import config, soap
from bus.errors import ConfigurationError, Deferred
from bus.keys import Keyring
from bus.octets import whole
from bus.quotas import Rate, Rates
from sandbox.process import BusProcess

RATE = "rate: {each-second: 0.01, burst: 4}"
ROUTES = (
    sieged_site.ROUTES.replace(f"codes: [{UNIT}],", f"codes: [{UNIT}], {RATE},").replace(
        "endpoints:\n", f"endpoints:\n  hub: {{vxp: {{path: /vxp/hub, systems: {{{UNIT}: {{secret: env:HUB_SECRET, partner: unit}}}}}}}}\n"
    )
    + "  - {name: hub, from: hub, to: [hub: To/OrganId]}\n"
)
ENVIRONMENT = {"UNIT_PASSWORD": "bí mật", "HUB_SECRET": "mật khẩu"}


class Ticks:
    """Seconds that pass when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_turns_come_back_one_by_one_and_are_each_partners_own() -> None:
    """The burst at once, then the rate; refused requests take nothing; who has no rate is never counted."""
    ticks = Ticks()
    rates = Rates(ticks)
    rates.declare({"a": Rate(2.0, 3.0), "b": Rate(2.0, 3.0)})
    assert [rates.wait("a") for _ in range(5)] == [0, 0, 0, 0.5, 0.5]
    assert [rates.wait("b") for _ in range(3)] == [0, 0, 0]
    ticks.now += 0.5
    assert [rates.wait("a"), rates.wait("a")] == [0, 0.5]
    ticks.now += 3600
    assert [rates.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert [rates.wait("nobody") for _ in range(1000)] == [0] * 1000
    assert set(rates._left) == {"a", "b"}


def test_a_reload_gives_nobody_another_burst() -> None:
    """What was used up stays used up under the new rate; who has none any more is free."""
    rates = Rates(Ticks())
    rates.declare({"a": Rate(1.0, 2.0), "b": Rate(1.0, 1.0)})
    assert [rates.wait(name) for name in "aab"] == [0, 0, 0]
    rates.declare({"a": Rate(1.0, 2.0)})
    assert rates.wait("a") == 1.0
    assert [rates.wait("b") for _ in range(9)] == [0] * 9
    assert set(rates._left) == {"a"}


def test_the_workers_of_a_site_share_a_rate() -> None:
    """Each has its part: together they let in what is declared; one at least is let in by each."""
    parts = [Rates(Ticks(), processes=4) for _ in range(4)]
    for each in parts:
        each.declare({"a": Rate(4.0, 8.0), "b": Rate(1.0, 1.0)})
    assert sum(not each.wait("a") for each in parts for _ in range(50)) == 8
    assert [not each.wait("b") for each in parts] == [True] * 4
    assert {each.wait("a") for each in parts} == {1.0}


def by_password(bus: BusProcess, password: str) -> bytes:
    """The answer to a request in the unit's name."""
    wss = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
    token = (
        f'<w:Security xmlns:w="{wss}wssecurity-secext-1.0.xsd"><w:UsernameToken><w:Username>unit</w:Username>'
        f'<w:Password Type="{wss}username-token-profile-1.0#PasswordText">{password}</w:Password>'
        f"</w:UsernameToken></w:Security>"
    )
    body = whole(soap.envelope(soap.SOAP_11, whole(payloads.request("GetOrganizations")), token.encode()))
    request = urllib.request.Request(f"{bus.url}/soap/documents", body, {"Content-Type": "text/xml; charset=utf-8"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20, context=sieged_site.trusting(bus))
    return bytes(refused.value.read())


async def test_whoever_calls_too_often_is_told_when_to_come_again_and_nobody_else_is(
    siege_certs: Path, tmp_path: Path, start: Callable[..., BusProcess]
) -> None:
    """A stranger in its name uses up nothing; of its own four turns one door takes some and another the rest; then 4.3.2 at both."""
    bus = start(sieged_site.write(tmp_path / "site", siege_certs, ROUTES), environment=ENVIRONMENT)
    for _ in range(12):
        assert b"5.7." in by_password(bus, "đoán")
    keyring = Keyring.load(bus.site / "certs" / "own", {"bus": "."})
    account = Account(url=f"{bus.url}/vxp/hub", system=UNIT, secret=ENVIRONMENT["HUB_SECRET"], anchors=keyring.anchors("bus"))
    hub = Client(account, name="hub", clock=lambda: datetime.now(UTC))
    async with sieged_site.client(bus, UNIT) as unit, sieged_site.client(bus, OTHER) as other:
        assert (await unit.send(sieged_site.letter(UNIT, OTHER), "first")).status == "ACCEPTED"
        await unit.organisations()
        assert await hub.received("edoc") == []
        await unit.pending()
        for _ in range(20):
            with pytest.raises(Deferred, match=r"4\.3\.2") as refused:
                await unit.send(sieged_site.letter(UNIT, OTHER), "second")
            assert 50 < (refused.value.retry_after or 0) <= 100
        with pytest.raises(Deferred) as busy:
            await hub.received("edoc")
        assert 50 < (busy.value.retry_after or 0) <= 100
        for number in range(10):
            await other.send(sieged_site.letter(OTHER, UNIT), f"letter-{number}")
        await other.pending()
    await hub.close()
    rows = refusals(bus)
    assert len(rows) <= 2 * 2, "a flood is a row for each door and minute"
    assert {row["partner"] for row in rows} == {"unit"}
    assert bus.stop() == 0
    assert sum(int(row.get("count", 1)) for row in refusals(bus)) == 21


def refusals(bus: BusProcess) -> list[dict[str, str]]:
    """What the journal tells of calls that came too often."""
    with closing(sqlite3.connect(bus.site / "data" / "bus.db")) as connection:
        details = [json.loads(row[0]) for row in connection.execute("SELECT detail FROM journal WHERE event = 'refused'")]
    return [detail for detail in details if detail["code"] == "4.3.2"]


async def test_a_rate_is_another_after_a_reload(siege_certs: Path, tmp_path: Path, start: Callable[..., BusProcess]) -> None:
    """Taken away, the partner calls as often as it likes."""
    site = sieged_site.write(tmp_path / "site", siege_certs, ROUTES)
    bus = start(site, environment=ENVIRONMENT)
    async with sieged_site.client(bus, UNIT) as unit:
        for _ in range(4):
            await unit.organisations()
        with pytest.raises(Deferred, match=r"4\.3\.2"):
            await unit.organisations()
        (site / "routes.yaml").write_text(ROUTES.replace(f" {RATE},", ""), encoding="utf-8")
        bus.send_signal(signal.SIGHUP)
        await until(lambda: any(line["event"] == "bus.reloaded" for line in bus.log_lines()))
        for _ in range(8):
            await unit.organisations()


def test_a_rate_that_is_none_is_a_fault_of_the_site(siege_certs: Path, tmp_path: Path) -> None:
    """Nobody is shut out by a slip."""
    for number, written in enumerate(("{each-second: 0}", "{burst: 5}", "{each-second: 2, burst: -1}", "5")):
        site = sieged_site.write(tmp_path / f"site-{number}", siege_certs, ROUTES.replace(RATE, f"rate: {written}"))
        with pytest.raises(ConfigurationError, match=r"routes\.yaml:3:"):
            config.load(site, environment=ENVIRONMENT, clock=lambda: datetime.now(UTC))
