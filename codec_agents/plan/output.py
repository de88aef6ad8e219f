"""The form of a model's answer: what its engine enforces, and the check of what arrives."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from codec_agents.graph.output import Output
from codec_agents.plan.answer_readers import (
    InvalidAnswerError,
    listed,
    read_answer,
    reader_of_regex,
    reader_of_schema,
)


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
    in_thread: bool = False
    """Whether an answer is read in a thread: an expression or a schema may take long on some answers."""
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
        # In no thread: the expressions of pydantic do not backtrack, so that its time grows with the length.
        return _of_schema(model.model_json_schema(), _reader_of_model(model), output.retries)
    if isinstance(output.json_schema, dict):
        read = reader_of_schema(output.json_schema)
        return replace(_of_schema(output.json_schema, read, output.retries), in_thread=True)
    if output.regex is not None:
        wanted = f"a text that the regular expression {output.regex} matches"
        matches = reader_of_regex(output.regex)
        return OutputForm({"regex": output.regex}, wanted, matches, output.retries, in_thread=True)
    if output.choices is not None:
        wanted = f"one of: {', '.join(output.choices)}"
        read = _reader_of_choices(output.choices)
        return OutputForm({"choice": list(output.choices)}, wanted, read, output.retries)
    # The one form that is left: an `Output` has exactly one.
    return OutputForm({"grammar": output.grammar}, "a text of the grammar", _as_it_is, output.retries)


def _of_schema(schema: Mapping[str, Any], read: Callable[[str], Any], retries: int) -> OutputForm:
    wanted = f"JSON of this schema: {json.dumps(schema, ensure_ascii=False)}"
    return OutputForm({"json_schema": schema}, wanted, read, retries)


def _reader_of_model(model: type[BaseModel]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            value = model.model_validate_json(text)
        except ValidationError as error:
            faults = [
                f"{'.'.join(map(str, each['loc'])) or 'the whole'}: {each['msg']}"
                for each in error.errors(include_url=False, include_input=False)
            ]
            raise InvalidAnswerError(listed(faults)) from None
        # Pydantic takes the last of two values of one name, and NaN for a number.
        read_answer(text)
        return value

    return read


def _reader_of_choices(choices: tuple[str, ...]) -> Callable[[str], Any]:
    def read(text: str) -> str:
        for choice in choices:
            # Models write a space or a line feed around an answer.
            if text.strip() == choice.strip():
                return choice
        raise InvalidAnswerError(f"{text!r:.200} is none of them.")

    return read


def _as_it_is(text: str) -> str:
    return text
