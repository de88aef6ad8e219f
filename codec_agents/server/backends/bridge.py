"""The bridge back end: a stock engine becomes a Codec server. Ids pass, and no text is made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from codec_agents.engines.base import Engine, GenerationRequest, Timeouts
from codec_agents.exceptions import (
    EngineError,
    EngineStatusError,
    EngineTimeoutError,
    EngineUnavailableError,
)
from codec_agents.server.backends.backend import BrokenOffError, Job, ServedModel
from codec_agents.server.http import HttpError
from codec_core.frames import CodecFrame
from codec_core.maps import TokenizerMap
from codec_core.vocabulary import Vocabulary, vocabulary_of


class BridgeBackend:
    """Relays generations of one engine.

    Args:
        engine: a client of the engine, `VllmEngine(url)` for one.
        source: the map of the engine's model, or its vocabulary.
        name: what clients call the model.
        model: what the engine calls it; the same name if left out.
        context: the most ids that prompt and answer may have together.
        timeouts: how long the engine may take.
    """

    gathers = True
    stops_itself = True
    """Stop texts are the engine's business."""

    def __init__(
        self,
        engine: Engine,
        source: TokenizerMap | Vocabulary,
        name: str = "default",
        *,
        model: str | None = None,
        context: int | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        vocabulary = source if isinstance(source, Vocabulary) else vocabulary_of(source)
        self.models: Sequence[ServedModel] = (ServedModel(name, vocabulary, context),)
        self._engine = engine
        self._model = model or name
        self._timeouts = timeouts or Timeouts()

    @asynccontextmanager
    async def generate(self, job: Job) -> AsyncIterator[AsyncIterator[CodecFrame]]:
        """Send the job on.

        Raises:
            HttpError: the engine refuses it (its own status), or cannot be reached (502, 504).
        """
        request = GenerationRequest(
            prompt_ids=job.prompt_ids,
            vocabulary=job.model.vocabulary,
            model=self._model,
            options=job.options,
            headers=job.headers,
            timeouts=self._timeouts,
        )
        stream = self._engine.stream(request)
        try:
            frames = await stream.__aenter__()
        except EngineError as error:
            raise as_http_error(error) from error
        try:
            yield _Relay(aiter(frames))
        finally:
            await stream.__aexit__(None, None, None)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Close the connections to the engine in the end; they open with the first generation."""
        try:
            yield
        finally:
            await self._engine.aclose()


class _Relay:
    """The engine's frames, its errors as the server's."""

    def __init__(self, frames: AsyncIterator[CodecFrame]) -> None:
        self._frames = frames

    def __aiter__(self) -> AsyncIterator[CodecFrame]:
        return self

    async def __anext__(self) -> CodecFrame:
        try:
            return await anext(self._frames)
        except EngineError as error:
            raise BrokenOffError(str(error)) from error


def as_http_error(error: EngineError) -> HttpError:
    """Return the answer for a failure before the first id."""
    if isinstance(error, EngineStatusError):
        return HttpError(error.status if error.status < 500 else 502, str(error), code="engine_refused")
    if isinstance(error, EngineTimeoutError):
        return HttpError(504, str(error), code="engine_timeout")
    status = 503 if isinstance(error, EngineUnavailableError) else 502
    return HttpError(status, str(error), code="engine_error")
