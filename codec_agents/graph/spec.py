"""The declaration of a whole pipeline as one value."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import AliasChoices, BeforeValidator, Discriminator, Field, Tag, field_validator
from pydantic_core import PydanticCustomError

from codec_agents.graph.base import NO_WORD_AS_WHOLE, Count, Declared, FileName, Reference
from codec_agents.graph.dialects import DialectSpec
from codec_agents.graph.edges import EdgeSpec
from codec_agents.graph.kinds import (
    FunctionNode,
    InputNode,
    JoinNode,
    ModelNode,
    Name,
    Node,
    RouterNode,
    SinkNode,
)
from codec_agents.graph.links import Link, resolve
from codec_agents.graph.policy import Policy
from codec_agents.graph.servers import McpSpec
from codec_agents.graph.serving import ServeSpec
from codec_agents.graph.sources import EngineSpec, MapSpec

SPEC_VERSION = 1
"""The version of the declaration's format; a file of a newer version is refused."""

MAX_NESTING = 20
"""Pipelines inside one another. A file cannot hold more, at its limit of 64 levels and three for each."""


class Nested(Node):
    """A node with a pipeline inside: its inputs are the node's slots, its sinks the node's ports.

    A nested sink passes ids on, whatever it declares: text is made only where a stream leaves the outermost
    pipeline.
    """

    body: PipelineSpec
    file: FileName | None = None
    """The file that the body was read from, beside the pipeline's own."""
    body_field: ClassVar[str]
    """The field that holds the body in files."""

    @field_validator("body")
    @classmethod
    def _bounded(cls, body: PipelineSpec) -> PipelineSpec:
        """Refuse the first body too many: whatever walks a declaration recurses once for each level."""
        if body.levels > MAX_NESTING:
            found = f"pipelines are nested more than {MAX_NESTING} levels deep"
            raise PydanticCustomError("nesting", f"{found}; bring some of them to a level further out")
        return body

    @property
    def ports(self) -> tuple[str, ...]:
        """The sinks of the body."""
        return tuple(name for name, node in self.body.nodes.items() if isinstance(node, SinkNode))

    @property
    def slots(self) -> tuple[str, ...]:
        """The inputs of the body."""
        return tuple(name for name, node in self.body.nodes.items() if isinstance(node, InputNode))

    @property
    def optional_slots(self) -> frozenset[str]:
        """The inputs of the body that have a default."""
        nodes = self.body.nodes.items()
        return frozenset(n for n, node in nodes if isinstance(node, InputNode) and node.default is not None)


class PipelineNode(Nested):
    """A whole pipeline as a node."""

    kind: Literal["pipeline"] = "pipeline"
    body: Annotated[PipelineSpec, Field(validation_alias=AliasChoices("body", "pipeline"))]
    body_field: ClassVar[str] = "pipeline"


class MapNode(Nested):
    """Run a pipeline once for each item of a stream."""

    kind: Literal["map"] = "map"
    body: Annotated[PipelineSpec, Field(validation_alias=AliasChoices("body", "each"))]
    body_field: ClassVar[str] = "each"
    over: Name | None = None
    """The body's input for the items; the only one, or the only one without a default, when left out. Others
    get the same value each time."""
    split: Annotated[str, Field(min_length=1)] = "\n"
    """The text that ends an item, compared as bytes. Items without content are left out."""
    items: Reference | None = None
    """A callable that cuts a list of ids into lists, in place of `split`."""
    parallel: Count = 4
    """Items that run concurrently."""
    order: Literal["input", "completion"] = "input"
    """The order of the results."""
    separator: str = "\n"
    """Inserted between results."""


class StartsWith(Declared):
    """A condition: a sink of the body begins with a text, compared as bytes."""

    sink: Name
    starts_with: Annotated[str, Field(min_length=1)]


class LoopNode(Nested):
    """Run a pipeline repeatedly: the output of its sinks goes back into its inputs."""

    kind: Literal["loop"] = "loop"
    body: Annotated[PipelineSpec, Field(validation_alias=AliasChoices("body", "loop"))]
    body_field: ClassVar[str] = "loop"
    turns: Count
    """Rounds at most."""
    feedback: dict[Name, Name] = Field(default_factory=dict)
    """The input that each sink fills in the next round."""
    until: StartsWith | Reference | None = None
    """Ends the loop earlier: a sink that begins with a text, or `module:callable` on the ids by sink."""


def _kinds() -> Mapping[str, type[Node]]:
    # From the fields, so that the names cannot differ from those that files are validated by.
    kinds = (
        InputNode,
        ModelNode,
        RouterNode,
        FunctionNode,
        JoinNode,
        MapNode,
        LoopNode,
        PipelineNode,
        SinkNode,
    )
    return {kind.model_fields["kind"].default: kind for kind in kinds}


KINDS = _kinds()
"""Every kind of node, by the name that files use."""

TELLING_FIELDS: Mapping[str, str] = {
    "labels": "router",
    "each": "map",
    "loop": "loop",
    "pipeline": "pipeline",
    "prompt": "model",
    "model": "model",
    "tools": "model",
    "items": "map",
    "inputs": "function",
    "wants": "function",
    "first": "join",
    "until": "join",
    "text": "sink",
    "to": "sink",
    "file": "sink",
    "call": "function",
    "type": "input",
    "default": "input",
}
"""The kind of a node without `kind`, by a field that it has; the first field found decides."""


