"""Runs the real program many times over, each time as a process of its own that dies where it is told to.

Importing everything is nearly all that a start of the daemon costs, so this process does it once and forks for each run; what runs in
the child is ``bus.cli.main()`` with its own arguments, environment and log, as if it had been typed.

Read from stdin, one JSON object a line:    {"run": token, "argv": […], "environment": {…}, "log": path}
Written to stdout, one JSON object a line:  {"run": token, "pid": pid}, and at its end {"ended": pid, "code": exit code or -signal}

Where a run dies: the file ``CRASH_ARM`` holds ``<visit> <n> <signal>``. The process that comes to that visit for the n-th time takes the
order away, writes ``<pid> <command> <visit>`` into the file ``CRASH_STRUCK`` and sends itself the signal. A visit is a name of
``bus.points``; the points of the store's transactions are told apart by the kinds of unit in them, as ``store.before-commit finish``.
When stdin ends, every run that goes on is killed.
"""

import contextlib
import faulthandler
import importlib
import json
import os
import pkgutil
import select
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

from bus import points

#: A life is short: checkpoints are written, and looked for, so often.
CHECKPOINT_SECONDS = 0.3
#: Seconds between the last moment before a commit and the death that prevents it.
_SLOW_COMMIT = 0.05


class Armed:
    """What stands in for ``points.reach`` in a run."""

    def __init__(self, environment: Mapping[str, str], command: str) -> None:
        self._arm, self._struck = Path(environment["CRASH_ARM"]), Path(environment["CRASH_STRUCK"])
        self._command = command
        self._lock = threading.Lock()
        self._visits: Counter[tuple[str, str]] = Counter()

    def reach(self, name: str, about: object = None) -> None:
        """Die if it is time."""
        with self._lock:
            deed = next(filter(None, map(self._due, _visits(name, about))), "")
        if not deed:
            return
        if name == "store.before-commit" and threading.current_thread() is not threading.main_thread():
            # As if the disk were slow: whoever was told too early now says so to the world.
            time.sleep(_SLOW_COMMIT)
        os.kill(os.getpid(), signal.Signals[deed])

    def _due(self, visit: str) -> str:
        """The signal's name, if this is the visit and the time; the order is then carried out."""
        try:
            order = self._arm.read_text()
        except FileNotFoundError:
            return ""
        where, number, deed = order.rsplit(" ", 2)
        self._visits[visit, order] += where == visit
        if where != visit or self._visits[visit, order] < int(number):
            return ""
        mine = self._arm.with_suffix(f".{os.getpid()}")
        try:
            self._arm.rename(mine)
        except FileNotFoundError:
            # Another worker was first.
            return ""
        with self._struck.open("a") as file:
            file.write(f"{os.getpid()} {self._command} {visit}\n")
        mine.unlink()
        return deed


#: Units that look for work and give back nothing when there is none: then they are not worth a death.
_LOOKING = {"claim", "expire"}


def _visits(name: str, about: object) -> Iterator[str]:
    """The point itself; for a transaction each kind of unit in it, and ``several`` where more than one unit had something to do."""
    if about is None:
        yield name
        return
    done = [(each.job.unit.func.__name__, each.value) for each in about if each.error is None]  # type: ignore[attr-defined]
    kinds = [kind for kind, value in done if value or kind not in _LOOKING]
    yield from (f"{name} {kind}" for kind in dict.fromkeys(kinds))
    if len(kinds) > 1:
        yield f"{name} several"


def _preload() -> None:
    """Only a saving: what is not imported here the child imports itself."""
    for name in ("bus.cli", "bus.steps", "adapters.soap", "adapters.vxp", "alembic.command"):
        importlib.import_module(name)
    for step in pkgutil.iter_modules(sys.modules["bus.steps"].__path__):
        importlib.import_module(f"bus.steps.{step.name}")


def _child(order: dict[str, object]) -> None:
    log = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(log, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # A run that hangs says where: its driver asks for it before it gives up.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    os.environ.clear()
    os.environ.update(order["environment"])  # type: ignore[arg-type]
    sys.argv = list(order["argv"])  # type: ignore[call-overload]
    points.reach = Armed(os.environ, sys.argv[1]).reach
    from bus import checkpointing, cli

    checkpointing.EVERY, checkpointing.PAUSE_SECONDS = timedelta(seconds=CHECKPOINT_SECONDS), CHECKPOINT_SECONDS
    cli.main()


class Forker:
    """The children, by process id; each is a process group of its own, so that its workers end with it, as under a service manager."""

    def __init__(self) -> None:
        self._running: set[int] = set()

    def fork(self, order: dict[str, object]) -> None:
        """Run the program once more."""
        pid = os.fork()
        if not pid:
            _become(order)
        self._running.add(pid)
        print(json.dumps({"run": order["run"], "pid": pid}), flush=True)

    def reap(self) -> None:
        """Say which children have ended, and how."""
        for pid in list(self._running):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            # Before it is waited for: until then nobody else can have its number.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            self._running.discard(pid)
            print(json.dumps({"ended": pid, "code": os.waitstatus_to_exitcode(status)}), flush=True)

    def kill(self) -> None:
        """End what still runs."""
        for pid in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def _become(order: dict[str, object]) -> NoReturn:
    """In the child: be the program, then end without what a forked interpreter would clean up."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = 70
    try:
        _child(order)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Fork, reap, until stdin ends."""
    _preload()
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    forker = Forker()
    rest = b""
    print(json.dumps({"ready": os.getpid()}), flush=True)
    while True:
        ready, _, _ = select.select([0, wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
            forker.reap()
        if 0 in ready:
            read = os.read(0, 1 << 16)
            if not read:
                forker.kill()
                return
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                forker.fork(json.loads(line))


if __name__ == "__main__":
    main()
