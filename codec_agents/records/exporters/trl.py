"""TRL: the dictionary that a `rollout_func` returns, of lists with an entry a trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codec_agents.records.exporters.checking import logprobs_for, write_document
from codec_agents.records.trajectories import Trajectory


def rollout(rows: Sequence[Trajectory], *, any_mode: bool = False) -> dict[str, list[Any]]:
    """Return the rows as `GRPOTrainer` takes them; `env_mask` is 0 for ids that no model sampled.

    The keys beyond TRL's own (`run_ids`, `nodes`, `rewards`) are handed to reward functions by the trainer.

    Raises:
        UnfitRowError: an id has no log probability, which TRL requires, or not one that it takes.
    """
    return {
        "prompt_ids": [row.prompt for row in rows],
        "completion_ids": [row.response for row in rows],
        "logprobs": [logprobs_for(row, "TRL", any_mode=any_mode) for row in rows],
        "env_mask": [row.mask for row in rows],
        "run_ids": [row.run_id for row in rows],
        "nodes": [row.node for row in rows],
        "rewards": [row.reward for row in rows],
    }


def write(rows: Sequence[Trajectory], path: Path, *, any_mode: bool = False) -> None:
    """Write one document."""
    write_document(rollout(rows, any_mode=any_mode), path)
