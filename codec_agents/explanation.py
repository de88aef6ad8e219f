"""What a built pipeline will do, read from what was built: nothing here is asked of the declaration twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from codec_agents.built import BuiltAsking, BuiltEdge, BuiltFunction, BuiltNode, BuiltPipeline, BuiltSink
from codec_agents.graph.explain import EdgeExplanation, Explanation, NodeExplanation, PieceExplanation
from codec_agents.graph.kinds import FunctionNode, ModelNode
from codec_agents.prompts import PromptSlot, PromptTemplate
from codec_core.detokenizer import detokenize
from codec_core.vocabulary import Vocabulary


def explain(built: BuiltPipeline) -> Explanation:
    """Return what each node asks and each edge does."""
    return Explanation(
        pipeline=built.name,
        nodes=tuple(_node(node, built) for node in built.nodes.values()),
        edges=tuple(_edge(edge) for edge in built.edges),
        warnings=built.warnings,
    )


def _node(node: BuiltNode, built: BuiltPipeline) -> NodeExplanation:
    kind = type(node).__name__.removeprefix("Built").lower()
    if isinstance(node, BuiltAsking):
        return _asking(node, kind, built)
    return NodeExplanation(
        name=node.name, kind=kind, conditional=node.conditional, makes_text=_makes_text(node, built)
    )


def _makes_text(node: BuiltNode, built: BuiltPipeline) -> bool:
    declared = built.spec.nodes.get(node.name)
    wants_text = isinstance(declared, FunctionNode) and declared.wants == "text"
    return (isinstance(node, BuiltSink) and node.text) or (isinstance(node, BuiltFunction) and wants_text)


def _asking(node: BuiltAsking, kind: str, built: BuiltPipeline) -> NodeExplanation:
    declared = built.spec.nodes.get(node.name)
    return NodeExplanation(
        name=node.name,
        kind=kind,
        engine=f"{node.engine.name} ({node.engine.provider})",
        model=node.model,
        map=node.vocabulary.id,
        map_hash=node.vocabulary.hash,
        dialect=node.dialect.name,
        dialect_reason=node.dialect_reason,
        prompt=tuple(_pieces(node.template, node.vocabulary)),
        tools=declared.tools if isinstance(declared, ModelNode) else (),
        conditional=node.conditional,
    )


def _pieces(template: PromptTemplate, vocabulary: Vocabulary) -> Iterator[PieceExplanation]:
    for piece in template.pieces:
        if isinstance(piece, PromptSlot):
            yield PieceExplanation("slot", piece.name)
        else:
            yield from _fixed(piece.ids, vocabulary)


def _fixed(ids: Sequence[int], vocabulary: Vocabulary) -> Iterator[PieceExplanation]:
    """Tell control ids, one by one, from the text between them."""
    names = {token_id: name for name, token_id in vocabulary.special_tokens.items()}
    for is_text, run in groupby(ids, key=lambda token_id: token_id not in names):
        if is_text:
            text = tuple(run)
            yield PieceExplanation("text", detokenize(vocabulary, text), len(text))
        else:
            yield from (PieceExplanation("token", names[token_id], 1) for token_id in run)


def _edge(edge: BuiltEdge) -> EdgeExplanation:
    return EdgeExplanation(
        source=edge.source,
        target=edge.target,
        strategy=edge.strategy,
        buffer=edge.buffer,
        source_map=edge.source_vocabulary.id if edge.source_vocabulary else None,
        target_map=edge.target_vocabulary.id if edge.target_vocabulary else None,
        separator=edge.separator or None,
        keep_special=edge.keep_special,
        reasoning=edge.reasoning,
        fallback=edge.fallback,
        prefill=edge.prefill,
    )
