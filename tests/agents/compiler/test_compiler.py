"""From a declaration to a pipeline that can run: what is loaded, what is proven, what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from codec_agents import Chat, Pipeline, PipelineError
from codec_agents.exceptions import EngineError, NodeFailedError
from codec_agents.graph.explain import render_text
from codec_agents.plan.explanation import explain
from codec_agents.plan.nodes import BuiltModel
from codec_agents.plan.plan import BuiltMap
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
        "engines.desk",
        "nodes.a.tools[0]",
        "nodes.b.dialect",
    }
    assert "no slot 'wrong'" in found["edges[0].to"]
    assert "no map 'demo/none'" in found["nodes.a.map"]
    assert "(line 5)" in found["nodes.a.tools[0]"]
    assert "standard library" in found["nodes.a.tools[0]"]


def test_what_cannot_be_read_and_what_cannot_be_had_is_told_at_once() -> None:
    text = FAULTY.replace("dialect: nonsense", "dialect: nonsense, promt: x").replace(
        "edges: [", "edges: [a, "
    )
    with pytest.raises(PipelineError) as caught:
        Pipeline.from_yaml(text)
    places = {fault.place for fault in caught.value.errors}
    assert places == {
        "nodes.b.promt",
        "edges[0]",
        "edges[1].to",
        "nodes.a.map",
        "engines.desk",
        "nodes.a.tools[0]",
    }
    assert all(fault.line and fault.remedy for fault in caught.value.errors)


def test_what_a_file_inside_names_is_told_with_that_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "outer.yaml").write_text(
        "pipeline: outer\nengines: {A: {kind: scripted, script: hi}}\n"
        "nodes:\n  each: {each: inner.yaml}\nedges: [q -> each, each -> out]\n"
    )
    (tmp_path / "inner.yaml").write_text(
        'pipeline: inner\nnodes:\n  m:\n    map: demo/none\n    tools: ["os:system"]\n    prompt: "{x}"\n'
        "edges: [x -> m, m -> said]\n"
    )
    with pytest.raises(PipelineError) as caught:
        Pipeline.from_yaml(tmp_path / "outer.yaml").build()
    assert {(fault.place, fault.file, fault.line) for fault in caught.value.errors} == {
        ("nodes.each.each.nodes.m.map", str(tmp_path / "inner.yaml"), 4),
        ("nodes.each.each.nodes.m.tools[0]", str(tmp_path / "inner.yaml"), 5),
    }


def test_what_several_nodes_name_is_told_once_where_it_is_declared(tmp_path: Path) -> None:
    text = """\
pipeline: shared
engines:
  A: {kind: codec, url: "http://127.0.0.1:1", api_key: "${NO_SUCH_KEY}"}
maps:
  far: {path: nowhere.json}
nodes:
  a: {map: far, prompt: "{x}"}
  b: {map: far, prompt: "{x}"}
  each:
    each:
      engines:
        B: {kind: codec, url: "http://127.0.0.1:1", api_key: "${NO_OTHER_KEY}"}
      nodes:
        c: {engine: A, map: far, prompt: "{x}"}
        d: {engine: B, map: far, prompt: "{x}"}
      edges: [x -> c, x -> d, c -> y, d -> y]
