"""The lines of a sealed record, read one by one and never beyond their bound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from codec_agents.exceptions import RecordDamagedError
from codec_agents.records.format import MAX_LINE_BYTES, BrokenSealError, Chain


def numbered_lines(file: IO[bytes], longest: int = MAX_LINE_BYTES) -> Iterator[tuple[int, bytes]]:
    """Yield the number of each line, from 1, and the line.

    A line above the bound comes in parts, each of which but the last has no newline.
    """
    return enumerate(iter(lambda: file.readline(longest + 1), b""), 1)


def is_torn(line: bytes, longest: int = MAX_LINE_BYTES) -> bool:
    """Return whether a crash cut a line, wherever that was: the newline is its last byte.

    The part of a line above the bound has no newline either, but whole lines may be behind it: to leave it
    out as what a crash left would leave them out as well.
    """
    return not line.endswith(b"\n") and len(line) <= longest


def verify(chain: Chain, line: bytes, path: str | Path, number: int) -> None:
    """Extend a chain by a line of a record.

    Raises:
        RecordDamagedError: The line was changed, or it does not follow the line before.
    """
    try:
        chain.verify(line)
    except BrokenSealError as error:
        raise RecordDamagedError(str(path), number, str(error), None) from error
