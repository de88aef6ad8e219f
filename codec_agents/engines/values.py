"""The values of sampled ids, between an engine's answer and the turn that keeps them.

They are asked for by `sampling.logprobs` and come with the frames (`codec_core.frames.SampledValues`). An
engine that was asked and gives none, or not as many as ids, is an error: a trainer would pair the wrong ones.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import Literal, TypeAlias

import msgspec

from codec_agents.engines.base import SamplingOptions
from codec_agents.engines.checked import MOST
from codec_agents.exceptions import EngineStreamError
from codec_core.frames import MAX_ID, CodecFrame, SampledValues, WeightVersion
from codec_core.frames.values import count_fault

LogprobMode: TypeAlias = Literal["raw", "temperature", "processed"]
"""What an engine computes log probabilities from. `raw`: the model's scores, before anything was done to
them; `temperature`: after the temperature alone; `processed`: after temperature, penalties, `top_k`, `top_p`
and `min_p`, as the id was drawn."""


class ValuesError(EngineStreamError):
    """Values that were asked for are missing, or are not those of the ids they came with."""

    def __init__(self, engine: str, message: str, *, delivered: int = 0) -> None:
        super().__init__(engine, message, delivered=delivered, transient=False)


def checked_values(engine: str, values: SampledValues, ids: int, delivered: int) -> SampledValues:
    """Return values that are as many as the ids they came with, and that a record can hold.

    Raises:
        ValuesError: they are not.
    """
    if (fault := count_fault(values, ids) or _number_fault(values)) is not None:
        raise ValuesError(engine, f"the engine gave {fault}", delivered=delivered)
    return values


def _number_fault(values: SampledValues) -> str | None:
    """Return which number can be none; None if all are good."""
    logprobs = chain(values.logprobs, (logprob for row in values.top for _, logprob in row))
    # Minus infinity is one: the id cannot be drawn. As JSON, NaN and infinity would be minus infinity too.
    if not all(logprob < math.inf for logprob in logprobs):
        return "a log probability that is NaN or infinite"
    ids = chain((token for row in values.top for token, _ in row), chain.from_iterable(values.sampling_mask))
    if not all(0 <= token <= MAX_ID for token in ids):
        return "an alternative that is no id"
    if not all(0 <= start <= end < MOST for _, start, end in values.weight_versions):
        return "weights of a range that is none"
    return None


def shifted(values: SampledValues, ids: int) -> SampledValues:
    """Return values whose ranges are those of an answer that so many ids come before."""
    if not ids or not values.weight_versions:
        return values
    moved = tuple(WeightVersion(name, start + ids, end + ids) for name, start, end in values.weight_versions)
    return msgspec.structs.replace(values, weight_versions=moved)


class TurnValues:
    """The values of a turn, over all its requests, aligned with its generated ids."""

    __slots__ = (
        "_begun",
        "_engine",
        "_top",
        "logprobs",
        "routed_experts",
        "sampling_mask",
        "top",
        "versions",
    )

    def __init__(self, engine: str, options: SamplingOptions) -> None:
        self._engine = engine
        self._top = bool(options.logprobs)
        self._begun = 0
        """The number of ids before the request that is read now."""
        self.logprobs: list[float] = []
        self.top: list[tuple[tuple[int, float], ...]] = []
        self.sampling_mask: list[tuple[int, ...]] = []
        self.versions: list[WeightVersion] = []
        self.routed_experts: list[str] = []
        """One for each request that gave some."""

    def begin(self, ids: int) -> None:
        """Note that a request begins after so many ids of the turn."""
        self._begun = ids

    def add(self, frame: CodecFrame) -> SampledValues | None:
        """Take the values of a frame; return them, with places within the turn.

        Raises:
            ValuesError: the frame has ids, and no value for each of them.
        """
        values = frame.values
        ids = len(frame.ids)
        if ids and (values is None or not values.logprobs or (self._top and not values.top)):
            what = "alternatives" if values is not None and values.logprobs else "log probability"
            raise ValuesError(
                self._engine,
                f"was asked for logprobs, and gave ids without {what}; leave out `sampling.logprobs`, or use "
                "an engine that gives them",
                delivered=len(self.logprobs),
            )
        if values is None:
            return None
        checked_values(self._engine, values, ids, len(self.logprobs))
        values = shifted(values, self._begun)  # an engine counts from the beginning of its own answer
        self.logprobs += values.logprobs
        self.top += values.top
        self.sampling_mask += values.sampling_mask
        self.versions += values.weight_versions
        if values.routed_experts is not None:
            self.routed_experts.append(values.routed_experts)
        return values
