"""Scripts without code: the first rule that fits the prompt decides the turn.

In YAML:

    - when: "weather"            # a regular expression, searched in what the user said last
      turn: 1                    # only for the first turn
      say:                       # a piece, or several in order
        - think: "I need the forecast."
        - call: {name: weather, arguments: {city: Oslo}}
    - say: "You said: {user}. The tools say: {results}."
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from codec_agents.engines.scripted.prompt_view import PromptView
from codec_agents.engines.scripted.script import (
    Call,
    Cut,
    Piece,
    Raw,
    Refuse,
    Say,
    ScriptError,
    Stop,
    Think,
    Turn,
    Wait,
)

_NAME = re.compile(r"\{(user|system|results)\}")


@dataclass(frozen=True, slots=True)
class Rule:
    """A turn, and the prompts that get it."""

    turn_pieces: tuple[Piece, ...]
    when: str | None = None
    """A regular expression, searched in what the user said last; None fits every prompt."""
    turn: int | None = None
    """Only this turn since the user spoke."""
    system: str | None = None
    """A regular expression, searched in the system text."""

    def fits(self, prompt: PromptView) -> bool:
        """Say whether the rule decides this prompt's turn."""
        if self.turn is not None and prompt.turn != self.turn:
            return False
        if self.system is not None and not re.search(self.system, prompt.system):
            return False
        return self.when is None or re.search(self.when, prompt.user) is not None


class Rules:
    """A script: the first rule that fits decides. A prompt that none fits is an error, never a guess."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)

    def __call__(self, prompt: PromptView) -> Turn:
        """Return the turn for a prompt, with `{user}`, `{system}` and `{results}` filled in."""
        for rule in self.rules:
            if rule.fits(prompt):
                return [_filled(piece, prompt) for piece in rule.turn_pieces]
        raise ScriptError(
            f"no rule fits turn {prompt.turn} of a prompt with the user text {prompt.user[:80]!r}; "
            "add a rule, or a last one without `when`"
        )

    @classmethod
    def parse(cls, rules: Sequence[Mapping[str, Any]]) -> Rules:
        """Return the rules of a YAML or JSON document.

        Raises:
            ScriptError: a rule has an unknown field or piece.
        """
        return cls([_parse_rule(number, rule) for number, rule in enumerate(rules, 1)])


def _parse_rule(number: int, rule: Mapping[str, Any]) -> Rule:
    unknown = set(rule) - {"when", "turn", "system", "say"}
    if unknown or "say" not in rule:
        what = f"unknown field {min(unknown)!r}" if unknown else "no field 'say'"
        raise ScriptError(f"rule {number} has {what}; a rule has when, turn, system (optional) and say")
    said = rule["say"]
    pieces = [_parse_piece(number, piece) for piece in (said if isinstance(said, list) else [said])]
    return Rule(tuple(pieces), when=rule.get("when"), turn=rule.get("turn"), system=rule.get("system"))


def _parse_piece(number: int, piece: Any) -> Piece:
    if isinstance(piece, str):
        return Say(piece)
    if isinstance(piece, Mapping) and len(piece) == 1:
        [(kind, value)] = piece.items()
        if kind in _PIECES:
            return _PIECES[kind](value)
    raise ScriptError(f"rule {number} has a piece {piece!r}; a piece is text or one of {', '.join(_PIECES)}")


_PIECES: dict[str, Callable[[Any], Piece]] = {
    "think": Think,
    "say": Say,
    "call": lambda value: Call(value["name"], **value.get("arguments", {})),
    "raw": Raw,
    "wait": Wait,
    "stop": Stop,
    "cut": lambda _: Cut(),
    "refuse": lambda value: Refuse(int(value)),
}


def _filled(piece: Piece, prompt: PromptView) -> Piece:
    """Fill the names in; other braces, those of JSON for instance, stay."""
    if not isinstance(piece, Say | Think):
        return piece
    # The names of this text alone: a value that spells one is not filled in again.
    values = {"user": prompt.user, "system": prompt.system, "results": "\n".join(prompt.all_results)}
    return replace(piece, text=_NAME.sub(lambda name: values[name[1]], piece.text))


def rules_or_script(value: Any) -> Callable[[PromptView], Turn]:
    """Return the script that a declaration means.

    A callable is a script; a list holds rules; text is every answer, `{user}` and the like filled in.

    Raises:
        ScriptError: it is none of these.
    """
    if callable(value):
        return value  # type: ignore[no-any-return] # `callable` tells nothing of what it returns
    if isinstance(value, list):
        return Rules.parse(value)
    if isinstance(value, str):
        return Rules([Rule((Say(value),))])
    raise ScriptError(f"a script is a function, a list of rules, or text, not {type(value).__name__}")
