"""The declared form of a model's answer."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from codec_agents.graph.base import NO_WORD_AS_WHOLE, Declared, Reference

FORMS = ("schema", "regex", "choices", "grammar")


class Output(Declared):
    """The form of an answer: exactly one of `schema`, `regex`, `choices` and `grammar`.

    The engine enforces it where its API can. The answer is checked when it is complete, and leaves the node
    then; with `retries: 0` it leaves as it arrives.
    """

    json_schema: dict[str, JsonValue] | Reference | None = Field(default=None, alias="schema")
    """A pydantic model as `module:name`, or a JSON Schema. The value is an instance, or parsed JSON."""
    regex: Annotated[str, Field(min_length=1)] | None = None
    """A regular expression that matches the whole answer. The value is the text."""
    choices: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] | None = None
    """The texts that the answer may be. The value is one of them."""
    grammar: Annotated[str, Field(min_length=1)] | None = None
    """A grammar in the engine's own notation (EBNF, GBNF). It is enforced there, and not checked here."""
    retries: Annotated[int, Field(ge=0), NO_WORD_AS_WHOLE] = 1
    """How often the model is told what is wrong with its answer, and asked again. Each counts as a turn."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        forms = (self.json_schema, self.regex, self.choices, self.grammar)
        if sum(form is not None for form in forms) != 1:
            raise PydanticCustomError(
                "output", "an output has exactly one of {forms}", {"forms": ", ".join(FORMS)}
            )
        return self
