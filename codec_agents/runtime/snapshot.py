"""Put a run down, and take it up again: what the execution keeps for a pause, and how it starts from one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from codec_agents.exceptions import RunError
from codec_agents.plan.plan import BuiltInput, BuiltSink
from codec_agents.runtime.control import NodeSkipped
from codec_agents.runtime.pause import NodeOutput, Pause, PausedTurn, Sent

if TYPE_CHECKING:
    from codec_agents.runtime.edges.wiring import Wiring
    from codec_agents.runtime.executor import Execution


def pause_of(execution: Execution, wirings: Mapping[str, Wiring], waiting: Mapping[str, PausedTurn]) -> Pause:
    """Return the run as it stands, with the turns that wait."""
    built, run = execution.built, execution.run
    return Pause(
        pipeline=built.name,
        digest=built.digest,
        maps=built.map_hashes,
        run_id=run.run_id,
        inputs={
            name: value if isinstance(value, str) else list(value) for name, value in execution.inputs.items()
        },
        waiting={name: replace(turn, sent=_sent(wirings[name])) for name, turn in waiting.items()},
        ended={
            name: NodeOutput(run.outcomes[other.path], _sent(wirings[name]), execution.failures.get(name))
            for name, other in built.nodes.items()
            if run.outcomes.get(other.path, "paused") != "paused"
            and not isinstance(other, BuiltInput | BuiltSink)
        },
        started=tuple(name for name, gate in execution.gates.items() if gate.opened),
        usage=dict(run.usage),
    )


def _sent(wiring: Wiring) -> dict[str, Sent]:
    return {port: outlet.kept() for port, outlet in wiring.outlets.items()}


async def send_again(wiring: Wiring, sent: Mapping[str, Sent]) -> None:
    """Give what had left by each port before the run was paused."""
    for port, batch in sent.items():
        if batch:
            await wiring.send(port, batch)


async def give_again(wiring: Wiring, output: NodeOutput) -> None:
    """Let a node that had ended give what it gave, and end as it ended.

    Raises:
        NodeSkipped: it was skipped.
        RunError: it had failed; the node's policy says again what becomes of that.
    """
    if output.outcome == "skipped":
        raise NodeSkipped
    await send_again(wiring, output.ports)
    if output.outcome in ("failed", "limited"):
        raise RunError(output.error or "the node had failed before the run was paused")
