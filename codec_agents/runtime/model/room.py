"""Keep the prompts of a conversation within the context of its engine.

Rules:

- It is decided between turns, before a request is sent; an answer that has begun is never taken back.
- What is dropped is in the record and in the trace, with the context that decided: a replay decides the same.
- Ids that stay are not encoded again, unless a function of the user's writes the history anew.
- The results that the model has not seen yet are never dropped: it would call for them again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from codec_agents.dialects.messages import Message
from codec_agents.engines.base import DEFAULT_MAX_TOKENS, GenerationRequest, context_of, tells_context
from codec_agents.events import ContextKnown, HistoryDropped
from codec_agents.exceptions import ContextFullError, EngineError, NodeFailedError, PromptError
from codec_agents.graph.chat import Chat
from codec_agents.prompts import ToldResults
from codec_agents.runtime.reporting import ask
from codec_agents.tools.calls import Attempt, ToolCall
from codec_agents.turn import shared_prefix
from codec_core.exceptions import CONVERSION_ERRORS

if TYPE_CHECKING:
    from codec_agents.plan.nodes import PromptedNode
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.edges.wiring import Wiring

_log = logging.getLogger("codec_agents")

NOTE = "[This result was dropped, because the context was full.]"
"""What the model reads in place of a result that was dropped."""

END_OF_TURN = 64
"""Ids before results that decide how they are written: the longest end of a turn has about ten."""


class Prompt(NamedTuple):
    """A prompt between two turns."""

    ids: list[int]
    kept: int
    """How many of its first ids are the turn before."""
    begin: int
    """The length of the part that the run began with."""


class Room:
    """The context of a node's engine, and what is in it."""

    def __init__(
        self, node: PromptedNode, context: NodeContext, wiring: Wiring, told: Sequence[ToldResults] = ()
    ) -> None:
        """Begin with the results that the first prompt holds already."""
        self._node = node
        self._context = context
        self._run = context.run
        self._wiring = wiring
        self.told = list(told)
        self.results: tuple[tuple[int, int], ...] = ()
        """Start and stop, in the next prompt, of the results of the previous turn's calls."""
        self._fresh = False
        """Whether the last results are new in the next prompt."""
        self._ids: int | None = None
        """The context, once it is known."""
        self._reported: int | None = None
        """The context that was reported last."""

    def add(
        self, start: int, stop: int, attempts: Sequence[Attempt], places: Sequence[tuple[int, int]]
    ) -> None:
        """Note results that were added to the prompt, and where each of them lies behind `start`."""
        calls = tuple((attempt.call.name, attempt.call.call_id) for attempt in attempts)
        self.told.append(ToldResults(start=start, stop=stop, calls=calls))
        self.results = tuple((start + first, start + last) for first, last in places)
        self._fresh = True

    def most_ids(self, prompt: Sequence[int]) -> int:
        """Return the most ids of the answer to a prompt."""
        declared = self._node.options.max_tokens
        if self._ids is None:
            return declared
        left = self._ids - len(prompt)
        return min(declared, left) if self._node.has_max_tokens else left

    def left(self, prompt: Sequence[int]) -> int | None:
        """Return the ids of the context behind a prompt; None where it is not known."""
        return None if self._ids is None else self._ids - len(prompt)

    async def fit(self, turn: int, prompt: Prompt) -> Prompt:
        """Return the prompt of a turn, shortened where it leaves no room for an answer.

        Raises:
            ContextFullError: there is no room, and nothing that may be dropped.
            NodeFailedError: the function of the policy failed, or the engine does not tell its context.
        """
        drops = self._node.policy.on_overflow != "fail"
        await self._ask_context(turn, prompt, required=drops)
        if self._ids is None:
            return prompt
        if drops:
            await self._report_context(turn)
            if len(prompt.ids) > self._most:
                prompt = await self._shorten(turn, prompt)
        if len(prompt.ids) >= self._ids:
            await self._report_context(turn)  # a replay asks no engine: it fails by what the record has
            raise ContextFullError(self._node.path, len(prompt.ids), self._ids, delivered=self._wiring.sent())
        self._fresh = False
        return prompt

    @property
    def _most(self) -> int:
        """The most ids of a prompt that leaves room for an answer."""
        assert self._ids is not None
        if self._node.has_max_tokens:
            # In a small context, a large limit would leave no room for the prompt.
            return self._ids - min(self._node.options.max_tokens, self._ids // 2)
        # A quarter: no long answer is declared, and what the prompt loses is lost.
        return self._ids - min(DEFAULT_MAX_TOKENS, self._ids // 4)

    async def _ask_context(self, turn: int, prompt: Prompt, *, required: bool) -> None:
        node = self._node
        if node.context is not None:
            self._ids = node.context
            return
        if not node.asks_context:
            return
        # No request is built for an engine that cannot answer it: every turn would pay for one.
        if not required and not tells_context(node.engine):
            return
        request = GenerationRequest(
            prompt_ids=prompt.ids,
            vocabulary=node.vocabulary,
            model=node.model,
            timeouts=node.timeouts,
            node=node.path,
            turn=turn,
            session=self._run.session_of(node.path),
        )
        try:
            self._ids = await context_of(node.engine, request)
        except EngineError as error:
            if required:
                raise NodeFailedError(node.path, error, delivered=self._wiring.sent()) from error
            # The request itself is sent next, with its retries: it meets what is wrong with the engine.
            _log.warning("node %s: the context of its engine is not known now: %s", node.path, error)
            return
        if self._ids is None and required:
            unknown = EngineError(
                node.engine.name,
                "does not tell its context, on which `on_overflow` depends; declare `context` of the engine",
            )
            raise NodeFailedError(node.path, unknown, delivered=self._wiring.sent())

    async def _report_context(self, turn: int) -> None:
        """Emit the context, once for each value that it has."""
        if self._ids is not None and self._reported != self._ids:
            self._reported = self._ids
            await self._run.emit(ContextKnown(self._node.path, turn, self._ids, self._run.clock()))

    async def _shorten(self, turn: int, prompt: Prompt) -> Prompt:
        if self._node.shortens is not None:
            shorter, dropped = await self._rewritten(prompt)
        else:
            shorter, dropped = self._without_results(prompt)
        if not dropped:
            return prompt
        # Of the turn before, the engine has only what comes before the first change.
        kept = shared_prefix(prompt.ids[: prompt.kept], shorter.ids)
        policy = "drop_oldest_results" if self._node.shortens is None else "function"
        lengths = len(prompt.ids), len(shorter.ids)
        _log.info(
            "node %s: turn %d begins with %d ids in place of %d", self._node.path, turn, *reversed(lengths)
        )
        await self._run.emit(
            HistoryDropped(self._node.path, turn, policy, *lengths, tuple(dropped), self._run.clock())
        )
        return shorter._replace(kept=kept)

    # --- results of the oldest calls ---

    def _without_results(self, prompt: Prompt) -> tuple[Prompt, list[tuple[int, int]]]:
        """Return the prompt with notes in place of the oldest results, until it fits or none is left."""
        ids, begin, moved = list(prompt.ids), prompt.begin, 0
        dropped: list[tuple[int, int]] = []
        for position, each in enumerate(self.told):
            here = self.told[position] = each.moved(moved)  # by what notes before it are shorter
            is_fresh = self._fresh and position == len(self.told) - 1
            if here.dropped or is_fresh or len(ids) <= self._most:
                continue
            note = self._noted(ids, here)
            less = here.stop - here.start - len(note)
            if less <= 0:  # a short result; its note would not help
                continue
            ids[here.start : here.stop] = note
            dropped.append((each.start, each.stop))
            self.told[position] = msgspec.structs.replace(here, stop=here.start + len(note), dropped=True)
            # By `each`: `prompt.begin` is a place before anything was dropped.
            begin -= less if each.stop <= prompt.begin else 0
            moved -= less
        # The newest ones, behind all that was dropped.
        self.results = tuple((start + moved, stop + moved) for start, stop in self.results)
        return Prompt(ids, prompt.kept, begin), dropped

    def _noted(self, ids: Sequence[int], told: ToldResults) -> list[int]:
        attempts = [
            Attempt(ToolCall(index, name, {}, call_id, ""), "ok", NOTE)
            for index, (name, call_id) in enumerate(told.calls)
        ]
        before = ids[max(0, told.start - END_OF_TURN) : told.start]
        return self._node.dialect.extend(before, None, attempts)

    # --- a function of the user's ---

    async def _rewritten(self, prompt: Prompt) -> tuple[Prompt, list[tuple[int, int]]]:
        """Return the prompt of the messages that the function leaves."""
        node = self._node
        assert node.shortens is not None
        read = node.dialect.read(prompt.ids)
        if read.unfinished is not None:
            return prompt, []  # in the middle of an answer there is no message to leave out
        # The dialect writes the implied ones by itself.
        turns = [turn for turn in read.turns if not turn.implied]
        messages = [turn.message for turn in turns]
        sizes = [turn.stop - turn.start for turn in turns]
        left = await ask(node.shortens, node, self._context, self._checked, messages, sizes, self._most)
        if left == messages:
            return prompt, []
        try:
            ids = self._written(left)
            begin = self._beginning(left, ids)
        except PromptError as error:
            raise NodeFailedError(node.path, error, delivered=self._wiring.sent()) from error
        self.told, self.results = [], ()  # their places are those of a prompt that is gone
        same = shared_prefix(prompt.ids, ids)
        return Prompt(ids, 0, begin), [(same, len(prompt.ids))]  # `_shorten` finds out what is kept

    def _checked(self, result: Any) -> list[Message]:
        """Return the messages that the function returned, or that a record holds of it."""
        try:
            if isinstance(result, str | bytes):  # whose characters could be iterated over
                raise TypeError
            return [each if isinstance(each, Message) else msgspec.convert(each, Message) for each in result]
        except (TypeError, *CONVERSION_ERRORS):
            problem = f"the function of `on_overflow` returned {result!r:.80}, which are no messages"
            raise NodeFailedError(self._node.path, TypeError(problem)) from None

    def _written(self, messages: Sequence[Message]) -> list[int]:
        keeps = self._node.prompt.keep_reasoning if isinstance(self._node.prompt, Chat) else None
        return self._node.dialect.write(messages, keep_reasoning=keeps)

    def _beginning(self, messages: Sequence[Message], ids: list[int]) -> int:
        """Return the length of the part before the first answer to the last message of the user."""
        users = [place for place, message in enumerate(messages) if message.role == "user"]
        # The whole, where no user's message divides it, or its first part alone is written otherwise.
        before = self._written(messages[: users[-1] + 1]) if users else ids
        return len(before) if ids[: len(before)] == before else len(ids)
