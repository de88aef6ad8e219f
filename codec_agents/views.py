"""A built pipeline seen as a whole: the models in it, the same with others, what a record says of it."""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import Any

from codec_agents.built import BuiltAsking, BuiltLoop, BuiltMap, BuiltNode, BuiltPipeline
from codec_agents.mcp_servers import ServerLease


def asking_nodes(built: BuiltPipeline) -> dict[str, BuiltAsking]:
    """Return the nodes that ask models, by path, those inside loops and maps included."""
    found: dict[str, BuiltAsking] = {}
    for node in built.nodes.values():
        if isinstance(node, BuiltAsking):
            found[node.path] = node
        elif isinstance(node, BuiltMap | BuiltLoop):
            found |= asking_nodes(node.body)
    return found


def with_asking(built: BuiltPipeline, change: Callable[[BuiltAsking], BuiltAsking]) -> BuiltPipeline:
    """Return the same pipeline with each node that asks a model changed, those inside loops and maps, too."""
    nodes: dict[str, BuiltNode] = {}
    for name, node in built.nodes.items():
        if isinstance(node, BuiltAsking):
            node = change(node)
        elif isinstance(node, BuiltMap | BuiltLoop):
            node = replace(node, body=with_asking(node.body, change))
        nodes[name] = node
    return _with_nodes(built, nodes)


def without_servers(built: BuiltPipeline) -> BuiltPipeline:
    """Return the same pipeline with no MCP server to start: for runs in which no tool is called."""
    other = copy.copy(built)
    object.__setattr__(other, "servers", ServerLease(()))
    return other


def placed(built: BuiltPipeline, prefix: str) -> BuiltPipeline:
    """Return the same pipeline at another place: the paths of its nodes begin with the prefix."""
    return _with_nodes(built, {name: replace(node, path=prefix + name) for name, node in built.nodes.items()})


def _with_nodes(built: BuiltPipeline, nodes: Mapping[str, BuiltNode]) -> BuiltPipeline:
    """Copy what is the same: the lease of the engines, and what follows from the edges."""
    other = copy.copy(built)
    object.__setattr__(other, "nodes", nodes)
    other.index_nodes()
    return other


def record_header(built: BuiltPipeline) -> dict[str, Any]:
    """Return what the first line of a record says about the pipeline."""
    asking = asking_nodes(built)
    nodes = {
        path: {
            "map": node.vocabulary.id,
            "dialect": node.dialect.name,
            "model": node.model,
            "engine": node.engine.provider,
        }
        for path, node in asking.items()
    }
    edges = [{"from": edge.source, "to": edge.target, "strategy": edge.strategy} for edge in built.edges]
    return {
        "digest": built.digest,
        "versions": _versions(),
        "maps": {node.vocabulary.id: node.vocabulary.hash for node in asking.values()},
        "nodes": nodes,
        "edges": edges,
    }


@cache
def _versions() -> dict[str, str]:
    return {"codec-agents": version("codec-agents"), "python": platform.python_version()}
