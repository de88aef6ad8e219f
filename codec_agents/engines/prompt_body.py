"""A prompt that is checked and written down as it grows.

Engines over HTTP check every id of a prompt against the map, and send the prompt as a JSON array. Both take
time that grows with the prompt; done while the ids come, none of it is left for the instant in which the
last one is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import filterfalse
from weakref import WeakKeyDictionary

import msgspec

from codec_core.vocabulary import Vocabulary


class EncodedPrompt(list[int]):
    """The ids of a prompt. It is added to at its end, and changed in no other way."""

    __slots__ = ("_json", "_vocabulary", "_written", "invalid")

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._vocabulary = vocabulary
        self._json = bytearray()
        """`1,2,3]`: an array without its beginning."""
        self._written = 0
        """How many ids are checked and written down."""
        self.invalid: int | None = None
        """The first id found that the vocabulary does not have; nothing is written down from there on."""

    @property
    def unwritten(self) -> int:
        """How many ids have come since the last `write`."""
        return len(self) - self._written

    def write(self) -> None:
        """Check and write down what has come since the last time."""
        new = self[self._written :]
        if not new or self.invalid is not None:
            return
        self.invalid = invalid_id(new, self._vocabulary)
        if self.invalid is None:
            self._json[-1:] = b"," if self._written else b""
            self._json += memoryview(msgspec.json.encode(new))[1:]
            self._written = len(self)

    def extended(self, ids: Iterable[int]) -> EncodedPrompt:
        """Return a longer prompt; what is written down of this one is not written again."""
        longer = EncodedPrompt(self._vocabulary)
        list.extend(longer, self)
        list.extend(longer, ids)
        longer._json = self._json[:]
        longer._written = self._written
        longer.invalid = self.invalid
        return longer

    def checked_for(self, vocabulary: Vocabulary) -> bool:
        """Write down the rest; return whether every id is valid in this vocabulary."""
        if vocabulary is not self._vocabulary:
            return False
        self.write()
        return self.invalid is None

    def json(self) -> msgspec.Raw:
        """Return all ids as a JSON array; call it when `checked_for` has said yes."""
        return msgspec.Raw(b"[" + self._json)


def extended(prompt: list[int], ids: Iterable[int]) -> list[int]:
    """Return a prompt that goes on with further ids; what is written down of it is not written again."""
    return prompt.extended(ids) if isinstance(prompt, EncodedPrompt) else [*prompt, *ids]


def json_of(ids: Sequence[int]) -> msgspec.Raw | Sequence[int]:
    """Return the ids of a prompt that has been checked, for a JSON body."""
    return ids.json() if isinstance(ids, EncodedPrompt) else ids


def invalid_id(ids: Iterable[int], vocabulary: Vocabulary) -> int | None:
    """Return an id that the vocabulary does not have, if there is one."""
    known = _valid_ids.setdefault(vocabulary, set())
    new = set(ids) - known
    bad = next(filterfalse(vocabulary.is_valid, new), None)
    if bad is None:
        known |= new
    return bad


_valid_ids: WeakKeyDictionary[Vocabulary, set[int]] = WeakKeyDictionary()
"""Ids that have been seen to be valid: looking each one up took most of the time of sending a long prompt."""
