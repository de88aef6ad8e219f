"""The kinds of node: what each declares, which ports it has and which slots.

A *port* is where ids leave, a *slot* is where they enter. Every kind answers the same four questions, so that
checks, drawings and the runtime need no list of kinds: `ports`, `slots`, `default_port`, `default_slot`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import AliasChoices, BeforeValidator, Discriminator, Field, Tag

from codec_agents.graph.base import NAME_PATTERN, Count, Declared, Reference
from codec_agents.graph.chat import Chat, RawPrompt
from codec_agents.graph.policy import Policy

if TYPE_CHECKING:
    from codec_agents.graph.spec import PipelineSpec

ANSWER, REASONING, TOOL_CALLS = "answer", "reasoning", "tool_calls"
"""The ports of a model."""

VALUE = "value"
"""The one port of nodes that give one thing, and the one slot of nodes that take one."""

Name: TypeAlias = Annotated[str, Field(pattern=NAME_PATTERN)]


class Node(Declared):
    """What every kind of node can declare."""

    title: str | None = None
    """What drawings call it."""
    policy: Policy | None = None
    """What differs from the pipeline's policy."""

    @property
    def ports(self) -> tuple[str, ...]:
        """The names of its ports."""
        return ()

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of its slots. A sink has none: its edges name only the node."""
        return ()

    @property
    def optional_slots(self) -> frozenset[str]:
        """Those of its slots that may stay without an edge."""
        return frozenset()

    @property
    def default_port(self) -> str | None:
        """The port of an edge that names only the node."""
        return self.ports[0] if len(self.ports) == 1 else None

    @property
    def default_slot(self) -> str | None:
        """The slot of an edge that names only the node: the only one, or the only one that needs an edge."""
        if len(self.slots) == 1:
            return self.slots[0]
        needed = [slot for slot in self.slots if slot not in self.optional_slots]
        return needed[0] if len(needed) == 1 else None


class InputNode(Node):
    """Where the caller's value enters: text from a person, or ids."""

    kind: Literal["input"] = "input"
    type: Literal["text", "ids"] = "text"
    map: str | None = None
    """The map whose ids are given, where `type` is `ids`."""
    default: str | list[int] | None = None
    """The value when the caller gives none; without it the input must be given."""

    @property
    def ports(self) -> tuple[str, ...]:
        """The value."""
        return (VALUE,)


class SinkNode(Node):
    """Where a stream leaves the graph, as the text that a person reads or as ids."""

    kind: Literal["sink"] = "sink"
    text: bool = True
    """Whether ids become text here."""
    to: Literal["result", "stdout"] | None = None
    """`stdout` writes as it comes. The result, and `run.text` or `run.ids`, always have it."""
    file: str | None = None
    """A file to write as it comes: text, or one JSON array of ids a line."""
    call: Reference | None = None
    """A callable that is given each piece as it comes."""


