"""Prepare a model's engine while the prompt is still being filled: connect, and prefill.

Preparation delays nothing, and its failures are not reported: the request itself is sent in any case and
fails for the same reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio

from codec_agents.concurrency.task_group import TaskGroup
from codec_agents.engines.base import GenerationRequest, context_of, preparing
from codec_agents.exceptions import EngineError
from codec_agents.plan.nodes import PromptedNode
from codec_agents.plan.variants import prompted_nodes

if TYPE_CHECKING:
    from codec_agents.plan.plan import BuiltPipeline
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.model.prefill import Prefill
    from codec_agents.runtime.model.prompt import IncrementalPrompt

PREPARED_FOR: Final = 4.0
"""Seconds after which a connection is prepared again: uvicorn, which most engines use, closes idle ones
after 5."""


class Preparation:
    """Starts with the first ids that arrive, and stops when the slots are complete."""

    def __init__(
        self, node: PromptedNode, context: NodeContext, prompt: IncrementalPrompt, prefill: Prefill | None
    ) -> None:
        self._node = node
        self._context = context
        self._prompt = prompt
        self._prefill = prefill
        self._stopped = anyio.Event()
        self._started = False

    def ids_came(self) -> None:
        """Start with the first ids in the slots; continue the prompt and the prefill with further ones."""
        if not self._started:
            self._started = True
            self._context.start_background(self._node.name, self._keep_prepared)
            if self._prefill is not None:
                self._context.start_background(self._node.name, self._prefill.run)
        if self._prefill is not None:
            self._prefill.ids_came()
        self._prompt.ids_came()

    def stop(self) -> None:
        """Stop: the slots are complete, and nothing may be in the way of the request, which follows `end`."""
        self._stopped.set()
        if self._prefill is not None:
            self._prefill.stop()

    async def end(self) -> None:
        """Wait, after `stop`, for what the request would wait for in any case."""
        if self._prefill is not None:
            await self._prefill.end()

    @property
    def prefilled_ids(self) -> int:
        """How many ids of the prompt the engine was sent ahead of the request."""
        return 0 if self._prefill is None else self._prefill.given

    async def _keep_prepared(self) -> None:
        """Prepare the engine, again whenever an idle connection may have been closed."""
        while not self._stopped.is_set():
            await prepare(self._node, self._prompt.so_far(), self._context.run.session_of(self._node.path))
            with anyio.move_on_after(PREPARED_FOR):
                await self._stopped.wait()


async def prepare(node: PromptedNode, begun: Sequence[int] = (), session: str = "") -> None:
    """Let a node's engine do what it can before the first request; most engines have nothing to do.

    Args:
        node: the node.
        begun: the beginning of the prompt, as far as it is known; it decides where a pool sends the request.
        session: the node's conversation.
    """
    if (engine := preparing(node.engine)) is None:
        return
    request = GenerationRequest(
        prompt_ids=begun,
        vocabulary=node.vocabulary,
        model=node.model,
        options=node.options,  # they decide which of its calls some engines use
        timeouts=node.timeouts,
        node=node.path,
        session=session,
    )
    if node.asks_context:  # the answer is kept, and `Room` finds it
        with suppress(EngineError):
            await context_of(node.engine, request)
    await engine.prepare(request)


async def prepare_engines(built: BuiltPipeline, *, within: float) -> None:
    """Prepare the engines of all models, for at most `within` seconds, so that a timed run starts warm.

    Models inside loops and maps are included: their first item or round is a part of the run like any other.
    """

    async def guarded(node: PromptedNode) -> None:
        with suppress(Exception):  # the run asks this engine as well, and reports what it cannot do
            await prepare(node)

    with anyio.move_on_after(within):
        async with TaskGroup() as group:
            for node in prompted_nodes(built).values():
                group.start_soon(guarded, node)
