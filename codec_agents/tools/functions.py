"""Callables of the user's that nodes ask: functions, conditions, and what cuts a stream into items."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from anyio import to_thread


async def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function of the user's: an async one here, any other in a worker thread."""
    if is_async(function):
        return await function(*args, **kwargs)
    return await to_thread.run_sync(partial(function, *args, **kwargs), abandon_on_cancel=True)


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a callable is a coroutine function, or an object whose call is one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


class Function:
    """A callable whose answer a run goes by, and a record keeps."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    async def ask(self, node: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - see `RecordedFunction`
        """Return what it gives.

        Args:
            node: The path of the node that asks.
            args: What it is called with.
            kwargs: What it is called with, by name.
        """
        return await call(self._function, *args, **kwargs)


def digest_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Name the arguments of a call: equal ids and texts have equal names, however the ids are held."""
    given = [[_plain(each) for each in args], {name: _plain(each) for name, each in kwargs.items()}]
    return hashlib.sha256(msgspec.json.encode(given, order="sorted")).hexdigest()[:32]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return value if isinstance(value, str) else list(value)
