"""A loop node: a pipeline that runs in rounds, until a condition holds or its turns are used up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec_agents.runtime.edges.slots import Slots
from codec_agents.runtime.nodes.nested import fed_back, run_body, sink_vocabulary
from codec_agents.runtime.reporting import ask, report_finished, report_started

if TYPE_CHECKING:
    from codec_agents.plan.nodes import Value
    from codec_agents.plan.plan import BuiltLoop
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.edges.wiring import Wiring
    from codec_core.vocabulary import Vocabulary


async def run_loop(node: BuiltLoop, wiring: Wiring, context: NodeContext) -> None:
    """Run the body in rounds, feed its sinks back into its inputs, and send the output of the last round."""
    slots = Slots.at(node, wiring, context)
    await slots.fill()
    await report_started(node, context)
    values: dict[str, Value] = dict(slots.values())
    outputs: dict[str, Value] = {}
    reason = "its turns are used up"
    for number in range(node.turns):
        outputs = await run_body(node, number, values, context)
        if await _done(node, outputs, context):
            reason = f"its condition held after {number + 1} of {node.turns} turns"
            break
        stopped = f"the run was stopped after {number + 1} of {node.turns} turns"
        # After the condition: a last round that met it has not been stopped.
        if context.run.ends_here(node.path, stopped):
            reason = stopped
            break
        for sink, name in node.feedback.items():
            values[name] = fed_back(node.body, sink, name, outputs[sink])
    for sink, value in outputs.items():
        await wiring.send(sink, value)
    await report_finished(node, context, reason)


async def _done(node: BuiltLoop, outputs: dict[str, Value], context: NodeContext) -> bool:
    if node.until is not None:
        return await ask(node.until, node, context, bool, outputs)
    if node.starts_with is not None:
        sink, beginning = node.starts_with
        # Without what is before the text, as in a router: models write spaces and line ends there.
        return _bytes_of(outputs[sink], sink_vocabulary(node.body, sink)).lstrip().startswith(beginning)
    return False


def _bytes_of(value: Value, vocabulary: Vocabulary | None) -> bytes:
    if isinstance(value, str):
        return value.encode()
    assert vocabulary is not None
    return b"".join(map(vocabulary.token_bytes, value))
