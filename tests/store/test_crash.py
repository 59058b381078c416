"""kill -9 in the middle of accepting: what was answered is there, and what is there is whole."""

import subprocess
import sys
from pathlib import Path

from store_contract import message

from bus.audit import audit

#: Accepts for ever from many callers and says each id when its answer is there.
_WRITER = """
import asyncio, datetime, itertools, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from bus.evidence import Evidence
from bus.keys import Keyring
from bus.store import Owed, Store
from store_contract import message

def now():
    return datetime.datetime.now(datetime.UTC)

async def main():
    keyring = Keyring.load(Path(sys.argv[3]), {})
    ids = itertools.count()
    store = Store.open(sys.argv[1], seal=Evidence(keyring.signer("own/bus"), keyring.own, now).seal,
                       organisation="000.00.00.G14", clock=now, ids=lambda: f"id-{next(ids)}", chain="main")
    numbers = itertools.count()
    async def caller():
        for number in numbers:
            # Every tenth body is a file: its write is part of the promise.
            sent = message(number, b"x" * 300_000 + str(number).encode() if number % 10 == 0 else b"")
            owed = Owed(route="r", target="route:r", message=sent, expires=now() + datetime.timedelta(days=5))
            await store.accept(sent, owed, receipts_to="unit-inbox")
            print(number, flush=True)
    await asyncio.gather(*(caller() for _ in range(8)))

asyncio.run(main())
"""


def test_what_was_answered_survives_sigkill(tmp_path: Path, certs: Path, open_store, evidence) -> None:
    """Every id that was printed after its commit is in the store after kill -9, and the audit finds nothing."""
    url = f"sqlite:///{tmp_path / 'bus.db'}"
    arguments = [sys.executable, "-c", _WRITER, url, str(Path(__file__).parent), str(certs)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        answered = [int(process.stdout.readline()) for _ in range(100)]
        process.kill()
        answered += [int(line) for line in process.stdout.read().splitlines() if line.strip()]
    store = open_store()
    for number in answered:
        [story] = store.show(f"message-{number}")
        assert story.message["digest"] == message(number, b"x" * 300_000 + str(number).encode() if number % 10 == 0 else b"").digest
    assert audit(store, evidence).findings == ()
