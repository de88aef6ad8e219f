"""Compile a checked declaration into a plan.

Rules:

- Everything that can be known before a run is checked here: maps are loaded and their hashes compared,
  dialects bound to vocabularies, prompts assembled in token ids, tools imported and their schemas derived,
  and every edge is proven exact or refused.
- A fault does not stop the pass: all faults are reported at once, each with its place.
- The body of a loop or a map is compiled as a plan of its own; other nested pipelines are dissolved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from codec_agents import graph
from codec_agents.compiler.context import CompileContext, NodeBuilder
from codec_agents.compiler.edge_vocabularies import EdgeVocabularies
from codec_agents.compiler.flatten import FlatNode, Wire, expand_target, flatten
from codec_agents.compiler.maps import ResourceError
from codec_agents.compiler.missing_resources import unmet_needs
from codec_agents.compiler.nodes import BUILDERS
from codec_agents.compiler.prefill import Mode, prefill_modes
from codec_agents.compiler.resources import Resources
from codec_agents.exceptions import CodecAgentsError, PipelineError
from codec_agents.faults import Fault
from codec_agents.graph.checks.written import kind_of, unwritable
from codec_agents.graph.files.document import Document, located
from codec_agents.graph.kinds import RouterNode, SinkNode
from codec_agents.graph.serving import ServeSpec
from codec_agents.graph.spec import LoopNode, Nested, PipelineSpec
from codec_agents.plan.intervals import with_intervals
from codec_agents.plan.nodes import BuiltEdge, BuiltNode, strategy_between
from codec_agents.plan.plan import BuiltPipeline
from codec_agents.tools.mcp_servers import ServerLease
from codec_core.exceptions import CodecError
from codec_core.vocabulary import Vocabulary


def build(pipeline: graph.Declaration) -> BuiltPipeline:
    """Check a declaration, and load what a run of it needs.

    Raises:
        PipelineError: with every fault, each with its place, what was found and what to do.
    """
    found = pipeline.check()
    # Engines and servers are known by the JSON of their declarations: what has none cannot be loaded.
    if _has_errors(found) and (unwritten := list(unwritable(pipeline.spec))):
        raise PipelineError(located(unwritten, pipeline.document), pipeline.name)
    resources = Resources(pipeline.spec, pipeline.live, pipeline.directory)
    # Also where the check finds faults: both kinds are reported at once, and what was loaded is used below.
    found += located(list(unmet_needs(pipeline.spec, resources)), pipeline.document)
    if _has_errors(found):
        raise PipelineError(found, pipeline.name)
    steps = Build(pipeline.spec, resources)
    built = steps.run(warnings=tuple(found), document=pipeline.document)
    if steps.faults:
        raise PipelineError([*located(steps.faults, pipeline.document), *found], pipeline.name)
    return built


def _has_errors(faults: Iterable[Fault]) -> bool:
    return any(fault.severity == "error" for fault in faults)


class BodyFaultsError(Exception):
    """The pipeline inside a node has faults, which are already collected."""


class Build:
    """One pass over one declaration: the outermost, or the body of a loop or a map."""

    def __init__(
        self,
        spec: PipelineSpec,
        resources: Resources,
        *,
        inputs: Mapping[str, Vocabulary | None] | None = None,
        path: str = "",
        place: str = "",
    ) -> None:
        self._spec = spec
        self._resources = resources
        self._path = path
        self._place = place
        self.is_body = inputs is not None
        """Whether it is the body of a loop or a map, where no text is made."""
        self.faults: list[Fault] = []
        self.warnings: list[Fault] = []
        self.flat = flatten(spec, resources)
        self.flows = EdgeVocabularies(self.flat, inputs or {}, self.body)
        self._context = CompileContext(self.flat, self.flows, self.is_body, self.body, self.warnings.append)
        self._bodies: dict[str, BuiltPipeline] = {}

    def run(self, warnings: tuple[Fault, ...] = (), document: Document | None = None) -> BuiltPipeline:
        """Build all nodes, then all edges; `faults` has the faults found, `warnings` those of this pass."""
        conditional = self._conditional()
        nodes: dict[str, BuiltNode] = {}
        for path, flat in self.flat.nodes.items():
            built = self._node(flat, conditional=path in conditional)
            if built is not None:
                nodes[path] = built
        # The vocabulary of an edge may come from a node that could not be built.
        edges = [] if self.faults else self._edges(nodes)
        if self.is_body:
            self.faults += self._mixed_sinks(edges)
        return BuiltPipeline.of(
            self._spec.pipeline,
            self._spec,
            with_intervals(nodes, edges),
            edges,
            digest=digest_of(self._spec),
            warnings=(*warnings, *located(self.warnings, document)),
            reward=self._reward(),
            engines=self._resources.own_engines,
            servers=ServerLease(self._resources.servers),
        )

    def _reward(self) -> Callable[..., Any] | None:
        """Return what grades runs: that of the outermost pipeline alone."""
        if self._spec.reward is None or self.is_body:
            return None
        try:
            return self._resources.callable(self._spec.reward)
        except ResourceError as error:
            self.faults.append(Fault("reward", error.found, error.remedy))
            return None

    def body(self, flat: FlatNode) -> BuiltPipeline:
        """Return the plan of the body of a loop or a map; it is built once.

        Raises:
            BodyFaultsError: it has faults, which are collected in `faults`.
        """
        if flat.path not in self._bodies:
            assert isinstance(flat.node, Nested)
            inputs = {slot: self.flows.arriving(flat.path, slot) for slot in flat.node.slots}
            built = self._build_body(flat, inputs)
            # An input that takes text in the first round gets ids in the next: the built body tells which.
            fed = feedback_vocabularies(flat.node, built, inputs)
            self._bodies[flat.path] = built if fed == inputs else self._build_body(flat, fed)
        return self._bodies[flat.path]

    def _build_body(self, flat: FlatNode, inputs: Mapping[str, Vocabulary | None]) -> BuiltPipeline:
        assert isinstance(flat.node, Nested)
        steps = Build(
            flat.spec.body_of(flat.name),
            flat.resources.inside(flat.name),
            inputs=inputs,
            path=f"{self._path}{flat.path}/",
            place=f"{self._place}nodes.{flat.path}.{flat.node.body_field}.",
        )
        built = steps.run()
        # A body may be built twice, see `body`: each fault is told once.
        self.warnings += [fault for fault in steps.warnings if fault not in self.warnings]
        if steps.faults:
            self.faults += [fault for fault in steps.faults if fault not in self.faults]
            raise BodyFaultsError
        return built

    def _node(self, flat: FlatNode, *, conditional: bool) -> BuiltNode | None:
        # A node of a nested pipeline, which was dissolved: its path has the names of the nodes around it.
        place = f"{self._place}nodes.{flat.path.replace('/', '.body.nodes.')}"
        builder = NodeBuilder(flat, self._context, place, self._path + flat.path, conditional)
        try:
            return BUILDERS[type(flat.node)](builder)
        # They are in `faults` already, each at its own place.
        except BodyFaultsError:
            pass
        except ResourceError as error:
            self.faults.append(Fault(place, error.found, error.remedy))
        # Their messages hold the remedy, where there is one.
        except (CodecAgentsError, CodecError) as error:
            self.faults.append(Fault(place, str(error), ""))
        return None

    def _edges(self, nodes: Mapping[str, BuiltNode]) -> list[BuiltEdge]:
        wires = self.flat.wires
        return [*map(self._edge, wires, prefill_modes(wires, self.flat.nodes, nodes, is_body=self.is_body))]

    def _edge(self, wire: Wire, prefill: Mode) -> BuiltEdge:
        (source, port), (target, slot) = wire.source, wire.target
        gives = self.flows.port(source, port)
        # An edge into a sink has no slot.
        takes = self.flows.slot(target, slot) if slot else self._sink_takes(target, gives)
        return BuiltEdge(
            source_node=source,
            source_port=port,
            target_node=target,
            target_slot=slot,
            strategy=strategy_between(gives, takes),
            source_vocabulary=gives,
            target_vocabulary=takes,
            buffer=wire.edge.buffer,
            separator=wire.edge.separator,
            keep_special=wire.edge.keep_special,
            reasoning=wire.edge.reasoning,
            fallback=wire.edge.fallback,
            # 0: nothing is sent ahead.
            prefill=0 if prefill == "off" else wire.edge.prefill_stride,
            prefill_auto=prefill in ("auto", "default"),
            prefill_by_default=prefill == "default",
            prefill_budget=wire.edge.prefill_budget,
        )

    def _mixed_sinks(self, edges: Iterable[BuiltEdge]) -> Iterator[Fault]:
        """Find sinks of a body into which edges carry ids of several maps, or ids and text.

        What leaves a body has one vocabulary: that of its node's port.
        """
        firsts: dict[str, Vocabulary | None] = {}
        told: set[str] = set()
        for edge in edges:
            if edge.target_node in told or not isinstance(self.flat.nodes[edge.target_node].node, SinkNode):
                continue
            first = firsts.setdefault(edge.target_node, edge.source_vocabulary)
            if strategy_between(first, edge.source_vocabulary) in ("text", "pass_through"):
                continue
            told.add(edge.target_node)
            contents = f"{_content(first)} and {_content(edge.source_vocabulary)}"
            yield Fault(
                f"{self._place}nodes.{edge.target_node}",
                f"edges carry {contents} into one sink of a loop or a map",
                "give each a sink of its own, or join them by a join with `map:` before the sink",
            )

    def _sink_takes(self, sink: str, gives: Vocabulary | None) -> Vocabulary | None:
        node = self.flat.nodes[sink].node
        assert isinstance(node, SinkNode)
        return None if node.text and not self.is_body else gives

    def _conditional(self) -> set[str]:
        """Return the nodes that run only when a router chooses them, or when a node before them fails."""
        chosen = {wire.target[0] for wire in self.flat.wires if wire.edge.fallback}
        for flat in self.flat.nodes.values():
            if isinstance(flat.node, RouterNode):
                for name in flat.node.targets:
                    chosen.update(expand_target(self.flat, flat, name))
        return chosen


def _content(vocabulary: Vocabulary | None) -> str:
    return "text" if vocabulary is None else f"ids of {vocabulary.id}"


def feedback_vocabularies(
    node: Nested, body: BuiltPipeline, inputs: Mapping[str, Vocabulary | None]
) -> dict[str, Vocabulary | None]:
    """Return the vocabularies of a body's inputs if ids are fed back into an input that text fills first."""
    fed = dict(inputs)
    for sink, name in node.feedback.items() if isinstance(node, LoopNode) else ():
        if fed[name] is None:
            fed[name] = body.edges_into(sink)[0].source_vocabulary
    return fed


def digest_of(spec: PipelineSpec) -> str:
    """Return the digest of a declaration: equal for equal declarations.

    Where a server keeps conversations is left out: they are known by this digest, and outlast a move.
    """
    if spec.serve is not None and spec.serve.store is not None:
        # One that says nothing else is as none: adding a store to a pipeline changes no digest.
        served = spec.serve.model_copy(update={"store": None})
        spec = spec.model_copy(update={"serve": None if served == ServeSpec() else served})
    document = spec.model_dump_json(by_alias=True, exclude_defaults=True, fallback=kind_of)
    return "sha256:" + hashlib.sha256(document.encode()).hexdigest()
