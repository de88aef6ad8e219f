"""The keyword arguments of a declaration's methods, and the mappings that may stand for its values, as types.

A type checker finds a misspelt name in them. At run time the models that they belong to check the same:
tests hold the names equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

from codec_agents.graph.kinds import Form, Sampling
from codec_agents.graph.policy import (
    Limits,
    OnFailure,
    OnLength,
    OnOverflow,
    Policy,
    RetryPolicy,
    TimeoutPolicy,
    Transient,
)
from codec_agents.graph.sources import EngineKind, OwnKind, WireFormat


class EngineFields(TypedDict, total=False):
    """The fields of an `EngineSpec`; `script` may be a function."""

    kind: EngineKind | OwnKind
    url: str | None
    urls: Sequence[str]
    model: str | None
    api_key: str | None
    headers: Mapping[str, str]
    format: WireFormat | None
    compression: bool | None
    context: int | None
    concurrency: int | None
    prefill: Literal["auto", "off"] | None
    script: str | Sequence[Any] | Callable[..., Any] | None
    ids_a_second: float | None
    ids_a_frame: int | tuple[int, int]
    first_id_after: float | None
    seed: int
    options: Mapping[str, Any]


class MapFields(TypedDict, total=False):
    """The fields of a `MapSpec`."""

    id: str | None
    path: str | None
    url: str | None
    hub: str | None
    hash: str | None


class DialectFields(TypedDict, total=False):
    """The fields of a `DialectSpec`."""

    like: str | None
    file: str | None
    tokenizer_config: str | None
    call: str | None
    fields: Mapping[str, Any]
    grammar: str | None


class McpFields(TypedDict, total=False):
    """The fields of an `McpSpec` beside its command."""

    url: str | None
    headers: Mapping[str, str]
    env: Mapping[str, str]
    prefix: str
    only: Sequence[str] | None
    timeout: float | None
    start_timeout: float
    approval: bool


class ServeFields(TypedDict, total=False):
    """The fields of a `ServeSpec`."""

    input: str | None
    sink: str | None
    system: str | None
    tools: str | None
    store: str | None
    progress: bool


class EdgeFields(TypedDict, total=False):
    """The fields of an `EdgeSpec` beside its ends."""

    separator: str
    keep_special: bool
    buffer: int
    prefill: Literal["ahead", "auto", "off"] | None
    prefill_stride: int
    prefill_budget: int
    reasoning: bool
    fallback: bool


class SamplingFields(TypedDict, total=False):
    """The fields of a `Sampling`."""

    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    seed: int | None
    stop: Sequence[str]
    min_p: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    repetition_penalty: float | None
    min_tokens: int | None
    logprobs: int | None
    structured: Mapping[Form, Any] | None
    cache_salt: str | None
    priority: int | None
    session: str | None
    extra: Mapping[str, Any]


class TimeoutFields(TypedDict, total=False):
    """The fields of a `TimeoutPolicy`."""

    connect: float | None
    first_id: float | None
    idle: float | None
    whole: float | None
    tool: float | None


class RetryFields(TypedDict, total=False):
    """The fields of a `RetryPolicy`."""

    attempts: int
    initial: float
    max: float
    jitter: float
    on: Sequence[Transient]


class LimitFields(TypedDict, total=False):
    """The fields of `Limits`."""

    max_ids: int
    turns: int
    tool_calls: int
    reasoning_ids: int | None
    wall: float | None


class PolicyFields(TypedDict, total=False):
    """The fields of a `Policy`."""

    timeouts: TimeoutPolicy | TimeoutFields
    retry: RetryPolicy | RetryFields
    limits: Limits | LimitFields
    concurrency: int | None
    on_failure: OnFailure
    on_length: OnLength
    on_overflow: OnOverflow | Callable[..., Any]


SamplingLike: TypeAlias = Sampling | SamplingFields
PolicyLike: TypeAlias = Policy | PolicyFields
