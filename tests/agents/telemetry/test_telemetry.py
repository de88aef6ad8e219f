"""Spans, links, metrics and propagation, with an SDK and without."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.propagate import inject
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from codec_agents import telemetry
from codec_agents.engines.base import WHOLE, SamplingOptions, StreamStats
from codec_agents.engines.http.aiohttp_client import DeferredBody
from codec_agents.engines.http.settings import HttpSettings
from codec_agents.engines.openai import OpenAIEngine
from codec_agents.graph import Chat
from codec_agents.pipeline import Pipeline
from codec_agents.records.reader import read_record
from codec_agents.runtime.model.preparation import prepare_engines
from codec_agents.server import EmbeddedServer, ScriptedBackend, create_app
from codec_agents.telemetry import names
from codec_agents.telemetry.calls import _sampling, stream_attributes
from codec_agents.telemetry.scope import Telemetry
from codec_agents.testing import Call, Cut, EmbeddedEngine, PromptView, Say, Script, ScriptedEngine, Think
from codec_agents.tools import tool
from codec_agents.vocabularies import bundled_map
from tests.limits import calls_of

SILENT_RUN_CALLS = 50
"""The promise for a two-model run without an SDK."""


def weather(city: str) -> str:
    """Look up the weather.

    Args:
        city: Where.
    """
    if city == "Atlantis":
        raise LookupError("no such city")
    return f"fog in {city}"


def planner(prompt: PromptView) -> Any:
    if prompt.turn == 1:
        return [Think("I look it up."), Call("weather", city=prompt.user.strip())]
    return [Say(f"The weather: {prompt.results[0]}")]


def writer(prompt: PromptView) -> Any:
    return [Say(f"Dear reader: {prompt.user}")]


def two_models(engine: Callable[..., Any] = ScriptedEngine, *, first: Script = planner) -> Pipeline:
    pipeline = Pipeline("desk")
    pipeline.input("city")
    pipeline.model(
        "planner",
        engine=engine(first, name="a"),
        model="m1",
        map="demo/bytes",
        tools=[weather],
        prompt=Chat(user="{city}"),
    )
    pipeline.model(
        "writer", engine=engine(writer, name="b"), model="m2", map="demo/words", prompt=Chat(user="{draft}")
    )
    pipeline.sink("reader")
    pipeline.connect("city", "planner.city").connect("planner.answer", "writer.draft")
    return pipeline.connect("writer.answer", "reader")


class Collected:
    """What a run sent to an SDK."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider([self._reader])

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}

    def all_named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def parent_of(self, name: str) -> str | None:
        by_id = {span.context.span_id: span.name for span in self._exporter.get_finished_spans()}
        parent = self.spans[name].parent
        return None if parent is None else by_id[parent.span_id]

    def linked(self, name: str, position: int = 0) -> list[str]:
        by_id = {span.context.span_id: span.name for span in self._exporter.get_finished_spans()}
        return [by_id[link.context.span_id] for link in self.all_named(name)[position].links]

    def metrics(self) -> dict[str, list[Any]]:
        data = self._reader.get_metrics_data()
        found: dict[str, list[Any]] = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found[metric.name] = list(metric.data.data_points)
        return found


@pytest.fixture
def collected() -> Iterator[Collected]:
    found = Collected()
    telemetry.configure(tracer_provider=found.tracers, meter_provider=found.meters)
    yield found
    telemetry.configure()
    found.tracers.shutdown()
    found.meters.shutdown()


@pytest.mark.asyncio
async def test_the_tree(collected: Collected) -> None:
    await two_models().invoke({"city": "Oslo"})
    assert {name: collected.parent_of(name) for name in collected.spans} == {
        "invoke_workflow desk": None,
        "invoke_agent planner": "invoke_workflow desk",
        "text_completion m1": "invoke_agent planner",
        "execute_tool weather": "invoke_agent planner",
        "codec.handoff city -> planner": "invoke_workflow desk",
        "codec.handoff planner -> writer": "invoke_workflow desk",
        "invoke_agent writer": "invoke_workflow desk",
        "text_completion m2": "invoke_agent writer",
    }
    kinds = {span.name: span.kind for span in collected.spans.values()}
    clients = {name for name, kind in kinds.items() if kind is SpanKind.CLIENT}
    assert clients == {"text_completion m1", "text_completion m2"}
    assert set(kinds.values()) == {SpanKind.CLIENT, SpanKind.INTERNAL}


