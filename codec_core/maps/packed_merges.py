"""The merges of a map, kept as JSON.

A list of 100,000 strings takes 8 MB and a fifth of the time to load a map. A tokenizer reads it once, a
detokenizer never. So the merges stay JSON, a fifth of that size, until they are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import overload

import msgspec

from codec_core.exceptions import TokenizerMapValidationError

_BEGINS_AS_LIST = re.compile(rb'\[\s*["\]]').match


MAX_MERGES = 2**20
"""The largest known vocabulary has 580,604. A tokenizer takes some hundred bytes for each."""


class PackedMerges(Sequence[str]):
    """A sequence of merges that is decoded at each access: `list(merges)` decodes it once.

    Attributes:
        json: the merges as the document writes them.
    """

    __slots__ = ("_count", "json")

    def __init__(self, json: bytes) -> None:
        """Keep the JSON of a list of strings.

        Raises:
            TokenizerMapValidationError: it is not a list, or its first entry is not a string. The other
                entries are checked when they are read.
        """
        if not _BEGINS_AS_LIST(json):
            raise TokenizerMapValidationError("not a tokenizer map: merges must be a list of strings")
        # The end of an entry; a token that spells one counts too. `maps` bounds those with a space between.
        if json.count(b'",') > MAX_MERGES:
            raise TokenizerMapValidationError(f"merges: more than {MAX_MERGES} entries")
        self.json = json
        self._count: int | None = None

    def _decode(self) -> list[str]:
        try:
            merges = _decoder.decode(self.json)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TokenizerMapValidationError(f"merges: {error}") from error
        self._count = len(merges)
        return merges

    def __len__(self) -> int:
        return len(self._decode()) if self._count is None else self._count

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        return self._decode()[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self._decode())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and self._decode() == list(other)

    def __add__(self, other: list[str]) -> list[str]:
        return self._decode() + other

    def __radd__(self, other: list[str]) -> list[str]:
        return other + self._decode()

    __hash__ = None  # type: ignore[assignment] # as a list

    def __repr__(self) -> str:
        return f"<{len(self)} merges>"


_decoder = msgspec.json.Decoder(list[str])
