"""Rules about single nodes: the fields that each kind needs, and the names in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from codec_agents.faults import Fault, suggest
from codec_agents.graph.chat import Chat, RawPrompt
from codec_agents.graph.checks.base import Checked, CheckRule, error, warning
from codec_agents.graph.kinds import Asking, InputNode, JoinNode, ModelNode, RouterNode, SinkNode
from codec_agents.graph.servers import server_of
from codec_agents.graph.sources import CONSTRAINING_KINDS, HUB_PATTERN, TELLING_KINDS, UNTOLD_KINDS
from codec_agents.graph.spec import LoopNode, MapNode, Nested, StartsWith
from codec_agents.references.callables import is_reference

DECLARE_ENGINE = "give a URL, or declare it under `engines`; in Python, by `pipeline.engine(...)`"
DECLARE_SERVER = "declare it under `mcp`; in Python, by `pipeline.mcp(...)`"
"""Remedies for names that are not declared."""

LEFT_OUT = " \t\n\r\v\f"
"""The white space before an answer that routers and conditions of loops leave out: that of `bytes.lstrip`."""


def _inputs(checked: Checked) -> Iterator[Fault]:
    for name, node in checked.spec.nodes.items():
        if not isinstance(node, InputNode):
            continue
        if node.type == "ids" and node.map is None:
            yield error(("nodes", name), "ids mean nothing without a map", "add `map:`")
        if node.type == "text" and isinstance(node.default, list):
            yield error(("nodes", name, "default"), "ids as the default of a text input", "use `type: ids`")
        if node.type == "ids" and isinstance(node.default, str):
            yield error(
                ("nodes", name, "default"), "text as the default of an input of ids", "use `type: text`"
            )


def _engines(checked: Checked) -> Iterator[Fault]:
    spec = checked.spec
    for name, node in spec.nodes.items():
        if not isinstance(node, Asking) or spec.engine_of(node.engine) is not None:
            continue
        if node.engine is None:
            found = "no engine is named, and there are several" if spec.engines else "no engine is named"
            remedy = f"add `engine:` with one of {', '.join(spec.engines)}" if spec.engines else "declare one"
            yield error(("nodes", name), found, f"{remedy}, or give a URL")
        else:
            others = f"; {suggest(node.engine, spec.engines, 'engines')}" if spec.engines else ""
            found = f"there is no engine {node.engine!r}"
            yield error(("nodes", name, "engine"), found, f"{DECLARE_ENGINE}{others}")


def _servers(checked: Checked) -> Iterator[Fault]:
    servers = checked.spec.mcp
    for name, node in checked.spec.nodes.items():
        for position, reference in enumerate(node.tools if isinstance(node, ModelNode) else ()):
            named = server_of(reference)
            # The server alone: its tools are known when the build has asked it.
            if named is not None and named[0] not in servers:
                others = f"; {suggest(named[0], servers, 'servers')}" if servers else ""
                place = ("nodes", name, "tools", position)
                yield error(place, f"there is no MCP server {named[0]!r}", f"{DECLARE_SERVER}{others}")


def _map_remedy(model: str | None) -> str:
    """Return where the map of a model may come from; many engines call models as the hub does."""
    files = "the model's folder, its tokenizer.json or .gguf file, or a map"
    if model is not None and re.fullmatch(HUB_PATTERN, model):
        return f"name as its `map` hf:{model}, which fetches its tokenizer once, or {files}"
    return f"name as its `map` {files}, or `hf:org/model`"


def _maps(checked: Checked) -> Iterator[Fault]:
    for name, node in checked.spec.nodes.items():
        if not isinstance(node, Asking) or node.map is not None:
            continue
        engine = checked.spec.engine_of(node.engine)
        # An engine that is not declared as well: nothing says that it tells one.
        if engine is None or engine.kind not in TELLING_KINDS:
            yield error(("nodes", name), "no map is named", _map_remedy(node.model))


def _routers(checked: Checked) -> Iterator[Fault]:
    spec = checked.spec
    for name, node in spec.nodes.items():
        if not isinstance(node, RouterNode):
            continue
        for place, targets in _router_choices(name, node):
            for target in targets:
                yield from _router_target(checked, place, name, target)
        # An engine that can be held to the labels gives one of them.
        if node.default is None and not _is_constrained(checked, node):
            remedy = "add `default:` with the node that runs then"
            yield warning(("nodes", name), "without a default the run fails when no label fits", remedy)
        # Every answer begins with an empty label, white space aside.
        if "" in {label.strip() for label in node.labels}:
            yield error(
                ("nodes", name, "labels"), "an empty label", "give it a text that the model can answer"
            )
            continue
        seen: dict[bytes, str] = {}
        for label in node.labels:
            # In the letters whose case does not count where answers are read.
            other = seen.setdefault(label.encode("utf-8", "surrogatepass").lower(), label)
            if other != label:
                found = f"the label differs from {other!r} only in case, which does not count in answers"
                yield error(("nodes", name, "labels", label), found, "give it another text")


def _is_constrained(checked: Checked, node: RouterNode) -> bool:
    """Return whether the engine can give nothing but a label."""
    engine = checked.spec.engine_of(node.engine)
    return engine is not None and engine.kind in CONSTRAINING_KINDS


def _router_choices(name: str, node: RouterNode) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    for label, targets in node.labels.items():
        yield ("nodes", name, "labels", label), targets
    if node.default is not None:
        yield ("nodes", name, "default"), node.default


def _router_target(checked: Checked, place: tuple[str, ...], name: str, target: str) -> Iterator[Fault]:
    nodes = checked.spec.nodes
    if target in checked.unread:
        return
    if target not in nodes:
        yield error(place, f"there is no node {target!r}", suggest(target, set(nodes) - {name}, "nodes"))
    elif isinstance(nodes[target], InputNode | SinkNode):
        what = "an input" if isinstance(nodes[target], InputNode) else "a sink"
        yield error(place, f"{target!r} is {what}, which a router cannot start", "name a node that runs")


def _outputs(checked: Checked) -> Iterator[Fault]:
    """Report fields that a form of the answer leaves no place for."""
    for name, node in checked.spec.nodes.items():
        if not isinstance(node, ModelNode) or node.output is None:
            continue
        place = ("nodes", name, "output")
        reference = node.output.json_schema
        if node.tools:
            found = "an answer with a form, and tools: the form forbids the calls"
            yield error(place, found, "let another model call the tools, and give its answer to this one")
        if node.sampling.structured is not None:
            yield error(place, "both `output` and `sampling.structured`", "keep `output`")
        if node.output.retries and isinstance(node.prompt, RawPrompt):
            found = "a prompt given as pieces has no user's turn in which to tell the model what is wrong"
            yield error((*place, "retries"), found, "write `retries: 0`, or give a chat")
        # Without a colon it is the name of a live object, which a program gave.
        if isinstance(reference, str) and ":" in reference and not is_reference(reference):
            yield error((*place, "schema"), f"{reference!r} is no reference", "write `module:name`")


def _overflows(checked: Checked) -> Iterator[Fault]:
    """Report policies for a full context that cannot be followed."""
    for name, node in checked.spec.nodes.items():
        policy = checked.spec.policy_of(name)
        if not isinstance(node, Asking) or policy.on_overflow == "fail":
            continue
        place = ("nodes", name, "policy", "on_overflow")
        engine = checked.spec.engine_of(node.engine)
        # Live engines and kinds of other packages may tell it: that shows in a run.
        if engine is not None and engine.kind in UNTOLD_KINDS and engine.context is None:
            found = f"an engine of kind {engine.kind} does not tell its context, which decides this"
            yield error(place, found, "declare `context` of the engine, in ids")
        chat = isinstance(node.prompt, Chat) and node.prompt.template == "dialect"
        if policy.shortens_by is not None and not chat:
            found = "a function shortens messages, and this prompt is not written from any"
            yield error(place, found, "give a chat with the dialect's template, or `drop_oldest_results`")


def _joins(checked: Checked) -> Iterator[Fault]:
    for name, node in checked.spec.nodes.items():
        if not isinstance(node, JoinNode):
            continue
        count = len(checked.into(name, "value"))
        # A join without any edge is reported as a slot that nothing fills.
        if node.first is not None and node.first > count > 0:
            found = f"it waits for {node.first} edges, and has {count}"
            yield error(("nodes", name, "first"), found, f"use a number up to {count}")
        if node.first is not None and node.until is not None:
            yield error(("nodes", name), "both `first` and `until`", "keep the one that decides")


def _nested(checked: Checked) -> Iterator[Fault]:
    for name, node in checked.spec.nodes.items():
        if isinstance(node, Nested) and not node.ports:
            yield warning(("nodes", name), "the pipeline inside has no sink", "add a sink for its output")
        if isinstance(node, MapNode):
            yield from _map_input(name, node)
        if isinstance(node, LoopNode):
            yield from _loop_ends(name, node)


def _map_input(name: str, node: MapNode) -> Iterator[Fault]:
    if node.over is not None and node.over not in node.slots:
        remedy = suggest(node.over, node.slots, "inputs")
        yield error(("nodes", name, "over"), f"the pipeline inside has no input {node.over!r}", remedy)
    if node.over is None and node.default_slot is None:
        remedy = f"add `over:` with one of {', '.join(node.slots)}" if node.slots else "add an input"
        yield error(("nodes", name), "which input gets the items is not clear", remedy)


def _loop_ends(name: str, node: LoopNode) -> Iterator[Fault]:
    for sink, slot in node.feedback.items():
        place = ("nodes", name, "feedback", sink)
        if sink not in node.ports:
            yield error(
                place, f"the pipeline inside has no sink {sink!r}", suggest(sink, node.ports, "sinks")
            )
        if slot not in node.slots:
            yield error(
                place, f"the pipeline inside has no input {slot!r}", suggest(slot, node.slots, "inputs")
            )
    if isinstance(node.until, StartsWith) and node.until.sink not in node.ports:
        remedy = suggest(node.until.sink, node.ports, "sinks")
        found = f"the pipeline inside has no sink {node.until.sink!r}"
        yield error(("nodes", name, "until", "sink"), found, remedy)
    if isinstance(node.until, StartsWith) and node.until.starts_with[0] in LEFT_OUT:
        beginning = node.until.starts_with
        found = f"{beginning!r} is never found: answers are read from behind their white space"
        text = beginning.lstrip(LEFT_OUT)
        remedy = f"write {text!r}" if text else "give it a text that the model can answer"
        yield error(("nodes", name, "until", "starts_with"), found, remedy)
    if not node.feedback and node.turns > 1:
        remedy = "add `feedback:` from a sink to an input"
        yield warning(("nodes", name), "nothing goes back, so each round is the same", remedy)


def _references(checked: Checked) -> Iterator[Fault]:
    """Report references that are not `module:name`; a name without a colon is a live object."""
    for name, node in checked.spec.nodes.items():
        tools: tuple[str, ...] = node.tools if isinstance(node, ModelNode) else ()
        # The fields of functions, sinks, joins, loops and maps; `until` of a loop may be a condition as well.
        for field in ("call", "until", "items"):
            reference = getattr(node, field, None)
            if isinstance(reference, str) and ":" in reference and not is_reference(reference):
                yield error(("nodes", name, field), f"{reference!r} is no reference", "write `module:name`")
        for index, reference in enumerate(tools):
            if ":" in reference and not is_reference(reference) and server_of(reference) is None:
                yield error(
                    ("nodes", name, "tools", index), f"{reference!r} is no reference", "write `module:name`"
                )
        repeated = sorted(tool for tool, times in Counter(tools).items() if times > 1)
        if repeated:
            yield error(("nodes", name, "tools"), f"{', '.join(repeated)} is given twice", "remove one")


def _names(checked: Checked) -> Iterator[Fault]:
    """Warn of two names that differ only in case, which readers confuse."""
    seen: dict[str, str] = {}
    for name in checked.spec.nodes:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            yield warning(("nodes", name), f"differs from {other!r} only in case", "rename one")


RULES: tuple[CheckRule, ...] = (
    _inputs,
    _engines,
    _servers,
    _maps,
    _routers,
    _outputs,
    _overflows,
    _joins,
    _nested,
    _references,
    _names,
)
