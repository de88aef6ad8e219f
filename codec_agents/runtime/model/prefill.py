"""Prefill ahead: give an engine the beginning of a prompt while the rest is still being written.

An engine with a prefix cache has then read most of the prompt when the request itself comes. What is sent is
a request for one id, which is thrown away; the prompt of the request stays whole and its answer the same,
whatever the engine does with what it was given before.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

from codec_agents.engines.base import GenerationRequest
from codec_agents.events import Usage
from codec_agents.runtime.edges.channel import Signal

if TYPE_CHECKING:
    from codec_agents.plan.plan import BuiltAsking
    from codec_agents.runtime.edges.slots import Slots
    from codec_agents.runtime.executor import Execution

PREFILL_REQUESTS: Final = 32
"""The most requests ahead for one prompt: 8,192 ids at the usual stride."""
PREFILL_IDS: Final = 150_000
"""The most ids in all of them: each repeats the one before, which costs bytes even where it costs no time."""


class Prefill:
    """The requests ahead for one prompt, one at a time."""

    def __init__(self, node: BuiltAsking, slots: Slots, execution: Execution, stride: int) -> None:
        self._node = node
        self._slots = slots
        self._run = execution.run
        self._stride = stride
        self._more = Signal()
        self._scope = anyio.CancelScope()
        self._stopped = False
        """A cancelled task may still run as far as its next wait; nothing is to be sent by then."""
        self._requests = 0
        self._ids = 0
        self.given = 0
        """The length of the longest beginning that the engine has answered to."""

    @classmethod
    def of(cls, node: BuiltAsking, slots: Slots, execution: Execution) -> Prefill | None:
        """Return the requests ahead that a node's edges ask for; None if none does."""
        strides = [handoff.edge.prefill for handoff in slots.handoffs if handoff.edge.prefill]
        return cls(node, slots, execution, min(strides)) if strides else None

    def ids_came(self) -> None:
        """Take note that there is more in the slots."""
        self._more.give()

    def stop(self) -> None:
        """Send no more, and close the request that is under way: the one that counts goes out now."""
        self._stopped = True
        self._scope.cancel()

    async def run(self) -> None:
        """Send beginnings of the prompt, each longer than the last, until there is no room for more.

        The first one that fails ends it: an engine that is in trouble is left alone.
        """
        with self._scope, suppress(Exception):
            while self._requests < PREFILL_REQUESTS:
                await self._more.wait()
                if self._stopped:
                    return
                prompt = self._slots.settled_prompt()
                if len(prompt) < self.given + self._stride:
                    continue
                if self._ids + len(prompt) > PREFILL_IDS:
                    return
                await self._give(prompt)

    async def _give(self, prompt: list[int]) -> None:
        async with AsyncExitStack() as stack:
            places = self._node.engine_slots
            if places is not None:
                try:
                    places.acquire_nowait()
                except anyio.WouldBlock:  # requests that count come first
                    return
                stack.callback(places.release)
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
        return GenerationRequest(
            prompt_ids=prompt,
            vocabulary=node.vocabulary,
            model=node.model,
            options=msgspec.structs.replace(node.options, max_tokens=1),
            timeouts=node.timeouts,
        )
