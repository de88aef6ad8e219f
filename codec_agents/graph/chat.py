"""Declared prompts: turns of text with named slots, or pieces assembled by hand.

In strings, `{slot}` is replaced by content; `{{` and `}}` are literal braces. Nothing is encoded here: the
dialect turns a declaration into token ids once, when the pipeline is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, RootModel, model_validator
from pydantic_core import PydanticCustomError

from codec_agents.graph.base import NAME_PATTERN, Declared, Flag
from codec_agents.graph.templates import Slot, Template, TemplatePart, parse_template
from codec_agents.graph.turns import ChatTurn, check_results


class Chat(Declared):
    """A chat prompt, in the turns of the model's own family."""

    system: Template | None = None
    """The system message. The dialect adds the descriptions of tools to it."""
    user: Template | None = None
    """The last turn, which the model answers."""
    turns: tuple[ChatTurn, ...] = ()
    """Turns between the system's and the last one."""
    thinking: Literal["on", "off", "forced"] | None = None
    """Reasoning before the answer: asked for, switched off, or forced by a marker that the prompt opens."""
    template: Literal["dialect", "engine"] = "dialect"
    """The form of the turns: the dialect's, or that of the engine's own chat template, which is rendered when
    the pipeline is built. Results and further turns after an answer always have the dialect's form."""
    keep_reasoning: Flag | None = None
    """Keep the reasoning of earlier exchanges in the prompt when the user speaks again. The family decides
    when left out."""

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of all slots, in order, each once."""
        return tuple(dict.fromkeys(part.name for part in self.parts() if isinstance(part, Slot)))

    def parts(self) -> Iterator[TemplatePart]:
        """Yield the texts and slots of all turns, in order."""
        yield from parse_template(self.system or "")
        for turn in self.turns:
            yield from turn.parts()
        yield from parse_template(self.user or "")

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if self.system is None and self.user is None and not self.turns:
            raise PydanticCustomError("empty_prompt", "a prompt needs `user`, `system` or `turns`")
        check_results(self.turns)
        return self


class ChatPiece(Declared):
    """One piece of a prompt that is assembled by hand: a control token, literal text, or a slot."""

    token: str | None = None
    """The name of a special token of the map: `<|im_start|>`."""
    text: str | None = None
    """Literal text; braces have no meaning here."""
    slot: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_piece(cls, value: Any) -> Any:
        """Refuse a text alone: whether braces in it are a slot, only the name of its kind tells."""
        if isinstance(value, str):
            raise PydanticCustomError("piece", "a piece is {token: NAME}, {text: TEXT} or {slot: NAME}")
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len([value for value in (self.token, self.text, self.slot) if value is not None]) != 1:
            raise PydanticCustomError("piece", "a piece is exactly one of `token`, `text` and `slot`")
        return self


class RawPrompt(RootModel[tuple[ChatPiece, ...]]):
    """A prompt that is assembled by hand, for models whose family no dialect covers."""

    model_config = {"frozen": True}

    @property
    def pieces(self) -> tuple[ChatPiece, ...]:
        """The pieces in order."""
        return self.root

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of all slots, in order, each once."""
        return tuple(dict.fromkeys(piece.slot for piece in self.root if piece.slot is not None))
