"""The bridge back end: a stock engine becomes a Codec server. Ids pass, and no text is made."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from codec_agents.engines.base import Engine, FrameStream, GenerationRequest, Timeouts
from codec_agents.exceptions import (
    EngineError,
    EngineStatusError,
    EngineTimeoutError,
    EngineUnavailableError,
)
from codec_agents.server.backends.backend import BrokenOffError, Job, ServedModel
from codec_agents.server.failures import log_failure
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
    gives_logprobs = True
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
        self.engine = engine
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
        # Entered by hand: only what entering raises is a refusal. The reader's errors pass unchanged.
        stream = self.engine.stream(request)
        try:
            frames = await stream.__aenter__()
        except EngineError as error:
            raise as_http_error(error) from error
        relay = _Relay(frames, job)
        try:
            yield relay
        finally:
            # With the engine's own error, by which a pool knows that a replica failed: the reader's never get
            # here as they were.
            failure = relay.failure
            await stream.__aexit__(None if failure is None else type(failure), failure, None)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Close the connections to the engine in the end; they open with the first generation."""
        try:
            yield
        finally:
            await self.engine.aclose()


class _Relay:
    """The engine's frames, its errors as the server's."""

    def __init__(self, stream: FrameStream, job: Job) -> None:
        self._frames = aiter(stream)
        self._stats = stream.stats
        self._job = job
        self.failure: EngineError | None = None
        """The error that broke the answer off."""

    def __aiter__(self) -> AsyncIterator[CodecFrame]:
        return self

    async def __anext__(self) -> CodecFrame:
        try:
            frame = await anext(self._frames)
        except EngineError as error:
            self.failure = error
            raise BrokenOffError(str(error)) from error
        self._job.cached_ids = self._stats.cached_tokens
        return frame


PASSED_ON = frozenset({400, 413, 422, 429})
"""Refusals of an engine that are about the client's own request. Others are about this server, its key for
the engine for one, and their text is not the client's business."""


def as_http_error(error: EngineError) -> HttpError:
    """Return the answer for a failure before the first id; the log has the details."""
    if isinstance(error, EngineStatusError) and error.status in PASSED_ON:
        # `Retry-After` is in whole seconds; rounding down would ask too early.
        headers = {} if error.retry_after is None else {"retry-after": f"{math.ceil(error.retry_after)}"}
        said = f": {error.body}" if error.body else ""
        return HttpError(
            error.status, f"the engine refused the request{said}", code="engine_refused", headers=headers
        )
    if isinstance(error, EngineTimeoutError):
        return HttpError(504, log_failure("the engine did not answer in time", error), code="engine_timeout")
    status = 503 if isinstance(error, EngineUnavailableError) else 502
    return HttpError(status, log_failure("the engine failed", error), code="engine_error")
