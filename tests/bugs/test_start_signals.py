"""Signals of the first and the last moments: SIGHUP is never deadly, SIGTERM ends well, and a service manager is told when it may ask."""

import configparser
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from start_rig import PATIENCE, Started

from bus import daemon, generation, log, notify


def _programme_runs(bus: Started) -> None:
    """Until our own code runs in the process: what comes before it belongs to the interpreter."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        caught = next(line for line in Path(f"/proc/{bus.process.pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) >> (signal.SIGHUP - 1) & 1:
            return
        time.sleep(0.001)
    raise AssertionError("the programme does not take SIGHUP")


def _until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hangup_at_any_moment_of_the_start_is_a_reload(make_site: Callable[..., Path], workers: int) -> None:
    """Ten moments from the first line of ours on: the daemon lives, and once up runs the files as they were at the last of them."""
    site = make_site()
    with (site / "bus.log").open("wb") as out, Started(site, out, workers=workers) as bus:
        _programme_runs(bus)
        for number in range(10):
            with (site / "routes.yaml").open("a", encoding="utf-8") as routes:
                routes.write(f"# {number}\n")
            bus.process.send_signal(signal.SIGHUP)
            # A moment of its own, wherever the start has got to.
            time.sleep(0.15)
        bus.await_door()
        _, digest = generation.load(site, {}, daemon.utc_now)
        _until(lambda: [each.digest for each in generation.running(site)] == [digest] * workers)
        assert log.WORKER_DIED.encode() not in (site / "bus.log").read_bytes()
        assert bus.stop() == 0


def test_what_was_asked_for_before_the_door_opened_is_done_when_it_opens(make_site: Callable[..., Path]) -> None:
    """The reload comes before ``bus.ready`` in the log."""
    site = make_site()
    with (site / "bus.log").open("wb") as out, Started(site, out) as bus:
        # The daemon has read its files when the store is opened.
        _until((site / "data" / "bus.db").exists)
        bus.process.send_signal(signal.SIGHUP)
        bus.await_door()
        said = (site / "bus.log").read_text(encoding="utf-8")
        assert 0 < said.find(log.RELOADED) < said.find(log.READY)
        assert bus.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_hangups_while_it_ends_change_nothing(make_site: Callable[..., Path], workers: int) -> None:
    """SIGHUP again and again after SIGTERM, until the process has gone: exit 0."""
    with Started(make_site(), subprocess.DEVNULL, workers=workers) as bus:
        bus.await_door()
        bus.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while bus.process.poll() is None and time.monotonic() < deadline:
            bus.process.send_signal(signal.SIGHUP)
            time.sleep(0.002)
        assert bus.process.wait(PATIENCE) == 0


@pytest.mark.parametrize(("workers", "number"), [(1, signal.SIGTERM), (2, signal.SIGINT)])
def test_an_end_before_the_door_opens_is_a_good_end(make_site: Callable[..., Path], workers: int, number: signal.Signals) -> None:
    """Whenever it comes: exit 0, soon, and the next daemon starts."""
    site = make_site()
    for wait in (0.0, 0.8):
        with Started(site, subprocess.DEVNULL, workers=workers) as bus:
            _programme_runs(bus)
            time.sleep(wait)
            assert bus.stop(number) == 0
    with Started(site, subprocess.DEVNULL) as bus:
        bus.await_door()
        assert bus.stop() == 0


@pytest.mark.parametrize(("workers", "abstract"), [(1, False), (2, True)])
def test_a_service_manager_is_told_when_every_worker_listens(
    make_site: Callable[..., Path], tmp_path: Path, workers: int, abstract: bool
) -> None:
    """READY=1 by datagram, to a path or to the abstract namespace, and not before the log says so for each worker."""
    site = make_site()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, (site / "bus.log").open("wb") as out:
        name = f"@govbus-{tmp_path.name}-{id(manager)}" if abstract else str(tmp_path / "notify")
        manager.bind(f"\0{name[1:]}" if abstract else name)
        manager.settimeout(PATIENCE)
        with Started(site, out, workers=workers, environment={"NOTIFY_SOCKET": name}) as bus:
            assert manager.recv(100) == b"READY=1"
            assert (site / "bus.log").read_text(encoding="utf-8").count(f'"{log.READY}"') == workers
            assert bus.stop() == 0


def test_a_manager_that_has_gone_does_not_matter(tmp_path: Path) -> None:
    """NOTIFY_SOCKET names nothing, or is no address that we know: nothing comes of it, and nothing is raised."""
    for name in (str(tmp_path / "gone"), "vsock:2:1", ""):
        notify.tell({"NOTIFY_SOCKET": name}, notify.READY)


def test_the_unit_waits_for_readiness_and_its_reload_says_what_came_of_it(repository: Path) -> None:
    """``Type=notify``, from any worker; the reload is the command that waits for the answer."""
    service = _service(repository)
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "all")
    program, _, arguments = service["ExecReload"].partition(" ")
    assert service["ExecStart"].startswith(f"{program} run ")
    assert arguments == "reload --site /var/lib/govbus/site"


def _service(repository: Path) -> configparser.SectionProxy:
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read_string((repository / "docs" / "govbus.service").read_text(encoding="utf-8"))
    return unit["Service"]


def test_the_unit_bounds_what_a_leak_or_an_intruder_can_take(repository: Path) -> None:
    """Memory, swap, tasks, files, addresses; no capability, and nothing but its own state to write."""
    service = _service(repository)
    high, most = (int(service[name].removesuffix("G")) for name in ("MemoryHigh", "MemoryMax"))
    assert 0 < high < most
    assert (service["MemorySwapMax"], service["LimitCORE"]) == ("0", "0")
    assert 0 < int(service["TasksMax"]) <= 1024
    # 2048 connections a process, and files: see bus.listeners.
    assert int(service["LimitNOFILE"]) >= 2 * 2048 * int(service["ExecStart"].split("--workers ")[1].split()[0])
    assert set(service["RestrictAddressFamilies"].split()) == {"AF_INET", "AF_INET6", "AF_UNIX"}
    assert {"link-local", "multicast"} <= set(service["IPAddressDeny"].split())
    assert "--operators 127.0.0.1:" in service["ExecStart"]
    assert (service["CapabilityBoundingSet"], service["NoNewPrivileges"], service["ProtectSystem"]) == ("", "yes", "strict")
    assert (service["UMask"], service["StateDirectoryMode"]) == ("0027", "0750")
