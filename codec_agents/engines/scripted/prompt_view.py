"""How a scripted model sees its prompt: as text, with the turns told apart.

The script plays the model, which stands outside the pipeline: here, and nowhere between nodes, ids become
text in order to be understood. Turns are found by their control ids, so content that spells a marker opens
none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from codec_core.detokenizer import Detokenizer
from codec_core.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Message:
    """One finished turn of the prompt."""

    role: str
    text: str
    """Markers inside the turn are rendered."""


TURN_STARTS = {"<|im_start|>", "<|start_header_id|>"}
TURN_STOPS = {"<|im_end|>", "<|eot_id|>", "<|eom_id|>"}
HEADER_STOP = "<|end_header_id|>"
TOOL_ROLES = {"tool", "ipython"}
_RESPONSE = re.compile(r"<tool_response>\s*(.*?)\s*</tool_response>", re.DOTALL)


class PromptView:
    """The prompt of one request, and what a script wants to know about it."""

    def __init__(self, ids: Sequence[int], vocabulary: Vocabulary, model: str | None = None) -> None:
        self.ids = ids
        self.vocabulary = vocabulary
        self.model = model

    @cached_property
    def text(self) -> str:
        """The whole prompt, markers rendered."""
        return self._render(self.ids)

    @cached_property
    def messages(self) -> tuple[Message, ...]:
        """The finished turns; the whole prompt as one user turn where no turn markers are known."""
        found = tuple(self._find_messages())
        return found or (Message("user", self.text),)

    @property
    def system(self) -> str:
        """The system text, empty if there is none."""
        return next((message.text for message in self.messages if message.role == "system"), "")

    @cached_property
    def user(self) -> str:
        """What the person, or the node before, said last; tool results do not count."""
        said = (m.text for m in reversed(self.messages) if m.role == "user" and not _is_result(m))
        return next(said, "")

    @cached_property
    def turn(self) -> int:
        """Which turn is asked for since the user last spoke: 1 at first, 2 after the first tool results."""
        return 1 + sum(message.role == "assistant" for message in self._recent)

    @cached_property
    def results(self) -> tuple[str, ...]:
        """The tool results since the model last spoke."""
        return tuple(_results_in(self._recent[self._last_answer :]))

    @cached_property
    def all_results(self) -> tuple[str, ...]:
        """The tool results since the user last spoke."""
        return tuple(_results_in(self._recent))

    @cached_property
    def thinking(self) -> Literal["open", "closed"] | None:
        """Whether the unfinished turn at the prompt's end has opened, or closed, its reasoning."""
        specials = self.vocabulary.special_tokens
        start, stop = specials.get("<think>"), specials.get("</think>")
        begins = {specials[name] for name in TURN_STARTS if name in specials}
        for token in reversed(self.ids):
            if token in begins or start is None:
                return None
            if token == start:
                return "open"
            if token == stop:
                return "closed"
        return None

    @cached_property
    def _recent(self) -> tuple[Message, ...]:
        """The messages after the last one that a user wrote."""
        for position in range(len(self.messages) - 1, -1, -1):
            message = self.messages[position]
            if message.role == "user" and not _is_result(message):
                return self.messages[position + 1 :]
        return self.messages

    @property
    def _last_answer(self) -> int:
        positions = [i for i, message in enumerate(self._recent) if message.role == "assistant"]
        return positions[-1] + 1 if positions else 0

    def _find_messages(self) -> Iterator[Message]:
        role: str | None = None
        begun: int | None = None
        for position, token in enumerate(self.ids):
            name = self._names.get(token)
            if name in TURN_STARTS:
                role, begun = None, position + 1
            elif name == HEADER_STOP and begun is not None:
                role, begun = self._render(self.ids[begun:position]), position + 1
            elif name in TURN_STOPS and begun is not None:
                yield self._message(role, self._render(self.ids[begun:position]))
                begun = None

    def _message(self, role: str | None, text: str) -> Message:
        """ChatML writes the role into the turn's first line, Llama 3 between markers of its own."""
        if role is None:
            role, _, text = text.partition("\n")
        else:
            text = text.removeprefix("\n\n")
        return Message(role.strip(), text)

    def _render(self, ids: Sequence[int]) -> str:
        """Decode what stands between control ids piece by piece: each piece was encoded by itself."""
        detokenizer = Detokenizer(self.vocabulary)
        parts: list[str] = []
        begun = 0
        for position, token in enumerate(ids):
            if token in self._names:
                parts += (detokenizer.render(ids[begun:position]), self._names[token])
                begun = position + 1
        return "".join(parts) + detokenizer.render(ids[begun:])

    @cached_property
    def _names(self) -> dict[int, str]:
        return {token: name for name, token in self.vocabulary.special_tokens.items()}


def _is_result(message: Message) -> bool:
    return message.text.lstrip().startswith("<tool_response>")


def _results_in(messages: Sequence[Message]) -> Iterator[str]:
    for message in messages:
        if _is_result(message):
            yield from _RESPONSE.findall(message.text)
        elif message.role in TOOL_ROLES:
            yield message.text
