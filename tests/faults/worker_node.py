"""A second node of a site's bus, as a process of its own: ``worker_node.py SITE CHAIN LEASE_SECONDS``; ends with its standard input."""

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

from faults_rig import bus

from bus import log


async def main(site: str, chain: str, lease: str) -> None:
    """Work until the starter lets go of us."""
    async with bus(Path(site), os.environ, chain=chain, lease=timedelta(seconds=float(lease))):
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    log.configure()
    asyncio.run(main(*sys.argv[1:]))
