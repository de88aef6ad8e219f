"""What the exit codes mean, and which error ends with which."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import click

from codec_agents.exceptions import (
    ApprovalRequiredError,
    CodecAgentsError,
    DialectError,
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
    ToolDefinitionError,
)
from codec_core.exceptions import CodecError

DONE = 0
RUN_FAILED = 1
"""The run failed, and none of the codes below says it better."""
USAGE = 2
"""Wrong options or inputs; click's own code."""
FAULTS = 3
"""The pipeline cannot be built."""
ENGINE_FAILED = 4
"""An engine could not be reached, refused, or broke its stream."""
LIMIT_REACHED = 5
"""A limit of turns, ids or calls, or a time-out."""
DATA_UNUSABLE = 6
"""A map, record or file is missing, damaged, or not what it says it is."""
WAITING = 7
"""Somebody has to agree to a call first."""
INTERRUPTED = 130
"""Ctrl-C: 128 and the number of the signal."""

CODES: tuple[tuple[type[BaseException], int], ...] = (
    (PipelineError, FAULTS),
    (SecretMissingError, FAULTS),
    (ReferenceRefusedError, FAULTS),
    (DialectError, FAULTS),
    (PromptError, FAULTS),
    (ToolDefinitionError, FAULTS),
    (InputError, USAGE),
    (EngineError, ENGINE_FAILED),
    (LimitExceededError, LIMIT_REACHED),
    (RecordError, DATA_UNUSABLE),
    (PauseError, DATA_UNUSABLE),
    (ApprovalRequiredError, WAITING),
    (CodecError, DATA_UNUSABLE),
    (OSError, DATA_UNUSABLE),
    (CodecAgentsError, RUN_FAILED),
)
"""The first class that fits decides."""

Params = ParamSpec("Params")


def exit_code(error: BaseException) -> int:
    """Return the code with which an error ends the command."""
    cause = error.cause if isinstance(error, NodeFailedError) else None
    if isinstance(cause, EngineError):
        return ENGINE_FAILED
    return next((code for kind, code in CODES if isinstance(error, kind)), RUN_FAILED)


def said(error: BaseException) -> str:
    """Return an error in words: what somebody at the command line can do about it."""
    if isinstance(error, ApprovalRequiredError):
        names = ", ".join(repr(call.name) for call in error.pending)
        return (
            f"the run waits for approval of {names}; run it at a terminal to be asked, or with --pause FILE, "
            "and go on with `codec-agents resume`"
        )
    if not isinstance(error, OSError) or error.filename is None:
        return str(error)
    remedy = f"; {REMEDIES[type(error)]}" if type(error) in REMEDIES else ""
    return f"cannot use {error.filename}: {error.strerror}{remedy}"


REMEDIES: dict[type[OSError], str] = {
    FileNotFoundError: "name a file that is there, or for a new one a folder that is there",
    NotADirectoryError: "name a file in a folder",
    PermissionError: "give yourself the right to it, or name another one",
}
"""What would do after the errors of the system that a user meets."""


def error_document(error: BaseException) -> dict[str, Any]:
    """Return an error as JSON has it."""
    document: dict[str, Any] = {"type": type(error).__name__, "message": said(error)}
    if isinstance(error, PipelineError):
        document["faults"] = [
            {name: getattr(fault, name) for name in ("severity", "place", "found", "remedy", "file", "line")}
            for fault in error.faults
        ]
    for name in ("node", "engine", "delivered", "status", "phase"):
        if isinstance(value := getattr(error, name, None), str | int | dict):
            document[name] = value
    if error.__cause__ is not None:
        document["cause"] = {"type": type(error.__cause__).__name__, "message": str(error.__cause__)}
    return {"error": document, "exit_code": exit_code(error)}


def reporting(command: Callable[Params, None]) -> Callable[Params, None]:
    """Say a user's errors in words, and end with their code; a bug of ours keeps its traceback."""

    @wraps(command)
    def run(*args: Params.args, **kwargs: Params.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except tuple(kind for kind, _ in CODES) as error:
            if isinstance(error, BrokenPipeError):
                raise
            if kwargs.get("as_json"):
                click.echo(json.dumps(error_document(error), ensure_ascii=False))
            else:
                click.secho("error: ", fg="red", nl=False, err=True)
                click.echo(said(error), err=True)
            raise SystemExit(exit_code(error)) from None
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise SystemExit(INTERRUPTED) from None

    return run
