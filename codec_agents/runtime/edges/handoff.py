"""An edge into a slot while a run goes: ids of the source's vocabulary become ids of the target's.

A handoff translates while its source still streams. When the source's last id arrives, only the held-back
tail is left to translate. Times are taken per batch, never per id.
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
    """When a complete prompt became a request; times are in seconds since the run was created."""

    filled: float
    """All slots were filled."""
    asked: float
    """The prompt was assembled."""
    admitted: float
    """The engine had a free place."""
    sent: float | None
    """The request was written."""
    first_id: float | None
    prefilled_ids: int = 0


def _joined(batches: Sequence[Batch]) -> Batch:
    """Return batches that follow each other as one."""
    if isinstance(batches[0], str):
        return "".join(batches)  # type: ignore[arg-type] # all batches of an edge are of one kind
    return [token_id for batch in batches for token_id in batch]  # type: ignore[misc] # likewise


GATHERED = 8
"""Ids or characters after which an edge translates what has arrived. Each call has a fixed cost, and the
rest that is left when the source finishes takes some tens of microseconds."""


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
        """The content of the slot so far, in the target's vocabulary."""
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
        """Take a batch; translate as soon as there is enough."""
        if self.first_in is None:
            self.first_in = self._clock()
        self._gathered.append(batch)
        self._waiting += len(batch)
        if self._waiting >= GATHERED:
            started = self._clock()
            self._work()
            self.translate_seconds += self._clock() - started

    def finish(self) -> None:
        """Translate the rest, held-back tail included: the source has finished."""
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
                self._keep(self._transducer.translate(batch))  # type: ignore[arg-type] # of ids
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
        """Return a report of the edge, once the target's request is on its way.

        Args:
            target: the times of the target's request.
            source: the counts of the source.
            last_id: when the last id of the source arrived, in seconds since the run was created.
        """
        edge = self.edge
        assert self.last_in is not None  # a request leaves when every edge into its prompt has ended
        translated = self.last_in + self.tail_seconds
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
            # Some clients do not tell when a request is written, and only models have counts.
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
