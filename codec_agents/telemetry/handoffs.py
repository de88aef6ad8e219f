"""The span of one handoff: the time from a source's last id to the request of its target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec_agents.telemetry import names
from codec_agents.telemetry.scope import Attributes, Scope, links_to

if TYPE_CHECKING:
    from codec_agents.events import HandoffReport
    from codec_agents.plan.nodes import BuiltEdge


class HandoffScope(Scope):
    """`codec.handoff {source} -> {target}`: from the source's last needed id to the target's request."""

    __slots__ = ("_attributes", "_report")

    def __init__(
        self, run: Scope, edge: BuiltEdge, mode: str, *, upstream: Scope | None, start_time: int
    ) -> None:
        """Open the span.

        Args:
            run: The scope of the run.
            edge: The edge of the handoff.
            mode: `streamed`, or how else the ids pass.
            upstream: The source's last call, to which the span is linked.
            start_time: When the handoff began, in nanoseconds since the epoch.
        """
        self._report: HandoffReport | None = None
        self._attributes: Attributes = {
            names.HANDOFF_SOURCE: edge.source_node,
            names.HANDOFF_TARGET: edge.target_node,
            names.HANDOFF_STRATEGY: edge.strategy,
            names.HANDOFF_MODE: mode,
        }
        maps = {
            name: vocabulary.id
            for name, vocabulary in (
                (names.SOURCE_MAP, edge.source_vocabulary),
                (names.TARGET_MAP, edge.target_vocabulary),
            )
            if vocabulary is not None
        }
        super().__init__(
            run.telemetry,
            f"{names.HANDOFF} {edge.source_node} -> {edge.target_node}",
            run.context,
            {**self._attributes, **maps},
            pipeline=run.pipeline,
            links=links_to([upstream] if upstream else []),
            start_time=start_time,
        )

    def finish(self, report: HandoffReport, end_time: int | None) -> None:
        """End the span at the instant at which the target's request was sent; None means now."""
        self._report = report
        self.end(end_time=end_time)

    def _closing_attributes(self) -> Attributes:
        report = self._report
        if report is None:
            return {}
        found: Attributes = {
            names.HANDOFF_INPUT: report.input_ids,
            names.HANDOFF_OUTPUT: report.output_ids,
            names.HANDOFF_TRANSLATE: report.translate_seconds,
            names.HANDOFF_TAIL: report.tail_seconds,
            names.HANDOFF_DROPPED: report.dropped_ids,
            names.HANDOFF_REPLACED: report.replaced,
            names.HANDOFF_PREFILLED: report.prefilled_ids,
        }
        if parts := report.parts:
            found |= {name: parts[part] for part, name in HANDOFF_PARTS.items()}
        if report.gap is not None:
            found[names.HANDOFF_GAP] = report.gap
        if report.first_id_latency is not None:
            found[names.HANDOFF_FIRST_TOKEN] = report.first_id_latency
        return found

    def _record(self) -> None:
        if self._report is not None:
            self.telemetry.instruments.record_handoff(self._of_pipeline(self._attributes), self._report)


HANDOFF_PARTS = {
    "detect": names.HANDOFF_DETECT,
    "wait": names.HANDOFF_WAIT,
    "render": names.HANDOFF_RENDER,
    "queue": names.HANDOFF_QUEUE,
    "request": names.HANDOFF_REQUEST,
}
"""The attributes of the parts that, with the tail, make up the gap."""
