"""The `transformers` back end: a causal language model in this process, raw ids in and out.

Every generation runs in a worker thread with its own cache and its own random numbers, so streams run side by
side and a seed means the same with or without others. A prompt that begins as an earlier one is read from
where they part. The thread waits for a slow reader, and stops at its next id when the reader leaves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, closing
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio import from_thread, to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from codec_agents.engines.base import SamplingOptions
from codec_agents.server.backends.backend import BrokenOffError, Job, ServedModel
from codec_agents.server.backends.prefix_caches import PrefixCaches
from codec_core.frames import CodecFrame, SampledValues
from codec_core.frames.values import with_values
from codec_core.maps import TokenizerMap
from codec_core.vocabulary import Vocabulary, vocabulary_of

if TYPE_CHECKING:
    import torch

STREAMS = 8
"""Generations at once; more wait. Beyond the number of cores they share the same speed."""
DEFAULT_TOP_K = 50
"""The value of `generate` where neither the caller nor the model's settings give one; 0 considers all ids."""
AHEAD = 64
"""Ids that a generation may be ahead of its reader."""


class MissingModelRuntimeError(ImportError):
    """The packages that run models are not installed."""

    def __init__(self) -> None:
        super().__init__(
            'this back end needs torch and transformers: pip install "codec-agents[transformers]"'
        )


