"""What is wrong with a declaration, said so that it can be put right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning"]
"""Whether the pipeline cannot be built, or is legal and suspicious."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where, what was found, and what would do."""

    place: str
    """A path into the declaration: `nodes.writer.prompt.user`, `edges[2].from`."""
    found: str
    remedy: str
    severity: Severity = "error"
    file: str | None = None
    line: int | None = None
    """Counted from 1; None where the declaration was made in Python."""

    def __str__(self) -> str:
        """Return one line: position, place, what was found; what would do."""
        position = "".join(f"{part}:" for part in (self.file, self.line) if part is not None)
        label = "warning: " if self.severity == "warning" else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{position}{' ' if position else ''}{label}{self.place}: {self.found}{remedy}"


def suggest(name: str, known: Iterable[str], what: str = "names") -> str:
    """Return a remedy for an unknown name: the closest known one, or all there are."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    if not names:
        return f"there are no {what}"
    return f"there are {what} {', '.join(map(repr, names))}"
