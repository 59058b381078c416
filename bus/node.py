"""Node: what one daemon is among several that serve one site, from its environment.

``GOVBUS_NODE``     its name, by which its journal chains are known; by default the host's. Two nodes of one store need two names.
``GOVBUS_BROKER``   an AMQP address: nodes and workers wake each other over it (``bus.wakeup``); by default they poll.
``GOVBUS_LEASE``    seconds that a claim lasts: what a node held when it died is free for the others after so long.

Raises ConfigurationError with everything that is wrong; never with a value that holds a password.
"""

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from bus.amqp import check_url
from bus.errors import ConfigurationError, Fault
from bus.lanes import LEASE

#: An attempt is cut off a little before its lease is over, so a lease must be longer than the slowest honest attempt.
_SHORTEST, _LONGEST = 5, 3600
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
#: Chains that are not a node's: those of the embedded store, and of the commands that write.
_TAKEN: Final = frozenset({"main", "operator"})


@dataclass(frozen=True, slots=True)
class Node:
    """``broker`` is "" where there is none."""

    name: str
    broker: str = field(repr=False)
    lease: timedelta

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Node":
        """The node that ``environment`` describes."""
        faults: list[Fault] = []
        node = cls(_name(environment, faults), _broker(environment, faults), _lease(environment, faults))
        if faults:
            raise ConfigurationError(faults)
        return node

    def chains(self, workers: int, *, embedded: bool) -> Sequence[str]:
        """The journal chain of each worker: a chain has one writer, wherever it runs, so on a shared store it carries the node's name.

        An embedded store has one node, whatever its host is called today.
        """
        first, others = ("main", "worker") if embedded else (self.name, f"{self.name}-worker")
        return [first] if workers <= 1 else [f"{others}-{number}" for number in range(1, workers + 1)]


def _name(environment: Mapping[str, str], faults: list[Fault]) -> str:
    name = environment.get("GOVBUS_NODE") or platform.node().partition(".")[0] or "node"
    if not _NAME.fullmatch(name) or name in _TAKEN:
        faults.append(_fault("GOVBUS_NODE", f"{name!r} is no node's name: up to 63 letters, digits, '.', '_', '-'; not main or operator"))
    return name


def _broker(environment: Mapping[str, str], faults: list[Fault]) -> str:
    url = environment.get("GOVBUS_BROKER", "")
    try:
        return check_url(url) if url else ""
    except ValueError as error:
        faults.append(_fault("GOVBUS_BROKER", str(error)))
        return ""


def _lease(environment: Mapping[str, str], faults: list[Fault]) -> timedelta:
    value = environment.get("GOVBUS_LEASE", "")
    if not value:
        return LEASE
    if not value.isascii() or not value.isdigit() or not _SHORTEST <= int(value) <= _LONGEST:
        faults.append(_fault("GOVBUS_LEASE", f"{value!r} is not a number of seconds from {_SHORTEST} to {_LONGEST}"))
        return LEASE
    return timedelta(seconds=int(value))


def _fault(name: str, text: str) -> Fault:
    return Fault(name, 0, 0, text)
