"""Turns that a prompt declares before the last one: what was said, thought, called and found out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from codec_agents.dialects.encoding import PieceEncoder
from codec_agents.dialects.forms import DialectForms
from codec_agents.dialects.pieces import Piece, fill
from codec_agents.dialects.values import ThinkingMode
from codec_agents.dialects.writing.call_writer import CallWriter
from codec_agents.dialects.writing.result_writer import ResultWriter
from codec_agents.dialects.writing.turns import WrittenTurn
from codec_agents.exceptions import PromptError


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring turns of one role.

    Fields:
        turns: the turns.
        before: the role of the turn before them, or "".
        after: the role of the turn behind them, or "".
    """

    turns: Sequence[WrittenTurn]
    before: str
    after: str


class TurnWriter:
    """Writes declared turns of one dialect.

    Attributes:
        calls: writes the calls of turns.
    """

    def __init__(
        self, dialect: DialectForms, encoder: PieceEncoder, results: ResultWriter, *, knows_reasoning: bool
    ) -> None:
        self._dialect = dialect
        self._encoder = encoder
        self._results = results
        self.calls = CallWriter(dialect, encoder)
        self._knows_reasoning = knows_reasoning
        self._head, _, self._tail = dialect.assistant.partition(dialect.answer)

    def stretches(self, turns: Sequence[WrittenTurn], before: str = "") -> list[Stretch]:
        """Return the turns, neighbouring ones of a role together.

        Args:
            turns: the turns.
            before: the role of the turn before them, or "".
        """
        groups = [list(group) for _, group in groupby(turns, lambda turn: turn.role)]
        roles = [before, *(group[0].role for group in groups), ""]
        return [Stretch(group, roles[place], roles[place + 2]) for place, group in enumerate(groups)]

    def results(self, stretch: Stretch) -> list[Piece]:
        """Return neighbouring results.

        Raises:
            PromptError: the family writes results inside the assistant's turn, and there is no call.
        """
        form = self._results.form
        if form.in_turn and any(turn.call_id is None for turn in stretch.turns):
            raise PromptError(
                f"the dialect {self._dialect.name!r} writes results inside the assistant's turn; "
                "declare the `calls` of the turn before them"
            )
        pieces = self._results.of_turns(stretch.turns)
        # Otherwise a user speaks before the assistant does: the turn that holds the results ends here.
        goes_on = stretch.after in ("assistant", "")
        return pieces if goes_on or not form.in_turn else [*pieces, *self._encoder.parse(self._tail)]

    def assistant(
        self,
        stretch: Stretch,
        number: int,
        *,
        keeps_reasoning: bool,
        mode: ThinkingMode | None,
        opens: bool,
    ) -> list[Piece]:
        """Return one of the assistant's turns.

        Args:
            stretch: the turns around it.
            number: which of them it is.
            keeps_reasoning: whether the prompt holds its reasoning.
            mode: the thinking mode of the prompt.
            opens: whether the prompt ends with the opening of a turn; otherwise results may be added to it.

        Raises:
            PromptError: the family has no form for what is declared.
        """
        turn = stretch.turns[number]
        followed = ("tool",) if opens else ("tool", "")
        calls, text = turn.calls, turn.content
        reasoning = turn.reasoning if keeps_reasoning else None
        goes_on = number == 0 and stretch.before == "tool" and self._results.form.then != "opening"
        head = self._plain_head(mode) if keeps_reasoning else self._head
        pieces = self._opened(reasoning, head, goes_on=goes_on)
        if calls:
            pieces += [*self.calls.text(text), *self.calls.calls(calls)]
        else:
            pieces += self._filled(self._dialect.answer, content=text)
        # The results follow inside the turn, and then its end.
        stays_open = calls and stretch.after in followed and self._results.form.in_turn
        return pieces if stays_open else [*pieces, *self._encoder.parse(self._tail)]

    def _plain_head(self, mode: ThinkingMode | None) -> str:
        """Return how a turn opens that did not reason, where reasoning stays."""
        form = self._dialect.thinking
        if form is None or not self._knows_reasoning:
            return self._head
        return form.absent.get(mode or "default", form.absent.get("any", self._head))

    def _opened(self, reasoning: Sequence[Piece] | None, head: str, *, goes_on: bool) -> list[Piece]:
        """Return how a turn begins: opened again or not behind results, and with its reasoning or without."""
        if reasoning is None:
            again = self._dialect.reopening.default if self._dialect.reopening is not None else ""
            return self._encoder.parse(again if goes_on else head)
        form = self._told()
        if goes_on:  # the head is before the results already
            assert self._dialect.thinking is not None
            form = form[form.index(self._dialect.thinking.open) :]
        return self._filled(form, reasoning=reasoning)

    def _told(self) -> str:
        form = self._dialect.told_reasoning()
        if form is None or not self._knows_reasoning:
            raise PromptError(
                f"the dialect {self._dialect.name!r} tells no reasoning apart in this map; leave `reasoning` "
                "out, or declare it as text"
            )
        return form

    def _filled(self, form: str, **fillings: Sequence[Piece]) -> list[Piece]:
        return fill(self._encoder.parse(form, tuple(fillings)), fillings)
