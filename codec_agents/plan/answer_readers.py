"""Read an answer that has a declared form: strict JSON, a JSON Schema, a regular expression.

The answer is content. Its reader takes a bounded time whatever it says, and gives its value or says what is
wrong with it. A form that no answer can be checked by is refused when the pipeline is built.

Rules that hold in this file:

- A value is JSON that reads the same everywhere: no name twice, no NaN, no infinity, no lone surrogate.
- Nothing is fetched: a `$ref` leads into the schema itself.
- The checks of `jsonschema` are counted, and its expressions are matched against the clock.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from typing import Any

from codec_agents.display.escape import escape_line
from codec_agents.strict_json import read_json

MAX_SHOWN_ERRORS = 5
"""Faults of one answer that a model is told; the first ones usually cause the others."""

MAX_FAULT = 300
"""Characters of a fault that a model is told: `jsonschema` repeats the value, at most the whole answer."""

MATCH_SECONDS = 1.0
"""Bounds a match: an expression with nested repetitions could otherwise run for hours on one answer."""

MAX_STEPS = 100_000
"""Keywords of a schema that are applied to one answer, about two seconds; 1,000 fields need 10,000."""

MAX_REPEAT = 10_000
"""The largest number in braces of an expression: what compiles it takes memory in proportion."""

_PROPERTY = re.compile(r"\\[pP]\{[^{}]*\}")
_REPEAT = re.compile(r"\{(\d*)(?:,(\d*))?\}")
_FUZZY = re.compile(r"\{[\d<=+\s,]*[eids]\s*(?:<=?|[,+:}])")


@dataclass(slots=True)
class Budget:
    """Bounds the check of one answer.

    Fields:
        steps: keywords that may still be applied.
        match_seconds: how long one match may take.
    """

    steps: int = MAX_STEPS
    match_seconds: float = MATCH_SECONDS


_budget: ContextVar[Budget] = ContextVar("budget")
"""Of the check that this context is in: `jsonschema` hands nothing to the functions of its keywords."""


class InvalidAnswerError(ValueError):
    """An answer does not have its form; the message is written for the model."""


def listed(faults: list[str], more: bool = False) -> str:
    """Return the first faults as one text."""
    shown = "; ".join(
        fault if len(fault) <= MAX_FAULT else f"{fault[:MAX_FAULT]}…" for fault in faults[:MAX_SHOWN_ERRORS]
    )
    left = len(faults) - MAX_SHOWN_ERRORS
    if more:
        return f"{shown}; and more."
    return f"{shown}; and {left} more." if left > 0 else f"{shown}."


def read_answer(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        InvalidAnswerError: it is none, or not one that every reader reads in the same way.
    """
    try:
        return read_json(text)
    except ValueError as error:
        raise InvalidAnswerError(f"it is not JSON that can be used: {error}.") from None


# --- a JSON Schema ---


def reader_of_schema(schema: Mapping[str, Any], bounds: Budget | None = None) -> Callable[[str], Any]:
    """Return what reads and checks answers of a JSON Schema, each within the bounds.

    Raises:
        ImportError: the package `jsonschema` is not installed.
        ValueError: it is no JSON Schema, or refers to what it does not hold, or to itself without end.
    """
    try:
        from jsonschema import validators
        from jsonschema.exceptions import SchemaError
        from referencing import Registry
    except ImportError:
        raise ImportError(
            "a JSON Schema is checked by the package jsonschema, which is not installed; "
            "pip install 'codec-agents[schemas]', or name a pydantic model"
        ) from None
    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"not a JSON Schema: {error.message}; correct it") from None
    # Without a registry of its own `jsonschema` would fetch what a `$ref` names.
    checker = _bounded(kind)(schema, registry=Registry())
    # Tried when it is built: a schema that cannot be followed would otherwise fail every answer.
    _try(checker, schema)
    bounds = bounds or Budget()

    def read(text: str) -> Any:
        value = read_answer(text)
        try:
            # One more than are shown, to say that there are more.
            faults = list(islice(_faults(checker, value, bounds), MAX_SHOWN_ERRORS + 1))
        # A schema may recurse with the answer, and `multipleOf` divides numbers of any size.
        except (RecursionError, ArithmeticError) as error:
            raise InvalidAnswerError(f"it cannot be checked: {error}.") from None
        if faults:
            raise InvalidAnswerError(listed(faults, more=len(faults) > MAX_SHOWN_ERRORS))
        return value

    return read


def _faults(checker: Any, value: Any, bounds: Budget) -> Iterator[str]:
    _budget.set(replace(bounds))
    for each in checker.iter_errors(value):
        yield f"{escape_line(each.json_path)}: {each.message}"


