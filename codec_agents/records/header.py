"""The first line of a record: the pipeline, its maps with their hashes, and the versions that ran it."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec

from codec_agents.engines.base import SamplingOptions
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
    """Return the declared sampling; a limit that the engine's context decides is none of it."""
    fields = sampling_fields(node.options)
    return fields if node.has_max_tokens else {k: v for k, v in fields.items() if k != "max_tokens"}


def _modes(node: PromptedNode) -> dict[str, str]:
    """Return what a node's log probabilities are computed from, where they are asked for and it is known."""
    mode = getattr(node.engine, "logprob_mode", None)
    return {} if mode is None or node.options.logprobs is None else {"logprob_mode": mode}


NOT_RECORDED = frozenset({"extra", "cache_salt", "session"})
"""Options that may hold a secret, or the name of a tenant."""


def sampling_fields(options: SamplingOptions) -> dict[str, Any]:
    """Return the sampling options that are set, as a record holds them."""
    fields = msgspec.structs.asdict(options)
    return {
        name: value
        for name, value in fields.items()
        if name not in NOT_RECORDED and value is not None and value != ()
    }


@cache
def running_versions() -> dict[str, str]:
    """Return the versions of this package and of Python."""
    return {"codec-agents": version("codec-agents"), "python": platform.python_version()}
