"""A prompt that is checked and encoded as JSON while it grows.

Engines over HTTP check every token id of a prompt against the map, and send the prompt as a JSON array. Both
take time that grows with the prompt; done while the ids arrive, none of it is left for the moment when the
last one is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import filterfalse

import msgspec

from codec_agents.engines.base import GenerationRequest
from codec_agents.exceptions import EngineError
from codec_core.vocabulary import Vocabulary


class EncodedPrompt(list[int]):
    """The ids of a prompt, and their JSON. It is extended at its end, and changed in no other way."""

    __slots__ = ("_json", "_vocabulary", "_written", "invalid")

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._vocabulary = vocabulary
        self._json = bytearray()
        """`1,2,3]`: an array without its beginning."""
        self._written = 0
        """How many ids are checked and encoded."""
        self.invalid: int | None = None
        """An id that is not in the vocabulary; nothing is encoded once there is one."""

    @property
    def unwritten(self) -> int:
        """How many ids were added since the last `write`."""
        return len(self) - self._written

    def write(self) -> None:
        """Check and encode the ids that were added since the last time."""
        new = self[self._written :]
        if not new or self.invalid is not None:  # `check_prompt` refuses it, at the latest when it is sent
            return
        self.invalid = invalid_id(new, self._vocabulary)
        if self.invalid is None:
            # The end of the array becomes a comma; the JSON of the new ids brings the end again.
            self._json[-1:] = b"," if self._written else b""
            self._json += memoryview(msgspec.json.encode(new))[1:]
            self._written = len(self)

    def extended(self, ids: Iterable[int]) -> EncodedPrompt:
        """Return a longer prompt; the encoded part of this one is not encoded again."""
        longer = EncodedPrompt(self._vocabulary)
        list.extend(longer, self)
        list.extend(longer, ids)
        longer._json = self._json[:]  # a copy: two turns may go on from one prompt
        longer._written = self._written
        longer.invalid = self.invalid
        return longer

    def checked_for(self, vocabulary: Vocabulary) -> bool:
        """Encode the rest; return whether every id is valid in this vocabulary."""
        if vocabulary is not self._vocabulary:
            return False
        self.write()
        return self.invalid is None

    def json(self) -> msgspec.Raw:
        """Return all ids as a JSON array. `checked_for` has to be true."""
        return msgspec.Raw(b"[" + self._json)


def extended(prompt: list[int], ids: Iterable[int]) -> list[int]:
    """Return a prompt with further ids; its encoded part is not encoded again."""
    return prompt.extended(ids) if isinstance(prompt, EncodedPrompt) else [*prompt, *ids]


def json_of(ids: Sequence[int]) -> msgspec.Raw | Sequence[int]:
    """Return the ids of a prompt that has been checked, for a JSON body."""
    return ids.json() if isinstance(ids, EncodedPrompt) else ids


def check_prompt(engine: str, request: GenerationRequest) -> None:
    """Check that a prompt can be sent: some engines take any number for an id, and answer nonsense.

    Raises:
        EngineError: the prompt is empty, or holds an id that the map does not.
    """
    ids, vocabulary = request.prompt_ids, request.vocabulary
    if not ids:
        raise EngineError(engine, "the prompt is empty; give it at least one id")
    if isinstance(ids, EncodedPrompt) and ids.checked_for(vocabulary):
        return
    if (bad := invalid_id(ids, vocabulary)) is not None:
        raise EngineError(engine, f"the prompt's id {bad} is not in the map {vocabulary.id!r}")


def invalid_id(ids: Iterable[int], vocabulary: Vocabulary) -> int | None:
    """Return an id that is not in the vocabulary, if there is one."""
    # Looking each id up took most of the time of sending a long prompt: ids seen to be valid are kept.
    known: set[int] = vocabulary.derived.setdefault(EncodedPrompt, set())
    new = set(ids) - known
    bad = next(filterfalse(vocabulary.is_valid, new), None)
    if bad is None:
        known |= new
    return bad
