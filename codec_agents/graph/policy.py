"""Policies: the time-outs, retries and limits of a pipeline and of each of its nodes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, TypeAlias, get_args

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from codec_agents.graph.base import (
    NO_WORD_AS_NUMBER,
    NO_WORD_AS_WHOLE,
    Count,
    Declared,
    Reference,
    Seconds,
)
from codec_agents.references.callables import reference_of

DEFAULT_CONNECT_TIMEOUT = 5.0
"""A server on the same network answers within milliseconds; one that takes longer is down or overloaded."""

DEFAULT_FIRST_ID_TIMEOUT = 120.0
"""Covers queueing and the prefill of a long prompt: 100,000 token ids at 1,000 per second."""

DEFAULT_IDLE_TIMEOUT = 30.0
"""Even a slow engine gives one id per second; half a minute of silence is a lost connection."""

DEFAULT_TOOL_TIMEOUT = 60.0
"""A tool usually waits for another service, which has time-outs of half a minute of its own."""

DEFAULT_ATTEMPTS = 3
"""The first one and two more: a transient failure passes within seconds, and any other is reported soon."""

DEFAULT_BACKOFF_INITIAL = 0.5
DEFAULT_BACKOFF_MAX = 20.0
DEFAULT_BACKOFF_JITTER = 0.5
"""Half of each delay is drawn, so that runs that failed together do not come back together."""

DEFAULT_MAX_IDS = 32_768
"""All turns of a node together: the length of a reasoning model's longest answers."""

DEFAULT_TURNS = 10
"""Generations of one node: a model that needs more rounds of tools than this goes in circles."""

DEFAULT_TOOL_CALLS = 50
"""Five calls in each of ten turns."""

DEFAULT_WALL = 3600.0
"""32,768 ids at 10 per second take 55 minutes: a node that takes longer is stuck, not slow."""

Transient: TypeAlias = Literal["connect", "status", "timeout", "stream"]
"""No connection; a status such as 429 or 503; silence; a stream that is cut off."""

OnFailure: TypeAlias = Literal["fail", "skip", "fallback"]
"""When a node fails or reaches a limit: fail the run, go on without it, or take its fallback edges."""


OnLength: TypeAlias = Literal["accept", "fail", "continue"]
"""When an answer is cut at `max_tokens`: take it as it is, fail the node, or ask for the rest of it."""


OverflowName: TypeAlias = Literal["fail", "drop_oldest_results"]
"""When a prompt leaves no room for an answer in the engine's context: fail the node, or drop the results of
the oldest calls."""

OVERFLOW_NAMES = get_args(OverflowName)


def _overflow(value: Any) -> Any:
    """Return the reference of a function that can be imported by name, as a `Policy` holds it."""
    if not callable(value):
        return value
    if (reference := reference_of(value)) is None:
        raise PydanticCustomError(
            "callable",
            "the function cannot be imported by name; give the policy as a mapping, or define it at the top "
            "level of a module",
        )
    return reference


OnOverflow: TypeAlias = Annotated[
    OverflowName | Reference, BeforeValidator(_overflow, json_schema_input_type=OverflowName | Reference)
]
"""One of the two, or a function as `module:name`."""


class TimeoutPolicy(Declared):
    """Time-outs in seconds; null waits for ever."""

    connect: Seconds | None = DEFAULT_CONNECT_TIMEOUT
    """From the attempt to connect to the engine until the connection is established."""
    first_id: Seconds | None = DEFAULT_FIRST_ID_TIMEOUT
    """From a request until its first id."""
    idle: Seconds | None = DEFAULT_IDLE_TIMEOUT
    """Between two ids of a stream."""
    whole: Seconds | None = None
    """A whole request, from start to end."""
    tool: Seconds | None = DEFAULT_TOOL_TIMEOUT
    """One tool call."""


