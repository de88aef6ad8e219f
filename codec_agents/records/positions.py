"""The positions of a record at which a run can be said to stand: finished turns, finished calls, pauses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from codec_agents.exceptions import RecordDamagedError
from codec_agents.records.format import MAX_LINE_BYTES, Chain
from codec_agents.records.reader import DECODERS
from codec_agents.records.sealed_lines import is_torn, numbered_lines, verify
from codec_core.exceptions import DECODE_ERRORS

KINDS = ("turn", "tool", "suspended")
_MARKS = tuple(b'"kind":"%s"' % kind.encode() for kind in KINDS)


class _AnyLine(msgspec.Struct):
    """The field that every line has."""

    kind: str


_decode_kind = msgspec.json.Decoder(_AnyLine).decode


@dataclass(slots=True)
class Position:
    """One position.

    Fields:
        kind: `turn`, `tool` or `suspended`.
        name: what stands there, for people.
        chain: the chained hash of the record up to it.
        pause: for `suspended`: the pause.
    """

    kind: str
    name: str
    chain: str
    pause: str = ""


def position_of(line: Mapping[str, Any], chain: str) -> Position | None:
    """Return the position of a line; None for lines that are none.

    Args:
        line: The fields of the line.
        chain: The chain up to it.
    """
    match line["kind"]:
        case "turn":
            return Position("turn", f"{line['node']}: turn {line['turn']}", chain)
        case "tool":
            return Position("tool", f"{line['node']}: {line['name']} in turn {line['turn']}", chain)
        case "suspended":
            return Position("suspended", "waits", chain, pause=line["pause"])
    return None


def positions_of(path: str | Path, longest: int = MAX_LINE_BYTES) -> list[Position]:
    """Return the positions that a record holds, in order; none where there is no file.

    Args:
        path: The record.
        longest: The most bytes of a line.

    Raises:
        RecordDamagedError: A line is damaged, or longer.
        OSError: The file cannot be read.
    """
    found: list[Position] = []
    if not Path(path).exists():
        return found
    chain = Chain()
    with Path(path).open("rb") as file:
        for number, line in numbered_lines(file, longest):
            if is_torn(line, longest):
                break
            verify(chain, line, path, number)
            if any(mark in line for mark in _MARKS):  # decoding every line takes ten times as long
                try:
                    position = _position_in(line, chain.value)
                except DECODE_ERRORS as error:
                    raise RecordDamagedError(str(path), number, str(error), None) from error
                found += [] if position is None else [position]
    return found


def _position_in(line: bytes, chain: str) -> Position | None:
    kind = _decode_kind(line).kind
    if kind not in KINDS:  # a text in it spells one of the marks
        return None
    return position_of({"kind": kind, **msgspec.structs.asdict(DECODERS[kind](line))}, chain)
