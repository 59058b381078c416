"""The log never holds anybody up: standard error may be unread, closed, missing or full, and what is written are whole lines."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from start_rig import PATIENCE, Started, events

from bus import log, outlet
from bus.outlet import PIPE_OCTETS, Outlet, shortened


@pytest.mark.parametrize("workers", [1, 2])
def test_nobody_reads_standard_error_and_everybody_is_answered(make_site: Callable[..., Path], workers: int) -> None:
    """400 refusals of a partner against a pipe that holds some 250 lines: all answered, every line whole, and what was lost is told of."""
    read, write = os.pipe()
    with Started(make_site(), write, workers=workers) as bus:
        os.close(write)
        bus.await_door()
        bus.refused(400)
        assert bus.get("/healthz") == 200
        heard = bytearray()
        reader = threading.Thread(target=lambda: heard.extend(_all(read)))
        reader.start()
        for _ in range(4 * workers):
            bus.refused(1)
        assert bus.stop() == 0
        reader.join(PATIENCE)
    lines = events(bytes(heard))
    lost = [line["lost"] for line in lines if line["event"] == outlet.LINES_LOST]
    refused = sum(line["event"] == log.REFUSED for line in lines)
    assert lost
    assert refused + sum(lost) >= 400


def _all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def test_a_reader_that_goes_away_does_not_end_the_daemon(make_site: Callable[..., Path]) -> None:
    """Standard error is a pipe without a reader (EPIPE): the daemon starts, answers, and ends well."""
    read, write = os.pipe()
    with Started(make_site(), write) as bus:
        os.close(write)
        os.close(read)
        bus.await_door()
        bus.refused(3)
        assert bus.get("/healthz") == 200
        assert bus.stop() == 0


def test_a_full_device_under_the_log_does_not_end_the_daemon(make_site: Callable[..., Path]) -> None:
    """Every write fails with ENOSPC; requests are answered."""
    with open("/dev/full", "wb") as full, Started(make_site(), full) as bus:
        bus.await_door()
        bus.refused(3)
        assert bus.stop() == 0


def test_a_descriptor_that_was_closed_before_the_start_is_nobody_elses(make_site: Callable[..., Path]) -> None:
    """``2>&-``: no file of the store becomes number 2, and takes the log for its content."""
    with Started(make_site(), subprocess.DEVNULL, prefix=("sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh")) as bus:
        bus.await_door()
        taken = {os.readlink(f"/proc/{bus.process.pid}/fd/{number}") for number in (0, 1, 2)}
        assert taken == {os.devnull}
        bus.refused(3)
        assert bus.stop() == 0


_WRITER = """
import sys
from bus.outlet import Outlet
outlet = Outlet(1)
for number in range(200):
    outlet.write('{"event": "%s", "number": %d, "filler": "%s"}\\n' % (sys.argv[1], number, "x" * (number * 37)))
"""


@pytest.mark.parametrize("socket_too", [False, True])
def test_lines_of_several_processes_are_whole(socket_too: bool) -> None:
    """Short and long ones, over one pipe or one socket: each line that arrives is a JSON object. One of them may find no room for any."""
    theirs: socket.socket | int
    if socket_too:
        ours, theirs = socket.socketpair()
        reading = ours.detach()
    else:
        reading, theirs = os.pipe()
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, name], stdout=theirs) for name in ("one", "two", "three")]
    theirs.close() if isinstance(theirs, socket.socket) else os.close(theirs)
    seen = events(_all(reading))
    assert [writer.wait(PATIENCE) for writer in writers] == [0, 0, 0]
    assert len({line["event"] for line in seen} & {"one", "two", "three"}) >= 2


def test_a_long_line_keeps_its_fields_and_its_ends() -> None:
    """Cut to what a pipe takes whole, it is still JSON, and the short fields are as they were."""
    event = {"event": "x", "reference": "ab12", "exception": f"first{'đ' * 9000}last", "faults": ["a" * 3000, "b" * 3000], "n": 7}
    line = shortened(json.dumps(event, ensure_ascii=False).encode() + b"\n", PIPE_OCTETS)
    cut = json.loads(line)
    assert len(line) <= PIPE_OCTETS
    assert (cut["event"], cut["reference"], cut["n"]) == ("x", "ab12", 7)
    assert cut["exception"].startswith("first")
    assert cut["exception"].endswith("last")
    many = json.dumps({str(number): number for number in range(2000)}).encode() + b"\n"
    assert json.loads(shortened(many, PIPE_OCTETS))["event"] == outlet.LINE_TOO_LONG
    assert json.loads(shortened(b"no json " * 1000, PIPE_OCTETS))["event"].startswith("no json")


def test_the_descriptor_of_others_keeps_waiting() -> None:
    """That the log does not wait is not the affair of whoever else holds the pipe."""
    read, write = os.pipe()
    Outlet(write).write("{}\n")
    assert os.get_blocking(write)
    assert os.read(read, 10) == b"{}\n"
    os.close(read)
    os.close(write)


def test_the_rest_of_a_line_that_a_full_disk_broke_goes_first(tmp_path: Path) -> None:
    """A part of a line is out, then no more goes: when there is room again it is finished before the next, and the lost are told."""
    import resource

    path = tmp_path / "log"
    pid = os.fork()
    if not pid:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        with path.open("wb") as file:
            out = Outlet(file.fileno())
            resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
            for number in (1, 2, 3):
                out.write(f'{{"event": "{number}"}}\n')
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            out.write('{"event": "4"}\n')
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [line["event"] for line in events(path.read_bytes())] == ["1", "2", outlet.LINES_LOST, "4"]
