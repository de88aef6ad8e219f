"""Plain lines of JSON: a trajectory each, with all that is known of it. `docs/training.md` has the schema."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codec_agents.records.exporters.checking import write_lines
from codec_agents.records.trajectories import Trajectory

FIELDS = (
    "run_id", "node", "part", "model", "map", "map_hash", "ids", "sampled", "turn_starts", "turn_ends",
    "finish_reasons", "complete", "logprobs", "logprob_mode", "sampling", "weight_versions", "routed_experts",
    "tool_calls", "reward", "metadata",
)  # fmt: skip


def document(row: Trajectory) -> dict[str, Any]:
    """Return a trajectory as JSON has it."""
    return {name: getattr(row, name) for name in FIELDS}


def write(rows: Sequence[Trajectory], path: Path) -> None:
    """Write one line a trajectory."""
    write_lines(map(document, rows), path)
