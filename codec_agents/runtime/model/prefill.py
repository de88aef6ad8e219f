"""Prefill ahead: send an engine the beginning of a prompt while the rest is still being generated.

An engine with a prefix cache has then processed most of the prompt when the request itself arrives. A
prefill is a request for no id, or for one, which is discarded. The request itself carries the whole prompt,
so its answer does not depend on what the engine kept.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import anyio

from codec_agents.concurrency.signal import Signal
from codec_agents.engines.base import GenerationRequest, closes_late, least_ids, reports_cached_ids
from codec_agents.events import Usage
from codec_agents.plan.nodes import declared_path
from codec_agents.runtime.model.certainty import Certainty

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltEdge, PromptedNode
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.edges.handoff import Handoff
    from codec_agents.runtime.model.prompt import IncrementalPrompt

_log = logging.getLogger(__name__)

PREFILL_REQUESTS: Final = 32
"""Bound of the requests ahead for one prompt: 8,192 ids at the default stride."""
BLOCK: Final = 128
"""With `prefill: auto`, beginnings end where a block of the engine's cache does: a multiple of the sizes in
use (16 to 128 ids). The rest of a block would be read again with the request itself."""


def edges_ahead(node: PromptedNode, edges: Sequence[BuiltEdge]) -> list[BuiltEdge]:
    """Return those of the prefilled edges into a prompt that ask for requests ahead.

    Those that do so by default do where the engine is known to report cached ids: without them no gain shows.
    """
    if node.measured.reports_cached_ids or reports_cached_ids(node.engine):
        return list(edges)
    return [edge for edge in edges if not edge.prefill_by_default]


class Prefill:
    """The requests ahead for one prompt, one at a time."""

    def __init__(
        self,
        node: PromptedNode,
        prompt: IncrementalPrompt,
        context: NodeContext,
        edges: Sequence[BuiltEdge],
        handoffs: Sequence[Handoff],
    ) -> None:
        """Begin without a request.

        Args:
            node: the node that asks.
            prompt: its prompt, which grows.
            context: where it runs.
            edges: the edges into the prompt that ask for requests ahead.
            handoffs: all edges into the prompt.
        """
        self._node = node
        self._prompt = prompt
        self._run = context.run
        # All edges share one series of requests: the shortest stride, and the tightest budget.
        self._stride = min(edge.prefill for edge in edges)
        self._budget = min(edge.prefill_budget for edge in edges)
        self._auto = all(edge.prefill_auto for edge in edges)
        """Whether measurements decide; an edge that asks for requests in any case goes before them."""
        by_default = all(edge.prefill_by_default for edge in edges)
        self._certainty = Certainty(node, context, handoffs) if by_default else None
        """None where an edge or the engine declares requests ahead."""
        self._more = Signal()
        self._scope = anyio.CancelScope()
        self._stopped = False
        """Set before the scope is cancelled: a cancelled task runs on to its next checkpoint, and must not
        send."""
        self._answered: anyio.Event | None = None
        """Of the last request."""
        self._requests = 0
        self._ids = 0
        self.given = 0
        """The length of the longest beginning that the engine has answered."""

    def ids_came(self) -> None:
        """Wake up: the slots have more ids."""
        self._more.give()

    def stop(self) -> None:
        """Send no more, and close the request in flight: the one that counts is sent when `end` returns."""
        self._stopped = True
        if not closes_late(self._node.engine):
            self._scope.cancel()

    async def end(self) -> None:
        """Wait, after `stop`, for a request in flight that would keep what it reads if it were closed.

        What it still reads, the request that counts would read itself. The node's `first_id` bounds it.
        """
        if self._answered is not None and not self._scope.cancel_called:
            await self._answered.wait()

    async def run(self) -> None:
        """Send beginnings of the prompt, each longer than the last, until a bound is reached.

        The first failure ends it, with a warning: an engine in trouble gets no extra load, and one that
        refuses such a request would refuse the next. The request that counts is sent all the same.
        """
        # As it is declared: the items of a map, each with a path of its own, are measured together.
        if self._auto and not self._node.measured.gains(declared_path(self._node.path)):
            return
        with self._scope:
            try:
                await self._send_all()
            except Exception as error:
                if not self._stopped:  # the end that `stop` gave it is no failure
                    _log.warning(
                        "run %s, node %s: no more prefill ahead: %s", self._run.run_id, self._node.path, error
                    )

    async def _send_all(self) -> None:
        while self._requests < PREFILL_REQUESTS:
            await self._more.wait()
            if self._stopped:
                return
            # First what costs nothing: this is asked each time that ids come.
            if not self._has_room() or (length := self._length()) < self.given + self._stride:
                continue
            if self._ids + length > self._budget:  # each is sent from its first id on, and counts whole
                return
            if self._certainty is None or self._certainty.reached():
                await self._give(length)

    def _has_room(self) -> bool:
        measured = self._node.measured
        # By default only an idle engine: another request in the same batch may be rounded otherwise.
        return not self._auto or (measured.has_room() if self._certainty is None else measured.is_idle())

    def _length(self) -> int:
        """Return how many ids can be sent now."""
        length = self._prompt.settled()
        return length // BLOCK * BLOCK if self._auto else length

    async def _give(self, length: int) -> None:
        async with AsyncExitStack() as stack:
            self._answered = anyio.Event()
            stack.callback(self._answered.set)
            places = self._node.engine_slots
            if places is not None:
                try:
                    places.acquire_nowait()
                except anyio.WouldBlock:  # an answer is never delayed for a prefill
                    return
                stack.callback(places.release)
            yields = self._certainty is not None
            scope = stack.enter_context(self._node.measured.ahead(yields=yields))
            prompt = self._prompt.so_far(length)
            self._count(prompt)
            async for _ in await stack.enter_async_context(self._node.engine.stream(self._request(prompt))):
                pass
        if scope.cancelled_caught:  # for a request that counts
            return
        self.given = length
        self._more.give()  # more may have come meanwhile

    def _count(self, prompt: list[int]) -> None:
        self._requests += 1
        self._ids += len(prompt)
        self._run.add_usage(self._node.path, Usage(prefill_requests=1, prefill_ids=len(prompt)))

    def _request(self, prompt: list[int]) -> GenerationRequest:
        node = self._node
        # Without the node's path: what is prepared under it waits for the request that counts.
        return GenerationRequest(
            prompt_ids=prompt,
            vocabulary=node.vocabulary,
            model=node.model,
            options=node.options.of_prefill(least_ids(node.engine)),
            timeouts=node.timeouts,
            session=self._run.session_of(node.path),
            ahead=True,
        )
