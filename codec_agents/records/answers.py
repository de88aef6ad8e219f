"""Answer a pause once: the record of its run holds which pauses were answered."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from codec_agents.exceptions import PauseError, RecordError
from codec_agents.records.files import lock
from codec_agents.records.format import MAX_LINE_BYTES, BrokenSealError, Chain
from codec_agents.records.lines import AnsweredLine, RunLine
from codec_agents.records.writer import RecordPlace, encoded, write_line


def claim_answer(place: RecordPlace, run_id: str, pause_id: str) -> None:
    """Append to the record of a run that a pause of it is answered. It is on the disk when this returns.

    Args:
        place: The record when the run was paused.
        run_id: The run.
        pause_id: The pause.

    Raises:
        PauseError: The record is not there, is another one, or says that the pause was answered already.
        RecordError: The record is being written, or is damaged.
    """
    try:
        descriptor = os.open(place.path, os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise PauseError(
            f"the record of the paused run cannot be opened at {place.path}: {error.strerror or error}; "
            "a pause is answered where its record is, which keeps it from being answered twice"
        ) from error
    try:
        # The lock covers reading and appending: of two processes with the same pause one comes second.
        lock(descriptor, place.path)
        chain = _checked(place, run_id, pause_id)
        line = {"kind": "answered", "pause": pause_id}
        write_line(descriptor, chain.seal(encoded(line)), flush=True)
    except OSError as error:
        raise RecordError(f"cannot write the record {place.path}: {error.strerror or error}") from error
    finally:
        os.close(descriptor)


def _checked(place: RecordPlace, run_id: str, pause_id: str) -> Chain:
    """Return the chain of the whole record, in which the pause has its place and no answer."""
    chain, has_place = Chain(), False
    with Path(place.path).open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), 1):
            try:
                chain.verify(line)
            except BrokenSealError as error:
                raise RecordError(f"{place.path}:{number}: the record is damaged: {error}") from error
            if number == 1 and _run_id(line) != run_id:
                raise PauseError(f"{place.path} is the record of another run than the paused one")
            if _answered(line) == pause_id:
                raise PauseError(
                    f"the pause was answered already, says {place.path}; a pause is answered once, so that "
                    "what was approved happens once"
                )
            has_place = has_place or chain.value == place.chain
    if not has_place:
        raise PauseError(f"{place.path} does not hold the run up to its pause: it was cut or replaced")
    return chain


def _run_id(line: bytes) -> str | None:
    try:
        return msgspec.json.decode(line, type=RunLine).run_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class _KindLine(AnsweredLine, tag_field="kind", tag="answered"):
    """An answer, told from other lines by its kind."""


def _answered(line: bytes) -> str | None:
    if b'"answered"' not in line:  # decoding every line of a long record takes ten times as long
        return None
    try:
        return msgspec.json.decode(line, type=_KindLine).pause
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
