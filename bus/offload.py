"""Where CPU work runs: inline while it is small, in a thread when it is big, so that the event loop stays free (D7).

Measured: handing a 5 kB message to a thread costs more than working it; lxml, cryptography and pybase64 release the GIL on big ones.

Work that finds out on its way that it has to wait for something (few messages do) calls ``leave_loop`` first. On the event loop that ends
it, and ``offload`` begins it again in a thread: so whoever calls it must not have changed anything yet.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import ParamSpec, TypeVar

#: Bodies above this many octets are worked in a thread.
INLINE = 1 << 20

P = ParamSpec("P")
T = TypeVar("T")


class OnLoop(BaseException):
    """Work that must wait is running on the event loop. For ``offload`` alone: no handler of failures is to take it for one."""


def leave_loop() -> None:
    """Returns when not on an event loop; raises OnLoop there."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise OnLoop


async def offload(size: int, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``work`` returns, or raises; ``size`` is how many octets it is about."""
    if size <= INLINE:
        with contextlib.suppress(OnLoop):
            return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
