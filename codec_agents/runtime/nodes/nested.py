"""A pipeline inside a node: its inputs are the node's slots, its sinks the node's ports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from codec_agents.plan.nodes import strategy_between
from codec_agents.plan.variants import placed
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import translate
from codec_core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltInput, Value
    from codec_agents.plan.plan import BuiltLoop, BuiltMap, BuiltPipeline
    from codec_agents.runtime.context import NodeContext


async def run_body(
    node: BuiltLoop | BuiltMap, number: int, values: Mapping[str, Value], outer: NodeContext
) -> dict[str, Value]:
    """Run a body once, for one item or round; return the ids, or the text, that reached each of its sinks.

    Raises:
        RunError: a node of the body failed, and no policy took care of it.
    """
    body = placed(node.body, f"{node.path}[{number}]/")
    inputs = {name: as_input(each, values.get(name, each.default)) for name, each in body.inputs.items()}
    sinks = await outer.run_nested(body, inputs)
    return {
        name: sink.text if sink_vocabulary(body, name) is None else sink.ids for name, sink in sinks.items()
    }


def as_input(node: BuiltInput, value: Value | None) -> Value:
    """Return a value as the body's input takes it: text is encoded if the input takes ids."""
    assert value is not None
    if isinstance(value, str) and node.vocabulary is not None:
        return pick_tokenizer(node.vocabulary).encode_ordinary(value)
    return value


def fed_back(body: BuiltPipeline, sink: str, name: str, value: Value) -> Value:
    """Return the ids of a sink in the vocabulary of the input that it fills in the next round.

    Text is returned as it is: `as_input` encodes it where the input takes ids.
    """
    source, target = sink_vocabulary(body, sink), body.inputs[name].vocabulary
    if source is None or isinstance(value, str):
        return value
    assert target is not None
    if strategy_between(source, target) == "pass_through":
        return value
    return translate(source, target, value)


def sink_vocabulary(body: BuiltPipeline, sink: str) -> Vocabulary | None:
    """Return the one vocabulary of all edges into a sink of a body; None if they carry text."""
    return body.edges_into(sink)[0].source_vocabulary
