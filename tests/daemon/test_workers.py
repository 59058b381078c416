"""Workers: replaced when they die, never started in a hot loop, and none left behind when their supervisor ends."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

_PROGRAMME = """
import os, signal, sys, time
from bus import log
from bus.errors import ConfigurationError, Fault
from bus.workers import supervise

def wait(chain):
    os.write(1, f"{chain} {os.getpid()}\\n".encode())
    signal.pause()

def stop_at_once(chain):
    if chain == "one":
        os.kill(os.getppid(), signal.SIGTERM)
    signal.pause()

def refuse(chain):
    os.write(1, f"{chain} {time.monotonic()}\\n".encode())
    raise ConfigurationError([Fault("routes.yaml", 1, 1, "the site was changed")])

log.configure()
supervise(globals()[sys.argv[1]], ["one", *sys.argv[2:]])
"""

Supervisor = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    """Starts supervisors over scripted workers, in sessions of their own, of which nothing may be left."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", _PROGRAMME, *arguments]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert process.stdout
        process.stdout.close()


def said(process: "subprocess.Popen[str]") -> tuple[str, str]:
    assert process.stdout
    chain, _, rest = process.stdout.readline().strip().partition(" ")
    return chain, rest


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_that_dies_is_replaced_and_none_outlives_its_supervisor(supervisor: Supervisor) -> None:
    """kill -9 of one: another on the same chain; SIGTERM: the supervisor ends, well, after the last of them."""
    process = supervisor("wait", "two")
    workers = dict(said(process) for _ in range(2))
    assert set(workers) == {"one", "two"}
    os.kill(int(workers["one"]), signal.SIGKILL)
    chain, pid = said(process)
    assert (chain, pid != workers["one"]) == ("one", True)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert not alive(int(pid))
    assert not alive(int(workers["two"]))


def test_a_signal_that_comes_while_workers_are_being_started_reaches_all_of_them(supervisor: Supervisor) -> None:
    """The first worker ends the supervisor before the last is forked: all end."""
    assert supervisor("stop_at_once", *(str(number) for number in range(30))).wait(20) == 0


def test_a_worker_that_cannot_start_is_not_started_in_a_hot_loop(supervisor: Supervisor) -> None:
    """At least a second lies between two attempts."""
    process = supervisor("refuse")
    times = [float(said(process)[1]) for _ in range(3)]
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 1.0
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert time.monotonic() - begun < 15


def test_workers_end_when_their_supervisor_is_killed(supervisor: Supervisor) -> None:
    """Nobody passes anything on any more, and they hold the site's port and lock: the system tells them."""
    process = supervisor("wait", "two")
    workers = [int(said(process)[1]) for _ in range(2)]
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(os.path.exists(f"/proc/{pid}") for pid in workers):
        time.sleep(0.01)
    assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]
