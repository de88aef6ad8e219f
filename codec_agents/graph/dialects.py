"""Dialects of a declaration: as data, from a file, from a model's configuration, or as code."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from codec_agents.graph.base import Declared, FileName, Reference


class DialectSpec(Declared):
    """The form in which a model family writes turns, calls and reasoning, where no known dialect fits."""

    like: str | None = None
    """A known dialect, which gives the fields that `fields` leaves out."""
    file: FileName | None = None
    """A YAML or JSON file with `like` and `fields`, beside the pipeline file, or absolute."""
    tokenizer_config: FileName | None = None
    """A model's `tokenizer_config.json`; the dialect is derived from its chat and response templates."""
    call: Reference | None = None
    """A `Dialect` as `module:name`."""
    fields: dict[str, Any] = Field(default_factory=dict)
    """Fields of a `Dialect`. Fields inside `calls`, `results` and the like are merged one by one."""
    grammar: Reference | None = None
    """A function that reads the payload of a call, as `module:name`."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        named = [
            each for each in (self.like, self.file, self.tokenizer_config, self.call) if each is not None
        ]
        if len(named) > 1:
            raise PydanticCustomError(
                "dialect", "a dialect comes from one of `like`, `file`, `tokenizer_config` and `call`"
            )
        if not named and not self.fields:
            raise PydanticCustomError("dialect", "a dialect without fields; give `fields`, or name a source")
        return self