class Sampling(Declared):
    """What the engine is asked to do; what is left out, the engine decides."""

    max_tokens: Count | None = None
    """Ids of one turn at most."""
    temperature: Annotated[float, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    """Strings that end a turn."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Fields of the engine's own API, sent as they stand."""


def _prompt_form(value: Any) -> Any:
    """Read a string as the user's turn."""
    return {"user": value} if isinstance(value, str) else value


def _prompt_tag(value: Any) -> str:
    return "pieces" if isinstance(value, list | tuple | RawPrompt) else "chat"


Prompt: TypeAlias = Annotated[
    Annotated[Chat, Tag("chat")] | Annotated[RawPrompt, Tag("pieces")],
    Discriminator(_prompt_tag),
    BeforeValidator(_prompt_form, json_schema_input_type=str | Chat | RawPrompt),
]
"""A chat, a list of pieces, or a string for the user's turn alone."""


class Asking(Node):
    """What nodes that ask a model have in common."""

    model: str | None = None
    """The name that the engine knows the model by."""
    engine: str | None = None
    """A declared engine, or the URL of one; the only declared one when left out."""
    map: str | None = None
    """The model's map: a declared one, an id (bundled or in the cache), or a path."""
    prompt: Prompt
    dialect: str | None = None
    """How the model writes turns, calls and reasoning; derived from the map when left out."""
    sampling: Sampling = Sampling()

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots of the prompt."""
        return self.prompt.slots


class ModelNode(Asking):
    """A language model, and the tools that it may call."""

    kind: Literal["model"] = "model"
    tools: tuple[Reference, ...] = ()
    """Callables as `module:name`."""

    @property
    def ports(self) -> tuple[str, ...]:
        """The lanes of its stream."""
        return (ANSWER, REASONING, TOOL_CALLS)

    @property
    def default_port(self) -> str:
        """The answer."""
        return ANSWER


def _targets(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Targets: TypeAlias = Annotated[
    tuple[Name, ...], Field(min_length=1), BeforeValidator(_targets, json_schema_input_type=str | list[str])
]
"""The nodes that a decision starts: one name, or a list."""


class RouterNode(Asking):
    """A model that answers with one of several labels; the nodes of the chosen label run, the others do not.

    The decision is made in ids: the labels are encoded once, and the first ids that tell them apart decide.
    A node that a router names runs only when it is chosen; its slots are filled by ordinary edges.
    """

    kind: Literal["router"] = "router"
    labels: Annotated[dict[str, Targets], Field(min_length=1)]
    """What the model may answer, and which nodes run then."""
    default: Targets | None = None
    """The nodes that run when no label fits; without them the node fails."""

    @property
    def ports(self) -> tuple[str, ...]:
        """The ids of the chosen label."""
        return (VALUE,)

    @property
    def targets(self) -> tuple[str, ...]:
        """All nodes that the router may start, each once."""
        chosen = [*self.labels.values(), self.default or ()]
        return tuple(dict.fromkeys(name for names in chosen for name in names))


class FunctionNode(Node):
    """A Python callable on ids; one that wants text makes a text boundary, and `explain` says so."""

    kind: Literal["function"] = "function"
    call: Reference
    """`module:name`. It is called with one argument a slot, by name, when all are there."""
    inputs: Annotated[tuple[Name, ...], Field(min_length=1)] = (VALUE,)
    """Its slots: the names of the callable's arguments."""
    wants: Literal["ids", "text"] = "ids"
    """What it takes and gives: lists of ids, or strings."""
    map: str | None = None
    """The map of the ids that it takes and gives; that of what reaches its first slot when left out."""

    @property
    def ports(self) -> tuple[str, ...]:
        """What the callable returns."""
        return (VALUE,)

    @property
    def slots(self) -> tuple[str, ...]:
        """Its arguments."""
        return self.inputs


class JoinNode(Node):
    """Bring several edges together: all of them, the first ones to end, or until a condition holds."""

    kind: Literal["join"] = "join"
    first: Count | None = None
    """How many edges are waited for; the nodes behind the others are stopped. All when left out."""
    until: Reference | None = None
    """A callable: given the ids that have ended so far, by source, it says whether that is enough."""
    map: str | None = None
    """The map of what it gives; that of its sources, which then must be one, when left out."""

    @property
    def ports(self) -> tuple[str, ...]:
        """What was waited for, in the declared order of the edges, separated as the edges say."""
        return (VALUE,)

    @property
    def slots(self) -> tuple[str, ...]:
        """One slot, for all its edges."""
        return (VALUE,)


class Nested(Node):
    """A node with a pipeline inside: its inputs are the node's slots, its sinks the node's ports.

    A nested sink hands on ids, whatever it says: text is made where a stream leaves the outermost pipeline.
    """

    body: PipelineSpec
    file: str | None = None
    """The file that the body was read from, beside the pipeline's own."""
    body_field: ClassVar[str]
    """What a file calls the body."""

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
    """The body's input that gets the items, its only one if left out; others get the same value each time."""
    split: Annotated[str, Field(min_length=1)] = "\n"
    """The text that ends an item; compared as bytes, no text is made. Items without content are left out."""
    items: Reference | None = None
    """A callable that cuts a list of ids into lists, in place of `split`."""
    parallel: Count = 4
    """Items under way at once."""
    order: Literal["input", "completion"] = "input"
    """In which order the results leave."""
    separator: str = "\n"
    """What stands between results."""


class StartsWith(Declared):
    """Hold when a sink of the body begins with a text; compared as bytes, no text is made."""

    sink: Name
    starts_with: Annotated[str, Field(min_length=1)]


class LoopNode(Nested):
    """Run a pipeline again and again: what its sinks give goes back into its inputs."""

    kind: Literal["loop"] = "loop"
    body: Annotated[PipelineSpec, Field(validation_alias=AliasChoices("body", "loop"))]
    body_field: ClassVar[str] = "loop"
    turns: Count
    """Rounds at most."""
    feedback: dict[Name, Name] = Field(default_factory=dict)
    """For each sink that goes back: the input that it fills in the next round."""
    until: StartsWith | Reference | None = None
    """What ends the loop before: a sink that begins with a text, or `module:callable` on the ids by sink."""


def _kinds() -> Mapping[str, type[Node]]:
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

_TELLING_FIELDS: Mapping[str, str] = {
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
"""A field, and the kind of a node that has it and says no `kind`; the first one found decides."""


def kind_of(data: Any) -> str | None:
    """Return the kind of a node from what is written: its `kind`, or the field that tells."""
    if isinstance(data, Node):
        return str(data.kind)  # type: ignore[attr-defined]
    if not isinstance(data, Mapping):
        return None
    if "kind" in data:
        return str(data["kind"])
    return next((kind for name, kind in _TELLING_FIELDS.items() if name in data), None)


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
