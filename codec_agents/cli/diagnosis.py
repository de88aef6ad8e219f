"""Look at the engines of a pipeline: reachable, which server, ids in and out, tokenizer, prefix cache.

Each engine is asked what a run would ask, with a few ids, so that a failure here is the failure of a run.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from codec_agents.engines.base import (
    DEFAULT_MAX_TOKENS,
    GenerationRequest,
    SamplingOptions,
    StreamStats,
    Timeouts,
    context_of,
    continues_answers,
    is_text_boundary,
    replicas_of,
)
from codec_agents.engines.http.engine import HttpEngine
from codec_agents.engines.http.stream import Deadlines
from codec_agents.engines.stock.engine import StockEngine
from codec_agents.exceptions import (
    EngineError,
    EngineTimeoutError,
    EngineUnavailableError,
    MapMismatchError,
)
from codec_agents.plan.nodes import PromptedNode
from codec_agents.plan.plan import BuiltPipeline
from codec_agents.plan.variants import prompted_nodes
from codec_core.tokenizer import pick_tokenizer

Status: TypeAlias = Literal["ok", "failed", "unknown"]
"""`unknown`: the engine does not tell, and a run works without it."""

TIMEOUTS = Timeouts(connect=5.0, first_id=60.0, idle=30.0, whole=90.0)

PROBE = "The quick brown fox jumps over the lazy dog. "
REPEATS = 40
"""Of the probe in the prompt that is sent twice: longer than a block of any engine's prefix cache."""

VERSIONS: Mapping[str, tuple[str, str]] = {
    "vllm": ("/version", "version"),
    "sglang": ("/get_server_info", "version"),
    "llama_cpp": ("/props", "build_info"),
}
"""By provider: where a server tells its version, and in which field."""


CACHED_IDS: Mapping[str, str] = {
    "vllm": "start it with --enable-prompt-tokens-details",
    "sglang": "declare `options: {api: generate}`, or start it with --enable-cache-report",
}
"""By provider: with what a server reports how many ids it found in its cache."""

OWN_TIMES: Mapping[str, str] = {
    "vllm": "start it with --enable-per-request-metrics, and declare `options: {api: completions}`",
    "sglang": "start it with --enable-metrics, and declare `options: {api: generate}`",
}
"""By provider: with what a server reports the times of a request."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check of an engine."""

    check: str
    status: Status
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """An engine as the nodes use it: one model in one vocabulary."""

    nodes: tuple[str, ...]
    node: PromptedNode

    @property
    def name(self) -> str:
        """The engine, and the nodes that use it so."""
        return f"{self.node.engine.name} ({', '.join(self.nodes)})"


def subjects(built: BuiltPipeline) -> list[Subject]:
    """Return every combination of engine, model and map in a pipeline; the replicas of a pool are engines."""
    found: dict[tuple[int, str | None, str], list[tuple[str, PromptedNode]]] = {}
    for path, node in prompted_nodes(built).items():
        for engine in replicas_of(node.engine):
            each = replace(node, engine=engine)
            found.setdefault((id(engine), node.model, node.vocabulary.id), []).append((path, each))
    return [Subject(tuple(path for path, _ in used), used[0][1]) for used in found.values()]


async def examine(subject: Subject) -> AsyncIterator[Finding]:
    """Yield the findings of one engine, in order; an engine that gives no ids has no further ones."""
    node = subject.node
    try:
        # Two: the first id comes from reading the prompt, the second one from decoding.
        stats, ids = await _ask(node, PROBE, max_tokens=2)
    except MapMismatchError as error:
        yield Finding("tokenizer", "failed", str(error))
        return
    except EngineError as error:
        yield Finding("reachable" if _is_unreached(error) else "answers", "failed", str(error))
        return
    # An engine of kind `auto` has found out by now what it talks to.
    node = replace(node, engine=getattr(node.engine, "found", None) or node.engine)
    yield Finding("reachable", "ok", f"answered as {stats.format or node.engine.provider}")
    yield await _version(node)
    yield _ids(node, ids)
    yield _tokenizer(node)
    yield await _context(node)
    yield await _prefix_cache(node)
    yield _own_times(node, stats)
    yield _continues(node)


def _is_unreached(error: EngineError) -> bool:
    """Return whether no connection was made."""
    if isinstance(error, EngineTimeoutError):
        return error.phase == "connect"
    return isinstance(error, EngineUnavailableError)


async def _ask(node: PromptedNode, text: str, *, max_tokens: int) -> tuple[StreamStats, list[int]]:
    request = GenerationRequest(
        prompt_ids=pick_tokenizer(node.vocabulary).encode_ordinary(text),
        vocabulary=node.vocabulary,
        model=node.model,
        options=SamplingOptions(max_tokens=max_tokens, temperature=0.0),
        timeouts=TIMEOUTS,
    )
    ids: list[int] = []
    # To its end: the statistics of a stream are complete behind its last frame.
    async with node.engine.stream(request) as frames:
        async for frame in frames:
            ids += frame.ids
        return frames.stats, ids


