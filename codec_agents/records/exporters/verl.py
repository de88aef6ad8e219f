"""verl: the fields of its `AgentLoopOutput`, one a trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codec_agents.records.exporters.checking import logprobs_for, write_lines
from codec_agents.records.trajectories import Trajectory


def fields(row: Trajectory, *, any_mode: bool = False) -> dict[str, Any]:
    """Return the arguments of `AgentLoopOutput`; `metrics` is empty: a record has no measurements of verl's.

    Raises:
        UnfitRowError: there are log probabilities, and not those that verl compares with its own.
    """
    # Without any, verl computes them itself; a row with some of them is refused.
    logprobs = None if row.logprobs is None else logprobs_for(row, "verl", any_mode=any_mode)
    return {
        "prompt_ids": row.prompt,
        "response_ids": row.response,
        "response_mask": row.mask,
        "response_logprobs": logprobs,
        "reward_score": row.reward,  # without one, verl asks its own reward function
        "num_turns": 2 * len(row.turn_starts),  # verl counts those of the user, too
        "metrics": {},
        "extra_fields": {
            "run_id": row.run_id,
            "node": row.node,
            "part": row.part,
            "weight_versions": [list(span) for span in row.weight_versions],
            # As verl's own loops have them in each row, also where they have none.
            "turn_scores": [],
            "tool_rewards": [],
        },
    }


def agent_loop_output(row: Trajectory, *, any_mode: bool = False) -> Any:
    """Return a row as verl's own type.

    Raises:
        ImportError: verl is not installed.
        UnfitRowError: as `fields`.
    """
    from verl.experimental.agent_loop.agent_loop import AgentLoopOutput

    return AgentLoopOutput(**fields(row, any_mode=any_mode))


def write(rows: Sequence[Trajectory], path: Path, *, any_mode: bool = False) -> None:
    """Write one line a trajectory."""
    write_lines((fields(row, any_mode=any_mode) for row in rows), path)
