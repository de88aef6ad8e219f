"""Text written piece by piece, wrapped at words, behind a gutter."""

from __future__ import annotations

import re

from rich.cells import cell_len
from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.style import Style
from rich.text import Text

_TOKENS = re.compile(r"\n|[^\S\n]+|\S+")

MAX_HELD = 40
"""Characters of an unfinished word that wait for its end; scripts without spaces come out at once."""


class Flow:
    """Writes text as it comes; only the last, unfinished word is held back."""

    def __init__(self, console: Console, gutter: str, width: int, style: str) -> None:
        self._console = console
        self._gutter = gutter
        self._room = width - cell_len(gutter)
        self._style = Style.parse(style)
        self._column = 0
        self._fresh = True
        self._space = ""
        self._held = ""
        self._unprinted = ""

    def write(self, text: str) -> None:
        """Write all complete words."""
        text = self._held + text
        tail = re.search(r"\S+\Z", text)
        keep = tail.group() if tail and len(tail.group()) <= MAX_HELD and tail.group().isascii() else ""
        self._held = keep
        self._put(text[: len(text) - len(keep)])
        self._print()

    def rewrite(self, text: str) -> None:
        """Replace the line under the cursor, on a terminal."""
        self._open()
        self._print()
        self._console.control(Control((ControlType.CURSOR_MOVE_TO_COLUMN, len(self._gutter))))
        self._console.print(Text(text, style=self._style), end="", soft_wrap=True)
        self._column = cell_len(text)

    def end(self) -> None:
        """Write the held word, and end the line."""
        self._put(self._held)
        self._held = ""
        if not self._fresh:
            self._newline()
        self._print()

    def _put(self, text: str) -> None:
        for part in _TOKENS.findall(text):
            if part == "\n":
                self._open()
                self._newline()
            elif part.isspace():
                self._space += part.expandtabs(4)
            else:
                self._word(part)

    def _word(self, word: str) -> None:
        """Write a word after its space; a space at which the line breaks is left out."""
        if self._column and self._column + len(self._space) + cell_len(word) > self._room:
            self._newline()
        else:
            # At most a line less one column: after more than that no word would fit.
            self._emit(self._space[: self._room - 1])
        while self._column + cell_len(word) > self._room:
            cut = _fitting(word, self._room - self._column)
            self._emit(word[:cut])
            self._newline()
            word = word[cut:]
        self._emit(word)
        self._space = ""

    def _open(self) -> None:
        if self._fresh:
            self._console.print(Text(self._gutter, style="dim"), end="", soft_wrap=True)
            self._fresh = False

    def _emit(self, text: str) -> None:
        if not text:
            return
        self._open()
        self._unprinted += text
        self._column += cell_len(text)

    def _newline(self) -> None:
        self._unprinted += "\n"
        self._print()
        self._column = 0
        self._space = ""
        self._fresh = True

    def _print(self) -> None:
        """Print the gathered text: once per piece and line, not once per word."""
        if self._unprinted:
            self._console.print(Text(self._unprinted, style=self._style), end="", soft_wrap=True)
            self._unprinted = ""


def _fitting(token: str, room: int) -> int:
    """Return how many characters fit into the room, at least one."""
    used = 0
    for count, character in enumerate(token):
        used += cell_len(character)
        if used > room:
            return max(count, 1)
    return len(token)
