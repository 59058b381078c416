"""Reloading: what runs is swapped whole or not at all, however the files are written and however often it is asked for."""

import asyncio
import json
import re
import signal
import sqlite3
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hands import AGENCY, NEIGHBOUR, Sender, audited, govbus, letter, reloaded, typed, unit
from helping import until

from bus import generation
from bus.errors import ConfigurationError
from bus.octets import whole
from sandbox.process import BusProcess

STAMP = """<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
<xsl:template match="@*|node()"><xsl:copy><xsl:apply-templates select="@*|node()"/></xsl:copy></xsl:template>
<xsl:template match="*[local-name()='Subject']/text()"><xsl:value-of select="."/> [{version}]</xsl:template>
</xsl:stylesheet>"""
STAMPED = """
  - name: stamped
    steps:
      - transform: {stylesheet: first.xsl}
      - transform: {stylesheet: second.xsl}
    to: [{unit-inbox: To/OrganId}]

  - name: again
    steps:
      - transform: {stylesheet: first.xsl}
    to: [stamped]
"""


def stamping(site: Path) -> None:
    """Letters between units pass three stylesheets, two routes, all of one version."""
    routes = site / "routes.yaml"
    text = routes.read_text(encoding="utf-8").replace(
        "to: [{unit-inbox: To/OrganId}]\n      - {otherwise", "to: [again]\n      - {otherwise", 1
    )
    assert "to: [again]" in text
    routes.write_text(text.rstrip() + "\n" + STAMPED, encoding="utf-8")
    version(site, "A")


def version(site: Path, name: str) -> None:
    """Both stylesheets replaced, each by a rename."""
    for file in ("first.xsl", "second.xsl"):
        beside = site / "schemas" / f".{file}"
        beside.write_text(STAMP.replace("{version}", name), encoding="utf-8")
        beside.replace(site / "schemas" / file)


async def reloading(bus: BusProcess, seconds: float) -> int:
    """Another version and a SIGHUP, once a second. Returns how often."""
    times, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        times += 1
        version(bus.site, "AB"[times % 2])
        bus.send_signal(signal.SIGHUP)
        await asyncio.sleep(1)
    return times


async def test_fault_45_reloaded_every_second_under_load_nothing_is_lost_or_mixed(site: Path, start: Callable[..., BusProcess]) -> None:
    """Every letter that was answered arrives, worked by one version of the files from end to end."""
    stamping(site)
    bus = start(site)
    stop = asyncio.Event()
    sender = Sender(bus)
    load = asyncio.create_task(sender.run(stop.is_set))
    times = await reloading(bus, 6)
    stop.set()
    await load
    stamps = []
    async with unit(bus, NEIGHBOUR) as reader:
        while len(stamps) < len(sender.held):
            for entry in await reader.pending():
                body = bytes(whole((await reader.fetch(entry.message_id)).body))
                stamps.append("".join(re.findall(r"\[([AB])\]", body.decode())))
                await reader.confirm(entry.message_id)
            await asyncio.sleep(0.05)
    assert set(stamps) == {"AAA", "BBB"}
    assert len(sender.held) > 20
    events = [line["event"] for line in bus.log_lines()]
    assert events.count("bus.reloaded") >= times // 2
    assert "bus.reload-failed" not in events
    assert bus.stop() == 0
    assert audited(site)["counts"]["delivered"] == len(sender.held)
    histories = _histories(site)
    assert len(histories) == len(sender.held)
    assert all(len(set(history)) == 1 and len(history) == 3 for history in histories)


def _histories(site: Path) -> list[list[str]]:
    """The digests of the stylesheets each letter passed, as its journal has them."""
    with sqlite3.connect(site / "data" / "bus.db") as connection:
        details = [json.loads(row[0]) for row in connection.execute("SELECT detail FROM journal WHERE event = 'routed'")]
    return [[note.rpartition("sha256:")[2] for note in detail["history"] if "transform" in note] for detail in details]


