"""slime: the fields of its `Sample`, one a trajectory. By its documented form alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codec_agents.records.exporters.checking import logprobs_for, reward_for, was_cut, write_lines
from codec_agents.records.trajectories import Trajectory


def sample(row: Trajectory, index: int, *, any_mode: bool = False) -> dict[str, Any]:
    """Return a row as a sample; its texts are left empty, since a record holds ids.

    Raises:
        UnfitRowError: the row has no reward, or its log probabilities are not those that slime takes.
    """
    # Without any, slime computes them itself; a row with some of them is refused.
    logprobs = None if row.logprobs is None else logprobs_for(row, "slime", any_mode=any_mode)
    return {
        "index": index,
        "prompt": "",
        "tokens": row.ids,
        "response": "",
        "response_length": len(row.response),
        "loss_mask": row.mask,
        "rollout_log_probs": logprobs,
        "reward": reward_for(row, "slime"),
        "status": _status(row),
        "metadata": {**row.metadata, "run_id": row.run_id, "node": row.node},
    }


def _status(row: Trajectory) -> str:
    if not row.complete:
        return "aborted"
    return "truncated" if was_cut(row.finish_reasons) else "completed"


def write(rows: Sequence[Trajectory], path: Path, *, any_mode: bool = False) -> None:
    """Write one line a trajectory."""
    write_lines((sample(row, index, any_mode=any_mode) for index, row in enumerate(rows)), path)
