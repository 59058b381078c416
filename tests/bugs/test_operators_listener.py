"""Operators have a listener of their own, and what it says is one truth for all workers of a site."""

import asyncio
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from helping import until

from bus import listeners, log, metrics
from bus.operators import Address, NoAddress
from sandbox import documents
from sandbox.documents import SECURITY_AUTHORITY, TELECOM_AUTHORITY
from sandbox.process import BusProcess
from sandbox.unit import Unit

DOCUMENTS = 12


def at_the_door(bus: BusProcess, path: str) -> tuple[int, bytes]:
    """A page as partners see it, over a connection of its own."""
    address = urlsplit(bus.url)
    context = ssl.create_default_context(cafile=str(bus.site / "certs" / "own" / "ca.crt"))
    channel = http.client.HTTPSConnection(address.hostname or "", address.port, context=context, timeout=20)
    channel.request("GET", path)
    reply = channel.getresponse()
    found = reply.status, reply.read()
    channel.close()
    return found


def figures(bus: BusProcess, name: str) -> dict[str, float]:
    """The series of a metric in one reading of /metrics."""
    lines = bus.page("/metrics")[1].splitlines()
    return {series: float(value) for series, value in (line.rsplit(" ", 1) for line in lines if line.startswith(name))}


def accepted(bus: BusProcess) -> float:
    return sum(figures(bus, "govbus_messages_accepted_total").values())


async def send(bus: BusProcess, number: int) -> None:
    """One document over a connection of its own."""
    body = documents.make(size=4_000, seed=number, sender=TELECOM_AUTHORITY, receivers=(SECURITY_AUTHORITY,), number=number)
    keys = bus.site / "certs" / "development" / "telecom-authority"
    async with Unit.connect(bus.url, TELECOM_AUTHORITY.code, keys=keys, trust=bus.site / "certs" / "own") as unit:
        await unit.send(body, f"document-{number}")


def workers(bus: BusProcess) -> set[int]:
    """The process ids that said they are ready."""
    return {int(str(line["pid"])) for line in bus.log_lines() if line["event"] == log.READY}


