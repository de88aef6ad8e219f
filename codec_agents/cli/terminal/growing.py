"""One line that grows in place while something takes long."""

from __future__ import annotations

import sys
from typing import IO, Self

from codec_agents.display.escape import escape_line

CLEAR = "\r\x1b[K"
"""Go to the beginning of the line, and clear it."""


class GrowingLine:
    """Rewrites a line of standard error on a terminal; elsewhere it prints nothing, so logs stay short."""

    def __init__(self, file: IO[str] | None = None) -> None:
        self._file = sys.stderr if file is None else file
        self._shown = self._file.isatty()
        self._drawn = False

    def show(self, text: str) -> None:
        """Show a text in place of the one before."""
        if self._shown:
            self._file.write(CLEAR + escape_line(text))
            self._file.flush()
            self._drawn = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            self._file.write(CLEAR)
            self._file.flush()
