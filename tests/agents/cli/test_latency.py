"""`codec-agents latency`: each way of running is measured, and shown as a table, JSON and a page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from click.testing import CliRunner

from codec_agents.cli import exits, main
from codec_agents.cli.latency import (
    CHANGES,
    DECLARED,
    TEXT,
    Measurement,
    _edges,
    _with_told_maps,
    measure,
    ways,
)
from codec_agents.events import HandoffReport
from codec_agents.graph import ModelNode
from codec_agents.pipeline import Pipeline
from codec_agents.testing import scripted_server
from codec_agents.vocabularies import bundled_map

FILE = """\
pipeline: two
engines:
  a: {kind: scripted, script: "a draft of some length"}
  b: {kind: scripted, script: "read", options: {prefix_cache: true}}
nodes:
  a: {engine: a, map: demo/bytes, prompt: "{task}"}
  b: {engine: b, map: demo/words, prompt: "{draft}"}
edges:
  - task -> a.task
  - {from: a.answer, to: b.draft, prefill: auto}
  - b.answer -> out
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "two.yaml").write_text(FILE)
    return tmp_path / "two.yaml"


def run(file: Path, *options: str) -> str:
    result = CliRunner().invoke(main, ["latency", str(file), "-i", "task=go", "--rounds", "1", *options])
    assert result.exit_code == exits.DONE, result.output
    return result.output


def test_the_ways_change_what_the_declaration_leaves_open(file: Path) -> None:
    found = ways(Pipeline.from_yaml(file))
    assert set(found) == {DECLARED, *CHANGES} - {"prefill: auto", TEXT}, "scripts have no chat API"
    assert [edge.prefill for edge in found["prefill off"].spec.edges] == [None, "off", None]
    assert found[DECLARED].spec.edges[1].prefill == "auto"


def test_a_table_for_each_handoff_with_a_row_for_each_way(file: Path) -> None:
    shown = run(file)
    for way in ways(Pipeline.from_yaml(file)):
        assert way in shown
    assert "a.answer -> b.draft" in shown
    assert "task -> a.task" not in shown
    assert "as declared: the whole run took" in shown


def test_a_pipeline_without_a_handoff_is_told_so_and_no_table_is_explained(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        "pipeline: one\nengines: {a: {kind: scripted, script: hi}}\n"
        "nodes: {a: {engine: a, map: demo/bytes, prompt: '{task}'}}\nedges: [task -> a, a -> out]\n"
    )
    shown = " ".join(run(tmp_path / "one.yaml").split())
    assert shown.endswith(
        "there is no handoff to measure: nothing that takes time feeds the prompt of a model"
    )
    assert "medians" not in shown


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    """Two servers, which have a chat API beside the protocol's."""
    with (
        scripted_server(bundled_map("demo/bytes"), lambda _: "a draft of some length", name="a") as a,
        scripted_server(bundled_map("demo/words"), lambda _: "read", name="b") as b,
    ):
        yield a.url, b.url


def fan_out(servers: tuple[str, str], **fields: Any) -> Pipeline:
    """Return a pipeline of a writer and two readers, whose engine is an address."""
    p = Pipeline("fan").input("task").engine("first", kind="codec", url=servers[0], format="protobuf")
    p.model("a", engine="first", model="a", map="demo/bytes", prompt="{task}")
    p.connect("task", "a.task")
    for name in ("b", "c"):
        p.model(name, engine=servers[1], model="b", map="demo/words", prompt="{draft}", **fields)
        p.sink(f"out-{name}").connect("a.answer", f"{name}.draft").connect(f"{name}.answer", f"out-{name}")
    return p


def measured(p: Pipeline, folder: Path) -> Measurement:
    return anyio.run(measure, ways(p), {"task": "go"}, 1, folder, lambda *_: None)


def test_the_text_path_and_the_slowest_edge_of_a_fan_out(servers: tuple[str, str], tmp_path: Path) -> None:
    found = measured(fan_out(servers), tmp_path)
    rows = {way.way: {edge.edge: edge for edge in way.edges} for way in found.ways}
    together = "a.answer -> 2 prompts, the last"
    assert {DECLARED, TEXT} <= set(rows)
    assert not found.left_out
    for way in (DECLARED, TEXT):
        each = [rows[way][f"a.answer -> {name}.draft"].first_id or 0 for name in ("b", "c")]
        assert rows[way][together].first_id == max(each) > 0
    assert [run.name for run in found.runs] == [way.way for way in found.ways]