def kind_of(data: Any) -> str | None:
    """Return the kind of a node: its `kind`, or the kind that one of its fields implies."""
    if isinstance(data, Node):
        return str(data.kind)  # type: ignore[attr-defined] # of every kind, each with its own literal
    if not isinstance(data, Mapping):
        return None
    if "kind" in data:
        return str(data["kind"])
    return next((kind for name, kind in TELLING_FIELDS.items() if name in data), None)


NodeSpec: TypeAlias = Annotated[
    Annotated[InputNode, Tag("input")]
    | Annotated[ModelNode, Tag("model")]
    | Annotated[RouterNode, Tag("router")]
    | Annotated[FunctionNode, Tag("function")]
    | Annotated[JoinNode, Tag("join")]
    | Annotated[MapNode, Tag("map")]
    | Annotated[LoopNode, Tag("loop")]
    | Annotated[PipelineNode, Tag("pipeline")]
    | Annotated[SinkNode, Tag("sink")],
    Discriminator(kind_of),
]
"""A node of any kind."""


def _map_form(value: Any) -> Any:
    """Read a string as an id or a path."""
    return MapSpec.of(value) if isinstance(value, str) else value


NamedMap = Annotated[MapSpec, BeforeValidator(_map_form, json_schema_input_type=str | MapSpec)]


class PipelineSpec(Declared):
    """A pipeline: nodes, and the edges between them."""

    pipeline: Annotated[str, Field(min_length=1, max_length=200)]
    """Its name."""
    version: Annotated[int, Field(ge=1, le=SPEC_VERSION), NO_WORD_AS_WHOLE] = SPEC_VERSION
    """The version of the format."""
    description: str | None = None
    engines: dict[Name, EngineSpec] = Field(default_factory=dict)
    """The engines that nodes name."""
    maps: dict[str, NamedMap] = Field(default_factory=dict)
    """The maps that nodes name, where an id or a path alone is not enough."""
    imports: tuple[str, ...] = ()
    """Installed packages from which callables may be imported; modules beside the file always may."""
    dialects: dict[Name, DialectSpec] = Field(default_factory=dict)
    """Dialects of the declaration, which nodes name like known ones."""
    mcp: dict[Name, McpSpec] = Field(default_factory=dict)
    """The MCP servers whose tools nodes name as `mcp:server`; they are open during a run."""
    programs: tuple[str, ...] = ()
    """Programs that `mcp` may start, besides those beside the file and `python` with a script there."""
    policy: Policy = Field(default_factory=Policy)
    """The policy of all nodes, where they set nothing else."""
    serve: ServeSpec | None = None
    """How a server answers with the pipeline, as if it were one model."""
    reward: Reference | None = None
    """A callable that grades a run that is recorded, given its result: a number, numbers by node, or null."""
    nodes: Annotated[dict[Name, NodeSpec], Field(min_length=1)]
    edges: tuple[EdgeSpec, ...] = ()
    """In declared order, which is the order of content within a slot."""

    @cached_property
    def levels(self) -> int:
        """The pipelines inside one another, this one included."""
        bodies = (node.body.levels for node in self.nodes.values() if isinstance(node, Nested))
        return 1 + max(bodies, default=0)

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """The edges whose ends both exist, with ports and slots filled in."""
        return tuple(resolve(self.nodes, self.edges)[0])

    def policy_of(self, node: str) -> Policy:
        """Return the policy of a node: the pipeline's, with the fields that the node sets."""
        return self.policy.overridden_by(self.nodes[node].policy)

    def map_of(self, name: str) -> MapSpec:
        """Return the map that a node's `map` names: a declared one, or the id or path itself."""
        return self.maps.get(name) or MapSpec.of(name)

    def engine_name(self, name: str | None) -> str | None:
        """Return the name of a node's engine; the only declared one where the node names none."""
        if name is None and len(self.engines) == 1:
            return next(iter(self.engines))
        return name

    def engine_of(self, name: str | None) -> EngineSpec | None:
        """Return the engine of a node, declared or behind a URL; None if it is unknown."""
        found = self.engine_name(name)
        if found is None:
            return None
        if found not in self.engines and is_url(found):
            return EngineSpec(url=found)
        return self.engines.get(found)

    def body_of(self, name: str) -> PipelineSpec:
        """Return the pipeline inside a node, with the declarations around it that it inherits.

        Declarations of the body take precedence. `on_failure` of a map or a loop is not inherited: the nodes
        inside would otherwise fail in its place.
        """
        node = self.nodes[name]
        assert isinstance(node, Nested), f"{name} has no body"
        body, policy = node.body, self.policy_of(name)
        # A nested pipeline is dissolved: its nodes are those that fail, so they inherit it.
        if not isinstance(node, PipelineNode):
            policy = policy.model_copy(update={"on_failure": self.policy.on_failure})
        return body.model_copy(
            update={
                "engines": {**self.engines, **body.engines},
                "maps": {**self.maps, **body.maps},
                "imports": tuple(dict.fromkeys((*self.imports, *body.imports))),
                "dialects": {**self.dialects, **body.dialects},
                "mcp": {**self.mcp, **body.mcp},
                "programs": tuple(dict.fromkeys((*self.programs, *body.programs))),
                "policy": policy.overridden_by(body.policy),
            }
        )

    @property
    def conditional(self) -> frozenset[str]:
        """The nodes that run only when a router chooses them, or when another node fails."""
        routed = {
            name for node in self.nodes.values() if isinstance(node, RouterNode) for name in node.targets
        }
        fallbacks = {link.target_node for link in self.links if link.edge.fallback}
        return frozenset(routed | fallbacks)


def is_url(text: str) -> bool:
    """Return whether the engine of a node is a URL and not a name."""
    return text.startswith(("http://", "https://"))
