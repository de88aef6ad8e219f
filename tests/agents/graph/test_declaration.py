"""Declaring in Python: what the calls accept, and what they keep beside the declaration."""

from pathlib import Path

import pytest

from codec_agents.exceptions import PipelineError
from codec_agents.graph import (
    Chat,
    Declaration,
    EngineSpec,
    FunctionNode,
    Limits,
    MapSpec,
    Policy,
    RawPrompt,
    StartsWith,
)
from codec_agents.vocabularies import bundled_map


def module_level_tool(city: str) -> str:
    return city


class LiveEngine:
    """The least that an engine object has."""

    name = "my engine"
    provider = "scripted"


def travel_desk() -> Declaration:
    engine = EngineSpec(kind="scripted", script="hello")
    p = Declaration("travel-desk")
    p.input("question")
    p.model(
        "planner",
        engine=engine,
        model="qwen2.5-7b",
        map="qwen/qwen2",
        tools=["travel:fares"],
        prompt=Chat(system="..", user="{question}"),
    )
    p.model("writer", engine=engine, map="meta-llama/llama-3", prompt=Chat(user="Rewrite:\n{draft}"))
    p.sink("reader", text=True)
    p.sink("audit", text=False)
    p.connect("question", "planner.question")
    p.connect("planner.answer", "writer.draft")
    p.connect("planner.reasoning", "audit")
    p.connect("writer.answer", "reader")
    return p


def test_the_example_of_the_documentation_is_without_fault():
    p = travel_desk()
    assert p.check() == []
    assert [(link.source, link.target) for link in p.spec.links] == [
        ("question.value", "planner.question"),
        ("planner.answer", "writer.draft"),
        ("planner.reasoning", "audit"),
        ("writer.answer", "reader"),
    ]


def test_usual_ports_and_single_slots_need_no_name():
    p = Declaration("short")
    p.input("q").model("m", prompt="{q}", map="demo/bytes", engine="http://localhost:1").sink("out")
    p.connect("q", "m").connect("m", "out")
    assert p.check() == []
    assert [(link.source, link.target) for link in p.spec.links] == [("q.value", "m.q"), ("m.answer", "out")]


def test_an_engine_value_is_declared_once():
    spec = travel_desk().spec
    assert list(spec.engines) == ["planner_engine"]
    assert {spec.nodes[name].engine for name in ("planner", "writer")} == {"planner_engine"}


def test_live_objects_stand_beside_the_declaration():
    engine, vocabulary = LiveEngine(), bundled_map("demo/bytes")
    p = Declaration("live")
    p.model("a", engine=engine, map=vocabulary, prompt="hi", tools=[module_level_tool, lambda: 1])
    p.model("b", engine=engine, map=vocabulary, prompt="hi")
    p.sink("out").connect("a", "out").connect("b", "out")
    assert p.live.engines == {"my_engine": engine}
    assert p.live.maps == {"demo/bytes": vocabulary}
    assert p.spec.map_of("demo/bytes") == MapSpec(id="demo/bytes", hash=vocabulary.hash)
    assert p.spec.engine_of("my_engine").kind == "live"
    assert set(p.live.callables.values()) >= {module_level_tool}
    with pytest.raises(PipelineError) as caught:
        p.to_yaml()
    assert {fault.place for fault in caught.value.faults} >= {"engines.my_engine", "_lambda_"}


def test_what_is_said_of_a_live_engine_is_kept_or_refused():
    p = Declaration("live").input("question").engine("A", LiveEngine(), concurrency=3, model="m")
    assert (p.spec.engines["A"].concurrency, p.spec.engines["A"].model) == (3, "m")
    with pytest.raises(PipelineError, match="a live engine brings its own headers, url"):
        Declaration("live").engine("A", LiveEngine(), url="http://127.0.0.1:1", headers={"a": "b"})
    p = (
        Declaration("value")
        .input("question")
        .engine("A", EngineSpec(kind="scripted", script="hi"), concurrency=3)
    )
    assert p.spec.engines["A"] == EngineSpec(kind="scripted", script="hi", concurrency=3)


def test_live_objects_of_a_nested_pipeline_are_seen_inside_it():
    inner = Declaration("inner").input("x").model("m", engine=LiveEngine(), map="demo/bytes", prompt="{x}")
    inner.sink("out").connect("x", "m").connect("m", "out")
    outer = Declaration("outer").input("q").pipeline("nested", inner).sink("out")
    outer.connect("q", "nested.x").connect("nested.out", "out")
    assert outer.check() == []
    assert list(outer.live.within("nested").engines) == ["my_engine"]
    assert outer.live.engines == {}


def test_an_importable_callable_is_named_by_its_path():
    from codec_agents.references.callables import Importer

    p = Declaration("p").function("f", Importer.resolve, inputs=["x"])
    node = p.spec.nodes["f"]
    assert node.call == "codec_agents.references.callables:Importer.resolve"
    assert p.live.callables[node.call] is Importer.resolve


def test_the_slots_of_a_function_are_its_arguments():
    def merge(left, right, *, sep=""): ...

    node = Declaration("p").function("f", merge).spec.nodes["f"]
    assert isinstance(node, FunctionNode)
    assert node.slots == ("left", "right")
    assert Declaration("p").function("f", "mine:merge").spec.nodes["f"].slots == ("value",)
    only = Declaration("p").function("f", lambda text="": text).spec.nodes["f"]
    assert only.slots == ("text",)
    assert Declaration("p").function("f", lambda **texts: texts).spec.nodes["f"].slots == ("value",)


