"""Declared calls in one family's form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from codec_agents.dialects.encoding import PieceEncoder
from codec_agents.dialects.forms import DialectForms, WrittenCalls
from codec_agents.dialects.grammars.elements import MARK
from codec_agents.dialects.pieces import Hole, Literal, Marker, Piece, fill
from codec_agents.dialects.writing.literals import (
    JSON,
    NOTATIONS,
    attribute_text,
    json_text,
    json_type,
    write_elements,
    write_value,
)
from codec_agents.dialects.writing.turns import KnownCall
from codec_agents.exceptions import PromptError


class CallWriter:
    """Writes the calls of turns that a prompt declares, in one dialect."""

    def __init__(self, dialect: DialectForms, encoder: PieceEncoder) -> None:
        self._dialect = dialect
        self._encoder = encoder

    @property
    def form(self) -> WrittenCalls:
        """The family's form.

        Raises:
            PromptError: it has none.
        """
        calls = self._dialect.calls
        if calls is None or calls.written is None:
            raise PromptError(
                f"the dialect {self._dialect.name!r} has no form for calls in a declared turn; "
                "declare it in a dialect of your own, as `calls: {written: ...}`"
            )
        return calls.written

    def calls(self, calls: Sequence[KnownCall]) -> list[Piece]:
        """Return the calls of one turn.

        Raises:
            PromptError: the family has no form for calls, or not for so many in a turn, or the content of a
                slot could end the value that holds the slot.
        """
        form, parse = self.form, self._encoder.parse
        if form.most is not None and len(calls) > form.most:
            raise PromptError(
                f"the dialect {self._dialect.name!r} writes {form.most} call in a turn, not {len(calls)}; "
                "declare a turn for each, with its result behind it"
            )
        pieces = parse(form.open)
        for number, call in enumerate(calls):
            pieces += parse(form.join) if number else []
            pieces += self._one(call, number)
        return [*pieces, *parse(form.close)]

    def text(self, text: Sequence[Piece]) -> list[Piece]:
        """Return the text of a turn before its calls.

        Raises:
            PromptError: the family writes none there.
        """
        if not text and not self.form.text_always:
            return []
        if self.form.text is None:
            raise PromptError(
                f"the dialect {self._dialect.name!r} writes no text beside calls; leave it out, or declare "
                "it as `reasoning` where the family reasons"
            )
        before = fill(self._encoder.parse(self.form.text, ("content",)), {"content": text})
        return [*before, *self._encoder.parse(self.form.behind_text)]

    def _one(self, call: KnownCall, number: int) -> list[Piece]:
        fillings: dict[str, Sequence[Piece]] = {
            "name": [Literal(call.name)],
            "name_json": [Literal(json_text(call.name))],
            "name_attribute": [Literal(attribute_text(call.name))],
            "number": [Literal(str(number + 1))],  # from 1; indexes, in ids, are from 0
            "id": [Literal(call.id)],
            "id_json": [Literal(json_text(call.id))],
            "arguments": self._arguments(call),
        }
        return fill(self._encoder.parse(self.form.each, tuple(fillings)), fillings)

    def _arguments(self, call: KnownCall) -> list[Piece]:
        if self.form.argument is None:
            return self._literal(call.arguments, call)
        pieces: list[Piece] = []
        for number, (key, value) in enumerate(call.arguments.items()):
            pieces += self._encoder.parse(self.form.argument_join) if number else []
            pieces += self._argument(self.form.argument, key, value, call)
        return pieces

    def _argument(self, form: str, key: str, value: Any, call: KnownCall) -> list[Piece]:
        bare = self.form.bare_strings and isinstance(value, str)
        fillings: dict[str, Sequence[Piece]] = {
            "key": [Literal(key)],
            "value": call.pieces(str(value)) if bare else self._value(value, call),
            "key_attribute": [Literal(attribute_text(key))],
            "is_text": [Literal("true" if isinstance(value, str) else "false")],
            "type": [Literal(json_type(value))],
        }
        parsed = self._encoder.parse(form, tuple(fillings))
        slots = [piece.name for piece in fillings["value"] if isinstance(piece, Hole)]
        # In a literal, what fills a slot is escaped; bare, it could end the value.
        if bare and slots and not _ends_with_marker(parsed):
            raise PromptError(
                f"the dialect {self._dialect.name!r} ends the value of {key!r} with plain text, which the "
                f"content of the slot {slots[0]!r} could contain; declare the call of {call.name!r} without "
                "the slot, or put the slot into a user's turn"
            )
        return fill(parsed, fillings)

    def _value(self, value: Any, call: KnownCall) -> list[Piece]:
        if self.form.python_words and (value is None or isinstance(value, bool)):
            return [Literal(str(value))]
        form = self.form
        if (form.json_objects and isinstance(value, Mapping)) or (
            form.json_lists and isinstance(value, list)
        ):
            return write_value(value, JSON, call.pieces)
        return self._literal(value, call)

    def _literal(self, value: Any, call: KnownCall) -> list[Piece]:
        if self.form.literals == "elements":
            return write_elements(value, MARK, call.pieces)
        return write_value(value, NOTATIONS[self.form.literals], call.pieces)


def _ends_with_marker(argument: Sequence[Piece]) -> bool:
    """Return whether a control token follows the value: content never contains one."""
    following = (isinstance(after, Marker) for piece, after in pairwise(argument) if piece == Hole("value"))
    return next(following, False)
