"""Message ids: UUID version 7 (RFC 9562, 5.7). Time-ordered, so that rows are appended to an index and not scattered over it."""

import secrets
import uuid
from collections.abc import Callable
from datetime import datetime


def uuid7(clock: Callable[[], datetime], random: Callable[[int], int] = secrets.randbits) -> Callable[[], str]:
    """A source of ids from a clock and a source of random bits, both injected."""

    def next_id() -> str:
        milliseconds = int(clock().timestamp() * 1000) & (1 << 48) - 1
        value = milliseconds << 80 | 0x7 << 76 | random(12) << 64 | 0b10 << 62 | random(62)
        return str(uuid.UUID(int=value))

    return next_id
