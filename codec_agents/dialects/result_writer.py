"""Results of tools in one family's form: those of a run, and those that a prompt declares."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from codec_agents.dialects.base import Dialect, ResultForm
from codec_agents.dialects.encoding import PieceEncoder
from codec_agents.dialects.pieces import Hole, Ids, Literal, Piece, Told, fill
from codec_agents.exceptions import PromptError
from codec_agents.graph.chat import ChatTurn, Slot, parse_template
from codec_agents.prompts import refuse_control_ids
from codec_core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from codec_agents.dispatch import Attempt


class ResultWriter:
    """Writes results in one dialect and one vocabulary."""

    def __init__(self, dialect: Dialect, vocabulary: Vocabulary, encoder: PieceEncoder) -> None:
        self._dialect = dialect
        self._vocabulary = vocabulary
        self._encoder = encoder

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
            self._one(number, attempt.call.name, attempt.call.call_id, [Told(self._content(attempt))])
            for number, attempt in enumerate(attempts)
        )

    def of_turns(self, turns: Sequence[ChatTurn]) -> list[Piece]:
        """Return neighbouring results that a prompt declares.

        Raises:
            PromptError: the family writes results inside the assistant's turn, or as JSON, which what fills a
                slot is not.
        """
        if self.form.in_turn:
            raise PromptError(
                f"the dialect {self._dialect.name!r} writes results inside the assistant's turn; "
                "a prompt cannot declare them by themselves"
            )
        return self._joined(
            self._one(number, turn.name or "", None, self._declared(turn))
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
            "id": [Literal(known)],
            "id_json": [Literal(json.dumps(known))],
        }
        return fill(self._encoder.parse(form.each, tuple(fillings)), fillings)

    def _content(self, attempt: Attempt) -> Literal | Ids:
        if self.form.content == "text" and attempt.ids is not None:
            refuse_control_ids(attempt.ids, self._vocabulary, f"result of {attempt.call.name}")
            return Ids(tuple(attempt.ids))
        return self._literal(attempt.text)

    def _literal(self, text: str) -> Literal:
        content = self.form.content
        if content == "text" or (content == "json" and _is_json(text)):
            return Literal(text)
        return Literal(json.dumps(text, ensure_ascii=False))

    def _declared(self, turn: ChatTurn) -> list[Piece]:
        parts = parse_template(turn.content)
        slots = [part.name for part in parts if isinstance(part, Slot)]
        if slots and self.form.content != "text":
            raise PromptError(
                f"the dialect {self._dialect.name!r} writes results as JSON, which the slot {slots[0]!r} "
                "cannot be; write the result as text"
            )
        if not slots:
            return [self._literal("".join(part.text for part in parts if not isinstance(part, Slot)))]
        return [Hole(part.name) if isinstance(part, Slot) else Literal(part.text) for part in parts]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
