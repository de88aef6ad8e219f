"""The standard error of an MCP server that is a program, as it reaches that of this process.

A program that inherits the stream could steer the terminal, and show secrets that it was given. So it writes
to a pipe, whose lines are written on with the server's name, escaped, and without the values of variables.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from threading import Thread
from typing import TextIO

import anyio

from codec_agents.display.escape import escape_line
from codec_agents.references.secret_texts import SecretTexts

MAX_LINE = 2000
"""Characters of a line that are shown; a program may write without line ends."""

MAX_BYTES = 65536
"""Bytes of a line that are searched for secrets; the rest of a longer one is not shown."""

LAST_LINES = 1.0
"""Seconds to wait for the last lines: what the program has started may keep the pipe open behind its end."""


@asynccontextmanager
async def shown_errors(server: str, secrets: Iterable[str] = ()) -> AsyncIterator[TextIO]:
    """Yield a file for the standard error of a program; leave this after the program has ended.

    Args:
        server: the name before each line.
        secrets: values that are not shown.
    """
    hidden = SecretTexts(secrets)
    reading, writing = os.pipe()
    # Not a task: a run whose tasks are all cancelled must not lose what the server says at its end.
    reader = Thread(target=_show, args=(reading, server, hidden), daemon=True)
    reader.start()
    try:
        with os.fdopen(writing, "w", encoding="utf-8") as file:
            yield file
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(reader.join, LAST_LINES)


def _show(reading: int, server: str, secrets: SecretTexts) -> None:
    for line, whole in _lines(reading):
        hidden = secrets.hide(line)
        if not whole:  # it may end within a secret
            hidden = hidden[: max(0, len(hidden) - secrets.longest)]
        shown = escape_line(hidden[:MAX_LINE])
        try:
            # By its name each time: tests and notebooks replace it. There is none without a console.
            sys.stderr.write(f"{server}: {shown}\n")
            sys.stderr.flush()
        # The pipe is read on all the same: a program whose pipe is full would wait for ever.
        except (OSError, ValueError, AttributeError):
            continue


def _lines(reading: int) -> Iterator[tuple[str, bool]]:
    """Yield the lines of a pipe until nothing can write to it any more; close it.

    Beside each line, False tells that it is only the beginning of one that is longer than `MAX_BYTES`.
    """
    with os.fdopen(reading, "rb") as pipe:
        while line := pipe.readline(MAX_BYTES):
            whole = len(line) < MAX_BYTES or line.endswith(b"\n")
            yield line.rstrip(b"\r\n").decode("utf-8", "replace"), whole
            while not whole:
                rest = pipe.readline(MAX_BYTES)
                whole = len(rest) < MAX_BYTES or rest.endswith(b"\n")
