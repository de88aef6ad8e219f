"""Conversations as a tree: each node is one request and the model's turn that answered it.

Rules that hold in this file:

- A node holds only what its request added: the ids behind those that it shares with its parent, so a
  conversation is stored in proportion to its ids, not to its requests.
- A node never changes. What was sampled stays as it was sampled.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import InitVar, dataclass, field, replace
from typing import TypeAlias

from codec_agents.dialects.messages import Message

IDS = "I"
"""The array type of token ids: unsigned, 4 bytes."""

Span: TypeAlias = tuple[str, int, int]
"""A lane, and its first position in the sampled ids and the one behind it."""

OF_ARGUMENTS = 24
"""Bytes in memory for each byte of the JSON of arguments: `[{},{}]` makes an object of 64 bytes of three."""

OVERHEAD = 1_024
"""Bytes of a node beside its ids and texts: the objects of Python that it is made of."""


@dataclass(slots=True, eq=False, kw_only=True)
class Node:
    """One request, and the turn that answered it.

    Fields:
        number: given by the store, in the order of storing; 0 before that.
        parent: the turn that the request continued; None at a conversation's beginning.
        tenant: the client.
        origin: the key after the first message behind the parent; without one, the key of the parent, or of
            the beginning.
        key: the key of the history that ends with this turn.
        kept: how many of the parent's ids the prompt begins with. Less than all of them where earlier
            reasoning was left out.
        inserted: the ids of the prompt behind those.
        sampled: the ids of the turn.
        messages: the messages of the request behind the parent's turn; of a beginning, all but the system
            text.
        turn: the turn as the client got it, with the model's own ids of calls.
        call_ids: the ids of its calls as the client got them.
        nonce: the number in the ids that the client got.
        begin: the position at which the first turn since the last user message was sampled.
        finish_reason: why the turn ended; None for one that the client left.
        partial: whether the turn was broken off. Such a turn is no history that a client could send back.
        private: whether the client asked that the turn is not kept: it stays in memory, and cannot be asked
            for by its id.
        system: of a beginning, the system text that stays with the conversation; None where each request
            brings its own.
        spans: the lanes of the sampled ids.
        created: seconds since the epoch.
        size: about how many bytes the node takes in memory.
        whole_size: about how many bytes the conversation takes in memory, from its beginning to this turn.
        size_of_messages: the part of `size` that the messages are, where it is known; counted otherwise.
    """

    parent: Node | None
    tenant: bytes
    origin: bytes
    key: bytes
    kept: int
    inserted: array[int]
    sampled: array[int]
    messages: tuple[Message, ...]
    turn: Message
    nonce: bytes
    begin: int
    finish_reason: str | None
    partial: bool = False
    private: bool = False
    system: str | None = None
    call_ids: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    created: float = 0.0
    number: int = 0
    size: int = field(init=False)
    whole_size: int = field(init=False)
    size_of_messages: InitVar[int | None] = None

    def __post_init__(self, size_of_messages: int | None) -> None:
        """Count the conversation, once: its turns do not change."""
        if size_of_messages is None:
            size_of_messages = size_of(self.messages)
        texts = size_of_messages + size_of([self.turn])
        ids = self.inserted.itemsize * (len(self.inserted) + len(self.sampled))
        self.size = OVERHEAD + ids + texts + _bytes_of(self.system, *self.call_ids)
        self.whole_size = self.size + (0 if self.parent is None else self.parent.whole_size)

    @property
    def prompt_length(self) -> int:
        """The number of ids of the prompt."""
        return self.kept + len(self.inserted)

    @property
    def length(self) -> int:
        """The number of ids of the prompt and the turn."""
        return self.prompt_length + len(self.sampled)

    def path(self) -> Iterator[Node]:
        """Yield the node and its ancestors, the beginning of the conversation last."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent

    def ids(self) -> array[int]:
        """Return the ids of the prompt and the turn."""
        return self._ids(self.length)

    def prompt(self) -> array[int]:
        """Return the ids of the prompt."""
        return self._ids(self.prompt_length)

    def _ids(self, needed: int) -> array[int]:
        parts: list[array[int]] = []
        for node in self.path():
            if needed > node.kept:
                own = node.inserted + node.sampled
                parts.append(own[: needed - node.kept])
                needed = node.kept
        whole: array[int] = array(IDS)
        for part in reversed(parts):
            whole += part
        return whole

    def history(self) -> list[Message]:
        """Return the messages of the conversation up to this turn, as its client would send them."""
        nodes = [*self.path()][::-1]
        system = nodes[0].system
        messages = [] if system is None else [Message(role="system", content=system)]
        # A client that gets frames has no ids of calls.
        for node in nodes:
            calls = tuple(
                replace(call, id=given)
                for call, given in zip(
                    node.turn.calls, node.call_ids or [None] * len(node.turn.calls), strict=True
                )
            )
            messages += [*node.messages, replace(node.turn, calls=calls)]
        return messages


def as_array(ids: Sequence[int]) -> array[int]:
    """Return ids in the form in which nodes keep them."""
    return array(IDS, ids)


def size_of(messages: Iterable[Message]) -> int:
    """Return about how many bytes messages take in memory."""
    return sum(map(_size_of, messages))


def _size_of(message: Message) -> int:
    texts = (message.content, message.reasoning, message.name, message.call_id)
    calls = sum(
        _bytes_of(call.name, call.id) + OF_ARGUMENTS * _bytes_of(call.text or str(call.arguments))
        for call in message.calls
    )
    return OVERHEAD // 8 * (1 + len(message.calls)) + _bytes_of(*texts) + calls


def _bytes_of(*texts: str | None) -> int:
    """Return about what texts take in memory, always the same for equal texts."""
    return sum(len(text) if text.isascii() else 4 * len(text) for text in texts if text)
