"""A whole pipeline as one value."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from codec_agents.graph.base import Declared
from codec_agents.graph.edges import EdgeSpec
from codec_agents.graph.links import Link, resolve
from codec_agents.graph.nodes import LoopNode, MapNode, Name, Nested, NodeSpec, PipelineNode, RouterNode
from codec_agents.graph.policy import Policy
from codec_agents.graph.sources import EngineSpec, MapSpec

SPEC_VERSION = 1
"""The version of the declaration's form; a file of a newer one is refused."""


def _map_form(value: Any) -> Any:
    """Read a string as an id or a path."""
    return MapSpec.of(value) if isinstance(value, str) else value


NamedMap = Annotated[MapSpec, BeforeValidator(_map_form, json_schema_input_type=str | MapSpec)]


class PipelineSpec(Declared):
    """A pipeline: nodes, and the edges between them."""

    pipeline: Annotated[str, Field(min_length=1, max_length=200)]
    """Its name."""
    version: Annotated[int, Field(ge=1, le=SPEC_VERSION)] = SPEC_VERSION
    """The version of this form of declaration."""
    description: str | None = None
    engines: dict[Name, EngineSpec] = Field(default_factory=dict)
    """The engines that nodes name."""
    maps: dict[str, NamedMap] = Field(default_factory=dict)
    """The maps that nodes name, where an id or a path alone does not say enough."""
    imports: tuple[str, ...] = ()
    """Installed packages from which callables may be imported; modules beside the file always may."""
    policy: Policy = Policy()
    """What holds for every node that says nothing else."""
    nodes: Annotated[dict[Name, NodeSpec], Field(min_length=1)]
    edges: tuple[EdgeSpec, ...] = ()
    """In declared order, which is the order of content within a slot."""

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """The edges whose both ends are there, with ports and slots filled in."""
        return tuple(resolve(self.nodes, self.edges)[0])

    def links_into(self, node: str) -> tuple[Link, ...]:
        """The edges that end at a node, in declared order."""
        return tuple(link for link in self.links if link.target_node == node)

    def links_from(self, node: str) -> tuple[Link, ...]:
        """The edges that begin at a node, in declared order."""
        return tuple(link for link in self.links if link.source_node == node)

    def policy_of(self, node: str) -> Policy:
        """What holds for a node: the pipeline's policy with what the node sets."""
        return self.policy.overridden_by(self.nodes[node].policy)

    def map_of(self, name: str) -> MapSpec:
        """What a node's `map` names: a declared map, or what the text itself says."""
        return self.maps.get(name) or MapSpec.of(name)

    def engine_name(self, name: str | None) -> str | None:
        """The engine that a node's `engine` means; the only declared one where it names none."""
        if name is None and len(self.engines) == 1:
            return next(iter(self.engines))
        return name

    def engine_of(self, name: str | None) -> EngineSpec | None:
        """The engine that a node's `engine` means, declared or behind a URL; None if there is none."""
        found = self.engine_name(name)
        if found is None:
            return None
        if found not in self.engines and is_url(found):
            return EngineSpec(url=found)
        return self.engines.get(found)

    def body_of(self, name: str) -> PipelineSpec:
        """The pipeline inside a node, with the engines, maps, imports and policy that it takes over.

        What the body declares itself goes before what stands around it.
        """
        node = self.nodes[name]
        assert isinstance(node, Nested), f"{name} has no pipeline inside"
        body = node.body
        return body.model_copy(
            update={
                "engines": {**self.engines, **body.engines},
                "maps": {**self.maps, **body.maps},
                "imports": tuple(dict.fromkeys((*self.imports, *body.imports))),
                "policy": self.policy_of(name).overridden_by(body.policy),
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
    """Whether a node's `engine` is a URL and not a name."""
    return text.startswith(("http://", "https://"))


for _nested in (Nested, PipelineNode, MapNode, LoopNode):
    _nested.model_rebuild(_types_namespace={"PipelineSpec": PipelineSpec})
PipelineSpec.model_rebuild()
