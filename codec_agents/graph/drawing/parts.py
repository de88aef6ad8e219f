"""A declaration as its reader sees it: the graph, and a row for each node, edge and fault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from codec_agents.display.parts import Grid, Part, Picture, Title
from codec_agents.faults import Fault
from codec_agents.graph.drawing.labels import node_note
from codec_agents.graph.drawing.svg import to_svg
from codec_agents.graph.spec import PipelineSpec


def declaration_parts(spec: PipelineSpec, faults: Sequence[Fault]) -> Iterator[Part]:
    """Yield the parts of a declaration, its faults among them. One with errors has no drawing."""
    yield Title(f"pipeline {spec.pipeline}")
    if all(fault.severity != "error" for fault in faults):
        yield Picture(to_svg(spec), f"the graph of {spec.pipeline}: {', '.join(spec.nodes)}")
    yield Grid(("node", "kind"), [(name, node_note(node)) for name, node in spec.nodes.items()])
    if spec.edges:
        yield Grid(("edge", "to"), [(edge.source, edge.target) for edge in spec.edges])
    yield from fault_parts(faults)


def fault_parts(faults: Sequence[Fault]) -> Iterator[Part]:
    """Yield a row for each fault."""
    if faults:
        yield Grid(("place", "fault", "remedy"), [(f.place, f.found, f.remedy) for f in faults])
