"""The record of a run: an append-only file from which it can be replayed, compared and learnt from.

One JSON object a line. Every id is written once: a prompt as what it adds to the turn before, an answer as it
was sampled, frame by frame. A line is written whole and handed to the operating system before the next frame
is read, so a crash costs at most the line that was being written; `read_record` leaves such a line out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from codec_agents.events import (
    Event,
    GenerationFinished,
    GenerationStarted,
    HandoffFinished,
    IdsSampled,
    NodeFailed,
    NodeFinished,
    Retried,
    RunFinished,
    RunStarted,
    SinkText,
    ToolFinished,
)
from codec_agents.exceptions import RecordError

RECORD_VERSION = 1
"""Written in the first line; a reader refuses a version that it does not know."""

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is refused on reading: a prompt of a million ids takes 8 MiB."""

_encode = msgspec.json.Encoder(enc_hook=str).encode


def _error(error: BaseException) -> dict[str, str]:
    return {"type": type(error).__name__, "message": str(error)}


LINES: Mapping[type, Callable[[Any], dict[str, Any]]] = {
    GenerationStarted: lambda e: {
        "kind": "prompt",
        "node": e.node,
        "turn": e.turn,
        "kept": e.kept_prefix,
        "ids": e.prompt_ids[e.kept_prefix :],
    },
    IdsSampled: lambda e: {"kind": "ids", "node": e.node, "turn": e.turn, "ids": e.ids},
    GenerationFinished: lambda e: {
        "kind": "turn",
        "node": e.node,
        "turn": e.turn,
        "reason": e.finish_reason,
        "regions": e.regions,
        "bytes": e.bytes_received,
        "first_id_at": e.first_id_at,
    },
    ToolFinished: lambda e: {
        "kind": "tool",
        "node": e.node,
        "turn": e.turn,
        "name": e.attempt.call.name,
        "arguments": e.attempt.call.arguments,
        "status": e.attempt.status,
        "told": e.attempt.text,
        "seconds": e.attempt.duration,
    },
    HandoffFinished: lambda e: {"kind": "handoff", **asdict(e.report)},
    Retried: lambda e: {
        "kind": "retry",
        "node": e.node,
        "turn": e.turn,
        "kept": e.kept_ids,
        **_error(e.error),
    },
    SinkText: lambda e: {"kind": "text", "sink": e.sink, "text": e.text},
    NodeFinished: lambda e: {
        "kind": "node",
        "node": e.node,
        "outcome": e.outcome,
        "reason": e.reason,
        "usage": asdict(e.usage),
    },
    NodeFailed: lambda e: {"kind": "node", "node": e.node, "outcome": "failed", "error": _error(e.error)},
    RunFinished: lambda _: {"kind": "end"},
}
"""How each event stands in the file; an event that is not here adds nothing that the others do not say."""


