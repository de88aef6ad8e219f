"""Append lines to the record of a run that is over: answers to its pauses, and annotations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from codec_agents.exceptions import RecordError
from codec_agents.records.files import BINARY, lock
from codec_agents.records.format import Chain
from codec_agents.records.sealed_lines import numbered_lines, verify
from codec_agents.records.writer import LongLineError, annotation, sealed_line, write_line

SealedLines: TypeAlias = Iterator[tuple[bytes, str]]
"""Each line of a record, and the chained hash after it."""


def append_line(
    path: str | Path, line: Mapping[str, Any], check: Callable[[SealedLines], None] | None = None
) -> None:
    """Append a line to a sealed record. It is on the disk when this returns.

    The record is locked while it is checked and extended: of two processes, one comes second and sees the
    line of the other.

    Args:
        path: The record.
        line: The fields of the line.
        check: Reads all lines before the new one is written, and refuses by raising.

    Raises:
        OSError: The file cannot be opened.
        RecordError: The record is being written, or cannot be written.
        RecordDamagedError: A line is damaged, or the record is of a version without seals.
        Exception: Raised by `check`; nothing is written then.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | BINARY)
    try:
        lock(descriptor, path)
        # Read under the lock: no other process appends between the check and the new line.
        chain = Chain()
        lines = _verified(path, chain)
        if check is not None:
            check(lines)
        for _ in lines:  # the rest: the new line continues the chain of the last one
            pass
        try:
            write_line(descriptor, sealed_line(chain, dict(line)), flush=True)
        except (OSError, LongLineError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RecordError(f"cannot write the record {path}: {reason}") from error
    finally:
        os.close(descriptor)


def annotate(path: str | Path, fields: Mapping[str, Any]) -> None:
    """Append an annotation to the record of a run, such as a grade; `RecordedRun.annotations` has it.

    Args:
        path: The record.
        fields: Names and values that JSON can hold.

    Raises:
        RecordError: The record cannot be opened, is being written, or is damaged; a value is NaN or infinite.
    """
    note = annotation(fields)
    try:
        append_line(path, note)
    except OSError as error:  # of opening it alone: a failed write is a `RecordError` by then
        raise RecordError(f"cannot open the record {path}: {error.strerror or error}") from error


def _verified(path: str | Path, chain: Chain) -> SealedLines:
    with Path(path).open("rb") as file:
        for number, line in numbered_lines(file):
            verify(chain, line, path, number)  # a torn line is damage here: no line can be put behind it
            yield line, chain.value
