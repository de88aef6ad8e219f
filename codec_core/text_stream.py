"""Text to ids as the text arrives: what a translator does with the text of its source.

The rules:

* However the text is divided among the calls, the concatenated ids are those of `encode_ordinary`.
* `feed` gives out only ids that no continuation of the text can change.
* `finish` ends a stretch of text: nothing merges across its end. `restart` makes ready for another text.

The steps of an encoding are stages, each a stream of text that hands on to the next: added tokens,
normalization, added tokens in normalized text, and the pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from codec_core.added import AddedTokens, AddedTokenStream
from codec_core.tokenizer import VocabularyTokenizer

if TYPE_CHECKING:
    from codec_core.unicode.normalizers import NormalizingStream

_SHORT_TAIL = 256
"""A held tail of up to this many characters is looked at again with every feed. A longer one is looked at
again only after it grew by an eighth, which keeps the whole work linear when a text has no place to cut."""


class TextStage(Protocol):
    """A stream from text to ids."""

    @property
    def held(self) -> str:
        """Return the text that is held back until more is known."""

    def feed(self, text: str) -> list[int]:
        """Return the ids that no continuation changes."""

    def finish(self, text: str = "") -> list[int]:
        """End a stretch with its last part and return the rest of its ids."""

    def restart(self) -> None:
        """Forget the text so far."""


def text_stream(tokenizer: VocabularyTokenizer, *, control: bool = False) -> TextStage:
    """Return a new stream of ordinary text for a tokenizer.

    With `control`, control tokens are read where the text spells them, and the ids are those of `encode`.
    """
    passes = tokenizer.all_passes if control else tokenizer.text_passes
    if passes is None and not tokenizer.normalizes:  # most streams: opening one is kept short
        return PieceStream(tokenizer, tokenizer.prepares)
    if passes is None:
        return NormalizationStage(tokenizer.normalized_stream, PieceStream(tokenizer, tokenizer.prepares))
    # Made from the last stage to the first: each is given the one that it hands on to.
    raw, normalized = passes.raw, passes.normalized
    marks_before = normalized is not None and tokenizer.marks_before_names
    stage: TextStage = PieceStream(tokenizer, tokenizer.prepares and not marks_before)
    if normalized:
        stage = AddedTokenStage(normalized, stage)
        if marks_before:
            stage = MarkStage(tokenizer, stage)
    if tokenizer.normalizes:
        stage = NormalizationStage(tokenizer.normalized_stream, stage)
    return AddedTokenStage(raw, stage) if raw else stage


class PieceStream:
    """Cuts text into pieces and gives out their ids, the last stage of all."""

    __slots__ = ("_first", "_grown", "_prepares", "_tail", "_tokenizer", "_unseen")

    def __init__(self, tokenizer: VocabularyTokenizer, prepares: bool) -> None:
        self._tokenizer = tokenizer
        self._prepares = prepares
        self._first = True
        self._tail = ""
        self._grown: list[str] = []
        self._unseen = 0

    @property
    def held(self) -> str:
        """Return the text that is held back, as the vocabulary writes it."""
        return self._tail + "".join(self._grown)

    def feed(self, text: str) -> list[int]:
        """Return the ids that no continuation changes."""
        if not text:
            return []
        if self._prepares:
            text = self._tokenizer.prepare(text, first=self._first)
            self._first = False
        seen = len(self._tail)  # in this much an earlier call found nothing settled
        if seen > _SHORT_TAIL:
            text = self._gather(text)
        if text:
            given, self._tail = self._tokenizer.settle(self._tail + text, seen)
            return given
        return []

    def finish(self, text: str = "") -> list[int]:
        """End a stretch with its last part and return the rest of its ids."""
        if self._prepares:
            text = self._tokenizer.prepare(text, first=self._first)
        rest = self.held + text
        self.restart()
        self._first = self._tokenizer.prefixes_stretches  # the next stretch is behind an added token
        return self._tokenizer.encode_prepared(rest) if rest else []

    def restart(self) -> None:
        """Forget the text so far."""
        self._first = True
        self._tail = ""
        self._grown.clear()
        self._unseen = 0

    def _gather(self, text: str) -> str:
        """Keep the text until it is worth another look; then return all that was kept."""
        self._grown.append(text)
        self._unseen += len(text)
        if self._unseen < len(self._tail) // 8:
            return ""
        text = "".join(self._grown)
        self._grown.clear()
        self._unseen = 0
        return text


class AddedTokenStage:
    """Finds added tokens; each of them ends a stretch of the text between them."""

    __slots__ = ("_added", "_next", "_tokens")

    def __init__(self, added: AddedTokens, following: TextStage) -> None:
        self._added = added
        self._tokens = AddedTokenStream(added)
        self._next = following

    @property
    def held(self) -> str:
        """Return the text that is held back, in this stage and those behind it."""
        return self._next.held + self._tokens.held

    def feed(self, text: str) -> list[int]:
        """Return the ids that no continuation changes."""
        ids, stretch = self._hand_on(self._tokens.feed(text))
        return ids + self._next.feed(stretch) if stretch else ids

    def finish(self, text: str = "") -> list[int]:
        """End a stretch with its last part and return the rest of its ids."""
        ids, stretch = self._hand_on(self._tokens.finish(text))
        return ids + self._next.finish(stretch)

    def restart(self) -> None:
        """Forget the text so far."""
        self._tokens = AddedTokenStream(self._added)
        self._next.restart()

    def _hand_on(self, parts: list[str | int]) -> tuple[list[int], str]:
        """Return the ids up to the last token, and the stretch after it."""
        ids: list[int] = []
        stretch = ""
        for part in parts:
            if isinstance(part, int):
                ids += self._next.finish(stretch)
                ids.append(part)
                stretch = ""
            else:
                stretch = part  # the stream gives at most one stretch before each token, and one at the end
        return ids, stretch


class NormalizationStage:
    """Normalizes text. It holds what the text that follows may join or change."""

    __slots__ = ("_make", "_next", "_normalized")

    def __init__(self, make: Callable[[], NormalizingStream], following: TextStage) -> None:
        self._make = make
        self._normalized = make()
        self._next = following

    @property
    def held(self) -> str:
        """Return the text that is held back, in this stage and those behind it."""
        return self._next.held + self._normalized.held

    def feed(self, text: str) -> list[int]:
        """Return the ids that no continuation changes."""
        return self._next.feed(self._normalized.feed(text))

    def finish(self, text: str = "") -> list[int]:
        """End a stretch with its last part and return the rest of its ids."""
        return self._next.finish(self._normalized.feed(text) + self._normalized.flush())

    def restart(self) -> None:
        """Forget the text so far."""
        self._normalized = self._make()
        self._next.restart()


class MarkStage:
    """Writes U+2581 for spaces before tokens are looked for in the result."""

    __slots__ = ("_first", "_next", "_tokenizer")

    def __init__(self, tokenizer: VocabularyTokenizer, following: TextStage) -> None:
        self._tokenizer = tokenizer
        self._next = following
        self._first = True

    @property
    def held(self) -> str:
        """Return the text that is held back in the stages behind this one."""
        return self._next.held

    def feed(self, text: str) -> list[int]:
        """Return the ids that no continuation changes."""
        if not text:
            return []
        text = self._tokenizer.prepare(text, first=self._first)
        self._first = False
        return self._next.feed(text)

    def finish(self, text: str = "") -> list[int]:
        """End a stretch with its last part and return the rest of its ids."""
        text = self._tokenizer.prepare(text, first=self._first)
        self._first = self._tokenizer.prefixes_stretches
        return self._next.finish(text)

    def restart(self) -> None:
        """Forget the text so far."""
        self._first = True
        self._next.restart()