class Recorder:
    """Write a run to a file as it happens."""

    def __init__(self, path: str | Path, header: Mapping[str, Any]) -> None:
        """Open the file for writing.

        Args:
            path: The file; it is overwritten.
            header: What the first line says beside the run: maps and their hashes, dialects, versions.

        Raises:
            RecordError: The file cannot be opened.
        """
        try:
            self._file: IO[bytes] = Path(path).open("wb")  # noqa: SIM115 - closed by `close`, at the end of the run
        except OSError as error:
            raise RecordError(f"cannot write the record {path}: {error.strerror}") from error
        self._header = dict(header)

    def write(self, event: Event) -> None:
        """Append what an event says."""
        if isinstance(event, RunStarted):
            first = {
                "kind": "run",
                "version": RECORD_VERSION,
                "run_id": event.run_id,
                "pipeline": event.pipeline,
            }
            self._append({**first, **self._header})
        elif (line := LINES.get(type(event))) is not None:
            self._append({**line(event), "at": round(event.at, 6)})

    def _append(self, line: dict[str, Any]) -> None:
        self._file.write(_encode(line) + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(slots=True)
class RecordedTurn:
    """One turn of one node."""

    node: str
    number: int
    prompt: list[int]
    kept: int
    """How many of the prompt's first ids are the turn before."""
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


@dataclass(slots=True)
class RecordedRun:
    """A record, read back."""

    header: dict[str, Any]
    turns: list[RecordedTurn] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    """Everything else, in order: handoffs, retries, texts, ends of nodes."""
    complete: bool = False
    """Whether the run came to its end."""

    def of_node(self, node: str) -> list[RecordedTurn]:
        """Return the turns of one node, in order."""
        return [turn for turn in self.turns if turn.node == node]

    def trajectories(self) -> Iterator[dict[str, Any]]:
        """Yield one training trajectory a node: all ids, and which of them the model sampled.

        The ids are those of the last prompt and its answer: because each prompt extends the turn before, they
        hold every turn once. `sampled` marks what was generated, of every turn.
        """
        for node in dict.fromkeys(turn.node for turn in self.turns):
            ids: list[int] = []
            sampled: list[bool] = []
            ends: list[int] = []
            for turn in self.of_node(node):
                added = turn.prompt[len(ids) :]
                ids += added + turn.generated
                sampled += [False] * len(added) + [True] * len(turn.generated)
                ends.append(len(ids))
            details = self.header.get("nodes", {}).get(node, {})
            yield {"node": node, "map": details.get("map"), "ids": ids, "sampled": sampled, "turn_ends": ends}

    def differences(self, other: RecordedRun) -> list[str]:
        """Say where two runs differ in ids, turn by turn; an empty list means that they are the same."""
        found: list[str] = []
        mine = {(turn.node, turn.number): turn for turn in self.turns}
        theirs = {(turn.node, turn.number): turn for turn in other.turns}
        for key in sorted(mine.keys() | theirs.keys()):
            place = f"{key[0]}, turn {key[1]}"
            if key not in mine or key not in theirs:
                found.append(f"{place}: only in the {'first' if key in mine else 'second'} run")
                continue
            for name in ("prompt", "generated"):
                position = _first_difference(getattr(mine[key], name), getattr(theirs[key], name))
                if position is not None:
                    found.append(f"{place}: {name} ids differ from position {position} on")
        return found


def _first_difference(left: list[int], right: list[int]) -> int | None:
    if left == right:
        return None
    shorter = min(len(left), len(right))
    return next((i for i in range(shorter) if left[i] != right[i]), shorter)


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
    if not lines or lines[0].get("kind") != "run":
        raise RecordError(f"{path} is not a record of a run: its first line does not say so")
    if lines[0].get("version") != RECORD_VERSION:
        raise RecordError(
            f"{path} has record version {lines[0].get('version')!r}; this reads {RECORD_VERSION}"
        )
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
            raise RecordError(f"{path}:{number}: not a line of a record: {error}") from error


LineKind = Literal["prompt", "ids", "turn", "tool"]


def _assemble(lines: list[dict[str, Any]]) -> RecordedRun:
    run = RecordedRun(header=lines[0])
    open_turns: dict[str, RecordedTurn] = {}
    for line in lines[1:]:
        kind, node = line["kind"], line.get("node", "")
        if kind == "prompt":
            before = open_turns.get(node)
            kept = (before.prompt + before.generated)[: line["kept"]] if before else []
            open_turns[node] = turn = RecordedTurn(node, line["turn"], kept + line["ids"], line["kept"])
            turn.started = line["at"]
            run.turns.append(turn)
        elif kind == "ids":
            open_turns[node].generated += line["ids"]
            open_turns[node].batches.append(line["ids"])
            open_turns[node].times.append(line["at"])
        elif kind == "turn":
            turn = open_turns[node]
            turn.finish_reason, turn.complete = line["reason"], True
            turn.first_id, turn.ended, turn.bytes_received = line["first_id_at"], line["at"], line["bytes"]
            turn.regions = [(port, start, stop) for port, start, stop in line["regions"]]
        elif kind == "tool":
            open_turns[node].tools.append(line)
        elif kind == "end":
            run.complete = True
        else:
            run.lines.append(line)
    return run
