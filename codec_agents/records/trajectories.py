"""Training trajectories: the turns of a node as rows of ids, with a mask of those that its model sampled.

A turn whose prompt begins with exactly the turns before continues their row. Any other prompt, one from which
reasoning was dropped for example, begins a row of its own: no id is trained on in a context it was not
sampled in. So does a turn that was sampled with another temperature or other penalties, because a row says
once how its ids were drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from codec_agents.plan.nodes import declared_path
from codec_agents.records.logprobs import same_distribution
from codec_core.frames import SampledValues, WeightVersion


class Turn(Protocol):
    """The parts of a recorded turn that a row is made of."""

    generated: list[int]
    finish_reason: str | None
    complete: bool
    tools: list[dict[str, Any]]
    sampling: Mapping[str, Any] | None

    @property
    def prompt(self) -> list[int]:
        """The ids of the prompt."""

    def all_values(self) -> SampledValues | None:
        """Return the values of the whole turn."""


class TurnsOfNodes(Protocol):
    """The parts of a recorded run that rows are made of; a protocol, to import no run here."""

    header: dict[str, Any]

    @property
    def rewards(self) -> dict[str, float]:
        """The rewards, by node."""

    @property
    def metadata(self) -> dict[str, Any]:
        """The notes on the run."""

    def details(self, node: str) -> dict[str, Any]:
        """Return the header's fields of a node."""

    def by_node(self) -> Mapping[str, Sequence[Turn]]:
        """Return the turns of each node, in order."""


@dataclass(slots=True)
class Trajectory:
    """One row of one node."""

    run_id: str | None
    node: str
    part: int
    """Counted from 0 within the node: more than one where a prompt did not continue the turn before."""
    model: str | None
    map: str | None
    map_hash: str | None
    ids: list[int] = field(default_factory=list)
    sampled: list[bool] = field(default_factory=list)
    """Of each id, whether the model sampled it."""
    turn_starts: list[int] = field(default_factory=list)
    """The position of the first sampled id of each turn."""
    turn_ends: list[int] = field(default_factory=list)
    """The position after the last one."""
    finish_reasons: list[str | None] = field(default_factory=list)
    complete: bool = True
    """Whether no turn was cut off."""
    logprobs: list[float] | None = None
    """One an id up to the first turn without any, 0.0 for ids not sampled; None if that is the first."""
    logprob_mode: str | None = None
    """What the engine computes them from, see `engines.values.LogprobMode`; None where it is not known."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """The sampling options that were sent."""
    weight_versions: list[WeightVersion] = field(default_factory=list)
    """By position in `ids`."""
    routed_experts: list[str] = field(default_factory=list)
    """As the engine writes them, of each request that had some."""
    tool_calls: int = 0
    reward: float | None = None
    """The reward of the node, or of the whole run where the node has none."""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prompt(self) -> list[int]:
        """The ids before the first sampled one."""
        return self.ids[: self.begin]

    @property
    def response(self) -> list[int]:
        """The ids from the first sampled one on."""
        return self.ids[self.begin :]

    @property
    def begin(self) -> int:
        """The position of the first sampled id."""
        return self.turn_starts[0]

    @property
    def mask(self) -> list[int]:
        """1 for each sampled id of the response, 0 for each other."""
        return [int(own) for own in self.sampled[self.begin :]]

    @property
    def response_logprobs(self) -> list[float] | None:
        """One for each id of the response."""
        return None if self.logprobs is None else self.logprobs[self.begin :]

    def turns(self) -> Iterator[tuple[list[int], list[int], list[float] | None]]:
        """Yield the prompt, the sampled ids and their log probabilities, of each turn."""
        for start, end in zip(self.turn_starts, self.turn_ends, strict=True):
            yield self.ids[:start], self.ids[start:end], self.logprobs and self.logprobs[start:end]

    def _add(self, turn: Turn) -> None:
        added = turn.prompt[len(self.ids) :]
        self.ids += added + turn.generated
        self.sampled += [False] * len(added) + [True] * len(turn.generated)
        self.turn_starts.append(len(self.ids) - len(turn.generated))
        self.turn_ends.append(len(self.ids))
        self.finish_reasons.append(turn.finish_reason)
        self.complete = self.complete and turn.complete
        self.tool_calls += len(turn.tools)
        self._add_values(turn)

    def _add_values(self, turn: Turn) -> None:
        values, start = turn.all_values(), self.turn_starts[-1]
        self._add_logprobs(() if values is None else values.logprobs, start)
        if values is None:
            return
        self.weight_versions += [
            WeightVersion(version, begin + start, end + start)
            for version, begin, end in values.weight_versions
        ]
        if values.routed_experts is not None:
            self.routed_experts.append(values.routed_experts)

    def _add_logprobs(self, logprobs: Sequence[float], start: int) -> None:
        known = [] if self.logprobs is None else self.logprobs
        # Behind sampled ids without any, none are added: 0.0 in their places would be taken for certainty.
        # Exporters refuse a row with fewer than ids. A turn without an id has none to add, and lacks none.
        if True in self.sampled[len(known) : start] or not (logprobs or (known and start == len(self.ids))):
            return
        known += [0.0] * (start - len(known)) + list(logprobs)
        self.logprobs = known


def trajectories_of(record: TurnsOfNodes, nodes: Sequence[str] = ()) -> list[Trajectory]:
    """Return the rows of a run: those of each node in the order of their turns.

    Args:
        record: the run.
        nodes: only these, by their own or their declared paths; all where empty.
    """
    # Once: each of them looks through all lines, and a map has as many nodes as items.
    notes = _Notes(record.rewards, record.metadata)
    rows: list[Trajectory] = []
    for node, turns in record.by_node().items():
        # Items of a map and rounds of a loop have paths of their own; the declared path names all of them.
        if not nodes or {node, declared_path(node)} & set(nodes):
            rows += _rows_of(record, node, turns, notes)
    return rows


class _Notes(NamedTuple):
    """The rewards and the other notes that annotations give a run."""

    rewards: Mapping[str, float]
    metadata: Mapping[str, Any]


def _rows_of(record: TurnsOfNodes, node: str, turns: Iterable[Turn], notes: _Notes) -> Iterator[Trajectory]:
    row: Trajectory | None = None
    part = 0
    for turn in turns:
        if row is not None and not _continues(row, turn):
            yield row
            row, part = None, part + 1
        row = row or _new_row(record, node, part, turn.sampling, notes)
        row._add(turn)
    if row is not None:
        yield row


def _continues(row: Trajectory, turn: Turn) -> bool:
    """Return whether a turn is of the same row: it reads on behind it, and was drawn alike."""
    drawn_alike = turn.sampling is None or same_distribution(row.sampling, turn.sampling)
    return drawn_alike and turn.prompt[: len(row.ids)] == row.ids


def _new_row(
    record: TurnsOfNodes, node: str, part: int, sampling: Mapping[str, Any] | None, notes: _Notes
) -> Trajectory:
    details, rewards = record.details(node), notes.rewards
    # The most specific reward: of this item or round, of the declared node, of the run.
    return Trajectory(
        run_id=record.header.get("run_id"),
        node=node,
        part=part,
        model=details.get("model"),
        map=details.get("map"),
        map_hash=record.header.get("maps", {}).get(details.get("map")),
        logprob_mode=details.get("logprob_mode"),
        sampling=(details.get("sampling") or {}) if sampling is None else sampling,
        reward=rewards.get(node, rewards.get(declared_path(node), rewards.get(""))),
        metadata=notes.metadata,
    )
