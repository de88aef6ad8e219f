"""The record of a run: an append-only file from which it can be replayed, compared and learnt from.

One JSON object a line. Every id of a model is written once: a prompt as what it adds to the turn before, an
answer as it was sampled, frame by frame. A line is written whole and handed to the operating system before
the next frame is read, so a crash costs at most the line that was being written; `read_record` leaves such a
line out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from codec_agents.events import (
    Decided,
    Event,
    FunctionFinished,
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
from codec_agents.exceptions import RecordError, RecordLostError

if TYPE_CHECKING:
    from codec_agents.tools.calls import Attempt

RECORD_VERSION = 2
"""Written in the first line; a reader refuses a version that it does not know. Version 1 had no lines of
functions and decisions."""

_encode = msgspec.json.Encoder(enc_hook=str).encode


def _error(error: BaseException) -> dict[str, str]:
    return {"type": type(error).__name__, "message": str(error)}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    call = attempt.call
    line: dict[str, Any] = {
        "name": call.name,
        "arguments": call.arguments,
        "call": [call.start, call.index],
        "status": attempt.status,
        "told": attempt.text,
        "seconds": attempt.duration,
    }
    if attempt.ids is not None:
        line["prepared"] = attempt.ids
    if attempt.repeated:
        line["repeated"] = attempt.repeated
    return line


LINES: Mapping[type, Callable[[Any], dict[str, Any]]] = {
    GenerationStarted: lambda e: {
        "kind": "prompt",
        "node": e.node,
        "turn": e.turn,
        "kept": e.kept_prefix,
        "ids": e.prompt_ids[e.kept_prefix :],
        **({"results": e.results} if e.results else {}),
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
    ToolFinished: lambda e: {"kind": "tool", "node": e.node, "turn": e.turn, **_attempt(e.attempt)},
    HandoffFinished: lambda e: {"kind": "handoff", **msgspec.structs.asdict(e.report)},
    Retried: lambda e: {
        "kind": "retry",
        "node": e.node,
        "turn": e.turn,
        "kept": e.kept_ids,
        **_error(e.error),
    },
    SinkText: lambda e: {"kind": "text", "sink": e.sink, "text": e.text},
    FunctionFinished: lambda e: {"kind": "function", "node": e.node, "given": e.given, "gave": e.gave},
    Decided: lambda e: {"kind": "decided", "node": e.node, "choices": e.choices},
    NodeFinished: lambda e: {
        "kind": "node",
        "node": e.node,
        "outcome": e.outcome,
        "reason": e.reason,
        "usage": msgspec.structs.asdict(e.usage),
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
            header: What the first line says beside the run: inputs, maps and hashes, dialects, versions.

        Raises:
            RecordError: The file cannot be opened.
        """
        try:
            # Without a buffer: what could not be written is not tried again when the file is closed.
            self._file: IO[bytes] = Path(path).open("wb", buffering=0)  # noqa: SIM115 - closed by `close`, at the end of the run
        except OSError as error:
            raise RecordError(
                f"cannot write the record {path}: {error.strerror}; name a file in an existing folder"
            ) from error
        self._path = str(path)
        self._header = dict(header)
        self._lost: RecordLostError | None = None

    def write(self, event: Event) -> None:
        """Append what an event says.

        Raises:
            RecordLostError: the file takes no more, now or before.
        """
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
        if self._lost is not None:
            raise self._lost
        left = memoryview(_encode(line) + b"\n")
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._lost = RecordLostError(self._path, error.strerror or str(error))
            raise self._lost from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()
