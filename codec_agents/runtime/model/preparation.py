"""What can be done for a model node while its prompt is still being filled: connect, and prefill.

None of it holds anything up, and nothing that fails here is told: the request itself comes anyway.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from codec_agents.engines.base import GenerationRequest, preparing
from codec_agents.plan.plan import BuiltAsking, BuiltPipeline
from codec_agents.runtime.model.prefill import Prefill

if TYPE_CHECKING:
    from codec_agents.runtime.edges.slots import Slots
    from codec_agents.runtime.executor import Execution

PREPARED_FOR = 4.0
"""Seconds after which it is done again: uvicorn, which most engines run on, closes what idles for five."""


class Ahead:
    """Starts with the first ids that arrive, and ends with the node."""

    def __init__(self, node: BuiltAsking, execution: Execution, prefill: Prefill | None) -> None:
        self._node = node
        self._execution = execution
        self._prefill = prefill
        self._filled = anyio.Event()
        self._started = False

    @classmethod
    def of(cls, node: object, slots: Slots, execution: Execution) -> Ahead | None:
        """Return what there is to do before the prompt of a node is complete; None for nothing."""
        if not isinstance(node, BuiltAsking):
            return None
        prefill = Prefill.of(node, slots, execution)
        if prefill is None and preparing(node.engine) is None:
            return None
        return cls(node, execution, prefill)

    def ids_came(self) -> None:
        """Take note that there is more in the slots."""
        if not self._started:
            self._started = True
            self._execution.start_aside(self._node.name, self._keep_prepared)
            if self._prefill is not None:
                self._execution.start_aside(self._node.name, self._prefill.run)
        if self._prefill is not None:
            self._prefill.ids_came()

    def filled(self) -> None:
        """Take note that the slots are complete: the request goes out next, and nothing may be in its way."""
        self._filled.set()
        if self._prefill is not None:
            self._prefill.stop()

    @property
    def prefilled_ids(self) -> int:
        """How many ids of the prompt the engine has been given."""
        return 0 if self._prefill is None else self._prefill.given

    async def _keep_prepared(self) -> None:
        """Prepare the engine again and again until the slots are filled: connections do not stay for ever."""
        while not self._filled.is_set():
            await prepare(self._node)
            with anyio.move_on_after(PREPARED_FOR):
                await self._filled.wait()


async def prepare(node: BuiltAsking) -> None:
    """Do what can be done at a node's engine before the first request."""
    if (engine := preparing(node.engine)) is not None:
        await engine.prepare(
            GenerationRequest(
                prompt_ids=(),
                vocabulary=node.vocabulary,
                model=node.model,
                timeouts=node.timeouts,
                node=node.path,
            )
        )


async def prepare_engines(built: BuiltPipeline, *, within: float) -> None:
    """Prepare the engines of all models, before the run is timed: for so many seconds at most."""

    async def guarded(node: BuiltAsking) -> None:
        with suppress(Exception):
            await prepare(node)

    with anyio.move_on_after(within):
        async with anyio.create_task_group() as group:
            for node in built.nodes.values():
                if isinstance(node, BuiltAsking):
                    group.start_soon(guarded, node)
