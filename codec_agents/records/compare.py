"""Where two recorded runs differ: inputs, results of functions, orders of arrival, and ids turn by turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, Protocol


class ComparableTurn(Protocol):
    """The parts of a turn that are compared."""

    node: str
    number: int
    generated: list[int]

    @property
    def prompt(self) -> list[int]:
        """The ids of the prompt."""


class ComparableRun(Protocol):
    """The parts of a run that are compared; a protocol, so that recorded runs need not be imported here."""

    @property
    def inputs(self) -> dict[str, str | list[int]]:
        """The inputs of the run, by name."""

    @property
    def functions(self) -> dict[str, list[dict[str, Any]]]:
        """The calls of functions, by node."""

    @property
    def decided(self) -> dict[str, list[Any]]:
        """The orders of arrival that decided something, by node."""

    @property
    def turns(self) -> Sequence[ComparableTurn]:
        """The turns of the models."""


def differences(first: ComparableRun, second: ComparableRun) -> list[str]:
    """Return the places where two runs differ; an empty list means that they are equal."""
    return [
        *_of_inputs(first, second),
        *_of_functions(first, second),
        *_of_decisions(first, second),
        *_of_turns(first, second),
    ]


def first_difference(left: Sequence[int], right: Sequence[int]) -> int | None:
    """Return the first position at which ids differ, or one of them has ended; None where they are equal."""
    shorter = min(len(left), len(right))
    found = next((i for i in range(shorter) if left[i] != right[i]), shorter)
    return None if found == len(left) == len(right) else found


def _of_inputs(first: ComparableRun, second: ComparableRun) -> Iterator[str]:
    for name in sorted(first.inputs.keys() | second.inputs.keys()):
        if first.inputs.get(name) != second.inputs.get(name):
            yield f"input {name}: the values differ"


def _of_functions(first: ComparableRun, second: ComparableRun) -> Iterator[str]:
    """Compare what both were asked: a replay does not ask a join's condition, whose outcome it knows."""
    for node in sorted(first.functions.keys() & second.functions.keys()):
        calls = zip_longest(first.functions[node], second.functions[node])
        for number, (left, right) in enumerate(calls, 1):
            if (what := _differing(left or {}, right or {})) is not None:
                yield f"{node}, call {number} of its function: the {what} differ"


def _differing(left: dict[str, Any], right: dict[str, Any]) -> str | None:
    if left.get("given") != right.get("given"):
        return "arguments"
    return None if left.get("gave") == right.get("gave") else "results"


def _of_decisions(first: ComparableRun, second: ComparableRun) -> Iterator[str]:
    # Where both have some: version 1 of the format kept none.
    for node in sorted(first.decided.keys() & second.decided.keys()):
        if first.decided[node] != second.decided[node]:
            yield f"{node}: the orders of arrival differ"


def _of_turns(first: ComparableRun, second: ComparableRun) -> Iterator[str]:
    # By node and number: nodes that run at once have their turns in any order in a record.
    mine = {(turn.node, turn.number): turn for turn in first.turns}
    theirs = {(turn.node, turn.number): turn for turn in second.turns}
    for node, number in sorted(mine.keys() | theirs.keys()):
        place, left, right = f"{node}, turn {number}", mine.get((node, number)), theirs.get((node, number))
        if left is None or right is None:
            yield f"{place}: only in the {'second' if left is None else 'first'} run"
            continue
        for name in ("prompt", "generated"):
            position = first_difference(getattr(left, name), getattr(right, name))
            if position is not None:
                yield f"{place}: {name} ids differ from position {position} on"
