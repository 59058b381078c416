"""What the demo sends: a day's post of two units and the Government Office, with everything in it that a bus must refuse."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sandbox import documents
from sandbox.documents import GOVERNMENT_OFFICE, PARTNER_AGENCY, SECURITY_AUTHORITY, TELECOM_AUTHORITY, Kind, Party

UNITS = (TELECOM_AUTHORITY, SECURITY_AUTHORITY)
#: Share of the documents that go each way: (sender's side, receivers)
_WAYS = (("unit", (GOVERNMENT_OFFICE,)), ("unit", (PARTNER_AGENCY,)), ("office", ()))
_WEIGHTS = (45, 30, 25)
#: (most bytes, share): most documents are small, one in forty is over a megabyte.
_SIZES = ((12_000, 55), (60_000, 30), (400_000, 12), (2_000_000, 3))


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to send. ``refused``: the code it must be refused with, or "". ``again``: the sender repeats it, as after a lost answer."""

    message_id: str
    sender: Party
    receivers: tuple[Party, ...]
    body: bytes
    refused: str = ""
    again: bool = False


def programme(count: int, seed: int = 2016) -> list[Item]:
    """``count`` documents that must be delivered, and beside them what must not; in the order they are sent."""
    rng = random.Random(seed)
    special = list(_special())
    ordinary = [_ordinary(rng, number) for number in range(max(0, count - len(special)))]
    items = [*special, *ordinary]
    rng.shuffle(items)
    return [*items, *_to_be_refused(), _again(items)]


def _again(items: Sequence[Item]) -> Item:
    first = next(item for item in items if item.sender in UNITS)
    return Item(first.message_id, first.sender, first.receivers, first.body, again=True)


def _special() -> Iterator[Item]:
    """The cases that every run has: a reply to the Government Office, several receivers at once, and a large one."""
    reply = documents.make(Kind.REPLY, 30_000, seed=7001, sender=TELECOM_AUTHORITY, receivers=(GOVERNMENT_OFFICE,), number=7001)
    yield Item("reply", TELECOM_AUTHORITY, (GOVERNMENT_OFFICE,), reply)
    everyone = (GOVERNMENT_OFFICE, PARTNER_AGENCY, SECURITY_AUTHORITY)
    several = documents.make(Kind.NEW, 40_000, seed=7002, sender=TELECOM_AUTHORITY, receivers=everyone, number=7002)
    yield Item("several-receivers", TELECOM_AUTHORITY, everyone, several)
    large = documents.make(Kind.NEW, 10_000_000, seed=7003, sender=SECURITY_AUTHORITY, receivers=(GOVERNMENT_OFFICE,), number=7003)
    yield Item("ten-megabytes", SECURITY_AUTHORITY, (GOVERNMENT_OFFICE,), large)
    letter = documents.make(Kind.NEW, 25_000, seed=7004, sender=GOVERNMENT_OFFICE, receivers=UNITS, number=7004)
    yield Item("letter-to-both-units", GOVERNMENT_OFFICE, UNITS, letter)


def _ordinary(rng: random.Random, number: int) -> Item:
    side, receivers = rng.choices(_WAYS, _WEIGHTS)[0]
    sender = rng.choice(UNITS) if side == "unit" else GOVERNMENT_OFFICE
    to = receivers or (rng.choice(UNITS),)
    most = rng.choices([size for size, _ in _SIZES], [share for _, share in _SIZES])[0]
    kind = rng.choice((Kind.NEW, Kind.NEW, Kind.NEW, Kind.REPLY))
    # The number is the document's identity: no two documents of a run share it.
    body = documents.make(kind, rng.randint(5_000, most), seed=number + 1, sender=sender, receivers=to, number=number + 1)
    return Item(f"{number + 1:05d}", sender, to, body)


def _to_be_refused() -> Iterator[Item]:
    to = (GOVERNMENT_OFFICE,)
    good = documents.make(size=6_000, seed=9001, sender=TELECOM_AUTHORITY, receivers=to, number=9001)
    yield Item("no-subject", TELECOM_AUTHORITY, to, documents.invalid("no subject"), refused="5.6.3")
    yield Item("doctype", TELECOM_AUTHORITY, to, documents.invalid("doctype"), refused="5.6.2")
    yield Item("wrong-sender", TELECOM_AUTHORITY, to, documents.wrong_sender(good), refused="5.7.1")
    nobody = Party("000.00.99.G99", "Đơn vị không tồn tại", "", "KTT", "VP")
    unknown = documents.make(size=6_000, seed=9002, sender=TELECOM_AUTHORITY, receivers=(nobody,), number=9002)
    yield Item("unknown-receiver", TELECOM_AUTHORITY, (nobody,), unknown, refused="5.1.1")
