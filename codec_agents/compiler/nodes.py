"""The builders of nodes: one function per kind, all with the same argument."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import BaseModel

from codec_agents.compiler.flatten import expand_target
from codec_agents.compiler.maps import ResourceError
from codec_agents.concurrency.event_loop import run_in_own_loop
from codec_agents.dialects import BoundDialect
from codec_agents.engines.base import DEFAULT_MAX_TOKENS, Engine, SamplingOptions, Timeouts, enforced_forms
from codec_agents.graph.chat import Chat, RawPrompt
from codec_agents.graph.checks.nodes import LEFT_OUT
from codec_agents.graph.kinds import (
    Asking,
    FunctionNode,
    InputNode,
    JoinNode,
    ModelNode,
    Node,
    RouterNode,
    Sampling,
    SinkNode,
)
from codec_agents.graph.output import Output
from codec_agents.graph.policy import TimeoutPolicy
from codec_agents.graph.spec import LoopNode, MapNode, StartsWith
from codec_agents.plan.nodes import (
    BuiltFunction,
    BuiltInput,
    BuiltJoin,
    BuiltModel,
    BuiltNode,
    BuiltRouter,
    BuiltSink,
)
from codec_agents.plan.output import OutputForm, form_of
from codec_agents.plan.plan import BuiltLoop, BuiltMap
from codec_agents.prompts import PromptIds
from codec_agents.references.signatures import signature_of
from codec_agents.tools.dispatch import Dispatcher
from codec_agents.tools.functions import Function
from codec_agents.tools.tool import Tool, Toolset
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from codec_agents.compiler.context import NodeBuilder


def _input(b: NodeBuilder) -> BuiltInput:
    node = b.declared(InputNode)
    return BuiltInput(
        **b.common(), vocabulary=b.context.flows.port(b.flat.path, node.ports[0]), default=node.default
    )


def _sink(b: NodeBuilder) -> BuiltSink:
    node = b.declared(SinkNode)
    write: list[Callable[[Any], Any]] = []
    if node.to == "stdout":
        write.append(_print)
    if node.call is not None:
        write.append(b.callable(node.call))
    # In a body ids go on: text is made where they leave the outermost pipeline.
    return BuiltSink(
        **b.common(), text=node.text and not b.context.is_body, write=tuple(write), file=b.file(node.file)
    )


def _print(piece: Any) -> None:
    sys.stdout.write(str(piece))
    sys.stdout.flush()


def _asking(b: NodeBuilder, tools: Sequence[Tool] = ()) -> dict[str, Any]:
    node = b.declared(Asking)
    found, vocabulary = b.flat.resources.asking(node)
    thinking = node.prompt.thinking if isinstance(node.prompt, Chat) else None
    dialect = BoundDialect(found.dialect, vocabulary, tools, thinking, found.grammar)
    warning = b.flat.resources.compare_template(dialect, node, f"{b.place}.prompt")
    if warning is not None:
        b.context.warn(warning)
    engine = b.flat.spec.engine_of(node.engine)
    model = node.model or (engine.model if engine else None)
    return {
        **b.common(),
        "model": model,
        "engine": b.flat.resources.engine(node.engine),
        "engine_slots": b.flat.resources.engine_slots(node.engine, b.policy),
        "measured": b.flat.resources.measured(node.engine),
        "vocabulary": vocabulary,
        "dialect": dialect,
        "dialect_reason": found.reason,
        # As declared, also where the engine renders it: prompts of later turns are written from it.
        "prompt": node.prompt,
        "template": dialect.template(_prompt(b, vocabulary, model, tools)),
        "options": _options(node.sampling, dialect),
        "has_max_tokens": node.sampling.max_tokens is not None,
        "context": engine.context if engine else None,
        "shortens": None if b.policy.shortens_by is None else Function(b.overflow(b.policy.shortens_by)),
        "timeouts": _timeouts(b.policy.timeouts),
    }


def _prompt(
    b: NodeBuilder, vocabulary: Vocabulary, model: str | None, tools: Sequence[Tool]
) -> Chat | RawPrompt:
    """Return the declared prompt; with `template: engine`, as the engine's own template renders it."""
    node = b.declared(Asking)
    if not isinstance(node.prompt, Chat) or node.prompt.template == "dialect":
        return node.prompt
    from codec_agents.engines.stock.rendering import engine_prompt

    # A build is no coroutine, and may run where an event loop runs, as in a notebook: the engine is asked in
    # a loop of its own.
    ask = partial(
        engine_prompt,
        b.flat.resources.engine(node.engine),
        node.prompt,
        vocabulary,
        model=model,
        tools=[each.schema() for each in tools],
    )
    return run_in_own_loop(ask)


