"""Generations of a model in this process take turns; a reader that leaves while it waits takes none."""

from __future__ import annotations

import threading
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from codec_agents.engines.base import SamplingOptions
from codec_agents.server.backends.backend import Job
from codec_agents.server.backends.transformers import TransformersBackend
from codec_core.vocabulary import Vocabulary

pytestmark = pytest.mark.asyncio


class Waiting(TransformersBackend):
    """A model that needs no runtime, and gives its ids when it may."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        model = SimpleNamespace(
            config=SimpleNamespace(),
            generation_config=SimpleNamespace(eos_token_id=2),
            forward=lambda past_key_values: past_key_values,
        )
        super().__init__(model, vocabulary, streams=1)
        self.may_go_on = threading.Event()
        self.asked: list[Job] = []

    def _ids(self, job: Job) -> Generator[tuple[int, Any]]:
        self.asked.append(job)
        yield 20, None
        assert self.may_go_on.wait(10)
        yield 2, None


async def test_a_reader_that_leaves_while_it_waits_takes_no_turn(words: Vocabulary) -> None:
    backend = Waiting(words)
    first, second, third = (Job(backend.models[0], [20], SamplingOptions()) for _ in range(3))
    async with backend.generate(first) as frames:
        assert (await anext(frames)).ids == (20,)
        with anyio.fail_after(5):
            async with backend.generate(second):
                await anyio.lowlevel.checkpoint()
        backend.may_go_on.set()
        assert [(await anext(frames)).ids for _ in range(2)] == [(2,), ()]
    async with backend.generate(third) as frames:
        assert (await anext(frames)).ids == (20,)
    assert backend.asked == [first, third]
