"""How what arrives on an edge becomes what its slot takes: one transducer per strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from codec_core.detokenizer import Detokenizer
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import Translator

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltEdge
    from codec_core.vocabulary import Vocabulary

Batch: TypeAlias = Sequence[int] | str
"""A batch on an edge: ids of the source's vocabulary, or text."""


class Transducer(Protocol):
    """Turns what arrives on an edge into what its slot takes: ids, none of them special, or text."""

    dropped: int
    """Special ids of the source that were left out."""
    replaced: int
    """Invalid UTF-8 sequences of the source that became U+FFFD."""

    def feed(self, batch: Any, /) -> list[int] | str:
        """Return the output that no later input can change."""
        ...

    def flush(self) -> list[int] | str:
        """Return the rest."""
        ...


def _special_between(
    source: Vocabulary, target: Vocabulary, *, keep: bool
) -> tuple[frozenset[int], dict[int, list[int]]]:
    """Return the special ids of two vocabularies of one map, and the ids that spell those that are kept."""
    # The dialects at the two ends may bind different text tokens of one map as control tokens. What is
    # text to the source stays text: its name is spelled.
    text = {n: i for n, i in target.special_tokens.items() if i not in source.special_ids}
    kept = {**source.special_tokens, **text} if keep else text
    encode = pick_tokenizer(target).encode_ordinary
    return source.special_ids | target.special_ids, {number: encode(name) for name, number in kept.items()}


class PassThrough:
    """Passes ids on as they are, without the special ones: content never becomes a control token."""

    def __init__(self, edge: BuiltEdge) -> None:
        source, target = edge.source_vocabulary, edge.target_vocabulary
        assert source is not None
        assert target is not None
        # By its special ids: the source itself would be kept alive, and nothing else of it is used.
        key = (PassThrough, source.special_ids, edge.keep_special)
        if key not in target.derived:
            target.derived[key] = _special_between(source, target, keep=edge.keep_special)
        self._special_ids, self._spelled = target.derived[key]
        self.dropped = 0
        self.replaced = 0

    def feed(self, batch: Sequence[int], /) -> list[int]:
        """Return the batch without special ids, or with their names spelled out."""
        if self._special_ids.isdisjoint(batch):  # nearly always
            return list(batch)
        kept: list[int] = []
        for token_id in batch:
            if token_id not in self._special_ids:
                kept.append(token_id)
            elif token_id in self._spelled:
                kept += self._spelled[token_id]
            else:
                self.dropped += 1
        return kept

    def flush(self) -> list[int]:
        """Return nothing: nothing is held."""
        return []


class KeepText:
    """Passes text on as it is."""

    dropped = 0
    replaced = 0

    def feed(self, batch: str, /) -> str:
        """Return the text."""
        return batch

    def flush(self) -> str:
        """Return nothing: nothing is held."""
        return ""


class EncodeText:
    """Encodes a text as a whole when it is complete, with special tokens disabled."""

    dropped = 0
    replaced = 0

    def __init__(self, edge: BuiltEdge) -> None:
        assert edge.target_vocabulary is not None
        self._tokenizer = pick_tokenizer(edge.target_vocabulary)
        self._parts: list[str] = []

    def feed(self, batch: str, /) -> list[int]:
        """Keep the text until `flush`."""
        self._parts.append(batch)
        return []

    def flush(self) -> list[int]:
        """Return the ids of the whole text."""
        return self._tokenizer.encode_ordinary("".join(self._parts))


class DecodeIds:
    """Decodes ids for a function that takes text; `explain` shows such an edge as a text boundary."""

    replaced = 0  # not counted: a detokenizer does not tell what it replaced from what the ids spell

    def __init__(self, edge: BuiltEdge) -> None:
        assert edge.source_vocabulary is not None
        self._special_ids = edge.source_vocabulary.special_ids
        self._detokenizer = Detokenizer(edge.source_vocabulary)
        self._keep_special = edge.keep_special
        self.dropped = 0

    def feed(self, batch: Sequence[int], /) -> str:
        """Return the text that the ids complete."""
        if not self._keep_special:
            self.dropped += sum(map(self._special_ids.__contains__, batch))
        return self._detokenizer.feed(batch, render_special=self._keep_special)

    def flush(self) -> str:
        """Return what an unfinished character becomes."""
        return self._detokenizer.flush()


def _translate(edge: BuiltEdge) -> Transducer:
    assert edge.source_vocabulary is not None
    assert edge.target_vocabulary is not None
    return Translator(edge.source_vocabulary, edge.target_vocabulary, keep_special=edge.keep_special)


TRANSDUCERS: Mapping[str, Callable[[BuiltEdge], Transducer]] = {
    "pass_through": PassThrough,
    "translate": _translate,
    "encode": EncodeText,
    "decode": DecodeIds,
    "text": lambda _: KeepText(),
}
"""The transducer of each strategy."""
