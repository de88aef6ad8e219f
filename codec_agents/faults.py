"""Faults of a declaration: where each is, what was found, and a remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning"]
"""An error keeps a pipeline from being built. A warning is for what is legal and suspicious."""

MAX_FAULTS = 1000
"""Errors, and warnings, that one declaration gives. A file of 90,000 wrong edges has more than can be read,
and each remedy takes a search for a similar name."""

MAX_COMPARED = 200
"""Names that are compared with an unknown one, or listed in a remedy."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a declaration."""

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
    names = sorted(islice(known, MAX_COMPARED + 1))
    if len(names) > MAX_COMPARED:
        return f"there are more than {MAX_COMPARED} {what}, and none of this name"
    close = get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    if not names:
        return f"there are no {what}"
    return f"there are {what} {', '.join(map(repr, names))}"
