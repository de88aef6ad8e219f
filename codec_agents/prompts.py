"""Prompt templates in token ids: fixed ids and named slots.

Only the fixed pieces hold control ids. The content of a slot is checked: an id that is a control token of the
vocabulary is refused, whatever its origin.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from codec_agents.exceptions import ForgedTokenError, PromptError
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class PromptIds:
    """Fixed ids of a template."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PromptSlot:
    """A slot of a template, filled for each run; inside a JSON string its content is escaped."""

    name: str
    in_json: bool = False


PromptPiece: TypeAlias = PromptIds | PromptSlot


def refuse_control_ids(ids: Sequence[int], vocabulary: Vocabulary, slot: str) -> None:
    """Refuse control ids in the content of a slot.

    Raises:
        ForgedTokenError: one of the ids is a control token of the vocabulary.
    """
    control = vocabulary.special_ids
    if control.isdisjoint(ids):
        return
    forged = next(token_id for token_id in ids if token_id in control)
    raise ForgedTokenError(slot, forged, control_name(vocabulary, forged))


def control_name(vocabulary: Vocabulary, token_id: int) -> str:
    """Return the name of a control id."""
    names = (name for name, known in vocabulary.special_tokens.items() if known == token_id)
    return next(names, f"id {token_id}")


class PromptTemplate:
    """Fixed ids and slots, in order."""

    __slots__ = ("_json", "_names", "_pieces", "_slots", "_unused", "_vocabulary")

    def __init__(
        self, pieces: Iterable[PromptPiece], vocabulary: Vocabulary, *, unused: Iterable[str] = ()
    ) -> None:
        """Keep the pieces.

        Args:
            pieces: fixed ids and slots, in order.
            vocabulary: the vocabulary of the ids.
            unused: slots that the template lacks and that may be filled nevertheless.

        Raises:
            PromptError: a slot is inside a JSON string, whose escapes the vocabulary cannot spell.
        """
        self._unused = frozenset(unused)
        self._pieces = tuple(pieces)
        names = (piece.name for piece in self._pieces if isinstance(piece, PromptSlot))
        self._slots = tuple(dict.fromkeys(names))
        self._names = frozenset(self._slots)
        self._vocabulary = vocabulary
        escapes = any(isinstance(piece, PromptSlot) and piece.in_json for piece in self._pieces)
        # Only where it is needed: a vocabulary that cannot spell the escapes is refused by it.
        self._json = JsonStrings(vocabulary) if escapes else None

    @property
    def pieces(self) -> tuple[PromptPiece, ...]:
        """The pieces in order."""
        return self._pieces

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of all slots, in order, each once."""
        return self._slots

    def render(self, slots: Mapping[str, Sequence[int]]) -> list[int]:
        """Return the prompt's ids.

        Raises:
            PromptError: a slot without content, or content without a slot.
            ForgedTokenError: content that holds a control id.
        """
        self._check_names(slots)
        # Unused content as well: what is refused does not depend on the form of the prompt.
        for name, ids in slots.items():
            refuse_control_ids(ids, self._vocabulary, name)
        prompt: list[int] = []
        for piece in self._pieces:
            prompt += piece.ids if isinstance(piece, PromptIds) else self._placed(piece, slots[piece.name])
        return prompt

    def settle(
        self, content: Callable[[str], Iterator[Sequence[int] | None]]
    ) -> Iterator[Sequence[int] | None]:
        """Yield the ids of the prompt in order while its slots are being filled; None while more is pending.

        The concatenated ids are those that `render` returns for the same content.

        Args:
            content: given a slot, yields its content in order, and None while more is pending.

        Raises:
            ForgedTokenError: content that holds a control id.
            PromptError: content that the vocabulary cannot spell inside a JSON string.
        """
        for piece in self._pieces:
            if isinstance(piece, PromptIds):
                yield piece.ids
                continue
            for ids in content(piece.name):
                # Before it is escaped: the text of a control id would pass as ordinary ids.
                if ids is not None:
                    refuse_control_ids(ids, self._vocabulary, piece.name)
                yield ids if ids is None else self._placed(piece, ids)

    def _placed(self, slot: PromptSlot, ids: Sequence[int]) -> Sequence[int]:
        return self._json.escape(ids) if slot.in_json and self._json is not None else ids

    def token_counts(self) -> dict[str, int]:
        """Return the number of fixed ids, of control ids among them, and of slots."""
        fixed = [token_id for piece in self._pieces if isinstance(piece, PromptIds) for token_id in piece.ids]
        control = sum(1 for token_id in fixed if token_id in self._vocabulary.special_ids)
        return {"fixed": len(fixed), "control": control, "slots": len(self.slots)}

    def _check_names(self, slots: Mapping[str, Sequence[int]]) -> None:
        if slots.keys() == self._names:
            return
        missing = [name for name in self.slots if name not in slots]
        if missing:
            raise PromptError(f"no content for the slots {missing}; the template has {list(self.slots)}")
        unknown = [name for name in slots if name not in self.slots and name not in self._unused]
        if unknown:
            raise PromptError(f"the template has no slots {unknown}; it has {list(self.slots)}")


_ESCAPES: dict[int, bytes] = {
    byte: json.dumps(chr(byte))[1:-1].encode() for byte in (*range(0x20), ord('"'), ord("\\"))
}
"""The escapes of bytes that a JSON string cannot hold."""


class JsonStrings:
    """Escapes ids of one vocabulary for JSON strings. Caches its results; may be shared."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Check that the vocabulary can spell every escape.

        Raises:
            PromptError: it cannot.
        """
        self._vocabulary = vocabulary
        self._tokenizer = pick_tokenizer(vocabulary)
        self._single: dict[bytes, int] = {}
        self._escaped: dict[int, tuple[int, ...]] = {}
        # Spelled now, so that the build fails and not the first run whose slot holds such a character.
        for escape in _ESCAPES.values():
            self._spelled(escape)

    def escape(self, ids: Sequence[int]) -> list[int]:
        """Return ids that spell the same text inside the quotes of a JSON string.

        Raises:
            PromptError: the vocabulary cannot spell the escaped form of one of them.
        """
        escaped: list[int] = []
        for token_id in ids:
            # One id at a time: a stream is escaped as it comes, however it is cut. What is kept is bounded by
            # the number of ids that the vocabulary has.
            known = self._escaped.get(token_id)
            if known is None:
                known = self._escaped[token_id] = self._escape(token_id)
            escaped += known
        return escaped

    def _escape(self, token_id: int) -> tuple[int, ...]:
        spelled = self._vocabulary.byte_table[token_id]
        if _ESCAPES.keys().isdisjoint(spelled):
            return (token_id,)
        return self._spelled(b"".join(_ESCAPES.get(byte) or bytes((byte,)) for byte in spelled))

    def _spelled(self, wanted: bytes) -> tuple[int, ...]:
        """Return ids that spell exactly these bytes, which may begin or end inside a character."""
        try:
            # Never the first text, before which some vocabularies put a space.
            prepared = self._tokenizer.prepare(wanted.decode(), first=False)
            ids = tuple(self._tokenizer.encode_prepared(prepared))
        except UnicodeDecodeError:
            ids = ()
        # A tokenizer may change text, and knows no half of a character: then each byte has an id of its own.
        if b"".join(map(self._vocabulary.byte_table.__getitem__, ids)) != wanted:
            ids = tuple(self._byte_id(wanted[place : place + 1]) for place in range(len(wanted)))
        return ids

    def _byte_id(self, byte: bytes) -> int:
        if not self._single:
            special, table = self._vocabulary.special_ids, self._vocabulary.byte_table
            # A map need not list the ids of bytes among its tokens.
            known = [*self._vocabulary.ordinary().values(), *self._vocabulary.byte_fallback]
            self._single = {table[i]: i for i in known if i not in special and len(table[i]) == 1}
        if byte not in self._single:
            raise PromptError(
                f"the map {self._vocabulary.id!r} has no id for the byte {byte!r}, so a slot cannot be "
                "inside a JSON string; write the value without a slot"
            )
        return self._single[byte]


class ToldResults(msgspec.Struct, frozen=True, kw_only=True):
    """The results of one turn's calls in a prompt.

    Fields:
        start: the position of the first id of the part that holds them.
        stop: the position after the last one, what follows the results included.
        calls: the tool of each call, and the model's own id of the call where the family has one.
        dropped: whether a note is in their place.
    """

    start: int
    stop: int
    calls: tuple[tuple[str, str | None], ...]
    dropped: bool = False

    def moved(self, by: int) -> ToldResults:
        """Return the same results at another place."""
        return msgspec.structs.replace(self, start=self.start + by, stop=self.stop + by)


def misplaced(told: Iterable[ToldResults], length: int) -> bool:
    """Return whether results overlap, are out of order, or lie outside a prompt of so many ids."""
    end = 0
    for each in told:
        if not end <= each.start <= each.stop <= length:
            return True
        end = each.stop
    return False


class History(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of one model node at the end of a run.

    Fields:
        prompt: its last prompt, which holds everything before.
        generated: the model's answer to it.
        begin: the number of ids of the prompt that the run began with; its turns follow.
        map_hash: the hash of the ids' map; of a map made in memory, that of the document it would be.
            None (which earlier versions wrote for such maps) cannot be continued.
        told: the results of the model's calls, by their places in the prompt.
        unread: whether the prompt ends with results that the model has not read, because its run was stopped;
            no turn is opened behind them, and `generated` is empty.
    """

    prompt: list[int]
    generated: list[int]
    begin: int
    map_hash: str | None
    told: tuple[ToldResults, ...] = ()
    unread: bool = False
