"""Run the tool calls of a turn. Every call gives an attempt, whose text the model receives.

Rules:

- Only the cancellation of the caller passes through. Whatever else a tool does, raises or fails to do becomes
  the status of its attempt.
- A call runs only if it is whole, names a known tool, has valid arguments, and is approved where the tool
  needs that. This is checked in this order, so that no one is asked about a call that cannot run.
- Ids from a tool are used only where they spell exactly the text beside them, without a control id.
"""

from __future__ import annotations

import inspect
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio
import msgspec
from pydantic import ValidationError

from codec_agents.concurrency.apart import DEFAULT_GRACE, run_apart, run_in_thread
from codec_agents.exceptions import ForgedTokenError
from codec_agents.prompts import refuse_control_ids
from codec_agents.tools.calls import Approver, Attempt, AttemptStatus, ToolCall, ToolContext
from codec_agents.tools.texts import argument_faults, cut, error_text, message_of, result_text, well_formed
from codec_agents.tools.tool import DEFAULT_RESULT_CHARACTERS, ResultIds, Tool, ToolFailure, Toolset
from codec_core.detokenizer import detokenize
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary

DEFAULT_WORKERS = 16
"""Threads for the sync tools of one dispatcher, which wait for other services most of their time."""

DEFAULT_TIMEOUT = 60.0
"""Seconds. A tool usually waits for another service, which has time-outs of half a minute of its own."""

MAX_SAME_FAILURES = 3
"""A model that makes the same failing call a third time does not act on the error that it receives."""

