"""A run that waits for somebody's decision, as a value that another process can go on from.

What the decision depends on is kept in ids: the prompt, what the model generated, and what has come of the
calls that needed nobody. Of the other nodes, those that had ended are kept with what they gave and are not
run again; those that had not are started anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from codec_agents.events import Outcome, Usage
from codec_agents.exceptions import PauseError
from codec_agents.tools.calls import Attempt, AttemptStatus

if TYPE_CHECKING:
    from codec_agents.plan.plan import BuiltPipeline
    from codec_agents.tools.calls import ToolCall

PAUSE_VERSION = 1
"""Written into each pause; another version is refused."""

Sent: TypeAlias = list[int] | str
"""What left by a port: ids, or text where the node gives text."""

Decision: TypeAlias = bool | str
"""Yes, no, or no with words for the model."""


class PendingCall(msgspec.Struct, frozen=True):
    """A call that waits for a decision.

    Fields:
        node: the node whose model called.
        position: its place among the calls of the turn.
        name: the tool.
        arguments: what the tool would be called with.
    """

    node: str
    position: int
    name: str
    arguments: dict[str, Any]


class SettledCall(msgspec.Struct, frozen=True):
    """What came of a call of the same turn that needed nobody's decision."""

    position: int
    status: AttemptStatus
    text: str
    ids: tuple[int, ...] | None = None
    duration: float = 0.0

    @classmethod
    def of(cls, position: int, attempt: Attempt) -> SettledCall:
        """Return what is kept of an attempt."""
        return cls(position, attempt.status, attempt.text, attempt.ids, attempt.duration)

    def attempt(self, call: ToolCall) -> Attempt:
        """Return the attempt, for the call as it is read again."""
        return Attempt(call, self.status, self.text, self.ids, duration=self.duration)


class NodeOutput(msgspec.Struct, frozen=True):
    """How a node ended, and what it gave by each port that somebody reads."""

    outcome: Outcome
    ports: dict[str, Sent]
    error: str | None = None


class PausedTurn(msgspec.Struct, frozen=True, kw_only=True):
    """The turn of one model that waits.

    Fields:
        number: its number among the node's turns.
        prompt: the ids that were sent.
        generated: the ids that came.
        finish_reason: why they ended.
        pending: the calls that wait.
        settled: what has come of the turn's other calls.
        sent: what the node had given by then, by port.
        begin: how many ids of the prompt the node's first turn began with.
    """

    number: int
    prompt: list[int]
    generated: list[int]
    finish_reason: str | None
    pending: tuple[PendingCall, ...]
    settled: tuple[SettledCall, ...] = ()
    sent: dict[str, Sent] = {}
    begin: int = 0


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """A run that waits.

    Fields:
        pipeline: the pipeline's name.
        digest: names its declaration; another declaration cannot go on.
        maps: the hash of each model node's map.
        run_id: the run.
        inputs: what the caller gave.
        waiting: the turns that wait, by node.
        ended: the nodes that had ended.
        started: the nodes that a router or a failure had started.
        usage: the counts of each model node.
        version: the version of this form.
    """

    pipeline: str
    digest: str
    maps: dict[str, str | None]
    run_id: str
    inputs: dict[str, Sent]
    waiting: dict[str, PausedTurn]
    ended: dict[str, NodeOutput]
    started: tuple[str, ...]
    usage: dict[str, Usage]
    version: int = PAUSE_VERSION

    @property
    def pending(self) -> tuple[PendingCall, ...]:
        """The calls that wait, in order; `resume` takes one decision for each."""
        return tuple(call for turn in self.waiting.values() for call in turn.pending)

    def to_json(self) -> str:
        """Return the pause as JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Pause:
        """Read a pause back.

        Raises:
            PauseError: this is no pause, or one of another version.
        """
        try:
            pause = msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise PauseError(f"this is not a pause of a run: {error}") from error
        if pause.version != PAUSE_VERSION:
            raise PauseError(f"the pause has version {pause.version}; this reads {PAUSE_VERSION}")
        return pause

    def check(self, built: BuiltPipeline) -> None:
        """Make sure that a pipeline is the one that was paused.

        Raises:
            PauseError: its declaration or one of its maps is another one.
        """
        if self.digest != built.digest:
            raise PauseError(
                f"the pause is of the pipeline {self.pipeline!r} with the digest {self.digest}, and this is "
                f"{built.name!r} with {built.digest}; go on with the declaration that was paused"
            )
        if self.maps != built.map_hashes or not self.waiting.keys() <= self.maps.keys():
            raise PauseError(f"the maps of {self.pipeline!r} have changed since the run was paused")


class Resumption:
    """A pause with the decisions that it waited for."""

    def __init__(self, pause: Pause, decisions: Sequence[Decision]) -> None:
        """Put the decisions to the calls, in their order.

        Raises:
            PauseError: there are more or fewer decisions than calls.
        """
        if isinstance(decisions, str) or len(decisions) != len(pause.pending):
            names = ", ".join(call.name for call in pause.pending)
            raise PauseError(f"{len(pause.pending)} calls wait ({names}): give one decision for each")
        self.pause = pause
        self._decisions = list(zip(pause.pending, decisions, strict=True))

    def decisions(self, node: str) -> dict[int, Decision]:
        """Return what was decided on the calls of one node, by their places in its turn."""
        return {call.position: decision for call, decision in self._decisions if call.node == node}
