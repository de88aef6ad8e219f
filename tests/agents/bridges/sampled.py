"""A gateway in front of a scripted model that samples: its ids are cut otherwise than a tokenizer cuts them.

So a prompt that was written anew from the text would not hold the ids that the model gave.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from codec_agents.server import EmbeddedServer, Gateway, ScriptedBackend
from codec_agents.server.backends.backend import Job
from codec_agents.server.recording import RecordedExchange, RecordingExchanges
from codec_agents.testing import Call, Say, Think
from codec_core.frames import CodecFrame
from codec_core.vocabulary import Vocabulary
from tests.agents.dialects.families import small_map_of

CITIES = ("Oslo", "Zürich")
QUESTION = "Weather in Oslo and Zürich?"


def script(prompt: Any) -> Iterator[Any]:
    """Call the tool for both cities, or hand over to the agent that has it; then say what came back."""
    yield Think(f"Step {prompt.turn}: ü, 東京.")
    if "weather" not in prompt.user.lower():
        yield Say(" You are  welcome. ☂ \n")
    elif "transfer_to_forecaster" in prompt.system:
        yield Call("transfer_to_forecaster")
    elif len(prompt.all_results) < len(CITIES):
        yield Say("\n\n")
        for city in CITIES:
            yield Call("get_weather", city=city, days=1.5)
    else:
        yield Say(f"It is {' and '.join(prompt.all_results[-len(CITIES) :])}.")


def get_weather(city: str, days: float = 1) -> str:
    """Return the weather of a city."""
    return f"{days:g} days of rain in {city}"


def tool_messages(message: Any) -> list[dict[str, Any]]:
    """Return the results of the calls of a chat's message, as messages."""
    return [
        {
            "role": "tool",
            "tool_call_id": call.id,
            "content": get_weather(**json.loads(call.function.arguments)),
        }
        for call in message.tool_calls or ()
    ]


SAID = "It is 1.5 days of rain in Oslo and 1.5 days of rain in Zürich."


class Sampling(ScriptedBackend):
    """A scripted model that gives each character's bytes one by one."""

    @asynccontextmanager
    async def generate(self, job: Job) -> AsyncIterator[AsyncIterator[CodecFrame]]:
        async with super().generate(job) as frames:
            yield _cut(frames, job.model.vocabulary)


async def _cut(frames: AsyncIterator[CodecFrame], vocabulary: Vocabulary) -> AsyncIterator[CodecFrame]:
    single = {
        vocabulary.byte_table[token][0]: token
        for token in range(vocabulary.size)
        if vocabulary.is_valid(token)
        and token not in vocabulary.special_ids
        and len(vocabulary.byte_table[token]) == 1
    }
    special = vocabulary.special_ids

    def cut(ids: Sequence[int]) -> Iterator[int]:
        for token in ids:
            if token in special:
                yield token
            else:
                yield from (single[byte] for byte in vocabulary.byte_table[token])

    async for frame in frames:
        yield CodecFrame(tuple(cut(frame.ids)), frame.done, frame.finish_reason)


class Served:
    """A gateway that runs in a thread."""

    def __init__(self, server: EmbeddedServer[Gateway]) -> None:
        self.url = server.url
        self._gateway = server.app

    @property
    def lineage(self) -> dict[str, int]:
        """How many requests there were of each kind."""
        return dict(self._gateway.conversations.counts.requests)

    @property
    def generations(self) -> list[RecordedExchange]:
        """The requests to the model, in order."""
        exchanges = self._gateway.exchanges
        assert isinstance(exchanges, RecordingExchanges)
        return [each for each in exchanges.generations if each.prompt_ids]

    def extended(self) -> list[bool]:
        """Return for each generation but the first: whether its prompt begins with the one before."""
        pairs = zip(self.generations, self.generations[1:], strict=False)
        return [
            [*one.prompt_ids, *one.ids] == list(two.prompt_ids[: len(one.prompt_ids) + len(one.ids)])
            for one, two in pairs
        ]


@contextmanager
def gateway(model: Any = script) -> Iterator[Served]:
    """Serve in a thread: frameworks have event loops of their own."""
    backend = Sampling.of(small_map_of("qwen3"), model, "m", ids_a_frame=5)
    with EmbeddedServer(Gateway(backend, exchanges=RecordingExchanges())) as server:
        yield Served(server)
