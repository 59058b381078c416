"""What a daemon is among several: its name, its chains, its lease; and that two can never believe they are the same one."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from second_daemon import govbus_run

from bus.errors import ConfigurationError
from bus.node import Node
from sandbox.process import BusProcess

Start = Callable[..., BusProcess]


def test_fault_08_a_second_daemon_on_an_embedded_site_refuses(make_site: Callable[..., Path], start: Start) -> None:
    """It names the process that serves the site; the first goes on; when that is gone, even by kill -9, another may start."""
    site = make_site()
    first = start(site)
    second = govbus_run(site, {"GOVBUS_STORE": "", "LANG": "en_US.UTF-8"})
    assert second.returncode == 1
    assert f"process {first.pid}" in re.sub(r"\s+", " ", second.stdout + second.stderr)
    assert not first.died
    first.kill()
    assert start(site).url


def test_a_node_has_sensible_defaults() -> None:
    """The host's name, no broker, three minutes."""
    node = Node.read({})
    assert (node.broker, node.lease) == ("", timedelta(minutes=3))
    assert re.fullmatch(r"[A-Za-z0-9._-]+", node.name)


@pytest.mark.parametrize(
    ("workers", "embedded", "chains"),
    [
        (1, True, ["main"]),
        (2, True, ["worker-1", "worker-2"]),
        (1, False, ["north"]),
        (2, False, ["north-worker-1", "north-worker-2"]),
    ],
)
def test_on_a_shared_store_a_chain_carries_its_nodes_name(workers: int, embedded: bool, chains: list[str]) -> None:
    """So that no two writers, wherever they run, write one chain; an embedded store keeps its names whatever the host is called."""
    assert list(Node.read({"GOVBUS_NODE": "north"}).chains(workers, embedded=embedded)) == chains


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("GOVBUS_NODE", "máy chủ", "no node's name"),
        ("GOVBUS_NODE", "operator", "not main or operator"),
        ("GOVBUS_NODE", "x" * 64, "up to 63"),
        ("GOVBUS_LEASE", "4", "from 5 to 3600"),
        ("GOVBUS_LEASE", "three", "number of seconds"),
        ("GOVBUS_LEASE", "-30", "number of seconds"),
        ("GOVBUS_BROKER", "redis://u:sesame@h", "write amqp://"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(name: str, value: str, said: str) -> None:
    """Each with its name and the cure; never with a password."""
    with pytest.raises(ConfigurationError, match=said) as refused:
        Node.read({name: value})
    assert str(refused.value).startswith(f"{name}:")
    assert "sesame" not in str(refused.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    """Three mistakes, three faults."""
    with pytest.raises(ConfigurationError) as refused:
        Node.read({"GOVBUS_NODE": "-", "GOVBUS_LEASE": "0", "GOVBUS_BROKER": "nonsense"})
    assert len(refused.value.faults) == 3
