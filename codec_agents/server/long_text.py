"""Encode a long text in pieces, with the ids of the text as a whole.

Rules that hold in this file:

- Whatever the pieces, the ids are those of `tokenizer.encode(text)`: `codec_core.text_stream` gives out only
  ids that no continuation can change, in time linear in the text.
- Encoding stops as soon as there are more ids than allowed.
- A text with a run of more than `MOST_UNCUT` characters that cannot be cut, such as a million spaces, is
  refused: its merges are one step, which nothing could divide.
"""

from __future__ import annotations

from codec_core.text_stream import text_stream
from codec_core.tokenizer import VocabularyTokenizer, check_text

PIECE = 64 * 1024
"""Characters of a piece: some milliseconds of a thread, after which others have their turn."""

MOST_UNCUT = 4 * PIECE
"""Characters of a run without a place to cut: a quarter of a second of merging. No prose comes near."""


class UncuttableTextError(ValueError):
    """A text has a run that cannot be encoded in pieces."""

    def __init__(self) -> None:
        super().__init__(
            f"it has more than {MOST_UNCUT} characters in a row with no place to cut, such as spaces"
        )


class LongText:
    """A text on its way to token ids.

    Attributes:
        ids: the ids so far.
    """

    def __init__(
        self, tokenizer: VocabularyTokenizer, text: str, *, most_ids: int, piece: int = PIECE
    ) -> None:
        self.ids: list[int] = []
        self._stream = text_stream(tokenizer, control=True)
        self._text = text
        self._most_ids = most_ids
        self._piece = piece
        self._place = 0

    def step(self) -> bool:
        """Encode a piece; return False when the text is encoded, or has more ids than allowed.

        Raises:
            UnencodableTextError: as `VocabularyTokenizer.encode`.
            UncuttableTextError: a run of the text is too long.
        """
        if self._place == 0:
            # The whole text at once, so that a fault is named by its place in the text, not in a piece.
            check_text(self._text)
        stop = self._place + self._piece
        part = self._text[self._place : stop]
        if stop >= len(self._text):
            self.ids += self._stream.finish(part)
            return False
        self.ids += self._stream.feed(part)
        if len(self._stream.held) > MOST_UNCUT:
            raise UncuttableTextError
        self._place = stop
        return len(self.ids) <= self._most_ids
