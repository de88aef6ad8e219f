"""A suspended run that waits for decisions, as a value from which another process can resume.

What the decisions depend on is kept in token ids: the prompt, the generated ids, and the results of the calls
that needed no decision. Of the other nodes, those that had finished are kept with their output and do not run
again; the others start anew.

A pause is answered once where its run has a record: resuming appends the answer to the record first, and a
second answer is refused. A pause of a run without a record is a lone value, of which any number of copies can
be answered.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec

from codec_agents.events import Outcome, Usage
from codec_agents.exceptions import PauseError
from codec_agents.plan.nodes import PromptedNode
from codec_agents.prompts import ToldResults, misplaced
from codec_agents.records.answers import claim_answer
from codec_agents.records.format import MAX_LEVELS
from codec_agents.records.writer import RecordPlace
from codec_agents.strict_json import depth_of
from codec_agents.tools.calls import Attempt, AttemptStatus

if TYPE_CHECKING:
    from codec_agents.plan.plan import BuiltPipeline
    from codec_agents.tools.calls import ToolCall
    from codec_core.vocabulary import Vocabulary

PAUSE_VERSION = 2
"""Written into each pause. Version 1 had no `id` and no `record`."""

READABLE_VERSIONS = (1, PAUSE_VERSION)

Id: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]

Sent: TypeAlias = list[Id] | str
"""The output of a port: ids, or text where the node gives text."""

Decision: TypeAlias = bool | str
"""Yes, no, or no with words for the model."""


class PendingCall(msgspec.Struct, frozen=True):
    """A call that waits for a decision.

    Fields:
        node: the node whose model called.
        position: its place among the calls of the turn, from 0.
        name: the tool.
        arguments: what the tool would be called with.
    """

    node: str
    position: Count
    name: str
    arguments: dict[str, Any]


class SettledCall(msgspec.Struct, frozen=True):
    """A finished call of the same turn, which needed no decision."""

    position: Count
    status: AttemptStatus
    text: str
    ids: tuple[Id, ...] | None = None
    duration: float = 0.0

    @classmethod
    def of(cls, position: int, attempt: Attempt) -> SettledCall:
        """Keep an attempt."""
        return cls(position, attempt.status, attempt.text, attempt.ids, attempt.duration)

    def attempt(self, call: ToolCall) -> Attempt:
        """Return the attempt, for the call as it is parsed again."""
        return Attempt(call, self.status, self.text, self.ids, duration=self.duration)


class NodeOutput(msgspec.Struct, frozen=True):
    """How a node ended, and its output by each port that an edge reads."""

    outcome: Outcome
    ports: dict[str, Sent]
    error: str | None = None


class PausedTurn(msgspec.Struct, frozen=True, kw_only=True):
    """The turn of one model that waits.

    Fields:
        number: its number among the node's turns, from 1.
        prompt: the ids that were sent.
        generated: the ids that were received.
        finish_reason: why they ended.
        pending: the calls that wait.
        settled: the finished calls of the turn.
        sent: the output of the node so far, by port.
        begin: the length of the first prompt of the node, in ids.
        told: the results of earlier calls, by their places in the prompt.
    """

    number: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
    prompt: list[Id]
    generated: list[Id]
    finish_reason: str | None
    pending: Annotated[tuple[PendingCall, ...], msgspec.Meta(min_length=1)]
    settled: tuple[SettledCall, ...] = ()
    sent: dict[str, Sent] = {}
    begin: Count = 0
    told: tuple[ToldResults, ...] = ()


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """A suspended run.

    Fields:
        pipeline: the pipeline's name.
        digest: names its declaration; another declaration cannot resume.
        maps: the hash of each model node's map; of one made in memory, that of the document it would be.
        run_id: the run.
        inputs: the inputs of the run.
        waiting: the turns that wait, by node.
        ended: the nodes that had finished.
        started: the nodes that a router or a failure had started.
        usage: the counts of each model node.
        version: the version of this form.
        id: names this pause in the record of its run.
        record: the record of the run, which holds whether the pause was answered; None without a record.
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
    id: str = msgspec.field(default_factory=lambda: secrets.token_hex(16))
    record: RecordPlace | None = None

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
            PauseError: The text is not a pause, or one of another version.
        """
        if not isinstance(text, str | bytes):
            raise PauseError(f"a pause is the text of `pause.to_json()`, not {type(text).__name__}")
        try:
            pause = msgspec.json.decode(text, type=cls)
        # The decoder recurses into nested values, and gives up at the interpreter's limit.
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise PauseError(
                f"this is not a pause of a run: {error}; give what `pause.to_json()` or `--pause` wrote"
            ) from error
        if any(depth_of(call.arguments, MAX_LEVELS) > MAX_LEVELS for call in pause.pending):
            raise PauseError(f"the pause has arguments that are nested deeper than {MAX_LEVELS} levels")
        if pause.version not in READABLE_VERSIONS:
            known = " and ".join(map(str, READABLE_VERSIONS))
            raise PauseError(f"the pause has version {pause.version}; this reads {known}")
        return pause

    def check(self, built: BuiltPipeline) -> None:
        """Check that a pipeline is the one that was paused, and that it has everything that the pause names.

        Raises:
            PauseError: The declaration or a map differs, or the pause names something unknown.
        """
        if self.digest != built.digest:
            raise PauseError(
                f"the pause is of the pipeline {self.pipeline!r} with the digest {self.digest}, and this is "
                f"{built.name!r} with {built.digest}; resume with the declaration that was paused"
            )
        for node, identity in built.map_hashes.items():
            # A pause may lack a hash, as those of earlier versions do for maps made in memory.
            if self.maps.get(node) != identity:
                raise PauseError(
                    f"the run was paused with a map of {self.maps.get(node) or 'an unknown hash'} at node "
                    f"{node!r}, and that of {built.name!r} has {identity}; resume with the map of the pause"
                )
        if (found := next(_faults(self, built), None)) is not None:
            raise PauseError(f"the pause does not fit the pipeline {built.name!r}: {found}")


# --- what a pause names, checked: its file may have been edited ---


def _faults(pause: Pause, built: BuiltPipeline) -> Iterator[str]:
    yield from _unknown_nodes(pause, built)
    for name, turn in pause.waiting.items():
        node = built.nodes.get(name)
        if not isinstance(node, PromptedNode):
            continue  # `_unknown_nodes` names it
        for what, ids in (("prompt", turn.prompt), ("generated ids", turn.generated)):
            yield from _invalid_ids(node.vocabulary, ids, f"the {what} of node {name!r}")
        if turn.begin > len(turn.prompt):
            yield f"the turn of node {name!r} begins behind its prompt"
        if misplaced(turn.told, len(turn.prompt)):
            yield f"results of node {name!r} lie outside its prompt"
        yield from _misplaced_calls(name, turn)
        yield from _invalid_output(built, name, turn.sent)
    for name, output in pause.ended.items():
        yield from _invalid_output(built, name, output.ports)


def _unknown_nodes(pause: Pause, built: BuiltPipeline) -> Iterator[str]:
    asking = built.map_hashes.keys()
    conditional = {name for name, node in built.nodes.items() if node.conditional}
    groups = (
        ("waiting", pause.waiting, asking),
        ("ended", pause.ended, built.nodes.keys() - pause.waiting.keys()),
        ("started", pause.started, conditional),
        # Counts are by path: of a node inside a loop or a map, that begins with the outer node.
        ("usage", {path.partition("/")[0].partition("[")[0] for path in pause.usage}, built.nodes.keys()),
    )
    for field, named, known in groups:
        for name in named:
            if name not in known:
                yield f"`{field}` names the node {name!r}; it can name: {', '.join(sorted(known)) or 'none'}"


def _misplaced_calls(name: str, turn: PausedTurn) -> Iterator[str]:
    positions = [call.position for call in turn.pending] + [call.position for call in turn.settled]
    if len(set(positions)) < len(positions):
        yield f"two calls of node {name!r} have the same position"
    for call in turn.pending:
        if call.node != name:
            yield f"a call that waits at node {name!r} is said to be of {call.node!r}"


def _invalid_output(built: BuiltPipeline, name: str, ports: dict[str, Sent]) -> Iterator[str]:
    vocabularies = {
        edge.source_port: edge.source_vocabulary for edge in built.edges if edge.source_node == name
    }
    for port, sent in ports.items():
        if port not in vocabularies:
            yield f"no edge reads the port {name}.{port}"
            continue
        vocabulary = vocabularies[port]
        if isinstance(sent, str) != (vocabulary is None):
            yield f"the port {name}.{port} gives {'text' if vocabulary is None else 'ids'}"
        elif vocabulary is not None:
            yield from _invalid_ids(vocabulary, sent, f"the output of {name}.{port}")


def _invalid_ids(vocabulary: Vocabulary, ids: Sent, place: str) -> Iterator[str]:
    for token_id in ids:
        if not isinstance(token_id, int) or not vocabulary.is_valid(token_id):
            yield f"{place}: {token_id!r} is no id of the map {vocabulary.id}"


class Resumption:
    """A pause with its decisions."""

    def __init__(self, pause: Pause, decisions: Sequence[Decision]) -> None:
        """Assign the decisions to the pending calls, in their order.

        Raises:
            PauseError: There are more or fewer decisions than calls, or one is neither yes, no, nor words.
        """
        # A text is a decision by itself, and its characters would be counted as decisions.
        # The keys of a mapping would be words for the model.
        if isinstance(decisions, str | Mapping) or len(decisions) != len(pause.pending):
            names = ", ".join(call.name for call in pause.pending)
            raise PauseError(f"give a list with one decision for each call that waits: {names}")
        for call, decision in zip(pause.pending, decisions, strict=True):
            if not isinstance(decision, bool | str):
                raise PauseError(
                    f"the decision on {call.name} is {type(decision).__name__}; "
                    "give True, False, or words for the model"
                )
        self.pause = pause
        self._decisions = list(zip(pause.pending, decisions, strict=True))

    def claim(self) -> None:
        """Record that the pause is answered, where its run has a record. Call it last, before the run starts.

        Raises:
            PauseError: The pause was answered already, or its record is not there.
            RecordError: The record is damaged, or is being written.
        """
        if self.pause.record is not None:
            claim_answer(self.pause.record, self.pause.run_id, self.pause.id)

    def decisions(self, node: str) -> dict[int, Decision]:
        """Return the decisions on the calls of one node, by their positions in its turn."""
        return {call.position: decision for call, decision in self._decisions if call.node == node}

    def check_calls(self, node: str, calls: Sequence[ToolCall]) -> None:
        """Check that a turn, parsed again, has the calls that the pause showed to be decided on.

        Raises:
            PauseError: It has other calls.
        """
        turn = self.pause.waiting[node]
        known = {call.position for call in turn.pending} | {call.position for call in turn.settled}
        # Of settled calls the pause has no names. (A call that waits could be read, and has arguments.)
        same = known == set(range(len(calls))) and all(
            (calls[call.position].name, calls[call.position].arguments or {}) == (call.name, call.arguments)
            for call in turn.pending
        )
        if not same:
            raise PauseError(f"the turn of node {node!r} has other calls than the pause says")
