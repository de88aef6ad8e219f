"""An engine that is a Python object of another program: a trainer's client for the model that it trains.

The object has one call, `await client.generate(request_id, prompt_ids=..., sampling_params=...)`, which
returns the whole answer: `token_ids`, and where it has them `log_probs`, `stop_reason`, `routed_experts` and
`extra_fields`. It is the call that verl hands to its agent loops.
"""

from __future__ import annotations

import base64
import io
import operator
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

from codec_agents.engines.base import FrameStream, GenerationRequest, SamplingOptions, StreamStats
from codec_agents.engines.prompt_body import check_prompt
from codec_agents.engines.request_body import COMMON, PENALTIES, Place, Table, place_options, same
from codec_agents.engines.values import LogprobMode
from codec_agents.exceptions import EngineError, EngineStreamError
from codec_core.frames import CodecFrame, SampledValues, WeightVersion
from codec_core.frames.values import with_values

PARAMS: Table = {
    **same("sampling_params", *COMMON, *PENALTIES, "top_k", "min_p", "repetition_penalty", "min_tokens"),
    **same("sampling_params", "stop_token_ids"),
    "logprobs": Place("sampling_params", "logprobs", lambda _: {"logprobs": True}),
}
"""vLLM's words, in which trainers speak; alternatives are not asked for."""

SHARED = frozenset(PARAMS) & frozenset(SamplingOptions.__struct_fields__)
"""Parameters that have the names of options."""

WEIGHTS = "global_steps"
"""The field of `extra_fields` that names the trainer's step, whose weights made the answer."""


class InProcessClient(Protocol):
    """The one call of the object."""

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any]
    ) -> Any:
        """Return the answer to a prompt."""
        ...


class InProcessEngine:
    """An engine whose answers come from an object in this process, each in one frame.

    Args:
        client: the object.
        name: the engine's name in the pipeline.
        sampling_params: parameters of every request, which a node's own sampling overrides.
        logprob_mode: what the client's log probabilities are computed from.
        session: the beginning of request ids; requests of one node of one session share an id, by which a
            client keeps them with one server. Random when left out.
    """

    provider = "in_process"
    continues = True

    def __init__(
        self,
        client: InProcessClient,
        *,
        name: str = "in_process",
        sampling_params: Mapping[str, Any] | None = None,
        logprob_mode: LogprobMode | None = None,
        session: str | None = None,
    ) -> None:
        self.name = name
        self.logprob_mode = logprob_mode
        self._client = client
        self._params = dict(sampling_params or {})
        self._session = session or uuid.uuid4().hex

    @property
    def default_sampling(self) -> SamplingOptions:
        """The parameters of every request, as options; those that are none are in `extra`."""
        known = {name: value for name, value in self._params.items() if name in SHARED}
        others = {name: value for name, value in self._params.items() if name not in SHARED}
        return SamplingOptions(**known, extra={"sampling_params": others})

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        """Ask for the whole answer; leaving the context cancels the call.

        Raises:
            EngineError: the prompt is not in the map, or an option has no place.
        """
        check_prompt(self.name, request)
        if request.options.logprobs:  # 0 asks for the sampled ids' own
            raise EngineError(self.name, "it reports no alternatives; ask for `logprobs: true`")
        body: dict[str, Any] = {"sampling_params": {**self._params}}
        if place_options(self.name, request.options, PARAMS, body):
            raise EngineError(self.name, "it has no headers")
        yield _Answer(self, request, body["sampling_params"])

    async def aclose(self) -> None:
        """Do nothing: the object is the caller's."""

    async def ask(self, request: GenerationRequest, params: dict[str, Any]) -> Any:
        """Return the object's answer.

        Raises:
            EngineStreamError: it failed; the error is the cause.
        """
        try:
            # The id names the conversation rather than the request: clients choose the server by it.
            return await self._client.generate(
                f"{self._session}-{request.node}",
                prompt_ids=list(request.prompt_ids),
                sampling_params=params,
            )
        # Nothing is known of its classes, so nothing shows that a second attempt could help.
        except Exception as error:
            message = f"the client failed: {type(error).__name__}: {error}"
            raise EngineStreamError(self.name, message, transient=False) from error


class _Answer:
    """One answer: a frame with all ids, and the end."""

    def __init__(self, engine: InProcessEngine, request: GenerationRequest, params: dict[str, Any]) -> None:
        now = time.perf_counter()
        self.stats = StreamStats(
            format="ids", request_started=now, request_sent=now, prompt_tokens=len(request.prompt_ids)
        )
        self._engine = engine
        self._request = request
        self._params = params
        self._frames: list[CodecFrame] | None = None

    def __aiter__(self) -> AsyncIterator[CodecFrame]:
        return self

    async def __anext__(self) -> CodecFrame:
        if self._frames is None:
            answer = await self._engine.ask(self._request, self._params)
            self._frames = self._read(answer)
        if not self._frames:
            raise StopAsyncIteration
        return self._frames.pop(0)

    def _read(self, answer: Any) -> list[CodecFrame]:
        try:
            ids = tuple(map(_id_of, answer.token_ids))  # of an array, whose numbers no record could hold
            values = self._values(answer, len(ids))
        except (AttributeError, TypeError, ValueError) as error:
            message = f"the client's answer cannot be read: {error}"
            raise EngineStreamError(self._engine.name, message, transient=False) from error
        stats = self.stats
        # The object tells no times: all ids count as having come at the end.
        stats.first_id = stats.last_id = time.perf_counter() if ids else None
        stats.ids = len(ids)
        stats.finish_reason = self._reason(answer, ids)
        end = CodecFrame((), done=True, finish_reason=stats.finish_reason)
        return [with_values(CodecFrame(ids, done=False), values), end]

    def _reason(self, answer: Any, ids: tuple[int, ...]) -> str:
        """Return why the answer ended; clients tell an abort, and not a limit from an end."""
        if getattr(answer, "stop_reason", None) == "aborted":
            return "abort"
        options = self._request.options
        ended = bool(ids) and ids[-1] in options.stop_token_ids
        return "length" if len(ids) >= options.max_tokens and not ended else "stop"

    def _values(self, answer: Any, ids: int) -> SampledValues | None:
        if self._request.options.logprobs is None:
            return None
        step = (getattr(answer, "extra_fields", None) or {}).get(WEIGHTS)
        logprobs = getattr(answer, "log_probs", None)
        return SampledValues(
            () if logprobs is None else tuple(map(float, logprobs)),
            weight_versions=() if step is None else (WeightVersion(str(step), 0, ids),),
            routed_experts=_encoded(getattr(answer, "routed_experts", None)),
        )


def _id_of(number: Any) -> int:
    """Return an integer of any library as `int`.

    Raises:
        TypeError: it is another number, which `int` would cut, or none.
    """
    if isinstance(number, bool) or not hasattr(number, "__index__"):
        raise TypeError(f"the id {number!r:.100} is no integer")
    return operator.index(number)


def _encoded(experts: Any) -> str | None:
    """Return an array as vLLM writes it: the bytes of a `.npy` file, in base64."""
    if experts is None or isinstance(experts, str):
        return experts
    import numpy as np

    file = io.BytesIO()
    np.save(file, np.asarray(experts), allow_pickle=False)
    return base64.b64encode(file.getvalue()).decode()
