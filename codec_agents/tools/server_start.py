"""The start of an MCP server that is a program, and the reason why one did not start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio

from codec_agents.display.escape import escape_line
from codec_agents.references.programs import PYTHON
from codec_agents.references.secret_texts import hide

DIAGNOSIS_TIMEOUT = 15.0
"""Seconds for a program that ended at once to end again, when it is started to see its error."""

MAX_ERROR_LINE = 300
"""Characters of a program's last line that an error shows."""

MAX_ERROR_BYTES = 65536
"""The end of a program's standard error that is searched for its last line."""


def with_interpreter(command: Sequence[str]) -> list[str]:
    """Return the command; `python` is the interpreter that runs this program, as in a pipeline file."""
    return [sys.executable if command[0] == PYTHON else command[0], *command[1:]]


async def start_failure(
    error: Exception,
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    secrets: Sequence[str] = (),
) -> str:
    """Return the reason why a server did not start.

    The library tells only that the connection closed. So a program that ended is started once more, without
    input, to learn its exit code and the last line that it writes to its standard error.

    Args:
        error: the error of the first start.
        command: the program and its arguments.
        env: variables of the program, beside the few that it inherits.
        cwd: the directory in which it starts.
        secrets: values that are not shown.
    """
    if isinstance(error, TimeoutError):
        return "did not answer in time"
    # A name without a folder is searched for; another one is missing where it is said to be.
    if isinstance(error, FileNotFoundError) and Path(command[0]).name == command[0]:
        return f"cannot be started: there is no program {hide(command[0], secrets)!r} on the PATH"
    if isinstance(error, OSError):
        return f"cannot be started: {hide(error.strerror or str(error), secrets)}"
    if not connection_closed(error):
        return f"cannot be used: {type(error).__name__}"
    from mcp.client.stdio import get_default_environment

    with anyio.move_on_after(DIAGNOSIS_TIMEOUT):
        async with await anyio.open_process(
            with_interpreter(command),
            stdin=subprocess.DEVNULL,  # a server that waits for requests ends as well
            stdout=subprocess.DEVNULL,
            cwd=cwd,
            env={**get_default_environment(), **(env or {})},  # as the library starts it
        ) as program:
            assert program.stderr is not None
            written = b""
            async for chunk in program.stderr:  # only the end is kept: a program may write without end
                written = (written + chunk)[-MAX_ERROR_BYTES:]
            returned = await program.wait()
        # A line whose beginning is not kept may begin within a secret.
        lines = written.decode("utf-8", "replace").split("\n")[len(written) == MAX_ERROR_BYTES :]
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        # Hidden first: a secret that is cut or escaped is not found.
        shown = escape_line(hide(last, secrets)[:MAX_ERROR_LINE])
        return f"exited with {returned}" + (f": {shown}" if shown else "")
    return "closed the connection before it answered"


def connection_closed(error: Exception) -> bool:
    """Return whether a call failed because the server has ended."""
    from mcp import MCPError
    from mcp.types import CONNECTION_CLOSED

    return isinstance(error, MCPError) and error.code == CONNECTION_CLOSED
