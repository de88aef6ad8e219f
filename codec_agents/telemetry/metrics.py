"""The instruments, and which numbers go into them. Metrics are recorded whether or not a trace is sampled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry import metrics

from codec_agents.telemetry import names

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

    from codec_agents.engines.base import StreamStats
    from codec_agents.events import HandoffReport

CALL_BUCKETS: Final = [0.01 * 2**n for n in range(14)]
"""10 ms to 82 s: the convention's advice for calls of models and tools."""
NODE_BUCKETS: Final = [0.1 * 2**n for n in range(13)]
"""100 ms to 7 min: a node asks its model in many turns."""
GAP_BUCKETS: Final = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0]
"""From the cost of a pass-through up to a fault."""

Attributes = Mapping[str, str | int]


class Instruments:
    """All instruments of one meter; made once, bound to whatever provider is set later."""

    def __init__(self, provider: MeterProvider | None = None) -> None:
        self._provider = provider
        meter = metrics.get_meter(names.SCOPE, meter_provider=provider)

        def seconds(name: str, buckets: list[float], description: str) -> metrics.Histogram:
            return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=buckets)

        def tokens(name: str, description: str) -> metrics.Counter:
            return meter.create_counter(name, "{token}", description)

        self.call = seconds(names.METRIC_CALL, CALL_BUCKETS, "Duration of a request to a model.")
        self.first_chunk = seconds(names.METRIC_FIRST_CHUNK, CALL_BUCKETS, "Time to the first id.")
        self.node = seconds(names.METRIC_NODE, NODE_BUCKETS, "Duration of a node or a run.")
        self.tool = seconds(names.METRIC_TOOL, CALL_BUCKETS, "Duration of a tool call.")
        self.input_tokens = tokens(names.METRIC_USAGE_INPUT, "Ids of prompts.")
        self.output_tokens = tokens(names.METRIC_USAGE_OUTPUT, "Ids generated.")
        self.cached_tokens = tokens(names.METRIC_USAGE_CACHED, "Ids of prompts found in a prefix cache.")
        self.reasoning_tokens = tokens(names.METRIC_USAGE_REASONING, "Ids generated as reasoning.")
        self.gap = seconds(
            names.METRIC_GAP, GAP_BUCKETS, "From the source's last id to the target's request."
        )
        self.handoff_first_token = seconds(
            names.METRIC_HANDOFF_FIRST_TOKEN, CALL_BUCKETS, "From the source's last id to the target's first."
        )
        self.handoff_tokens = tokens(names.METRIC_HANDOFF_TOKENS, "Ids into and out of a handoff.")
        self.translate = seconds(names.METRIC_TRANSLATE, GAP_BUCKETS, "Time spent translating.")
        self.sent_ahead = tokens(names.METRIC_SENT_AHEAD, "Ids of prompts that engines were sent ahead.")
        self.sent_ahead_found = tokens(
            names.METRIC_SENT_AHEAD_FOUND, "Of those, the ids that the request itself found in the cache."
        )
        self.cache_lost = tokens(
            names.METRIC_CACHE_LOST, "Ids of the turn before that an engine had forgotten, where most were."
        )
        self.stream_bytes = meter.create_counter(names.METRIC_STREAM_BYTES, "By", "Body bytes received.")

    @property
    def live(self) -> bool:
        """True if measurements go anywhere: the providers of the API itself keep nothing."""
        provider = self._provider or metrics.get_meter_provider()
        return not type(provider).__module__.startswith("opentelemetry.metrics")

    def record_call(
        self, attributes: Attributes, usage: Attributes, seconds: float, stats: StreamStats | None
    ) -> None:
        """Record a request; `usage` holds the attributes of token counts, which name no error."""
        self.call.record(seconds, attributes)
        if stats is None:  # the conventions want counts of requests that failed, too
            self.input_tokens.add(0, usage)
            self.output_tokens.add(0, usage)
            return
        if stats.first_id is not None and stats.request_started is not None:
            self.first_chunk.record(stats.first_id - stats.request_started, attributes)
        # `CallScope._record` counts the ids of the prompt, which it has itself: not all engines report them.
        self.output_tokens.add(stats.ids, usage)
        if stats.cached_tokens is not None:
            self.cached_tokens.add(stats.cached_tokens, usage)
        self.stream_bytes.add(
            stats.bytes_received,
            {
                names.STREAM_FORMAT: stats.format,
                names.SERVER_ADDRESS: stats.server_address or "",  # None is no value of an attribute
                names.WORKFLOW: usage[names.WORKFLOW],
            },
        )

    def record_handoff(self, attributes: Attributes, report: HandoffReport) -> None:
        """Record the report of one edge into a prompt."""
        if report.gap is not None:
            self.gap.record(report.gap, attributes)
        if report.first_id_latency is not None:
            self.handoff_first_token.record(report.first_id_latency, attributes)
        self.handoff_tokens.add(report.input_ids, {**attributes, names.HANDOFF_DIRECTION: "in"})
        self.handoff_tokens.add(report.output_ids, {**attributes, names.HANDOFF_DIRECTION: "out"})
        if report.strategy == "translate":
            maps = {
                names.SOURCE_MAP: report.source_map or "",
                names.TARGET_MAP: report.target_map,
                names.WORKFLOW: attributes[names.WORKFLOW],
            }
            self.translate.record(report.translate_seconds, maps)
