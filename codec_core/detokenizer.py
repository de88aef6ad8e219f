"""Token ids to text, as the stream arrives.

The rules:

* Bytes are gathered across tokens, calls and frames; complete characters are given out.
* Invalid bytes become U+FFFD where Python's `errors="replace"` puts them, however the ids are divided.
* Control tokens are left out unless asked for. Text tokens render as their text.
"""

from __future__ import annotations

from collections.abc import Iterable

from codec_core.maps import TokenizerMap
from codec_core.vocabulary import Vocabulary, decode_utf_8, vocabulary_of


class Detokenizer:
    """Turns the ids of one stream into text.

    The concatenation of everything returned never depends on how the ids were divided among calls. An unknown
    id becomes U+FFFD. For a metaspace vocabulary, the one space that encoding put before the first word is
    removed; all spaces before it where encoding leaves such spaces out.
    """

    __slots__ = ("_bytes", "_map", "_pending", "_plain", "_strips", "_texts", "_trims")

    def __init__(self, tokenizer_map: TokenizerMap | Vocabulary) -> None:
        self._map = vocabulary = vocabulary_of(tokenizer_map)
        self._texts = vocabulary.text_table.__getitem__
        self._bytes = vocabulary.byte_table.__getitem__
        self._trims = vocabulary.trims_first_space
        self._strips = self._trims
        self._plain = not self._strips  # nothing is held or to be removed: the texts of tokens can be joined
        self._pending = b""

    def feed(self, ids: Iterable[int], render_special: bool = False) -> str:
        """Return the text that these ids complete.

        Bytes of an unfinished character are held until the next call or `flush`.
        """
        if self._plain and not render_special:
            if not isinstance(ids, list):
                ids = list(ids)  # read twice where a token is no whole character
            if len(ids) == 1:  # most frames of a stream hold one id
                text = self._texts(ids[0])
                if text is not None:
                    return text
            else:
                try:
                    return "".join(map(self._texts, ids))  # type: ignore[arg-type] # None raises: go by bytes
                except TypeError:
                    pass
        return self._feed_bytes(ids, render_special, final=False)

    def flush(self) -> str:
        """End the stream: return the held text, with U+FFFD for an unfinished character.

        The detokenizer is then ready for another stream.
        """
        text = self._feed_bytes((), render_special=False, final=True)
        self.reset()
        return text

    def render(self, ids: Iterable[int], *, partial: bool = False, render_special: bool = False) -> str:
        """Return the text of these ids. Unless `partial`, the stream ends here."""
        text = self.feed(ids, render_special)
        return text if partial else text + self.flush()

    @property
    def whole(self) -> bool:
        """True if the ids so far end with a whole character: their text is all that they spell."""
        return not self._pending

    def reset(self) -> None:
        """Forget the stream so far."""
        self._pending = b""
        self._strips = self._trims
        self._plain = not self._strips

    def _feed_bytes(self, ids: Iterable[int], render_special: bool, *, final: bool) -> str:
        table = self._map.spelled_byte_table.__getitem__ if render_special else self._bytes
        data = self._pending + b"".join(map(table, ids))
        text, used = decode_utf_8(data, "replace", final)
        self._pending = data[used:]
        if self._strips and text:
            every = self._map.trims_all_spaces
            text = text.lstrip(" ") if every else text.removeprefix(" ")
            self._strips = every and not text
        self._plain = not self._pending and not self._strips
        return text


def detokenize(
    tokenizer_map: TokenizerMap | Vocabulary, ids: Iterable[int], *, render_special: bool = False
) -> str:
    """Return the text of a whole sequence of ids."""
    return Detokenizer(tokenizer_map).render(ids, render_special=render_special)
