"""The first line of a record: the pipeline, its maps with their hashes, and the versions that ran it."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec

from codec_agents.engines.base import SamplingOptions
from codec_agents.engines.request_body import PLACES
from codec_agents.plan.nodes import PromptedNode
from codec_agents.plan.plan import BuiltPipeline
from codec_agents.plan.variants import prompted_nodes


def record_header(built: BuiltPipeline) -> dict[str, Any]:
    """Return the fields of the first line that describe a pipeline."""
    asking = prompted_nodes(built)
    nodes = {
        path: {
            "map": node.vocabulary.id,
            "dialect": node.dialect.name,
            "model": node.model,
            "engine": node.engine.provider,  # not its URL: a run may continue on another server
            "sampling": _sampling(node),
            **_modes(node),
        }
        for path, node in asking.items()
    }
    edges = [{"from": edge.source, "to": edge.target, "strategy": edge.strategy} for edge in built.edges]
    return {
        "digest": built.digest,
        "versions": running_versions(),
        "maps": {node.vocabulary.id: node.vocabulary.identity for node in asking.values()},
        "nodes": nodes,
        "edges": edges,
    }


def _sampling(node: PromptedNode) -> dict[str, Any]:
    """Return the sampling that is sent; a limit that the engine's context decides is none of it."""
    fields = sampling_fields(node.options)
    # An engine in this process may have parameters of every request, which those of the node override.
    if (own := getattr(node.engine, "default_sampling", None)) is not None:
        always = {k: v for k, v in sampling_fields(own).items() if k not in OF_A_NODE}
        extra = sorted({*always.pop("extra", ()), *fields.pop("extra", ())})
        fields = {**always, **fields, **({"extra": extra} if extra else {})}
    return fields if node.has_max_tokens else {k: v for k, v in fields.items() if k != "max_tokens"}


def _modes(node: PromptedNode) -> dict[str, str]:
    """Return what a node's log probabilities are computed from, where they are asked for and it is known."""
    mode = getattr(node.engine, "logprob_mode", None)
    return {} if mode is None or node.options.logprobs is None else {"logprob_mode": mode}


OF_A_NODE = frozenset({"max_tokens", "logprobs"})
"""Options that a node decides alone."""

NOT_RECORDED = frozenset({"extra", "cache_salt", "session"})
"""Options that may hold a secret, or the name of a tenant."""


def sampling_fields(options: SamplingOptions) -> dict[str, Any]:
    """Return the sampling options that are set, as a record holds them; of `extra` the names alone."""
    fields = {
        name: value
        for name, value in msgspec.structs.asdict(options).items()
        if name not in NOT_RECORDED and value is not None and value != ()
    }
    extra = sorted(_extra_names(options.extra))
    return {**fields, "extra": extra} if extra else fields


def _extra_names(extra: Mapping[str, Any]) -> Iterator[str]:
    for name, value in extra.items():
        if name == "headers":  # no part of the sampling
            continue
        if name in PLACES and isinstance(value, Mapping):
            yield from (f"{name}.{each}" for each in value)
        else:
            yield name


@cache
def running_versions() -> dict[str, str]:
    """Return the versions of this package and of Python."""
    return {"codec-agents": version("codec-agents"), "python": platform.python_version()}
