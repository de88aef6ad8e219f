"""Watch how much the steps of an event loop handle, by what its functions are given."""

from __future__ import annotations

import sys
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from codec_agents.dialects.messages import Message
from codec_agents.server.gateway.tree import Node
from codec_core.frames import CodecFrame

LOOP = "codec server"
"""The name of the thread in which an embedded server runs its event loop."""

ONE_READ = 64 * 1024
"""The bytes that one read of a socket gives."""


class Steps:
    """What has run on the event loop.

    Attributes:
        longest: the most text, bytes or ids that a function was given, by its name.
    """

    def __init__(self) -> None:
        self.longest: dict[str, int] = {}

    def beyond(self, bound: int) -> dict[str, int]:
        """Return the functions that were given more than a bound, with how much."""
        return {name: size for name, size in self.longest.items() if size > bound}

    def look(self, frame: Any, event: str, _argument: Any) -> None:
        """Take note of a call."""
        if threading.current_thread().name != LOOP:
            sys.setprofile(None)  # this thread is of no interest, and looking at it takes time
            return
        code = frame.f_code
        if event != "call" or not (
            "/codec_agents/" in code.co_filename or "/codec_core/" in code.co_filename
        ):
            return
        for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
            size = _size(frame.f_locals.get(name))
            self.longest[code.co_qualname] = max(self.longest.get(code.co_qualname, 0), size)


def _size(value: Any) -> int:
    match value:
        case str() | bytes() | bytearray() | list() | tuple() | array():
            return len(value)
        case Node():
            return len(value.inserted) + len(value.sampled)
        case Message():
            return len(value.content) + len(value.reasoning or "")
        case CodecFrame():
            return len(value.ids)
    return 0


@contextmanager
def watched_steps() -> Iterator[Steps]:
    """Watch the steps of the embedded servers that are started within."""
    steps = Steps()
    before = threading.getprofile()
    threading.setprofile(steps.look)
    try:
        yield steps
    finally:
        threading.setprofile(before)