def run(site: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """``govbus run`` that is expected to refuse."""
    command = [sys.executable, "-m", "bus", "run", "--site", str(site), "--port", "0", *options]
    environment = {**os.environ, "GOVBUS_LANG": "en", "GOVBUS_STORE": "", "GOVBUS_BROKER": "", "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


async def test_what_two_workers_count_is_one_number_and_never_goes_down(
    make_site: Callable[..., Path], start: Callable[..., BusProcess]
) -> None:
    """Twelve documents over twelve connections: every reading says 12, also when a worker was killed and replaced, and then goes on."""
    bus = await asyncio.to_thread(start, make_site(), workers=2)
    await until(lambda: len(workers(bus)) == 2)
    for number in range(DOCUMENTS):
        await send(bus, number)
    assert {await asyncio.to_thread(accepted, bus) for _ in range(20)} == {DOCUMENTS}
    before, seen = workers(bus), []
    for victim in sorted(before):
        os.kill(victim, signal.SIGKILL)
        ready = len(workers(bus))
        while len(workers(bus)) == ready:
            seen.append(await asyncio.to_thread(accepted, bus))
        await send(bus, 100 + victim)
        assert await asyncio.to_thread(accepted, bus) == max(seen) + 1
    assert set(seen) == {DOCUMENTS, DOCUMENTS + 1}


async def test_a_door_of_partners_says_whether_it_is_well_and_operators_are_told_the_rest(
    make_site: Callable[..., Path], start: Callable[..., BusProcess]
) -> None:
    """/metrics is 404 at the partners' door and its /readyz has no details; the operators' has both, over IPv6 too."""
    bus = await asyncio.to_thread(start, make_site(), operators="[::1]:0")
    assert bus.operators_url.startswith("http://[::1]:")
    assert at_the_door(bus, "/metrics")[0] == 404
    assert at_the_door(bus, "/readyz") == (200, b'{"status":"ok"}\n')
    assert at_the_door(bus, "/healthz") == (200, b'{"status":"ok"}\n')
    for path in ("/readyz", "/healthz"):
        assert (bus.page(path)[0], json.loads(bus.page(path)[1])["status"]) == (200, "ok")
    assert bus.page("/soap/documents")[0] == 404
    build = figures(bus, "govbus_build_info")
    assert list(build.values()) == [1]
    assert figures(bus, "govbus_disk_free_bytes")["govbus_disk_free_bytes"] > 0


async def test_a_target_that_is_empty_says_nothing_stands_there_and_one_that_is_removed_says_nothing(
    make_site: Callable[..., Path], start: Callable[..., BusProcess]
) -> None:
    """Routes, endpoints that send and mailboxes have a backlog of 0 from the start; a reload that takes a route away takes its series."""
    site = make_site()
    bus = await asyncio.to_thread(start, site)
    backlog = figures(bus, "govbus_backlog{")
    assert set(backlog.values()) == {0}
    assert 'govbus_backlog{state="WAITING",target="unit-inbox"}' in backlog
    assert set(figures(bus, "govbus_oldest_delivery_seconds{").values()) == {0}
    routes, text = site / "routes.yaml", (site / "routes.yaml").read_text()
    begin = text.index("  - name: government-statuses")
    removed = text[:begin]
    assert 'govbus_backlog{state="READY",target="route:government-statuses"}' in backlog
    routes.write_text(removed)
    bus.send_signal(signal.SIGHUP)
    await until(lambda: any(line["event"] == log.RELOADED for line in bus.log_lines()))
    backlog = figures(bus, "govbus_backlog{")
    assert backlog
    assert not [series for series in backlog if "government-statuses" in series]


async def test_operators_can_be_turned_off(make_site: Callable[..., Path], start: Callable[..., BusProcess]) -> None:
    """``--operators off``: no listener, an empty address in bus.ready, and /metrics nowhere."""
    bus = await asyncio.to_thread(start, make_site(), operators="off")
    assert bus.operators_url == ""
    assert at_the_door(bus, "/metrics")[0] == 404


def test_an_operators_port_that_is_taken_is_refused_in_words(make_site: Callable[..., Path]) -> None:
    """Asked for by name it is refused, as the main port is: which address, and what can be done."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(make_site(), "--operators", f"127.0.0.1:{port}")
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in said
    assert "--operators off" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("written", ["8451", "127.0.0.1", "::1:8451", "127.0.0.1:99999", "localhost:", "on", ""])
def test_what_is_no_address_is_wrong_usage(make_site: Callable[..., Path], written: str) -> None:
    """Exit 2 and how one is written."""
    with pytest.raises(NoAddress, match="HOST:PORT"):
        Address.read(written)


def test_where_only_this_machine_can_reach_it_is_known() -> None:
    """Whatever form loopback is written in."""
    guarded = {
        written: Address.read(written) for written in ("127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "0.0.0.0:1", "[::]:1")
    }
    assert [written for written, address in guarded.items() if address and not address.guarded] == ["0.0.0.0:1", "[::]:1"]


def test_the_usual_port_being_taken_is_no_reason_not_to_start(make_site: Callable[..., Path]) -> None:
    """Not asked for by name: a free port, which the log tells."""

    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8451))
            taken.listen()
        except OSError:
            # Somebody else has it: all the better.
            pass
        listener = listeners.listen_for_operators(None)
    assert listener is not None
    assert listener.getsockname()[:1] == ("127.0.0.1",)
    assert listener.getsockname()[1] not in {0, 8451}
    listener.close()


def test_a_removed_target_is_forgotten_by_its_counters() -> None:
    """A reload takes the series of what it removed; others stay, and one that comes back begins at 0."""
    for target in ("stays", "goes"):
        metrics.DELIVERIES.labels(target, "delivered").inc()
    metrics.forget("target", ["stays"])
    value = metrics.REGISTRY.get_sample_value
    assert value("govbus_attempts_total", {"target": "goes", "outcome": "delivered"}) is None
    assert value("govbus_attempts_total", {"target": "stays", "outcome": "delivered"}) is not None
    metrics.DELIVERIES.labels("goes", "delivered").inc()
    assert value("govbus_attempts_total", {"target": "goes", "outcome": "delivered"}) == 1
    metrics.DELIVERIES.clear()
