"""A prompt that leaves no room in its engine's context: refused, shortened, recorded, and replayed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from codec_agents import Pipeline, telemetry, tool
from codec_agents.cli import main
from codec_agents.dialects.messages import Message
from codec_agents.engines.base import GenerationRequest
from codec_agents.events import HistoryDropped
from codec_agents.exceptions import ApprovalRequiredError, ContextFullError, NodeFailedError, PipelineError
from codec_agents.records.reader import read_record
from codec_agents.runtime.model.room import NOTE
from codec_agents.server.backends.pipeline_failures import failure
from codec_agents.telemetry import names
from codec_agents.telemetry import spans as telemetry_spans
from codec_agents.testing import Call, PromptView, Say, ScriptedEngine
from codec_agents.trace import read_runs
from codec_agents.vocabularies import bundled_map
from codec_core.detokenizer import Detokenizer
from codec_core.vocabulary import vocabulary_of

pytestmark = pytest.mark.anyio

WORDS = vocabulary_of(bundled_map("demo/words"))
LOOKS = 3


def text_of(ids: Sequence[int]) -> str:
    return Detokenizer(WORDS).render(list(ids))


def looks(prompt: PromptView) -> Any:
    """Call a tool four times since the user spoke, then answer."""
    asked = max(place for place, said in enumerate(prompt.messages) if said.role == "user")
    results = sum(said.role == "tool" for said in prompt.messages[asked:])
    return Say("done") if results == LOOKS else Call("look", n=results)


def look(n: int) -> str:
    """Look at a page."""
    return f"page {n}: " + "rain in Oslo and sun in Rome " * 24


def agent(engine: Any, context: int | None, tools: Any = (look,), **policy: Any) -> Pipeline:
    p = Pipeline("agent").input("q").sink("out")
    p.engine("e", engine, context=context) if context else p.engine("e", engine)
    p.model("m", engine="e", map="demo/words", prompt="{q}", tools=tools, policy=policy)
    return p.connect("q", "m.q").connect("m", "out")


LENGTHS: list[int] = []


async def lengths() -> list[int]:
    """Return the lengths of the prompts where nothing is dropped."""
    if not LENGTHS:
        engine = ScriptedEngine(looks)
        await agent(engine, None).invoke({"q": "go"})
        LENGTHS.extend(len(request.prompt_ids) for request in engine.requests)
    return LENGTHS


DROPS = {"on_overflow": "drop_oldest_results"}


async def test_a_prompt_that_fills_the_context_is_a_typed_error() -> None:
    whole = await lengths()
    with pytest.raises(ContextFullError, match="leaves no room for an answer") as raised:
        await agent(ScriptedEngine(looks), whole[3]).invoke({"q": "go"})
    assert (raised.value.node, raised.value.prompt_ids, raised.value.context) == ("m", whole[3], whole[3])


async def test_the_oldest_results_are_dropped_until_there_is_room() -> None:
    whole = await lengths()
    engine = ScriptedEngine(looks)
    context = whole[3]
    result = await agent(engine, context, **DROPS).invoke({"q": "go"})
    assert result.text == {"out": "done"}
    prompts = [list(request.prompt_ids) for request in engine.requests]
    assert max(map(len, prompts)) <= context - context // 4
    last = text_of(prompts[-1])
    assert NOTE in last
    assert "page 0" not in last
    assert "page 2" in last  # the model has not seen it yet
    # Calls and all else stay: only results are other ids.
    assert [each.role for each in PromptView(prompts[-1], WORDS).messages][-2:] == ["assistant", "tool"]
    assert last.count("look") == text_of(engine.requests[-1].prompt_ids).count("look")
    assert all(request.options.max_tokens == context - len(request.prompt_ids) for request in engine.requests)


async def test_what_was_dropped_is_in_the_record_and_an_export_begins_a_row(tmp_path: Path) -> None:
    file, context = tmp_path / "run.jsonl", (await lengths())[3]
    p = agent(ScriptedEngine(looks), context, **DROPS)
    await p.invoke({"q": "go"}, record=file)
    record = read_record(file)
    [known] = [line for line in record.lines if line["kind"] == "context"]
    assert (known["ids"], known["turn"]) == (context, 1)
    drops = [line for line in record.lines if line["kind"] == "dropped"]
    assert drops
    assert drops[0]["policy"] == "drop_oldest_results"
    before = record.of_node("m")[drops[0]["turn"] - 2]
    assert "page 0" in text_of((before.prompt + before.generated)[slice(*drops[0]["dropped"][0])])
    rows = list(record.trajectories())
    assert len(rows) == 1 + len(drops)
    turns = record.of_node("m")
    for row in rows:  # each sampled id is in the context that it was sampled in
        ids, starts = row["ids"], row["turn_starts"]
        assert any(turn.prompt == ids[: starts[-1]] for turn in turns)


async def test_a_replay_drops_the_same(tmp_path: Path) -> None:
    file, context = tmp_path / "run.jsonl", (await lengths())[3]
    engine = ScriptedEngine(looks)

    async def told(request: GenerationRequest) -> int:
        return context

    engine.context_length = told  # type: ignore[attr-defined]
    p = agent(engine, None, **DROPS)
    first = await p.invoke({"q": "go"}, record=file)
    again = tmp_path / "again.jsonl"
    replayed = await p.replay(file, record=again).execute()
    assert replayed.text == first.text
    assert read_record(file).differences(read_record(again)) == []
    [recovered] = [await p.recover(file, record=tmp_path / "third.jsonl").execute()]
    assert recovered.text == first.text


@pytest.mark.parametrize("lines", [9, 14, 18])
async def test_a_run_goes_on_in_its_record_as_if_it_had_not_been_cut(tmp_path: Path, lines: int) -> None:
    whole, context = tmp_path / "whole.jsonl", (await lengths())[3]
    await agent(ScriptedEngine(looks), context, **DROPS).invoke({"q": "go"}, record=whole)
    written = whole.read_bytes().splitlines(keepends=True)
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(written[:lines]))
    p = agent(ScriptedEngine(looks), context, **DROPS)
    result = await p.run_or_recover(cut, {"q": "go"}).execute()
    assert result.text == {"out": "done"}
    assert read_record(cut).differences(read_record(whole)) == []
    kinds = [json.loads(line)["kind"] for line in cut.read_bytes().splitlines()]
    assert kinds.count("dropped") == [json.loads(line)["kind"] for line in written].count("dropped")
    assert kinds.count("context") == 1


async def test_a_pause_keeps_where_the_results_are() -> None:
    context = (await lengths())[3]
    asked = tool(look, approval=True)
    straight = ScriptedEngine(looks)
    await agent(straight, context, **DROPS).invoke({"q": "go"})
    engine = ScriptedEngine(looks)
    p = agent(engine, context, (asked,), **DROPS)
    pause = None
    for _ in range(LOOKS + 1):
        try:
            run = p.invoke({"q": "go"}) if pause is None else p.resume(pause, [True]).execute()
            await run
            break
        except ApprovalRequiredError as waits:
            pause = type(waits.pause).from_json(waits.pause.to_json())
    assert [list(each.prompt_ids) for each in engine.requests] == [
        list(each.prompt_ids) for each in straight.requests
    ]


async def test_results_of_an_earlier_run_are_dropped_as_well() -> None:
    engine = ScriptedEngine(looks)
    first = await agent(engine, None).invoke({"q": "go"})
    before = len(engine.requests)
    context = len(first.histories["m"].prompt) + 60
    p = agent(engine, context, **DROPS)
    events: list[Any] = []
    async with p.run({"q": "go on"}, after=first) as run:
        async for event in run:
            events += [event] if isinstance(event, HistoryDropped) else []
    assert run.result.text == {"out": "done"}
    assert events[0].turn == 1
    assert events[0].after < events[0].before
    assert NOTE in text_of(engine.requests[before].prompt_ids)


def newest(messages: list[Message], sizes: list[int], most: int) -> list[Message]:
    """Shorten the results, the oldest first."""
    assert len(messages) == len(sizes)
    return [
        Message(role=each.role, content="gone", name=each.name, call_id=each.call_id)
        if each.role == "tool" and place < len(messages) - 1
        else each
        for place, each in enumerate(messages)
    ]


async def test_a_function_says_which_messages_stay(tmp_path: Path) -> None:
    file, context = tmp_path / "run.jsonl", (await lengths())[3]
    engine = ScriptedEngine(looks)
    p = agent(engine, context, on_overflow=newest)
    result = await p.invoke({"q": "go"}, record=file)
    assert result.text == {"out": "done"}
    last = text_of(engine.requests[-1].prompt_ids)
    assert "gone" in last
    assert "page 0" not in last

    def never(*_: Any) -> Any:
        raise AssertionError("a replay asks the record")

    again = tmp_path / "again.jsonl"
    await agent(ScriptedEngine(looks), context, on_overflow=never).replay(file, record=again).execute()
    assert read_record(file).differences(read_record(again)) == []
    assert len(list(read_record(file).trajectories())) > 1


@pytest.mark.parametrize("returned", [None, "text", [{"role": 1}], [{"role": "user", "calls": "\ud800"}]])
async def test_a_function_that_returns_no_messages_is_named(returned: Any) -> None:
    context = (await lengths())[3]
    with pytest.raises(NodeFailedError, match="no messages"):
        await agent(ScriptedEngine(looks), context, on_overflow=lambda *_: returned).invoke({"q": "go"})


async def test_a_function_that_leaves_too_much_is_a_full_context() -> None:
    context = (await lengths())[3]
    with pytest.raises(ContextFullError):
        await agent(
            ScriptedEngine(looks), context, on_overflow=lambda messages, sizes, most: messages
        ).invoke({"q": "go"})


async def test_an_engine_that_does_not_tell_its_context_is_a_typed_error() -> None:
    with pytest.raises(NodeFailedError, match="declare `context` of the engine"):
        await agent(ScriptedEngine(looks), None, **DROPS).invoke({"q": "go"})


async def test_an_answer_ends_where_the_context_does() -> None:
    engine = ScriptedEngine(lambda _: Say("one two three four " * 9))
    result = await agent(engine, 24, ()).invoke({"q": "go"})
    left = 24 - len(engine.requests[0].prompt_ids)
    assert engine.requests[0].options.max_tokens == left
    assert result.finish_reasons == {"m": "length"}


def test_files_name_policies_and_functions(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def shorten(messages, sizes, most):\n    return messages\n")
    text = """
