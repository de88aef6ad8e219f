"""A record, read back: turns with their ids, and what else was told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeAlias

import msgspec

from codec_agents.exceptions import RecordError
from codec_agents.records.recorded import RecordedRun, RecordedTurn
from codec_agents.records.writer import RECORD_VERSION

READABLE_VERSIONS = (1, RECORD_VERSION)

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is refused on reading: a prompt of a million ids takes 8 MiB."""


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
