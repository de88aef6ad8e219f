"""Read prompts: token ids to messages, with reasoning, calls and results, for every family.

The rules of this file:

1. Control ids decide. Content that spells a marker is content, in every family.
2. Where text alone marks results or calls, the conversation decides: results are read only behind calls, and
   calls of an assistant only where the prompt tells tools.
3. Every id of a prompt is in exactly one turn, or in the prompt's beginning, in what tells the tools, or in
   the opening of the next turn. A turn that fits no form is a message of the role that it spells.
4. The text of a message is exactly what its ids spell, without the line breaks that the family's form adds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from codec_agents.dialects.encoding import PieceEncoder
from codec_agents.dialects.forms import DialectForms
from codec_agents.dialects.messages import Message, MessageCall, ReadPrompt, ReadTurn
from codec_agents.dialects.parsing.assistant_turns import (
    AssistantTurns,
    ChannelTurns,
    HeadedTurns,
    RegionTurns,
)
from codec_agents.dialects.parsing.prompt_forms import PromptForms, usual_role
from codec_agents.dialects.parsing.prompt_text import PromptAlphabet, PromptText
from codec_agents.dialects.parsing.result_forms import ReadResult, ResultForms
from codec_agents.dialects.parsing.told_tools import ToldTools
from codec_agents.dialects.parsing.turn_parser import TurnParser
from codec_core.vocabulary import Vocabulary


@dataclass(slots=True)
class _Reading:
    """The reading of one prompt: where it is, and what was found before.

    Fields:
        prompt: the prompt.
        place: the place in its text.
        turns: the turns so far.
        tools: the text that tells the tools.
        calls: the calls of the last turn that have no result yet.
        behind: the role of the turn before.
        unfinished: the turn that the prompt does not end.
    """

    prompt: PromptText
    place: int = 0
    turns: list[ReadTurn] = field(default_factory=list)
    tools: str | None = None
    calls: list[MessageCall] = field(default_factory=list)
    behind: str = ""
    unfinished: Message | None = None

    @property
    def text(self) -> str:
        return self.prompt.text

    @property
    def begun(self) -> bool:
        """True if a turn of the chat is before the place."""
        return any(not turn.implied for turn in self.turns)

    @property
    def spoken(self) -> bool:
        """True if a turn other than a system turn is before the place."""
        return any(turn.message.role != "system" for turn in self.turns)

    def is_last(self, text: str) -> bool:
        """Return whether the prompt ends with a text that begins at the place."""
        return len(text) == len(self.text) - self.place and self.begins(text)

    def begins(self, text: str) -> bool:
        """Return whether a text begins at the place."""
        return self.text.startswith(text, self.place)

    def add(self, message: Message, text: str, stop: int, *, implied: bool = False) -> None:
        """Note a turn from the place to another, and go on there."""
        start, self.place = self.place, stop
        name = self.prompt.named
        message = replace(
            message, content=name(message.content), reasoning=message.reasoning and name(message.reasoning)
        )
        places = self.prompt.position(start), self.prompt.position(stop)
        self.turns.append(ReadTurn(message, name(text), *places, implied))
        self.behind = message.role
        if message.role != "tool":
            self.calls = list(message.calls)


class PromptReader:
    """Reads the prompts of one dialect in one vocabulary."""

    def __init__(
        self, dialect: DialectForms, vocabulary: Vocabulary, encoder: PieceEncoder, turns: TurnParser
    ) -> None:
        self._dialect = dialect
        self._turns = turns
        alphabet = PromptAlphabet(vocabulary, encoder)
        self._alphabet = alphabet
        self._forms = forms = PromptForms(dialect, encoder, alphabet)
        self._results = ResultForms(dialect.results, forms) if dialect.results is not None else None
        self._tools = ToldTools(dialect.tools, forms) if dialect.tools is not None else None
        kinds: dict[str, Callable[..., AssistantTurns]] = {
            "messages": HeadedTurns,
            "channels": ChannelTurns,
            "blocks": ChannelTurns,
            "regions": RegionTurns,
        }
        self._assistants: AssistantTurns = kinds[dialect.reader](dialect, encoder, forms, turns)

    def read(self, ids: Sequence[int]) -> ReadPrompt:
        """Return a prompt as messages. A prompt in which no turn is marked is one message of the user."""
        reading = _Reading(self._alphabet.prompt(ids))
        for begin in self._forms.begins:
            if reading.begins(begin):
                reading.place = len(begin)
                break
        if not self._forms.boundaries:
            reading.add(Message(role="user", content=reading.text), reading.text, len(reading.text))
        # The order decides where a text fits two forms. An opening may also be the head of an answer; results
        # and tools have the form of a user's turn or of a system turn in some families. What has no form of
        # its own comes last.
        steps = (
            self._opening,
            self._result_turns,
            self._stop,
            self._tool_turn,
            self._system,
            self._user,
            self._assistant,
        )
        while reading.place < len(reading.text):
            if not any(step(reading) for step in steps):
                self._other(reading)
        # A channel's marker opens the answer as well as the reasoning there.
        headed = self._dialect.reader == "messages"
        reasoning = None if headed else self._turns.reasoning_in(ids)
        return ReadPrompt(tuple(reading.turns), reading.tools, reading.unfinished, reasoning)

    def spelled(self, ids: Sequence[int]) -> str:
        """Return a prompt as text, in which control tokens have their names."""
        prompt = self._alphabet.prompt(ids)
        return prompt.named(prompt.text)

    # Each step reads what is at the place of the reading and goes on behind it, or returns False.

    def _opening(self, reading: _Reading) -> bool:
        """Read the opening of the turn that is asked for, which ends the prompt."""
        forms = self._forms
        openings = [*forms.openings, *(forms.again if self._goes_on(reading) else ())]
        if not any(map(reading.is_last, openings)):
            return False
        reading.place = len(reading.text)
        return True

    def _goes_on(self, reading: _Reading) -> bool:
        return reading.behind == "tool" and self._forms.goes_on

    def _result_turns(self, reading: _Reading) -> bool:
        if self._results is None or not (self._results.marked or reading.calls):
            return False
        found = self._results.read(reading.text, reading.place, len(reading.calls))
        if found is None and self._results.marked:  # not as many as there were calls
            found = self._results.read(reading.text, reading.place, 0)
        if found is None:
            return False
        results, stop = found
        self._add_results(results, stop, reading)
        return True

    def _add_results(self, results: Sequence[ReadResult], stop: int, reading: _Reading) -> None:
        """Add the results of a block. `ReadResult.stop` is a place in the prompt's text here."""
        # A turn begins where the one before ends. So the block's head belongs to its first result, and what
        # joins two results to the second one; its end belongs to its last result.
        for number, result in enumerate(results, 1):
            end = stop if number == len(results) else result.stop
            reading.add(self._result(result, reading), result.text, end)

    def _result(self, result: ReadResult, reading: _Reading) -> Message:
        """Return a result, which has the name and the id of its call where its own form does not say them."""
        call = reading.calls.pop(0) if reading.calls else MessageCall("", None)
        return Message(
            role="tool",
            content=result.content,
            name=result.name or call.name or None,
            call_id=result.call_id or call.id,
        )

    def _stop(self, reading: _Reading) -> bool:
        """Pass over the end of an answer that stopped with the control token of a user's turn (GLM)."""
        if reading.behind != "assistant" or not self._forms.stops_before_results(reading.text, reading.place):
            return False
        reading.place += 1
        return True

    def _tool_turn(self, reading: _Reading) -> bool:
        tools = self._tools
        if tools is None or tools.place not in ("before_system", "after_system", "before_user"):
            return False
        found = tools.turn(reading.text, reading.place)
        if found is None or reading.tools is not None:
            return False
        reading.tools = reading.prompt.named(found.text)
        whole = reading.text[found.start : found.stop]
        reading.add(Message(role="system"), whole, found.stop, implied=True)
        return True

    def _system(self, reading: _Reading) -> bool:
        form = self._forms.system
        found = form.match(reading.text, reading.place) if form is not None else None
        if turn := self._implied_turn(reading, found.end() if found is not None else reading.place):
            reading.add(Message(role="system"), turn, reading.place + len(turn), implied=True)
            return True
        if found is None or not self._is_system(found, reading):
            return False
        content = found["content"]
        content = content.removeprefix(self._forms.thinking_mark(content))
        content = content.removesuffix(self._forms.thinking_end(content))
        if self._tools is not None and not reading.begun:
            tools = self._tools.in_system(content)
            if tools is not None:
                reading.tools = reading.prompt.named(tools.text)
                content = content[: tools.start] + content[tools.stop :]
        # With the form of the text or without it: the family writes its default without.
        is_default = content in self._forms.default_systems
        before, _, behind = self._dialect.system_text.partition("{content}")
        content = content.removeprefix(before).removesuffix(behind)
        is_default = is_default or not content or content in self._forms.default_systems
        implied = not reading.begun and is_default
        message = Message(role="system", content=content)
        reading.add(message, found["content"], found.end(), implied=implied)
        return True

    def _implied_turn(self, reading: _Reading, end: int) -> str:
        """Return the turn at the place that no message stands for; "" where there is none.

        Args:
            reading: the reading.
            end: where a turn of the system's form ends there; the place where there is none.
        """
        # Each is written once, before all turns but the system's: others of its words are of the chat. So is
        # a longer one that begins like it, where no token ends it.
        if reading.spoken:
            return ""
        written = {turn.text for turn in reading.turns if turn.implied}
        return next(
            (
                turn
                for turn in filter(reading.begins, self._forms.implied_turns)
                if reading.place + len(turn) >= end and reading.prompt.named(turn) not in written
            ),
            "",
        )

    def _is_system(self, found: re.Match[str], reading: _Reading) -> bool:
        """Return whether what a system turn's form fits is one.

        In families in which nothing marks the system text, it is what the prompt begins with.
        """
        # Where a form may match nothing, its match would be found at this place for ever.
        if found.end() == found.start():
            return False
        if self._forms.marks_system:
            return True
        return not reading.begun

    def _user(self, reading: _Reading) -> bool:
        found = self._forms.user.match(reading.text, reading.place)
        if found is None or found.end() == found.start():  # as in `_is_system`
            return False
        content = found["content"]
        # Only the first turn that has tools defines them: those that a later turn spells are its text.
        if self._tools is not None and reading.tools is None:
            tools = self._tools.in_user(content)
            if tools is not None:
                reading.tools = reading.prompt.named(tools.text)
                content = content[: tools.start] + content[tools.stop :]
        # The mode of a turn is not known, so each mode's is tried. A turn has one at most: additions hold
        # control tokens, which no content spells.
        for addition in self._forms.additions:
            content = content.removesuffix(addition)
        reading.add(Message(role="user", content=content), found["content"], found.end())
        return True

    def _assistant(self, reading: _Reading) -> bool:
        found = self._assistants.read(
            reading.prompt,
            reading.place,
            goes_on=self._goes_on(reading),
            told_tools=reading.tools is not None or self._turns.has_tools,
        )
        if found is None:
            return False
        if found.message is None:  # the end of a turn that was added already
            reading.place = found.stop
        elif found.finished:
            reading.add(found.message, reading.text[found.begin : found.end], found.stop)
        else:
            reading.unfinished, reading.place = found.message, found.stop
        return True

    def _other(self, reading: _Reading) -> None:
        """Read what fits no form of the family: a turn of another role, or ids up to the next turn."""
        forms, text = self._forms, reading.text
        found = forms.unknown.match(text, reading.place) if forms.unknown is not None else None
        if found is not None:
            self._other_role(found, reading)
            return
        if forms.stops_without_results(text, reading.place):
            reading.place += 1  # the end of the turn before, which was added already
            return
        stop = forms.after_end(text, reading.place)
        if stop > reading.place:
            reading.place = stop
            return
        stop = forms.next_boundary(text, reading.place + 1)  # at least one further: every round must go on
        rest = text[reading.place : stop]
        reading.add(Message(role="", content=rest), rest, forms.after_end(text, stop))  # it spells no role

    def _other_role(self, found: re.Match[str], reading: _Reading) -> None:
        role, content = usual_role(found["role"].strip()), found["content"]
        results = self._results.inside(content) if role == "tool" and self._results is not None else []
        if not results:
            reading.add(Message(role=role, content=content), content, found.end())
        base = found.start("content")
        placed = [replace(result, stop=base + result.stop) for result in results]
        self._add_results(placed, found.end(), reading)
