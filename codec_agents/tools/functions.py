"""Callables of the user that nodes call: functions, conditions, and those that cut a stream into items."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from codec_agents.concurrency.apart import run_in_thread


async def call(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function: an async one in this task, any other in a worker thread."""
    if is_async(function):
        return await function(*args, **kwargs)
    return await run_in_thread(partial(function, *args, **kwargs))


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether a callable is a coroutine function, or an object whose `__call__` is one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


class Function:
    """A callable whose result decides how a run continues, and which a record keeps."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    async def ask(self, node: str, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - see `RecordedFunction`
        """Call it and return its result.

        Args:
            node: the path of the node that calls it.
            args: its positional arguments.
            kwargs: its arguments by name.
        """
        return await call(self._function, *args, **kwargs)


def digest_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return a digest of the arguments of a call; equal token ids and texts have equal digests."""
    given = [[_plain(each) for each in args], {name: _plain(each) for name, each in kwargs.items()}]
    return hashlib.sha256(msgspec.json.encode(given, order="sorted")).hexdigest()[:32]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return value if isinstance(value, str | int) else list(value)
