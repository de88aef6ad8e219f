"""Run the tool calls of a turn. Whatever comes of a call is an attempt that the model is told about.

Only cancellation passes through: everything else a tool does, raises or fails to do becomes a status.
"""

from __future__ import annotations

import inspect
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from codec_agents.exceptions import ForgedTokenError
from codec_agents.prompts import refuse_control_ids
from codec_agents.tools.calls import Approver, Attempt, AttemptStatus, ToolCall, ToolContext
from codec_agents.tools.tool import ResultIds, Tool, ToolFailure, Toolset
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary

DEFAULT_WORKERS = 16
"""Threads for sync tools of one dispatcher: they wait for others most of their time."""

DEFAULT_TIMEOUT = 60.0
"""A tool usually waits for another service, which has time-outs of half a minute of its own."""

MAX_SAME_FAILURES = 3
"""A model that makes the same failing call a third time does not read what it is told."""

MAX_COUNTED_RUNS = 1024
"""Runs whose failures are counted at once; of more, the oldest are forgotten: nothing grows for ever."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    status: AttemptStatus
    text: str
    ids: tuple[int, ...] | None = None
    error: BaseException | None = None


class Dispatcher:
    """Runs calls against a set of tools. One for each node; it may serve several runs at once.

    Attributes:
        tools: the tools.
        timeout: seconds for a tool that does not say its own.
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
    ) -> None:
        self.tools = tools if isinstance(tools, Toolset) else Toolset(tools)
        self.timeout = timeout
        self._vocabulary = vocabulary
        self._approver = approver
        self._threads = anyio.CapacityLimiter(workers)
        self._limits = {
            tool.name: anyio.CapacityLimiter(tool.concurrency) for tool in self.tools if tool.concurrency
        }
        self._failures: dict[str, Counter[str]] = {}
        self.has_early_tools = any(tool.read_only and tool.approval is False for tool in self.tools)
        """Whether there are tools whose calls may start early."""
        self._wants_approval = any(tool.approval is True for tool in self.tools)
        self._max_same_failures = max_same_failures

    async def run(self, call: ToolCall, context: ToolContext) -> Attempt:
        """Run one call; return what came of it. Raises nothing but cancellation."""
        started = time.perf_counter()
        outcome = await self._outcome(call, context)
        attempt = Attempt(
            call,
            outcome.status,
            outcome.text,
            outcome.ids,
            started,
            time.perf_counter() - started,
            outcome.error,
        )
        return attempt if attempt.status == "ok" else self._count(attempt, context.run_id)

    @property
    def asks(self) -> bool:
        """Whether somebody outside must agree to some of the calls, and nobody is known yet who could."""
        return self._wants_approval and self._approver is None

    def waits_for_approval(self, call: ToolCall) -> bool:
        """Tell whether a call could run at once if somebody agreed to it."""
        tool = self.tools.get(call.name)
        if tool is None or tool.approval is not True or self._approver is not None:
            return False
        if not call.closed or call.error is not None or call.arguments is None:
            return False
        try:
            tool.validate(call.arguments)
        except (ValidationError, ValueError, TypeError):
            return False
        return True

    def may_start_early(self, call: ToolCall) -> bool:
        """Tell whether a call may run before it is known that its turn stands: it changes nothing."""
        tool = self.tools.get(call.name)
        return tool is not None and tool.read_only and tool.approval is False

    def forget(self, run_id: str) -> None:
        """Drop what is kept of a run: the failures counted in it."""
        self._failures.pop(run_id, None)

    def gives_up_on(self, attempt: Attempt) -> bool:
        """Tell whether a call failed so often in the same way that asking the model again is of no use."""
        return attempt.repeated + 1 >= self._max_same_failures

    def _count(self, attempt: Attempt, run_id: str) -> Attempt:
        seen = self._failures.setdefault(run_id, Counter())
        if len(self._failures) > MAX_COUNTED_RUNS:
            del self._failures[next(iter(self._failures))]
        key = f"{attempt.call.name}\0{attempt.call.text.strip()}"
        repeated = seen[key]
        seen[key] += 1
        if not repeated:
            return attempt
        told = f"{attempt.text}\nThis same call has failed {repeated + 1} times; do not repeat it."
        return replace(attempt, text=told, repeated=repeated)

    async def _outcome(self, call: ToolCall, context: ToolContext) -> _Outcome:
        if not call.closed:
            return _failed(
                "unclosed", "the call was cut off before its end and was not run; write it again, shorter"
            )
        if call.error is not None or call.arguments is None:
            return _failed("invalid_json", f"the call could not be read and was not run: {call.error}")
        tool = self.tools.get(call.name)
        if tool is None:
            known = ", ".join(self.tools.names) or "none"
            return _failed("unknown_tool", f"there is no tool {call.name!r}; the tools are: {known}")
        try:
            arguments = tool.validate(call.arguments)
        except (ValidationError, ValueError, TypeError) as error:
            return _failed(
                "bad_arguments", f"the arguments of {call.name} are wrong: {explain(error)}", error
            )
        refusal = await self._refusal(tool, call, context)
        if refusal is not None:
            return refusal
        return await self._run_tool(tool, arguments, context)

    async def _refusal(self, tool: Tool, call: ToolCall, context: ToolContext) -> _Outcome | None:
        """Return how a call ends that may not run, and None for one that may."""
        if tool.approval is False:
            return None
        approver = (context.approve or self._approver) if tool.approval is True else tool.approval
        answer: Any = False
        if callable(approver):
            try:
                answer = approver(call, context)
                if inspect.isawaitable(answer):
                    answer = await answer
            except Exception as error:
                text = f"the call of {tool.name} was not allowed: {type(error).__name__}"
                return _failed("denied", text, error)
        if answer is True:
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
            if outcome.status != "tool_error" or isinstance(outcome.error, ToolFailure):
                break
            outcome = await self._attempt(tool, arguments, context)
        return outcome

    async def _attempt(self, tool: Tool, arguments: dict[str, Any], context: ToolContext) -> _Outcome:
        seconds = self.timeout if tool.timeout is None else tool.timeout
        deadline = None if seconds is None else anyio.current_time() + seconds
        if context.deadline is not None:
            deadline = context.deadline if deadline is None else min(deadline, context.deadline)
        context = replace(context, deadline=deadline)
        if tool.context_parameter is not None:
            arguments = {**arguments, tool.context_parameter: context}
        try:
            with anyio.CancelScope(deadline=float("inf") if deadline is None else deadline) as scope:
                value = await self._call(tool, arguments)
                return self._result(tool, value)
        except ToolFailure as error:
            return _failed("tool_error", str(error) or f"{tool.name} failed", error)
        except Exception as error:
            return _failed("tool_error", f"{tool.name} failed: {type(error).__name__}: {error}", error)
        assert scope.cancelled_caught
        return _failed("timeout", f"{tool.name} did not answer within {seconds:g} seconds")

    async def _call(self, tool: Tool, arguments: dict[str, Any]) -> Any:
        if tool.is_async:
            return await tool.call(**arguments)
        run = partial(tool.call, **arguments)
        # A thread cannot be stopped: it is left to end by itself, and its result is dropped.
        value = await anyio.to_thread.run_sync(run, limiter=self._threads, abandon_on_cancel=True)
        return await value if inspect.isawaitable(value) else value

    def _result(self, tool: Tool, value: Any) -> _Outcome:
        if isinstance(value, ResultIds):
            return self._prepared(value)
        text = result_text(value)
        if len(text) > tool.max_result:
            left_out = len(text) - tool.max_result
            text = f"{text[: tool.max_result]}\n[cut: {left_out} more characters]"
        return _Outcome("ok", text)

    def _prepared(self, result: ResultIds) -> _Outcome:
        """Use ids of the node's own map; any other map's reader gets the text."""
        vocabulary = self._vocabulary
        if vocabulary is None or vocabulary.hash is None or vocabulary.hash != result.map_hash:
            return _Outcome("ok", result.text)
        encode = pick_tokenizer(vocabulary).encode_ordinary
        ids = [i for part in result.parts for i in (encode(part) if isinstance(part, str) else part)]
        try:
            refuse_control_ids(ids, vocabulary, "tool result")
        except ForgedTokenError:
            return _Outcome("ok", result.text)
        if not all(map(vocabulary.is_valid, ids)):
            return _Outcome("ok", result.text)
        return _Outcome("ok", result.text, tuple(ids))


def _failed(status: AttemptStatus, text: str, error: BaseException | None = None) -> _Outcome:
    return _Outcome(status, f"Error: {text}", None, error)


def explain(error: BaseException) -> str:
    """Return what is wrong with arguments, in words that a model can act on; values are not repeated."""
    if not isinstance(error, ValidationError):
        return str(error)
    found = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        place = ".".join(str(part) for part in fault["loc"]) or "the arguments"
        found.append(f"{place}: {fault['msg']}")
    return "; ".join(found)


def result_text(value: Any) -> str:
    """Return a result as the text that the model reads: a string as it is, anything else as JSON.

    Raises:
        TypeError: the value has no JSON form.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    try:
        written = TypeAdapter(Any).dump_python(value, mode="json")
        return json.dumps(written, ensure_ascii=False)
    except (PydanticSerializationError, ValueError) as error:
        raise TypeError(f"the result of type {type(value).__name__} has no JSON form: {error}") from error
