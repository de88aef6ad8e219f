"""Variants of a plan: with other nodes, with conversations to continue, at another place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from codec_agents.exceptions import InputError
from codec_agents.plan.nodes import BuiltNode, PromptedNode
from codec_agents.plan.plan import BuiltLoop, BuiltMap, BuiltPipeline
from codec_agents.prompts import History
from codec_agents.tools.mcp_servers import ServerLease


def prompted_nodes(built: BuiltPipeline) -> dict[str, PromptedNode]:
    """Return the nodes that ask a model, by path, including those inside loops and maps."""
    found: dict[str, PromptedNode] = {}
    for node in built.nodes.values():
        if isinstance(node, PromptedNode):
            found[node.path] = node
        elif isinstance(node, BuiltMap | BuiltLoop):
            found |= prompted_nodes(node.body)
    return found


def map_nodes(built: BuiltPipeline) -> set[str]:
    """Return the paths of the map nodes, those inside loops and maps included."""
    found: set[str] = set()
    for node in built.nodes.values():
        if isinstance(node, BuiltMap):
            found.add(node.path)
        if isinstance(node, BuiltMap | BuiltLoop):
            found |= map_nodes(node.body)
    return found


def with_nodes(built: BuiltPipeline, change: Callable[[BuiltNode], BuiltNode]) -> BuiltPipeline:
    """Return the same plan with each node changed, the nodes inside loops and maps first."""
    nodes: dict[str, BuiltNode] = {}
    for name, node in built.nodes.items():
        if isinstance(node, BuiltMap | BuiltLoop):
            node = replace(node, body=with_nodes(node.body, change))
        nodes[name] = change(node)
    return built.with_nodes(nodes)


def continued_from(built: BuiltPipeline, histories: Mapping[str, History]) -> BuiltPipeline:
    """Return the same plan in which models continue their conversations from an earlier run.

    Raises:
        InputError: a history is of an unknown node, or of another map.
        PromptError: a prompt cannot continue a conversation.
    """
    if not histories:
        return built
    known = prompted_nodes(built)
    if unknown := sorted(histories.keys() - known.keys()):
        raise InputError(
            f"there is no model node {unknown[0]!r} to continue; the model nodes are: {', '.join(known)}"
        )

    def change(node: BuiltNode) -> BuiltNode:
        history = histories.get(node.path)
        if history is None or not isinstance(node, PromptedNode):
            return node
        if history.map_hash != node.vocabulary.hash:
            raise InputError(
                f"the history of node {node.path!r} is of a map with the hash {history.map_hash}, "
                f"and the node has {node.vocabulary.hash}"
            )
        said = [*history.prompt, *history.generated]
        return replace(node, template=node.dialect.follow_up(history, node.prompt), earlier=said)

    return with_nodes(built, change)


def without_servers(built: BuiltPipeline) -> BuiltPipeline:
    """Return the same plan without MCP servers, for runs in which no tool is called."""
    return replace(built, servers=ServerLease(()))


def placed(built: BuiltPipeline, prefix: str) -> BuiltPipeline:
    """Return the same plan at another place: the paths of its nodes begin with the prefix."""
    return built.with_nodes({name: replace(node, path=prefix + name) for name, node in built.nodes.items()})
