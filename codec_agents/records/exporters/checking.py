"""The checks of rows that a trainer computes with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from codec_agents.exceptions import RecordError
from codec_agents.records.files import replacing, write_whole
from codec_agents.records.logprobs import mode_fault
from codec_agents.records.trajectories import Trajectory

_encode = msgspec.json.Encoder().encode


class UnfitRowError(RecordError):
    """A row lacks what a trainer needs of it."""

    def __init__(self, row: Trajectory, what: str, remedy: str) -> None:
        super().__init__(f"run {row.run_id}, node {row.node!r}: {what}; {remedy}")


def logprobs_for(row: Trajectory, trainer: str, *, any_mode: bool = False) -> list[float]:
    """Return the log probabilities of a row's response, in the mode that trainers take.

    Args:
        row: the row.
        trainer: its name, for errors.
        any_mode: take them whatever they were computed from.

    Raises:
        UnfitRowError: a sampled id has none, or they are not those of the distribution that was drawn from.
    """
    logprobs = row.response_logprobs
    # Fewer than ids: a turn had none, and none are added behind it.
    if logprobs is None or len(logprobs) != len(row.response):
        raise UnfitRowError(
            row,
            f"not every sampled id has a log probability, and {trainer} needs it",
            "run it with `sampling.logprobs: true`",
        )
    # Training does not reveal wrong ones: the loss is a number all the same.
    if not any_mode and (fault := mode_fault(row.logprob_mode, row.sampling)) is not None:
        what = f"{fault.what}, and {trainer} compares them with its own"
        raise UnfitRowError(row, what, f"{fault.remedy}; `any_mode` (--any-mode) takes them as they are")
    return logprobs


def reward_for(row: Trajectory, trainer: str) -> float:
    """Return the reward of a row.

    Raises:
        UnfitRowError: it has none.
    """
    if row.reward is None:
        what = f"there is no reward, and {trainer} needs it"
        raise UnfitRowError(row, what, "add one: codec-agents record annotate")
    return row.reward


def write_lines(documents: Iterable[Any], path: Path) -> None:
    """Write documents as lines of JSON, all or none: a later one may be refused."""
    with replacing(path) as part, part.open("wb") as file:
        for document in documents:
            file.write(_encode(document) + b"\n")


def write_document(document: Any, path: Path) -> None:
    """Write one JSON document."""
    write_whole(path, _encode(document))


def was_cut(rows: Sequence[str | None]) -> bool:
    """Return whether the last finish reason is that of an answer at its limit."""
    return bool(rows) and rows[-1] == "length"
