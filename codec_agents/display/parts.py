"""The parts that a displayed value is made of, and how notebooks and rich show them.

A value lists its parts once; HTML, plain text and rich's renderables are made from the same list. Text in
parts may come from models and tools: it is escaped here, wherever it is shown.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape as escape_html
from typing import TYPE_CHECKING, Literal, TypeAlias

from codec_agents.display.escape import escape, escape_line

if TYPE_CHECKING:
    from rich.console import RenderableType

MAX_PASSAGE = 20_000
"""Characters of one passage: about ten printed pages. A notebook keeps what it shows in its file."""

MAX_ROWS = 200
"""Rows of one table; a map over thousands of items has a handoff for each."""


Side: TypeAlias = Literal["left", "right"]

FIGURE = re.compile(r"-?\d[\d,.]*( [a-zA-Z]+)?")
"""A number, with its unit if it has one."""

CELL = "padding:2px 8px"
"""The style of a cell: outside Jupyter, tables have no room between columns."""


@dataclass(frozen=True, slots=True)
class Title:
    """A line that names what follows."""

    text: str


@dataclass(frozen=True, slots=True)
class Passage:
    """Text with its line ends, such as the answer that a sink received."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: the first column holds names, the others words or figures."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def sides(self) -> list[Side]:
        """Return where each column is aligned: one with figures to the right, others to the left."""
        columns: list[Side] = ["left"]
        for index in range(1, len(self.heads)):
            has_figures = any(FIGURE.fullmatch(row[index]) for row in self.rows)
            columns.append("right" if has_figures else "left")
        return columns


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG document, for where pictures can be shown."""

    svg: str
    alternative: str


Part: TypeAlias = Title | Passage | Grid | Picture


def to_html(parts: Iterable[Part]) -> str:
    """Return the parts as HTML without scripts, links and global styles."""
    return "\n".join(_html(part) for part in parts)


def to_text(parts: Iterable[Part]) -> str:
    """Return the parts as plain text."""
    return "\n".join(line for part in parts for line in _lines(part))


def to_rich(parts: Iterable[Part]) -> RenderableType:
    """Return the parts for a console of rich."""
    from rich.console import Group

    return Group(*(each for part in parts for each in _rich(part)))


def _html(part: Part) -> str:
    match part:
        case Title(text):
            return f"<p><b>{_escaped(escape_line(text))}</b></p>"
        case Passage(name, text):
            head = f"<p><i>{_escaped(escape_line(name))}</i></p>" if name else ""
            style = "white-space:pre-wrap;text-align:left"
            return f'{head}<pre style="{style}">{_escaped(escape(_cut(text)))}</pre>'
        case Picture(svg, alternative):
            # As an image of its own: styles inside an inline SVG would reach the whole notebook.
            data = b64encode(svg.encode()).decode()
            alt = _escaped(escape_line(alternative))
            return f'<img alt="{alt}" style="max-width:100%" src="data:image/svg+xml;base64,{data}">'
    sides = part.sides()
    heads = "".join(map(partial(_cell, "th"), part.heads, sides))
    rows = "".join(f"<tr>{''.join(map(partial(_cell, 'td'), row, sides))}</tr>" for row in _rows(part))
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    # A table that is wider than the page scrolls by itself.
    return f'<div style="overflow-x:auto">{table}</div>'


def _escaped(text: str) -> str:
    return escape_html(text, quote=True)


def _cell(tag: str, text: str, side: Side) -> str:
    return f'<{tag} style="text-align:{side};{CELL}">{_escaped(escape_line(text))}</{tag}>'


def _cut(text: str) -> str:
    if len(text) <= MAX_PASSAGE:
        return text
    return f"{text[:MAX_PASSAGE]}\n… {len(text) - MAX_PASSAGE:,} more characters"


def _rows(grid: Grid) -> Iterator[Sequence[str]]:
    yield from grid.rows[:MAX_ROWS]
    if len(grid.rows) > MAX_ROWS:
        yield (f"… {len(grid.rows) - MAX_ROWS:,} more", *([""] * (len(grid.heads) - 1)))


def _lines(part: Part) -> Iterator[str]:
    match part:
        case Title(text):
            yield escape_line(text)
        case Passage(name, text):
            if name:
                yield f"{escape_line(name)}:"
            yield escape(_cut(text))
        case Grid(heads, _):
            rows = [[escape_line(cell) for cell in row] for row in (heads, *_rows(part))]
            widths = [max(len(row[index]) for row in rows) for index in range(len(heads))]
            columns = list(zip(widths, part.sides(), strict=True))
            for row in rows:
                cells = zip(row, columns, strict=True)
                yield "  ".join(
                    cell.rjust(width) if side == "right" else cell.ljust(width)
                    for cell, (width, side) in cells
                ).rstrip()
        case Picture():
            return


def _rich(part: Part) -> Iterator[RenderableType]:
    # Texts, not strings: rich would read square brackets in a string as markup.
    from rich.table import Table
    from rich.text import Text

    match part:
        case Title(text):
            yield Text(escape_line(text), style="bold")
        case Passage(name, text):
            if name:
                yield Text(escape_line(name), style="italic")
            yield Text(escape(_cut(text)))
        case Grid(heads, _):
            table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
            for head, side in zip(heads, part.sides(), strict=True):
                table.add_column(Text(head), justify=side, overflow="fold")
            for row in _rows(part):
                table.add_row(*(Text(escape_line(cell)) for cell in row))
            yield table
        case Picture():
            return