@pytest.mark.asyncio
@pytest.mark.parametrize("is_async", [True, False])
async def test_spans_of_a_tool_hang_below_its_call_and_baggage_arrives(
    collected: Collected, is_async: bool
) -> None:
    tracer = collected.tracers.get_tracer("a tool")
    seen: list[object] = []

    def look_up() -> str:
        seen.append(baggage.get_baggage("tenant"))
        with tracer.start_as_current_span("look up"):
            return "fog"

    async def look_up_async() -> str:
        return look_up()

    given = tool(name="look_up")(look_up_async if is_async else look_up)
    pipeline = Pipeline("desk")
    pipeline.input("q").sink("reader")
    calls = ScriptedEngine(lambda prompt: [Call("look_up")] if prompt.turn == 1 else [Say("done")])
    pipeline.model("clerk", engine=calls, map="demo/bytes", tools=[given], prompt="{q}")
    pipeline.connect("q", "clerk.q").connect("clerk.answer", "reader")
    token = otel_context.attach(baggage.set_baggage("tenant", "north"))
    try:
        with tracer.start_as_current_span("caller"):
            pipeline.invoke_sync({"q": "x"})  # in a running event loop, so in a thread of its own
    finally:
        otel_context.detach(token)
    assert collected.parent_of("look up") == "execute_tool look_up"
    assert collected.parent_of("invoke_workflow desk") == "caller"
    assert seen == ["north"]


@pytest.mark.asyncio
async def test_links_tell_the_flow_of_the_data(collected: Collected) -> None:
    await two_models().invoke({"city": "Oslo"})
    assert collected.linked("codec.handoff planner -> writer") == ["text_completion m1"]
    assert collected.linked("text_completion m2") == ["codec.handoff planner -> writer"]
    assert collected.linked("execute_tool weather") == ["text_completion m1"]
    first, second = collected.all_named("text_completion m1")
    [asked] = collected.spans["execute_tool weather"].links
    assert asked.context.span_id == first.context.span_id
    [fed] = collected.spans["codec.handoff planner -> writer"].links
    assert fed.context.span_id == second.context.span_id


@pytest.mark.asyncio
async def test_each_edge_from_one_port_into_one_prompt_has_a_span(collected: Collected) -> None:
    p = Pipeline("twice").input("q").sink("out")
    engine = ScriptedEngine(lambda _: "said", name="a")
    p.model("a", engine=engine, map="demo/bytes", prompt=Chat(user="{q}"))
    p.model("b", engine=engine, map="demo/bytes", model="m", prompt=Chat(system="{one}", user="{two}"))
    p.connect("q", "a").connect("a", "b.one").connect("a", "b.two").connect("b", "out")
    await p.invoke({"q": "go"})
    spans = collected.all_named("codec.handoff a -> b")
    assert [span.attributes[names.HANDOFF_OUTPUT] for span in spans if span.attributes] == [3, 3]
    assert collected.linked("text_completion m") == ["codec.handoff a -> b"] * 2


@pytest.mark.asyncio
async def test_a_handoff_lies_between_its_calls(collected: Collected) -> None:
    await two_models().invoke({"city": "Oslo"})
    handoff = collected.spans["codec.handoff planner -> writer"]
    call = collected.spans["text_completion m2"]
    assert handoff.start_time is not None
    assert handoff.end_time is not None
    assert call.end_time is not None
    assert handoff.start_time <= handoff.end_time <= call.end_time
    attributes = handoff.attributes or {}
    assert attributes[names.HANDOFF_STRATEGY] == "translate"
    assert attributes[names.SOURCE_MAP] == "demo/bytes"
    assert attributes[names.TARGET_MAP] == "demo/words"
    assert attributes[names.HANDOFF_PREFILLED] == 0
    gap, first = attributes[names.HANDOFF_GAP], attributes[names.HANDOFF_FIRST_TOKEN]
    assert isinstance(gap, float)
    assert isinstance(first, float)
    assert 0 <= gap <= first


