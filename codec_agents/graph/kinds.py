"""The kinds of node without a pipeline inside, with their fields, ports and slots.

Token ids leave a node by a *port* and enter it by a *slot*. Every kind has the same four properties, so that
checks, drawings and the runtime need no list of kinds: `ports`, `slots`, `default_port`, `default_slot`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from codec_agents.graph.base import (
    NAME_PATTERN,
    NO_WORD_AS_NUMBER,
    Count,
    Declared,
    FileName,
    Flag,
    Reference,
    Whole,
)
from codec_agents.graph.chat import Chat, RawPrompt
from codec_agents.graph.output import Output
from codec_agents.graph.policy import Policy
from codec_agents.graph.templates import Template

ANSWER, REASONING, TOOL_CALLS = "answer", "reasoning", "tool_calls"
"""The ports of a model."""

VALUE = "value"
"""The only port of nodes with one output, and the only slot of nodes with one input."""

Name: TypeAlias = Annotated[str, Field(pattern=NAME_PATTERN)]


class Node(Declared):
    """The base of all kinds of node."""

    title: str | None = None
    """Its label in drawings."""
    policy: Policy | None = None
    """Fields that differ from the pipeline's policy."""

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
        """The slots that may stay without an edge."""
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
    """An input: the caller's value enters here, as text or as ids."""

    kind: Literal["input"] = "input"
    type: Literal["text", "ids"] = "text"
    map: FileName | None = None
    """The map whose ids are given, where `type` is `ids`."""
    default: str | list[Whole] | None = None
    """The value when the caller gives none. Without a default the caller must give one."""

    @property
    def ports(self) -> tuple[str, ...]:
        """The value."""
        return (VALUE,)


class SinkNode(Node):
    """A sink: a stream leaves the graph here, as text or as ids."""

    kind: Literal["sink"] = "sink"
    text: Flag = True
    """Decode ids to text here."""
    to: Literal["result", "stdout"] | None = None
    """`stdout` writes the stream as it arrives. The result, and `run.text` or `run.ids`, always hold it."""
    file: FileName | None = None
    """A file that is written as the stream arrives: text, or one JSON array of ids per line."""
    call: Reference | None = None
    """A callable that receives each piece as it arrives."""


Form = Literal["json_schema", "regex", "grammar", "choice"]


def _one_form(value: dict[Form, Any]) -> dict[Form, Any]:
    if len(value) != 1:
        raise PydanticCustomError("structured", "give one form: json_schema, regex, grammar or choice")
    return value


Structured: TypeAlias = Annotated[dict[Form, Any], AfterValidator(_one_form)]


class Sampling(Declared):
    """Sampling of token ids. The engine decides on fields that are left out, except `max_tokens`."""

    max_tokens: Count | None = None
    """The most ids of one turn, reasoning included. When left out: what the prompt leaves of the engine's
    context, or 1,024 where the engine does not tell it. See `policy.on_length` for an answer that is cut
    here."""
    temperature: Annotated[float, Field(ge=0), NO_WORD_AS_NUMBER] | None = None
    """The spread of the draw: 0 takes the most probable id, 1 the model's own probabilities."""
    top_p: Annotated[float, Field(gt=0, le=1), NO_WORD_AS_NUMBER] | None = None
    """Draw from the most probable ids whose probabilities add up to this; 1 draws from all."""
    top_k: Whole | None = None
    """Draw from this many of the most probable ids. What 0 and -1 mean depends on the engine: usually all."""
    seed: Whole | None = None
    """Makes the draw repeatable, as far as the engine can."""
    stop: tuple[str, ...] = ()
    """Texts that end a turn. The turn's own end markers always do."""
    min_p: Annotated[float, Field(ge=0, le=1), NO_WORD_AS_NUMBER] | None = None
    """Draw from the ids at least this many times as probable as the most probable one."""
    presence_penalty: Annotated[float, NO_WORD_AS_NUMBER] | None = None
    """Lowers ids that the text holds already, once."""
    frequency_penalty: Annotated[float, NO_WORD_AS_NUMBER] | None = None
    """Lowers ids that the text holds already, by how often it does."""
    repetition_penalty: Annotated[float, Field(gt=0), NO_WORD_AS_NUMBER] | None = None
    """Divides the scores of ids that the prompt or the text holds already; 1 is no penalty."""
    min_tokens: Count | None = None
    """The fewest ids of one turn: end markers before that are not drawn."""
    logprobs: bool | Whole | None = None
    """True asks the engine for the log probability of each id; a number for those of so many of the most
    probable ids in its place as well. A run's record keeps them."""
    structured: Structured | None = None
    """The form of the answer, which the engine enforces: `json_schema`, `regex`, `grammar` or `choice`."""
    cache_salt: str | None = None
    """Keeps the prefix cache of one tenant from another's."""
    priority: Whole | None = None
    """Of the request among others, as the engine orders them."""
    session: str | None = None
    """Requests of one session go to one worker, where a router takes it into account."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the engine's own API, under the place where they go: `body`, `sampling_params` or
    `headers`. They are sent unchanged and not checked."""


