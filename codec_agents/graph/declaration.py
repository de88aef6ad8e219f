"""Declare a pipeline in Python: each call adds to the value that a file is read into.

Rules:

- A declaration in Python and one in a file are the same value, and are checked by the same rules. What no
  file can hold is kept beside it (`LiveObjects`), under the name that the value has for it.
- A call that adds something loads and imports nothing. It refuses what is wrong in itself; `check` finds what
  shows in the whole.
- Only what was given is set, so that a written file holds no defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, TypeVar, Unpack

from pydantic import ValidationError

from codec_agents.exceptions import PipelineError
from codec_agents.faults import Fault
from codec_agents.graph.arguments import (
    CallableLike,
    OutputLike,
    PromptLike,
    ToolLike,
    argument_names,
    given,
    listed,
    output_of,
    policy_of,
    references_of_tools,
)
from codec_agents.graph.base import Declared, Place, place_name
from codec_agents.graph.checks.check import check
from codec_agents.graph.dialects import DialectSpec
from codec_agents.graph.edges import EdgeSpec
from codec_agents.graph.fields import (
    DialectFields,
    EdgeFields,
    EngineFields,
    MapFields,
    McpFields,
    PolicyLike,
    SamplingLike,
    ServeFields,
)
from codec_agents.graph.files.document import Document, located, read_document, read_file
from codec_agents.graph.files.reading import prepare, read_spec, validation_faults
from codec_agents.graph.files.writing import to_yaml
from codec_agents.graph.kinds import (
    FunctionNode,
    InputNode,
    JoinNode,
    ModelNode,
    Node,
    RouterNode,
    SinkNode,
)
from codec_agents.graph.live import LiveObjects
from codec_agents.graph.naming import EngineLike, MapLike, Names, map_value
from codec_agents.graph.servers import McpSpec
from codec_agents.graph.serving import ServeSpec
from codec_agents.graph.sources import EngineSpec, MapSpec
from codec_agents.graph.spec import LoopNode, MapNode, PipelineNode, PipelineSpec, StartsWith

_Value = TypeVar("_Value", bound=Declared)

BodyLike: TypeAlias = "Declaration | PipelineSpec"
"""A pipeline inside a node."""


class Declaration:
    """A declaration that grows by calls, or is read from a file.

    A call raises `PipelineError` for arguments that are invalid in themselves. Faults that only show when all
    is declared, such as an unfilled slot, are returned by `check`.
    """

    def __init__(
        self,
        name: str,
        *,
        description: str | None = None,
        policy: PolicyLike | None = None,
        imports: Sequence[str] = (),
        reward: CallableLike | None = None,
        directory: str | Path | None = None,
    ) -> None:
        self.live = LiveObjects()
        """Objects given in place of names."""
        self.directory = None if directory is None else Path(directory)
        """Where files and modules beside the pipeline lie."""
        # Fields that are not given stay out: a written file then holds only what was set.
        self._header: dict[str, Any] = {"pipeline": name}
        self._header |= given(
            description=description,
            policy=policy_of(self.live, policy),
            imports=listed(imports, ("imports",), name) or None,
            reward=self.live.reference(reward),
        )
        self._names = Names(self.live)
        self._servers: dict[str, McpSpec] = {}
        self._dialects: dict[str, DialectSpec] = {}
        self._nodes: dict[str, Node] = {}
        self._edges: list[EdgeSpec] = []
        self._faults: list[Fault] = []
        self.document: Document | None = None
        """The text that it was read from, with the line of each value."""
        self._spec: PipelineSpec | None = None

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return str(self._header["pipeline"])

    @property
    def spec(self) -> PipelineSpec:
        """The declaration as one frozen value.

        Raises:
            PipelineError: there is nothing in it yet, or a part of it has no meaning.
        """
        # Built when it is asked for, since each call only adds to the parts; calls that do set it to None.
        if self._spec is None:
            self._spec = self._validated(
                PipelineSpec,
                (),
                **self._header,
                **given(
                    engines=self._names.engines or None,
                    maps=self._names.maps or None,
                    mcp=self._servers or None,
                    dialects=self._dialects or None,
                ),
                nodes=dict(self._nodes),
                edges=tuple(self._edges),
            )
        return self._spec

    # --- nodes ---

    def input(
        self,
        name: str,
        *,
        type: Literal["text", "ids"] = "text",  # noqa: A002 - the name that files use
        map: MapLike | None = None,  # noqa: A002
        default: str | Sequence[int] | None = None,
        title: str | None = None,
    ) -> Self:
        """Add an input: the caller's value enters here, as text or as ids of a map."""
        fields = given(map=self._names.map(map), default=default, title=title)
        return self._add(name, InputNode, type=type, **fields)

    def model(
        self,
        name: str,
        *,
        prompt: PromptLike,
        engine: EngineLike | None = None,
        model: str | None = None,
        map: MapLike | None = None,  # noqa: A002
        tools: Sequence[ToolLike] = (),
        output: OutputLike | None = None,
        stream_interval: int | None = None,
        dialect: str | None = None,
        sampling: SamplingLike | None = None,
        policy: PolicyLike | None = None,
        title: str | None = None,
    ) -> Self:
        """Add a language model, the tools that it may call, and the form of its answer.

        `output` is an `Output`, its fields (`{"choices": [...]}`), or a pydantic model.
        """
        asking = self._asking(name, prompt, engine, model, map, dialect, sampling)
        references = references_of_tools(self.live, tools, name, self._header["pipeline"])
        fields = given(
            tools=references or None,
            output=output_of(self.live, output),
            policy=policy_of(self.live, policy),
            title=title,
            stream_interval=stream_interval,
        )
        return self._add(name, ModelNode, **asking, **fields)

    def router(
        self,
        name: str,
        *,
        prompt: PromptLike,
        labels: Mapping[str, str | Sequence[str]],
        default: str | Sequence[str] | None = None,
        engine: EngineLike | None = None,
        model: str | None = None,
        map: MapLike | None = None,  # noqa: A002
        dialect: str | None = None,
        sampling: SamplingLike | None = None,
        policy: PolicyLike | None = None,
        title: str | None = None,
    ) -> Self:
        """Add a model that answers with a label; only the nodes of that label run."""
        asking = self._asking(name, prompt, engine, model, map, dialect, sampling)
        fields = given(default=default, policy=policy_of(self.live, policy), title=title)
        return self._add(name, RouterNode, labels=dict(labels), **asking, **fields)

    def function(
        self,
        name: str,
        call: CallableLike,
        *,
        inputs: Sequence[str] | None = None,
        wants: Literal["ids", "text"] | None = None,
        map: MapLike | None = None,  # noqa: A002
        policy: PolicyLike | None = None,
        title: str | None = None,
    ) -> Self:
        """Add a callable on ids, or with `wants="text"` on text.

        Its slots are the names of the callable's required arguments, or of its only one, unless `inputs` says
        otherwise.
        """
        # A reference is not imported here: a declaration loads nothing, so its slots are named in `inputs`.
        # Where nothing names any, the node has its own default.
        slots = inputs if inputs is not None else argument_names(call)
        fields = given(
            inputs=slots and listed(slots, ("nodes", name, "inputs"), self.name),
            wants=wants,
            map=self._names.map(map),
            policy=policy_of(self.live, policy),
            title=title,
        )
        return self._add(name, FunctionNode, call=self.live.reference(call), **fields)

    def join(
        self,
        name: str,
        *,
        first: int | None = None,
        until: CallableLike | None = None,
        map: MapLike | None = None,  # noqa: A002
        policy: PolicyLike | None = None,
        title: str | None = None,
    ) -> Self:
        """Add a join of edges: all of them, the first ones to end, or until a condition holds."""
        fields = given(
            first=first,
            until=self.live.reference(until),
            map=self._names.map(map),
            policy=policy_of(self.live, policy),
            title=title,
        )
        return self._add(name, JoinNode, **fields)

    def map(
        self,
        name: str,
        each: BodyLike,
        *,
        over: str | None = None,
        split: str | None = None,
        items: CallableLike | None = None,
        parallel: int | None = None,
        order: Literal["input", "completion"] | None = None,
        separator: str | None = None,
        policy: PolicyLike | None = None,
        title: str | None = None,
    ) -> Self:
        """Run a pipeline once for each item of a stream."""
        fields = given(
            over=over,
            split=split,
            items=self.live.reference(items),
            parallel=parallel,
            order=order,
            separator=separator,
            policy=policy_of(self.live, policy),
            title=title,
        )
        return self._add(name, MapNode, body=self._body(name, each), **fields)

    def loop(
        self,
        name: str,
        body: BodyLike,
        *,
        turns: int,
        feedback: Mapping[str, str] | None = None,
        until: StartsWith | CallableLike | None = None,
        policy: PolicyLike | None = None,
        title: str | None = None,
    ) -> Self:
        """Run a pipeline repeatedly, at most `turns` times; the output of its sinks goes back into it."""
        # A mapping has the form of a `StartsWith`, as in a file.
        condition = until if isinstance(until, StartsWith | Mapping) else self.live.reference(until)
        fields = given(feedback=feedback, until=condition, policy=policy_of(self.live, policy), title=title)
        return self._add(name, LoopNode, body=self._body(name, body), turns=turns, **fields)

    def pipeline(
        self,
        name: str,
        body: BodyLike,
        *,
        policy: PolicyLike | None = None,
        title: str | None = None,
    ) -> Self:
        """Add a whole pipeline as a node: its inputs are the node's slots, its sinks the node's ports."""
        fields = given(policy=policy_of(self.live, policy), title=title)
        return self._add(name, PipelineNode, body=self._body(name, body), **fields)

    def sink(
        self,
        name: str,
        *,
        text: bool = True,
        to: Literal["result", "stdout"] | None = None,
        file: str | Path | None = None,
        call: CallableLike | None = None,
        title: str | None = None,
    ) -> Self:
        """Add a sink: a stream leaves here, as text or as ids."""
        fields = given(
            to=to,
            file=None if file is None else str(file),
            call=self.live.reference(call),
            title=title,
        )
        return self._add(name, SinkNode, text=text, **fields)

    # --- what nodes name ---

    def engine(self, name: str, engine: EngineLike | None = None, **fields: Unpack[EngineFields]) -> Self:
        """Declare an engine: by its fields, by a value, or as a live object.

        With a value, fields change it. Of a live object they set how it is used: `model`, `concurrency`.
        """
        if engine is None:
            script = fields.get("script")
            # A function stays beside the declaration, which holds its name.
            if callable(script):
                fields["script"] = self.live.add_script(name, script)
            engine = self._validated(EngineSpec, ("engines", name), **fields)
        elif isinstance(engine, str):
            engine = self._validated(EngineSpec, ("engines", name), url=engine, **fields)
        elif fields:
            # Only what was set: a default of the value is no choice that the fields would have to repeat.
            said = self._names.engine_spec(name, engine).model_dump(exclude_unset=True)
            engine = self._validated(EngineSpec, ("engines", name), **{**said, **fields})
        self._keep("engines", self._names.engines, name, self._names.engine_spec(name, engine))
        return self

    def tokenizer_map(self, name: str, source: MapLike | None = None, **fields: Unpack[MapFields]) -> Self:
        """Declare a map: by its fields (`path`, `url`, `hub`, `hash`), by a value, or as a loaded map.

        With a value, fields change it: the `hash` of a loaded map is the one that it must have.
        """
        said: dict[str, Any] = dict(fields)
        if source is not None:
            source = map_value(source)
            # A loaded map would be used all the same, in place of what the fields name.
            if not isinstance(source, MapSpec) and (own := sorted(said.keys() - {"hash"})):
                fault = Fault(f"maps.{name}", f"a loaded map brings its own {', '.join(own)}", "leave it out")
                raise PipelineError([fault], self.name)
            said = {**self._names.map_spec(name, source).model_dump(exclude_unset=True), **said}
        self._keep("maps", self._names.maps, name, self._validated(MapSpec, ("maps", name), **said))
        return self

    def dialect(self, name: str, **fields: Unpack[DialectFields]) -> Self:
        """Declare a dialect by the fields of a `DialectSpec`.

        `like`, `file`, `tokenizer_config` or `call` is its source; `fields` are its differences.
        """
        own = self._validated(DialectSpec, ("dialects", name), **fields)
        self._keep("dialects", self._dialects, name, own)
        return self

    def mcp(
        self, name: str, command: Sequence[str | Path] | None = None, **fields: Unpack[McpFields]
    ) -> Self:
        """Declare an MCP server, whose tools a model names as `mcp:name`.

        Args:
            name: its name in `tools`.
            command: the program and its arguments; the program is added to `programs`.
            fields: fields of an `McpSpec`: `url`, `headers`, `env`, `prefix`, `only`, `timeout`,
                `start_timeout`, `approval`.
        """
        words = None
        if command is not None:
            words = tuple(map(str, listed(command, ("mcp", name, "command"), self.name)))
        server = self._validated(McpSpec, ("mcp", name), **given(command=words), **fields)
        # Writing the command in Python allows it; in a file the list is a second, deliberate step.
        if words and words[0] not in self._header.get("programs", ()):
            self._header["programs"] = (*self._header.get("programs", ()), words[0])
        self._keep("mcp", self._servers, name, server)
        return self

    def served(self, **fields: Unpack[ServeFields]) -> Self:
        """Declare how a server answers with the pipeline, by the fields of a `ServeSpec`."""
        # In place of an earlier one, as a field: a program may change what its file says.
        self._header["serve"] = self._validated(ServeSpec, ("serve",), **fields)
        self._spec = None
        return self

    # --- edges ---

    def connect(self, source: str, target: str, **fields: Unpack[EdgeFields]) -> Self:
        """Add an edge from `node.port` to `node.slot`, or to a sink.

        Args:
            source: the source; the node alone for its default port.
            target: the target; the node alone for a sink or a node with one slot.
            fields: fields of an `EdgeSpec`: `separator`, `keep_special`, `buffer`, `prefill`,
                `prefill_stride`, `prefill_budget`, `reasoning`, `fallback`.
        """
        place = ("edges", len(self._edges))
        self._edges.append(self._validated(EdgeSpec, place, **{"from": source, "to": target}, **fields))
        self._spec = None
        return self

    # --- as a whole ---

    def check(self) -> list[Fault]:
        """Return the faults and warnings that show in the declaration itself."""
        return [*self._faults, *self.located(check(self.spec))]

    def located(self, faults: Iterable[Fault]) -> list[Fault]:
        """Return the faults with file and line, where the declaration was read from a text."""
        return located(faults, self.document)

    def to_yaml(self) -> str:
        """Return the declaration as a YAML text, which reads back as an equal declaration.

        Raises:
            PipelineError: it holds live objects that a file cannot name.
        """
        faults = self.live.unwritable()
        if faults:
            raise PipelineError(faults, self.name)
        return to_yaml(self.spec)

    @classmethod
    def from_yaml(cls, source: str | Path, *, directory: str | Path | None = None) -> Self:
        """Read a YAML or JSON text, or a file.

        Args:
            source: a path, or a text of more than one line.
            directory: the folder of files and modules that a text names; a file's own folder when left out.

        Raises:
            PipelineError: it cannot be read; with every fault of the rest as well.
            OSError: the file cannot be opened.
        """
        # A pipeline on one line can only be JSON, or a mapping of YAML in its flow style.
        if isinstance(source, Path) or ("\n" not in source and not source.lstrip().startswith("{")):
            path = Path(source)
            document = read_file(path, str(source))
            directory = directory or path.parent
        else:
            document = read_document(source)
        return cls._from_document(document, None if directory is None else Path(directory))

    @classmethod
    def from_spec(cls, spec: PipelineSpec, *, directory: str | Path | None = None) -> Self:
        """Return a pipeline that holds a declaration, and can be added to."""
        pipeline = cls(spec.pipeline, directory=directory)
        kept = {"pipeline", "version", "description", "imports", "programs", "policy", "serve", "reward"}
        # What was set, not what differs from a default: a file is written back as it was read.
        header = kept & spec.model_fields_set
        pipeline._header = {name: getattr(spec, name) for name in header}
        pipeline._names.engines, pipeline._names.maps = dict(spec.engines), dict(spec.maps)
        pipeline._servers, pipeline._dialects = dict(spec.mcp), dict(spec.dialects)
        pipeline._nodes, pipeline._edges = dict(spec.nodes), list(spec.edges)
        return pipeline

    @classmethod
    def _from_document(cls, document: Document, directory: Path | None) -> Self:
        prepare(document, directory)
        reading = read_spec(document)
        errors = [fault for fault in reading.faults if fault.severity == "error"]
        if reading.spec is None or errors:
            faults = list(reading.faults)
            # What could be read is checked as well: all faults are reported at once.
            if reading.spec is not None:
                more = [
                    *check(reading.spec, unread=reading.unread),
                    *cls._unmet_needs(reading.spec, directory),
                ]
                faults += located(reading.as_written(more), document)
            raise PipelineError(faults, reading.spec.pipeline if reading.spec else None)
        pipeline = cls.from_spec(reading.spec, directory=directory)
        pipeline.document = document
        pipeline._faults = list(reading.faults)
        return pipeline

    # --- inside ---

    @classmethod
    def _unmet_needs(cls, spec: PipelineSpec, directory: Path | None) -> Iterable[Fault]:  # noqa: ARG003
        """Return the faults of missing resources; a declaration alone looks for none."""
        return ()

    def _asking(
        self,
        name: str,
        prompt: PromptLike,
        engine: EngineLike | None,
        model: str | None,
        map: MapLike | None,  # noqa: A002
        dialect: str | None,
        sampling: SamplingLike | None,
    ) -> dict[str, Any]:
        fields = given(
            engine=self._names.engine(name, engine),
            model=model,
            map=self._names.map(map),
            dialect=dialect,
            sampling=sampling,
        )
        return {"prompt": prompt, **fields}

    def _add(self, name: str, kind: type[Node], **fields: Any) -> Self:
        node = self._validated(kind, ("nodes", name), **fields)
        self._keep("nodes", self._nodes, name, node)
        return self

    def _keep(self, where: str, values: dict[str, Any], name: str, value: Any) -> None:
        """Keep a value under its name; a name that is taken is a fault, and the first one stays."""
        self._spec = None
        if name in values:
            place = place_name((where, name))
            self._faults.append(Fault(place, f"{name!r} is declared twice", "rename or remove one"))
        else:
            values[name] = value

    def _validated(self, kind: type[_Value], place: Place, /, **fields: Any) -> _Value:
        try:
            return kind.model_validate(fields)
        except ValidationError as error:
            faults = list(validation_faults(error, fields, place=place, model=kind))
            raise PipelineError(faults, self.name) from None

    def _body(self, name: str, body: BodyLike) -> PipelineSpec:
        if isinstance(body, PipelineSpec):
            return body
        self.live.nested[name] = body.live
        # Those that its value does not show, such as a name that is declared twice.
        self._faults += [
            replace(fault, place=f"{place_name(('nodes', name, 'body'))}.{fault.place}")
            for fault in body._faults
        ]
        return body.spec
