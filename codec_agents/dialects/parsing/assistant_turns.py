"""Read the assistant's turns of a prompt: the reader of generated turns cuts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from codec_agents.dialects.encoding import PieceEncoder
from codec_agents.dialects.forms import DialectForms
from codec_agents.dialects.grammars.marked import recipient_of
from codec_agents.dialects.messages import Message, MessageCall
from codec_agents.dialects.parsing.prompt_forms import PromptForms
from codec_agents.dialects.parsing.prompt_text import PromptText
from codec_agents.dialects.parsing.turn_parser import TurnParser
from codec_agents.dialects.values import PortIds, TurnReader


@dataclass(frozen=True, slots=True)
class ReadAssistant:
    """An assistant's turn.

    Fields:
        message: the message; None where only the end of a turn that results have interrupted was left.
        begin: the place of its text, behind the head.
        end: the place where its text ends.
        stop: the place behind the turn's end.
        finished: whether the turn is ended.
    """

    message: Message | None
    begin: int
    end: int
    stop: int
    finished: bool


class AssistantTurns(Protocol):
    """Reads the assistant's turns of one dialect."""

    def read(
        self, prompt: PromptText, place: int, *, goes_on: bool, told_tools: bool
    ) -> ReadAssistant | None:
        """Return the turn that begins at a place; None where none does.

        Args:
            prompt: the prompt.
            place: the place.
            goes_on: whether the turn goes on behind results that the family writes inside it.
            told_tools: whether the prompt tells tools: without them, no text is a call.
        """


@dataclass(frozen=True, slots=True)
class _Head:
    """The opening of a turn: where its body begins, the reasoning before that, and whether it is open."""

    stop: int
    reasoning: str | None = None
    thinking: bool = False


class RegionTurns:
    """Reads turns whose regions are marked by single control ids."""

    def __init__(
        self, dialect: DialectForms, encoder: PieceEncoder, forms: PromptForms, turns: TurnParser
    ) -> None:
        self._forms = forms
        self._turns = turns
        self._messages = MessageMaker(
            encoder,
            turns,
            before_calls=_before_calls(dialect, forms),
            answer=_around(dialect.answer, dialect, forms),
            before_call=_around(_text_of_calls(dialect), dialect, forms),
        )
        thinking = dialect.thinking
        self._open, self._close = (
            (forms.characters([thinking.open]), forms.characters([thinking.close])) if thinking else ("", "")
        )
        self._ends_itself = dialect.turn_end is None  # the next turn's start ends it, or the prompt does

    def read(
        self, prompt: PromptText, place: int, *, goes_on: bool, told_tools: bool
    ) -> ReadAssistant | None:
        """Return the turn that begins at a place; None where none does."""
        head = self._head(prompt.text, place, goes_on=goes_on)
        if head is None:
            return None
        end = self._forms.next_boundary(prompt.text, head.stop)
        stop = self._forms.after_end(prompt.text, end)
        if end == place:
            # With no head and no text: results inside the turn were read before, and its end is left.
            return ReadAssistant(None, place, end, stop, finished=True) if stop > place else None
        ids = prompt.ids_between(head.stop, end)
        reader = self._turns.new_reader(thinking=head.thinking, text_calls="known" if told_tools else "none")
        # Behind a head that ends with text, the first text is no beginning, and has no space of one.
        in_run = head.stop > place and not prompt.is_control(head.stop - 1)
        message = self._messages.message(reader, ids, in_run=in_run, reasoning=head.reasoning)
        finished = end < len(prompt.text) or self._ends_itself
        return ReadAssistant(message, head.stop, end, stop, finished)

    def _head(self, text: str, place: int, *, goes_on: bool) -> _Head | None:
        forms = self._forms
        for told in (forms.told, forms.told_again if goes_on else None):
            if told is not None and (found := told.match(text, place)):
                return _Head(found.end(), found["reasoning"])
        for head in (*forms.heads, *(forms.again if goes_on else ())):
            if text.startswith(head, place):
                return _Head(place + len(head), thinking=self._leaves_open(head))
        return None

    def _leaves_open(self, head: str) -> bool:
        return bool(self._open) and head.rfind(self._open) > head.rfind(self._close)


class ChannelTurns:
    """Reads turns whose parts are channels or blocks; a turn has one end, and nothing else ends it."""

    def __init__(
        self, dialect: DialectForms, encoder: PieceEncoder, forms: PromptForms, turns: TurnParser
    ) -> None:
        self._forms = forms
        self._turns = turns
        self._messages = MessageMaker(encoder, turns)
        self._head = forms.text(dialect.assistant.partition(dialect.answer)[0])
        self._tail = forms.text(dialect.assistant.partition(dialect.answer)[2])

    def read(
        self,
        prompt: PromptText,
        place: int,
        *,
        goes_on: bool,  # noqa: ARG002 - results are turns of their own here
        told_tools: bool,  # noqa: ARG002 - control ids mark the calls
    ) -> ReadAssistant | None:
        """Return the turn that begins at a place; None where none does."""
        text = prompt.text
        if not text.startswith(self._head, place):
            return None
        begin = place + len(self._head)
        end = self._forms.next_boundary(text, begin)
        stop = self._forms.after_end(text, end)
        # The tags that close the turn are no channel's: left in, what is between them would be answer.
        close = self._tail.rstrip(self._forms.ends)
        inside = end - len(close) if text.endswith(close, begin, end) else end
        ids = prompt.ids_between(begin, inside)
        message = self._messages.message(self._turns.new_reader(), ids)
        return ReadAssistant(message, begin, end, stop, finished=end < len(text))