def _prompt_form(value: Any) -> Any:
    """Read a string as the user's turn."""
    return {"user": value} if isinstance(value, str) else value


def _prompt_tag(value: Any) -> str:
    return "pieces" if isinstance(value, list | tuple | RawPrompt) else "chat"


Prompt: TypeAlias = Annotated[
    Annotated[Chat, Tag("chat")] | Annotated[RawPrompt, Tag("pieces")],
    Discriminator(_prompt_tag),
    BeforeValidator(_prompt_form, json_schema_input_type=Template | Chat | RawPrompt),
]
"""A chat, a list of pieces, or a string for the user's turn alone."""


class Asking(Node):
    """The base of nodes that ask a model."""

    model: str | None = None
    """The engine's name of the model."""
    engine: str | None = None
    """A declared engine, or the URL of one; the only declared one when left out."""
    map: FileName | None = None
    """The model's map: a declared one, an id (bundled or in the cache), or a path. When left out, the engine
    is asked for its own: a Codec server can tell it, and one on this machine whose files are here."""
    prompt: Prompt
    dialect: str | None = None
    """The form of turns, calls and reasoning: a known dialect, or one under `dialects`; derived from the map
    when left out."""
    sampling: Sampling = Field(default_factory=Sampling)

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots of the prompt."""
        return self.prompt.slots


class ModelNode(Asking):
    """A language model, and the tools that it may call."""

    kind: Literal["model"] = "model"
    tools: tuple[Reference, ...] = ()
    """Callables and toolsets as `module:name`; `mcp:server` for the tools of an MCP server, and
    `mcp:server/tool` for one of them."""
    stream_interval: Whole | None = None
    """Ids per event of its stream, for engines that gather them (vLLM, SGLang); 0 asks for the whole answer
    at once. Its readers decide when left out: 1 where a person may read along, 16 into a prompt, 0 where the
    end of a short answer alone counts."""
    output: Output | None = None
    """The form of the answer, which is enforced, checked, and read into a value."""

    @property
    def ports(self) -> tuple[str, ...]:
        """The lanes of its stream."""
        return (ANSWER, REASONING, TOOL_CALLS)

    @property
    def default_port(self) -> str:
        """The answer."""
        return ANSWER


_Names: TypeAlias = Annotated[tuple[Name, ...], Field(min_length=1)]


def _targets(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Targets: TypeAlias = Annotated[_Names, BeforeValidator(_targets, json_schema_input_type=Name | _Names)]
"""The nodes that a decision starts: one name, or a list."""


class RouterNode(Asking):
    """A model that answers with one of several labels; the nodes of the chosen label run, the others do not.

    The decision is made in ids: the labels are encoded once, and the first ids that distinguish them decide.
    A node that a router names runs only when it is chosen; its slots are filled by ordinary edges.
    """

    kind: Literal["router"] = "router"
    labels: Annotated[dict[str, Targets], Field(min_length=1)]
    """The labels that the model may answer, and the nodes that each starts."""
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
    """A Python callable on ids. One that wants text is a text boundary, which `explain` reports."""

    kind: Literal["function"] = "function"
    call: Reference
    """`module:name`. It is called with one argument per slot, by name, when all are complete."""
    inputs: Annotated[tuple[Name, ...], Field(min_length=1)] = (VALUE,)
    """Its slots: the names of the callable's arguments."""
    wants: Literal["ids", "text"] = "ids"
    """The type of its arguments and its result: lists of ids, or strings."""
    map: FileName | None = None
    """The map of its ids; that of the first slot's content when left out."""

    @property
    def ports(self) -> tuple[str, ...]:
        """The result of the callable."""
        return (VALUE,)

    @property
    def slots(self) -> tuple[str, ...]:
        """Its arguments."""
        return self.inputs


class JoinNode(Node):
    """Bring several edges together: all of them, the first ones to end, or until a condition holds."""

    kind: Literal["join"] = "join"
    first: Count | None = None
    """The number of edges to wait for; the nodes behind the others are stopped. All when left out."""
    until: Reference | None = None
    """A callable that decides whether to end: it receives the complete ids so far, by source."""
    map: FileName | None = None
    """The map of its output; that of its sources, which must then be the same, when left out."""

    @property
    def ports(self) -> tuple[str, ...]:
        """The content of the edges, in declared order, with their separators."""
        return (VALUE,)

    @property
    def slots(self) -> tuple[str, ...]:
        """One slot, for all its edges."""
        return (VALUE,)