def _alternatives(logprobs: bool | int | None) -> int | None:
    """Return how many alternatives are asked for with each log probability; None where none is asked for."""
    if isinstance(logprobs, bool):
        return 0 if logprobs else None
    return logprobs


def _options(sampling: Sampling, dialect: BoundDialect) -> SamplingOptions:
    return SamplingOptions(
        # Where none is declared a run replaces it, once it knows what the engine's context leaves.
        max_tokens=sampling.max_tokens or DEFAULT_MAX_TOKENS,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        seed=sampling.seed,
        stop=sampling.stop,
        stop_token_ids=dialect.stop_ids,
        min_p=sampling.min_p,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        repetition_penalty=sampling.repetition_penalty,
        min_tokens=sampling.min_tokens,
        logprobs=_alternatives(sampling.logprobs),
        # By its items: to a type checker, a mapping of some literals is none of texts.
        structured=None if sampling.structured is None else dict(sampling.structured.items()),
        cache_salt=sampling.cache_salt,
        priority=sampling.priority,
        session=sampling.session,
        extra=sampling.extra,
    )


def _timeouts(policy: TimeoutPolicy) -> Timeouts:
    return Timeouts(connect=policy.connect, first_id=policy.first_id, idle=policy.idle, whole=policy.whole)


def _tools(b: NodeBuilder, references: Sequence[str]) -> list[Tool]:
    """Return the tools of a node.

    Raises:
        ResourceError: two of them have one name, by which models call them.
    """
    found: list[Tool] = []
    entries: dict[str, int] = {}
    for position, reference in enumerate(references):
        for tool in b.flat.resources.tools(reference):
            if (first := entries.setdefault(tool.name, position)) != position:
                both = f"`tools[{first}]` ({references[first]}) and `tools[{position}]` ({reference})"
                raise ResourceError(
                    f"{both} both have a tool named {tool.name!r}",
                    "rename one, give its MCP server a `prefix`, or take other tools with `only`",
                )
            found.append(tool)
    return found


def _model(b: NodeBuilder) -> BuiltModel:
    node = b.declared(ModelNode)
    tools = _tools(b, node.tools)
    asking = _asking(b, tools)
    dispatcher = Dispatcher(Toolset(tools), vocabulary=asking["vocabulary"], timeout=b.policy.timeouts.tool)
    output = _output(b, node.output, asking["engine"])
    if output is not None and output.enforced:
        asking["options"] = msgspec.structs.replace(asking["options"], structured=dict(output.structured))
    interval = node.stream_interval
    return BuiltModel(**asking, dispatcher=dispatcher, output=output, declared_interval=interval)


def _output(b: NodeBuilder, declared: Output | None, engine: Engine) -> OutputForm | None:
    """Return the form of an answer, which the engine enforces where it can.

    Raises:
        ResourceError: the form cannot be checked here, or is a grammar that the engine does not know.
    """
    if declared is None:
        return None
    model = b.callable(declared.json_schema) if isinstance(declared.json_schema, str) else None
    if model is not None and not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise ResourceError(f"{declared.json_schema!r} is not a pydantic model", "name a class of BaseModel")
    try:
        # Faults of a form are `found; remedy`.
        output = form_of(declared, model).enforced_by(enforced_forms(engine))
    except (ValueError, ImportError) as error:
        found, _, remedy = str(error).partition("; ")
        raise ResourceError(f"output: {found}", remedy) from error
    if declared.grammar is not None and not output.enforced:
        found = (
            f"the engine {engine.name!r} ({engine.provider}) enforces no grammar, and none is checked here"
        )
        raise ResourceError(found, "use `schema`, `regex` or `choices`, which are checked on arrival")
    return output