class TransformersBackend:
    """Serves one causal language model.

    Args:
        model: a loaded model, or the folder, hub name or GGUF file to load it from.
        source: the map of the model's tokenizer, or its vocabulary.
        name: what clients call the model.
        device: where a model that is loaded here runs: `cpu`, `cuda`, ...
        streams: generations at once.
    """

    gathers = True
    gives_logprobs = True
    stops_itself = False

    def __init__(
        self,
        model: Any,
        source: TokenizerMap | Vocabulary,
        name: str = "default",
        *,
        device: str = "cpu",
        streams: int = STREAMS,
    ) -> None:
        self._model = load_model(model, device) if isinstance(model, str | Path) else model
        vocabulary = source if isinstance(source, Vocabulary) else vocabulary_of(source)
        # Models without a limit on positions, such as state-space models, have no such number.
        context = getattr(self._model.config, "max_position_embeddings", None)
        self.models: Sequence[ServedModel] = (ServedModel(name, vocabulary, context),)
        self._ends = _as_ids(self._model.generation_config.eos_token_id)
        self._limiter = anyio.CapacityLimiter(streams)
        self._caches = PrefixCaches()
        parameters = signature(self._model.forward).parameters
        self._cache_name = "cache" if "cache" in parameters else "past_key_values"
        """The argument and the result that hold the cache, by the version of transformers."""

    @asynccontextmanager
    async def generate(self, job: Job) -> AsyncIterator[AsyncIterator[CodecFrame]]:
        """Start a generation in a thread of its own."""
        send, receive = anyio.create_memory_object_stream[CodecFrame](AHEAD)
        async with anyio.create_task_group() as group:
            group.start_soon(self._work, job, send)
            async with receive:
                yield _Frames(receive)
            group.cancel_scope.cancel()

    async def _work(self, job: Job, send: MemoryObjectSendStream[CodecFrame]) -> None:
        # The place is waited for outside of the shield: a reader that leaves meanwhile does not take one.
        async with send, self._limiter:
            # Shielded: a thread cannot be cancelled. It ends at its next id, which nothing receives any more.
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._run, job, send, limiter=anyio.CapacityLimiter(1))

    def _run(self, job: Job, send: MemoryObjectSendStream[CodecFrame]) -> None:
        """Generate, in a thread; end when the reader is gone."""
        try:
            reason = "length"
            with closing(self._ids(job)) as ids:  # it keeps its cache when it is closed
                for token, values in ids:
                    from_thread.run(send.send, with_values(CodecFrame((token,), done=False), values))
                    if token in self._ends or token in job.options.stop_token_ids:
                        reason = "stop"
                        break
            from_thread.run(send.send, CodecFrame((), done=True, finish_reason=reason))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    def _ids(self, job: Job) -> Generator[tuple[int, SampledValues | None]]:
        """Yield ids with the values that the options ask for, one for each pass of the model.

        The first pass reads what no cache has of the prompt.
        """
        import torch

        pick = make_picker(self._model, job.options)
        read = list(job.prompt_ids)
        cache, job.cached_ids = self._caches.take(read)
        ids = torch.tensor([read[job.cached_ids :]], device=self._model.device)
        try:
            for _ in range(job.options.max_tokens):
                with torch.inference_mode():
                    # A pass that fails may have extended some layers and not others: its cache is dropped.
                    taken, cache = cache, None
                    output = self._model(input_ids=ids, use_cache=True, **{self._cache_name: taken})
                    cache = output[self._cache_name]
                    # Whatever the weights have: in half precision, log probabilities are coarse.
                    logits = output.logits[:, -1, :].float()
                    ids = pick(logits)
                    values = values_of(logits[0], int(ids), job.options.logprobs)
                yield int(ids), values
                read.append(int(ids))
        finally:
            # The last id was chosen, and not read.
            self._caches.give(read[: cache.get_seq_length()] if cache is not None else (), cache)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Do nothing: the model is there, and goes with its last reference."""
        yield


class _Frames:
    def __init__(self, receive: MemoryObjectReceiveStream[CodecFrame]) -> None:
        self._receive = receive

    def __aiter__(self) -> AsyncIterator[CodecFrame]:
        return self

    async def __anext__(self) -> CodecFrame:
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            raise BrokenOffError("the model failed") from None


def load_model(source: str | Path, device: str = "cpu") -> Any:
    """Return a causal language model, ready to generate.

    Args:
        source: its folder, its hub name, or a GGUF file, whose weights are dequantized.
        device: where it runs.

    Raises:
        MissingModelRuntimeError: the extra `transformers` is not installed.
    """
    try:
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise MissingModelRuntimeError from error
    path = Path(source)
    # transformers takes a GGUF file as a folder and a name in it.
    named = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
    place = str(path.parent if named else source)
    return AutoModelForCausalLM.from_pretrained(place, **named).to(device).eval()


def values_of(logits: torch.Tensor, token: int, top: int | None) -> SampledValues | None:
    """Return the log probability of an id by the model's raw scores: no temperature, nothing left out.

    Args:
        logits: The scores of all ids, before anything was done to them.
        token: The sampled id.
        top: How many of the most probable ids to report as well; None returns no values.
    """
    if top is None:
        return None
    logprobs = logits.log_softmax(dim=-1)
    best = logprobs.topk(min(top, len(logprobs)))
    pairs = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return SampledValues((float(logprobs[token]),), (pairs,) if top else ())


def make_picker(model: Any, options: SamplingOptions) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what chooses the next id: the most likely one, or a draw as `model.generate` would make it.

    What the options leave open, the model's own generation settings decide.
    """
    import torch

    settings = model.generation_config
    temperature = options.temperature
    if temperature is None:
        temperature = (settings.temperature or 1.0) if settings.do_sample else 0.0
    if temperature == 0:
        return lambda logits: logits.argmax(dim=-1, keepdim=True)
    warpers = _warpers(temperature, options, settings)
    # Its own: streams run in threads side by side, and torch's generator is one for all.
    draw = torch.Generator(device=model.device)
    draw.manual_seed(options.seed) if options.seed is not None else draw.seed()

    def pick(logits: torch.Tensor) -> torch.Tensor:
        for warper in warpers:
            logits = warper(None, logits)
        return torch.multinomial(logits.softmax(dim=-1), num_samples=1, generator=draw)

    return pick


def _warpers(temperature: float, options: SamplingOptions, settings: Any) -> list[Any]:
    """In the order in which `generate` applies them."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    top_k = options.top_k if options.top_k is not None else settings.top_k
    top_k = DEFAULT_TOP_K if top_k is None else top_k
    top_p = options.top_p if options.top_p is not None else settings.top_p
    warpers: list[Any] = [TemperatureLogitsWarper(temperature)] if temperature != 1.0 else []
    if top_k > 0:  # other engines' words for all ids are 0 and -1
        warpers.append(TopKLogitsWarper(top_k))
    if top_p is not None and top_p < 1.0:
        warpers.append(TopPLogitsWarper(top_p))
    return warpers


def _as_ids(value: int | list[int] | None) -> frozenset[int]:
    if value is None:
        return frozenset()
    return frozenset([value] if isinstance(value, int) else value)
