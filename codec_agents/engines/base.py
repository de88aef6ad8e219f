"""The one contract of all engines: prompt token ids and sampling options in, a stream of frames out.

Rules:

- A node does not know which engine it talks to. What only some engines can do is told by an attribute, which
  a function of this file reads; an engine without it is taken for one that cannot.
- An engine opens one request per stream, and closing the stream, for any reason, closes the request.
- It never retries, never invents an id, and never gives an id that it is not sure of.
- Every failure is an `EngineError` with the number of ids delivered before it; `transient` is whether sending
  the same request again can help.

`codec_agents.testing.check_engine` shows whether an engine of one's own keeps to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import msgspec

from codec_agents.exceptions import EngineStreamError
from codec_core.frames import CodecFrame
from codec_core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from codec_agents.dialects import BoundDialect

DEFAULT_MAX_TOKENS = 1024
"""Sent where no limit is declared and the engine does not tell its context: the engines' own defaults run
from 16 ids to no limit at all."""

WHOLE = 0
"""The `stream_interval` of an answer that is not streamed."""


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds on an engine's time, in seconds; None is no bound."""

    connect: float | None = 5.0
    """Until there is a connection, waiting for a free one in the pool included."""
    first_id: float | None = 120.0
    """From the request until its first id: queueing and prefill included."""
    idle: float | None = 30.0
    """Between two ids of a running stream."""
    whole: float | None = None
    """The whole request, from start to end."""

    def of_whole_answer(self) -> Timeouts:
        """Return the bounds on an answer that is not streamed: no id comes before its end.

        Without a bound on the whole it may take as long as a first id and one further wait together.
        """
        bound = self.whole
        if bound is None and self.first_id is not None and self.idle is not None:
            bound = self.first_id + self.idle
        return msgspec.structs.replace(self, first_id=bound)


class SamplingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The sampling of one request; a field that is None is left to the engine."""

    max_tokens: int = DEFAULT_MAX_TOKENS
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop_token_ids: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    min_tokens: int | None = None
    logprobs: int | None = None
    """Asks for the log probability of each id, and of so many of the most probable ids in its place; 0 for
    none of these. None asks for nothing. Where `structured` names the only ids that may be drawn, an engine
    that can be asked for certain ids gives theirs in place of the most probable ones'. The engine's further
    values of ids come along, see `codec_core.frames.SampledValues`."""
    structured: dict[str, Any] | None = None
    """The form of the answer, as one of `json_schema`, `regex`, `grammar`, `choice`, and `ids`: the only ids
    that may be drawn."""
    cache_salt: str | None = None
    """Keeps the prefix cache of one tenant from another's."""
    priority: int | None = None
    session: str | None = None
    """Requests of one session go to one worker, where a router takes it into account."""
    extra: dict[str, Any] = msgspec.field(default_factory=dict)
    """Fields of the engine's own API, under their place: `body`, `sampling_params` or `headers`."""

    @property
    def valued_ids(self) -> tuple[int, ...]:
        """The only ids that may be drawn, where log probabilities are asked for: those of all of them."""
        return () if self.logprobs is None else tuple((self.structured or {}).get("ids", ()))

    def of_prefill(self, ids: int = 1) -> SamplingOptions:
        """Return the options of a request that only fills the prefix cache: for one id, or for none."""
        return msgspec.structs.replace(
            self,
            max_tokens=ids,
            min_tokens=None,
            logprobs=None,
            structured=None,
            stop=(),  # engines make the text of ids only to look for them
            extra={
                name: _without(value, OF_MANY_IDS)
                for name, value in self.extra.items()
                if name not in OF_MANY_IDS
            },
        )


OF_MANY_IDS = frozenset(
    {
        # How many ids, and how many answers.
        "max_tokens", "max_completion_tokens", "max_new_tokens", "n_predict",
        "min_tokens", "min_new_tokens", "n", "n_cmpl", "best_of", "use_beam_search",
        # Values of ids and states, those of the prompt among them.
        "logprobs", "top_logprobs", "prompt_logprobs", "logprob_token_ids", "flat_logprobs", "n_probs",
        "return_logprob", "logprob_start_len", "top_logprobs_num", "token_ids_logprob",
        "return_text_in_logprobs", "return_hidden_states", "echo",
        # Forms of an answer.
        "response_format", "structured_outputs", "json_schema", "regex", "ebnf", "structural_tag", "grammar",
        "grammar_lazy", "grammar_triggers", "stop",
    }
)  # fmt: skip
"""Fields that a request for one id cannot have, or that would cost it more than it saves: they would be put
behind the options, and undo them."""


