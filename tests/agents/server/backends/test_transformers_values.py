"""The values of ids from the `transformers` back end, without a model: what the server makes of them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import anyio
import httpx
import pytest

from codec_agents.server import EmbeddedServer, create_app
from codec_agents.server.backends.backend import Job, ServedModel
from codec_agents.server.backends.transformers import TransformersBackend
from codec_agents.vocabularies import bundled_map
from codec_core.frames import SampledValues
from codec_core.vocabulary import vocabulary_of


class Values(TransformersBackend):
    """The back end, with fixed ids and values in the place of a model's passes."""

    def __init__(self) -> None:
        self.models = (ServedModel("m", vocabulary_of(bundled_map("demo/bytes")), None),)
        self._ends = frozenset()
        self._limiter = anyio.CapacityLimiter(1)

    def _ids(self, job: Job) -> Generator[tuple[int, SampledValues | None]]:
        for token in (10, 20):
            row = ((token, -0.5), (5, -2.0))
            yield token, SampledValues((-0.5,), (row,)) if job.options.logprobs else None


@pytest.mark.asyncio
async def test_completions_have_the_log_probabilities_of_a_model_in_this_process() -> None:
    app: Any = create_app(Values())
    async with EmbeddedServer(app) as server, httpx.AsyncClient(base_url=server.url) as client:
        body = {"prompt": "hi", "max_tokens": 5, "logprobs": 2}
        [choice] = (await client.post("/v1/completions", json=body)).json()["choices"]
    assert choice["logprobs"]["token_logprobs"] == [-0.5, -0.5]
    assert choice["logprobs"]["top_logprobs"] == [{"+": -0.5, "&": -2.0}, {"5": -0.5, "&": -2.0}]
