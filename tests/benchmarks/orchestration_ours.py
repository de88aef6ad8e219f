"""This project's runs, for `orchestration_worker.py`: the same shapes as the peers'."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Self

from codec_agents import Chat, Pipeline
from codec_agents.engines.base import Engine, GenerationRequest, StreamStats
from codec_agents.testing import ScriptedEngine, ScriptedModel, Wait
from codec_core.frames import CodecFrame

MAP = "demo/bytes"
IDS = range(300, 400)


class ReadyEngine:
    """Gives prepared frames, so that what is measured is the runtime and not an engine."""

    name = "ready"
    provider = "scripted"

    def __init__(self, frames: int, size: int, hold: asyncio.Event | None = None) -> None:
        ids = tuple(IDS[:size])
        body = [CodecFrame(ids, done=False) for _ in range(frames)]
        self._frames = [*body, CodecFrame((), done=True, finish_reason="stop")]
        self._hold = hold

    def stream(self, request: GenerationRequest) -> ReadyStream:
        return ReadyStream(self._frames, self._hold)

    async def aclose(self) -> None:
        pass


class ReadyStream:
    def __init__(self, frames: Sequence[CodecFrame], hold: asyncio.Event | None) -> None:
        self.stats = StreamStats(format="ids")
        self._frames = iter(frames)
        self._hold = hold
        self._given = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CodecFrame:
        if self._given == 1 and self._hold is not None:
            await self._hold.wait()
        self._given += 1
        for frame in self._frames:
            return frame
        raise StopAsyncIteration


def chain_of(nodes: int, engine: Engine) -> Pipeline:
    """An input, so many models that each read the one before, and a sink."""
    pipeline = Pipeline("chain").input("q").sink("out", text=False)
    names = [f"n{number}" for number in range(nodes)]
    for name in names:
        sampling = {"max_tokens": 1_000_000}
        pipeline.model(name, engine=engine, map=MAP, prompt=Chat(user="{text}"), model="m", sampling=sampling)
    for source, target in zip(["q", *names], [*names, "out"], strict=True):
        pipeline.connect(source, target)
    return pipeline


def scripted_speaker() -> ScriptedEngine:
    """Return an engine that gives an id and then nothing for as long as anything is measured."""
    return ScriptedEngine(ScriptedModel(script=lambda _: ["a", Wait(3600.0), "b"]))


class Ours:
    """Chains of model nodes, on ready frames or (`scripted`) on the engine for tests."""

    def chain(self, nodes: int, *, scripted: bool = False) -> Callable[[], Awaitable[object]]:
        model = ScriptedModel(script=lambda _: "four words of text", ids_a_frame=8)
        pipeline = chain_of(nodes, ScriptedEngine(model) if scripted else ReadyEngine(1, 8))
        return lambda: pipeline.invoke({"q": "hello"})

    def speaker(
        self,
        frames: int,
        size: int,
        hold: asyncio.Event | None,
        hops: int = 1,
        *,
        scripted: bool = False,
    ) -> Callable[[], AsyncIterator[object]]:
        engine = scripted_speaker() if scripted else ReadyEngine(frames, size, hold)
        pipeline = chain_of(hops, engine)

        async def follow() -> AsyncIterator[object]:
            async with pipeline.run({"q": "hello"}) as run:
                async for ids in run.ids("out"):
                    yield ids

        return follow
