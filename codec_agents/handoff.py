"""An edge into a prompt while a run goes: what arrives in one vocabulary leaves in the target's.

A handoff works while its source still streams, so that when the source's last id arrives only the held-back
tail is left to do. It keeps the clock of the edge; nothing is timed per id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from codec_agents.events import HandoffReport, Usage
from codec_core.tokenizer import Tokenizer
from codec_core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from codec_agents.build import BuiltEdge

Batch: TypeAlias = Sequence[int] | str
"""What a channel carries: ids of the source's vocabulary, or text that a person gave."""


class Transducer(Protocol):
    """Turn what arrives on an edge into ids of the target's vocabulary, none of them special."""

    dropped: int
    """Special ids of the source that were left out."""
    replaced: int
    """Invalid UTF-8 sequences of the source that became U+FFFD."""

    def feed(self, batch: Any, /) -> list[int]:
        """Return the ids that no later input can change."""
        ...

    def flush(self) -> list[int]:
        """Return the rest."""
        ...


class PassThrough:
    """Hand ids on as they are, without the special ones: content never reaches a control token."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._special_ids = vocabulary.special_ids
        self.dropped = 0
        self.replaced = 0

    def feed(self, batch: Sequence[int], /) -> list[int]:
        """Return the batch without special ids."""
        if self._special_ids.isdisjoint(batch):
            return list(batch)
        kept = [token_id for token_id in batch if token_id not in self._special_ids]
        self.dropped += len(batch) - len(kept)
        return kept

    def flush(self) -> list[int]:
        """Return nothing: nothing is held."""
        return []


class EncodeText:
    """Encode a person's text, once and whole, with special tokens disabled."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._parts: list[str] = []
        self.dropped = 0
        self.replaced = 0

    def feed(self, batch: str, /) -> list[int]:
        """Keep the text until `flush`."""
        self._parts.append(batch)
        return []

    def flush(self) -> list[int]:
        """Return the ids of the whole text."""
        return self._tokenizer.encode_ordinary("".join(self._parts))


class Handoff:
    """One edge into one slot, for one run."""

    def __init__(self, edge: BuiltEdge, transducer: Transducer, clock: Callable[[], float]) -> None:
        self.edge = edge
        self.ids: list[int] = []
        """What reached the slot so far, in the target's vocabulary."""
        self.input_ids = 0
        self.first_in: float | None = None
        self.last_in: float | None = None
        self.translate_seconds = 0.0
        self.tail_seconds = 0.0
        self._transducer = transducer
        self._clock = clock

    def take(self, batches: Iterable[Batch]) -> None:
        """Take what has arrived; add to `ids` what it completes."""
        started = self._clock()
        if self.first_in is None:
            self.first_in = started
        for batch in batches:
            if not isinstance(batch, str):
                self.input_ids += len(batch)
            self.ids += self._transducer.feed(batch)
        self.translate_seconds += self._clock() - started

    def finish(self) -> None:
        """Take note that the source has ended; add to `ids` what was held back."""
        self.last_in = self._clock()
        self.ids += self._transducer.flush()
        self.tail_seconds = self._clock() - self.last_in
        self.translate_seconds += self.tail_seconds

    def report(
        self, *, request_sent: float | None, first_out: float | None, source: Usage | None
    ) -> HandoffReport:
        """Return what the edge did, once the target's request is on its way."""
        edge = self.edge
        return HandoffReport(
            source=edge.source,
            target=edge.target,
            strategy=edge.strategy,
            source_map=edge.source_vocabulary.id if edge.source_vocabulary else None,
            target_map=edge.target_vocabulary.id if edge.target_vocabulary else "",
            input_ids=self.input_ids,
            output_ids=len(self.ids),
            dropped_ids=self._transducer.dropped,
            replaced=self._transducer.replaced,
            translate_seconds=self.translate_seconds,
            tail_seconds=self.tail_seconds,
            first_in=self.first_in,
            last_in=self.last_in,
            request_sent=request_sent,
            first_out=first_out,
            wire_bytes=source.bytes_received if source else 0,
            wire_ids=source.generated_ids if source else 0,
        )
