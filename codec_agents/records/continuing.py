"""Write on in a record that was cut off: the run repeats what it holds, and only what is new is appended.

One file stays the whole truth about a run, however often its process dies: each recorded id, result and
decision is there once, in one chain of seals.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias, get_args

from codec_agents.events import (
    ContextKnown,
    Decided,
    Event,
    FunctionFinished,
    GenerationFinished,
    GenerationStarted,
    HandoffFinished,
    HistoryDropped,
    IdsSampled,
    NodeFailed,
    NodeFinished,
    Outcome,
    RunFinished,
    RunStarted,
    SinkText,
    ToolFinished,
)
from codec_agents.exceptions import RecordError, ReplayError
from codec_agents.records.compare import first_difference
from codec_agents.records.files import open_locked
from codec_agents.records.format import FIRST_BYTES, MAX_LINE_BYTES, Chain, is_sealed
from codec_agents.records.reader import read_record
from codec_agents.records.recorded import RecordedRun
from codec_agents.records.sealed_lines import is_torn, numbered_lines, verify
from codec_agents.records.writer import Durability, Recorder, checked_durability

Occurrence: TypeAlias = tuple[str, ...]
"""Names lines of a record that say the same, of which there may be several."""


class ContinuedRecorder(Recorder):
    """Appends the events of a run that its record does not hold yet.

    Attributes:
        record: what the file held when it was opened; None where it held no whole line, so that the run
            begins here.
    """

    def __init__(
        self,
        path: str | Path,
        header: Mapping[str, Any],
        *,
        durability: Durability = "os",
        longest: int = MAX_LINE_BYTES,
    ) -> None:
        """Open the record of a run that was cut off, or begin one. Its file is readable by its owner alone.

        The file is locked before it is read: of two processes that go on with a run, one is refused.

        Args:
            path: The file.
            header: The fields of the first line, for a run that begins here.
            durability: Where each line is before the run continues.
            longest: The most bytes of a line.

        Raises:
            RecordError: The record is being written, cannot be opened, or has no seals.
            RecordDamagedError: A line is damaged, or longer.
        """
        # Not the base's, which empties the file. Closed until it is open: `__del__` runs after a failure too.
        self._closed = True
        self._flushes = checked_durability(durability) == "disk"
        self._path, self._place = str(path), str(Path(path).absolute())
        self._header = dict(header)
        self._longest = longest
        self._lost = None
        self._file = open_locked(path)
        try:
            self._chain, length = sealed_part(path, longest)
            self.record = read_record(path) if length else None
            # What a crash left of a last line; only once the lines before it were read without a fault.
            os.ftruncate(self._file, length)
            os.lseek(self._file, 0, os.SEEK_END)
        except BaseException:
            os.close(self._file)
            raise
        self._early = [] if self.record is None else None  # a record that is there has its first line
        self._closed = False
        self._known = None if self.record is None else KnownEvents(self.record)
        self.elapsed = 0.0 if self.record is None else self.record.seconds

    def write(self, event: Event) -> None:
        """Append the line of an event, unless the record has it.

        Raises:
            RecordLostError: A write failed, now or before.
            ReplayError: The run does not repeat what is recorded.
        """
        if self._known is None:
            super().write(event)
        elif isinstance(event, RunStarted):
            # The run has its first line. This one tells readers that a process went on, and in which trace.
            self._append({"kind": "continued", "trace_id": event.trace_id, "at": round(self.elapsed, 6)})
        elif (new := self._known.new_part(event)) is not None:
            super().write(new)

    def write_suspended(self, pause_id: str, calls: Sequence[Mapping[str, Any]], at: float) -> None:
        """Append that the run waits for decisions, unless it waits for the same ones as before.

        Raises:
            RecordLostError: A write failed, now or before.
        """
        # The recorded pause stays: decisions that were given on it while this process ran have to fit.
        waits = None if self.record is None else self.record.waiting
        if waits is None or [call["key"] for call in waits["calls"]] != [call["key"] for call in calls]:
            super().write_suspended(pause_id, calls, at)


def sealed_part(path: str | Path, longest: int = MAX_LINE_BYTES) -> tuple[Chain, int]:
    """Return the chain of the whole lines of a record, and their length in bytes.

    What is behind that length is what a crash left of a last line: the caller may cut it off.

    Args:
        path: The record.
        longest: The most bytes of a line.

    Raises:
        RecordError: The record is of a version without seals, or the file is no record.
        RecordDamagedError: A line is damaged, or longer.
    """
    chain, length = Chain(), 0
    with Path(path).open("rb") as file:
        for number, line in numbered_lines(file, longest):
            # Before the seal: one that is all there but for the newline seals no whole line.
            torn = is_torn(line, longest)
            # Told apart from damage, for its own remedy: new lines would have no chain to continue. The torn
            # first line of a record is told from another file without a newline by how it begins.
            if number == 1 and not (_begins_record(line) if torn else is_sealed(line)):
                raise RecordError(
                    f"{path} is no record with seals, from which a run can go on; recover an old record into "
                    "a new file, or name another file"
                )
            if torn:
                break
            verify(chain, line, path, number)
            length += len(line)
    return chain, length


def _begins_record(line: bytes) -> bool:
    """Return whether a line that was cut off is the beginning of a record's first one."""
    return line[: len(FIRST_BYTES)] == FIRST_BYTES[: len(line)]


