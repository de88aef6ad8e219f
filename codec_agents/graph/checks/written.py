"""Values of a declaration that JSON cannot hold: digests, requests and records are written in it.

A file is refused where it is read if it has some. A Python program can have more of them: text with half of a
surrogate pair, NaN, objects in `extra`, and mappings that hold themselves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from codec_agents.faults import Fault
from codec_agents.graph.base import Place
from codec_agents.graph.checks.base import error
from codec_agents.graph.spec import PipelineSpec

_ANY: TypeAdapter[Any] = TypeAdapter(Any)

MAX_DEPTH = 64
"""Levels of a declaration that JSON cannot hold; a file may have as many."""

DEEPER = object()
"""Stands for a mapping or a list that is not looked into."""


def unwritable(spec: PipelineSpec) -> Iterator[Fault]:
    """Yield a fault for each value that JSON cannot hold, those of bodies included."""
    document = spec.model_dump(by_alias=True, exclude_defaults=True)
    if _is_json(document):
        return
    for place, value in _leaves((), document):
        if value is DEEPER:
            found = f"a value that holds itself, or is nested deeper than {MAX_DEPTH} levels"
            yield error(place, found, "write less")
        elif isinstance(value, str):
            if not _is_text(value):
                found = f"the text {value!r:.100} holds half of a surrogate pair, which is no character"
                yield error(place, found, "decode the source of the text with errors='replace'")
        # The class of an engine of another package may take any objects.
        elif not (place[0] == "engines" and "options" in place) and not _is_written(value):
            found = f"a value of type {type(value).__name__}, which JSON cannot hold"
            yield error(place, found, "give text, numbers, lists and mappings")


def _is_json(document: Mapping[str, Any]) -> bool:
    """Return whether a document is JSON as it is, found without a call for each of its values."""
    try:
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):  # a half of a pair is found in the names of mappings, too
        return False
    return not _is_deep(document)


def _is_deep(document: Mapping[str, Any]) -> bool:
    """Return whether JSON that ends is deeper than `MAX_DEPTH`: some versions of Python write any depth."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH + 1):
        inner = (each.values() if isinstance(each, Mapping) else each for each in level)
        level = [value for values in inner for value in values if isinstance(value, Mapping | list | tuple)]
    return bool(level)


def kind_of(value: object) -> str:
    """Return what stands for an object of a program in JSON: its class, as its `repr` may be an address."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _is_text(value: str) -> bool:
    try:
        # Not by `dump_json`: in the names of a mapping it replaces them without a word.
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_written(value: object) -> bool:
    if value is None or isinstance(value, int):
        return True
    if isinstance(value, float):
        return math.isfinite(value)  # as null, NaN and infinity would have one digest
    try:
        _ANY.dump_json(value)
    except PydanticSerializationError:
        return False
    return True


def _leaves(place: Place, value: object, outer: tuple[object, ...] = ()) -> Iterator[tuple[Place, object]]:
    """Yield the names and the values of a document that are no mappings and no lists, with their places."""
    entries: Iterable[tuple[Any, object]]
    if isinstance(value, Mapping):
        entries = value.items()
        yield from ((place, name) for name in value if isinstance(name, str))
    elif isinstance(value, list | tuple):
        entries = enumerate(value)
    else:
        yield place, value
        return
    if len(outer) > MAX_DEPTH:
        yield place, DEEPER
        return
    for name, each in entries:
        # What holds itself would be gone through without end, and as often as it does so at each level.
        inner = DEEPER if any(each is one for one in (*outer, value)) else each
        yield from _leaves((*place, name if isinstance(name, int) else str(name)), inner, (*outer, value))
