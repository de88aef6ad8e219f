"""The terminal: where the commands print, with foreign text escaped."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Any

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from codec_agents.display.escape import escape, escape_json

MAX_WIDTH = 110
"""Longer lines are hard to read on any terminal."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The signs that the output is drawn with."""

    gutter: str = "│"
    head: str = "●"
    ok: str = "✓"
    bad: str = "✗"
    arrow: str = "→"
    more: str = "…"
    dot: str = "·"


ASCII = Glyphs(gutter="|", head="*", ok="ok", bad="!!", arrow="->", more="...", dot="-")


class SafeConsole(Console):
    """A console whose text cannot steer the terminal, whatever it prints."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield segments; their text is escaped, the console's own control codes are not."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=escape(segment.text))


def new_console(file: IO[str] | None = None) -> Console:
    """Return a console: colours on a terminal only, and none where `NO_COLOR` is set.

    A character that the output's encoding lacks becomes a question mark.
    """
    target = file or sys.stdout
    if isinstance(target, io.TextIOWrapper):
        target.reconfigure(errors="replace")
    return SafeConsole(file=target, highlight=False, emoji=False, markup=False)


def glyphs(target: Console) -> Glyphs:
    """Return the signs that the output's encoding has."""
    return Glyphs() if target.encoding.lower().startswith("utf") else ASCII


def width(target: Console) -> int:
    """Return the columns to use."""
    return max(20, min(target.width, MAX_WIDTH))


def echo(text: str = "", *, err: bool = False, nl: bool = True, colour: str | None = None) -> None:
    """Print text, escaped."""
    click.secho(escape(text), err=err, nl=nl, fg=colour)


def echo_data(text: str, *, nl: bool = True) -> None:
    """Print text for a program as it is; on a terminal it is escaped."""
    click.echo(escape(text) if sys.stdout.isatty() else text, nl=nl)


def echo_json(line: str) -> None:
    """Print a line that is JSON."""
    click.echo(escape_json(line))


def print_json(document: Any, *, indent: int | None = 2) -> None:
    """Print one JSON document."""
    echo_json(json.dumps(document, ensure_ascii=False, indent=indent))


def prompt(text: str) -> str:
    """Ask at the terminal and return the answer."""
    answer: str = click.prompt(escape(text), default="", show_default=False, err=True)
    return answer