def _try(checker: Any, schema: Mapping[str, Any]) -> None:
    """Apply a schema to small values, and look up all that it refers to."""
    from referencing.exceptions import Unresolvable

    try:
        for keyword, name in _named(schema):
            if keyword == "$ref":
                # `jsonschema` follows references from values only, and has no public way to look one up.
                checker._resolver.lookup(name)
            else:
                compiled_regex(name)
        smallest: tuple[Any, ...] = (None, False, 0, "", [], {})
        for value in smallest:
            list(_faults(checker, value, Budget()))
    except RecursionError:
        raise ValueError(
            "the JSON Schema refers to itself without end; let each round go into an element of the answer"
        ) from None
    except Unresolvable as error:
        raise ValueError(
            f"the JSON Schema refers to {error.ref!r}, which it does not hold; nothing is fetched: write it "
            "under $defs"
        ) from None
    except InvalidAnswerError as error:
        raise ValueError(
            f"the JSON Schema is too much for an empty value: {error}; make it simpler"
        ) from None


_VALUES = frozenset({"const", "enum", "default", "examples"})
_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})


def _named(schema: Any) -> Iterator[tuple[str, str]]:
    """Yield the references and expressions of a schema, each with its keyword.

    References inside of a schema with an id of its own are left to the check of an answer.
    """
    if isinstance(schema, list):
        for each in schema:
            yield from _named(each)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            # A property may have these names: then the value is a schema.
            if key in ("$ref", "pattern") and isinstance(value, str):
                yield key, value
            elif key in _BY_NAME and isinstance(value, dict):
                if key == "patternProperties":
                    yield from ((key, name) for name in value)
                yield from _named(list(value.values()))
            elif key not in _VALUES:
                yield from (found for found in _named(value) if found[0] != "$ref" or "$id" not in schema)


def _bounded(kind: Any) -> Any:
    """Return a class of validators whose work is counted, without the slow keywords of `jsonschema`."""
    from jsonschema import validators

    own = {"pattern": _pattern, "patternProperties": _pattern_properties, "uniqueItems": _unique_items}
    keywords = {**kind.VALIDATORS, **own}
    return validators.extend(kind, {name: partial(_counted, check) for name, check in keywords.items()})


def _counted(check: Callable[..., Any], validator: Any, value: Any, instance: Any, schema: Any) -> Any:
    budget = _budget.get()
    budget.steps -= 1
    if budget.steps < 0:
        raise InvalidAnswerError("checking it takes too long; write a shorter answer.")
    return check(validator, value, instance, schema) or ()  # as in `jsonschema`: a keyword may return None


def _pattern(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if validator.is_type(instance, "string") and not _search(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], instance: Any, _: Any) -> Iterator[Any]:
    if validator.is_type(instance, "object"):
        for pattern, schema in patterns.items():
            for name, value in instance.items():
                if _search(pattern, name):
                    yield from validator.descend(value, schema, path=name, schema_path=pattern)


def _unique_items(validator: Any, wanted: bool, instance: Any, _: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if (
        wanted
        and validator.is_type(instance, "array")
        and len({_form(each) for each in instance}) < len(instance)
    ):
        yield ValidationError(f"{instance!r} has non-unique elements")


def _form(value: Any) -> Any:
    """Return a value that is equal for equal JSON: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return "object", frozenset((name, _form(each)) for name, each in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_form, value))
    return "number" if type(value) in (int, float) else type(value), value


# --- expressions ---


def reader_of_regex(pattern: str) -> Callable[[str], str]:
    """Return what reads answers that an expression matches as a whole.

    Raises:
        ValueError: it is no regular expression, or one whose cost nothing bounds.
    """
    compiled = compiled_regex(pattern)

    def read(text: str) -> str:
        try:
            # `concurrent` releases the interpreter while it matches, so that other runs go on.
            matches = compiled.fullmatch(text, timeout=MATCH_SECONDS, concurrent=True)
        except TimeoutError:
            raise InvalidAnswerError("matching it took too long.") from None
        if matches is None:
            raise InvalidAnswerError(f"{text!r:.200} does not match.")
        return text

    return read


@lru_cache(maxsize=256)  # the expressions of some schemas, each of which an answer is matched by many times
def compiled_regex(pattern: str) -> Any:
    """Compile an expression, without recursion, fuzzy matching and huge repetitions.

    Raises:
        ValueError: it is no regular expression, or one of these.
    """
    import regex  # here: few pipelines need it, and it takes long to import

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the meaning of `[[` or `--` in a set may change one day
            # Python's own syntax has no recursion and no named sets; properties are what it lacks.
            re.compile(_PROPERTY.sub(".", pattern))
        counts = [int(count) for found in _REPEAT.findall(pattern) for count in found if count]
        if max(counts, default=0) > MAX_REPEAT:
            raise ValueError(f"it repeats something more than {MAX_REPEAT} times")
        if _FUZZY.search(_PROPERTY.sub(".", pattern)):
            raise ValueError("{e} and the like would match fuzzily; write a brace as \\{")
        return regex.compile(pattern)
    except (re.error, regex.error, RecursionError, OverflowError, ValueError) as error:
        raise ValueError(f"not a regular expression: {error}; correct it") from None


def _search(pattern: str, text: str) -> bool:
    seconds = _budget.get().match_seconds
    try:
        return bool(compiled_regex(pattern).search(text, timeout=seconds, concurrent=True))
    except TimeoutError:
        raise InvalidAnswerError(f"matching {pattern!r:.100} took too long.") from None
