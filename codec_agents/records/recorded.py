"""A recorded run: its turns with their token ids, and its other lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from codec_agents.plan.nodes import declared_path
from codec_agents.prompts import History
from codec_agents.records.compare import differences


@dataclass(slots=True)
class RecordedTurn:
    """One turn of one node."""

    node: str
    number: int
    prompt: list[int]
    kept: int
    """How many of the prompt's first ids are the turn before."""
    results: list[tuple[int, int]] = field(default_factory=list)
    """Where the prompt holds the results of the calls of the turn before."""
    generated: list[int] = field(default_factory=list)
    batches: list[list[int]] = field(default_factory=list)
    """The same ids, as the frames cut them."""
    times: list[float] = field(default_factory=list)
    """When each frame arrived, in seconds since the run started."""
    started: float = 0.0
    """When the turn was asked for."""
    first_id: float | None = None
    ended: float | None = None
    bytes_received: int = 0
    regions: list[tuple[str, int, int]] = field(default_factory=list)
    """Port, first and last position (exclusive) among the generated ids."""
    finish_reason: str | None = None
    complete: bool = False
    tools: list[dict[str, Any]] = field(default_factory=list)
    """What came of its tool calls, in the order in which they ended."""


@dataclass(slots=True)
class RecordedRun:
    """A record, read back."""

    header: dict[str, Any]
    """What is known of the pipeline: `inputs`, `maps` and their hashes, `nodes`, `edges`, `versions`."""
    turns: list[RecordedTurn] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    """Everything else, in order: handoffs, retries, texts, ends of nodes."""
    functions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """What the functions gave that a node asked, in order, by node: lines with `given` and `gave`."""
    decided: dict[str, list[Any]] = field(default_factory=dict)
    """What came first, where that decides, by node: the sources that a join took, items by completion."""
    complete: bool = False
    """Whether the run came to its end."""

    @property
    def has_functions(self) -> bool:
        """Whether it says what functions gave: the first version did not."""
        return bool(self.header.get("version") != 1)

    @property
    def inputs(self) -> dict[str, str | list[int]]:
        """What the caller gave."""
        return dict(self.header.get("inputs", {}))

    @property
    def after(self) -> dict[str, History]:
        """What the models had been told and had said in earlier runs."""
        return msgspec.convert(self.header.get("after", {}), dict[str, History])

    @property
    def ends(self) -> dict[str, dict[str, Any]]:
        """How each node ended that did not end by being stopped: the line, by node."""
        return {line["node"]: line for line in self.lines if line["kind"] == "node"}

    @property
    def nodes(self) -> list[str]:
        """The nodes that asked a model, in the order in which they first did."""
        return list(dict.fromkeys(turn.node for turn in self.turns))

    def details(self, node: str) -> dict[str, Any]:
        """Return what the header says of a node: `map`, `dialect`, `model`, `engine`."""
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

    def trajectories(self) -> Iterator[dict[str, Any]]:
        """Yield one training trajectory a node: all ids, and which of them the model sampled.

        The ids are those of the last prompt and its answer: because each prompt extends the turn before, they
        hold every turn once. `sampled` marks what was generated, of every turn.
        """
        for node in self.nodes:
            ids: list[int] = []
            sampled: list[bool] = []
            ends: list[int] = []
            for turn in self.of_node(node):
                added = turn.prompt[len(ids) :]
                ids += added + turn.generated
                sampled += [False] * len(added) + [True] * len(turn.generated)
                ends.append(len(ids))
            details = self.details(node)
            yield {
                "run_id": self.header.get("run_id"),
                "node": node,
                "model": details.get("model"),
                "map": details.get("map"),
                "map_hash": self.header.get("maps", {}).get(details.get("map")),
                "ids": ids,
                "sampled": sampled,
                "turn_ends": ends,
                "finish_reasons": [turn.finish_reason for turn in self.of_node(node)],
                "complete": all(turn.complete for turn in self.of_node(node)),
            }

    def differences(self, other: RecordedRun) -> list[str]:
        """Say where two runs differ; an empty list means that they are the same."""
        return differences(self, other)
