"""verifiers and prime-rl: `TurnTokens`, one a turn, grouped by trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codec_agents.records.exporters.checking import logprobs_for, write_lines
from codec_agents.records.trajectories import Trajectory


def turns(row: Trajectory, *, any_mode: bool = False) -> list[dict[str, list[Any]]]:
    """Return the arguments of `TurnTokens` for each turn of a row.

    Raises:
        UnfitRowError: an id has no log probability, or not one of the distribution that was drawn from.
    """
    logprobs_for(row, "verifiers", any_mode=any_mode)  # for its check: `turns` has the values by turn
    return [
        {"prompt_ids": prompt, "completion_ids": sampled, "completion_logprobs": logprobs or []}
        for prompt, sampled, logprobs in row.turns()
    ]


def turn_tokens(row: Trajectory, *, any_mode: bool = False) -> list[Any]:
    """Return the turns of a row as the package's own type.

    Raises:
        ImportError: verifiers is not installed.
        UnfitRowError: as `turns`.
    """
    from verifiers.v1.types import TurnTokens

    return [TurnTokens(**fields) for fields in turns(row, any_mode=any_mode)]


def write(rows: Sequence[Trajectory], path: Path, *, any_mode: bool = False) -> None:
    """Write one line a trajectory: its run, node, reward and turns."""

    def document(row: Trajectory) -> dict[str, Any]:
        of_run = {"run_id": row.run_id, "node": row.node, "reward": row.reward}
        return {**of_run, "turns": turns(row, any_mode=any_mode)}

    write_lines(map(document, rows), path)
