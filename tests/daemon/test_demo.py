"""The main job, end to end, as `make demo` plays it; and with the bus killed on the way."""

import json
import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("kills", [0, 2])
def test_nothing_is_lost_or_doubled_in_the_demo(kills: int) -> None:
    """Documents, statuses and receipts all arrive, once, with their files unharmed; also when the bus is killed -9 and started again."""
    command = [sys.executable, "-m", "bus", "demo", "--documents", "24", "--kill", str(kills), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env={**os.environ, "GOVBUS_STORE": ""}, check=False)
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["findings"] == []
    assert (outcome["lost"], outcome["duplicated"], outcome["damaged"], outcome["waiting"]) == (0, 0, 0, 0)
    assert outcome["receipts"] == outcome["receipts_verified"] > 0
    assert {(each["item"], each["code"]) for each in outcome["refusals"]} == {
        ("no-subject", "5.6.3"),
        ("doctype", "5.6.2"),
        ("wrong-sender", "5.7.1"),
        ("unknown-receiver", "5.1.1"),
    }
    assert outcome["restarts"] == kills
    assert done.returncode == 0