class RetryPolicy(Declared):
    """The failures that are retried, how often, and after which delays."""

    attempts: Count = DEFAULT_ATTEMPTS
    """Requests in all, the first one included; 1 never retries."""
    initial: Annotated[float, Field(ge=0), NO_WORD_AS_NUMBER] = DEFAULT_BACKOFF_INITIAL
    """The first delay in seconds; each further one is twice as long."""
    max: Annotated[float, Field(ge=0), NO_WORD_AS_NUMBER] = DEFAULT_BACKOFF_MAX
    """No delay is longer."""
    jitter: Annotated[float, Field(ge=0, le=1), NO_WORD_AS_NUMBER] = DEFAULT_BACKOFF_JITTER
    """The part of each delay that is random: 0 for none, 1 for all of it."""
    on: tuple[Transient, ...] = ("connect", "status", "timeout", "stream")
    """The kinds of transient failure that are retried."""

    def delays(self, draw: random.Random | None = None) -> Iterator[float]:
        """Yield the delay before each further attempt, in seconds."""
        uniform = (draw or random).random
        # From delay to delay: the power of two of a thousandth attempt is beyond a float.
        delay = min(self.initial, self.max)
        for _ in range(self.attempts - 1):
            yield delay * (1 - self.jitter * uniform())
            delay = min(2 * delay, self.max)


class Limits(Declared):
    """Limits at which a node ends."""

    max_ids: Count = DEFAULT_MAX_IDS
    """Ids generated, over all turns."""
    turns: Count = DEFAULT_TURNS
    """Generations asked for: one, and one after each round of tool calls."""
    tool_calls: Annotated[int, Field(ge=0), NO_WORD_AS_WHOLE] = DEFAULT_TOOL_CALLS
    """Tool calls, over all turns."""
    reasoning_ids: Count | None = None
    """Ids of reasoning in one turn. A model that reaches the limit is forced to answer, where its family can
    close reasoning; elsewhere the node ends. Null for no limit."""
    wall: Seconds | None = DEFAULT_WALL
    """Seconds from the start of the node to its end; null for no limit."""


class Policy(Declared):
    """The policy of a pipeline, or of one node. The pipeline decides on fields that a node leaves out."""

    timeouts: TimeoutPolicy = Field(default_factory=TimeoutPolicy)
    retry: RetryPolicy = Field(default_factory=RetryPolicy)
    limits: Limits = Field(default_factory=Limits)
    concurrency: Count | None = None
    """Concurrent requests to each engine without a `concurrency` of its own; null for no limit."""
    on_failure: OnFailure = "fail"
    """The consequence of a failure, or of a limit that is reached."""
    on_length: OnLength = "accept"
    """The consequence of an answer cut at `sampling.max_tokens` or by the engine's context. `continue`
    asks for the rest, from the exact ids that arrived and within `limits.max_ids`."""
    on_overflow: OnOverflow = "fail"
    """The consequence of a prompt that leaves no room for an answer in the engine's context, decided before
    each turn. `drop_oldest_results` puts a note in place of the results of the oldest calls; a function
    `module:name` is given the messages, and returns those that stay."""

    @property
    def shortens_by(self) -> str | None:
        """The reference of the function of `on_overflow`; None where that is one of the known names."""
        return None if self.on_overflow in OVERFLOW_NAMES else self.on_overflow

    def overridden_by(self, other: Policy | None) -> Policy:
        """Return this policy with the fields that the other one sets explicitly."""
        return self if other is None else _merge(self, other)

    @model_validator(mode="after")
    def _check_backoff(self) -> Self:
        if self.retry.initial > self.retry.max:
            raise PydanticCustomError("backoff", "retry.initial is longer than retry.max")
        return self


def _merge(base: Policy, over: Policy) -> Policy:
    """Return `base` with each field that `over` sets, also one level down in its parts."""
    changes: dict[str, object] = {}
    for name in over.model_fields_set:
        mine, theirs = getattr(base, name), getattr(over, name)
        if isinstance(theirs, Declared):
            theirs = mine.model_copy(update={part: getattr(theirs, part) for part in theirs.model_fields_set})
        changes[name] = theirs
    return base.model_copy(update=changes)
