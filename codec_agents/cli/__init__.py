"""`codec-agents`: one file a command, loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version

import click

from codec_agents.faults import suggest

COMMANDS = ("run", "resume", "check", "graph", "explain", "schema", "serve", "maps", "record", "top", "trace")
"""Each is a module of this package with a click command `command`."""


class LazyGroup(click.Group):
    """Imports a command when it is used: `--help` and completion stay quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return a command; a name that is none ends in an error that says which there are."""
        if name not in COMMANDS:
            if ctx.resilient_parsing:  # a shell completes what is typed so far
                return None
            ctx.fail(f"there is no command {name!r}; {suggest(name, COMMANDS, 'commands')}")
        command: click.Command = import_module(f"codec_agents.cli.{name}").command
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("codec-agents"), prog_name="codec-agents")
def main() -> None:
    """Pipelines of language models that exchange token ids instead of text.

    Exit codes: 0 done, 1 the run failed, 2 wrong usage, 3 the pipeline has faults, 4 an engine failed,
    5 a limit or time-out was reached, 6 a map or file is missing or damaged,
    7 a call waits for approval, 130 interrupted.
    """