edges: [q -> a, q -> b, q -> each, a -> out, b -> out, each -> out]
"""
    found = faults_of(text, tmp_path)
    assert {place: said.rpartition("(")[2] for place, said in found.items()} == {
        "engines.A": "line 3)",
        "maps.far": "line 5)",
        "nodes.each.each.engines.B": "line 12)",
    }


def test_an_embedded_engine_is_built_without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline can be checked and drawn without the extra; the first request names it."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    text = """\
pipeline: embedded
engines: {A: {kind: embedded, script: hi}}
nodes: {m: {map: demo/bytes, prompt: "{x}"}}
edges: [q -> m, m -> out]
"""
    pipeline = Pipeline.from_yaml(text)
    assert pipeline.build().warnings == ()
    with pytest.raises(NodeFailedError, match=r'pip install "codec-agents\[server\]"') as caught:
        pipeline.invoke_sync({"q": "go"})
    assert isinstance(caught.value.cause, EngineError)


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
    assert right in found["maps.mine"]


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
    p.function("shout", lambda value: value.upper(), wants="text")
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


def test_an_edge_into_a_pipeline_keeps_its_bounds_and_those_of_the_edge_inside() -> None:
    inner = Pipeline("box").input("x").sink("y", text=False)
    inner.model(
        "m", engine=ScriptedEngine(lambda _: "hello"), map="demo/bytes", prompt=Chat(user="{x}")
    ).connect("x", "m", prefill="ahead", prefill_budget=100, buffer=7)
    p = Pipeline("outer").input("q").sink("r").pipeline("deep", inner.connect("m", "y"))
    edge = p.connect("q", "deep").connect("deep", "r").build().edges_into("deep/m")[0]
    assert (edge.prefill, edge.prefill_budget, edge.buffer) == (256, 100, 7)


Fields = dict[str, Any]


@pytest.mark.parametrize(
    ("outer", "inner", "found"),
    [
        ({}, {}, (4096, 0, False)),
        ({"buffer": 100_000}, {}, (100_000, 0, False)),
        ({}, {"buffer": 100_000}, (100_000, 0, False)),
        ({"buffer": 100_000}, {"buffer": 5_000}, (5_000, 0, False)),
        ({"buffer": 100_000}, {"buffer": 4096}, (4096, 0, False)),
        ({"prefill_stride": 512}, {"prefill": "auto"}, (4096, 512, True)),
        ({"prefill_stride": 512}, {"prefill": "ahead", "prefill_stride": 300}, (4096, 300, False)),
    ],
)
def test_of_two_edges_that_become_one_what_is_declared_beats_a_default(
    outer: Fields, inner: Fields, found: tuple[int, int, bool]
) -> None:
    """Through two borders: the edge that was joined before keeps what was declared, and no more."""
    box = Pipeline("box").input("x").sink("y", text=False)
    box.model("m", engine=ScriptedEngine(lambda _: "x"), map="demo/bytes", prompt="{x}")
    box.connect("x", "m", **inner).connect("m", "y")
    between = Pipeline("between").input("x").sink("y", text=False).pipeline("box", box)
    between.connect("x", "box").connect("box", "y")
    p = Pipeline("outer").input("q").sink("r").pipeline("deep", between)
    [edge] = p.connect("q", "deep", **outer).connect("deep", "r").build().edges_into("deep/box/m")
    assert (edge.buffer, edge.prefill, edge.prefill_auto) == found


def test_each_separator_is_where_its_edge_meets_others() -> None:
    """The outer one is before the sink of a nested pipeline, whose own edges' are between its sources."""
    inner = Pipeline("inner").input("i").sink("o", text=False)
    p = Pipeline("p").input("q").sink("r")
    for pipeline, name in ((inner, "a"), (inner, "b"), (p, "first")):
        engine = ScriptedEngine(lambda _, name=name: name.upper())
        pipeline.model(name, engine=engine, map="demo/bytes", prompt="{text}")
    for name in ("a", "b"):
        inner.connect("i", name).connect(name, "o", separator="<in>")
    p.pipeline("n", inner).join("all").connect("q", "first").connect("q", "n")
    p.connect("first", "all", separator="<out>").connect("n", "all", separator="<out>").connect("all", "r")
    assert p.invoke_sync({"q": "x"}).text == {"r": "FIRST<out>A<in>B"}


def test_a_map_gives_its_items_to_the_input_that_needs_an_edge() -> None:
    body = Pipeline("body").input("style", default="short").input("item").join("both").sink("o")
    body.connect("style", "both").connect("item", "both").connect("both", "o")
    p = Pipeline("p").input("q").sink("r").map("each", body).connect("q", "each").connect("each", "r")
    each = p.build().nodes["each"]
    assert isinstance(each, BuiltMap)
    assert each.over == "item"


def test_engines_of_one_name_have_limits_of_their_own() -> None:
    engines = "engines: {e: {kind: scripted, script: hi, concurrency: %d}}"
    inner = Pipeline.from_yaml(
        f"pipeline: inner\n{engines % 1}\n"
        "nodes: {m: {map: demo/bytes, prompt: '{x}'}}\nedges: [x -> m, m -> y]\n"
    )
    p = Pipeline.from_yaml(
        f"pipeline: outer\n{engines % 8}\n"
        "nodes: {m: {map: demo/bytes, prompt: '{q}'}, s: {text: true}}\nedges: [q -> m, m -> s]\n"
    )
    nodes = p.pipeline("in", inner).sink("t").connect("q", "in").connect("in", "t").build().nodes
    limits = {
        name: node.engine_slots.total_tokens
        for name, node in nodes.items()
        if isinstance(node, BuiltModel) and node.engine_slots is not None
    }
    assert limits == {"m": 8, "in/m": 1}


def test_explain_says_maps_dialects_prompts_and_boundaries() -> None:
    p = Pipeline.from_yaml(Path(__file__).parents[3] / "examples" / "travel_desk.yaml")
    explanation = explain(p.build())
    text = render_text(explanation)
    for expected in ("demo/bytes", "demo/words", "translate", "dialect qwen3", "<|im_start|>", "text to ids"):
        assert expected in text
    data: dict[str, Any] = explanation.to_data()
    planner = next(node for node in data["nodes"] if node["name"] == "planner")
    assert planner["tools"] == ("fares", "climate")
    assert [piece["content"] for piece in planner["prompt"] if piece["kind"] == "slot"] == ["question"]