def _without(value: Any, names: frozenset[str]) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: field for name, field in value.items() if name not in names}


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One generation: the prompt, its vocabulary, and the sampling."""

    prompt_ids: Sequence[int]
    vocabulary: Vocabulary
    """The vocabulary of the prompt and of the answer; ids outside it are refused before sending."""
    model: str | None = None
    options: SamplingOptions = SamplingOptions()
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Headers of this request alone, `traceparent` for one."""
    timeouts: Timeouts = Timeouts()
    node: str = ""
    """The path of the node that asks; for engines that answer from a record."""
    turn: int = 0
    """The node's turn, from 1; 0 for a request that is no turn of a node."""
    ahead: bool = False
    """Whether it only fills the prefix cache: its answer is not read, and nothing waits for it."""
    stream_interval: int = 1
    """Ids per event of the stream, for engines that gather them; the first id comes at once in any case. With
    `WHOLE` the answer is not streamed, where the engine can: all ids come together, at its end."""
    session: str = ""
    """Identifies the conversation: its requests go to one replica, where routers and pools can see to it."""
    dialect: BoundDialect | None = None
    """The node's: for text APIs whose server has parsed calls out of the text, to write them again."""
    continued: int = 0
    """How many of the prompt's last ids are the beginning of the answer itself, after a failure or a
    recovery."""


@dataclass(slots=True)
class StreamStats:
    """The cost and the instants of a stream; filled as the stream goes, never reset.

    Instants are readings of `time.perf_counter()`.
    """

    format: str = ""
    """The wire format that came back: `msgpack`, `protobuf`, `sse`, `json`, ..."""
    bytes_received: int = 0
    """Body bytes, before decompression."""
    bytes_sent: int = 0
    """Body bytes of the request."""
    chunks: int = 0
    """Pieces in which the body arrived."""
    request_id: str | None = None
    """The id that the request was sent with; None where the user names requests, or the engine has none."""
    ids: int = 0
    request_started: float | None = None
    request_sent: float | None = None
    """When the request's body had been written to the socket."""
    first_id: float | None = None
    last_id: float | None = None
    prompt_tokens: int | None = None
    """As the engine counts; None where it does not report it."""
    cached_tokens: int | None = None
    """Of the prompt, found in the engine's cache; None where it does not report it, which is not 0."""
    engine_seconds: float | None = None
    """The engine's own time for the prompt, until its first id; None where it does not report it."""
    engine_queue: float | None = None
    """Seconds that the request waited in the engine's own queue; None where it does not report them."""
    engine_prefill: float | None = None
    """Seconds of reading the prompt, with the step of the first id where the engine reports both as one."""
    finish_reason: str | None = None
    server_address: str | None = None
    server_port: int | None = None


class FrameStream(Protocol):
    """The frames of one generation, to be read once.

    The last frame has `done`, and `finish_reason` where the engine gave one. The id that ended the generation
    is among the ids where the engine gives it.
    """

    @property
    def stats(self) -> StreamStats:
        """The measurements so far."""
        ...

    def __aiter__(self) -> AsyncIterator[CodecFrame]:
        """Yield the frames in order.

        Raises:
            EngineError: the stream broke, ran out of time, or ended before it was done.
        """
        ...


@runtime_checkable
class Engine(Protocol):
    """An inference server, or something that behaves like one.

    It may have a `prepare` as well, see `Preparing`.
    """

    name: str
    """Its name in the pipeline; errors carry it."""
    provider: str
    """`codec`, `vllm`, `sglang`, `llama_cpp`, `openai`, `scripted`."""

    def stream(self, request: GenerationRequest) -> AbstractAsyncContextManager[FrameStream]:
        """Send a request; leaving the context closes it, and the server notices.

        Raises:
            EngineError: on entering, when the request cannot be sent or is refused.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections; streams that are open end with an error."""
        ...


def is_text_boundary(engine: Engine) -> bool:
    """Return whether an engine takes and gives text: then the ids of its answers are those of a text.

    An engine declares it by an attribute, `text_boundary`; one without it takes ids and gives ids.
    """
    return bool(getattr(engine, "text_boundary", False))


def continues_answers(engine: Engine) -> bool:
    """Return whether a request whose prompt ends with the beginning of its answer continues that exactly.

    An engine declares it by an attribute, `continues`, and may do so where the conformance test
    (`codec_agents.testing.check_engine`) has shown it. Without the attribute it does not: a chat API, for
    one, begins the answer anew.
    """
    return bool(getattr(engine, "continues", False))