#: What an operator may break -> what he is told.
BROKEN = {
    "routes.yaml": (b"site: [", "routes.yaml:"),
    "schemas/first.xsl": (b"<xsl:stylesheet", "does not compile"),
    "schemas/edxml/v1/document.xsd": (b"<not-a-schema/>", "does not compile"),
    "certs/own/bus.key": (b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n", "bus.key"),
}


async def test_fault_46_a_broken_file_leaves_what_runs_and_says_so(site: Path, start: Callable[..., BusProcess]) -> None:
    """YAML, stylesheet, schema, key: told with the file's name and what is wrong; letters go on as before; mended, it is taken up."""
    stamping(site)
    bus = start(site)
    for number, (file, (broken, said)) in enumerate(BROKEN.items(), start=2):
        good = (site / file).read_bytes()
        (site / file).write_bytes(broken)
        failed = await reloaded(bus)
        assert said in " ".join(failed.faults)
        assert [line["event"] for line in bus.log_lines() if str(line["event"]).startswith("bus.")][-1] == "bus.reload-failed"
        async with unit(bus) as sender:
            assert (await sender.send(letter(number), f"after-{number}")).status == "ACCEPTED"
        (site / file).write_bytes(good)
        mended = await reloaded(bus)
        assert (mended.faults, mended.number) == ((), number)
    assert bus.stop() == 0


async def test_fault_47_files_swapped_and_written_in_place_are_taken_whole(site: Path, start: Callable[..., BusProcess]) -> None:
    """Replaced by a rename; a directory of links switched as Kubernetes does; half written: refused, and taken when it is whole."""
    routes = site / "routes.yaml"
    good = routes.read_text(encoding="utf-8")
    mounted = site / "..first"
    mounted.mkdir()
    (mounted / "routes.yaml").write_text(good, encoding="utf-8")
    (site / "..data").symlink_to("..first")
    routes.unlink()
    routes.symlink_to("..data/routes.yaml")
    bus = start(site)
    second = site / "..second"
    second.mkdir()
    (second / "routes.yaml").write_text(good.replace("government-statuses", "renamed-statuses"), encoding="utf-8")
    (site / "..data-tmp").symlink_to("..second")
    (site / "..data-tmp").replace(site / "..data")
    assert (await reloaded(bus)).faults == ()
    assert "renamed-statuses" in _routes(bus)
    half = good[: good.index("  - name: unit-statuses") + 60]
    (second / "routes.yaml").write_text(half, encoding="utf-8")
    failed = await typed("reload", "--site", site)
    assert (failed.code, "what ran before goes on" in failed.said) == (1, True), failed.said
    beside = second / "routes.yaml.new"
    beside.write_text(good, encoding="utf-8")
    beside.replace(second / "routes.yaml")
    assert (await reloaded(bus)).faults == ()
    assert "government-statuses" in _routes(bus)
    assert bus.stop() == 0


def _routes(bus: BusProcess) -> object:
    return [line for line in bus.log_lines() if line["event"] == "bus.reloaded"][-1]["routes"]


def test_files_that_change_while_they_are_read_are_read_again(site: Path) -> None:
    """A generation is never a mixture: what changed meanwhile is read again, and what never rests is refused."""
    from datetime import UTC, datetime

    touches = iter([True, False])

    def clock() -> datetime:
        if next(touches, False):
            (site / "routes.yaml").write_bytes((site / "routes.yaml").read_bytes() + b"\n# changed\n")
        return datetime.now(UTC)

    pauses: list[float] = []
    generation.load(site, {}, clock, sleep=pauses.append)
    assert len(pauses) <= 1

    def restless() -> datetime:
        (site / "routes.yaml").write_bytes((site / "routes.yaml").read_bytes() + b"\n# changed\n")
        return datetime.now(UTC)

    with pytest.raises(ConfigurationError, match="kept changing"):
        generation.load(site, {}, restless, sleep=pauses.append)


async def test_fault_48_a_route_deleted_with_messages_in_flight(site: Path, start: Callable[..., BusProcess]) -> None:
    """They wait, visibly, with the reason, for the route to come back; what is new and has no way is refused at the door."""
    bus = start(site)
    routes = site / "routes.yaml"
    text = routes.read_text(encoding="utf-8").replace("first: 30s", "first: 1s")
    begin, end = text.index("  # 3."), text.index("  # 4.")
    routes.write_text(text, encoding="utf-8")
    assert (await reloaded(bus)).faults == ()
    async with unit(bus) as sender:
        await sender.send(letter(7, AGENCY), "in-flight")
        await until(lambda: _last(site, "in-flight") == ("4.4.1", "READY"))
        # Route and endpoint are gone; whoever is left in the file goes to the national exchange.
        without = text[:begin] + text[end:]
        without = re.sub(r"      - \{when: \"[^\n]*unit-to-agency[^\n]*\n", "", without)
        without = re.sub(r"      - \{when: \"[^\n]*agency-service[^\n]*\n", "", without)
        without = re.sub(r"  # The agency's own service.\n  agency-service:\n[^\n]*\n", "", without)
        assert "agency-service" not in without
        routes.write_text(without, encoding="utf-8")
        assert (await reloaded(bus)).faults == ()
        await until(lambda: _last(site, "in-flight") == ("4.3.5", "READY"))
    routes.write_text(text, encoding="utf-8")
    assert (await reloaded(bus)).faults == ()
    assert bus.stop() == 0
    assert audited(site)["counts"]["waiting"] == 1


def _last(site: Path, name: str) -> tuple[str, str]:
    """Code and state of the message's delivery."""
    with sqlite3.connect(site / "data" / "bus.db") as connection:
        query = (
            "SELECT last_code, state FROM deliveries WHERE receipt_id = '' AND message_id = (SELECT id FROM messages WHERE public_id = ?)"
        )
        rows = connection.execute(query + " ORDER BY seq DESC LIMIT 1", (name,)).fetchall()
    return rows[0] if rows else ("", "")


async def test_fault_49_rolled_back_while_it_drains(site: Path, start: Callable[..., BusProcess]) -> None:
    """A new generation, the old one again, and SIGTERM, in one breath under load: nothing answered is lost."""
    stamping(site)
    bus = start(site)
    stop = asyncio.Event()
    sender = Sender(bus)
    load = asyncio.create_task(sender.run(stop.is_set))
    await until(lambda: len(sender.held) > 5)
    for name in "BA":
        version(site, name)
        bus.send_signal(signal.SIGHUP)
    stopping = asyncio.create_task(asyncio.to_thread(bus.stop))
    await asyncio.sleep(0)
    stop.set()
    load.cancel()
    assert await stopping == 0
    await asyncio.gather(load, return_exceptions=True)
    bus = start(site)
    async with unit(bus, NEIGHBOUR) as reader:
        arrived = set()
        while len(arrived) < len(sender.held):
            arrived |= {entry.message_id for entry in await reader.pending()}
            await asyncio.sleep(0.05)
    assert arrived >= set(sender.held)
    assert bus.stop() == 0
    audited(site)


async def test_a_renewed_certificate_is_shown_after_a_reload(site: Path, start: Callable[..., BusProcess]) -> None:
    """New connections see the new TLS certificate; the process is the same."""
    bus = start(site)
    before = _certificate(bus)
    from datetime import UTC, datetime

    from bus import pki

    pki.development(site / "fresh", organisation_name="Bộ", partners={}, now=datetime.now(UTC), key_type="ec-p256")
    for name in ("tls.crt", "tls.key"):
        (site / "fresh" / "own" / name).replace(site / "certs" / "own" / name)
    done = await typed("reload", "--site", site)
    assert done.code == 0, done.said
    assert _certificate(bus) != before
    assert bus.stop() == 0


def _certificate(bus: BusProcess) -> str:
    host, _, port = bus.url.rpartition("/")[2].rpartition(":")
    return ssl.get_server_certificate((host, int(port)))


def test_reload_without_a_daemon_says_so(site: Path) -> None:
    """Exit 1 and a sentence."""
    done = govbus("reload", "--site", site)
    assert (done.code, "No daemon serves" in done.said) == (1, True)


async def test_reload_waits_for_every_worker(site: Path, start: Callable[..., BusProcess]) -> None:
    """With `--workers 2` both say that they have taken up the new files."""
    bus = start(site, workers=2)
    await until(lambda: len(generation.running(site)) == 2)
    done = await typed("reload", "--site", site, "--json")
    assert [(told["chain"], told["number"]) for told in done.json] == [("worker-1", 2), ("worker-2", 2)]
    assert bus.stop() == 0
