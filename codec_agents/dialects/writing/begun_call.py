"""The beginning of a call that a turn is made to have: the ids that all calls of some tools share.

A model that reads on behind these ids can only end the call. They are ids that the family's calls are encoded
in, so no token is cut where the model would not cut it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from itertools import product, takewhile
from typing import Any, Final, TypeAlias

WrittenCall: TypeAlias = Callable[[str, dict[str, Any]], list[int]]
"""Returns the ids of a call by its name and its arguments."""

ARGUMENTS: Final[tuple[dict[str, Any], ...]] = ({}, {"a": 1}, {"b": "x"})
"""Arguments that have nothing in common, which the model is to write itself."""

SUFFIXES: Final = ("x", "_y")
"""Endings that make a name into another one. There are two because a vocabulary may merge one of
them with the end of the name: the ids of the other name would then differ before the end of this one."""


def begun_call(write: WrittenCall, names: Sequence[str], *, pinned: bool) -> list[int] | None:
    """Return the ids with which a call of one of some tools begins.

    Args:
        write: writes a call.
        names: the tools that may be called.
        pinned: whether the ids have to contain the name; `names` then has one.

    Returns:
        The ids; None where calls do not begin alike, or do not say the name before the arguments.
    """
    called = [write(name, arguments) for name, arguments in product(names, ARGUMENTS)]
    shared = _shared(called)
    if pinned:
        others = [write(names[0] + suffix, arguments) for suffix in SUFFIXES for arguments in ARGUMENTS]
        if any(other[: len(shared)] == shared for other in others):
            return None
    return shared or None


def _shared(rows: Sequence[Sequence[int]]) -> list[int]:
    columns = takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))
    return [column[0] for column in columns]


def without_overlap(ended: Sequence[int], begun: Sequence[int], marks: Container[int]) -> list[int]:
    """Return the end of reasoning without the control tokens with which the call begins again.

    Some families open the answer in the same breath in which they end reasoning.
    """
    for size in range(min(len(ended), len(begun)), 0, -1):
        again = list(ended[-size:])
        if again == list(begun[:size]) and any(token in marks for token in again):
            return list(ended[:-size])
    return list(ended)
