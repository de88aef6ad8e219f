"""A recorded run: its turns with their token ids, and its other lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from codec_agents.exceptions import RecordError
from codec_agents.plan.nodes import declared_path
from codec_agents.prompts import History
from codec_agents.records.compare import differences
from codec_core.frames import CodecFrame, SampledValues
from codec_core.frames.values import joined_values, with_values


@dataclass(slots=True)
class RecordedTurn:
    """One turn of one node."""

    node: str
    number: int
    own: list[int]
    """The ids of the prompt behind those that it shares with an earlier turn."""
    kept: int
    """The number of the prompt's first ids that were known before: from the turn before, or, in a first turn,
    from an earlier run."""
    results: list[tuple[int, int]] = field(default_factory=list)
    """The ranges of the prompt that hold the results of the calls of the turn before."""
    generated: list[int] = field(default_factory=list)
    batches: list[list[int]] = field(default_factory=list)
    """The same ids by frame."""
    values: list[SampledValues | None] = field(default_factory=list)
    """The values of each frame, where they were asked for."""
    times: list[float] = field(default_factory=list)
    """The instant of each frame, in seconds since the run started."""
    started: float = 0.0
    """The instant of the request."""
    first_id: float | None = None
    ended: float | None = None
    bytes_received: int = 0
    regions: list[tuple[str, int, int]] = field(default_factory=list)
    """Port, first and last position (exclusive) among the generated ids."""
    finish_reason: str | None = None
    complete: bool = False
    cached: int | None = None
    """Ids of the prompt that the engine found in its cache; None where it did not report it."""
    engine: dict[str, float] = field(default_factory=dict)
    """The engine's own times that it reported, in seconds: `queue`, `prefill`, `first_id`."""
    tools: list[dict[str, Any]] = field(default_factory=list)
    """The attempts of its tool calls, in the order in which they ended."""
    id: str | None = None
    """Of a gateway's turn, the part of the ids that its client got which names it."""
    sampling: Mapping[str, Any] | None = None
    """Its sampling options, where the record has them by turn."""
    before: RecordedTurn | None = field(default=None, repr=False, compare=False)
    """The turn whose prompt and answer this prompt begins with; it does not change any more."""
    shared: int = 0
    """The number of ids that the prompt begins with and that are those of the turn before."""

    @property
    def prompt_length(self) -> int:
        """The number of ids of the prompt."""
        return self.shared + len(self.own)

    @property
    def prompt(self) -> list[int]:
        """The ids of the prompt. They are put together each time: a turn holds only its own.

        Prompts that were held whole would take memory in the square of the turns, of a few lines of a file.
        """
        parts, before, left = [self.own], self.before, self.shared
        while before is not None and left:  # from the end of the shared ids to their beginning
            length = before.prompt_length
            parts += [before.generated[: max(left - length, 0)]]
            left = min(left, length)
            parts += [before.own[: max(left - before.shared, 0)]]
            left = min(left, before.shared)
            before = before.before
        return list(chain.from_iterable(reversed(parts)))

    def frames(self) -> Iterator[CodecFrame]:
        """Yield the frames as they were recorded, without the last one."""
        for batch, values in zip(self.batches, self.values, strict=True):
            yield with_values(CodecFrame(tuple(batch), done=False), values)

    def all_values(self) -> SampledValues | None:
        """Return the values of the whole turn as one; None where there are none."""
        return joined_values([values for values in self.values if values is not None])


