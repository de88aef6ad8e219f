"""Variants of a plan: with other nodes, with conversations to continue, at another place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from codec_agents.exceptions import InputError
from codec_agents.graph.chat import Chat
from codec_agents.plan.nodes import BuiltModel, BuiltNode, PromptedNode
from codec_agents.plan.plan import BuiltLoop, BuiltMap, BuiltPipeline
from codec_agents.prompts import History, PromptIds, PromptTemplate, ToldResults, misplaced
from codec_agents.tools.mcp_servers import ServerLease
from codec_agents.tools.tool import Tool
from codec_core.vocabulary import Vocabulary


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
        InputError: a history is of an unknown node or of another map, or does not fit together.
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
        # The same ids would be other text.
        if history.map_hash is None:
            raise InputError(
                f"the history of node {node.path!r} does not say which map its ids are of (`map_hash`); "
                f"the node's has the hash {node.vocabulary.identity}"
            )
        if history.map_hash != node.vocabulary.identity:
            raise InputError(
                f"the history of node {node.path!r} is of a map with the hash {history.map_hash}, "
                f"and the node has {node.vocabulary.identity}"
            )
        if (fault := _history_fault(history, node.vocabulary)) is not None:
            raise InputError(f"the history of node {node.path!r} {fault}")
        # The prompt begins with the ids of the earlier run as they are: nothing is rendered or encoded anew.
        said = [*history.prompt, *history.generated]
        template = node.dialect.follow_up(history, node.prompt)
        return replace(node, template=template, earlier=said, told=_found_again(history.told, said, template))

    return with_nodes(built, change)


def _history_fault(history: History, vocabulary: Vocabulary) -> str | None:
    """Return what is wrong with a history, which may come from a file; None if nothing is."""
    # Any: a struct that is made in Python is not checked.
    said: tuple[Any, ...] = (history.prompt, history.generated)
    begin: Any = history.begin
    for ids in said:
        # Types and bounds alone, which take no loop of Python's: the engine's client looks at each id.
        if not isinstance(ids, list | tuple) or set(map(type, ids)) - {int}:
            return "has ids that are no list of integers"
        if ids and not 0 <= min(ids) <= max(ids) < vocabulary.size:
            return f"has ids that are not in the map {vocabulary.id!r}"
    if not isinstance(begin, int) or isinstance(begin, bool) or not 0 <= begin <= len(history.prompt):
        return f"begins at {begin!r:.40}, which is no place in its prompt"
    if history.unread and history.generated:
        return "has an answer behind results that the model has not read"
    return "has results outside its prompt" if misplaced(history.told, len(history.prompt)) else None


def _found_again(
    told: Sequence[ToldResults], said: Sequence[int], template: PromptTemplate
) -> tuple[ToldResults, ...]:
    """Return the results of a history where the prompt that continues it has them.

    Reasoning between them may be left out there. Results that are not found as they were are no longer known.
    """
    first = template.pieces[0] if template.pieces else None
    ids = first.ids if isinstance(first, PromptIds) else ()
    found, place = [], 0
    for each in told:
        part = tuple(said[each.start : each.stop])
        if not part:
            continue  # it could be found at every place
        # From the end of the one before: results are in order, and two of them may be equal.
        # The first id alone is compared at most places: a copy of a whole result at each would take minutes.
        starts = (n for n in range(place, len(ids)) if ids[n] == part[0])
        start = next((n for n in starts if ids[n : n + len(part)] == part), None)
        if start is not None:
            found.append(each.moved(start - each.start))
            place = start + len(part)
    return tuple(found)


def told(
    built: BuiltPipeline, node: str, *, system: str | None = None, tools: Sequence[Tool] = ()
) -> BuiltPipeline:
    """Return the same plan in which one model is told more: a system text behind its own, further tools.

    Args:
        built: the plan.
        node: the name of a model node whose prompt is a chat.
        system: the text, in which braces are braces.
        tools: the tools; their names differ from those that the node has.

    Raises:
        PromptError: the family has no form for a system text, or for tools.
    """
    model = built.nodes[node]
    assert isinstance(model, BuiltModel)
    assert isinstance(model.prompt, Chat)
    prompt, dialect = model.prompt, model.dialect
    if system is not None:
        own = "" if not prompt.system else f"{prompt.system}\n\n"
        # A client's text: a brace in it must not become a slot.
        prompt = prompt.model_copy(update={"system": own + system.replace("{", "{{").replace("}", "}}")})
    if tools:
        # The dialect's replaces its tools, the dispatcher's adds some.
        dialect = dialect.with_tools([*dialect.tools.values(), *tools])
    dispatcher = model.dispatcher.with_tools(tools) if tools else model.dispatcher
    changed = replace(
        model, prompt=prompt, dialect=dialect, template=dialect.template(prompt), dispatcher=dispatcher
    )
    return built.with_nodes({**built.nodes, node: changed})


def without_servers(built: BuiltPipeline) -> BuiltPipeline:
    """Return the same plan without MCP servers, for runs in which no tool is called."""
    return replace(built, servers=ServerLease(()))


def placed(built: BuiltPipeline, prefix: str) -> BuiltPipeline:
    """Return the same plan at another place: the paths of its nodes begin with the prefix."""
    return built.with_nodes({name: replace(node, path=prefix + name) for name, node in built.nodes.items()})