@pytest.mark.asyncio
async def test_names_and_types_of_attributes(collected: Collected) -> None:
    await two_models().invoke({"city": "Oslo"})
    known = {value for name, value in vars(names).items() if name.isupper()}
    for span in collected.spans.values():
        for name, value in (span.attributes or {}).items():
            assert name in known
            assert isinstance(value, str | int | float | tuple), name
    call = collected.spans["text_completion m2"].attributes or {}
    assert call[names.OPERATION] == "text_completion"
    assert call[names.PROVIDER] == "scripted"
    assert call[names.RESPONSE_FINISH_REASONS] == ("stop",)
    assert call[names.MAP] == "demo/words"
    assert isinstance(call[names.USAGE_OUTPUT], int)
    assert call[names.USAGE_OUTPUT] > 0


def test_the_engines_own_time_stands_on_the_call_where_it_tells_it() -> None:
    assert stream_attributes(StreamStats(engine_seconds=0.25))[names.ENGINE_FIRST_TOKEN] == 0.25
    assert names.ENGINE_FIRST_TOKEN not in stream_attributes(StreamStats())


@pytest.mark.asyncio
async def test_a_further_turn_says_how_much_of_its_prompt_was_kept(collected: Collected) -> None:
    await two_models().invoke({"city": "Oslo"})
    first, second = (dict(span.attributes or {}) for span in collected.all_named("text_completion m1"))
    assert names.PROMPT_KEPT not in first
    assert second[names.PROMPT_KEPT] == first[names.USAGE_INPUT] + first[names.USAGE_OUTPUT]
    assert second[names.PROMPT_KEPT] < second[names.USAGE_INPUT]


@pytest.mark.asyncio
async def test_usage_is_counted_once(collected: Collected) -> None:
    result = await two_models().invoke({"city": "Oslo"})
    calls = collected.all_named("text_completion m1") + collected.all_named("text_completion m2")
    counted = sum(int((span.attributes or {})[names.USAGE_OUTPUT]) for span in calls)  # type: ignore[arg-type]
    assert counted == result.total.generated_ids
    others = [span for span in collected.spans.values() if span.kind is not SpanKind.CLIENT]
    assert not any(names.USAGE_OUTPUT in (span.attributes or {}) for span in others)


@pytest.mark.asyncio
async def test_content_is_off_unless_asked_for(collected: Collected) -> None:
    content = {names.PROMPT_IDS, names.GENERATED_IDS, names.TOOL_ARGUMENTS, names.TOOL_RESULT}
    await two_models().invoke({"city": "Oslo"})
    assert not any(content & set(span.attributes or {}) for span in collected.spans.values())
    telemetry.configure(
        tracer_provider=collected.tracers, meter_provider=collected.meters, capture_content=True
    )
    await two_models().invoke({"city": "Oslo"})
    found = set().union(*(span.attributes or {} for span in collected.spans.values()))
    assert content <= found


@pytest.mark.asyncio
async def test_a_failed_tool_is_an_error_of_its_span_alone(collected: Collected) -> None:
    await two_models().invoke({"city": "Atlantis"})
    tool = collected.spans["execute_tool weather"]
    assert tool.status.status_code is StatusCode.ERROR
    assert (tool.attributes or {})[names.ERROR_TYPE] == "tool_error"
    assert collected.spans["invoke_agent planner"].status.status_code is StatusCode.UNSET


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_broken_stream_is_an_error_all_the_way_up(collected: Collected) -> None:
    with pytest.raises(Exception, match="breaks"):
        await two_models(first=lambda _: [Say("half"), Cut()]).invoke({"city": "Oslo"})
    for name in ("text_completion m1", "invoke_agent planner", "invoke_workflow desk"):
        span = collected.spans[name]
        assert span.status.status_code is StatusCode.ERROR, name
        assert names.ERROR_TYPE in (span.attributes or {})
        assert not span.events
    assert (collected.spans["text_completion m1"].attributes or {})[names.RESPONSE_FINISH_REASONS] == (
        "error",
    )


