"""An edge into a slot while a run goes: what arrives in one vocabulary leaves in the target's.

A handoff works while its source still streams, so that when the source's last id arrives only the held-back
tail is left to do. It keeps the clock of the edge; nothing is timed per id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from codec_agents.events import HandoffReport, Usage
from codec_agents.runtime.edges.transducers import TRANSDUCERS, Batch
from codec_core.translator import Translator

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltEdge


class Departure(msgspec.Struct, frozen=True, kw_only=True):
    """When what happened to a prompt that was complete; seconds since the run was made."""

    filled: float
    """All slots were filled."""
    asked: float
    """The prompt was assembled."""
    admitted: float
    """There was a place at the engine."""
    sent: float | None
    """The request was written."""
    first_id: float | None
    prefilled_ids: int = 0


def _joined(batches: Sequence[Batch]) -> Batch:
    """Return batches that follow each other as one."""
    if isinstance(batches[0], str):
        return "".join(batches)  # type: ignore[arg-type]
    return [token_id for batch in batches for token_id in batch]  # type: ignore[misc]


GATHERED = 8
"""Ids or characters after which an edge works on what has come: each time has a price of its own, and what is
left for the end of the source takes some tens of microseconds."""


class Handoff:
    """One edge into one slot, for one run."""

    __slots__ = (
        "_clock",
        "_gathered",
        "_transducer",
        "_waiting",
        "edge",
        "first_in",
        "ids",
        "input_ids",
        "last_in",
        "tail_seconds",
        "text",
        "translate_seconds",
    )

    def __init__(self, edge: BuiltEdge, clock: Callable[[], float]) -> None:
        self.edge = edge
        self.ids: list[int] = []
        """What reached the slot so far, in the target's vocabulary."""
        self.text: list[str] = []
        """The same, where the slot takes text."""
        self.input_ids = 0
        self.first_in: float | None = None
        self.last_in: float | None = None
        self.translate_seconds = 0.0
        self.tail_seconds = 0.0
        self._transducer = TRANSDUCERS[edge.strategy](edge)
        self._clock = clock
        self._gathered: list[Batch] = []
        self._waiting = 0

    def take(self, batch: Batch) -> None:
        """Take what has arrived; work on it as soon as there is enough."""
        if self.first_in is None:
            self.first_in = self._clock()
        self._gathered.append(batch)
        self._waiting += len(batch)
        if self._waiting >= GATHERED:
            started = self._clock()
            self._work()
            self.translate_seconds += self._clock() - started

    def finish(self) -> None:
        """Take note that the source has ended; keep what was held back."""
        self.last_in = self._clock()
        self._work(last=True)
        self.tail_seconds = self._clock() - self.last_in
        self.translate_seconds += self.tail_seconds

    def _work(self, *, last: bool = False) -> None:
        gathered, self._gathered, self._waiting = self._gathered, [], 0
        if gathered:
            batch = gathered[0] if len(gathered) == 1 else _joined(gathered)
            if not isinstance(batch, str):
                self.input_ids += len(batch)
            if last and isinstance(self._transducer, Translator):  # sooner done than both one by one
                self._keep(self._transducer.translate(batch))  # type: ignore[arg-type]
                return
            self._keep(self._transducer.feed(batch))
        if last:
            self._keep(self._transducer.flush())

    def _keep(self, output: list[int] | str) -> None:
        if isinstance(output, str):
            self.text.append(output)
        else:
            self.ids += output

    def report(
        self,
        target: Departure,
        *,
        source: Usage | None = None,
        last_id: float | None = None,
    ) -> HandoffReport:
        """Return what the edge did, once the target's request is on its way.

        Args:
            target: what became of the prompt.
            source: the counts of the source.
            last_id: when the last id of the source arrived.
        """
        edge = self.edge
        translated = target.filled if self.last_in is None else self.last_in + self.tail_seconds
        return HandoffReport(
            source=edge.source,
            target=edge.target,
            strategy=edge.strategy,
            source_map=edge.source_vocabulary.id if edge.source_vocabulary else None,
            target_map=edge.target_vocabulary.id if edge.target_vocabulary else None,
            input_ids=self.input_ids,
            output_ids=len(self.ids),
            dropped_ids=self._transducer.dropped,
            replaced=self._transducer.replaced,
            translate_seconds=self.translate_seconds,
            tail_seconds=self.tail_seconds,
            first_in=self.first_in,
            last_in=self.last_in,
            request_sent=target.sent,
            first_out=target.first_id,
            wire_bytes=source.bytes_received if source else 0,
            wire_ids=source.generated_ids if source else 0,
            last_id=last_id,
            wait_seconds=target.filled - translated,
            render_seconds=target.asked - target.filled,
            queue_seconds=target.admitted - target.asked,
            request_seconds=0.0 if target.sent is None else target.sent - target.admitted,
            prefilled_ids=target.prefilled_ids,
        )
