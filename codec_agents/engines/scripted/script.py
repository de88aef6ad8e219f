"""The pieces of a scripted turn, and the ids that they become.

A script decides on a turn when it has seen the prompt. What it returns is what arrives: text becomes the
ids of exactly that text and never a control id; control ids come from the pieces that are markers, and
from `Raw`, which is there to write broken turns.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, get_args

from codec_agents.engines.base import FAILED_REASONS
from codec_agents.engines.scripted.prompt_view import PromptView
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary


class ScriptError(ValueError):
    """A script uses a piece that its vocabulary cannot express, or has no answer to a prompt."""


@dataclass(frozen=True, slots=True)
class Think:
    """Reasoning, between the reasoning markers.

    The opening marker is left out where the prompt already holds it, and the piece is left out where the
    prompt has closed the reasoning: a model with thinking turned off does not think.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Say:
    """Text of the answer, unchanged."""

    text: str


@dataclass(frozen=True, slots=True, init=False)
class Call:
    """A tool call: `Call("weather", city="Oslo")`."""

    name: str
    arguments: dict[str, Any]

    def __init__(self, name: str, /, **arguments: Any) -> None:
        # The generated `__init__` takes no free keywords, and a frozen class can be set only in this way.
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "arguments", arguments)


@dataclass(frozen=True, slots=True)
class Raw:
    """Ids as they are, or text in which the names of special tokens become control ids."""

    content: str | Sequence[int]