def _router(b: NodeBuilder) -> BuiltRouter:
    node = b.declared(RouterNode)

    def targets(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(path for name in names for path in expand_target(b.context.flat, b.flat, name))

    asking = _asking(b)
    # With a default an answer that is no label has a meaning, which an engine held to the labels never gives.
    told = node.default is None and asking["options"].structured is None and _answers_at_once(asking)
    label_ids = _tell_labels(asking, tuple(node.labels)) if told else {}
    if not label_ids:
        _check_beginnings(node.labels)
    return BuiltRouter(
        **asking,
        labels={label: label.encode() for label in node.labels},
        targets={label: targets(names) for label, names in node.labels.items()},
        default=None if node.default is None else targets(node.default),
        label_ids=label_ids,
    )


def _check_beginnings(labels: Iterable[str]) -> None:
    """Check that labels can be found in the text of an answer; one that is found by its id may be any text.

    Raises:
        ResourceError: one begins with white space.
    """
    for label in labels:
        if label[0] in LEFT_OUT:
            found = f"the label {label!r} is never found: answers are read from behind their white space"
            raise ResourceError(found, f"write {label.lstrip(LEFT_OUT)!r}")


def _answers_at_once(asking: Mapping[str, Any]) -> bool:
    """Return whether an answer can begin with a label.

    A prompt that opens reasoning leaves no place for it: the engine would write a label there.
    """
    dialect, template = asking["dialect"], asking["template"]
    last = template.pieces[-1] if template.pieces else None
    opened = dialect.reasoning_in(last.ids) if isinstance(last, PromptIds) else None
    return opened != "open"


def _tell_labels(asking: dict[str, Any], labels: Sequence[str]) -> dict[int, str]:
    """Let the engine answer with a label and nothing else, where it can.

    Where all labels begin with different ids, one id decides: it is drawn from their first ids, in the pass
    that reads the prompt. Where two begin alike, the engine holds the whole answer to the labels.

    Returns:
        The label of each first id, where one id decides.
    """
    options: SamplingOptions = asking["options"]
    forms = enforced_forms(asking["engine"])
    encode = pick_tokenizer(asking["vocabulary"]).encode_ordinary
    first_ids = {token_id: label for label in labels for token_id in encode(label)[:1]}
    # Equal numbers: no two labels begin with the same id, and none is without ids.
    if "ids" in forms and len(first_ids) == len(labels):
        # What bounds or ends a longer answer has no place: the one id is all of it, and the cut is meant.
        asking["options"] = msgspec.structs.replace(
            options, structured={"ids": list(first_ids)}, max_tokens=1, min_tokens=None, stop=()
        )
        asking["has_max_tokens"] = True  # the answer does not fill the engine's context
        asking["policy"] = asking["policy"].model_copy(update={"on_length": "accept"})
        return first_ids
    if "choice" in forms:
        asking["options"] = msgspec.structs.replace(options, structured={"choice": list(labels)})
    return {}


def _function(b: NodeBuilder) -> BuiltFunction:
    node = b.declared(FunctionNode)
    vocabulary = b.context.flows.port(b.flat.path, node.ports[0])
    _check_arguments(b.callable(node.call), node.inputs)
    return BuiltFunction(**b.common(), call=b.function(node.call), vocabulary=vocabulary)


def _check_arguments(call: Callable[..., Any], names: Sequence[str]) -> None:
    """Refuse a callable that cannot be called with its slots by name.

    Raises:
        ResourceError: it takes others.
    """
    try:
        # The callable's own: what it decorates may be given other arguments.
        signature = signature_of(call, follow_wrapped=False)
    except (TypeError, ValueError):  # some callables of C tell none
        return
    try:
        signature.bind(**dict.fromkeys(names))
    except TypeError as error:
        found = f"its function cannot be called with {', '.join(names)}: {error}"
        raise ResourceError(
            f"{found}; it takes {str(signature)[:200]}",
            "name in `inputs` the arguments that edges fill; each is given by its name",
        ) from None


def _join(b: NodeBuilder) -> BuiltJoin:
    node = b.declared(JoinNode)
    return BuiltJoin(
        **b.common(),
        first=node.first,
        until=None if node.until is None else b.function(node.until),
        vocabulary=b.context.flows.port(b.flat.path, node.ports[0]),
    )


def _map(b: NodeBuilder) -> BuiltMap:
    node = b.declared(MapNode)
    over = node.over or node.default_slot
    assert over is not None, "the check refuses a map that leaves it open"
    return BuiltMap(
        **b.common(),
        body=b.context.body(b.flat),
        over=over,
        split=node.split if node.items is None else b.function(node.items),
        parallel=node.parallel,
        in_order=node.order == "input",
        separator=node.separator,
    )


def _loop(b: NodeBuilder) -> BuiltLoop:
    node = b.declared(LoopNode)
    until = node.until
    return BuiltLoop(
        **b.common(),
        body=b.context.body(b.flat),
        turns=node.turns,
        feedback=node.feedback,
        until=b.function(until) if isinstance(until, str) else None,
        starts_with=(until.sink, until.starts_with.encode()) if isinstance(until, StartsWith) else None,
    )


BUILDERS: Mapping[type[Node], Callable[[NodeBuilder], BuiltNode]] = {
    InputNode: _input,
    ModelNode: _model,
    RouterNode: _router,
    FunctionNode: _function,
    JoinNode: _join,
    MapNode: _map,
    LoopNode: _loop,
    SinkNode: _sink,
}
"""The builder of each kind; nested pipelines are dissolved before."""
