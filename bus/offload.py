"""Where CPU work runs: inline while it is small, in a thread when it is big, so that the event loop stays free (D7).

Measured: handing a 5 kB message to a thread costs more than working it; lxml, cryptography and pybase64 release the GIL on big ones.
"""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

#: Bodies above this many octets are worked in a thread.
INLINE = 1 << 20

P = ParamSpec("P")
T = TypeVar("T")


#: The size of work that waits for something: whatever it is about, it belongs in a thread.
WAITS = INLINE + 1


async def offload(size: int, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``work`` returns, or raises; ``size`` is how many octets it is about, or WAITS."""
    if size > INLINE:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)