def least_ids(engine: Engine) -> int:
    """Return how many ids a request generates at least: 0 where an engine can read a prompt and nothing else.

    An engine declares it by an attribute, `least_ids`; one without it generates one.
    """
    # A pool chooses the replica later, so what holds of all of them is returned, here and below.
    return max(getattr(replica, "least_ids", 1) for replica in replicas_of(engine))


def gives_whole_answers(engine: Engine) -> bool:
    """Return whether an engine can leave an answer unstreamed, and ends it at the same id then.

    An engine declares it by an attribute, `whole_answers`; one without it streams every answer.
    """
    return all(getattr(replica, "whole_answers", False) for replica in replicas_of(engine))


def caches_prompts(engine: Engine) -> bool:
    """Return whether an engine keeps what it has read: then beginnings of prompts may be sent ahead unasked.

    An engine declares it by an attribute, `caches_prompts`; one without it is sent ahead what is declared.
    """
    return all(getattr(replica, "caches_prompts", False) for replica in replicas_of(engine))


def reports_cached_ids(engine: Engine) -> bool:
    """Return whether every answer of an engine tells how many ids of its prompt were found in its cache.

    An engine declares it by an attribute, `reports_cached_ids`; of one without it the answers show it.
    """
    return all(getattr(replica, "reports_cached_ids", False) for replica in replicas_of(engine))


def closes_late(engine: Engine) -> bool:
    """Return whether a request that is closed goes on for a while, and keeps what it has read to itself.

    The next request would then read the same ids once more, beside it. An engine declares it by an attribute,
    `closes_late`; one without it ends a closed request at once, or shares what that has read.
    """
    return any(getattr(replica, "closes_late", False) for replica in replicas_of(engine))


def tells_context(engine: Engine) -> bool:
    """Return whether an engine can be asked for its context: one that can has a method, `context_length`.

    An engine of a user's own has no base class that would answer for it.
    """
    return hasattr(engine, "context_length")


async def context_of(engine: Engine, request: GenerationRequest) -> int | None:
    """Return the most ids that a prompt and its answer may have together; None where the engine does not say.

    Raises:
        EngineError: the engine cannot be asked now.
    """
    ask = getattr(engine, "context_length", None)
    found: int | None = None if ask is None else await ask(request)
    return found


def replicas_of(engine: Engine) -> Sequence[Engine]:
    """Return the engines behind a pool; an engine that is none is its own only replica."""
    replicas: Sequence[Engine] = getattr(engine, "replicas", (engine,))
    return replicas


def enforced_forms(engine: Engine) -> frozenset[str]:
    """Return the forms of `SamplingOptions.structured` that an engine enforces.

    An engine declares them by an attribute, `enforced_forms`; one without it enforces none.
    """
    return frozenset(getattr(engine, "enforced_forms", ()))


FAILED_REASONS = frozenset({"error", "abort"})
"""Finish reasons with which an engine reports that it failed: vLLM's and SGLang's, and the protocol's own."""


def failed_answer(engine: str, reason: str | None, delivered: int) -> EngineStreamError:
    """Return the error for an answer that ended with one of `FAILED_REASONS`; it may be requested again."""
    return EngineStreamError(engine, f"the engine ended the answer with {reason!r}", delivered=delivered)


def end_reached(ids: Sequence[int], stop_token_ids: Sequence[int], max_tokens: int) -> str | None:
    """Return the reason for which an answer that broke off is complete: only the report of its end was lost.

    Args:
        ids: those received.
        stop_token_ids: those that end it.
        max_tokens: the most ids that it may have.
    """
    if ids and ids[-1] in stop_token_ids:
        return "stop"
    return "length" if len(ids) >= max_tokens else None


class Preparing(Protocol):
    """An engine for which something can be done before the first request."""

    async def prepare(self, request: GenerationRequest) -> None:
        """Start, connect, and compare tokenizers, for requests like this one.

        Called while the prompt is still being filled, any number of times, and cancelled without notice. It
        generates nothing but one id, once, where that shows what the engine can do; and it raises nothing
        that the request itself would raise.
        """
        ...


def preparing(engine: Engine) -> Preparing | None:
    """Return an engine that can be prepared; None for any other.

    It is recognized by its one method, because every run asks: checking the whole protocol takes a hundred
    times as long.
    """
    return cast("Preparing", engine) if hasattr(engine, "prepare") else None
