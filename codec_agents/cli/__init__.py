"""The command `codec-agents`: one file per command, imported when the command is used."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any

import click

from codec_agents.faults import suggest

COMMANDS: Mapping[str, str] = {
    "demo": "codec_agents.cli.commands.demo",
    "init": "codec_agents.cli.commands.init",
    "run": "codec_agents.cli.commands.run",
    "batch": "codec_agents.cli.commands.batch",
    "durable": "codec_agents.cli.commands.durable",
    "resume": "codec_agents.cli.commands.resume",
    "check": "codec_agents.cli.commands.check",
    "doctor": "codec_agents.cli.commands.doctor",
    "latency": "codec_agents.cli.commands.latency",
    "graph": "codec_agents.cli.commands.graph",
    "explain": "codec_agents.cli.commands.explain",
    "schema": "codec_agents.cli.commands.schema",
    "serve": "codec_agents.cli.commands.serve",
    "gateway": "codec_agents.cli.commands.gateway",
    "mcp": "codec_agents.cli.commands.mcp",
    "maps": "codec_agents.cli.commands.maps",
    "record": "codec_agents.cli.commands.record",
    "runs": "codec_agents.cli.commands.runs",
    "top": "codec_agents.cli.commands.top",
    "trace": "codec_agents.cli.commands.trace",
}
"""The module of each command; its click command is named `command`."""

REPORTING = "codec_agents.cli.exits"
"""Prints usage errors; imported on the first one, as the commands are."""


class LazyGroup(click.Group):
    """Imports a command when it is used, so that `--help` and completion start fast."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line; print usage errors escaped, and as JSON with `--json`."""
        given = list(sys.argv[1:] if args is None else args)
        # A program that embeds the command gets the exceptions, as click promises.
        if not standalone_mode:
            return super().main(given, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            code = super().main(given, prog_name, complete_var, standalone_mode=False, **extra)
        except click.ClickException as error:
            import_module(REPORTING).show_usage_error(error, as_json="--json" in given)
            sys.exit(error.exit_code)
        except click.Abort:  # click's word for Ctrl-C, here before a command has begun
            sys.stderr.write("interrupted\n")
            sys.exit(import_module(REPORTING).INTERRUPTED)
        except OSError as error:  # the output is full: a command says that itself, `--help` cannot
            exits = import_module(REPORTING)
            sys.stderr.write(f"error: {exits.message_of(error)}\n")
            sys.exit(exits.exit_code(error))
        finally:
            _drop_unwritten()
        # Outside of its standalone mode click returns what a command returned, or the code of `--help`.
        sys.exit(code if isinstance(code, int) else 0)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return a command; an unknown name is an error that lists the commands."""
        if name not in COMMANDS:
            if ctx.resilient_parsing:  # a shell completes what is typed so far
                return None
            ctx.fail(f"there is no command {name!r}; {suggest(name, list(COMMANDS), 'commands')}")
        command: click.Command = import_module(COMMANDS[name]).command
        return command


def _drop_unwritten() -> None:
    """Drop what a full output does not take: Python would write it while it ends, and exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # as it is where a program has closed the descriptor
                stream.flush()
        except OSError:  # the command has said so, where it could
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("codec-agents"), prog_name="codec-agents")
def main() -> None:
    """Pipelines of language models that exchange token ids instead of text.

    Exit codes: 0 done, 1 the run failed, 2 wrong usage, 3 the pipeline has faults, 4 an engine failed,
    5 a limit or time-out was reached, 6 a map or file is missing or damaged,
    7 a call waits for approval, 8 the address is in use, 130 interrupted.
    """
