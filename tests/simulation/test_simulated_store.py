"""The simulated store keeps every promise that the real ones keep, so that what is found on it means something."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from store_contract import StoreContract


class _AtOnce(ThreadPoolExecutor):
    """Threads become calls, as in the simulation: its stores share one connection."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class TestSimulated(StoreContract):
    """The store of the simulation, on an ordinary event loop."""

    @pytest.fixture(autouse=True)
    async def _without_threads(self) -> None:
        asyncio.get_running_loop().set_default_executor(_AtOnce())
