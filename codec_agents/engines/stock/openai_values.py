"""The values in the answers of vLLM's completions and generate calls, and of SGLang's completions.

The forms differ: completions name ids in the text of tokens (`token_id:42`, with
`return_tokens_as_token_ids`), generate has them as numbers. Every value is compared with its id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from codec_core.frames import SampledValues, WeightVersion

_NAMED = re.compile("token_id:([0-9]{1,10})")
"""A token whose text is its id. `int` refuses more than 4,300 digits with an error of its own."""


class Alternative(msgspec.Struct):
    """An id in the place of a sampled one."""

    token_id: int
    logprob: float
    rank: int | None = None


class ContentLogprobs(msgspec.Struct):
    """One sampled id of the generate call."""

    token_id: int | None = None
    token: str | None = None
    """Older servers: `token_id:N`."""
    logprob: float | None = None
    top_logprobs: list[Alternative] = []


class ChoiceLogprobs(msgspec.Struct):
    """The values of an event's ids, in either form."""

    content: list[ContentLogprobs] | None = None
    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None


class Span(msgspec.Struct):
    """The weights of a range of ids."""

    version: str
    start: int
    end: int


class ValuesMismatchError(ValueError):
    """Values belong to other ids than those they came with."""


def values_of_ids(
    found: ChoiceLogprobs, ids: Sequence[int], top: int, valued: Sequence[int] = ()
) -> SampledValues:
    """Return the values of ids, each compared with its own.

    Args:
        found: the values as the engine wrote them.
        ids: the ids that came with them.
        top: how many alternatives were asked for.
        valued: the ids whose values were asked for in place of the most probable ones'. The generate call has
            a field for them.

    Raises:
        ValuesMismatchError: a value is missing, or names another id.
    """
    if found.content is not None:
        named = [_of_name(each.token) if each.token_id is None else each.token_id for each in found.content]
        logprobs = [each.logprob for each in found.content]
        if valued:
            top = len(valued)
        # The sampled id comes with them, whatever its rank, and in the place of the last one.
        tops = [
            [
                (each.token_id, each.logprob)
                for each in one.top_logprobs
                if (each.token_id in valued if valued else (each.rank or 0) <= top)
            ]
            for one in found.content
        ]
    else:
        named = [_of_name(token) for token in found.tokens]
        logprobs = found.token_logprobs
        tops = [_named_alternatives(each or {}) for each in found.top_logprobs or ()] if top else []
    # How many there are is checked with the frame (`checked_values`). Of SGLang's completions that is all,
    # because their texts of tokens name no ids.
    if any(name is not None and name != token for name, token in zip(named, ids, strict=False)):
        raise ValuesMismatchError("a log probability names another id than the one sampled")
    if any(logprob is None for logprob in logprobs):
        raise ValuesMismatchError("an id has no log probability")
    return SampledValues(
        tuple(logprob for logprob in logprobs if logprob is not None),
        tuple(most_probable(each, top) for each in tops) if top else (),
    )


def most_probable(alternatives: Iterable[tuple[int, float]], top: int) -> tuple[tuple[int, float], ...]:
    """Return the most probable ids, the first one first. Engines add the sampled id, whatever its rank."""
    return tuple(sorted(alternatives, key=lambda each: -each[1])[:top])


def _named_alternatives(found: dict[str, float]) -> list[tuple[int, float]]:
    named = [(_of_name(token), logprob) for token, logprob in found.items()]
    if any(token is None for token, _ in named):
        raise ValuesMismatchError("the alternatives are texts, which do not tell their ids")
    return [(token, logprob) for token, logprob in named if token is not None]


def _of_name(token: str | None) -> int | None:
    """Return the id that a token's text names; None for the text of a token."""
    named = None if token is None else _NAMED.fullmatch(token)
    return None if named is None else int(named[1])


def weight_versions(spans: Iterable[Span] | None) -> tuple[WeightVersion, ...]:
    """Return the weights of an answer's ranges."""
    return tuple(WeightVersion(span.version, span.start, span.end) for span in spans or ())