def test_explain_says_what_bodies_do_and_how_nodes_run() -> None:
    p = Pipeline.from_yaml("""\
pipeline: nested
engines: {A: {kind: scripted, script: hi}}
imports: [tests]
nodes:
  desk: {map: demo/bytes, prompt: "{x}", labels: {yes: each}, default: again}
  each:
    parallel: 3
    each:
      nodes:
        m: {map: demo/words, prompt: "Say: {item}"}
        loud: {call: "tests.agents.compiler.test_compiler:shout", wants: text}
        ids: {call: "tests.agents.compiler.test_compiler:same", map: demo/words}
      edges: [item -> m, m -> loud, loud -> ids, ids -> said]
  again:
    turns: 4
    feedback: {o: i}
    loop: {nodes: {n: {map: demo/bytes, prompt: "{i}"}}, edges: [i -> n, n -> o]}
  first: {first: 1, map: demo/bytes}
edges: [q -> desk, q -> each, q -> again, each -> first, again -> first, first -> out]
""")
    explanation = explain(p.build())
    text = render_text(explanation)
    for expected in (
        "  each/m (model)",
        "items of item are cut at '\\n', as they come; 3 at once, results in the order of the items",
        "4 rounds at most",
        "takes the first 1 to end",
        "starts by label yes: each; by default again",
        "  each/item.value -> each/m.item: text to ids (demo/words)",
    ):
        assert expected in text
    assert "each/m.answer -> each/loud.value" in explanation.text_boundaries
    assert "each/loud" in explanation.text_boundaries


def shout(value: str) -> str:
    return value.upper()


def same(value: list[int]) -> list[int]:
    return value


def test_explain_names_an_engine_that_speaks_text() -> None:
    p = Pipeline("p").input("q").sink("ids", text=False)
    p.engine("texts", kind="openai", url="http://127.0.0.1:1")
    p.model("m", engine="texts", map="demo/bytes", prompt=Chat(user="{q}"))
    explanation = explain(p.connect("q", "m").connect("m", "ids").build())
    assert explanation.text_boundaries == ("q.value -> m.q", "m")
    assert "a text boundary: the engine takes the prompt as text" in render_text(explanation)


def test_equal_declarations_have_equal_digests() -> None:
    text = FAULTY.replace("os:system", "tools:x")
    first, second = (Pipeline.from_yaml(text).spec for _ in range(2))
    from codec_agents.compiler.compiler import digest_of

    assert digest_of(first) == digest_of(second)
    assert digest_of(first) != digest_of(first.model_copy(update={"pipeline": "other"}))


def test_a_toolset_and_a_class_are_named_like_a_callable(tmp_path: Path) -> None:
    (tmp_path / "desk_tools.py").write_text(
        "from codec_agents.tools.tool import Toolset\n"
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


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ('nodes: {n: {each: "a\\0b"}}', "nodes.n.each"),
        ('nodes: {m: {map: "./a\\0.json", prompt: hi}}', "nodes.m.map"),
        ('maps: {a: {path: "a\\0"}}\nnodes: {m: {map: a, prompt: hi}}', "maps.a.path"),
        (
            'dialects: {d: {file: "a\\0"}}\nnodes: {m: {map: demo/bytes, dialect: d, prompt: hi}}',
            "dialects.d.file",
        ),
        ('nodes: {m: {map: demo/bytes, prompt: hi}, o: {kind: sink, file: "a\\0"}}', "nodes.o.file"),
        ('mcp: {s: {command: ["a\\0"]}}\nnodes: {m: {map: demo/bytes, prompt: hi}}', "mcp.s.command[0]"),
        ("nodes: {m: {map: ~nobody-of-this-name/a.json, prompt: hi}}", "nodes.m.map"),
    ],
)
def test_a_name_that_no_file_has_is_a_fault_with_its_place(part: str, place: str, tmp_path: Path) -> None:
    text = f"pipeline: x\nengines: {{e: {{kind: scripted, script: hi}}}}\n{part}\nedges: [m -> o]\n"
    with pytest.raises(PipelineError) as refused:
        Pipeline.from_yaml(text, directory=tmp_path).build()
    assert place in [fault.place for fault in refused.value.errors]


def test_a_long_chain_is_built_in_any_order_of_its_nodes() -> None:
    count = 350
    pipeline = Pipeline("long").input("q").sink("out")
    for number in reversed(range(count)):
        pipeline.join(f"n{number}")
    pipeline.connect("q", "n0")
    for number in range(count - 1):
        pipeline.connect(f"n{number}", f"n{number + 1}")
    built = pipeline.connect(f"n{count - 1}", "out").build()
    assert built.links["n300"].incoming == (300,)
    assert built.links["n300"].outgoing == {"value": ((301,), ())}


def test_what_is_declared_after_a_build_is_built() -> None:
    p = Pipeline("grows").input("q", map="demo/words").sink("one").connect("q", "one")
    first = p.build()
    assert p.build() is first
    p.sink("two").connect("q", "two")
    assert set(p.build().nodes) == {"q", "one", "two"}
    assert set(first.nodes) == {"q", "one"}, "a run that has begun keeps its plan"
    p.connect("q", "nowhere")
    with pytest.raises(PipelineError, match="nowhere"):
        p.build()