@dataclass(frozen=True, slots=True)
class Wait:
    """A pause, in seconds, before the ids that follow."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """The end of the turn, and the reason that is given for it.

    Without it, a turn ends with the turn-end id and `stop`. `length`, `error` and
    `abort` end it without that id; the last two are failures.
    """

    reason: str = "stop"


@dataclass(frozen=True, slots=True)
class Cut:
    """A fault: the answer breaks off here, without a last frame."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """A fault, and the only piece of its turn: the request is answered with an HTTP error."""

    status: int = 500
    message: str = "the script refuses"


Piece: TypeAlias = Think | Say | Call | Raw | Wait | Stop | Cut | Refuse
Turn: TypeAlias = str | Piece | Iterable[str | Piece]
"""A string is short for `Say`."""
Script: TypeAlias = Callable[[PromptView], Turn]

SILENT_ENDS = frozenset({"length", "policy_violation"}) | FAILED_REASONS
"""Finish reasons of turns that the model has not ended itself."""

TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "</s>", "<|endoftext|>")


@dataclass(slots=True)
class EncodedTurn:
    """The ids of a turn, and what happens between them."""

    ids: list[int] = field(default_factory=list)
    waits: dict[int, float] = field(default_factory=dict)
    """Pauses, by the number of ids before them."""
    finish_reason: str | None = "stop"
    """None: the answer is cut off."""
    refusal: Refuse | None = None

    def after(self, number: int) -> EncodedTurn:
        """Return the rest of the turn after its first ids."""
        if not number:
            return self
        waits = {at - number: seconds for at, seconds in self.waits.items() if at >= number}
        return replace(self, ids=self.ids[number:], waits=waits)

    def until(self, number: int, reason: str) -> EncodedTurn:
        """Return the first ids of the turn, ended there for a reason; most turns end so by themselves."""
        if number == len(self.ids) and reason == self.finish_reason:
            return self
        return replace(self, ids=self.ids[:number], finish_reason=reason)


def pieces_of(turn: Turn) -> list[Piece]:
    """Return a turn as a list of pieces.

    Raises:
        ScriptError: something in it is not a piece.
    """
    pieces: object = [turn] if isinstance(turn, str | Piece) else turn
    if not isinstance(pieces, Iterable):
        if inspect.iscoroutine(pieces):
            pieces.close()  # else Python warns that it was never awaited
        returned = "a coroutine" if inspect.iscoroutine(pieces) else type(pieces).__name__
        raise ScriptError(f"the script returned {returned}, not a string or a list of pieces")
    return [_piece(each) for each in pieces]


def _piece(piece: object) -> Piece:
    if isinstance(piece, str):
        return Say(piece)
    if not isinstance(piece, Piece):
        known = ", ".join(each.__name__ for each in get_args(Piece))
        raise ScriptError(f"{piece!r} is not a piece of a turn; use a string, or {known}")
    return piece


def encode_turn(turn: Turn, vocabulary: Vocabulary, prompt: PromptView) -> EncodedTurn:
    """Return the ids of a turn in a vocabulary.

    Raises:
        ScriptError: the vocabulary has no marker that the turn needs.
    """
    writer = _TurnWriter(vocabulary, prompt)
    for piece in pieces_of(turn):
        if writer.write(piece):
            return writer.turn
    writer.end("stop")
    return writer.turn


class _TurnWriter:
    """Gathers neighbouring text, so that it is encoded as one, and puts markers between."""

    def __init__(self, vocabulary: Vocabulary, prompt: PromptView) -> None:
        self.turn = EncodedTurn()
        self._vocabulary = vocabulary
        self._tokenizer = pick_tokenizer(vocabulary)
        self._prompt = prompt
        self._has_thought = False
        self._text: list[str] = []

    def write(self, piece: Piece) -> bool:
        """Write a piece; return whether it ended the turn."""
        match piece:
            case Say(text):
                self._text.append(text)
            case Think(text):
                self._think(text)
            # In the form of Hermes, whatever the family: `Raw` writes any other.
            case Call(name, arguments):
                payload = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
                self._marked("<tool_call>", f"\n{payload}\n", "</tool_call>")
            case Raw(content):
                self._flush()
                self.turn.ids += self._tokenizer.encode(content) if isinstance(content, str) else content
            case Wait(seconds):
                self._flush()  # the ids before a pause do not depend on the text behind it
                at = len(self.turn.ids)
                self.turn.waits[at] = self.turn.waits.get(at, 0.0) + seconds
            case _:
                self._finish(piece)
                return True
        return False

    def _finish(self, piece: Stop | Cut | Refuse) -> None:
        match piece:
            case Stop(reason):
                self.end(reason)
            case Cut():
                self._flush()
                self.turn.finish_reason = None
            case Refuse():
                self.turn.refusal = piece

    def end(self, reason: str) -> None:
        self._flush()
        self.turn.finish_reason = reason
        if reason not in SILENT_ENDS:
            self.turn.ids.append(self._turn_end())

    def _think(self, text: str) -> None:
        # Reasoning that the prompt opened is the first one; a later one has markers of its own. Where the
        # prompt has closed it, `_has_thought` stays false and every one is left out.
        thinking = None if self._has_thought else self._prompt.thinking
        if thinking == "closed":
            return
        self._has_thought = True
        if thinking == "open":
            self._text.append(text)
            self._flush()
            self.turn.ids.append(self._control("</think>"))
        else:
            self._marked("<think>", text, "</think>")

    def _marked(self, start: str, text: str, end: str) -> None:
        self._flush()
        self.turn.ids.append(self._control(start))
        self._text.append(text)
        self._flush()
        self.turn.ids.append(self._control(end))

    def _flush(self) -> None:
        if self._text:
            self.turn.ids += self._tokenizer.encode_ordinary("".join(self._text))
            self._text.clear()

    def _control(self, name: str) -> int:
        try:
            return self._vocabulary.special_tokens[name]
        except KeyError:
            raise ScriptError(
                f"the map {self._vocabulary.id!r} has no special token {name!r}, which the script needs; "
                "use a map that has it, or write the turn without it"
            ) from None

    def _turn_end(self) -> int:
        """The end that the prompt's own turns have, or else the first one that the map knows."""
        special = self._vocabulary.special_tokens
        known = [special[name] for name in TURN_ENDS if name in special]
        if not known:
            raise ScriptError(
                f"the map {self._vocabulary.id!r} has no token that ends a turn (looked for "
                f"{', '.join(TURN_ENDS)}); end the script's turns with Stop('length')"
            )
        # A map may have the marks of several families.
        seen = set(self._prompt.ids)
        return next((token for token in known if token in seen), known[0])
