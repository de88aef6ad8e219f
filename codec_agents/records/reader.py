"""Read a record back: its turns with their ids, and its other lines, up to the first damage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, TypeAlias

import msgspec

from codec_agents.exceptions import RecordDamagedError, RecordError
from codec_agents.records.format import (
    FIRST_SEALED_VERSION,
    MAX_LEVELS,
    MAX_LINE_BYTES,
    RECORD_VERSION,
    BrokenSealError,
    Chain,
    is_sealed,
)
from codec_agents.records.lines import (
    LINES,
    DecidedLine,
    EndLine,
    FunctionLine,
    IdsLine,
    Instant,
    PromptLine,
    RunLine,
    ToolLine,
    TurnLine,
)
from codec_agents.records.recorded import RecordedRun, RecordedTurn
from codec_agents.references.missing_files import searched
from codec_agents.strict_json import depth_of
from codec_core.exceptions import DECODE_ERRORS
from codec_core.frames.values import count_fault

READABLE_VERSIONS = (1, 2, RECORD_VERSION)

_NO_RECORD = "is not a record of a run: its first line does not say so; name a file that a run recorded"

Line: TypeAlias = dict[str, Any]


class _BadLineError(Exception):
    """A line cannot be used; the message says why."""


def read_record(path: str | Path) -> RecordedRun:
    """Read a record. A last line without its line end, which a crash leaves, is left out.

    Raises:
        RecordError: The file cannot be read, or is no record of a known version.
        RecordDamagedError: A line is damaged; the error holds the run as recorded before that line.
    """
    try:
        with Path(path).open("rb") as file:
            return _Reading(path, file).run()
    except FileNotFoundError as error:
        raise RecordError(f"cannot read the record {path}: no such file{searched(Path(path))}") from error
    except OSError as error:
        raise RecordError(f"cannot read the record {path}: {error.strerror or error}") from error


class _Reading:
    """One pass over a file."""

    def __init__(self, path: str | Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        self._number = 0
        self._chain: Chain | None = None

    def run(self) -> RecordedRun:
        run: RecordedRun | None = None
        try:
            run = self._begin()
            turns: OpenTurns = {}
            while (line := self._next()) is not None:
                self._verify(line)
                _add(run, turns, line)
        except _BadLineError as error:
            raise RecordDamagedError(str(self._path), self._number, str(error), run) from error
        return run

    def _begin(self) -> RecordedRun:
        line = self._next()
        if line is None:  # no damage: a process can die before its first line is whole
            raise RecordError(
                f"{self._path} has no whole line: the run was cut off before it began; run it anew"
            )
        # By the seal and not by the version, which a damaged line cannot be asked for.
        if is_sealed(line):
            self._chain = Chain()
        elif not _is_header(line):
            raise RecordError(f"{self._path} {_NO_RECORD}")
        self._verify(line)
        document = _decoded(line, _as_document)
        if document.get("kind") != "run":
            raise RecordError(f"{self._path} {_NO_RECORD}")
        version = document.get("version")
        if version not in READABLE_VERSIONS:
            known = ", ".join(map(str, READABLE_VERSIONS))
            raise RecordError(f"{self._path} has record version {version!r}; this reads {known}")
        if self._chain is None and version >= FIRST_SEALED_VERSION:
            raise _BadLineError("it has no checksum")  # else a cut seal would switch off all checks
        _decoded(line, DECODERS["run"])
        _check_levels(document)
        return RecordedRun(header=_unsealed(document), path=Path(self._path))

    def _next(self) -> bytes | None:
        """Return the next whole line."""
        line = self._file.readline(MAX_LINE_BYTES + 1)
        self._number += bool(line)
        if len(line) > MAX_LINE_BYTES:
            raise _BadLineError(f"it is longer than {MAX_LINE_BYTES} bytes")
        return line if line.endswith(b"\n") else None

    def _verify(self, line: bytes) -> None:
        if self._chain is not None:
            try:
                self._chain.verify(line)
            except BrokenSealError as error:
                raise _BadLineError(str(error)) from error
        elif is_sealed(line):
            # Versions without seals have none; so it is the first line that was damaged.
            raise _BadLineError("it has a checksum, and the first line has none")


class _AnyLine(msgspec.Struct):
    """The field that every line has, and the one that lines of all kinds are read for."""

    kind: str
    at: Instant = 0.0


_as_document = msgspec.json.Decoder(dict[str, Any]).decode
_as_any_line = msgspec.json.Decoder(_AnyLine).decode
DECODERS: Mapping[str, Callable[[bytes], Any]] = {
    kind: msgspec.json.Decoder(fields).decode for kind, fields in {"run": RunLine, **LINES}.items()
}
"""By kind: decode a line into its checked fields."""


def _decoded(line: bytes, decode: Callable[[bytes], Any]) -> Any:
    try:
        return decode(line)
    # The decoder recurses into nested values, and gives up at the interpreter's limit.
    except DECODE_ERRORS as error:
        raise _BadLineError(f"it is not a line of a record: {error}") from error


def _check_levels(value: Any) -> None:
    """Refuse what could be read, and not be shown or written again."""
    if depth_of(value, MAX_LEVELS) > MAX_LEVELS:
        raise _BadLineError(f"it is nested deeper than {MAX_LEVELS} levels")


def _is_header(line: bytes) -> bool:
    try:
        return bool(_decoded(line, _as_any_line).kind == "run")
    except _BadLineError:
        return False


def _unsealed(document: Line) -> Line:
    """Return a line without its seal."""
    return {name: value for name, value in document.items() if name not in ("sum", "chain")}


# --- what each kind of line adds ---

OpenTurns: TypeAlias = dict[str, RecordedTurn]
"""The latest turn of each node."""


def _add(run: RecordedRun, turns: OpenTurns, line: bytes) -> None:
    kind = _decoded(line, _as_any_line).kind
    if kind == "run":
        raise _BadLineError("it is a second first line")
    fields = _decoded(line, DECODERS[kind]) if kind in DECODERS else None
    if (reader := READERS.get(kind)) is None:
        document = _decoded(line, _as_document)
        _check_levels(document)
        run.lines.append(_unsealed(document))
    else:
        reader(run, turns, fields)


def _prompt(run: RecordedRun, turns: OpenTurns, line: PromptLine) -> None:
    before = turns.get(line.node)
    # Each check names a place that a slice would cut off in silence.
    known = before.prompt_length + len(before.generated) if before else 0
    if line.kept > known:
        raise _BadLineError(f"it keeps {line.kept} ids of a turn that has {known}")
    length = line.kept + len(line.ids)
    if line.kept_prefix > length:
        raise _BadLineError(f"it keeps {line.kept_prefix} ids of an earlier run, and has {length}")
    if any(start > stop or stop > length for start, stop in line.results):
        raise _BadLineError("a result lies outside its prompt")
    _check_levels(line.sampling)
    turn = RecordedTurn(
        line.node,
        line.turn,
        line.ids,
        line.kept or line.kept_prefix,  # a line has one of them; the ids of the second are in the line itself
        line.results,
        started=line.at,
        id=line.id,
        sampling=line.sampling,
        before=before if line.kept else None,
        shared=line.kept,
    )
    turns[line.node] = turn
    run.complete = False  # a conversation goes on behind the end of a turn
    run.turns.append(turn)


def _open_turn(turns: OpenTurns, line: IdsLine | TurnLine) -> RecordedTurn:
    turn = turns.get(line.node)
    if turn is None or turn.number != line.turn or turn.complete:
        raise _BadLineError(f"it is of turn {line.turn} of node {line.node!r}, which is not under way")
    return turn


def _ids(_: RecordedRun, turns: OpenTurns, line: IdsLine) -> None:
    turn = _open_turn(turns, line)
    values = None if line.values is None else line.values.read()
    # Before the turn is changed: the error holds what came before this line.
    if values is not None and (fault := count_fault(values, len(line.ids))) is not None:
        raise _BadLineError(fault)
    turn.generated += line.ids
    turn.batches.append(line.ids)
    turn.values.append(values)
    turn.times.append(line.at)


def _turn(_: RecordedRun, turns: OpenTurns, line: TurnLine) -> None:
    turn = _open_turn(turns, line)
    if any(start > stop or stop > len(turn.generated) for _, start, stop in line.regions):
        raise _BadLineError("a lane lies outside the generated ids")
    turn.finish_reason, turn.complete = line.reason, True
    turn.first_id, turn.ended, turn.bytes_received = line.first_id_at, line.at, line.bytes
    turn.regions = line.regions
    turn.cached, turn.engine = line.cached, line.engine


def _tool(run: RecordedRun, turns: OpenTurns, line: ToolLine) -> None:
    _check_levels(line.arguments)
    document = {"kind": "tool", **msgspec.structs.asdict(line)}
    turn = turns.get(line.node)
    # Of a node without a turn before it, it is kept as lines are that nothing here reads.
    (run.lines if turn is None else turn.tools).append(document)


def _function(run: RecordedRun, _: OpenTurns, line: FunctionLine) -> None:
    _check_levels(line.gave)
    run.functions.setdefault(line.node, []).append({"given": line.given, "gave": line.gave})


def _decided(run: RecordedRun, _: OpenTurns, line: DecidedLine) -> None:
    run.decided.setdefault(line.node, []).extend(line.choices)


def _end(run: RecordedRun, _: OpenTurns, __: EndLine) -> None:
    run.complete = True


READERS: Mapping[str, Callable[[RecordedRun, OpenTurns, Any], None]] = {
    "prompt": _prompt,
    "ids": _ids,
    "turn": _turn,
    "tool": _tool,
    "function": _function,
    "decided": _decided,
    "end": _end,
}
"""The kinds of lines that are read into fields of the run; other lines are kept as they are."""
