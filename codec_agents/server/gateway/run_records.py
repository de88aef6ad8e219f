"""The records of a gateway's conversations, in the format of runs: what `runs`, `trace` and exporters read.

Rules that hold in this file:

- A conversation is one record, and each branch of it is a node with turns of its own. A turn is in the
  record once; the branches that leave the conversation behind it have it in their first prompt, where its ids
  are not sampled ones. So no id is trained on twice.
- A turn is written before its client has the end of the answer. The file is open only for that long: between
  two turns, anyone may read it and annotate it.
- What a client asked not to keep (`store: false`) is in no record, and neither is what continues it.
"""

from __future__ import annotations

import os
import re
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from codec_agents.exceptions import RecordBusyError, RecordError, RecordLostError
from codec_agents.records.continuing import sealed_part
from codec_agents.records.files import open_locked
from codec_agents.records.format import RECORD_VERSION, Chain
from codec_agents.records.header import running_versions, sampling_fields
from codec_agents.records.reader import read_record
from codec_agents.records.writer import encoded, write_line

if TYPE_CHECKING:
    from codec_agents.engines.base import SamplingOptions
    from codec_agents.server.gateway.tree import Node
    from codec_core.frames import SampledValues
    from codec_core.vocabulary import Vocabulary

PIPELINE: Final = "gateway"
"""The name under which the records are listed."""

MODEL: Final = "branch/model"
"""The node of every branch, as the first line declares it."""

_BRANCH: Final = re.compile(r"branch\[([0-9]{1,9})\]/model")

MOST_OPEN: Final = 4096
"""Conversations whose place in their record is known; the record of any other one is read first."""

MOST_ENDS: Final = 256
"""Branches of a conversation that the next turn may continue, by default: the latest ones. Behind an older
one a turn begins a branch, whose first line has the whole prompt."""

MOST_WAITING: Final = 64
"""Turns of one conversation that wait while another process has its record open, by default; further ones
are errors."""

Line: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """The model whose turns are recorded.

    Fields:
        model: the name by which clients call it.
        vocabulary: that of its ids.
        dialect: its family.
        engine: the kind of its engine; None where the back end has none.
        logprob_mode: what the engine computes log probabilities from; None where it is not known.
    """

    model: str
    vocabulary: Vocabulary
    dialect: str
    engine: str | None = None
    logprob_mode: str | None = None

    def header(self) -> Line:
        """Return the fields of a record's first line."""
        mode = {} if self.logprob_mode is None else {"logprob_mode": self.logprob_mode}
        details = {"dialect": self.dialect, "model": self.model, "engine": self.engine}
        node = {"map": self.vocabulary.id, **details, **mode}
        maps = {self.vocabulary.id: self.vocabulary.identity}
        return {"versions": running_versions(), "maps": maps, "nodes": {MODEL: node}, "edges": []}


@dataclass(slots=True, kw_only=True)
class Capture:
    """The part of a turn that only its record has, gathered while it is sampled.

    Fields:
        speaker: the model.
        options: the sampling that the engine got.
        started: when the request was made, in seconds since the epoch.
        frames: the ids as they came, with their instants and their values.
        cached: ids of the prompt that the engine had in its cache; None where it does not say.
    """

    speaker: Speaker
    options: SamplingOptions
    started: float
    frames: list[tuple[float, Sequence[int], SampledValues | None]] = field(default_factory=list)
    cached: int | None = None


@dataclass(slots=True)
class _Place:
    """Where a record ends.

    Fields:
        chain: over its lines.
        length: in bytes.
        started: the instant of its first line, in seconds since the epoch.
        most_ends: branches of which the end is kept.
        ends: the branch and the number of the turn that ends it, by the turn's id, in the order of the turns.
        branches: how many there are.
    """

    chain: Chain
    length: int
    started: float
    most_ends: int
    ends: OrderedDict[str, tuple[int, int]] = field(default_factory=OrderedDict)
    branches: int = 0

    def end(self, branch: int, turn_id: str, number: int) -> None:
        """Note that a branch ends with a turn, for now."""
        self.ends[turn_id] = branch, number
        if len(self.ends) > self.most_ends:
            self.ends.popitem(last=False)


