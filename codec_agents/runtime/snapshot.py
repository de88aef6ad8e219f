"""Suspend a run and resume it: from a context to a `Pause`, and from a `Pause` back to the edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from codec_agents.exceptions import RunError
from codec_agents.plan.nodes import BuiltInput, BuiltSink
from codec_agents.runtime.control import NodeSkipped
from codec_agents.runtime.pause import NodeOutput, Pause, PausedTurn, Sent

if TYPE_CHECKING:
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.edges.wiring import Wiring


def take_snapshot(context: NodeContext, waiting: Mapping[str, PausedTurn]) -> Pause:
    """Return the suspended run as a value, with the turns that wait for decisions."""
    built, run, wirings = context.plan, context.run, context.wirings
    return Pause(
        pipeline=built.name,
        digest=built.digest,
        maps=dict(built.map_hashes),
        run_id=run.run_id,
        inputs={
            name: value if isinstance(value, str) else list(value) for name, value in context.inputs.items()
        },
        waiting={name: replace(turn, sent=_sent(wirings[name])) for name, turn in waiting.items()},
        ended={
            name: NodeOutput(run.outcomes[other.path], _sent(wirings[name]), context.failures.get(name))
            for name, other in built.nodes.items()
            # Inputs are kept by themselves, and sinks are filled again by what is sent again. A node
            # without an outcome has not ended.
            if run.outcomes.get(other.path, "paused") != "paused"
            and not isinstance(other, BuiltInput | BuiltSink)
        },
        started=tuple(name for name, gate in context.gates.items() if gate.opened),
        usage=dict(run.usage),
        record=run.record_place,
    )


def _sent(wiring: Wiring) -> dict[str, Sent]:
    return {port: outlet.kept() for port, outlet in wiring.outlets.items()}


async def send_again(wiring: Wiring, sent: Mapping[str, Sent]) -> None:
    """Send what had left by each port before the run was suspended."""
    for port, batch in sent.items():
        if batch:
            await wiring.send(port, batch)


async def repeat_output(wiring: Wiring, output: NodeOutput) -> None:
    """Send the output of a node that had finished, and end it as it had ended.

    Raises:
        NodeSkipped: it was skipped.
        RunError: it had failed; the node's policy is applied again.
    """
    if output.outcome == "skipped":
        raise NodeSkipped
    await send_again(wiring, output.ports)
    if output.outcome in ("failed", "limited"):
        raise RunError(output.error or "the node had failed before the run was suspended")
