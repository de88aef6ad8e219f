"""Answer a pause once: the record of its run holds which pauses were answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from codec_agents.exceptions import PauseError, RecordError
from codec_agents.records.appending import SealedLines, append_line
from codec_agents.records.lines import AnsweredLine, RunLine
from codec_agents.records.reader import read_record
from codec_agents.records.writer import RecordPlace
from codec_core.exceptions import DECODE_ERRORS


def claim_answer(place: RecordPlace, run_id: str, pause_id: str) -> None:
    """Append to the record of a run that a pause of it is answered. It is on the disk when this returns.

    Args:
        place: The position in the record when the run was paused.
        run_id: The run.
        pause_id: The pause.

    Raises:
        PauseError: The record is missing, is of another run, or holds an answer already.
        RecordError: The record is being written, or is damaged.
    """

    # Under the lock of the record: of two answers given at once, the second one sees the first.
    def check(lines: SealedLines) -> None:
        first, chain = next(lines, (b"", ""))
        if _run_id(first) != run_id:
            raise PauseError(f"{place.path} is the record of another run than the paused one")
        has_place = chain == place.chain
        for line, chain in lines:
            if _answered(line) == pause_id:
                raise PauseError(
                    f"the pause was answered already, says {place.path}; a pause is answered once, so that "
                    "what was approved happens once"
                )
            has_place = has_place or chain == place.chain
        if not has_place:
            raise PauseError(f"{place.path} does not hold the run up to its pause: it was cut or replaced")

    try:
        append_line(place.path, {"kind": "answered", "pause": pause_id}, check)
    except OSError as error:
        raise PauseError(
            f"the record of the paused run cannot be opened at {place.path}: {error.strerror or error}; "
            "a pause is answered where its record is, which keeps it from being answered twice"
        ) from error


def answer(path: str | Path, decisions: Mapping[str, bool | str]) -> None:
    """Append the decisions on the calls that a suspended run waits for. It is on the disk when this returns.

    `Pipeline.run_or_recover` then goes on with them.

    Args:
        path: The record of the run.
        decisions: By the key of each waiting call: yes, no, or no with words for the model.

    Raises:
        PauseError: The run waits for no decision, or the decisions are not those that it waits for.
        RecordError: The record cannot be read, or is being written.
    """
    record = read_record(path)
    waits = record.waiting
    if waits is None:
        raise PauseError(f"the run that {path} records waits for no decision")
    check_decisions(waits["calls"], decisions, f"the run that {path} records")

    # Again, under the lock: another answer, or another record, may have come since this one was read.
    def check(lines: SealedLines) -> None:
        first, _ = next(lines, (b"", ""))
        if _run_id(first) != record.header.get("run_id"):
            raise PauseError(f"{path} has become the record of another run; look at it again")
        if any(_answered(line) == waits["pause"] for line, _ in lines):
            raise PauseError(f"the pause was answered already, says {path}")

    line = {"kind": "answered", "pause": waits["pause"], "decisions": dict(decisions)}
    try:
        append_line(path, line, check)
    except OSError as error:  # gone by now: the error that `read_record` has
        raise RecordError(f"cannot open the record {path}: {error.strerror or error}") from error


def check_decisions(
    calls: Iterable[Mapping[str, Any]], decisions: Mapping[str, bool | str], run: str
) -> None:
    """Check that decisions are those that a run waits for, and such that its record can hold them.

    Args:
        calls: The waiting calls, by `key`.
        decisions: By the key of a call.
        run: Names the run in errors.

    Raises:
        PauseError: A call has none, a decision is on another call, or is neither yes, no nor words.
    """
    keys = [call["key"] for call in calls]
    if set(keys) != set(decisions):
        raise PauseError(f"{run} waits for a decision on each of: {', '.join(keys)}; and on no other call")
    for key, decision in decisions.items():
        if not isinstance(decision, bool | str):
            raise PauseError(
                f"the decision on {key} is {decision!r:.100}; give true, false or words for the model"
            )


def _run_id(line: bytes) -> str | None:
    try:
        return msgspec.json.decode(line, type=RunLine).run_id
    except DECODE_ERRORS:
        return None


class _KindLine(AnsweredLine, tag_field="kind", tag="answered"):
    """An answer, told from other lines by its kind."""


def _answered(line: bytes) -> str | None:
    if b'"answered"' not in line:  # decoding every line of a long record takes ten times as long
        return None
    try:
        return msgspec.json.decode(line, type=_KindLine).pause
    except DECODE_ERRORS:
        return None
