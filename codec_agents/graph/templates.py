"""Strings with named slots: `{slot}` is replaced by content; `{{` and `}}` are literal braces."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from codec_agents.graph.base import NAME_PATTERN


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
    """A template string with unmatched braces or an invalid name between them."""


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
        # None for any other alternative; `{}` is a slot with an empty name.
        if slot is None:
            literal += _literal(piece, match.start())
            continue
        if not re.fullmatch(NAME_PATTERN, slot):
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
"""The pattern of strings that `parse_template` accepts, for the published schema."""

Template: TypeAlias = Annotated[
    str, AfterValidator(_check_template), Field(json_schema_extra={"pattern": TEMPLATE_PATTERN})
]
"""Text with named slots, `{slot}`."""
