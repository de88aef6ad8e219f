"""SkyRL: the fields of its `GeneratorOutput`, one list entry a trajectory, by its documentation alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codec_agents.records.exporters.checking import logprobs_for, reward_for, write_document
from codec_agents.records.trajectories import Trajectory


def generator_output(rows: Sequence[Trajectory], *, any_mode: bool = False) -> dict[str, Any]:
    """Return the rows as one batch.

    Raises:
        UnfitRowError: a row has no reward, or some rows have log probabilities and others have none.
    """
    # The batch has them or has none: a row that lacks them is refused, not filled up.
    with_logprobs = any(row.logprobs is not None for row in rows)
    return {
        "prompt_token_ids": [row.prompt for row in rows],
        "response_ids": [row.response for row in rows],
        "rewards": [reward_for(row, "SkyRL") for row in rows],
        "loss_masks": [row.mask for row in rows],
        "stop_reasons": [row.finish_reasons[-1] for row in rows],
        "rollout_metrics": None,
        "rollout_logprobs": [logprobs_for(row, "SkyRL", any_mode=any_mode) for row in rows]
        if with_logprobs
        else None,
    }


def write(rows: Sequence[Trajectory], path: Path, *, any_mode: bool = False) -> None:
    """Write one document."""
    write_document(generator_output(rows, any_mode=any_mode), path)
