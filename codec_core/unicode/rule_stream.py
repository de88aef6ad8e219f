"""Normalization by the rules of a map, of a text that arrives in parts: replacements, and then spaces.

What becomes of spaces:

* `CollapsedSpaces`: as SentencePiece does it, spaces at both ends are left out, and runs become one.
* `MergedSpaces`: as files of Hugging Face state it, runs of spaces become a space or U+2581, and white space
  at the end is left out; each only where it is stated.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from codec_core.unicode.classes import WHITE_SPACE

if TYPE_CHECKING:
    from codec_core.added import AddedTokens

_SHORT = 256
"""A held text of up to this many characters is looked at again with every part. A longer one is looked at
again only after it grew by an eighth, which keeps the whole work linear when nothing is settled for long."""

_BLANK = " \u2581"
_RUNS = re.compile(" {2,}").sub


class Rules(Protocol):
    """Replaces in a text what rules replace."""

    def apply_settled(self, text: str, *, final: bool, kept: AddedTokens | None = None) -> tuple[str, int]:
        """Return the replaced beginning of a text that nothing behind it can change, and its length there."""


class Spaces(Protocol):
    """Changes spaces in a text that arrives in parts."""

    @property
    def held(self) -> str:
        """Return the spaces that are held: what follows them decides."""

    def feed(self, text: str) -> str:
        """Return the text that no continuation can change."""

    def flush(self) -> str:
        """Return the rest. The next part begins another text."""


class CollapsedSpaces:
    """Leaves out spaces at both ends, all but one of a run, and U+2581 at the end, as SentencePiece does."""

    __slots__ = ("_after_space", "_blank")

    def __init__(self) -> None:
        self._blank: list[str] = []
        self._after_space = True

    @property
    def held(self) -> str:
        """Return the spaces that are held."""
        return "".join(self._blank)

    def feed(self, text: str) -> str:
        """Return the text that no continuation can change."""
        text = _RUNS(" ", text)
        if self._after_space:
            text = text.removeprefix(" ")
        if not text:
            return ""
        self._after_space = text[-1] == " "
        kept = text.rstrip(_BLANK)  # the rest waits for another character: at the end it is left out
        if not kept:
            self._blank.append(text)
            return ""
        given = self.held + kept
        self._blank = [text[len(kept) :]]
        return given

    def flush(self) -> str:
        """Leave the rest out."""
        self._blank.clear()
        self._after_space = True
        return ""


class MergedSpaces:
    """Writes something for each run of two or more spaces, and leaves out white space at the end."""

    __slots__ = ("_blank", "_ending", "_run", "_strips_end")

    def __init__(self, run: str | None, *, strips_end: bool) -> None:
        """Take what is written for a run, or None, and whether white space at the end is left out."""
        self._run = run
        self._strips_end = strips_end
        self._ending = WHITE_SPACE if strips_end else " " if run is not None else ""
        self._blank: list[str] = []

    @property
    def held(self) -> str:
        """Return the white space that is held."""
        return "".join(self._blank)

    def feed(self, text: str) -> str:
        """Return the text that no continuation can change."""
        kept = text.rstrip(self._ending) if self._ending else text
        if not kept:
            if text:
                self._blank.append(text)
            return ""
        given = self.held + kept
        self._blank = [text[len(kept) :]]
        return self._merged(given)

    def flush(self) -> str:
        """Return the rest."""
        rest = "" if self._strips_end else self._merged(self.held)
        self._blank = []
        return rest

    def _merged(self, text: str) -> str:
        return text if self._run is None else _RUNS(self._run, text)


class RuleStream:
    """Replaces in a text that arrives in parts. Holds the beginning of what may be a longer match."""

    __slots__ = ("_grown", "_held", "_kept", "_rules", "_spaces", "_unseen")

    def __init__(
        self, rules: Rules | None, spaces: Spaces | None = None, *, kept: AddedTokens | None = None
    ) -> None:
        """Take the rules, what becomes of spaces behind them, and the texts that no rule changes."""
        self._rules = rules
        self._spaces = spaces
        self._kept = kept
        self._held = ""
        self._grown: list[str] = []
        self._unseen = 0

    @property
    def held(self) -> str:
        """Return the text that is held: replaced where it only waits for what follows a space."""
        return (self._spaces.held if self._spaces else "") + self._held + "".join(self._grown)

    def feed(self, text: str) -> str:
        """Return the text that no continuation can change."""
        if len(self._held) > _SHORT:
            self._grown.append(text)
            self._unseen += len(text)
            if self._unseen < len(self._held) // 8:
                return ""
            text = ""
        return self._take(text, final=False)

    def flush(self) -> str:
        """Return the rest. The stream is then ready for another text."""
        rest = self._take("", final=True)
        return rest + self._spaces.flush() if self._spaces else rest

    def _take(self, text: str, *, final: bool) -> str:
        text = "".join((self._held, *self._grown, text))
        self._grown.clear()
        self._unseen = 0
        if self._rules is None:
            replaced, used = text, len(text)
        else:
            replaced, used = self._rules.apply_settled(text, final=final, kept=self._kept)
        self._held = text[used:]
        return self._spaces.feed(replaced) if self._spaces else replaced
