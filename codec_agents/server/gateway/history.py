"""A client's history as a chain of keys: one hash per message, equal where the rule says the same.

Rules that hold in this file:

- The first key stands for everything before the first message: tenant, model, map, dialect, template
  arguments, system text and tools. Another one of them is another conversation.
- What a client wrote counts exactly; what the model said counts as `equivalence` says. Reasoning is in no
  key: it may or may not be sent back, and is compared where a key is found.
- A result belongs to a call by the call's place in its turn, not by an id: clients rename ids.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from codec_agents.dialects.bound import BoundDialect
from codec_agents.dialects.messages import Message, ToolSpec
from codec_agents.dialects.open_calls import OpenCalls
from codec_agents.dialects.values import ThinkingMode
from codec_agents.exceptions import PromptError
from codec_agents.server.gateway.equivalence import joined, model_turn_form

KEY_BYTES: Final = 32
"""Of a key: no client can find two histories of one key."""

NOWHERE: Final = -1
"""The place of the key before the first message."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for the next turn of a conversation, whichever API it came by.

    Fields:
        tenant: the client whose conversations it may continue; a digest, never the key itself.
        model: the model's name.
        messages: the history, a system text first.
        tools: the tools that are told to the model.
        thinking: the thinking mode; None for the dialect's.
        hints: ids of calls, items, answers and signatures in the request. They choose among equal turns.
    """

    tenant: bytes
    model: str
    messages: Sequence[Message]
    tools: Sequence[ToolSpec] = ()
    thinking: ThinkingMode | None = None
    hints: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class History:
    """The messages of a request without the system text in front, results in the order of their calls.

    Fields:
        system: the system text; None without one.
        messages: the messages behind it.
        keys: the key after each message, and behind them, so at `NOWHERE`, the one before the first.
        numbers: the number of each message in the client's own order, from 1, as errors name it too.
    """

    system: Message | None
    messages: tuple[Message, ...]
    keys: tuple[bytes, ...]
    numbers: tuple[int, ...]

    @property
    def origin(self) -> bytes:
        """The key before the first message."""
        return self.keys[NOWHERE]

    def model_turns(self) -> list[int]:
        """Return the places of the assistant's messages, the last one first."""
        return [place for place in reversed(range(len(self.messages))) if _is_answer(self.messages[place])]


def history_of(asked: Asked, dialect: BoundDialect) -> History:
    """Return a request's history with its keys.

    Raises:
        PromptError: a result of no call.
    """
    messages = list(asked.messages)
    system = messages.pop(0) if messages and messages[0].role == "system" else None
    ordered = _in_order_of_calls(messages)
    key = _origin(asked, system, dialect)
    keys = [key]
    for each in ordered:
        key = key_after(key, each.message, each.place)
        keys.append(key)
    return History(
        system,
        tuple(each.message for each in ordered),
        # The first key is the last value, so that `NOWHERE` finds it.
        (*keys[1:], keys[0]),
        tuple(each.number for each in ordered),
    )


def key_after(key: bytes, message: Message, place: int | None = None) -> bytes:
    """Return the key of a history with one more message.

    Args:
        key: the key of the history.
        message: the message.
        place: of a result, which of the calls before it it answers.
    """
    if _is_answer(message):
        form = joined([b"model", model_turn_form(message)])
    else:
        content = message.content.encode("utf-8", "surrogatepass")
        form = joined([message.role.encode("utf-8", "surrogatepass"), b"%d" % (place or 0), content])
    return hashlib.blake2b(joined([key, form]), digest_size=KEY_BYTES).digest()


def _origin(asked: Asked, system: Message | None, dialect: BoundDialect) -> bytes:
    text = [] if system is None else [system.content]
    tools = [[tool.name, tool.description, tool.parameters] for tool in asked.tools]
    vocabulary = dialect.vocabulary
    place: list[Any] = [
        asked.model,
        vocabulary.identity,
        _digest_of(dialect),
        asked.thinking or dialect.thinking,
        text,
        tools,
    ]
    # Keys of schemas are not sorted: dialects write them as they come, so another order is another prompt.
    form = joined([asked.tenant, json.dumps(place).encode()])
    return hashlib.blake2b(form, digest_size=KEY_BYTES).digest()


def _digest_of(dialect: BoundDialect) -> str:
    """Return a digest of the dialect's forms: a conversation goes on only in the forms that it began with."""
    known = dialect.vocabulary.derived
    digests: dict[str, str] = known.setdefault(_digest_of, {})
    if dialect.name not in digests:
        forms = dialect.dialect.model_dump_json().encode()
        digests[dialect.name] = hashlib.blake2b(forms, digest_size=KEY_BYTES).hexdigest()
    return digests[dialect.name]


def _is_answer(message: Message) -> bool:
    return message.role == "assistant"


class _Placed(NamedTuple):
    message: Message
    number: int
    """As in `History.numbers`."""
    place: int | None
    """Of a result, which of the calls before it it answers."""


def _in_order_of_calls(messages: Sequence[Message]) -> list[_Placed]:
    """Return messages with neighbouring results in the order of their calls."""
    # Results that come together may be in any order; a result is put behind the turn whose calls it answers.
    ordered: list[_Placed] = []
    calls = OpenCalls(())
    results: dict[int, _Placed] = {}
    for number, message in enumerate(messages, 1):
        if message.role == "tool":
            place = _taken(calls, message, number)
            results[place] = _Placed(message, number, place)
            continue
        ordered += [results[place] for place in sorted(results)]
        results.clear()
        ordered.append(_Placed(message, number, None))
        calls = OpenCalls([(call.id,) for call in message.calls])
    return [*ordered, *(results[place] for place in sorted(results))]


def _taken(calls: OpenCalls, message: Message, number: int) -> int:
    """Return which of the calls before it a result answers: the one of its id, or the first without one."""
    place = calls.take(message.call_id)
    if place is None:
        raise PromptError(
            f"message {number} is the result of {message.call_id or 'a call'!r}; no call before it has this "
            "id, or it has its result already"
        )
    return place


def with_call_ids_of(results: Sequence[Message], calls: Message) -> list[Message]:
    """Return messages whose first results name the calls of a turn by the model's own ids.

    Args:
        results: the messages behind the turn, its results first and in the order of the calls.
        calls: the turn as the model wrote it.
    """
    # Some families write the ids of calls into the prompt, and those in the known ids are the model's.
    own = iter(calls.calls)
    rebound: list[Message] = []
    for number, message in enumerate(results):
        if message.role != "tool" or number >= len(calls.calls):
            return [*rebound, *results[number:]]
        rebound.append(replace(message, call_id=next(own).id))
    return rebound
