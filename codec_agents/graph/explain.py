"""The explanation of a built pipeline, as plain values, as text and as tables.

The values are filled in when a pipeline is built; this module only holds and shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from codec_agents.display.displayed import Displayed
from codec_agents.faults import Fault
from codec_agents.graph.edges import Strategy

if TYPE_CHECKING:
    from codec_agents.display.parts import Part

HELD_BACK: Mapping[Strategy, str] = {
    "pass_through": "nothing: each id leaves as it comes",
    "translate": "the ids after the last cut that no later id can move; the rest when the source ends",
    "encode": "the whole text, encoded once when it is complete",
    "decode": "the bytes of an unfinished character, 3 at most; the rest when the source ends",
    "text": "nothing",
}
"""The part of a stream that an edge holds back, and when it is sent."""

_VERBS: Mapping[Strategy, str] = {
    "pass_through": "identity",
    "translate": "translate",
    "encode": "text to ids",
    "decode": "ids to text",
    "text": "text",
}
"""The strategies in words."""

MAX_SHOWN = 60
"""Characters of a literal piece that the text form shows."""


@dataclass(frozen=True, slots=True)
class PieceExplanation:
    """One piece of an assembled prompt."""

    kind: Literal["token", "text", "slot"]
    content: str
    """The token's name, the text, or the slot's name."""
    ids: int = 0
    """Its number of ids; 0 for a slot, which is as long as its content."""


@dataclass(frozen=True, slots=True)
class NodeExplanation:
    """One node, with the facts that the build found."""

    name: str
    kind: str
    engine: str | None = None
    model: str | None = None
    map: str | None = None
    map_hash: str | None = None
    dialect: str | None = None
    dialect_reason: str | None = None
    """The origin of the dialect: the declaration, or what it was derived from."""
    prompt: tuple[PieceExplanation, ...] = ()
    tools: tuple[str, ...] = ()
    conditional: bool = False
    """True if it runs only when it is chosen, or when a node before it fails."""
    makes_text: bool = False
    """True if ids become text in it: a text sink, a function that wants text, an engine that speaks text."""
    notes: tuple[str, ...] = ()
    """Further remarks."""

    @property
    def prompt_ids(self) -> int:
        """The number of fixed ids in its prompt."""
        return sum(piece.ids for piece in self.prompt)


@dataclass(frozen=True, slots=True)
class EdgeExplanation:
    """One edge, with the strategy that the build chose."""

    source: str
    """`node.port`"""
    target: str
    """`node.slot`, or a sink."""
    strategy: Strategy
    buffer: int
    """Ids it may hold before its producer waits."""
    source_map: str | None = None
    """None where the source gives text."""
    target_map: str | None = None
    """None where the target takes text."""
    separator: str | None = None
    """Inserted before its content; None where nothing can come before it."""
    keep_special: bool = False
    reasoning: bool = False
    fallback: bool = False
    prefill: bool = False
    prefill_auto: bool = False
    prefill_by_default: bool = False

    @property
    def is_text_boundary(self) -> bool:
        """True if ids become text on this edge, or text becomes ids."""
        return self.strategy in ("encode", "decode")

    @property
    def held_back(self) -> str:
        """The part of the stream that it holds back, and when it is sent."""
        return HELD_BACK[self.strategy]


@dataclass(frozen=True, slots=True)
class ServerExplanation:
    """One MCP server that tools come from."""

    name: str
    reached: str
    """The command or URL as declared: references to variables stay references."""
    offers: tuple[str, ...] = ()
    """Its tools, by its own names, as it offered them when the pipeline was built."""


@dataclass(frozen=True, slots=True)
class Explanation(Displayed):
    """A whole pipeline."""

    pipeline: str
    nodes: tuple[NodeExplanation, ...]
    edges: tuple[EdgeExplanation, ...]
    warnings: tuple[Fault, ...] = ()
    servers: tuple[ServerExplanation, ...] = ()

    @property
    def text_boundaries(self) -> tuple[str, ...]:
        """The places where ids become text or text becomes ids: edges as `source -> target`, then nodes."""
        crossed = [edge for edge in self.edges if edge.is_text_boundary]
        edges = tuple(f"{edge.source} -> {edge.target}" for edge in crossed)
        told = {edge.target for edge in crossed}  # the text of a sink is made on the way in
        return (*edges, *(node.name for node in self.nodes if node.makes_text and node.name not in told))

    def __str__(self) -> str:
        return render_text(self)

    def _display_parts(self) -> Iterable[Part]:
        return _parts(self)

    def to_data(self) -> dict[str, Any]:
        """Return the explanation as plain data, with derived values."""
        edges = [{**asdict(edge), "held_back": edge.held_back} for edge in self.edges]
        nodes = [{**asdict(node), "prompt_ids": node.prompt_ids} for node in self.nodes]
        return {
            "pipeline": self.pipeline,
            "nodes": nodes,
            "edges": edges,
            "servers": [asdict(server) for server in self.servers],
            "text_boundaries": list(self.text_boundaries),
            "warnings": [asdict(fault) for fault in self.warnings],
        }


def render_text(explanation: Explanation) -> str:
    """Return the explanation as text for a terminal, without colours."""
    return "\n".join(_lines(explanation)) + "\n"


def _lines(explanation: Explanation) -> Iterator[str]:
    yield f"pipeline {explanation.pipeline}"
    yield ""
    yield "nodes"
    for node in explanation.nodes:
        yield from _node_lines(node)
    yield ""
    yield "edges"
    for edge in explanation.edges:
        yield from _edge_lines(edge)
    yield ""
    if explanation.servers:
        yield "MCP servers, started with each run"
        for server in explanation.servers:
            yield f"  {server.name}: {server.reached}"
            yield f"    offers {', '.join(server.offers) or 'nothing'}"
        yield ""
    boundaries = explanation.text_boundaries
    yield f"text is made or read at: {', '.join(boundaries)}" if boundaries else "text is made nowhere"
    for warning in explanation.warnings:
        yield str(warning)


def _node_lines(node: NodeExplanation) -> Iterator[str]:
    yield f"  {node.name} ({node.kind}{', conditional' if node.conditional else ''})"
    facts = {"engine": node.engine, "model": node.model, "map": node.map}
    known = [f"{name} {value}" for name, value in facts.items() if value is not None]
    if known:
        yield f"    {', '.join(known)}"
    if node.dialect is not None:
        reason = f": {node.dialect_reason}" if node.dialect_reason else ""
        yield f"    dialect {node.dialect}{reason}"
    if node.prompt:
        slots = ", ".join(f"{{{piece.content}}}" for piece in node.prompt if piece.kind == "slot")
        yield f"    prompt of {node.prompt_ids} ids{' and ' + slots if slots else ''}"
        yield from (f"      {_piece(piece)}" for piece in node.prompt)
    if node.tools:
        yield f"    tools {', '.join(node.tools)}"
    yield from (f"    {note}" for note in node.notes)


def _piece(piece: PieceExplanation) -> str:
    if piece.kind == "slot":
        return f"{'slot':>5}  {{{piece.content}}}"
    shown = piece.content if len(piece.content) <= MAX_SHOWN else f"{piece.content[: MAX_SHOWN - 1]}…"
    return f"{piece.ids:>5}  {shown if piece.kind == 'token' else repr(shown)}"


def _edge_lines(edge: EdgeExplanation) -> Iterator[str]:
    yield f"  {edge.source} -> {edge.target}: {_VERBS[edge.strategy]}{_maps(edge)}"
    yield f"    holds back {edge.held_back}; buffer of {edge.buffer} ids"
    options = {
        "special tokens kept as text": edge.keep_special,
        "with the reasoning": edge.reasoning,
        "only if the source fails": edge.fallback,
        "prefilled ahead": edge.prefill and not edge.prefill_auto,
        "prefilled ahead where the engine has room and its cached ids show a gain": (
            edge.prefill_auto and not edge.prefill_by_default
        ),
        "prefilled ahead where the engine is idle and its cached ids show a gain": edge.prefill_by_default,
        f"after {edge.separator!r}": bool(edge.separator),
    }
    shown = [option for option, is_set in options.items() if is_set]
    if shown:
        yield f"    {', '.join(shown)}"


def _maps(edge: EdgeExplanation) -> str:
    if edge.strategy == "translate":
        return f" from {edge.source_map} to {edge.target_map}"
    known = edge.source_map or edge.target_map
    return f" ({known})" if known else ""


def _parts(explanation: Explanation) -> Iterator[Part]:
    # Imported here, because only a notebook draws.
    from codec_agents.display.parts import Grid, Title
    from codec_agents.graph.drawing.parts import fault_parts

    yield Title(f"pipeline {explanation.pipeline}")
    heads = ("node", "kind", "engine", "model", "map", "dialect", "prompt ids", "tools")
    yield Grid(heads, [_node_row(node) for node in explanation.nodes])
    yield Grid(("edge", "", "buffer", "holds back"), [_edge_row(edge) for edge in explanation.edges])
    if explanation.servers:
        rows = [(server.name, server.reached, ", ".join(server.offers)) for server in explanation.servers]
        yield Grid(("MCP server", "reached at", "offers"), rows)
    boundaries = ", ".join(explanation.text_boundaries)
    yield Title(f"text is made or read at: {boundaries}" if boundaries else "text is made nowhere")
    yield from fault_parts(explanation.warnings)


def _node_row(node: NodeExplanation) -> tuple[str, ...]:
    facts = (node.engine, node.model, node.map, node.dialect)
    ids = f"{node.prompt_ids:,}" if node.prompt else ""
    return (node.name, node.kind, *(fact or "" for fact in facts), ids, ", ".join(node.tools))


def _edge_row(edge: EdgeExplanation) -> tuple[str, ...]:
    name = f"{edge.source} → {edge.target}"
    return (name, _VERBS[edge.strategy], f"{edge.buffer:,}", edge.held_back)
