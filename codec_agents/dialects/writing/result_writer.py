"""Results of tools in one family's form: those of a run, and those that a prompt declares."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from codec_agents.dialects.encoding import PieceEncoder
from codec_agents.dialects.forms import DialectForms, ResultForm
from codec_agents.dialects.pieces import Hole, Ids, Literal, Piece, Told, fill
from codec_agents.dialects.writing.literals import attribute_text, json_string, json_text
from codec_agents.dialects.writing.turns import WrittenTurn
from codec_agents.exceptions import PromptError
from codec_agents.prompts import JsonStrings, refuse_control_ids
from codec_core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from codec_agents.tools.calls import Attempt


class ResultWriter:
    """Writes results in one dialect and one vocabulary."""

    def __init__(self, dialect: DialectForms, vocabulary: Vocabulary, encoder: PieceEncoder) -> None:
        self._dialect = dialect
        self._vocabulary = vocabulary
        self._encoder = encoder

    @cached_property
    def _json_strings(self) -> JsonStrings:
        return JsonStrings(self._vocabulary)

    @property
    def form(self) -> ResultForm:
        """The family's form.

        Raises:
            PromptError: it has none.
        """
        if self._dialect.results is None:
            raise PromptError(f"the dialect {self._dialect.name!r} has no form for the results of tools")
        return self._dialect.results

    def of_attempts(self, attempts: Sequence[Attempt]) -> list[Piece]:
        """Return the results of a turn's calls; the place of each is asked for."""
        return self._joined(
            self._one(number, attempt.call.name, attempt.call.call_id, self._content(attempt))
            for number, attempt in enumerate(attempts)
        )

    def of_turns(self, turns: Sequence[WrittenTurn]) -> list[Piece]:
        """Return neighbouring results that a prompt holds."""
        return self._joined(
            self._one(number, turn.name, turn.call_id, self._declared(turn.content))
            for number, turn in enumerate(turns)
        )

    def _joined(self, results: Iterable[list[Piece]]) -> list[Piece]:
        form, parse = self.form, self._encoder.parse
        pieces = parse(form.open)
        for number, result in enumerate(results):
            pieces += parse(form.join) if number else []
            pieces += result
        return [*pieces, *parse(form.close)]

    def _one(self, number: int, name: str, call_id: str | None, content: Sequence[Piece]) -> list[Piece]:
        form = self.form
        known = call_id or form.id_form.format(index=number, name=name)
        fillings: dict[str, Sequence[Piece]] = {
            "content": content,
            "name": [Literal(name)],
            "name_attribute": [Literal(attribute_text(name))],
            "number": [Literal(str(number + 1))],  # from 1; indexes, in ids, are from 0
            "id": [Literal(known)],
            "id_json": [Literal(json_text(known))],
        }
        return fill(self._encoder.parse(form.each, tuple(fillings)), fillings)

    def _content(self, attempt: Attempt) -> list[Piece]:
        if attempt.ids is None:
            return [Told(self._literal(attempt.text))]
        refuse_control_ids(attempt.ids, self._vocabulary, f"result of {attempt.call.name}")
        if self._is_verbatim(self._encoder.spelled(attempt.ids)):
            return [Told(Ids(tuple(attempt.ids)))]
        quote = Literal('"')
        return [quote, Told(Ids(tuple(self._json_strings.escape(attempt.ids)))), quote]

    def _is_verbatim(self, text: str) -> bool:
        content = self.form.content
        return content == "text" or (content == "json" and _is_json(text))

    def _literal(self, text: str) -> Literal:
        return Literal(text if self._is_verbatim(text) else json_text(text))

    def _declared(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return a declared result; one with slots is a string where results are JSON."""
        if any(isinstance(piece, Hole) for piece in pieces):
            return list(pieces) if self.form.content == "text" else json_string(pieces)
        return [self._literal("".join(piece.text for piece in pieces if isinstance(piece, Literal)))]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):  # a result may be nested without end
        return False
    return True
