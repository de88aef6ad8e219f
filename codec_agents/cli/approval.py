"""Approval on the command line: a terminal is asked; without one the run is suspended into a file."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from codec_agents.cli import terminal
from codec_agents.cli.exits import WAITING
from codec_agents.records.files import write_whole

if TYPE_CHECKING:
    from codec_agents.exceptions import ApprovalRequiredError
    from codec_agents.runtime.pause import Decision, Pause
    from codec_agents.tools.calls import ToolCall, ToolContext

HINT = "[y/N, or words for the model]"


class TerminalApprover:
    """Asks at the terminal, one call at a time, while the rest of the run continues."""

    def __init__(self) -> None:
        self._one_at_a_time = anyio.Lock()

    async def __call__(self, call: ToolCall, context: ToolContext) -> Decision:
        """Return the answer; end of input means no."""
        async with self._one_at_a_time:
            question = _question(call.name, call.arguments, context.node)
            terminal.echo(f"\n{question} {HINT} ", nl=False, err=True)
            # A terminal gives one line per read: none waits unseen in Python's buffer.
            await anyio.wait_readable(sys.stdin)
            return decision(sys.stdin.readline())


def approver() -> TerminalApprover | None:
    """Return the approver of a run at a terminal; None without a terminal."""
    return TerminalApprover() if is_interactive() else None


def is_interactive() -> bool:
    """Return true if standard input and standard error are terminals."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def decision(answer: str) -> Decision:
    """Parse an answer: yes, no, or no with words for the model."""
    said = answer.strip()
    if said.lower() in ("y", "yes"):
        return True
    return False if said.lower() in ("", "n", "no") else said


def decisions(pause: Pause, given: Sequence[str]) -> list[Decision]:
    """Return the decisions on the pending calls: those given, or else those answered at the terminal.

    Raises:
        click.UsageError: There are more or fewer than pending calls; or none, and no terminal to ask.
    """
    if not given and is_interactive():
        questions = [_question(call.name, call.arguments, call.node) for call in pause.pending]
        return [decision(terminal.prompt(f"{text} {HINT}")) for text in questions]
    if len(given) != len(pause.pending):
        waiting = "".join(f"\n  {_spelled(call.name, call.arguments)}" for call in pause.pending)
        raise click.UsageError(
            f"give --decision yes, no, or words for the model for each of these calls, in order:{waiting}"
        )
    return [decision(each) for each in given]


def suspend(waiting: ApprovalRequiredError[Pause], file: Path, pause: Path, *, as_json: bool) -> None:
    """Write a suspended run to a file, print how to resume it, and exit.

    Raises:
        SystemExit: Always.
    """
    # Private: it holds the prompts and results of the run. Whole: the file may be the pause that was resumed,
    # and a disk that is full loses neither.
    write_whole(pause, waiting.pause.to_json().encode(), private=True)
    calls = [{"node": c.node, "name": c.name, "arguments": c.arguments} for c in waiting.pending]
    if as_json:
        document = {"waiting": {"pause": str(pause), "pending": calls}, "exit_code": WAITING}
        # On one line, as all errors in JSON.
        terminal.print_json(document, indent=None)
        raise SystemExit(WAITING)
    for call in waiting.pending:
        terminal.echo(f"waits for approval: {_spelled(call.name, call.arguments)}", err=True)
    answers = " --decision yes" * len(waiting.pending)
    command = f"codec-agents resume {shlex.quote(str(file))} {shlex.quote(str(pause))}{answers}"
    terminal.echo(f"written to {pause}; resume it with: {command}", err=True)
    if waiting.pause.record is None:
        terminal.echo("without --record nothing keeps this file from being answered twice", err=True)
    raise SystemExit(WAITING)


def _question(name: str, arguments: Any, node: str) -> str:
    return f"{terminal.escape_line(node)} wants to run {_spelled(name, arguments)}: allow it?"


def _spelled(name: str, arguments: Any) -> str:
    """Return a call on one line; text of a model cannot imitate a line of its own."""
    return terminal.escape_line(f"{name} {json.dumps(arguments, ensure_ascii=False)}")