def test_a_prompt_is_a_string_a_chat_or_pieces():
    p = Declaration("p")
    p.model("a", prompt="{x}").model("b", prompt=Chat(user="{x}"))
    p.model("c", prompt=[{"token": "<s>"}, {"slot": "x"}])
    assert p.spec.nodes["a"].prompt == p.spec.nodes["b"].prompt == Chat(user="{x}")
    assert isinstance(p.spec.nodes["c"].prompt, RawPrompt)
    assert [node.slots for node in p.spec.nodes.values()] == [("x",)] * 3


def test_a_name_declared_twice_is_told_with_the_other_faults():
    p = Declaration("p").input("a").input("a").sink("b")
    found = {(fault.place, fault.found) for fault in p.check() if fault.severity == "error"}
    assert ("nodes.a", "'a' is declared twice") in found
    assert ("nodes.b", "no edge leads to this sink") in found


def test_a_name_declared_twice_inside_a_node_is_told():
    body = Declaration("b").input("a").input("a").sink("o").connect("a", "o")
    p = Declaration("p").input("q").sink("s").pipeline("n", body).connect("q", "n").connect("n", "s")
    found = {fault.place for fault in p.check() if fault.found == "'a' is declared twice"}
    assert found == {"nodes.n.body.nodes.a"}


def test_fields_of_a_map_change_the_value():
    wanted = "sha256:" + "0" * 64
    p = Declaration("p").input("a")
    p.tokenizer_map("named", "demo/bytes", hash=wanted).tokenizer_map("path", MapSpec(path="x"), hash=wanted)
    p.tokenizer_map("loaded", bundled_map("demo/bytes"), hash=wanted)
    assert p.spec.maps["named"] == MapSpec(id="demo/bytes", hash=wanted)
    assert p.spec.maps["path"] == MapSpec(path="x", hash=wanted)
    assert p.spec.maps["loaded"].hash == wanted
    with pytest.raises(PipelineError, match="a loaded map brings its own path"):
        p.tokenizer_map("other", bundled_map("demo/bytes"), path="x")


@pytest.mark.parametrize(
    ("declare", "place"),
    [
        (lambda p: p.model("m", prompt="{"), "nodes.m.prompt"),
        (lambda p: p.model("m", prompt={}), "nodes.m.prompt"),
        (lambda p: p.model("m", prompt="x", sampling={"top_p": 3}), "nodes.m.sampling.top_p"),
        (lambda p: p.model("m", prompt="x", sampling={"temprature": 1}), "nodes.m.sampling.temprature"),
        (lambda p: p.model("m", prompt="x", policy={"limit": {}}), "nodes.m.policy.limit"),
        (lambda p: p.loop("l", travel_desk(), turns=0), "nodes.l.turns"),
        (lambda p: p.connect("a.b.c", "d"), "edges[0].from"),
        (lambda p: p.connect("a", "b", seperator=","), "edges[0].seperator"),
        (lambda p: p.engine("A", kind="vllm"), "engines.A"),
        (lambda p: p.engine("A", url="http://x", api_key="sk-secret"), "engines.A.api_key"),
        (lambda p: p.tokenizer_map("m", url="http://x"), "maps.m"),
    ],
)
def test_what_can_mean_nothing_is_refused_at_once(declare, place):
    with pytest.raises(PipelineError) as caught:
        declare(Declaration("p"))
    assert [fault.place for fault in caught.value.faults] == [place]
    assert "secret" not in str(caught.value).replace("a secret", "")


def test_an_empty_pipeline_has_no_declaration():
    with pytest.raises(PipelineError, match="nodes"):
        _ = Declaration("p").spec


def test_the_declaration_grows_after_it_was_looked_at():
    p = Declaration("p").input("a")
    assert list(p.spec.nodes) == ["a"]
    p.sink("b").connect("a", "b")
    assert list(p.spec.nodes) == ["a", "b"]
    assert p.check() == []


def test_policies_of_pipeline_and_node_come_together():
    p = Declaration("p", policy=Policy(limits=Limits(turns=3)))
    p.model("m", prompt="x", policy={"limits": {"max_ids": 9}})
    policy = p.spec.policy_of("m")
    assert (policy.limits.turns, policy.limits.max_ids) == (3, 9)


def test_a_body_takes_over_what_stands_around_it():
    inner = (
        Declaration("inner")
        .input("x")
        .sink("out")
        .connect("x", "out")
        .engine("B", kind="scripted", script="b")
    )
    outer = Declaration("outer", policy=Policy(limits=Limits(turns=3)))
    policy = {"on_failure": "skip", "limits": {"max_ids": 9}}
    outer.engine("A", kind="scripted", script="a").loop("l", inner, turns=2, policy=policy)
    body = outer.spec.body_of("l")
    assert set(body.engines) == {"A", "B"}
    assert (body.policy.limits.turns, body.policy.limits.max_ids) == (3, 9)
    assert body.policy.on_failure == "fail", "the loop is skipped, not what fails in it"


def test_a_loop_may_end_at_a_beginning():
    inner = Declaration("inner").input("x").sink("out").connect("x", "out")
    p = Declaration("p").loop("l", inner, turns=2, until=StartsWith(sink="out", starts_with="OK"))
    assert p.spec.nodes["l"].until.starts_with == "OK"


def test_conditional_nodes_are_those_that_something_must_start():
    p = Declaration("p").input("q")
    p.router("r", prompt="{q}", labels={"yes": "a", "no": ["b", "c"]}, default="a")
    for name in "abcd":
        p.model(name, prompt="{q}")
    p.connect("a", "d", fallback=True)
    assert p.spec.conditional == {"a", "b", "c", "d"}
    assert p.spec.nodes["r"].targets == ("a", "b", "c")


def test_a_relative_directory_is_kept():
    assert Declaration("p", directory="x").directory == Path("x")
