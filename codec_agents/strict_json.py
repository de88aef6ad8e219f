"""JSON that every reader reads in the same way.

Python's reader takes the last of two values of one name, makes infinity of a large number, and reads NaN and
halves of surrogate pairs, which no file and no record can hold. Here all of these are errors.
"""

from __future__ import annotations

import json
from math import isfinite, isinf
from typing import Any

MAX_DEPTH = 64
"""Levels of a value: what walks it takes up to ten calls for each, of the thousand that Python allows."""


def read_json(text: str, *, max_depth: int = MAX_DEPTH, half_pairs: bool = False) -> Any:
    """Return the value of a JSON text.

    Args:
        text: the text.
        max_depth: the levels that it may have.
        half_pairs: whether halves of surrogate pairs may be in it.

    Raises:
        ValueError: it is no JSON, or not one that every reader reads in the same way.
    """
    try:
        value = json.loads(
            text,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_finite_int,
            object_pairs_hook=unique_names,
        )
    # Python's reader ends at about a thousand levels, before there is a value to be measured.
    except RecursionError:
        raise ValueError(f"it is nested deeper than {max_depth} levels") from None
    if depth_of(value, max_depth) > max_depth:
        raise ValueError(f"it is nested deeper than {max_depth} levels")
    # Text that was decoded as UTF-8 has no halves: only an escape can write one.
    if "\\u" in text and not half_pairs:
        _refuse_half_pairs(value)
    return value


def _refuse_half_pairs(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("it has half of a surrogate pair, which is no character") from None


def _no_constant(word: str) -> Any:
    raise ValueError(f"JSON has no {word}")


def _finite(digits: str) -> float:
    number = float(digits)
    if isinf(number):
        raise ValueError(f"the number {digits:.40} is too large")
    return number


def _finite_int(digits: str) -> int:
    # A float holds 308 digits; shorter numbers need no look.
    if len(digits) > 300:
        _finite(digits)
    return int(digits)


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object from its entries; the hook with which JSON's reader makes objects.

    Raises:
        ValueError: two entries have one name.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the name {name!r:.100} occurs twice in one object")
            seen.add(name)
    return found


def is_finite(value: Any) -> bool:
    """Return whether a value of JSON holds no NaN and no infinity."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, float) and not isfinite(each):
            return False
        if isinstance(each, dict | list):
            waiting += each.values() if isinstance(each, dict) else each
    return True


def depth_of(value: Any, most: int = MAX_DEPTH) -> int:
    """Return the levels of a value of JSON, at most one more than `most`."""
    # Level by level: a function that calls itself could not measure what is too deep for one.
    levels, level = 0, [value]
    while level and levels <= most:
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        levels += 1
    return levels