@dataclass(slots=True)
class RecordedRun:
    """A record, read back."""

    header: dict[str, Any]
    """The first line: `inputs`, `maps` and their hashes, `nodes`, `edges`, `versions`, `trace_id`."""
    turns: list[RecordedTurn] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    """All other lines, in order: handoffs, retries, texts, ends of nodes, suspensions and their answers."""
    functions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """The calls of functions, in order, by node: `given` and `gave`."""
    decided: dict[str, list[Any]] = field(default_factory=dict)
    """The orders of arrival that decided something, by node: sources of a join, items by completion."""
    complete: bool = False
    """True if the run ended with a result."""
    path: Path | None = None
    """The file that was read."""

    @property
    def has_functions(self) -> bool:
        """True if results of functions are recorded: version 1 left them out."""
        return bool(self.header.get("version") != 1)

    @property
    def inputs(self) -> dict[str, str | list[int]]:
        """The inputs of the run."""
        return dict(self.header.get("inputs", {}))

    @property
    def after(self) -> dict[str, History]:
        """The histories of earlier runs that this run continues."""
        return msgspec.convert(self.header.get("after", {}), dict[str, History])

    @property
    def ends(self) -> dict[str, dict[str, Any]]:
        """The line with which each node ended, by node; a node that was stopped has none."""
        return {line["node"]: line for line in self.lines if line["kind"] == "node"}

    def context_of(self, node: str, turn: int) -> int | None:
        """Return the context of a node's engine at one of its turns; None where it is not recorded."""
        lines = (line for line in self.lines if line["kind"] == "context" and line["node"] == node)
        known = [line["ids"] for line in lines if line["turn"] <= turn]
        return known[-1] if known else None

    @property
    def annotations(self) -> list[dict[str, Any]]:
        """The notes that were added after the run, in order."""
        return [line["fields"] for line in self.lines if line["kind"] == "annotation"]

    @property
    def decisions(self) -> dict[str, bool | str]:
        """The decisions on calls that waited, by the key of the call without the run's id."""
        found: dict[str, bool | str] = {}
        for line in self.lines:
            if line["kind"] == "answered":
                found |= line.get("decisions", {})
        return found

    @property
    def waiting(self) -> dict[str, Any] | None:
        """The line with which the run was suspended last; None once it is answered, or never waited."""
        waits: dict[str, Any] | None = None
        for line in self.lines:
            if line["kind"] == "suspended":
                waits = line
            elif line["kind"] == "answered" and waits is not None and line["pause"] == waits["pause"]:
                waits = None
        return waits

    @property
    def seconds(self) -> float:
        """The instant of the last line, in seconds since the run started."""
        instants = [line["at"] for line in self.lines if "at" in line]
        for turn in self.turns:
            instants += [turn.started, *turn.times[-1:]]
            instants += [turn.ended] if turn.ended is not None else []
            instants += [tool["at"] for tool in turn.tools]
        return max(instants, default=0.0)

    @property
    def rewards(self) -> dict[str, float]:
        """The rewards in annotations, the last of each node; that of the whole run has an empty name.

        Raises:
            RecordError: One is no number.
        """
        found: dict[str, float] = {}
        for note in self.annotations:
            reward = note.get("reward")
            given = reward if isinstance(reward, Mapping) else {} if reward is None else {"": reward}
            for node, value in given.items():
                if value is None:  # no reward, as for the whole run
                    continue
                if not isinstance(value, int | float):  # the fields of an annotation are free
                    raise RecordError(f"{self.path} has a reward that is no number: {value!r:.100}")
                found[node] = value
        return found

    @property
    def metadata(self) -> dict[str, Any]:
        """The other fields of all annotations together."""
        return {name: value for note in self.annotations for name, value in note.items() if name != "reward"}

    @property
    def nodes(self) -> list[str]:
        """The nodes that asked a model, in the order of their first turns."""
        return list(dict.fromkeys(turn.node for turn in self.turns))

    def details(self, node: str) -> dict[str, Any]:
        """Return the header's fields of a node: `map`, `dialect`, `model`, `engine`."""
        return dict(self.header.get("nodes", {}).get(declared_path(node), {}))

    def texts(self) -> dict[str, str]:
        """Return the text of each text sink."""
        texts: dict[str, str] = {}
        for line in self.lines:
            if line["kind"] == "text":
                texts[line["sink"]] = texts.get(line["sink"], "") + line["text"]
        return texts

    def of_node(self, node: str) -> list[RecordedTurn]:
        """Return the turns of one node, in order."""
        return [turn for turn in self.turns if turn.node == node]

    def by_node(self) -> dict[str, list[RecordedTurn]]:
        """Return the turns of each node, in order: `of_node` for all, in one pass."""
        found: dict[str, list[RecordedTurn]] = {}
        for turn in self.turns:
            found.setdefault(turn.node, []).append(turn)
        return found

    def trajectories(self) -> Iterator[dict[str, Any]]:
        """Yield the training trajectories of the nodes: all ids, and which of them the model sampled.

        A turn whose prompt extends the turn before continues its row, so that every id is there once; any
        other begins a row of its own. The fields are those of `trajectories.Trajectory`.
        """
        from codec_agents.records.exporters.jsonl import document
        from codec_agents.records.trajectories import trajectories_of

        for row in trajectories_of(self):
            yield document(row)

    def differences(self, other: RecordedRun) -> list[str]:
        """Return the places where two runs differ; an empty list means that they are equal."""
        return differences(self, other)
