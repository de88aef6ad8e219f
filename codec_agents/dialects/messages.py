"""Chats as messages: what the prompt writer takes, and what the prompt reader returns.

A message holds text, never token ids. Whatever the text spells becomes ordinary ids: only a dialect's own
forms place control ids. `BoundDialect.write` and `BoundDialect.read` are inverse to each other as far as the
family's form carries what a message says; `docs/dialects.md` lists what single families do not carry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

ReasoningState = Literal["open", "closed"]
"""The reasoning of the turn that a prompt opens: begun, or ended."""


class ToolSpec(Protocol):
    """The part of a tool that a prompt tells the model: `Tool` has it, and so may any other class."""

    @property
    def name(self) -> str:
        """The name by which models call the tool."""

    @property
    def description(self) -> str:
        """The description for the model."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The JSON schema of the arguments."""


@dataclass(frozen=True, slots=True)
class MessageCall:
    """A tool call of an assistant's message.

    Fields:
        name: the tool.
        arguments: the arguments of the call; None where a prompt was read in which they cannot be read.
        id: the id that the result names; None for the id that the family gives.
        text: the arguments as the JSON text that a client sent; None where only `arguments` says them. It is
            not a part of what is compared or written.
    """

    name: str
    arguments: Mapping[str, Any] | None
    id: str | None = None
    text: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a chat.

    Fields:
        role: `system`, `user`, `assistant` or `tool`. A message that was read from a prompt may have another
            role, as the prompt spells it; such a message cannot be written.
        content: the text.
        reasoning: the reasoning before an assistant's text.
        calls: the tool calls at the end of an assistant's message.
        name: the tool that a `tool` message is the result of.
        call_id: the id of the call that a `tool` message is the result of. Without it, results belong to the
            calls before them in order.
    """

    role: str
    content: str = ""
    reasoning: str | None = None
    calls: tuple[MessageCall, ...] = ()
    name: str | None = None
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class ReadTurn:
    """A message of a prompt, and its place there.

    Fields:
        message: the message.
        text: everything between the turn's head and its end, with the names of the control tokens inside.
        start: the position of the turn's first id.
        stop: the position after its last id, the turn's end included.
        implied: whether the family puts the turn there, to tell the tools or its own system text, and no
            message of the chat.
    """

    message: Message
    text: str
    start: int
    stop: int
    implied: bool = False


@dataclass(frozen=True, slots=True)
class ReadPrompt:
    """A prompt as messages.

    Fields:
        turns: the finished turns, in order.
        tools: the text that tells the model its tools, as it is in the prompt; None without tools.
        unfinished: the assistant's message that the prompt begins and does not end; None where the prompt
            ends before the first id of the next turn.
        reasoning: whether the turn that the prompt opens has begun, or ended, its reasoning.
    """

    turns: tuple[ReadTurn, ...]
    tools: str | None = None
    unfinished: Message | None = None
    reasoning: ReasoningState | None = None

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages of the chat: those of the finished turns, and then the unfinished one."""
        last = () if self.unfinished is None else (self.unfinished,)
        return (*(turn.message for turn in self.turns if not turn.implied), *last)
