"""Split a stream into items at a separator, as it arrives.

However the stream is cut into batches, the items are those of the whole stream, and an item is given out with
the batch that completes its separator.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary


class Gathered:
    """Gathers the whole stream, for a callable that splits it."""

    def __init__(self, *, has_text: bool) -> None:
        self.value: list[int] | str = "" if has_text else []

    def feed(self, batch: Any, /) -> list[Any]:
        """Return nothing: the items are found at the end."""
        self.value += batch
        return []


class TextSplitter:
    """Splits text; items without content are left out."""

    def __init__(self, separator: str) -> None:
        self._separator = separator
        self._rest = ""

    def feed(self, text: str, /) -> list[str]:
        """Return the items whose separator has arrived."""
        # A separator may begin in what was searched before, by all but one of its characters.
        begin = max(0, len(self._rest) - len(self._separator) + 1)
        whole = self._rest + text
        if self._separator not in whole[begin:]:
            self._rest = whole
            return []
        *items, self._rest = whole.split(self._separator)
        return [item for item in items if item.strip()]

    def flush(self) -> list[str]:
        """Return the last item, which needs no separator."""
        rest, self._rest = self._rest, ""
        return [rest] if rest.strip() else []


class IdSplitter:
    """Splits ids where their bytes contain a separator; items without content are left out.

    An id that lies outside all separators stays as it is. One that has a part of a separator is replaced by
    the ids of what else it has, so that an item never has a part of its neighbour.
    """

    def __init__(self, separator: bytes, vocabulary: Vocabulary) -> None:
        self._separator = separator
        self._token_bytes = vocabulary.token_bytes
        self._encode = pick_tokenizer(vocabulary).encode_ordinary
        self._ids: list[int] = []
        """The ids that belong to no item yet, from the one in which the last separator ended."""
        self._starts: list[int] = [0]
        """The byte offset of each of them, and the end of the last one."""
        self._bytes = bytearray()
        self._begin = 0
        """The byte offset at which the next item begins."""

    def feed(self, ids: Sequence[int], /) -> list[list[int]]:
        """Return the items whose separator has arrived."""
        # A separator may begin in what was searched before, but not within the one before it.
        searched = max(self._begin, len(self._bytes) - len(self._separator) + 1)
        for token_id in ids:
            self._ids.append(token_id)
            self._bytes += self._token_bytes(token_id)
            self._starts.append(len(self._bytes))
        items = list(self._complete(searched))
        if items:
            self._forget()
        return [item for item in items if item]

    def flush(self) -> list[list[int]]:
        """Return the last item, which needs no separator."""
        item = self._item(len(self._bytes))
        self._ids, self._starts, self._begin = [], [0], 0
        self._bytes.clear()
        return [item] if item else []

    def _complete(self, searched: int) -> Iterator[list[int]]:
        """Yield the ids before each separator; empty if there are none."""
        while (end := self._bytes.find(self._separator, searched)) >= 0:
            yield self._item(end)
            self._begin = searched = end + len(self._separator)

    def _item(self, end: int) -> list[int]:
        """Return the ids between the last separator and the next one."""
        begin = self._begin
        if not self._bytes[begin:end].strip():
            return []
        # The ids that lie whole between the two; first > last where one id spans the item.
        first, last = bisect_left(self._starts, begin), bisect_right(self._starts, end) - 1
        if first > last:
            return self._encoded(begin, end)
        head, tail = self._encoded(begin, self._starts[first]), self._encoded(self._starts[last], end)
        return [*head, *self._ids[first:last], *tail]

    def _encoded(self, begin: int, end: int) -> list[int]:
        """Return ids that spell a part of an id's bytes."""
        return self._encode(self._bytes[begin:end].decode("utf-8", "replace")) if begin < end else []

    def _forget(self) -> None:
        """Drop the ids before the one in which the next item begins."""
        first = bisect_right(self._starts, self._begin) - 1
        offset = self._starts[first]
        del self._ids[:first], self._bytes[:offset]
        self._starts = [start - offset for start in self._starts[first:]]
        self._begin -= offset
