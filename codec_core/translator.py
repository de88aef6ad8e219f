"""Token ids of one vocabulary to ids of another, as the stream arrives.

The rules:

* The ids become text, and the text becomes the ids that the target's own tokenizer gives (`encode_ordinary`).
* An id is given out only when no later source id can change it, so every way of cutting the stream gives the
  ids of the whole text. `text_stream` finds these places.
* Control tokens of the source are dropped, or spelled as text. No control token of the target is ever given.
"""

from __future__ import annotations

from collections.abc import Iterable

from codec_core.detokenizer import Detokenizer
from codec_core.maps import TokenizerMap
from codec_core.text_stream import text_stream
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import REPLACEMENT, Vocabulary, decode_utf_8, vocabulary_of


class Translator:
    """Translates the ids of one stream.

    Whatever the cuts, the concatenation of everything returned is `translate(from_map, to_map, all_ids)`.

    Control tokens of the source are left out, or with `keep_special` spelled as ordinary text. Invalid UTF-8
    becomes U+FFFD where Python's `errors="replace"` puts it.

    Attributes:
        from_id: the id of the source's map.
        to_id: the id of the target's map.
        replaced: the number of U+FFFD made of invalid bytes and unknown ids.
        dropped: the number of control tokens of the source that were left out.
    """

    __slots__ = (
        "_keep_special", "_pending", "_source", "_stage", "_strips", "_target", "_texts",
        "dropped", "replaced",
    )  # fmt: skip

    def __init__(
        self,
        from_map: TokenizerMap | Vocabulary,
        to_map: TokenizerMap | Vocabulary,
        *,
        keep_special: bool = False,
    ) -> None:
        self._source = vocabulary_of(from_map)
        self._target = pick_tokenizer(to_map)
        self._keep_special = keep_special
        self._texts = self._source.plain_text_table.__getitem__
        self._stage = text_stream(self._target)
        self._pending = b""  # bytes of an unfinished character
        self._strips = self._source.trims_first_space
        self.replaced = 0
        self.dropped = 0

    def _restart(self) -> None:
        self._pending = b""
        self._strips = self._source.trims_first_space
        self._stage.restart()

    @property
    def from_id(self) -> str:
        """Return the id of the source's map."""
        return self._source.id

    @property
    def to_id(self) -> str:
        """Return the id of the target's map."""
        return self._target.id

    @property
    def held_bytes(self) -> int:
        """Return how many bytes of text are held back until more is known."""
        return len(self._pending) + len(self._stage.held.encode())

    def feed(self, ids: Iterable[int]) -> list[int]:
        """Return the target ids that these source ids settle."""
        if ids.__class__ is not list:  # every frame comes here, so without a call
            ids = list(ids)  # read twice where a token is no whole character
        if self._pending or self._strips or self._keep_special:
            text = self._decode(ids, final=False)
        else:
            try:
                text = "".join(map(self._texts, ids))  # type: ignore[arg-type] # None raises: go by bytes
            except TypeError:
                text = self._decode(ids, final=False)
        return self._stage.feed(text)

    def flush(self) -> list[int]:
        """End the stream: return the ids of what was held.

        The translator is then ready for another stream.
        """
        return self._last(())

    def translate(self, ids: Iterable[int], *, partial: bool = False) -> list[int]:
        """Return the target ids of these; unless `partial`, the stream ends here."""
        return self.feed(ids) if partial else self._last(ids)

    def _last(self, ids: Iterable[int]) -> list[int]:
        """Encode the rest of the stream at once: cheaper than settling it first."""
        text = self._decode(ids, final=True)
        try:
            return self._stage.finish(text)
        finally:
            self._restart()

    def finish(self) -> list[int]:
        """End the stream: return the ids of what was held."""
        return self.flush()

    def reset(self) -> None:
        """Forget the stream so far and reset the counters."""
        self._restart()
        self.replaced = self.dropped = 0

    def _decode(self, ids: Iterable[int], *, final: bool) -> str:
        source = self._source
        ids = list(ids)
        if source.special_ids and not source.special_ids.isdisjoint(ids) and not self._keep_special:
            self.dropped += sum(map(source.special_ids.__contains__, ids))
        table = source.spelled_byte_table if self._keep_special else source.byte_table
        data = b"".join(map(table.__getitem__, ids))
        if self._pending:
            data = self._pending + data
        text, used = decode_utf_8(data, "replace", final)
        self._pending = data[used:]
        if REPLACEMENT in text:
            # The text may also hold U+FFFD that the source spells; those are not made here. That of an
            # unknown id is, though its bytes look spelled.
            unknown = sum(not source.is_valid(number) for number in ids)
            self.replaced += text.count(REPLACEMENT) - data[:used].count(_SPELLED) + unknown
        if self._strips and text:
            every = self._source.trims_all_spaces
            text = text.lstrip(" ") if every else text.removeprefix(" ")
            self._strips = every and not text
        return text


_SPELLED = REPLACEMENT.encode()


def translate(
    from_map: TokenizerMap | Vocabulary, to_map: TokenizerMap | Vocabulary, ids: Iterable[int]
) -> list[int]:
    """Return the target ids of a whole sequence of source ids."""
    text = Detokenizer(from_map).render(ids)
    return pick_tokenizer(to_map).encode_ordinary(text)


def static_translation_table(
    from_map: TokenizerMap | Vocabulary, to_map: TokenizerMap | Vocabulary
) -> dict[int, list[int]]:
    """Return, for each ordinary token of the source that is whole text, the target ids of that text alone.

    The table shows how two vocabularies relate. Joining its entries is not a translation: use `Translator`.
    """
    source, target = vocabulary_of(from_map), pick_tokenizer(to_map)
    table: dict[int, list[int]] = {}
    for token_id in range(source.size):
        text = source.plain_text_table[token_id]
        if text is not None:  # a part of a character has no text, and U+FFFD is not what it becomes
            table[token_id] = target.encode_ordinary(text)
    return table
