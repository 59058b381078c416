"""A demo that is ended leaves nothing behind: no daemon, no site, no key."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from start_rig import PATIENCE


def _daemons(place: Path) -> list[int]:
    """The processes that hold the locks of the sites below ``place``."""
    return [int(path.read_text() or 0) for path in place.glob("govbus-demo-*/*/data/daemon.lock")]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("keep", "number", "code"),
    [(True, signal.SIGTERM, 0), (False, signal.SIGHUP, 128 + signal.SIGHUP), (False, signal.SIGINT, 128 + signal.SIGINT)],
)
def test_a_demo_that_is_ended_leaves_no_daemon_and_no_key(tmp_path: Path, keep: bool, number: signal.Signals, code: int) -> None:
    """Kept and ended as it says, or ended while its daemons are being started; a second signal does not spoil the clearing away."""
    command = [sys.executable, "-m", "bus", "demo", "--documents", "5", *(["--keep"] if keep else [])]
    environment = {**os.environ, "GOVBUS_STORE": "", "GOVBUS_LANG": "en", "TMPDIR": str(tmp_path)}
    with (tmp_path / "said").open("wb") as said:
        demo = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
    daemons: set[int] = set()
    try:
        deadline = time.monotonic() + 2 * PATIENCE
        while not (b"Stop: Ctrl-C" in (tmp_path / "said").read_bytes() if keep else daemons):
            assert demo.poll() is None, (tmp_path / "said").read_text(encoding="utf-8")
            assert time.monotonic() < deadline
            daemons |= {pid for pid in _daemons(tmp_path) if pid}
            time.sleep(0.01)
        demo.send_signal(number)
        time.sleep(0.05)
        demo.send_signal(number)
        assert demo.wait(PATIENCE) == code
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
            demo.wait()
    assert daemons
    assert [pid for pid in daemons if _lives(pid)] == []
    assert [path.name for path in tmp_path.iterdir()] == ["said"]