MAX_COUNTED_RUNS = 1024
"""Runs whose failures are counted at once. Beyond it the oldest are dropped, which bounds the memory."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    status: AttemptStatus
    text: str
    ids: tuple[int, ...] | None = None
    error: BaseException | None = None


class Dispatcher:
    """Runs calls against a set of tools. Each node has one, which may serve several runs at once.

    Attributes:
        tools: the tools.
        timeout: seconds for a tool without a time-out of its own.
        has_early_tools: whether there are tools whose calls may start early.
    """

    def __init__(
        self,
        tools: Toolset | Iterable[Tool | Callable[..., Any]] = (),
        *,
        vocabulary: Vocabulary | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        workers: int = DEFAULT_WORKERS,
        approver: Approver | None = None,
        max_same_failures: int = MAX_SAME_FAILURES,
        grace: float = DEFAULT_GRACE,
    ) -> None:
        """Keep the tools.

        Args:
            tools: the tools.
            vocabulary: the vocabulary of the node; results that carry ids of it are used as ids.
            timeout: seconds for a tool without a time-out of its own; None for no limit.
            workers: threads for sync tools.
            approver: decides on tools with `approval=True`, unless the run has an approver.
            max_same_failures: how often the same call may fail before `gives_up_on` is true.
            grace: seconds for an async tool to end after it was cancelled, before it is abandoned.
        """
        self.tools = tools if isinstance(tools, Toolset) else Toolset(tools)
        self.timeout = timeout
        self._vocabulary = vocabulary
        self._approver = approver
        # Of the dispatcher, so of a node and all its runs: limits protect what is behind the tools.
        self._threads = anyio.CapacityLimiter(workers)
        self._limits = _limits_of(self.tools)
        self._failures: dict[str, Counter[str]] = {}
        self._note_kinds()
        self._max_same_failures = max_same_failures
        self._grace = grace

    def _note_kinds(self) -> None:
        self.has_early_tools = any(map(_is_early, self.tools))
        self._has_guarded_tools = any(tool.approval is True for tool in self.tools)

    def with_tools(self, tools: Iterable[Tool]) -> Dispatcher:
        """Return a dispatcher with further tools, which shares the limits of those that are there.

        Raises:
            ToolDefinitionError: two tools have one name.
        """
        added = Toolset(tools)
        other = copy(self)
        other.tools = self.tools + added
        other._limits = self._limits | _limits_of(added)
        other._note_kinds()
        return other

    async def run(self, call: ToolCall, context: ToolContext) -> Attempt:
        """Run one call and return its attempt. Raises nothing but the cancellation of the caller."""
        started = time.perf_counter()
        outcome = await self._outcome(call, context)
        # The text of ids is within the limit (`_prepared`), and has to stay what they spell.
        text = outcome.text if outcome.ids is not None else self._told(call, outcome.text)
        duration = time.perf_counter() - started
        attempt = Attempt(call, outcome.status, text, outcome.ids, started, duration, outcome.error)
        return attempt if attempt.status == "ok" else self._count(attempt, context.run_id)

    @property
    def needs_approval(self) -> bool:
        """True if some of the tools need approval, and the dispatcher has no approver of its own."""
        return self._has_guarded_tools and self._approver is None

    def waits_for_approval(self, call: ToolCall, node: str) -> bool:  # noqa: ARG002 - of use to a replay
        """Return whether a call of a node could run at once if it were approved."""
        tool = self.tools.get(call.name)
        if tool is None or tool.approval is not True or self._approver is not None:
            return False
        return _refused_payload(call) is None and not isinstance(_arguments(tool, call), _Outcome)

    def may_start_early(self, call: ToolCall) -> bool:
        """Return whether the call may run before its turn is complete, because it changes nothing."""
        tool = self.tools.get(call.name)
        return tool is not None and _is_early(tool)

    def forget(self, run_id: str) -> None:
        """Drop the failures that were counted for a run."""
        self._failures.pop(run_id, None)

    def gives_up_on(self, attempt: Attempt) -> bool:
        """Return whether the call failed so often in the same way that asking again is of no use."""
        return attempt.repeated + 1 >= self._max_same_failures

    def _told(self, call: ToolCall, text: str) -> str:
        tool = self.tools.get(call.name)
        return well_formed(cut(text, DEFAULT_RESULT_CHARACTERS if tool is None else tool.max_result))

    def _count(self, attempt: Attempt, run_id: str) -> Attempt:
        seen = self._failures.setdefault(run_id, Counter())
        if len(self._failures) > MAX_COUNTED_RUNS:
            del self._failures[next(iter(self._failures))]
        key = f"{attempt.call.name}\0{attempt.call.text.strip()}"
        repeated = seen[key]
        seen[key] += 1
        if not repeated:
            return attempt
        text = f"{attempt.text}\nThis same call has failed {repeated + 1} times; do not repeat it."
        return replace(attempt, text=text, repeated=repeated)

    async def _outcome(self, call: ToolCall, context: ToolContext) -> _Outcome:
        if (refused := _refused_payload(call)) is not None:
            return refused
        tool = self.tools.get(call.name)
        if tool is None:
            known = ", ".join(self.tools.names) or "none"
            return _failed("unknown_tool", f"there is no tool {call.name!r}; the tools are: {known}")
        # Approval comes last: it is not asked for a call that could not run.
        arguments = _arguments(tool, call)
        if isinstance(arguments, _Outcome):
            return arguments
        denied = await self._denied(tool, call, context)
        if denied is not None:
            return denied
        return await self._run_tool(tool, arguments, context)

    async def _denied(self, tool: Tool, call: ToolCall, context: ToolContext) -> _Outcome | None:
        """Return the outcome of a call that may not run, and None for one that may."""
        if tool.approval is False:
            return None
        approver = (context.approve or self._approver) if tool.approval is True else tool.approval
        answer: Any = False
        if callable(approver):  # apart, like a tool: it may raise or never return
            ended = await run_apart(partial(_answer, approver, call, context), grace=self._grace)
            if ended is not None and ended.error is not None:
                text = f"the call of {tool.name} was not allowed: {type(ended.error).__name__}"
                return _failed("denied", text, ended.error)
            answer = None if ended is None else ended.value
        if answer is True:  # and nothing else that is true: a mistake of the approver allows no call
            return None
        given = isinstance(answer, str) and answer
        return _failed("denied", given or f"the call of {tool.name} was not allowed")

    async def _run_tool(self, tool: Tool, arguments: dict[str, Any], context: ToolContext) -> _Outcome:
        limit = self._limits.get(tool.name)
        if limit is None:
            return await self._attempts(tool, arguments, context)
        async with limit:
            return await self._attempts(tool, arguments, context)

    async def _attempts(self, tool: Tool, arguments: dict[str, Any], context: ToolContext) -> _Outcome:
        outcome = await self._attempt(tool, arguments, context)
        for _ in range(tool.retries):
            # A `ToolFailure` is the tool's answer, and a call that ran out of time may still have its effect.
            if outcome.status != "tool_error" or isinstance(outcome.error, ToolFailure):
                break
            outcome = await self._attempt(tool, arguments, context)
        return outcome

    async def _attempt(self, tool: Tool, arguments: dict[str, Any], context: ToolContext) -> _Outcome:
        seconds = self.timeout if tool.timeout is None else tool.timeout
        deadline = None if seconds is None else anyio.current_time() + seconds
        if context.deadline is not None:
            deadline = context.deadline if deadline is None else min(deadline, context.deadline)
        if tool.context_parameter is not None:  # made for each attempt: the tool sees the limit of this one
            arguments = {**arguments, tool.context_parameter: replace(context, deadline=deadline)}
        work = partial(self._call, tool, arguments)
        ended = await run_apart(work, deadline=deadline, grace=self._grace)
        if ended is None:
            allowed = "in time" if seconds is None else f"within {seconds:g} seconds"
            return _failed("timeout", f"{tool.name} did not answer {allowed}")
        if isinstance(ended.error, ToolFailure):
            return _failed("tool_error", message_of(ended.error) or f"{tool.name} failed", ended.error)
        if ended.error is not None:
            return _failed("tool_error", f"{tool.name} failed: {error_text(ended.error)}", ended.error)
        assert ended.value is not None
        return ended.value

    async def _call(self, tool: Tool, arguments: dict[str, Any]) -> _Outcome:
        """Call the tool and return its result. Runs apart: it may raise anything."""
        run = partial(tool.call, **arguments)
        value = await run() if tool.is_async else await run_in_thread(run, limiter=self._threads)
        if inspect.isawaitable(value):
            value = await value
        if isinstance(value, ResultIds):
            return self._prepared(tool, value)
        return _Outcome("ok", result_text(value))

    def _prepared(self, tool: Tool, result: ResultIds) -> _Outcome:
        """Return a result with its ids if they can be used, and otherwise with its text alone.

        Ids are used when they are of the node's map, hold no control id, and spell exactly the text. The
        record and the user see the text, so a model must not read anything else.
        """
        text_alone = _Outcome("ok", result.text)
        vocabulary = self._vocabulary
        if vocabulary is None or vocabulary.hash is None or vocabulary.hash != result.map_hash:
            return text_alone
        # Before anything is encoded or decoded: a server may send any amount, and this is the event loop.
        given = sum(len(part) for part in result.parts if not isinstance(part, str))
        # An id spells a byte at least, but for one that stands for the space before a text.
        if len(result.text) > tool.max_result or given > 4 * len(result.text) + len(result.parts):
            return text_alone
        ids = _joined(result.parts, vocabulary)
        try:
            refuse_control_ids(ids, vocabulary, "tool result")
        except ForgedTokenError:
            return text_alone
        if not all(map(vocabulary.is_valid, ids)):
            return text_alone
        if detokenize(vocabulary, ids) != result.text:
            return text_alone
        return _Outcome("ok", result.text, tuple(ids))


def _limits_of(tools: Toolset) -> dict[str, anyio.CapacityLimiter]:
    return {tool.name: anyio.CapacityLimiter(tool.concurrency) for tool in tools if tool.concurrency}


def _joined(parts: Sequence[str | tuple[int, ...]], vocabulary: Vocabulary) -> list[int]:
    tokenizer = pick_tokenizer(vocabulary)
    ids: list[int] = []
    for part in parts:
        if not isinstance(part, str):
            ids += part
        elif ids:
            # Text inside a text: some vocabularies mark the beginning of one by a space.
            ids += tokenizer.encode_prepared(tokenizer.prepare(well_formed(part), first=False))
        else:
            ids += tokenizer.encode_ordinary(well_formed(part))
    return ids


def _failed(status: AttemptStatus, text: str, error: BaseException | None = None) -> _Outcome:
    return _Outcome(status, f"Error: {text}", None, error)


def _is_early(tool: Tool) -> bool:
    return tool.read_only and tool.approval is False


def _refused_payload(call: ToolCall) -> _Outcome | None:
    """Return the outcome of a call whose payload cannot be used, and None for any other."""
    if not call.closed:
        return _failed(
            "unclosed", "the call was cut off before its end and was not run; write it again, shorter"
        )
    if call.error is not None or call.arguments is None:
        return _failed("invalid_json", f"the call could not be read and was not run: {call.error}")
    return None


def _arguments(tool: Tool, call: ToolCall) -> dict[str, Any] | _Outcome:
    """Return the arguments as the tool takes them, or the outcome of a call whose arguments are wrong."""
    try:
        # A copy: a tool may change what it is given, and the call is recorded as the model wrote it.
        return tool.validate(msgspec.to_builtins(call.arguments))
    except (ValidationError, ValueError, TypeError) as error:
        text = f"the arguments of {call.name} are wrong: {argument_faults(error)}"
        return _failed("bad_arguments", text, error)
    except (Exception, SystemExit) as error:  # of a validator of the user's, which may do anything
        text = f"the arguments of {call.name} could not be checked: {error_text(error)}"
        return _failed("bad_arguments", text, error)


async def _answer(approver: Approver, call: ToolCall, context: ToolContext) -> bool | str:
    answer = approver(call, context)
    return await answer if inspect.isawaitable(answer) else answer
