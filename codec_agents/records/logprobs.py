"""Modes of log probabilities: engines compute them differently, and a trainer compares them with its own.

A trainer's importance weights divide its own probabilities by those of the sampler, so both have to be those
of the distribution that the ids were drawn from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "top_p": (1, 1.0),
    "top_k": (-1, 0),  # SGLang refuses 0
    "min_p": (0, 0.0),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "repetition_penalty": (1, 1.0),
    "min_tokens": (0,),
}
"""Options between temperature and draw, and the values at which each does nothing."""

OWN = ("top_p", "top_k", "min_p", "repetition_penalty")
"""Options that engines set where a request does not: vLLM and SGLang from the `generation_config.json` of a
model, llama.cpp to 0.95, 40 and 0.05, and the `transformers` back end to 50 for `top_k`."""

FORMS = ("structured", "extra")
"""Forms of the answer and fields of the engine's own: they may change the draw, and are not looked into."""


class Fault(NamedTuple):
    """Why log probabilities are not those of the drawn distribution, and what would make them so."""

    what: str
    remedy: str


_DECLARE = (
    "start the server so that it reports processed ones (vLLM: `--logprobs-mode processed_logprobs`) and "
    "declare `options: {logprob_mode: processed}`"
)


def mode_fault(mode: str | None, sampling: Mapping[str, Any]) -> Fault | None:
    """Return why log probabilities are not those of the drawn distribution; None where they are.

    Args:
        mode: what they were computed from, a `codec_agents.engines.values.LogprobMode`.
        sampling: the options that were sent.
    """
    if mode == "processed":  # after temperature and penalties, as the ids were drawn
        return None
    if mode is None:
        return Fault(
            "it is not known what the log probabilities were computed from",
            "declare the kind of the engine, or `options: {logprob_mode: ...}`",
        )
    if mode == "raw" and sampling.get("temperature") not in (1, 1.0):
        found = sampling.get("temperature", "the engine's own")
        return Fault(
            f"the log probabilities are raw, and the temperature is {found}, not 1",
            f"sample with temperature 1, or {_DECLARE}",
        )
    # The modes `raw` and `temperature` both leave out the options after the temperature.
    for name, values in NEUTRAL.items():
        if name in sampling and sampling[name] not in values:
            return Fault(
                f"the log probabilities leave out {name} {sampling[name]}, with which the ids were drawn",
                f"sample with {name} {values[0]}, or {_DECLARE}",
            )
    for name in FORMS:
        if sampling.get(name):
            return Fault(
                f"the log probabilities may leave out `sampling.{name}`, with which the ids were drawn",
                f"sample without it, leave the node out, or {_DECLARE}",
            )
    if unsent := [name for name in OWN if name not in sampling]:
        neutral = ", ".join(f"{name}: {NEUTRAL[name][0]}" for name in unsent)
        return Fault(
            f"the log probabilities leave out {', '.join(unsent)}, and the engine was left to its own values",
            f"send the values that do nothing, `sampling: {{{neutral}}}`, or {_DECLARE}",
        )
    return None


def same_distribution(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two turns were drawn alike: with the same temperature, and the same other options."""
    names = ("temperature", *NEUTRAL, *FORMS)
    return [one.get(name) for name in names] == [other.get(name) for name in names]
