"""Write the record of a run: an append-only file for replays, comparisons and training.

Rules:

- Every token id of a model is written once: a prompt as the ids that it adds to the turn before, an answer as
  it was sampled, frame by frame.
- A line is handed to the operating system whole, before the next frame is read. A crash of the process costs
  at most the line that was being written; `read_record` leaves such a line out.
- A write that failed ends the run, and nothing is written after it: what follows could not be read.
- No line is longer than readers take, and none is changed once it is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import msgspec

from codec_agents.events import (
    ContextKnown,
    Decided,
    EngineReport,
    Event,
    FunctionFinished,
    GenerationFinished,
    GenerationStarted,
    HandoffFinished,
    HistoryDropped,
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
from codec_agents.records.files import create
from codec_agents.records.format import MAX_LEVELS, MAX_LINE_BYTES, RECORD_VERSION, Chain
from codec_agents.strict_json import depth_of, is_finite

if TYPE_CHECKING:
    from codec_agents.tools.calls import Attempt

Durability: TypeAlias = Literal["os", "disk"]
"""Where a line is before the run continues: with the operating system, which survives a crash of the process,
or on the disk, which survives a power cut and costs a flush per line."""

_encode = msgspec.json.Encoder(enc_hook=str).encode


def _error(error: BaseException) -> dict[str, str]:
    return {"type": type(error).__name__, "message": str(error)}


def _reported(engine: EngineReport) -> dict[str, Any]:
    """Return what an engine reported of a turn; what it did not report has no field."""
    found: dict[str, Any] = {} if engine.cached_ids is None else {"cached": engine.cached_ids}
    times = {"queue": engine.queue, "prefill": engine.prefill, "first_id": engine.first_id}
    known = {name: seconds for name, seconds in times.items() if seconds is not None}
    return {**found, "engine": known} if known else found


def _attempt(attempt: Attempt) -> dict[str, Any]:
    call = attempt.call
    # What the model read, and not what the tool returned: a replay writes the same prompt from it.
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


def _prompt_ids(event: GenerationStarted) -> dict[str, Any]:
    kept = event.kept_prefix
    if event.turn > 1:
        return {"kept": kept, "ids": event.prompt_ids[kept:]}
    # What a first turn keeps is of an earlier run, and in that run's record: this one has to hold it as well.
    earlier = {"kept_prefix": kept} if kept else {}
    return {"kept": 0, "ids": event.prompt_ids, **earlier}


LINES: Mapping[type, Callable[[Any], dict[str, Any]]] = {
    GenerationStarted: lambda e: {
        "kind": "prompt",
        "node": e.node,
        "turn": e.turn,
        **_prompt_ids(e),
        **({"results": e.results} if e.results else {}),
    },
    IdsSampled: lambda e: {
        "kind": "ids",
        "node": e.node,
        "turn": e.turn,
        "ids": e.ids,
        **({} if e.values is None else {"values": e.values}),
    },
    GenerationFinished: lambda e: {
        "kind": "turn",
        "node": e.node,
        "turn": e.turn,
        "reason": e.finish_reason,
        "regions": e.regions,
        "bytes": e.bytes_received,
        "first_id_at": e.first_id_at,
        **_reported(e.engine),
    },
    ContextKnown: lambda e: {"kind": "context", "node": e.node, "turn": e.turn, "ids": e.ids},
    HistoryDropped: lambda e: {
        "kind": "dropped",
        "node": e.node,
        "turn": e.turn,
        "policy": e.policy,
        "before": e.before,
        "after": e.after,
        "dropped": e.dropped,
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
        # A count that the engine does not report is left out: readers of every version take absent counts.
        "usage": {
            name: count for name, count in msgspec.structs.asdict(e.usage).items() if count is not None
        },
        **({"probabilities": e.probabilities} if e.probabilities else {}),
    },
    NodeFailed: lambda e: {"kind": "node", "node": e.node, "outcome": "failed", "error": _error(e.error)},
    RunFinished: lambda _: {"kind": "end"},
}
"""The line of each event; the other events repeat what these say."""


class LongLineError(Exception):
    """A line is longer than a record can hold."""


class RecordPlace(msgspec.Struct, frozen=True):
    """A position in a record: the file, and the chained hash of its lines up to there."""

    path: str
    chain: str


class Recorder:
    """Writes a run to a file as it happens.

    Attributes:
        elapsed: seconds of the run that the file held before this recorder wrote to it.
        noted: called with the fields of each line after it was written, and the chain up to it.
    """

    elapsed: float = 0.0
    noted: Callable[[Mapping[str, Any], str], None] | None = None

    def __init__(
        self,
        path: str | Path,
        header: Mapping[str, Any],
        *,
        durability: Durability = "os",
        sources: Iterable[str | Path] = (),
        longest: int = MAX_LINE_BYTES,
    ) -> None:
        """Create the file, readable by its owner alone.

        Args:
            path: The file; one that exists loses its content.
            header: The fields of the first line besides those of the run: inputs, maps and hashes, versions.
            durability: Where each line is before the run continues.
            sources: Records that the run reads, none of which may be this file.
            longest: The most bytes of a line.

        Raises:
            RecordError: The file cannot be written, is a source, or another run is writing it.
        """
        self._closed = True  # until the file is open: `__del__` runs after a failure too
        self._flushes = checked_durability(durability) == "disk"
        self._file = create(path, sources)
        self._path = str(path)
        self._place = str(Path(path).absolute())
        self._header = dict(header)
        self._longest = longest
        self._chain = Chain()
        self._lost: RecordLostError | None = None
        self._early: list[dict[str, Any]] | None = []
        """Annotations that came before the first line; None once that is written."""
        self._closed = False

    def __del__(self) -> None:
        # A run that is made and never entered has no end that would close its record.
        self.close()

    @property
    def place(self) -> RecordPlace:
        """The file and the chained hash of what is written by now."""
        return RecordPlace(self._place, self._chain.value)

    def write(self, event: Event) -> None:
        """Append the line of an event, if it has one.

        Raises:
            RecordLostError: A write failed, now or before.
        """
        if isinstance(event, RunStarted):
            first = {
                "kind": "run",
                "version": RECORD_VERSION,
                "run_id": event.run_id,
                "pipeline": event.pipeline,
                "trace_id": event.trace_id,
            }
            self._append({**first, **self._header})
            self._append_early()
        elif (line := LINES.get(type(event))) is not None:
            # Microseconds: the other digits of a clock would only make each line longer.
            self._append({**line(event), "at": round(event.at, 6)})

    def _append_early(self) -> None:
        notes, self._early = self._early, None
        for note in notes or ():
            self._append(note)

    def write_suspended(self, pause_id: str, calls: Sequence[Mapping[str, Any]], at: float) -> None:
        """Append that the run waits for decisions, and on which calls.

        Raises:
            RecordLostError: A write failed, now or before.
        """
        self._append({"kind": "suspended", "pause": pause_id, "calls": list(calls), "at": round(at, 6)})

    def _append(self, line: dict[str, Any]) -> None:
        if self._lost is not None:  # a part of a line may be there: what follows could not be read
            raise self._lost
        try:
            write_line(self._file, sealed_line(self._chain, line, self._longest), flush=self._flushes)
        except (OSError, LongLineError) as error:
            self._lost = RecordLostError(self._path, getattr(error, "strerror", None) or str(error))
            raise self._lost from error
        if self.noted is not None:
            self.noted(line, self._chain.value)

    def annotate(self, fields: Mapping[str, Any]) -> None:
        """Append an annotation while the file is open; one that comes before the first line follows it.

        Raises:
            RecordError: A value is NaN or infinite.
            RecordLostError: A write failed, now or before.
        """
        note = annotation(fields)
        if self._early is None:
            self._append(note)
        else:
            self._early.append(note)

    @property
    def closed(self) -> bool:
        """True when the run is over; `appending.annotate` adds to its record then."""
        return self._closed

    def close(self) -> None:
        """Close the file, which lets another run write it.

        Raises:
            RecordLostError: Lines that were written before are lost.
        """
        if self._closed:
            return
        self._closed = True
        try:
            os.close(self._file)
        except OSError as error:  # file systems of a network report here what they could not write
            raise RecordLostError(self._path, error.strerror or str(error)) from error


def checked_durability(durability: Durability) -> Durability:
    """Return a durability.

    Raises:
        RecordError: It is none.
    """
    if durability not in get_args(Durability):
        raise RecordError(f"there is no durability {durability!r}; give 'os' or 'disk'")
    return durability


def annotation(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the line of an annotation.

    Raises:
        RecordError: A value is NaN or infinite, or nested too deep to be read again.
    """
    if depth_of(dict(fields), MAX_LEVELS) >= MAX_LEVELS:  # the line is a level more
        raise RecordError(f"an annotation is nested deeper than {MAX_LEVELS - 1} levels; give a flatter one")
    if not is_finite(dict(fields)):  # JSON would hold null in its place
        raise RecordError("an annotation holds NaN or an infinity, which JSON lacks; give a number or null")
    return {"kind": "annotation", "fields": dict(fields)}


def encoded(line: dict[str, Any]) -> bytes:
    """Return a line as JSON. Lone surrogates, which UTF-8 cannot hold, become U+FFFD."""
    try:
        return _encode(line)
    except UnicodeEncodeError:
        return _encode(_without_surrogates(line))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, Mapping):
        return {_without_surrogates(key): _without_surrogates(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(entry) for entry in value]
    return value


def sealed_line(chain: Chain, line: dict[str, Any], longest: int = MAX_LINE_BYTES) -> bytes:
    """Return a line as a record holds it.

    Raises:
        LongLineError: no reader would take it, and none that follows it.
    """
    made = chain.seal(encoded(line))
    if len(made) > longest:
        raise LongLineError(f"a line of {len(made)} bytes is longer than the {longest} that are read")
    return made


def write_line(descriptor: int, line: bytes, *, flush: bool) -> None:
    """Write a whole line, unbuffered: what could not be written is not tried again on closing.

    Raises:
        OSError: The file takes no more.
    """
    left = memoryview(line)
    while left:
        left = left[os.write(descriptor, left) :]
    if flush:
        os.fsync(descriptor)
