"""What telemetry costs a run of two models: without an SDK, with one that records, and for each id.

    python -m tests.benchmarks telemetry

Without an SDK: the calls that a real run makes of telemetry are noted, and made again, many times. With one:
whole runs take turns, with and without providers, and the medians of their processor time are compared. The
exporter throws away what it gets. Spans and measurements are counted for a short and for a long answer.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self, TypeAlias

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from codec_agents import Chat, Pipeline, telemetry
from codec_agents.engines.scripted.engine import ScriptedEngine, ScriptedModel
from codec_agents.engines.scripted.script import Say
from codec_agents.telemetry import spans

SILENT_BAR = 20e-6
"""Seconds a run of two models, where no SDK listens."""
REPETITIONS, RUNS = 9, 20
SHORT, LONG = 16, 4096


class Discard(SpanExporter):
    """Counts spans, and keeps none."""

    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


class Sdk:
    """An SDK, as an application sets it up."""

    def __init__(self, sampler: Sampler) -> None:
        self.exporter, self.reader = Discard(), InMemoryMetricReader()
        self._tracers = TracerProvider(sampler=sampler)
        self._tracers.add_span_processor(BatchSpanProcessor(self.exporter))
        self._meters = MeterProvider([self.reader])

    def listen(self) -> None:
        telemetry.configure(tracer_provider=self._tracers, meter_provider=self._meters)

    def measurements(self) -> int:
        """Return how many values have been recorded, and forget about the spans so far."""
        self._tracers.force_flush()
        found = self.reader.get_metrics_data()
        metrics = (
            [m for r in found.resource_metrics for s in r.scope_metrics for m in s.metrics] if found else []
        )
        return sum(getattr(point, "count", 1) for metric in metrics for point in metric.data.data_points)

    def close(self) -> None:
        self._tracers.shutdown()
        self._meters.shutdown()


def two_models(ids: int) -> Callable[[], Awaitable[Any]]:
    """Return a run of two models in this process; the first says about so many ids."""
    p = Pipeline("two").input("q").sink("out", text=False)
    for name, text in (("a", "word " * (ids // 2)), ("b", "read")):
        model = ScriptedModel(script=lambda _, text=text: Say(text), ids_a_frame=8)
        options = {"max_tokens": 2 * LONG}
        prompt = Chat(user="{q}")
        p.model(name, engine=ScriptedEngine(model), map="demo/bytes", prompt=prompt, sampling=options)
    p.connect("q", "a").connect("a", "b").connect("b", "out")
    return lambda: p.invoke({"q": "go"})


# --- without an SDK ---


Call: TypeAlias = tuple[str, tuple[Any, ...], dict[str, Any]]


class Noting(spans.Silent):
    """Stands for every scope of a run, and notes what is asked of it."""

    def __init__(self, calls: list[Call]) -> None:
        self._calls = calls

    def __enter__(self) -> Self:
        self._calls.append(("__enter__", (), {}))
        return self

    def __exit__(self, *error: object) -> None:
        self._calls.append(("__exit__", error, {}))

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_"):
            return found

        def noted(*arguments: Any, **named: Any) -> Any:
            self._calls.append((name, arguments, named))
            return found(*arguments, **named)

        return noted


async def calls_of_a_run() -> list[Call]:
    """Return what a run of two models calls, in order."""
    calls: list[Call] = []
    real, spans.run_scope = spans.run_scope, lambda *_, **__: Noting(calls)  # type: ignore[assignment,return-value]
    try:
        await two_models(SHORT)()
    finally:
        spans.run_scope = real
    return calls


def silent_seconds(calls: Sequence[Call]) -> float:
    """Return what these calls take where nobody listens, the beginning of the run's scope included."""
    rounds = []
    for _ in range(REPETITIONS):
        started = time.process_time()
        for _ in range(1000):
            scope = telemetry.run_scope("two", run_id="r", digest="d")
            for name, arguments, named in calls:
                getattr(scope, name)(*arguments, **named)
        rounds.append((time.process_time() - started) / 1000)
    return statistics.median(rounds)


# --- with one ---


async def seconds_of(run: Callable[[], Awaitable[Any]]) -> float:
    started = time.process_time()
    for _ in range(RUNS):
        await run()
    return (time.process_time() - started) / RUNS


async def cost(sdk: Sdk, run: Callable[[], Awaitable[Any]]) -> float:
    """Return how much longer a run takes with an SDK."""
    differences = []
    for _ in range(REPETITIONS):
        telemetry.configure()
        without = await seconds_of(run)
        sdk.listen()
        differences.append(await seconds_of(run) - without)
    telemetry.configure()
    return statistics.median(differences)


async def counted(run: Callable[[], Awaitable[Any]]) -> tuple[int, int]:
    """Return how many spans and measurements one run makes."""
    sdk = Sdk(ALWAYS_ON)
    sdk.listen()
    await run()
    telemetry.configure()
    measurements = sdk.measurements()
    sdk.close()
    return sdk.exporter.spans, measurements


async def measure() -> bool:
    calls = await calls_of_a_run()
    silent = silent_seconds(calls)
    verdict = "reached" if silent <= SILENT_BAR else "MISSED"
    print("a run of two models, processor time for telemetry")
    print(
        f"without an SDK: {silent * 1e6:.2f} us for {len(calls)} calls  [{verdict}: {SILENT_BAR * 1e6:g} us]"
    )
    for name, sampler in (("recording", ALWAYS_ON), ("sampled out", ALWAYS_OFF)):
        sdk = Sdk(sampler)
        print(f"with an SDK, {name}: {await cost(sdk, two_models(SHORT)) * 1e6:.0f} us", flush=True)
        sdk.close()
    short, long = await counted(two_models(SHORT)), await counted(two_models(LONG))
    for ids, (made, measurements) in ((SHORT, short), (LONG, long)):
        print(f"an answer of {ids:,} ids: {made} spans, {measurements} measurements")
    print(f"nothing for each id  [{'reached' if short == long else 'MISSED'}]")
    return silent <= SILENT_BAR and short == long


def main() -> bool:
    """Print the figures; return whether the bars were reached."""
    return asyncio.run(measure())
