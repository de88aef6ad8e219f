"""The scripted back end: models whose answers come from scripts, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Final

import anyio

from codec_agents.concurrency.event_loop import checkpoint
from codec_agents.engines.scripted.engine import CutOffError, ScriptedModel
from codec_agents.engines.scripted.prefix_cache import PrefixCache
from codec_agents.engines.scripted.script import EncodedTurn, Script, ScriptError
from codec_agents.server.backends.backend import BrokenOffError, Job, ServedModel
from codec_agents.server.http import HttpError
from codec_agents.server.workers import Workers
from codec_core.frames import CodecFrame
from codec_core.maps import TokenizerMap
from codec_core.vocabulary import Vocabulary, vocabulary_of

LONG_TURN: Final = 1024
"""Ids of an answer behind which the event loop serves others. It is encoded where the script is called, and a
free lock is taken without a pause, so many long answers at once would be made in one go."""


class ScriptedBackend:
    """Scripted models by name; the first one is the default."""

    gathers = False
    """A script decides how its ids are cut into frames."""
    gives_logprobs = True
    stops_itself = False

    def __init__(self) -> None:
        self._models: dict[str, ScriptedModel] = {}
        self._caches: dict[str, PrefixCache | None] = {}
        self._served: list[ServedModel] = []
        self._workers = Workers()
        self._turns: anyio.Lock | None = None
        """Made in the server's event loop, which need not be that of the code that makes the back end."""

    @classmethod
    def of(
        cls,
        source: TokenizerMap | Vocabulary,
        script: Script | ScriptedModel,
        name: str = "scripted",
        **settings: Any,
    ) -> ScriptedBackend:
        """Return a back end with one model; the settings are those of `ScriptedModel`."""
        backend = cls()
        backend.add(name, source, script, **settings)
        return backend

    def add(
        self, name: str, source: TokenizerMap | Vocabulary, script: Script | ScriptedModel, **settings: Any
    ) -> None:
        """Serve a further model, in the vocabulary of a map; the settings are those of `ScriptedModel`."""
        model = script if isinstance(script, ScriptedModel) else ScriptedModel(script=script, **settings)
        vocabulary = source if isinstance(source, Vocabulary) else vocabulary_of(source)
        self._models[name] = model
        self._caches[name] = model.cache()
        self._served.append(ServedModel(name, vocabulary))

    @property
    def models(self) -> Sequence[ServedModel]:
        """The models, the default one first."""
        return self._served

    @asynccontextmanager
    async def generate(self, job: Job) -> AsyncIterator[AsyncIterator[CodecFrame]]:
        """Start the turn that the script decides on."""
        model = self._models[job.model.name]
        self._turns = self._turns or anyio.Lock(fast_acquire=True)
        # Scripts are called one at a time and in order, though long prompts are read in several threads.
        async with self._turns:
            turn = await self._decide(model, job)
            if len(turn.ids) > LONG_TURN:
                await checkpoint()
        if turn.refusal is not None:
            raise HttpError(turn.refusal.status, turn.refusal.message)
        reading = model.reading(job.prompt_ids, self._caches[job.model.name])
        job.cached_ids = reading.cached
        async with aclosing(model.frames(turn, reading, job.options)) as frames:
            yield _broken_off(frames)

    async def _decide(self, model: ScriptedModel, job: Job) -> EncodedTurn:
        """Return the script's answer. It reads its prompt as text: a long one is decoded in a thread."""
        decide = partial(model.turn, job.prompt_ids, job.model.vocabulary, job.options, job.model.name)
        try:
            return await self._workers.run(decide, len(job.prompt_ids))
        except ScriptError as error:
            raise HttpError(500, str(error), code="script_error") from error

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Do nothing: a script holds nothing."""
        yield


async def _broken_off(frames: AsyncIterator[CodecFrame]) -> AsyncIterator[CodecFrame]:
    try:
        async for frame in frames:
            yield frame
    except CutOffError as error:
        raise BrokenOffError("the script breaks the answer off") from error