@pytest.mark.asyncio
async def test_a_run_that_is_left_is_cancelled_and_no_error(collected: Collected) -> None:
    endless = Say("word " * 20_000)
    async with two_models(first=lambda _: endless).run({"city": "Oslo"}) as run:
        async for event in run:
            if type(event).__name__ == "IdsReceived":
                break
    span = collected.spans["text_completion m1"]
    assert (span.attributes or {})[names.CANCELLED] is True
    assert all(span.status.status_code is StatusCode.UNSET for span in collected.spans.values())


@pytest.mark.asyncio
async def test_a_run_is_part_of_the_callers_trace(collected: Collected) -> None:
    with collected.tracers.get_tracer("caller").start_as_current_span("request"):
        await two_models().invoke({"city": "Oslo"})
    assert collected.parent_of("invoke_workflow desk") == "request"


@pytest.mark.asyncio
async def test_metrics(collected: Collected) -> None:
    result = await two_models().invoke({"city": "Oslo"})
    metrics = collected.metrics()
    known = {value for name, value in vars(names).items() if name.startswith("METRIC_")}
    assert set(metrics) <= known
    assert sum(point.value for point in metrics[names.METRIC_USAGE_OUTPUT]) == result.total.generated_ids
    assert sum(point.value for point in metrics[names.METRIC_USAGE_INPUT]) == result.total.prompt_ids
    assert sum(point.count for point in metrics[names.METRIC_CALL]) == 3
    assert sum(point.count for point in metrics[names.METRIC_TOOL]) == 1
    assert sum(point.count for point in metrics[names.METRIC_GAP]) == 2
    assert sum(point.count for point in metrics[names.METRIC_NODE]) == 3
    attributes = [point.attributes for points in metrics.values() for point in points]
    assert {each[names.WORKFLOW] for each in attributes} == {"desk"}


@pytest.mark.asyncio
async def test_a_record_names_the_trace_of_its_run(collected: Collected, tmp_path: Path) -> None:
    await two_models().invoke({"city": "Oslo"}, record=tmp_path / "run.jsonl")
    trace_id = collected.spans["invoke_workflow desk"].context.trace_id
    assert read_record(tmp_path / "run.jsonl").header["trace_id"] == format(trace_id, "032x")


# --- propagation ---


@pytest_asyncio.fixture
async def engines() -> AsyncIterator[list[EmbeddedEngine]]:
    """The engines that `embedded` made, closed at the end."""
    made: list[EmbeddedEngine] = []
    yield made
    for engine in made:
        await engine.aclose()


def embedded_in(engines: list[EmbeddedEngine], carrier: str) -> Callable[..., EmbeddedEngine]:
    def make(script: Script, name: str) -> EmbeddedEngine:
        engines.append(EmbeddedEngine(script, name=name, settings=HttpSettings(transport=carrier)))
        return engines[-1]

    return make


@pytest.fixture
def embedded(engines: list[EmbeddedEngine]) -> Callable[..., EmbeddedEngine]:
    return embedded_in(engines, "httpx")


def _parents_seen(engine: EmbeddedEngine) -> list[str]:
    assert engine.app is not None
    headers = [exchange.request.headers for exchange in engine.app.exchanges.generations]
    return [each["traceparent"].split("-")[2] for each in headers]


def _span_ids(spans: list[ReadableSpan]) -> list[str]:
    return [f"{span.context.span_id:016x}" for span in spans]


