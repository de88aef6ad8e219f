"""`codec-agents latency`: each way of running is measured, and shown as a table, JSON and a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from codec_agents.cli import exits, main
from codec_agents.cli.latency import CHANGES, DECLARED, ways
from codec_agents.pipeline import Pipeline

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
    assert set(found) == {DECLARED, *CHANGES} - {"prefill: auto"}
    assert [edge.prefill for edge in found["prefill off"].spec.edges] == [None, None, None]
    assert found[DECLARED].spec.edges[1].prefill == "auto"


def test_a_table_for_each_handoff_with_a_row_for_each_way(file: Path) -> None:
    shown = run(file)
    for way in ways(Pipeline.from_yaml(file)):
        assert way in shown
    assert "a.answer -> b.draft" in shown
    assert "task -> a.task" not in shown
    assert "as declared: the whole run took" in shown


def test_json_and_a_page(file: Path, tmp_path: Path) -> None:
    document = json.loads(run(file, "--json", "--html", str(tmp_path / "page.html")))
    assert document["ways"][0]["way"] == DECLARED
    (edge,) = document["ways"][0]["edges"]
    assert edge["edge"] == "a.answer -> b.draft"
    assert edge["engine_queue"] is None
    assert edge["first_id"] >= edge["engine"] > 0
    assert edge["cached"] >= 0
    assert "a.answer" in (tmp_path / "page.html").read_text()
