"""Values of tool calls: the call, its context, its result, and the callable that approves it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

AttemptStatus: TypeAlias = Literal[
    "ok", "invalid_json", "unclosed", "unknown_tool", "bad_arguments", "tool_error", "timeout", "denied"
]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call, as the model wrote it.

    Fields:
        index: its number within its region.
        name: the tool, or "" where the payload does not say.
        arguments: the arguments of the tool; None where they could not be read.
        call_id: the model's own id of the call, where the family has one.
        text: the payload, for the record and for messages.
        error: the fault of the payload, in words for the model; None for a call that could be read.
        closed: False where the region was cut off.
        start: the position of the region in the turn.
        stop: the position after the region in the turn.
    """

    index: int
    name: str
    arguments: dict[str, Any] | None
    call_id: str | None
    text: str
    error: str | None = None
    closed: bool = True
    start: int = 0
    stop: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of one call.

    Fields:
        call: the call.
        status: how the call ended.
        text: the text that the model receives.
        ids: the same text as ids of the node's vocabulary, where the tool made them; None: encode the text.
        started: when it began, by `time.perf_counter()`.
        duration: seconds.
        error: the exception, where one was raised.
        repeated: how many identical calls of this run failed before this one.
    """

    call: ToolCall
    status: AttemptStatus
    text: str
    ids: tuple[int, ...] | None = None
    started: float = 0.0
    duration: float = 0.0
    error: BaseException | None = None
    repeated: int = 0


def call_key(node: str, turn: int, position: int) -> str:
    """Return the key of a call within its run.

    Args:
        node: The path of the node whose model called.
        turn: The node's turn, from 1.
        position: The place of the call among those of the turn, from 0.
    """
    return f"{node}/{turn}/{position}"


class ServerConnections(Protocol):
    """The MCP servers of a declaration while a run has them open."""

    async def call(self, server: object, tool: str, arguments: Mapping[str, Any]) -> Any:
        """Call a tool of a server; return its result.

        Args:
            server: the declared server, one of those that are open.
            tool: the tool's name on the server.
            arguments: the arguments of the call.
        """
        ...


@dataclass(frozen=True, slots=True)
class ToolContext:
    """The run that calls a tool. A tool receives it by a parameter of this type.

    Fields:
        run_id: the run.
        node: the model node that called.
        deadline: when the call must be over, on the event loop's clock; None for no limit.
        deps: the object that the run was given for its tools.
        approve: decides whether a tool with `approval=True` may run.
        servers: the MCP servers of the declaration that are open for the run.
        call_key: names this call of this run, also when the run goes on after a crash: an idempotency key
            for a service that would otherwise do the same twice.
    """

    run_id: str
    node: str
    deadline: float | None = None
    deps: Any = None
    approve: Approver | None = None
    servers: ServerConnections | None = None
    call_key: str = ""


Approver: TypeAlias = Callable[[ToolCall, ToolContext], "bool | str | Awaitable[bool | str]"]
"""Decides whether a call may run: True, False, or a text for the model, which denies the call."""