def test_the_text_path_has_the_maps_that_the_engines_have_told(
    servers: tuple[str, str], tmp_path: Path
) -> None:
    spec = fan_out(servers).spec
    nodes = {
        name: node.model_copy(update={"map": None}) if isinstance(node, ModelNode) else node
        for name, node in spec.nodes.items()
    }
    found = measured(Pipeline.from_spec(spec.model_copy(update={"nodes": nodes})), tmp_path)
    assert not found.left_out
    assert TEXT in {way.way for way in found.ways}


def test_what_the_text_path_adds_replaces_nothing_that_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    p = Pipeline.from_yaml("""\
pipeline: p
engines:
  draft-text: {kind: codec, url: "http://127.0.0.1:2"}
maps:
  draft-text: {id: demo/words}
nodes:
  draft: {kind: model, engine: "http://127.0.0.1:1", prompt: "{question}"}
  title: {kind: model, engine: draft-text, map: draft-text, prompt: "{notes}"}
edges:
  - question -> draft.question
  - draft.answer -> title.notes
  - title.answer -> out
""")
    told = SimpleNamespace(vocabulary=SimpleNamespace(map=bundled_map("demo/bytes")))
    monkeypatch.setattr("codec_agents.cli.latency.prompted_nodes", lambda _: {"draft": told})
    monkeypatch.setattr(p, "build", lambda: None)
    spec, live = _with_told_maps(CHANGES[TEXT](p.spec), p)
    used = {
        name: (spec.engines[node.engine or ""].url, spec.maps[node.map or ""].id)
        for name, node in spec.nodes.items()
        if isinstance(node, ModelNode)
    }
    assert used == {
        "draft": ("http://127.0.0.1:1", "demo/bytes"),
        "title": ("http://127.0.0.1:2", "demo/words"),
    }
    assert [each.id for each in live.maps.values()] == ["demo/bytes"]


def reader(target: str, first_out: float, ahead: int, cached: int) -> HandoffReport:
    """Return the report of a reader whose writer ended after 1 s, and whose request was sent at once."""
    return HandoffReport(
        source="a.answer",
        target=target,
        strategy="translate",
        source_map="demo/bytes",
        target_map="demo/words",
        input_ids=20,
        output_ids=10,
        dropped_ids=0,
        replaced=0,
        translate_seconds=0.0,
        tail_seconds=0.0,
        first_in=0.5,
        last_in=1.0,
        request_sent=1.0,
        first_out=first_out,
        wire_bytes=200,
        wire_ids=20,
        prefilled_ids=ahead,
        cached_ids=cached,
    )


def test_all_figures_of_a_fan_out_are_those_of_the_reader_whose_first_id_comes_last() -> None:
    quick, slow = reader("b.draft", 1.25, ahead=8, cached=2), reader("c.draft", 2.5, ahead=4, cached=6)
    first, second, together = _edges([[quick, slow]])
    assert (together.first_id, together.engine, together.sent_ahead, together.cached) == (1.5, 1.5, 4, 6)
    assert (first.first_id, first.sent_ahead, first.cached) == (0.25, 8, 2)
    assert (second.first_id, second.sent_ahead, second.cached) == (1.5, 4, 6)


def test_a_text_path_that_cannot_be_is_left_out_with_the_reason(
    servers: tuple[str, str], tmp_path: Path
) -> None:
    found = measured(fan_out(servers, sampling={"top_k": 4}), tmp_path)
    assert TEXT not in {way.way for way in found.ways}
    assert "no sampling option 'top_k'" in found.left_out[TEXT]


def test_json_and_a_page(file: Path, tmp_path: Path) -> None:
    document = json.loads(run(file, "--json", "--html", str(tmp_path / "page.html")))
    assert document["ways"][0]["way"] == DECLARED
    (edge,) = document["ways"][0]["edges"]
    assert edge["edge"] == "a.answer -> b.draft"
    assert edge["engine_queue"] is None
    assert edge["first_id"] >= edge["engine"] > 0
    assert edge["cached"] >= 0
    assert "a.answer" in (tmp_path / "page.html").read_text()
