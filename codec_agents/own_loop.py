"""Run an async function to its end where an event loop may be running already."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import anyio

Result = TypeVar("Result")


def run_in_own_loop(function: Callable[[], Awaitable[Result]]) -> Result:
    """Run in an event loop and a thread of its own: a running loop of the caller's cannot be entered again.

    Raises:
        BaseException: what the function raised.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="codec") as pool:
        return pool.submit(anyio.run, function).result()