class KnownEvents:
    """The events that a record holds, counted off as the run repeats them."""

    def __init__(self, record: RecordedRun) -> None:
        self._turns = {(turn.node, turn.number): turn for turn in record.turns}
        self._sampled: Counter[tuple[str, int]] = Counter()
        """How many recorded ids of each turn were repeated."""
        self._without_ids: Counter[tuple[str, int]] = Counter()
        """The same of its frames that have values alone."""
        self._texts = record.texts()
        """The text of each sink that was not repeated yet."""
        self._functions = {node: list(calls) for node, calls in record.functions.items()}
        self._decided = {node: list(choices) for node, choices in record.decided.items()}
        # Counted, because lines of concurrent nodes come again in another order than the recorded one.
        self._left: Counter[Occurrence] = Counter(_occurrences(record))
        self._checks: Mapping[type, Callable[[Any], Event | None]] = {
            GenerationStarted: self._started,
            IdsSampled: self._ids,
            GenerationFinished: self._finished,
            SinkText: self._text,
            FunctionFinished: self._function,
            Decided: self._decision,
        }

    def new_part(self, event: Event) -> Event | None:
        """Return the part of an event that is not recorded; None if all of it is.

        Raises:
            ReplayError: The event contradicts the record.
        """
        check = self._checks.get(type(event))
        return self._once(event) if check is None else check(event)

    def _started(self, event: GenerationStarted) -> Event | None:
        turn = self._turns.get((event.node, event.turn))
        if turn is None:
            self._goes_on(event.node)
            return event
        position = first_difference(turn.prompt, event.prompt_ids)
        if position is not None:
            # Ids that follow would be those of a prompt that the record does not hold.
            raise ReplayError(
                event.node,
                "the continued run has another prompt than its record; continue with the pipeline, maps, "
                "functions and tools of the record, or recover into a new file",
                turn=event.turn,
                position=position,
            )
        return None

    def _goes_on(self, node: str) -> None:
        """Forget the recorded ends that a new turn is behind, where the run was stopped: they come anew."""
        self._left.pop(("end",), None)
        # Their loops and maps end behind more rounds and items, too.
        around = (node[:place] for place, character in enumerate(node) if character == "[")
        for ended, outcome in product((node, *around), get_args(Outcome)):
            self._left.pop(("node", ended, outcome), None)

    def _ids(self, event: IdsSampled) -> Event | None:
        turn = self._turns.get((event.node, event.turn))
        if turn is None:
            return event
        # A frame with values and no ids: some engines send one at the end of a request, for its whole answer.
        # Counted, as it has no position: repeated frames come before the new ones of a turn that was cut.
        if not event.ids:
            self._without_ids[event.node, event.turn] += 1
            again = self._without_ids[event.node, event.turn] <= turn.batches.count([])
            return None if again else event
        before = self._sampled[event.node, event.turn]
        recorded = turn.generated[before : before + len(event.ids)]
        self._sampled[event.node, event.turn] += len(event.ids)
        if not recorded:
            return event
        if list(event.ids) != recorded:
            # Recorded frames are repeated one by one, so no frame is part old and part new.
            raise ReplayError(
                event.node, "its answer differs from the record", turn=event.turn, position=before
            )
        return None

    def _finished(self, event: GenerationFinished) -> Event | None:
        turn = self._turns.get((event.node, event.turn))
        return None if turn is not None and turn.complete else event

    def _text(self, event: SinkText) -> Event | None:
        known = self._texts.get(event.sink, "")
        shared = min(len(known), len(event.text))
        if known[:shared] != event.text[:shared]:
            raise ReplayError(event.sink, "the text of this sink differs from the record")
        self._texts[event.sink] = known[shared:]
        rest = event.text[shared:]
        return SinkText(event.sink, rest, event.at) if rest else None

    def _function(self, event: FunctionFinished) -> Event | None:
        if not (known := self._functions.get(event.node)):
            return event
        if known.pop(0)["given"] != event.given:
            raise ReplayError(event.node, "its function has other arguments than in the record")
        return None

    def _decision(self, event: Decided) -> Event | None:
        known = self._decided.get(event.node, [])
        again = len(known[: len(event.choices)])
        if known[:again] != list(event.choices[:again]):
            raise ReplayError(event.node, "another order of arrival decided than in the record")
        del known[:again]
        return Decided(event.node, event.choices[again:], event.at) if event.choices[again:] else None

    def _once(self, event: Event) -> Event | None:
        name = _name(event)
        if name is None or self._left[name] <= 0:
            return event
        self._left[name] -= 1
        return None


def _name(event: Event) -> Occurrence | None:
    """Return what lines of the same content share, for events of which each has one line."""
    # Instants are in no name: they differ each time. Events without a name are written each time.
    match event:
        case ToolFinished():
            call = event.attempt.call  # by its place: a model may make the same call twice in a turn
            return "tool", event.node, str(event.turn), str(call.start), str(call.index)
        case ContextKnown():
            return "context", event.node, str(event.turn), str(event.ids)
        case HistoryDropped():
            return "dropped", event.node, str(event.turn)
        case HandoffFinished():
            return "handoff", event.report.source, event.report.target
        case NodeFinished():
            return "node", event.node, event.outcome
        case NodeFailed():
            return "node", event.node, "failed"
        case RunFinished():
            return ("end",)
    return None


def _occurrences(record: RecordedRun) -> list[Occurrence]:
    """Return the name of each recorded line that `_name` can name."""
    found: list[Occurrence] = [("end",)] if record.complete else []
    # Of turns the reader keeps no lines: their ends and their ids are counted off by `KnownEvents` itself.
    for turn in record.turns:
        for tool in turn.tools:
            start, index = tool["call"]
            found.append(("tool", turn.node, str(turn.number), str(start), str(index)))
    for line in record.lines:
        match line["kind"]:
            case "handoff":
                found.append(("handoff", line["source"], line["target"]))
            case "context":
                found.append(("context", line["node"], str(line["turn"]), str(line["ids"])))
            case "dropped":
                found.append(("dropped", line["node"], str(line["turn"])))
            case "node":
                found.append(("node", line["node"], line["outcome"]))
    return found
