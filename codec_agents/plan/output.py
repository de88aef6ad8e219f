"""The form of a model's answer: what its engine enforces, and the check of what arrives."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from codec_agents.graph.output import Output

MAX_SHOWN_ERRORS = 5
"""Faults of one answer that a model is told; the first ones usually cause the others."""

MATCH_SECONDS = 1.0
"""Bounds a match: an expression with nested repetitions could otherwise run for hours on one answer."""


class InvalidAnswerError(ValueError):
    """An answer does not have its form; the message is written for the model."""


@dataclass(frozen=True, slots=True)
class OutputForm:
    """The form of one node's answer."""

    structured: Mapping[str, Any]
    """The form as `SamplingOptions.structured` has it."""
    wanted: str
    """The form in words, for the model and for `explain`."""
    read: Callable[[str], Any]
    """Returns the value of an answer; raises `InvalidAnswerError`."""
    retries: int
    enforced: bool = False
    """Whether the engine enforces it."""

    @property
    def kind(self) -> str:
        """The name of the form among those of `SamplingOptions.structured`."""
        return next(iter(self.structured))

    def enforced_by(self, forms: frozenset[str]) -> OutputForm:
        """Return the same form, given the forms that the engine enforces."""
        return replace(self, enforced=self.kind in forms)

    def correction(self, reason: str) -> str:
        """Return what the model is told about an answer that was not accepted."""
        return (
            f"Your answer was not accepted: {reason}\nAnswer again with {self.wanted}, and with nothing else."
        )


def form_of(output: Output, model: type[BaseModel] | None) -> OutputForm:
    """Return the form that a declaration describes.

    Args:
        output: the declaration.
        model: the pydantic model that it names, if it names one.

    Raises:
        ImportError: a JSON Schema needs the package `jsonschema`, which is not installed.
        ValueError: the schema or the expression is not valid.
    """
    if model is not None:
        return _of_schema(model.model_json_schema(), _reader_of_model(model), output.retries)
    if isinstance(output.json_schema, dict):
        return _of_schema(output.json_schema, _reader_of_schema(output.json_schema), output.retries)
    if output.regex is not None:
        wanted = f"a text that the regular expression {output.regex} matches"
        return OutputForm({"regex": output.regex}, wanted, _reader_of_regex(output.regex), output.retries)
    if output.choices is not None:
        wanted = f"one of: {', '.join(output.choices)}"
        read = _reader_of_choices(output.choices)
        return OutputForm({"choice": list(output.choices)}, wanted, read, output.retries)
    return OutputForm({"grammar": output.grammar}, "a text of the grammar", _as_it_is, output.retries)


def _of_schema(schema: Mapping[str, Any], read: Callable[[str], Any], retries: int) -> OutputForm:
    wanted = f"JSON of this schema: {json.dumps(schema, ensure_ascii=False)}"
    return OutputForm({"json_schema": schema}, wanted, read, retries)


def _reader_of_model(model: type[BaseModel]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            faults = [
                f"{'.'.join(map(str, each['loc'])) or 'the whole'}: {each['msg']}"
                for each in error.errors(include_url=False, include_input=False)
            ]
            raise InvalidAnswerError(_listed(faults)) from None

    return read


def _reader_of_schema(schema: Mapping[str, Any]) -> Callable[[str], Any]:
    try:
        from jsonschema import validators
        from jsonschema.exceptions import SchemaError
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
    checker = kind(schema)

    def read(text: str) -> Any:
        try:
            value = json.loads(text, parse_constant=_not_json)
        except (ValueError, RecursionError) as error:
            raise InvalidAnswerError(f"it is not JSON: {error}.") from None
        faults = [f"{each.json_path}: {each.message}" for each in checker.iter_errors(value)]
        if faults:
            raise InvalidAnswerError(_listed(faults))
        return value

    return read


def _not_json(word: str) -> Any:
    raise ValueError(f"JSON has no {word}")


def _reader_of_regex(pattern: str) -> Callable[[str], Any]:
    import regex  # here: few pipelines need it, and it takes long to import

    try:
        compiled = regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"not a regular expression: {error}; correct it") from None

    def read(text: str) -> str:
        try:
            matches = compiled.fullmatch(text, timeout=MATCH_SECONDS)
        except TimeoutError:
            raise InvalidAnswerError("matching it took too long.") from None
        if matches is None:
            raise InvalidAnswerError(f"{text!r:.200} does not match.")
        return text

    return read


def _reader_of_choices(choices: tuple[str, ...]) -> Callable[[str], Any]:
    def read(text: str) -> str:
        for choice in choices:
            if text.strip() == choice.strip():
                return choice
        raise InvalidAnswerError(f"{text!r:.200} is none of them.")

    return read


def _as_it_is(text: str) -> str:
    return text


def _listed(faults: list[str]) -> str:
    more = len(faults) - MAX_SHOWN_ERRORS
    shown = "; ".join(faults[:MAX_SHOWN_ERRORS])
    return f"{shown}; and {more} more." if more > 0 else f"{shown}."