@pytest.mark.asyncio
@pytest.mark.parametrize("carrier", ["httpx", "aiohttp"])
async def test_the_engine_gets_the_calls_context(
    collected: Collected, engines: list[EmbeddedEngine], carrier: str
) -> None:
    await two_models(embedded_in(engines, carrier)).invoke({"city": "Oslo"})
    assert _parents_seen(engines[0]) == _span_ids(collected.all_named("text_completion m1"))
    assert _parents_seen(engines[1]) == _span_ids(collected.all_named("text_completion m2"))


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The context in each request that was begun ahead and has gone out."""
    contexts: list[str] = []
    give = DeferredBody.give

    async def watched(body: DeferredBody, content: bytes, headers: dict[str, str], on_sent: Any) -> bool:
        contexts.append(headers.get("traceparent", "none"))
        return await give(body, content, headers, on_sent)

    monkeypatch.setattr(DeferredBody, "give", watched)
    return contexts


@pytest.mark.asyncio
@pytest.mark.parametrize("traced", [True, False])
async def test_requests_are_begun_ahead_with_a_trace_as_without(
    collected: Collected, engines: list[EmbeddedEngine], begun: list[str], traced: bool
) -> None:
    """And the call's span begins with the node, not with what was begun while its source still wrote."""
    if not traced:
        telemetry.configure()
    pipeline = two_models(embedded_in(engines, "aiohttp"))
    await prepare_engines(pipeline.build(), within=10.0)
    await pipeline.invoke({"city": "Oslo"})
    if not traced:
        assert begun == ["none"] * 2
        return
    [first, _], [call] = (collected.all_named(f"text_completion {model}") for model in ("m1", "m2"))
    assert [context.split("-")[2] for context in begun] == _span_ids([first, call])
    node = collected.spans["invoke_agent writer"]
    assert call.start_time is not None
    assert node.start_time is not None
    assert call.start_time >= node.start_time


@pytest.mark.asyncio
async def test_a_text_boundary_is_marked(collected: Collected) -> None:
    backend = ScriptedBackend.of(bundled_map("demo/words"), writer, "m2")
    async with EmbeddedServer(create_app(backend)) as server:
        text_api = OpenAIEngine(server.url, name="b")
        await two_models(
            lambda script, *, name: text_api if name == "b" else ScriptedEngine(script, name=name)
        ).invoke({"city": "Oslo"})
        await text_api.aclose()
    marked = {name for name, span in collected.spans.items() if span.attributes.get(names.TEXT_BOUNDARY)}
    assert marked == {"text_completion m2"}


class Ends(SpanProcessor):
    """Notes in which order spans end."""

    def __init__(self, order: list[str]) -> None:
        self._order = order

    def on_end(self, span: ReadableSpan) -> None:
        self._order.append(span.name)


@pytest.mark.asyncio
async def test_the_next_model_is_asked_before_anything_is_told_of_the_last(
    collected: Collected, engines: list[EmbeddedEngine], begun: list[str]
) -> None:
    """Ending spans and recording metrics takes longer than a handoff; their times are those of the events."""
    collected.tracers.add_span_processor(Ends(begun))
    pipeline = two_models(embedded_in(engines, "aiohttp"))
    await prepare_engines(pipeline.build(), within=10.0)
    await pipeline.invoke({"city": "Oslo"})
    asked = [position for position, each in enumerate(begun) if each.startswith("00-")]
    assert begun.index("invoke_agent planner") > asked[-1]
    planner, writer = (collected.spans[f"invoke_agent {name}"] for name in ("planner", "writer"))
    assert planner.end_time is not None
    assert writer.start_time is not None
    assert planner.end_time <= writer.start_time


@pytest.fixture
def instrumented_httpx(collected: Collected) -> Iterator[None]:
    instrumentor = HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=collected.tracers)
    yield
    instrumentor.uninstrument()


@pytest.mark.asyncio
@pytest.mark.usefixtures("instrumented_httpx")
async def test_instrumented_httpx_stays_in_the_trace(
    collected: Collected, engines: list[EmbeddedEngine], embedded: Callable[..., EmbeddedEngine]
) -> None:
    await two_models(embedded).invoke({"city": "Oslo"})
    posts = collected.all_named("POST")
    calls = [span for name in ("m1", "m2") for span in collected.all_named(f"text_completion {name}")]
    assert sorted(post.parent.span_id for post in posts if post.parent) == sorted(
        span.context.span_id for span in calls
    )
    assert sorted(_parents_seen(engines[0]) + _parents_seen(engines[1])) == sorted(_span_ids(posts))


