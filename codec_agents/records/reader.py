"""A record, read back: turns with their ids, and what else was told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeAlias

import msgspec

from codec_agents.exceptions import RecordError
from codec_agents.plan.plan import declared_path
from codec_agents.prompts import History
from codec_agents.records.compare import differences
from codec_agents.records.writer import RECORD_VERSION

READABLE_VERSIONS = (1, RECORD_VERSION)

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is refused on reading: a prompt of a million ids takes 8 MiB."""


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


_NO_RECORD = (
    "is not a record of a run: its first line does not say so; give a file that a run wrote as its record"
)


def read_record(path: str | Path) -> RecordedRun:
    """Read a record back; a last line that was cut off by a crash is left out.

    Raises:
        RecordError: The file is missing, is not a record, or is damaged before its last line.
    """
    try:
        with Path(path).open("rb") as file:
            lines = list(_lines(file, path))
    except OSError as error:
        raise RecordError(f"cannot read the record {path}: {error.strerror}") from error
    if not lines:
        raise RecordError(f"{path} has no whole line: the run was cut off before it began; run it anew")
    if lines[0].get("kind") != "run":
        raise RecordError(f"{path} {_NO_RECORD}")
    if lines[0].get("version") not in READABLE_VERSIONS:
        known = " and ".join(map(str, READABLE_VERSIONS))
        raise RecordError(f"{path} has record version {lines[0].get('version')!r}; this reads {known}")
    return _assemble(lines)


def _lines(file: IO[bytes], path: str | Path) -> Iterator[dict[str, Any]]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise RecordError(f"{path}:{number}: the line is longer than {MAX_LINE_BYTES} bytes")
        if not line.endswith(b"\n"):
            return
        try:
            yield msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError as error:
            if number == 1:
                raise RecordError(f"{path} {_NO_RECORD}") from error
            raise RecordError(f"{path}:{number}: not a line of a record: {error}") from error


OpenTurns: TypeAlias = dict[str, RecordedTurn]
"""The latest turn of each node."""


def _prompt(run: RecordedRun, turns: OpenTurns, line: dict[str, Any]) -> None:
    node = line["node"]
    before = turns.get(node)
    kept = (before.prompt + before.generated)[: line["kept"]] if before else []
    results = [(start, stop) for start, stop in line.get("results", ())]
    turns[node] = RecordedTurn(
        node, line["turn"], kept + line["ids"], line["kept"], results, started=line["at"]
    )
    run.turns.append(turns[node])


def _ids(_: RecordedRun, turns: OpenTurns, line: dict[str, Any]) -> None:
    turn = turns[line["node"]]
    turn.generated += line["ids"]
    turn.batches.append(line["ids"])
    turn.times.append(line["at"])


def _turn(_: RecordedRun, turns: OpenTurns, line: dict[str, Any]) -> None:
    turn = turns[line["node"]]
    turn.finish_reason, turn.complete = line["reason"], True
    turn.first_id, turn.ended, turn.bytes_received = line["first_id_at"], line["at"], line["bytes"]
    turn.regions = [(port, start, stop) for port, start, stop in line["regions"]]


def _tool(run: RecordedRun, turns: OpenTurns, line: dict[str, Any]) -> None:
    if (turn := turns.get(line["node"])) is not None:
        turn.tools.append(line)
    else:
        run.lines.append(line)


def _function(run: RecordedRun, _: OpenTurns, line: dict[str, Any]) -> None:
    run.functions.setdefault(line["node"], []).append({"given": line["given"], "gave": line["gave"]})


def _decided(run: RecordedRun, _: OpenTurns, line: dict[str, Any]) -> None:
    run.decided.setdefault(line["node"], []).extend(line["choices"])


def _end(run: RecordedRun, _: OpenTurns, __: dict[str, Any]) -> None:
    run.complete = True


def _other(run: RecordedRun, _: OpenTurns, line: dict[str, Any]) -> None:
    run.lines.append(line)


READERS: Mapping[str, Callable[[RecordedRun, OpenTurns, dict[str, Any]], None]] = {
    "prompt": _prompt,
    "ids": _ids,
    "turn": _turn,
    "tool": _tool,
    "function": _function,
    "decided": _decided,
    "end": _end,
}
"""What each kind of line adds; any other is kept as it stands."""


def _assemble(lines: list[dict[str, Any]]) -> RecordedRun:
    run = RecordedRun(header=lines[0])
    open_turns: dict[str, RecordedTurn] = {}
    for number, line in enumerate(lines[1:], 2):
        try:
            READERS.get(line["kind"], _other)(run, open_turns, line)
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(f"line {number} of the record does not follow from those before it") from error
    return run
