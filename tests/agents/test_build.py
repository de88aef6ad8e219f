"""From a declaration to a pipeline that can run: what is loaded, what is proven, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codec_agents import Chat, Pipeline, PipelineError
from codec_agents.built import BuiltModel
from codec_agents.explanation import explain
from codec_agents.graph.explain import render_text
from codec_agents.testing import ScriptedEngine
from codec_agents.vocabularies import bundled_map_bytes
from codec_core.maps import hash_map

FAULTY = """\
pipeline: faulty
engines:
  desk: {kind: scripted, script: "missing_module:script"}
nodes:
  a: {model: m, engine: desk, map: demo/none, tools: ["os:system"], prompt: "{q}"}
  b: {model: m, engine: desk, map: demo/bytes, prompt: "{q}", dialect: nonsense}
edges: [question -> a.wrong, a.answer -> b.q, b.answer -> reader]
"""


def faults_of(text: str, directory: Path | None = None) -> dict[str, str]:
    with pytest.raises(PipelineError) as caught:
        Pipeline.from_yaml(text, directory=directory).build()
    return {
        fault.place: f"{fault.found}; {fault.remedy} (line {fault.line})" for fault in caught.value.errors
    }


def test_faults_of_the_graph_and_of_what_it_names_are_told_at_once_each_at_its_place() -> None:
    found = faults_of(FAULTY)
    assert set(found) == {
        "edges[0].to",
        "nodes.a.map",
        "nodes.a.engine",
        "nodes.a.tools[0]",
        "nodes.b.engine",
        "nodes.b.dialect",
    }
    assert "no slot 'wrong'" in found["edges[0].to"]
    assert "no map 'demo/none'" in found["nodes.a.map"]
    assert "(line 5)" in found["nodes.a.tools[0]"]
    assert "standard library" in found["nodes.a.tools[0]"]


def test_a_map_with_another_hash_than_declared_is_refused(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_bytes(bundled_map_bytes("demo/bytes"))
    text = """\
pipeline: pinned
engines: {desk: {kind: scripted, script: "hello"}}
maps: {mine: {path: map.json, hash: "%s"}}
nodes: {a: {engine: desk, map: mine, prompt: "{q}"}}
edges: [question -> a.q, a.answer -> reader]
"""
    right = hash_map((tmp_path / "map.json").read_bytes())
    built = Pipeline.from_yaml(text % right, directory=tmp_path).build()
    assert isinstance(built.nodes["a"], BuiltModel)
    found = faults_of(text % ("sha256:" + "0" * 64), tmp_path)
    assert right in found["nodes.a.map"]


def test_a_map_without_the_markers_of_its_dialect_does_not_build(tmp_path: Path) -> None:
    document = json.loads(bundled_map_bytes("demo/bytes"))
    for name in ("<|im_start|>", "<|im_end|>"):
        document["special_tokens"].pop(name)
    (tmp_path / "bare.json").write_text(json.dumps(document))
    text = """\
pipeline: bare
engines: {desk: {kind: scripted, script: "hello"}}
nodes: {a: {engine: desk, map: ./bare.json, dialect: hermes, prompt: "{q}"}}
edges: [question -> a.q, a.answer -> reader]
"""
    (found,) = faults_of(text, tmp_path).values()
    assert "<|im_start|>" in found


def strategies(p: Pipeline) -> dict[str, str]:
    return {f"{edge.source} -> {edge.target}": edge.strategy for edge in p.build().edges}


def test_each_edge_is_proven_to_be_what_it_is() -> None:
    engine = ScriptedEngine(lambda _: "hello")
    p = Pipeline("edges").input("q").sink("text").sink("ids", text=False)
    for name, map_id in (("a", "demo/bytes"), ("b", "demo/bytes"), ("c", "demo/words")):
        p.model(name, engine=engine, map=map_id, prompt=Chat(user="{x}"))
    p.function("shout", str.upper, inputs=["value"], wants="text")
    p.connect("q", "a").connect("a", "b").connect("b", "c").connect("c", "shout").connect("shout", "text")
    p.connect("a.reasoning", "ids")
    assert strategies(p) == {
        "q.value -> a.x": "encode",
        "a.answer -> b.x": "pass_through",
        "b.answer -> c.x": "translate",
        "c.answer -> shout.value": "decode",
        "shout.value -> text": "text",
        "a.reasoning -> ids": "pass_through",
    }


def test_a_pipeline_in_a_pipeline_is_taken_apart() -> None:
    engine = ScriptedEngine(lambda _: "hello")

    def box(inner: Pipeline | None = None) -> Pipeline:
        p = Pipeline("box").input("x").sink("y", text=False)
        if inner is None:
            p.model("m", engine=engine, map="demo/bytes", prompt=Chat(user="{x}"))
            return p.connect("x", "m").connect("m", "y")
        return p.pipeline("in", inner).connect("x", "in").connect("in", "y")

    p = Pipeline("outer").input("q").sink("r").pipeline("deep", box(box()))
    p.connect("q", "deep").connect("deep", "r")
    assert strategies(p) == {"q.value -> deep/in/m.x": "encode", "deep/in/m.answer -> r": "decode"}
    assert set(p.build().nodes) == {"q", "r", "deep/in/m"}


def test_explain_says_maps_dialects_prompts_and_boundaries() -> None:
    p = Pipeline.from_yaml(Path(__file__).parents[2] / "examples" / "travel_desk.yaml")
    explanation = explain(p.build())
    text = render_text(explanation)
    for expected in ("demo/bytes", "demo/words", "translate", "dialect qwen3", "<|im_start|>", "text to ids"):
        assert expected in text
    data: dict[str, Any] = explanation.to_data()
    planner = next(node for node in data["nodes"] if node["name"] == "planner")
    assert planner["tools"] == ("fares", "climate")
    assert [piece["content"] for piece in planner["prompt"] if piece["kind"] == "slot"] == ["question"]


def test_equal_declarations_have_equal_digests() -> None:
    text = FAULTY.replace("os:system", "tools:x")
    first, second = (Pipeline.from_yaml(text).spec for _ in range(2))
    from codec_agents.build import digest_of

    assert digest_of(first) == digest_of(second)
    assert digest_of(first) != digest_of(first.model_copy(update={"pipeline": "other"}))


def test_a_toolset_and_a_class_are_named_like_a_callable(tmp_path: Path) -> None:
    (tmp_path / "desk_tools.py").write_text(
        "from codec_agents.tools import Toolset\n"
        "def fares(city: str) -> str: ...\n"
        "def rooms(city: str) -> str: ...\n"
        "class Weather:\n    def __call__(self, city: str) -> str: ...\n"
        "TOOLS = Toolset([fares, rooms]).prefixed('desk_')\n",
        encoding="utf-8",
    )
    p = Pipeline("desk", directory=tmp_path).input("question").sink("reader")
    p.engine("model", kind="scripted", script="hello")
    tools = ["desk_tools:TOOLS", "desk_tools:Weather"]
    p.model("clerk", map="demo/bytes", prompt="{question}", tools=tools)
    p.connect("question", "clerk.question").connect("clerk.answer", "reader")
    node = p.build().nodes["clerk"]
    assert isinstance(node, BuiltModel)
    assert node.dispatcher.tools.names == ("desk_fares", "desk_rooms", "Weather")
