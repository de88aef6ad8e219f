"""The prompt that a scripted model answers: its turns as text, and its place in the conversation.

The script plays the model, which is outside the pipeline. Therefore token ids become text here, to be
understood, and nowhere between nodes. The reader of prompts separates the turns by control ids, so content
that spells a marker opens none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from codec_core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from codec_agents.dialects import BoundDialect, ReadPrompt, ReadTurn, ReasoningState


@dataclass(frozen=True, slots=True)
class Message:
    """One finished turn of the prompt.

    Fields:
        role: `system`, `user`, `assistant` or `tool`, or another role as the prompt spells it.
        text: the text of the turn, in which control tokens have their names.
    """

    role: str
    text: str


class PromptView:
    """The prompt of one request.

    The family is that of the vocabulary (`family_dialect`).

    Attributes:
        ids: the ids of the prompt.
        vocabulary: the vocabulary of the ids.
        model: the name of the requested model.
    """

    def __init__(self, ids: Sequence[int], vocabulary: Vocabulary, model: str | None = None) -> None:
        self.ids = ids
        self.vocabulary = vocabulary
        self.model = model

    @cached_property
    def text(self) -> str:
        """The whole prompt, in which control tokens have their names."""
        return self._dialect.spelled(self.ids)

    @cached_property
    def messages(self) -> tuple[Message, ...]:
        """The finished turns; the whole prompt as one user turn where no turn is marked."""
        if not self._is_chat:
            return (Message("user", self.text),)
        return tuple(Message(turn.message.role, turn.text) for turn in self._read.turns)

    @property
    def system(self) -> str:
        """The system turn, with the declarations of tools in it; empty if there is none."""
        return next((message.text for message in self.messages if message.role == "system"), "")

    @cached_property
    def user(self) -> str:
        """The last text of the user, or of the node before."""
        if not self._is_chat:
            return self.text
        said = (turn.message.content for turn in reversed(self._turns) if turn.message.role == "user")
        return next(said, "")

    @cached_property
    def turn(self) -> int:
        """The number of the turn since the user's last: 1 at first, 2 after the first tool results."""
        return 1 + sum(turn.message.role == "assistant" for turn in self._recent)

    @cached_property
    def results(self) -> tuple[str, ...]:
        """The tool results after the assistant's last turn."""
        places = [place for place, turn in enumerate(self._recent) if turn.message.role == "assistant"]
        return _results_in(self._recent[places[-1] + 1 if places else 0 :])

    @cached_property
    def all_results(self) -> tuple[str, ...]:
        """The tool results since the user's last turn."""
        return _results_in(self._recent)

    @property
    def unfinished(self) -> bool:
        """True if the prompt holds the beginning of the requested answer."""
        return self._read.unfinished is not None

    @cached_property
    def thinking(self) -> ReasoningState | None:
        """The reasoning of the requested turn: opened or closed by the prompt; None without."""
        return self._dialect.reasoning_in(self.ids)

    @cached_property
    def _dialect(self) -> BoundDialect:
        # Dialects are imported with the first prompt: importing this module would take twice as long.
        from codec_agents.dialects.derive import family_dialect

        return family_dialect(self.vocabulary) or _plain(self.vocabulary)

    @cached_property
    def _read(self) -> ReadPrompt:
        return self._dialect.read(self.ids)

    @property
    def _is_chat(self) -> bool:
        return any(turn.message.role for turn in self._turns)

    @property
    def _turns(self) -> tuple[ReadTurn, ...]:
        return self._read.turns

    @cached_property
    def _recent(self) -> tuple[ReadTurn, ...]:
        """The turns after the user's last one."""
        for place in range(len(self._turns) - 1, -1, -1):
            if self._turns[place].message.role == "user":
                return self._turns[place + 1 :]
        return self._turns


def _plain(vocabulary: Vocabulary) -> BoundDialect:
    from codec_agents.dialects import BoundDialect, get_dialect

    return BoundDialect(get_dialect("plain"), vocabulary)


def _results_in(turns: Sequence[ReadTurn]) -> tuple[str, ...]:
    return tuple(turn.message.content for turn in turns if turn.message.role == "tool")
