"""Where two recorded runs differ: inputs, what functions gave, what came first, and ids turn by turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codec_agents.records.reader import RecordedRun


def differences(first: RecordedRun, second: RecordedRun) -> list[str]:
    """Say where two runs differ; an empty list means that they are the same."""
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


def _of_inputs(first: RecordedRun, second: RecordedRun) -> Iterator[str]:
    for name in sorted(first.inputs.keys() | second.inputs.keys()):
        if first.inputs.get(name) != second.inputs.get(name):
            yield f"input {name}: its values differ"


def _of_functions(first: RecordedRun, second: RecordedRun) -> Iterator[str]:
    """Compare what both were asked: a replay does not ask a join's condition, whose outcome it knows."""
    for node in sorted(first.functions.keys() & second.functions.keys()):
        calls = zip_longest(first.functions[node], second.functions[node])
        for number, (left, right) in enumerate(calls, 1):
            if (what := _differing(left or {}, right or {})) is not None:
                yield f"{node}, call {number} of its function: {what} differs"


def _differing(left: dict[str, Any], right: dict[str, Any]) -> str | None:
    if left.get("given") != right.get("given"):
        return "what it was given"
    return None if left.get("gave") == right.get("gave") else "what it gave"


def _of_decisions(first: RecordedRun, second: RecordedRun) -> Iterator[str]:
    for node in sorted(first.decided.keys() & second.decided.keys()):
        if first.decided[node] != second.decided[node]:
            yield f"{node}: what came first differs"


def _of_turns(first: RecordedRun, second: RecordedRun) -> Iterator[str]:
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
