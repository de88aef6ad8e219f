"""Modes of log probabilities: engines compute them differently, and a trainer compares them with its own.

A trainer's importance weights divide its own probabilities by those of the sampler, so both have to be those
of the distribution that the ids were drawn from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "top_p": (1, 1.0),
    "top_k": (0, -1),
    "min_p": (0, 0.0),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "repetition_penalty": (1, 1.0),
}
"""Options between temperature and draw, and the values at which each does nothing."""


def mode_fault(mode: str | None, sampling: Mapping[str, Any]) -> str | None:
    """Return why log probabilities are not those of the drawn distribution; None where they are.

    An option that was not sent is taken to do nothing, except the temperature, which engines have their own
    for.

    Args:
        mode: what they were computed from, a `codec_agents.engines.values.LogprobMode`.
        sampling: the options that were sent.
    """
    if mode == "processed":  # after temperature and penalties, as the ids were drawn
        return None
    if mode is None:
        return "it is not known what the log probabilities were computed from"
    if mode == "raw" and sampling.get("temperature") not in (1, 1.0):
        found = sampling.get("temperature", "the engine's own")
        return f"the log probabilities are raw, and the temperature is {found}, not 1"
    # The modes `raw` and `temperature` both leave out the options after the temperature.
    for name, values in NEUTRAL.items():
        if name in sampling and sampling[name] not in values:
            return f"the log probabilities leave out {name} {sampling[name]}, with which the ids were drawn"
    return None


def same_distribution(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two turns were drawn alike: with the same temperature, and the same other options."""
    names = ("temperature", *NEUTRAL)
    return [one.get(name) for name in names] == [other.get(name) for name in names]