class ConversationRecords:
    """Writes a folder of records, one for each conversation. Threads may share it, and take turns.

    Args:
        folder: the folder; made where it is missing, for its owner alone.
        most_ends: branches of a conversation that the next turn may continue.
        most_waiting: turns of a conversation that wait while another process has its record open.

    Raises:
        RecordError: the folder cannot be made.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, most_ends: int = MOST_ENDS, most_waiting: int = MOST_WAITING
    ) -> None:
        self.folder = Path(folder)
        self._most_ends = most_ends
        self._most_waiting = most_waiting
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise RecordError(
                f"the folder of records {folder} cannot be made: {error.strerror or error}; name another one"
            ) from error
        # A clock that is set while conversations go on would put turns before those that they answer.
        self._epoch = time.time() - time.perf_counter()
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._lock = Lock()
        self._waiting: dict[str, list[tuple[Node, Capture]]] = {}
        """Turns of records that another process was writing, for an annotation, when they came."""

    def now(self) -> float:
        """Return the instant, in seconds since the epoch."""
        return self._epoch + time.perf_counter()

    def path_of(self, conversation: str) -> Path:
        """Return the record of a conversation."""
        return self.folder / f"{conversation}.jsonl"

    def unread(self, conversation: str) -> int:
        """Return how many bytes of a record have to be read before a turn is written to it."""
        path = self.path_of(conversation)
        size = path.stat().st_size if path.exists() else 0
        place = self._places.get(conversation)
        return 0 if place is not None and place.length == size else size

    def prepare(self, conversation: str) -> None:
        """Read a record of an earlier process, or one that was annotated; `write` does if it was not done.

        Raises:
            RecordError: it is no record.
            RecordDamagedError: a line is damaged.
        """
        # Not under the lock: the turns of all other conversations would wait for a long record.
        place = _read(self.path_of(conversation), self._most_ends)
        if place is None:
            return
        with self._lock:
            known = self._places.get(conversation)
            # A turn that was written meanwhile has left a later place.
            if known is None or known.length < place.length:
                self._places[conversation] = place

    def write(self, conversation: str, node: Node, capture: Capture) -> None:
        """Write a turn.

        Args:
            conversation: the name of the conversation.
            node: the turn.
            capture: the frames of its ids, and how they were sampled.

        Raises:
            RecordError: the record cannot be written, or is damaged.
        """
        if any(each.private for each in node.path()):
            return
        with self._lock:
            self._write(conversation, node, capture)

    def _write(self, conversation: str, node: Node, capture: Capture) -> None:
        turns = [*self._waiting.pop(conversation, ()), (node, capture)]
        try:
            self._write_all(conversation, turns)
        # An annotation, which is short. The turns of all other conversations would wait for it as well, and
        # an error would fail a whole answer, so the turn is written with the next one, or at the end.
        except RecordBusyError as error:
            self._waiting[conversation] = turns[: self._most_waiting]
            if len(turns) > self._most_waiting:
                path = self.path_of(conversation)
                raise RecordError(
                    f"another process has had the record {path} open for {self._most_waiting} turns; end it"
                ) from error
        # The client of this turn gets the error. Those of turns that waited have them, so they wait on.
        except BaseException:
            if turns[:-1]:
                self._waiting[conversation] = turns[:-1]
            raise

    def _write_all(self, conversation: str, turns: list[tuple[Node, Capture]]) -> None:
        """Write turns, and take from the list those that are written."""
        path = self.path_of(conversation)
        file = open_locked(path)
        try:
            place = self._place(conversation, file, turns[0][1])
            while turns:
                self._append(file, place, _lines(place, *turns[0]))
                del turns[0]
        except BaseException as error:
            self._places.pop(conversation, None)  # what is in the file is read anew
            if isinstance(error, OSError):
                raise RecordLostError(str(path), error.strerror or str(error)) from error
            raise
        finally:
            os.close(file)

    def close(self) -> None:
        """Write what waits for records that were being annotated.

        Raises:
            RecordError: records cannot be written, or are still being written; those of the other
                conversations are.
        """
        failures: list[RecordError] = []
        for conversation, turns in list(self._waiting.items()):
            # `write` takes the others of the conversation along.
            node, capture = turns.pop()
            try:
                self.write(conversation, node, capture)
            except RecordError as error:
                failures.append(error)
                continue
            if conversation in self._waiting:
                path = self.path_of(conversation)
                failures.append(RecordError(f"the last turns of {path} are not in it: it is being annotated"))
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise RecordError("\n".join(map(str, failures)))

    def _append(self, file: int, place: _Place, lines: Sequence[Line]) -> None:
        sealed = b"".join([place.chain.seal(encoded(line)) for line in lines])
        try:
            # Without a flush, which takes milliseconds, for which all turns would wait.
            write_line(file, sealed, flush=False)
        except OSError:
            # Half a turn would be in the record, and one that waits would be written once more.
            os.ftruncate(file, place.length)
            raise
        place.length += len(sealed)

    def _place(self, conversation: str, file: int, capture: Capture) -> _Place:
        """Return the end of a record, and go there; begin a record that is empty."""
        size = os.lseek(file, 0, os.SEEK_END)
        place = self._places.get(conversation)
        if place is None or place.length != size:  # a turn of an earlier process, or an annotation
            place = _read(self.path_of(conversation), self._most_ends) if size else None
            if place is None:
                place = _Place(Chain(), 0, capture.started, self._most_ends)
            os.ftruncate(file, place.length)  # what a crash left of a last line
            os.lseek(file, place.length, os.SEEK_SET)
            self._places[conversation] = place
        self._places.move_to_end(conversation)
        while len(self._places) > MOST_OPEN:
            self._places.popitem(last=False)
        return place


def _read(path: Path, most_ends: int) -> _Place | None:
    """Return the end of a record; None where not even its first line is whole.

    Raises:
        RecordError: it is no record of a conversation.
        RecordDamagedError: a line is damaged.
    """
    if path.exists() and not path.is_file():  # a pipe would never end
        raise RecordError(f"{path} is no regular file; remove it, or name another folder of records")
    chain, length = sealed_part(path)
    if not length:
        return None
    record = read_record(path)
    started = record.header.get("started")
    branches = [_BRANCH.fullmatch(turn.node) for turn in record.turns]
    if record.header.get("pipeline") != PIPELINE or not isinstance(started, int | float) or None in branches:
        raise RecordError(f"{path} is no record of a gateway's conversation; move it to another folder")
    place = _Place(chain, length, started, most_ends)
    last: dict[int, str] = {}
    for turn, name in zip(record.turns, filter(None, branches), strict=True):
        branch, turn_id = int(name[1]), str(turn.id)
        # A branch ends with its last turn alone: behind an earlier one, a further branch begins.
        place.ends.pop(last.get(branch, ""), None)
        place.end(branch, turn_id, turn.number)
        last[branch] = turn_id
    place.branches = max(last, default=0)
    return place


# --- lines ---


def _lines(place: _Place, node: Node, capture: Capture) -> list[Line]:
    """Return the lines of a turn, and note that it ends its branch."""
    lines = [] if place.length else [_first_line(node, capture)]
    parent = None if node.parent is None else node.parent.nonce.hex()
    # The first turn behind another continues its branch, and takes its end; later ones begin branches.
    before = None if parent is None else place.ends.pop(parent, None)
    if before is None:
        place.branches += 1
    branch, number = (place.branches, 1) if before is None else (before[0], before[1] + 1)
    place.end(branch, node.nonce.hex(), number)
    name = f"branch[{branch}]/model"
    turn = {"node": name, "turn": number}
    if before is not None:
        lines += _tool_lines(place, node, {"node": name, "turn": number - 1}, capture)
    at = round(capture.started - place.started, 6)
    ids: Line = {"kept": node.kept, "ids": node.inserted.tolist()}
    if before is None:
        # `kept` is of the turn before in this branch, which has none; `kept_prefix` of one in another branch.
        ids = {"kept": 0, "ids": node.prompt().tolist(), **({"kept_prefix": node.kept} if node.kept else {})}
    sampling = sampling_fields(capture.options)
    lines.append({"kind": "prompt", **turn, "id": node.nonce.hex(), **ids, "sampling": sampling, "at": at})
    for instant, sampled, values in capture.frames:
        given = {} if values is None else {"values": values}
        at = round(instant - place.started, 6)
        if sampled or given:
            lines.append({"kind": "ids", **turn, "ids": sampled, **given, "at": at})
    # A turn that broke off has no end: its record has it as cut. `at` is by now that of the last frame.
    if not node.partial:
        lines += _end_lines(place, node, turn, capture, at)
    return lines


def _first_line(node: Node, capture: Capture) -> Line:
    root = [*node.path()][-1]
    said = next((message.content for message in root.messages if message.role == "user"), None)
    inputs = {name: text for name, text in (("system", root.system), ("user", said)) if text}
    first = {"kind": "run", "version": RECORD_VERSION, "run_id": root.nonce.hex(), "pipeline": PIPELINE}
    return {**first, "started": capture.started, **capture.speaker.header(), "inputs": inputs}


def _tool_lines(place: _Place, node: Node, turn: Line, capture: Capture) -> list[Line]:
    """Return the results that the client sent for the calls of the turn before, which it ran itself."""
    assert node.parent is not None
    before = node.parent
    starts = [start for lane, start, _ in before.spans if lane == "tool_calls"] or [0]  # spans are optional
    # In the order of the calls; a client may send fewer.
    results = [message.content for message in node.messages if message.role == "tool"]
    at = round(capture.started - place.started, 6)
    # By two clocks, of which one may have been set since.
    seconds = round(max(0.0, capture.started - before.created), 6)
    return [
        {
            "kind": "tool",
            **turn,
            "name": call.name,
            "arguments": call.arguments,
            # Families with common marks around the calls of a turn have one region for several.
            "call": [starts[min(number, len(starts) - 1)], number],
            # A client sends a text, whether its tool failed or not.
            "status": "ok",
            "told": result,
            "seconds": seconds,
            "at": at,
        }
        for number, (call, result) in enumerate(zip(before.turn.calls, results, strict=False))
    ]


def _end_lines(place: _Place, node: Node, turn: Line, capture: Capture, at: float) -> list[Line]:
    first = next((instant for instant, sampled, _ in capture.frames if sampled), None)
    ended = {
        "kind": "turn",
        **turn,
        "reason": node.finish_reason,
        "regions": node.spans,
        # Bytes from the engine, which a back end does not count.
        "bytes": 0,
        "first_id_at": None if first is None else round(first - place.started, 6),
        **({} if capture.cached is None else {"cached": capture.cached}),
        "at": at,
    }
    # Readers join the texts of a sink: the line end keeps turns apart.
    said = {"kind": "text", "sink": turn["node"], "text": f"{node.turn.content}\n", "at": at}
    # An end behind every turn: between two requests the record is complete, and may be the last.
    over = {"kind": "node", "node": turn["node"], "outcome": "finished", "at": at}
    return [ended, *([said] if node.turn.content else []), over, {"kind": "end", "at": at}]
