"""A daemon that must not run: started, and awaited until it ends by itself."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def govbus_run(site: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A second daemon, which must end by itself."""
    command = [sys.executable, "-m", "bus", "run", "--site", str(site), "--port", "0"]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False)