pipeline: p
imports: [mine]
engines: {e: {kind: scripted, script: hi, context: 100}}
nodes:
  q: {kind: input}
  m: {engine: e, map: demo/words, prompt: "{q}", policy: {on_overflow: POLICY}}
  out: {kind: sink}
edges: [q -> m.q, m -> out]
"""
    for policy in ("fail", "drop_oldest_results", "mine:shorten"):
        p = Pipeline.from_yaml(text.replace("POLICY", policy), directory=tmp_path)
        assert p.check() == []
        assert Pipeline.from_yaml(p.to_yaml(), directory=tmp_path).spec == p.spec
    for policy, said in (("drop_oldest", "did you mean"), ("mine:gone", "gone"), ("other:f", "imports")):
        p = Pipeline.from_yaml(text.replace("POLICY", policy), directory=tmp_path)
        with pytest.raises(PipelineError) as raised:
            p.build()
        [fault] = raised.value.faults
        assert fault.place == "nodes.m.policy.on_overflow"
        assert said in fault.found + fault.remedy


def test_a_policy_that_cannot_be_followed_is_a_fault() -> None:
    p = Pipeline("p", policy=DROPS).input("q").sink("out")  # type: ignore[arg-type]
    p.engine("e", kind="scripted", script="hi")
    p.model("m", engine="e", map="demo/words", prompt="{q}").connect("q", "m.q").connect("m", "out")
    [fault] = p.check()
    assert (fault.place, fault.remedy) == (
        "nodes.m.policy.on_overflow",
        "declare `context` of the engine, in ids",
    )
    q = Pipeline("q").input("q").sink("out").engine("e", kind="scripted", script="hi", context=50)
    pieces = [{"slot": "q"}]
    q.model("m", engine="e", map="demo/words", prompt=pieces, policy={"on_overflow": newest})
    q.connect("q", "m.q").connect("m", "out")
    assert any("not written from any" in fault.found for fault in q.check())


async def test_the_terminal_and_the_page_show_what_was_dropped(tmp_path: Path) -> None:
    file, context = tmp_path / "run.jsonl", (await lengths())[3]
    await agent(ScriptedEngine(looks), context, **DROPS).invoke({"q": "go"}, record=file)
    [run] = read_runs([file])
    first = run.dropped[0]
    assert (first["context"], first["before"] > first["after"]) == (context, True)
    shown = await anyio.to_thread.run_sync(CliRunner().invoke, main, ["trace", str(file)])
    assert f"m dropped history before turn {first['turn']} (drop_oldest_results)" in shown.output
    assert f"{first['before']:,} ids would have been" in shown.output
    assert first in run.summary()["dropped"]


def test_a_client_of_a_served_pipeline_is_told_to_shorten_the_conversation() -> None:
    refused = failure(ContextFullError("secret", 300, 256))
    assert (refused.status, refused.code) == (400, "context_length_exceeded")
    assert "secret" not in str(refused)


async def test_a_span_names_a_limit_only_where_one_is_declared() -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    before = telemetry_spans.current()
    telemetry.configure(tracer_provider=provider)
    try:
        for sampling in ({}, {"max_tokens": 7}):
            p = Pipeline("one").input("q").sink("out")
            p.model(
                "m", engine=ScriptedEngine(lambda _: "hi"), map="demo/words", prompt="{q}", sampling=sampling
            )
            await p.connect("q", "m.q").connect("m", "out").invoke({"q": "go"})
    finally:
        telemetry_spans.use(before)
    calls = [each for each in spans.get_finished_spans() if each.name.startswith("text_completion")]
    assert [dict(each.attributes or {}).get(names.REQUEST_MAX_TOKENS) for each in calls] == [None, 7]
