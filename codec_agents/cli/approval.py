"""Approval on the command line: a terminal is asked; elsewhere a run is put down, and taken up again."""

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

if TYPE_CHECKING:
    from codec_agents.exceptions import ApprovalRequiredError
    from codec_agents.runtime.pause import Decision, Pause
    from codec_agents.tools.calls import ToolCall, ToolContext

HINT = "[y/N, or words for the model]"


class TerminalApprover:
    """Asks the person at the terminal, one call after the other; the run goes on meanwhile."""

    def __init__(self) -> None:
        self._one_at_a_time = anyio.Lock()

    async def __call__(self, call: ToolCall, context: ToolContext) -> Decision:
        """Return what was answered; the end of the input is no."""
        async with self._one_at_a_time:
            click.echo(f"\n{_question(call.name, call.arguments, context.node)} {HINT} ", nl=False, err=True)
            await anyio.wait_readable(sys.stdin)
            return decision(sys.stdin.readline())


def approver() -> TerminalApprover | None:
    """Return who can be asked: the person at the terminal, where there is one."""
    return TerminalApprover() if is_interactive() else None


def is_interactive() -> bool:
    """Tell whether there is somebody to ask: a terminal to read from, and one to ask on."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def decision(answer: str) -> Decision:
    """Return what an answer means: yes, no, or no with words for the model."""
    said = answer.strip()
    if said.lower() in ("y", "yes"):
        return True
    return False if said.lower() in ("", "n", "no") else said


def decisions(pause: Pause, given: Sequence[str]) -> list[Decision]:
    """Return the decisions on the calls that wait: those given, or those of the person at the terminal.

    Raises:
        click.UsageError: not as many as there are calls, and nobody to ask.
    """
    if not given and is_interactive():
        questions = [_question(call.name, call.arguments, call.node) for call in pause.pending]
        return [decision(click.prompt(f"{text} {HINT}", default="", err=True)) for text in questions]
    if len(given) != len(pause.pending):
        waiting = "".join(f"\n  {_spelled(call.name, call.arguments)}" for call in pause.pending)
        raise click.UsageError(
            f"give --decision yes, no, or words for the model for each of these calls, in order:{waiting}"
        )
    return [decision(each) for each in given]


def put_down(waiting: ApprovalRequiredError[Pause], file: Path, pause: Path, *, as_json: bool) -> None:
    """Write down a run that waits, say how to go on, and end.

    Raises:
        SystemExit: always.
    """
    pause.write_text(waiting.pause.to_json(), encoding="utf-8")
    calls = [{"node": c.node, "name": c.name, "arguments": c.arguments} for c in waiting.pending]
    if as_json:
        document = {"waiting": {"pause": str(pause), "pending": calls}, "exit_code": WAITING}
        click.echo(json.dumps(document, ensure_ascii=False))
        raise SystemExit(WAITING)
    for call in waiting.pending:
        click.echo(f"waits for approval: {_spelled(call.name, call.arguments)}", err=True)
    answers = " --decision yes" * len(waiting.pending)
    command = f"codec-agents resume {shlex.quote(str(file))} {shlex.quote(str(pause))}{answers}"
    click.echo(f"written to {pause}; go on with: {command}", err=True)
    raise SystemExit(WAITING)


def _question(name: str, arguments: Any, node: str) -> str:
    return f"{terminal.safe(node)} wants to run {_spelled(name, arguments)}: allow it?"


def _spelled(name: str, arguments: Any) -> str:
    """Return a call as people read it; what a model wrote cannot steer the terminal."""
    return terminal.safe(f"{name} {json.dumps(arguments, ensure_ascii=False)}")
