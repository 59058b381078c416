"""What the tests of checkpoints do to a store: journal something, and write checkpoints as the daemon does."""

from datetime import timedelta

from helping import HandClock

from bus.checkpoint import Summary
from bus.endpoint import Sent
from bus.evidence import Evidence
from bus.message import FROM, SENDER, SENDER_MESSAGE_ID, Message
from bus.store import Owed, Store

ORGANISATION = "000.00.00.G14"
LEASE = timedelta(minutes=5)
LIFE = timedelta(days=5)


async def life(store: Store, clock: HandClock, number: int, target: str = "partner") -> None:
    """A message from its acceptance to its delivery: three journal rows."""
    headers = {SENDER: "unit", SENDER_MESSAGE_ID: f"unit-{number}", FROM: "000.00.07.G14"}
    sent = Message(f"message-{number}", headers, f"<edXML>{number}</edXML>".encode())
    await store.accept(sent, Owed(route="out", target=target, message=sent, expires=clock() + LIFE))
    [work] = await store.claim(target, 10, LEASE)
    await store.finish(work, Sent(work.message.digest, b"<taken/>"))


async def checkpoint(store: Store, evidence: Evidence, clock: HandClock) -> Summary:
    """The next checkpoint, as the daemon writes it."""
    grown = store.growth()
    summary = Summary(grown.number, clock(), ORGANISATION, grown.previous, grown.spans)
    assert await store.keep_checkpoint(grown, clock(), evidence.seal_checkpoint(summary))
    return summary


def rows(store: Store, chain: str = "main") -> dict[int, str]:
    """The hashes of a chain's journal rows, by their number."""
    with store.snapshot() as snapshot:
        return {row.seq: row.hash for row in snapshot.journal() if row.chain == chain}
