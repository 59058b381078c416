"""Group commit against one commit a message, on this machine's disk and on one whose fsync takes two milliseconds longer.

The delay is injected where the disk would be slow: a library of a few lines of C, compiled here and put before the C library's own
(``LD_PRELOAD``), waits before each ``fsync`` and ``fdatasync``. Everything else is the store as it is: as many callers as the door may
have, each accepting one message after the other, every answer after its commit.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import backlog
from bus.store import Store, inline

DELAY_MS = 2
CALLERS = 64
#: Messages of a run; committed one by one on the slow disk they take several seconds.
MESSAGES = 1_024
SIZE = 5_000

_SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
static int slowly(const char *name, int file) {
    struct timespec pause = {0, DELAY_NS};
    int (*real)(int) = (int (*)(int)) dlsym(RTLD_NEXT, name);
    nanosleep(&pause, 0);
    return real(file);
}
int fsync(int file) { return slowly("fsync", file); }
int fdatasync(int file) { return slowly("fdatasync", file); }
"""


def measure() -> dict[str, Any]:
    """Messages a second, by disk and by how many messages may share a commit; without a C compiler only this machine's disk."""
    with tempfile.TemporaryDirectory(prefix="govbus-commits-") as directory:
        disks = {"this_disk": ""}
        if compiler := shutil.which("cc"):
            disks[f"fsync_{DELAY_MS}_ms_longer"] = str(_compiled(compiler, Path(directory)))
        return {disk: _compared(Path(directory), disk, shim) for disk, shim in disks.items()}


def _compared(directory: Path, disk: str, shim: str) -> dict[str, float]:
    group, single = (_rate(directory / f"{disk}-{most}.db", most, shim) for most in (inline.MOST, 1))
    return {"group_commit": round(group, 1), "one_commit_a_message": round(single, 1), "ratio": round(group / single, 1)}


def _compiled(compiler: str, directory: Path) -> Path:
    source, library = directory / "slow.c", directory / "slow.so"
    source.write_text(_SHIM, encoding="ascii")
    options = [f"-DDELAY_NS={DELAY_MS * 1_000_000}L", "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([compiler, *options, str(source), "-ldl"], check=True)
    return library


def _rate(database: Path, most: int, shim: str) -> float:
    """Messages a second of a process of its own."""
    environment = {**os.environ, "LD_PRELOAD": shim} if shim else dict(os.environ)
    command = [sys.executable, "-m", "bench.commits", str(database), str(most)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=300)
    return float(json.loads(done.stdout))


async def _accept(store: Store) -> float:
    letter = backlog.letters(SIZE, seed=1)
    waiting = iter([letter(number) for number in range(MESSAGES)])

    async def caller() -> None:
        for message, owed in waiting:
            await store.accept(message, owed, receipts_to=backlog.MAILBOX)

    began = time.monotonic()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return MESSAGES / (time.monotonic() - began)


def main(database: str, most: str) -> None:
    """In a process of its own: print the rate with at most ``most`` messages in one commit."""
    inline.MOST = int(most)
    given = backlog.context()
    store = Store.open(
        f"sqlite:///{database}", seal=given.seal, organisation=given.organisation, clock=given.clock, ids=given.ids, chain=given.chain
    )
    print(json.dumps(asyncio.run(_accept(store))))
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