@pytest.mark.asyncio
@pytest.mark.usefixtures("instrumented_httpx")
async def test_what_aiohttp_carries_is_not_seen_by_httpx_instrumentation(
    collected: Collected, engines: list[EmbeddedEngine]
) -> None:
    """The engine's spans then hang below the call's own span, and nothing is missing but the `POST`."""
    await two_models(embedded_in(engines, "aiohttp")).invoke({"city": "Oslo"})
    assert collected.all_named("POST") == []
    assert _parents_seen(engines[1]) == _span_ids(collected.all_named("text_completion m2"))


@pytest.fixture
def instrumented_aiohttp(collected: Collected, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every session traced as `opentelemetry-instrumentation-aiohttp-client` does it."""
    tracer = collected.tracers.get_tracer("aiohttp")
    init = aiohttp.ClientSession.__init__

    async def began(_session: Any, context: Any, params: Any) -> None:
        context.span = tracer.start_span(params.method)
        inject(params.headers, trace.set_span_in_context(context.span))

    async def ended(_session: Any, context: Any, _params: Any) -> None:
        context.span.end()

    def traced(session: aiohttp.ClientSession, *args: Any, **options: Any) -> None:
        config = aiohttp.TraceConfig()
        config.on_request_start.append(began)
        config.on_request_end.append(ended)
        init(session, *args, **options, trace_configs=[config])

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", traced)


@pytest.mark.asyncio
@pytest.mark.usefixtures("instrumented_aiohttp")
async def test_instrumented_aiohttp_stays_in_the_trace(
    collected: Collected, engines: list[EmbeddedEngine], begun: list[str]
) -> None:
    """What is begun ahead would count as sent from then on, so nothing is."""
    await two_models(embedded_in(engines, "aiohttp")).invoke({"city": "Oslo"})
    posts = collected.all_named("POST")
    calls = [span for name in ("m1", "m2") for span in collected.all_named(f"text_completion {name}")]
    assert sorted(post.parent.span_id for post in posts if post.parent) == sorted(
        span.context.span_id for span in calls
    )
    assert sorted(_parents_seen(engines[0]) + _parents_seen(engines[1])) == sorted(_span_ids(posts))
    assert begun == []


# --- without an SDK ---


@pytest.mark.asyncio
async def test_without_an_sdk_nothing_is_sent() -> None:
    engine = ScriptedEngine(writer, name="b")
    pipeline = Pipeline("one").input("draft")
    pipeline.model("writer", engine=engine, map="demo/words", prompt=Chat(user="{draft}")).sink("reader")
    pipeline.connect("draft", "writer.draft").connect("writer.answer", "reader")
    await pipeline.invoke({"draft": "hello"})
    assert "traceparent" not in engine.requests[0].headers
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_silent_run_makes_few_calls() -> None:
    def run() -> None:
        scope = telemetry.run_scope("pipeline", digest="d")
        for _ in range(2):
            with scope.node("node", "model") as node:
                node.handoff(None, since=0.0)  # type: ignore[arg-type]
                with node.call(None, None) as call:  # type: ignore[arg-type]
                    call.headers()
                    with call.attached():
                        pass
                node.finish_handoff(None)  # type: ignore[arg-type]
        scope.finish()

    run()  # what is imported and created once is there
    assert calls_of(run, in_c=False) <= SILENT_RUN_CALLS


def test_a_fault_of_work_that_was_put_off_is_not_taken_for_the_end_of_it() -> None:
    def fail() -> None:
        raise IndexError("of the work")

    kept = Telemetry()
    kept._pending.append(fail)
    with pytest.raises(IndexError):
        kept.catch_up()


@pytest.mark.parametrize(
    ("interval", "can", "streams"), [(1, True, True), (WHOLE, True, False), (WHOLE, False, True)]
)
def test_a_call_says_whether_its_answer_is_streamed(interval: int, can: bool, streams: bool) -> None:
    engine = SimpleNamespace(unstreamed=can)
    node = SimpleNamespace(
        options=SamplingOptions(), has_max_tokens=True, stream_interval=interval, engine=engine
    )
    assert _sampling(node)[names.REQUEST_STREAM] is streams