async def _version(node: PromptedNode) -> Finding:
    engine = node.engine
    route = VERSIONS.get(engine.provider)
    if route is None or not isinstance(engine, HttpEngine):
        return Finding("server", "unknown", f"{engine.provider}; it does not tell its version")
    path, field = route
    try:
        response = await engine.pool.send("GET", path, content=None, headers={}, timeouts=TIMEOUTS)
        version = json.loads(await engine.read_limited(response, Deadlines(TIMEOUTS))).get(field)
    # No answer, no JSON, no object, or JSON that is nested too deep: the version is only told, never needed.
    except (EngineError, ValueError, AttributeError, RecursionError):
        version = None
    if not isinstance(version, str):
        return Finding("server", "unknown", f"{engine.provider}; {path} does not tell its version")
    return Finding("server", "ok", f"{engine.provider} {version}")


def _ids(node: PromptedNode, ids: list[int]) -> Finding:
    if is_text_boundary(node.engine):
        return Finding(
            "token ids", "unknown", "it takes and gives text; the ids are those of the text",
            "use an engine kind that speaks ids, such as vllm, sglang or llamacpp",
        )  # fmt: skip
    if invalid := [each for each in ids if not node.vocabulary.is_valid(each)]:
        return Finding(
            "token ids", "failed", f"it gave {invalid[0]}, which is no id of the map {node.vocabulary.id}",
            "build the map from the model's own tokenizer",
        )  # fmt: skip
    return Finding("token ids", "ok", f"ids in and out, {len(ids)} received")


def _tokenizer(node: PromptedNode) -> Finding:
    """Return the result of the comparison that the engine has made before its first answer."""
    if isinstance(node.engine, StockEngine) and node.engine.has_compared(node.vocabulary):
        return Finding("tokenizer", "ok", f"equal to the map {node.vocabulary.id} on the probe texts")
    if node.engine.provider == "codec":
        said = "not compared by texts: a Codec server may name its map by hash, and another hash is an error"
        return Finding("tokenizer", "unknown", said)
    return Finding(
        "tokenizer", "unknown", "not compared: the engine has no call for it, or `handshake: off`",
        f"make sure that {node.vocabulary.id} is its model's map: with another, answers are wrong in silence",
    )  # fmt: skip


async def _context(node: PromptedNode) -> Finding:
    request = GenerationRequest(
        prompt_ids=(), vocabulary=node.vocabulary, model=node.model, timeouts=TIMEOUTS
    )
    try:
        ids = await context_of(node.engine, request) if node.context is None else node.context
    except EngineError as error:
        return Finding("context", "failed", str(error))
    if ids is None:
        return Finding(
            "context", "unknown", f"not told: an answer has {DEFAULT_MAX_TOKENS:,} ids without `max_tokens`",
            "declare `context` of the engine",
        )  # fmt: skip
    return Finding("context", "ok", f"{ids:,} ids for a prompt and its answer")


async def _prefix_cache(node: PromptedNode) -> Finding:
    stats = StreamStats()
    try:
        # The first request fills the cache, and the second one finds what is in it.
        for _ in range(2):
            stats, _ids_given = await _ask(node, PROBE * REPEATS, max_tokens=1)
    except EngineError as error:
        return Finding("prefix cache", "failed", str(error))
    if stats.cached_tokens is None:
        remedy = CACHED_IDS.get(node.engine.provider, "")
        return Finding("prefix cache", "unknown", "the engine does not report cached ids", remedy)
    if not stats.cached_tokens:
        return Finding(
            "prefix cache", "failed", "a repeated prompt was read anew",
            "turn it on, as vLLM's --enable-prefix-caching does: each turn repeats the turn before",
        )  # fmt: skip
    return Finding("prefix cache", "ok", f"{stats.cached_tokens} of {stats.prompt_tokens} ids were cached")


def _own_times(node: PromptedNode, stats: StreamStats) -> Finding:
    told = {"queue": stats.engine_queue, "prefill": stats.engine_prefill}
    if known := [name for name, seconds in told.items() if seconds is not None]:
        return Finding("own times", "ok", f"it reports {' and '.join(known)}")
    remedy = OWN_TIMES.get(node.engine.provider, "")
    return Finding("own times", "unknown", "the engine does not report where its time goes", remedy)


def _continues(node: PromptedNode) -> Finding:
    if continues_answers(node.engine):
        return Finding("retries", "ok", "a cut answer is continued from its exact prefix")
    return Finding("retries", "unknown", "a cut answer is not continued: it would begin anew")


def as_data(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Return findings as plain data."""
    return [{name: getattr(each, name) for name in Finding.__slots__} for each in findings]
