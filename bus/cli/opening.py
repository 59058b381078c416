"""Opening a site for one command: what is broken in its files is said in lines above the answer, and stops nothing (D45)."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bus import config, daemon
from bus.cli.screen import language, say
from bus.config import Loaded
from bus.errors import Fault, Rejected
from bus.signer import Signer
from bus.store import Store

#: Faults that are told: who has more of them asks `govbus check`.
_MOST = 5


@contextlib.contextmanager
def opened(site: Path) -> Iterator[tuple[Loaded, Store]]:
    """The site, as far as its files can be used, and its store."""
    with daemon.opened(site, os.environ, "operator") as (loaded, store):
        warn(loaded.faults)
        yield loaded, store


def surveyed(site: Path) -> Loaded:
    """The site alone, as far as its files can be used."""
    loaded = config.survey(site, environment=os.environ, clock=daemon.utc_now)
    warn(loaded.faults)
    return loaded


def signing(loaded: Loaded) -> Signer:
    """The site's key, for what is signed now. Raises Rejected 5.3.5 where it cannot be used: nobody else would believe the signature."""
    site, now = loaded.site, daemon.utc_now()
    signer = site.keyring.signers.get(site.key)
    if not site.organisation:
        raise Rejected("site-unusable")
    if signer is None:
        raise Rejected("key-unusable", name=site.key)
    end = signer.certificate.not_valid_after_utc
    if end <= now:
        raise Rejected("key-expired", name=site.key, end=end.date())
    return signer


def warn(faults: Sequence[Fault]) -> None:
    """One line a fault on standard error, and one that says how many more there are: standard output holds the answer alone."""
    for fault in faults[:_MOST]:
        print(f"warning: {fault.said(language())}", file=sys.stderr)
    if len(faults) > _MOST:
        print(f"warning: {say('cli-more-faults', count=len(faults) - _MOST)}", file=sys.stderr)
