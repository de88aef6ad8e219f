"""The exit codes of the commands, and how errors are printed."""

from __future__ import annotations

import errno
import io
import logging
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import click

from codec_agents.cli import terminal
from codec_agents.exceptions import (
    ApprovalRequiredError,
    BatchError,
    CodecAgentsError,
    ContextFullError,
    DialectError,
    DurableError,
    EngineError,
    InputError,
    LimitExceededError,
    NodeFailedError,
    PauseError,
    PipelineError,
    PromptError,
    RecordError,
    ReferenceRefusedError,
    SecretMissingError,
    StoreError,
    ToolDefinitionError,
)
from codec_core.exceptions import CodecError

DONE = 0
RUN_FAILED = 1
"""The run failed, and no code below is more specific."""
USAGE = 2
"""Wrong options or inputs; click's own code."""
FAULTS = 3
"""The pipeline cannot be built."""
ENGINE_FAILED = 4
"""An engine could not be reached, refused, or broke its stream."""
LIMIT_REACHED = 5
"""A limit of turns, ids or calls, a full context, or a time-out."""
DATA_UNUSABLE = 6
"""A map, record or file is missing, damaged, or of another kind."""
WAITING = 7
"""A tool call waits for approval."""
ADDRESS_IN_USE = 8
"""Another program listens at the address of `serve`."""
INTERRUPTED = 130
"""Ctrl-C: 128 and the number of the signal."""


class AddressInUseError(Exception):
    """Another program listens at the address of `serve`."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"port {port} of {host} is in use; stop the program that listens there, or give another --port "
            "(0 for any free one)"
        )


CODES: tuple[tuple[type[BaseException], int], ...] = (
    (AddressInUseError, ADDRESS_IN_USE),
    (PipelineError, FAULTS),
    (SecretMissingError, FAULTS),
    (ReferenceRefusedError, FAULTS),
    (DialectError, FAULTS),
    (PromptError, FAULTS),
    (ToolDefinitionError, FAULTS),
    (InputError, USAGE),
    (EngineError, ENGINE_FAILED),
    (LimitExceededError, LIMIT_REACHED),
    (ContextFullError, LIMIT_REACHED),
    (RecordError, DATA_UNUSABLE),
    (PauseError, DATA_UNUSABLE),
    (StoreError, DATA_UNUSABLE),
    (ApprovalRequiredError, WAITING),
    (BatchError, DATA_UNUSABLE),
    (DurableError, DATA_UNUSABLE),
    (CodecError, DATA_UNUSABLE),
    (OSError, DATA_UNUSABLE),
    (CodecAgentsError, RUN_FAILED),
)
"""The first class that matches decides."""

Params = ParamSpec("Params")


def exit_code(error: BaseException) -> int:
    """Return the code with which an error ends the command."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    cause = error.cause if isinstance(error, NodeFailedError) else None
    if isinstance(cause, EngineError):
        return ENGINE_FAILED
    return next((code for kind, code in CODES if isinstance(error, kind)), RUN_FAILED)


def message_of(error: BaseException) -> str:
    """Return the message of an error, with the remedy for a user of the command line."""
    # Its own message names methods of Python.
    if isinstance(error, ApprovalRequiredError):
        names = ", ".join(repr(call.name) for call in error.pending)
        return (
            f"the run waits for approval of {names}; run it at a terminal to be asked, or with --pause FILE, "
            "and resume it with `codec-agents resume`"
        )
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    # Without a file it was raised here, with a message that is whole.
    if not isinstance(error, OSError) or (error.filename is None and error.errno not in FULL):
        return str(error)
    remedy = REMEDIES.get(type(error)) or REMEDIES_OF_SYSTEMS.get(error.errno or 0, "")
    # The system names no file where a write fails: the file, or the standard output, is open by then.
    place = "the output" if error.filename is None else error.filename
    return f"cannot use {place}: {error.strerror}{remedy and f'; {remedy}'}"


FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
REMEDIES_OF_SYSTEMS = {
    **dict.fromkeys(FULL, "free some space, or write to another place"),
    errno.EROFS: "write to another place",
}
"""Remedies by the number of an error, where Python has no class for it."""
REMEDIES: dict[type[OSError], str] = {
    FileNotFoundError: "name an existing file, or for a new file an existing folder",
    NotADirectoryError: "name a file in a folder",
    FileExistsError: "name one that does not exist yet",
    PermissionError: "change its permissions, or name another one",
}
"""Remedies for errors of the operating system."""


def error_document(error: BaseException) -> dict[str, Any]:
    """Return an error as a JSON document."""
    document: dict[str, Any] = {"type": type(error).__name__, "message": message_of(error)}
    if isinstance(error, PipelineError):
        document["faults"] = [
            {name: getattr(fault, name) for name in ("severity", "place", "found", "remedy", "file", "line")}
            for fault in error.faults
        ]
    for name in ("node", "engine", "delivered", "status", "phase"):
        # Each kind of error has some of these; a node's failure has None for an engine that is not at fault.
        if isinstance(value := getattr(error, name, None), str | int):
            document[name] = value
    if error.__cause__ is not None:
        document["cause"] = {"type": type(error.__cause__).__name__, "message": str(error.__cause__)}
    return {"error": document, "exit_code": exit_code(error)}


class QuietInterrupts(logging.Filter):
    """Drops what asyncio logs of the tasks that a second Ctrl-C ends, wherever each of them is."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a message of asyncio is printed."""
        error = record.exc_info[1] if record.exc_info else None
        inside = error.subgroup(KeyboardInterrupt) if isinstance(error, BaseExceptionGroup) else None
        if inside is None and not isinstance(error, KeyboardInterrupt):
            return True
        # From now on only: before, this warning shows a user that a tool lacks an `await`.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        return False


QUIET_INTERRUPTS = QuietInterrupts()


def reporting(command: Callable[Params, None]) -> Callable[Params, None]:
    """Print expected errors as messages and exit with their codes; other exceptions keep their traceback."""

    @wraps(command)
    def run(*args: Params.args, **kwargs: Params.kwargs) -> None:
        logging.getLogger("asyncio").addFilter(QUIET_INTERRUPTS)
        try:
            command(*args, **kwargs)
        except tuple(kind for kind, _ in CODES) as error:
            # click ends quietly when the reader of a pipe has gone, as `| head` does.
            if isinstance(error, BrokenPipeError):
                raise
            if not (kwargs.get("as_json") and _print_document(error)):
                terminal.echo("error: ", colour="red", nl=False, err=True)
                terminal.echo(message_of(error), err=True)
            raise SystemExit(exit_code(error)) from None
        except KeyboardInterrupt as error:
            if not (kwargs.get("as_json") and _print_document(error)):
                terminal.echo(message_of(error), err=True)
            raise SystemExit(INTERRUPTED) from None

    return run


def _print_document(error: BaseException) -> bool:
    """Print an error as a JSON document; return whether the standard output took it."""
    try:
        terminal.print_json(error_document(error), indent=None)
    except OSError:  # the same error in most cases: the output is full, and standard error says so
        return False
    return True


def show_usage_error(error: click.ClickException, *, as_json: bool) -> None:
    """Print an error in the options or arguments."""
    if as_json:
        found = {"type": type(error).__name__, "message": error.format_message()}
        terminal.print_json({"error": found, "exit_code": error.exit_code}, indent=None)
        return
    shown = io.StringIO()
    error.show(shown)
    terminal.echo(shown.getvalue(), nl=False, err=True)
