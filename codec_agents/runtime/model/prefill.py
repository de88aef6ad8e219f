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
from codec_agents.engines.base import GenerationRequest, least_ids, reports_cached_ids
from codec_agents.engines.measured import IDLE, ROOM
from codec_agents.events import Usage
from codec_agents.plan.nodes import declared_path

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltEdge, PromptedNode
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.model.prompt import IncrementalPrompt

_log = logging.getLogger(__name__)

PREFILL_REQUESTS: Final = 32
"""Bound of the requests ahead for one prompt: 8,192 ids at the default stride."""
BLOCK: Final = 128
"""With `prefill: auto`, beginnings end where a block of the engine's cache does: a multiple of the sizes in
use (16 to 128 ids). The rest of a block would be read again with the request itself."""


def edges_ahead(node: PromptedNode, edges: Sequence[BuiltEdge]) -> list[BuiltEdge]:
    """Return the edges into a prompt that ask for requests ahead.

    Those that do so by default do where the engine is known to report cached ids: without them no gain shows.
    """
    known = node.measured.reports_cached_ids or reports_cached_ids(node.engine)
    return [edge for edge in edges if edge.prefill and (known or not edge.prefill_by_default)]


class Prefill:
    """The requests ahead for one prompt, one at a time."""

    def __init__(
        self,
        node: PromptedNode,
        prompt: IncrementalPrompt,
        context: NodeContext,
        edges: Sequence[BuiltEdge],
    ) -> None:
        """Begin without a request.

        Args:
            node: the node that asks.
            prompt: its prompt, which grows.
            context: where it runs.
            edges: the edges into the prompt that ask for requests ahead.
        """
        self._node = node
        self._prompt = prompt
        self._run = context.run
        # All edges share one series of requests: the shortest stride, and the tightest budget.
        self._stride = min(edge.prefill for edge in edges)
        self._budget = min(edge.prefill_budget for edge in edges)
        self._auto = all(edge.prefill_auto for edge in edges)
        """Whether measurements decide; an edge that asks for requests in any case goes before them."""
        # By default only an idle engine: another request in the same batch may be rounded otherwise.
        self._most = IDLE if all(edge.prefill_by_default for edge in edges) else ROOM
        self._more = Signal()
        self._scope = anyio.CancelScope()
        self._stopped = False
        """Set before the scope is cancelled: a cancelled task runs on to its next checkpoint, and must not
        send."""
        self._requests = 0
        self._ids = 0
        self.given = 0
        """The length of the longest beginning that the engine has answered."""

    def ids_came(self) -> None:
        """Wake up: the slots have more ids."""
        self._more.give()

    def stop(self) -> None:
        """Send no more, and close the request in flight: the one that counts is sent now."""
        self._stopped = True
        self._scope.cancel()

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
            prompt = self._beginning()
            if len(prompt) < self.given + self._stride:
                continue
            if self._auto and not self._node.measured.has_room(self._most):
                continue
            if self._ids + len(prompt) > self._budget:  # each is sent from its first id on, and counts whole
                return
            await self._give(prompt)

    def _beginning(self) -> list[int]:
        """Return the ids to send now."""
        prompt = self._prompt.so_far()
        return prompt[: len(prompt) // BLOCK * BLOCK] if self._auto else prompt

    async def _give(self, prompt: list[int]) -> None:
        async with AsyncExitStack() as stack:
            places = self._node.engine_slots
            if places is not None:
                try:
                    places.acquire_nowait()
                except anyio.WouldBlock:  # an answer is never delayed for a prefill
                    return
                stack.callback(places.release)
            stack.enter_context(self._node.measured)
            self._count(prompt)
            async for _ in await stack.enter_async_context(self._node.engine.stream(self._request(prompt))):
                pass
        self.given = len(prompt)
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
        )
