"""Turns as the writer takes them: texts as pieces, calls with their ids, results with the calls they answer.

A declared chat (`Chat`) and a list of messages (`Message`) both become these turns. In the former strings are
templates with slots; in the latter every character is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codec_agents.dialects.forms import DialectForms, KeptReasoning
from codec_agents.dialects.messages import Message, MessageCall
from codec_agents.dialects.open_calls import OpenCalls
from codec_agents.dialects.pieces import Literal, Piece, template_pieces
from codec_agents.dialects.values import ThinkingMode
from codec_agents.dialects.writing.literals import plain_string
from codec_agents.exceptions import PromptError
from codec_agents.graph.chat import Chat
from codec_agents.graph.turns import ChatTurn

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class KnownCall:
    """A call that is written, and the id that its result names.

    Fields:
        name: the tool.
        arguments: those that are written.
        id: as declared, or as the family counts.
        pieces: the pieces of a string in the arguments: a template's, or plain text.
    """

    name: str
    arguments: Mapping[str, Any]
    id: str
    pieces: Callable[[str], Sequence[Piece]] = template_pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenTurn:
    """One turn; a result has the name and the id of the call that it answers, where that is known."""

    role: str
    content: Sequence[Piece] = ()
    reasoning: Sequence[Piece] | None = None
    calls: Sequence[KnownCall] = ()
    name: str = ""
    call_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenChat:
    """A whole chat.

    Fields:
        system: the system text; None for the family's own.
        turns: the turns behind it.
        thinking: the thinking mode; None for the mode that the dialect was bound with.
        keep_reasoning: whether earlier reasoning stays; None for what the family does.
        opens: whether the prompt ends with the opening of the assistant's turn.
    """

    system: Sequence[Piece] | None
    turns: Sequence[WrittenTurn]
    thinking: ThinkingMode | None = None
    keep_reasoning: KeptReasoning = None
    opens: bool = True


def turns_of_chat(chat: Chat, dialect: DialectForms) -> WrittenChat:
    """Return a declared chat; its last user turn is the last of the turns."""
    turns = [*chat.turns, *(() if chat.user is None else (ChatTurn(role="user", content=chat.user),))]
    system = None if chat.system is None else template_pieces(chat.system)
    written = list(_declared(turns, dialect))
    return WrittenChat(
        system=system, turns=written, thinking=chat.thinking, keep_reasoning=chat.keep_reasoning
    )


def _declared(turns: Iterable[ChatTurn], dialect: DialectForms) -> Iterator[WrittenTurn]:
    counter = CallIds(dialect)
    open_calls: list[KnownCall] = []
    for turn in turns:
        if turn.role == "tool":
            known = open_calls.pop(0) if open_calls else None  # in order: a declared result names no call
            name = known.name if known else turn.name or ""
            call_id = known.id if known else None
            yield WrittenTurn(role="tool", content=template_pieces(turn.content), name=name, call_id=call_id)
            continue
        ids = counter.take([(call.name, call.id) for call in turn.calls])
        open_calls = [
            KnownCall(call.name, _written(call.arguments, dialect), call_id)
            for call, call_id in zip(turn.calls, ids, strict=True)
        ]
        yield WrittenTurn(
            role=turn.role,
            content=template_pieces(turn.content),
            reasoning=template_pieces(turn.reasoning) if turn.reasoning else None,
            calls=tuple(open_calls),
        )


def _written(arguments: Mapping[str, Any], dialect: DialectForms) -> Mapping[str, Any]:
    """Return the arguments that a call is written with."""
    form = dialect.calls.written if dialect.calls is not None else None
    return arguments if form is None or form.writes_null else _without_null(arguments)


def _without_null(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_null(entry) for key, entry in value.items() if entry is not None}
    # In a list the entries behind it would move up.
    return [_without_null(entry) for entry in value] if isinstance(value, list | tuple) else value


class CallIds:
    """Gives ids to the calls of one conversation, in order."""

    def __init__(self, dialect: DialectForms, used: int = 0) -> None:
        """Begin behind `used` calls of the conversation."""
        form = dialect.results
        self._form = form.id_form if form is not None else "{index}"
        self._pattern = form.id_pattern if form is not None else None
        self._used = used

    def take(self, calls: Sequence[tuple[str, str | None]]) -> list[str]:
        """Return the ids of a turn's calls, given their names and their own ids: those, or the family's."""
        ids = [
            given or self._form.format(index=self._used + number, name=name)
            for number, (name, given) in enumerate(calls)
        ]
        self._used += len(calls)
        return ids

    def fits(self, call: MessageCall) -> bool:
        """Return whether the family can write the id of a call."""
        if call.id is None or self._pattern is None:
            return True
        return re.fullmatch(self._pattern.replace("{name}", re.escape(call.name)), call.id) is not None


class MessageTurns:
    """Makes turns of messages.

    Ids that the family cannot write (`ResultForm.id_pattern`) are replaced by its own, in the call and in its
    result. Results are put in the order of their calls. Errors number the messages of the whole chat from 1,
    behind the system text.
    """

    def __init__(self, dialect: DialectForms, before: Sequence[Message] = ()) -> None:
        """Begin behind the messages `before`, which are written already."""
        self._dialect = dialect
        told = before[1:] if before and before[0].role == "system" else before
        self._first = len(told) + 1
        """The number of the first message."""
        self._ids = CallIds(dialect, sum(len(message.calls) for message in before))
        self._open: list[tuple[str | None, KnownCall]] = []
        """The calls that have no result yet, each with its id as the message gives it."""
        answered = 0
        for message in reversed(before):
            if message.role == "tool":
                answered += 1
                continue
            self._note_calls(message, replaced=False)  # their ids are in the prompt as they are
            del self._open[:answered]  # results are in the order of their calls
            break

    def turns(self, messages: Sequence[Message]) -> list[WrittenTurn]:
        """Return the turns of messages.

        Raises:
            PromptError: an unknown role, a result of none of the calls before it, or a call without a result
                before the next message.
        """
        turns: list[WrittenTurn] = []
        for number, message in enumerate(messages):
            if message.role not in ROLES:
                raise PromptError(
                    f"message {self._first + number} has the role {message.role!r}; a role is one of "
                    f"{', '.join(ROLES)}"
                )
            if message.role == "tool":  # taken with the others before the next message, to be put in order
                continue
            turns += self._results(messages, number)
            turns.append(self._turn(message, self._first + number))
        return [*turns, *self._results(messages, len(messages))]

    def _results(self, messages: Sequence[Message], stop: int) -> list[WrittenTurn]:
        """Return the results before a message, in the order of their calls."""
        start = stop
        while start and messages[start - 1].role == "tool":
            start -= 1
        expected = self._open
        self._open = []
        places: dict[int, WrittenTurn] = {}
        # Clients name the id that they have: their own, or the family's that was written in place of it.
        calls = OpenCalls([(given, call.id) for given, call in expected])
        for number in range(start, stop):
            # A prompt that was read may hold results whose calls it only spells: they stay in their order.
            place = _taken(calls, messages[number], self._first + number) if expected else len(places)
            known = expected[place][1] if expected else None
            places[place] = _result(messages[number], known)
        # The last message may end with calls: their results are then still to come.
        if len(places) < len(expected) and (start < stop or stop < len(messages)):
            missing = [call.name for place, (_, call) in enumerate(expected) if place not in places]
            raise PromptError(
                f"before message {self._first + stop} there is no result for the calls of {missing}; give a "
                "`tool` message for each call"
            )
        return [places[place] for place in sorted(places)]

    def _turn(self, message: Message, number: int) -> WrittenTurn:
        if (message.calls or message.reasoning) and message.role != "assistant":
            raise PromptError(
                f"message {number} has the role {message.role!r}; only `assistant` has calls and reasoning"
            )
        for call in message.calls:
            if call.arguments is None:
                raise PromptError(f"message {number}: the call of {call.name!r} has no readable arguments")
        self._note_calls(message, replaced=True)
        return WrittenTurn(
            role=message.role,
            content=plain_string(message.content) if message.content else (),
            reasoning=plain_string(message.reasoning) if message.reasoning else None,
            calls=tuple(call for _, call in self._open),
        )

    def _note_calls(self, message: Message, *, replaced: bool) -> None:
        given = [
            (call.name, call.id if self._ids.fits(call) or not replaced else None) for call in message.calls
        ]
        self._open = [
            (
                call.id,
                KnownCall(call.name, _written(call.arguments or {}, self._dialect), call_id, plain_string),
            )
            for call, call_id in zip(message.calls, self._ids.take(given), strict=True)
        ]


def _taken(calls: OpenCalls, message: Message, number: int) -> int:
    """Return which of the calls a result answers: the one of its id, or the first without a result."""
    place = calls.take(message.call_id)
    if place is None:
        raise PromptError(
            f"message {number} is the result of {message.call_id or 'a call'!r}, which no call before it has "
            "as its id, or which has its result"
        )
    return place


def _result(message: Message, known: KnownCall | None) -> WrittenTurn:
    content: Sequence[Piece] = [Literal(message.content)]
    if known is None:
        return WrittenTurn(role="tool", content=content, name=message.name or "", call_id=message.call_id)
    return WrittenTurn(role="tool", content=content, name=known.name, call_id=known.id)
