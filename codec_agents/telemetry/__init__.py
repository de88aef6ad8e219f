"""OpenTelemetry spans and metrics of runs, API only: without an SDK they cost microseconds and emit nothing.

`names` holds every name. `opentelemetry` is imported when the first run begins, and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from codec_agents.telemetry.spans import RunScope

__all__ = ["configure", "run_scope"]


def run_scope(pipeline: str, *, run_id: str | None = None, digest: str | None = None) -> RunScope:
    """Begin the span of a run, as a child of the caller's span."""
    from codec_agents.telemetry.spans import run_scope as begin

    return begin(pipeline, run_id=run_id, digest=digest)


def configure(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    capture_content: bool | None = None,
) -> None:
    """Send the spans and metrics of later runs to these providers instead of the global ones.

    None means the global provider, and for content the environment variable.
    """
    from codec_agents.telemetry import scope, spans

    spans.use(scope.Telemetry(tracer_provider, meter_provider, capture_content))