class HeadedTurns:
    """Reads turns that are a sequence of messages with headers."""

    def __init__(
        self, dialect: DialectForms, encoder: PieceEncoder, forms: PromptForms, turns: TurnParser
    ) -> None:
        self._forms = forms
        self._turns = turns
        self._messages = MessageMaker(encoder, turns)
        self._head = forms.text(dialect.opening.default)
        self._start, self._channel, self._body = (
            forms.characters([name]) for name in ("<|start|>", "<|channel|>", "<|message|>")
        )

    def read(
        self,
        prompt: PromptText,
        place: int,
        *,
        goes_on: bool,  # noqa: ARG002 - results are messages of their own here
        told_tools: bool,  # noqa: ARG002 - control ids mark the calls
    ) -> ReadAssistant | None:
        """Return the turn that begins at a place; None where none does."""
        text = prompt.text
        stop, last = place, False
        # A head alone at the end is the opening of the next turn.
        while not last and text.startswith(self._head, stop) and len(text) > stop + len(self._head):
            begin, stop = stop, text.find(self._start, stop + 1)
            stop = len(text) if stop < 0 else stop
            last = self._ends_turn(text[begin:stop])
        if stop == place:
            return None
        ids = prompt.ids_between(place, stop)
        message = self._messages.message(self._turns.new_reader(), ids)
        # The end of any other message is not the turn's.
        finished = last and text[stop - 1] in self._forms.ends
        return ReadAssistant(message, place + len(self._head), stop, stop, finished)

    def _ends_turn(self, message: str) -> bool:
        """Return whether a message is the last of its turn: a call, or the final answer."""
        header, _, _ = message.partition(self._body)
        channel = header.partition(self._channel)[2]
        return recipient_of(header) is not None or channel.split()[:1] == ["final"]


class MessageMaker:
    """Makes a message of what a turn is cut into."""

    def __init__(
        self,
        encoder: PieceEncoder,
        turns: TurnParser,
        before_calls: str = "",
        answer: tuple[str, str] = ("", ""),
        before_call: tuple[str, str] = ("", ""),
    ) -> None:
        """Keep the dialect's parts.

        Args:
            encoder: spells ids.
            turns: reads calls.
            before_calls: what the family writes between a text and the calls behind it.
            answer: what the family writes before and behind a text without calls.
            before_call: the same of a text with calls behind it.
        """
        self._answer = answer
        self._before_call = before_call
        self._encoder = encoder
        self._turns = turns
        self._before_calls = before_calls

    def message(
        self, reader: TurnReader, ids: Sequence[int], *, in_run: bool = False, reasoning: str | None = None
    ) -> Message:
        """Return the message.

        Args:
            reader: cuts the turn, of which it has read nothing yet.
            ids: the turn.
            in_run: whether the first of them goes on with text before it.
            reasoning: reasoning that was read already.
        """
        spelled: dict[str, bytes] = {"reasoning": b"", "answer": b"", "behind": b""}
        calls: list[MessageCall] = []
        # As bytes: the ids of one character may be in two events.
        for event in [*reader.feed(ids), *reader.flush("stop")]:
            if isinstance(event, PortIds):
                # Between and behind calls, families write white space that is not the answer's.
                port = "behind" if calls and event.port == "answer" else event.port
                begins = not in_run if event.start == 0 else self._encoder.is_control(ids[event.start - 1])
                spelled[port] += self._encoder.spelled_run(event.ids, begins=begins)
                continue
            found = self._turns.calls(event)
            calls += [MessageCall(call.name, call.arguments, call.call_id) for call in found]
        texts = {port: part.decode("utf-8", "replace") for port, part in spelled.items()}
        content = texts["answer"].removesuffix(self._before_calls if calls else "")
        before, behind = self._before_call if calls else self._answer
        content = content.removeprefix(before).removesuffix(behind)
        if texts["behind"].strip():
            content += texts["behind"]
        return Message(
            role="assistant",
            content=content,
            reasoning=(reasoning or "") + texts["reasoning"] or None,
            calls=tuple(calls),
        )


def _around(form: str, dialect: DialectForms, forms: PromptForms) -> tuple[str, str]:
    """Return the text around the content of a form, without control tokens that readers pass over."""
    passed = forms.characters(dialect.wrappers)
    before, _, behind = (
        "".join(each for each in part if each not in passed)
        for part in forms.text(form).partition("{content}")
    )
    return before, behind


def _text_of_calls(dialect: DialectForms) -> str:
    """Return the form of a text with calls behind it."""
    form = dialect.calls.written if dialect.calls is not None else None
    return (form.text if form is not None else None) or "{content}"


def _before_calls(dialect: DialectForms, forms: PromptForms) -> str:
    """Return the text that the family writes between an assistant's text and the first mark of a call."""
    calls = dialect.calls
    if calls is None or calls.written is None:
        return ""
    written = calls.written
    head = forms.text(written.open + written.each.partition("{")[0])
    starts = [*forms.characters(calls.starts), *map(forms.text, calls.text_starts)]
    places = [place for start in starts if (place := head.find(start)) >= 0]
    return forms.text(written.behind_text) + (head[: min(places)] if places else "")
