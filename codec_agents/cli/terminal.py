"""The terminal: a console, safe text, numbers that people can read."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from typing import IO

from rich.console import Console

MAX_WIDTH = 110
"""Longer lines are hard to read, however wide the terminal is."""

_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
"""What a model says cannot move the cursor or change the terminal."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The few signs that the output is drawn with."""

    gutter: str = "│"
    head: str = "●"
    ok: str = "✓"
    bad: str = "✗"
    arrow: str = "→"
    more: str = "…"
    dot: str = "·"


ASCII = Glyphs(gutter="|", head="*", ok="ok", bad="!!", arrow="->", more="...", dot="-")


def console(file: IO[str] | None = None) -> Console:
    """Return a console: colours on a terminal only, none where NO_COLOR says so.

    What the output's encoding lacks becomes a question mark: a model may say anything.
    """
    target = file or sys.stdout
    if isinstance(target, io.TextIOWrapper):
        target.reconfigure(errors="replace")
    return Console(file=target, highlight=False, emoji=False, markup=False)


def glyphs(target: Console) -> Glyphs:
    """Return signs that the output's encoding has."""
    return Glyphs() if target.encoding.lower().startswith("utf") else ASCII


def width(target: Console) -> int:
    """Return the columns to use."""
    return max(20, min(target.width, MAX_WIDTH))


def safe(text: str) -> str:
    """Return text without control characters, line ends and tabs excepted."""
    return text.replace("\r\n", "\n").translate(_CONTROLS)


def seconds(value: float | None) -> str:
    """Return a duration in the unit that fits it."""
    if value is None:
        return "-"
    if abs(value) < 0.001:
        return f"{value * 1e6:.0f} us"
    if abs(value) < 1:
        return f"{value * 1e3:.3g} ms" if abs(value) < 0.1 else f"{value * 1e3:.0f} ms"
    return f"{value:.2f} s"


def milliseconds(value: float | None) -> str:
    """Return a duration as a number of milliseconds, for a column of them."""
    if value is None:
        return "-"
    return f"{value * 1e3:,.2f}" if abs(value) < 0.1 else f"{value * 1e3:,.0f}"


def size(value: float) -> str:
    """Return a number of bytes in the unit that fits it."""
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
