"""A backlog: a store with any number of waiting messages, as the store itself would have written them.

The store's own unit of work accepts them, thousands in a transaction, so that every row, the journal's chain and all indexes are what they
would be. What is left out is the waiting for the disk, and the question whether a message is known, as each of them is new. Receipts are
sealed by whatever is given: a real seal for a store that is to be audited or run, ``seal_of_size`` where only their size matters.
"""

import gc
import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import event

from bus.delivery import ROUTE_PREFIX
from bus.message import DOCUMENT_ID, ENDPOINT, FROM, KIND, KIND_DOCUMENT, RECEIVERS, SENDER, SENDER_MESSAGE_ID, SUBJECT, Message
from bus.receipt import Receipt
from bus.store import Owed, accepting, dialect, migrate
from bus.store.transaction import Context, Transaction

#: The partner that everything comes from, the route it goes, and the endpoint whose mailbox takes the receipts.
SENDER_NAME, ROUTE, MAILBOX = "telecom-authority", "documents", "unit-mailbox"
#: Messages in one transaction.
GROUP = 5_000
#: A signed receipt's octets.
RECEIPT_SIZE = 3_400
LIFE = timedelta(days=5)

_PHRASES = ("về việc triển khai", "kế hoạch", "chuyển đổi số", "báo cáo", "tình hình thực hiện", "công văn", "chỉ đạo của lãnh đạo bộ")
_PRAGMAS = ("synchronous = OFF", "cache_size = -262144")

#: The message with a number, and what is owed for it.
Letter = Callable[[int], tuple[Message, Owed]]


def seal_of_size(_receipt: Receipt) -> bytes:
    """Not a seal: as many octets as one has."""
    return b"x" * RECEIPT_SIZE


def context(seal: Callable[[Receipt], bytes] = seal_of_size, chain: str = "bench") -> Context:
    """What a store is opened with."""
    return Context(chain, "000.00.00.G14", seal, now, ids())


def now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def ids() -> Callable[[], str]:
    """Ids in the form and the order of UUID version 7, as fast as they can be counted."""
    begin, numbers = f"{int(now().timestamp() * 1000):012x}", itertools.count()
    before = f"{begin[:8]}-{begin[8:]}-7{random.randrange(1 << 12):03x}-8000"
    return lambda: f"{before}-{next(numbers):012x}"


def letters(size: int, seed: int, target: str = ROUTE_PREFIX + ROUTE) -> Letter:
    """Letters of ``size`` random octets from fifty units, with ids that no order of time is to be seen in, as senders give them."""
    chance, next_id = random.Random(seed), ids()

    def letter(number: int) -> tuple[Message, Owed]:
        organ = f"000.00.{chance.randrange(1, 51):02}.G14"
        headers = {
            SENDER: SENDER_NAME,
            SENDER_MESSAGE_ID: f"{chance.getrandbits(128):032x}",
            ENDPOINT: "unit-documents",
            KIND: KIND_DOCUMENT,
            FROM: organ,
            RECEIVERS: "000.00.00.G18",
            DOCUMENT_ID: f"{organ},2026/01/31,{number}/BC-VP",
            SUBJECT: f"{' '.join(chance.choices(_PHRASES, k=6))} {number}",
        }
        message = Message(next_id(), headers, chance.randbytes(size))
        return message, Owed(ROUTE, target, message, now() + LIFE)

    return letter


def fill(url: str, given: Context, count: int, letter: Letter, receipts_to: str = MAILBOX) -> None:
    """Have ``count`` letters accepted by the store at ``url``, which nobody else uses; new tables are made."""
    engine = dialect.engine(url, writer=True)
    event.listen(engine, "connect", _hasten)
    migrate.up_to_date(engine, given.chain)
    with _uncollected():
        for first in range(0, count, GROUP):
            with engine.connect() as connection, connection.begin():
                transaction = _Fresh.begin(connection, given)
                for number in range(first, min(first + GROUP, count)):
                    transaction.mark()
                    message, owed = letter(number)
                    accepting.accept(transaction, message, [owed], receipts_to)
                transaction.end()
    engine.dispose()


def _hasten(connection: Any, _record: object) -> None:
    if hasattr(connection, "execute") and type(connection).__module__.startswith("sqlite3"):
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    else:
        connection.execute("SET synchronous_commit = off")


@contextmanager
def _uncollected() -> Iterator[None]:
    """Rows make no cycles, and the collector would walk thousands of them again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class _Nobody:
    """The answer to a question after what is not there."""

    def one_or_none(self) -> None:
        """No row."""

    def first(self) -> None:
        """No row."""


class _Fresh(Transaction):
    """A transaction whose every message is new: nobody need ask."""

    __slots__ = ()

    def ask_of(self, *_question: Any, **_given: Any) -> Any:
        """Nothing goes by any name that is asked for."""
        return _Nobody()
