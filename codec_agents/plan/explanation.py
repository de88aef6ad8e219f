"""The explanation of a plan, in the values of `graph.explain`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from codec_agents.dialects import BoundDialect
from codec_agents.dialects.verified import VERIFIED
from codec_agents.engines.base import WHOLE, is_text_boundary
from codec_agents.graph.chat import Chat
from codec_agents.graph.explain import (
    EdgeExplanation,
    Explanation,
    NodeExplanation,
    PieceExplanation,
    ServerExplanation,
)
from codec_agents.plan.nodes import (
    BuiltEdge,
    BuiltFunction,
    BuiltJoin,
    BuiltModel,
    BuiltNode,
    BuiltRouter,
    BuiltSink,
    PromptedNode,
)
from codec_agents.plan.plan import BuiltLoop, BuiltMap, BuiltPipeline
from codec_agents.prompts import PromptIds, PromptTemplate
from codec_core.detokenizer import detokenize
from codec_core.vocabulary import Vocabulary


def explain(built: BuiltPipeline) -> Explanation:
    """Return an explanation of each node and edge, including those in the bodies of maps and loops."""
    parts = list(_parts(built, ""))
    return Explanation(
        pipeline=built.name,
        nodes=tuple(
            replace(explained, notes=(*explained.notes, *_how_it_runs(node)))
            for part, prefix in parts
            for node in part.nodes.values()
            for explained in (_node(prefix + node.name, node),)
        ),
        edges=tuple(_inside(prefix, _edge(part, edge)) for part, prefix in parts for edge in part.edges),
        servers=tuple(
            ServerExplanation(server.name, server.spec.reached, tuple(tool.name for tool in server.offered))
            for server in built.servers.servers
        ),
        warnings=built.warnings,
    )


def _parts(built: BuiltPipeline, prefix: str) -> Iterator[tuple[BuiltPipeline, str]]:
    """Yield a plan, then the bodies in it, each with the prefix of its names in the whole."""
    yield built, prefix
    for name, node in built.nodes.items():
        if isinstance(node, BuiltMap | BuiltLoop):
            yield from _parts(node.body, f"{prefix}{name}/")


def _inside(prefix: str, edge: EdgeExplanation) -> EdgeExplanation:
    return replace(edge, source=prefix + edge.source, target=prefix + edge.target)


def _how_it_runs(node: BuiltNode) -> Iterator[str]:
    match node:
        case BuiltMap():
            cut = f"at {node.split!r}, as they come" if isinstance(node.split, str) else "by a callable"
            order = "order of the items" if node.in_order else "order of completion"
            yield f"items of {node.over} are cut {cut}; {node.parallel} at once, results in the {order}"
        case BuiltLoop():
            until = ", or until its condition holds" if node.until or node.starts_with else ""
            yield f"{node.turns} rounds at most{until}"
        case BuiltJoin(first=None, until=None):
            yield "waits for all edges"
        case BuiltJoin():
            yield (
                "until its condition holds" if node.first is None else f"takes the first {node.first} to end"
            )
        case BuiltRouter():
            default = ", ".join(node.default) if node.default else "none: then it fails"
            chosen = "; ".join(f"{label}: {', '.join(to)}" for label, to in node.targets.items())
            yield f"starts by label {chosen}; by default {default}"


def _node(name: str, node: BuiltNode) -> NodeExplanation:
    # The plan's class of each kind is named after it.
    kind = type(node).__name__.removeprefix("Built").lower()
    # A function has no vocabulary where it wants text.
    makes_text = (isinstance(node, BuiltSink) and node.text) or (
        isinstance(node, BuiltFunction) and node.vocabulary is None
    )
    if not isinstance(node, PromptedNode):
        return NodeExplanation(name, kind, conditional=node.conditional, makes_text=makes_text)
    return NodeExplanation(
        name,
        kind,
        engine=f"{node.engine.name} ({node.engine.provider})",
        model=node.model,
        map=node.vocabulary.id,
        map_hash=node.vocabulary.hash,
        dialect=node.dialect.name,
        dialect_reason=node.dialect_reason,
        prompt=tuple(_pieces(node.template, node.vocabulary)),
        tools=node.dispatcher.tools.names if isinstance(node, BuiltModel) else (),
        conditional=node.conditional,
        makes_text=is_text_boundary(node.engine),
        notes=tuple(_notes(node)),
    )


def _notes(node: PromptedNode) -> Iterator[str]:
    if absent := node.dialect.absent:
        yield f"the map has no {', '.join(absent)}: what they mark is not told apart"
    if references := VERIFIED.get(node.dialect.name):
        yield f"prompts verified against: {', '.join(references)}"
    if unverified := node.dialect.dialect.unverified:
        yield f"not verified of this family: {'; '.join(unverified)}"
    if is_text_boundary(node.engine):
        yield "a text boundary: the engine takes the prompt as text, and the ids are those of its text"
    if isinstance(node, BuiltRouter):
        yield from _router_notes(node)
    if isinstance(node, BuiltModel):
        yield from _reasoning_notes(node)
        yield from _output_notes(node)
    if (budget := node.policy.limits.reasoning_ids) is not None:
        yield f"{budget} ids of reasoning {_at_budget(node.dialect)}"


def _reasoning_notes(node: BuiltModel) -> Iterator[str]:
    asked = node.dialect.thinking
    if asked in ("on", "off") and not node.dialect.reasoning.can_be(asked):
        yield f"thinking cannot be turned {asked} by this family's prompt: it opens as it does by itself"
    if node.dialect.knows_reasoning and isinstance(node.prompt, Chat):
        becomes = "stays" if node.dialect.reasoning.stays(node.prompt) else "is left out"
        yield f"reasoning {becomes} when a person speaks again"


def _router_notes(node: BuiltRouter) -> Iterator[str]:
    if node.label_ids:
        yield "one id decides: the engine draws from the labels' first ids alone"
    elif node.options.structured:
        yield "answers with one of its labels: enforced by the engine"


def _output_notes(node: BuiltModel) -> Iterator[str]:
    if node.stream_interval == WHOLE:
        yield "is not streamed where its engine can: its end alone counts"
    if node.stream_interval > 1:
        yield f"streams {node.stream_interval} ids per event where its engine can: no reader wants each"
    if (output := node.output) is None:
        return
    if not output.enforced:
        yield f"answers with {output.kind}: checked on arrival, since the engine has no way to enforce it"
    elif output.kind == "grammar":
        yield "answers with a grammar: enforced by the engine, and not checked here"
    else:
        yield f"answers with {output.kind}: enforced by the engine, and checked on arrival"
    if output.retries:
        yield f"the answer leaves when it is checked; a fault is told {output.retries} times at most"


def _at_budget(dialect: BoundDialect) -> str:
    if not dialect.knows_reasoning:
        return "have no effect: no reasoning is told apart"
    form = dialect.dialect.thinking
    if form is None or form.closing is None:
        return "end the node: the family has no way to close reasoning"
    return f"are closed by {form.closing!r}, and the model goes on"


def _pieces(template: PromptTemplate, vocabulary: Vocabulary) -> list[PieceExplanation]:
    """Describe a template as tokens, texts and slots. Its text is decoded here for a person to read."""
    names = {number: name for name, number in vocabulary.special_tokens.items()}
    pieces: list[PieceExplanation] = []
    for piece in template.pieces:
        if not isinstance(piece, PromptIds):
            pieces.append(PieceExplanation("slot", piece.name))
            continue
        ordinary: list[int] = []
        # None ends the last stretch of text.
        for token_id in (*piece.ids, None):
            if token_id is not None and token_id not in names:
                ordinary.append(token_id)
                continue
            if ordinary:
                pieces.append(PieceExplanation("text", detokenize(vocabulary, ordinary), len(ordinary)))
                ordinary = []
            if token_id is not None:
                pieces.append(PieceExplanation("token", names[token_id], 1))
    return pieces


def _edge(built: BuiltPipeline, edge: BuiltEdge) -> EdgeExplanation:
    # A separator stands before the content of every edge but the first; which comes first, order decides. A
    # sink has no slot, in which there could be one.
    alone = len([other for other in built.edges_into(edge.target_node) if other.target == edge.target]) == 1
    return EdgeExplanation(
        source=edge.source,
        target=edge.target,
        strategy=edge.strategy,
        buffer=edge.buffer,
        source_map=edge.source_vocabulary.id if edge.source_vocabulary else None,
        target_map=edge.target_vocabulary.id if edge.target_vocabulary else None,
        separator=None if alone or not edge.target_slot else edge.separator,
        keep_special=edge.keep_special,
        reasoning=edge.reasoning,
        fallback=edge.fallback,
        prefill=edge.prefill > 0,
        prefill_auto=edge.prefill_auto,
        prefill_by_default=edge.prefill_by_default,
    )
