"""What a model is asked: turns of text with named holes, or pieces put together by hand.

Strings hold `{slot}` where content will stand; `{{` and `}}` are the braces themselves. Nothing here is
encoded: the dialect turns a declaration into ids once, when the pipeline is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, RootModel, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from codec_agents.graph.base import NAME_PATTERN, Declared, Flag


@dataclass(frozen=True, slots=True)
class Text:
    """Literal text of a template, braces unescaped."""

    text: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A named hole of a template."""

    name: str


TemplatePart: TypeAlias = Text | Slot

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")


class TemplateError(ValueError):
    """A template string whose braces do not say what they mean."""


def parse_template(template: str) -> list[TemplatePart]:
    """Return the literal texts and slots of a template string, in order.

    Neighbouring texts are one, and no text is empty.

    Raises:
        TemplateError: a brace that is neither doubled nor part of a `{slot}`, or a slot that is no name.
    """
    parts: list[TemplatePart] = []
    literal = ""
    for match in _PART.finditer(template):
        piece, slot = match.group(), match.group(1)
        if slot is None:
            literal += _literal(piece, match.start())
            continue
        if not re.match(NAME_PATTERN, slot):
            raise TemplateError(f"{{{slot}}} is not a slot; write {{{{{slot}}}}} for the braces themselves")
        if literal:
            parts.append(Text(literal))
        parts.append(Slot(slot))
        literal = ""
    if literal:
        parts.append(Text(literal))
    return parts


def _literal(piece: str, position: int) -> str:
    if piece in ("{{", "}}"):
        return piece[0]
    if piece in ("{", "}"):
        raise TemplateError(
            f"a single {piece} at character {position}; write {piece * 2} for the brace itself"
        )
    return piece


def _check_template(template: str) -> str:
    try:
        parse_template(template)
    except TemplateError as error:
        raise PydanticCustomError("template", "{reason}", {"reason": str(error)}) from error
    return template


TEMPLATE_PATTERN = rf"^(\{{\{{|\}}\}}|\{{{NAME_PATTERN[1:-1]}\}}|[^{{}}])*$"
"""What `parse_template` takes, for the published schema."""

Template: TypeAlias = Annotated[
    str, AfterValidator(_check_template), Field(json_schema_extra={"pattern": TEMPLATE_PATTERN})
]
"""Text with `{slot}` holes."""

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]


class ChatTurn(Declared):
    """A turn that stands in the prompt before the user's: an example, an earlier exchange, a result."""

    role: Role
    content: Template
    name: str | None = None
    """The tool that a result is of."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        """Read `{user: "..."}`, and `{tool: "...", name: "..."}`, as files write them."""
        if not isinstance(data, Mapping) or "role" in data:
            return data
        roles = [key for key in data if key != "name"]
        if len(roles) != 1:
            return data
        return {"role": roles[0], "content": data[roles[0]], **{k: v for k, v in data.items() if k == "name"}}

    @model_validator(mode="after")
    def _only_tools_have_names(self) -> Self:
        if self.name is not None and self.role != "tool":
            raise PydanticCustomError("turn", "only a `tool` turn has a `name`")
        return self

    @model_serializer
    def _to_short_form(self) -> dict[str, str]:
        return {self.role: self.content, **({} if self.name is None else {"name": self.name})}


class Chat(Declared):
    """A chat prompt, in the turns of the model's own family."""

    system: Template | None = None
    """Who the model is; tools are described here as well, in the dialect's form."""
    user: Template | None = None
    """The last turn, after which the model speaks."""
    turns: tuple[ChatTurn, ...] = ()
    """Turns between the system's and the last one."""
    thinking: Literal["on", "off", "forced"] | None = None
    """Whether the model reasons first: asked for, asked not to, or made to by an opened marker."""
    template: Literal["dialect", "engine"] = "dialect"
    """Whose form the turns get: the dialect's, or that of the engine's own chat template, asked for when the
    pipeline is built. What follows an answer (results, further turns) has the dialect's form either way."""
    keep_reasoning: Flag | None = None
    """Whether the reasoning of earlier exchanges stays in the prompt when a person speaks again; as the
    family does it when left out."""

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of all slots, in order, each once."""
        return tuple(dict.fromkeys(part.name for part in self.parts() if isinstance(part, Slot)))

    def parts(self) -> Iterator[TemplatePart]:
        """Yield the texts and slots of all turns, in order."""
        for template in (self.system, *(turn.content for turn in self.turns), self.user):
            yield from parse_template(template or "")

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if self.system is None and self.user is None and not self.turns:
            raise PydanticCustomError("empty_prompt", "a prompt needs `user`, `system` or `turns`")
        return self


class Piece(Declared):
    """One piece of a prompt put together by hand: a control token by its name, literal text, or a slot."""

    token: str | None = None
    """The name of a special token of the map: `<|im_start|>`."""
    text: str | None = None
    """Literal text; braces have no meaning here."""
    slot: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len([value for value in (self.token, self.text, self.slot) if value is not None]) != 1:
            raise PydanticCustomError("piece", "a piece is exactly one of `token`, `text` and `slot`")
        return self


class RawPrompt(RootModel[tuple[Piece, ...]]):
    """A prompt put together by hand, for models whose family no dialect knows."""

    model_config = {"frozen": True}

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The pieces in order."""
        return self.root

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of all slots, in order, each once."""
        return tuple(dict.fromkeys(piece.slot for piece in self.root if piece.slot is not None))
