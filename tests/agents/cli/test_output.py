"""What `run` prints where answers are cut, several sinks write at once, or a map has many items."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from codec_agents.cli import exits, main

CUT = """\
pipeline: cut
engines: {A: {kind: scripted, script: "one two three four five six"}}
nodes: {m: {map: demo/bytes, prompt: "{q}", sampling: {max_tokens: 3}}}
edges: [q -> m, m -> out]
"""

SCRIPT = 'kind: scripted, script: "one two three four five six"'

TWO = """\
pipeline: two
engines:
  A: {kind: scripted, script: "a1 a2 a3 a4 a5 a6", ids_a_second: 400}
  B: {kind: scripted, script: "b1 b2 b3 b4 b5 b6", ids_a_second: 500}
nodes:
  a: {engine: A, map: demo/bytes, prompt: "{q}"}
  b: {engine: B, map: demo/bytes, prompt: "{q}"}
edges: [q -> a, q -> b, a -> first, b -> second]
"""

MANY = """\
pipeline: many
engines: {A: {kind: scripted, script: "word"}}
nodes:
  each:
    each:
      pipeline: item
      nodes: {m: {engine: A, map: demo/bytes, prompt: "{item}"}}
      edges: [item -> m, m -> said]
edges: [q -> each.item, each.said -> out]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in {"cut": CUT, "two": TWO, "many": MANY}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(line: str) -> Result:
    result = CliRunner().invoke(main, line.split())
    assert result.exit_code == exits.DONE, result.output
    return result


@pytest.mark.usefixtures("folder")
def test_a_cut_answer_is_visible_everywhere() -> None:
    note = "m: the answer was cut at its limit of ids; raise `sampling.max_tokens`"
    assert note in " ".join(call("run cut.yaml -i q=go --record cut.jsonl").stdout.split())
    quiet = call("run cut.yaml -i q=go -q")
    assert note in quiet.stderr
    assert note not in quiet.stdout
    assert json.loads(call("run cut.yaml -i q=go --json").stdout)["finish_reasons"] == {"m": "length"}
    assert "m was cut: its last turn ended at its limit of ids" in call("trace cut.jsonl").output
    assert "length" in call("record show cut.jsonl").output
    assert note in call("record replay cut.jsonl cut.yaml").stderr


@pytest.mark.usefixtures("folder")
def test_the_texts_of_several_sinks_do_not_interleave() -> None:
    assert call("run two.yaml -i q=go -q").stdout == "a1 a2 a3 a4 a5 a6\nb1 b2 b3 b4 b5 b6\n"


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_map_over_a_thousand_items_prints_one_growing_line(folder: Path) -> None:
    (folder / "items.txt").write_text("\n".join(f"item {number}" for number in range(1000)))
    lines = call("run many.yaml -i q=@items.txt").stdout.splitlines()
    assert [line[2:] for line in lines if "items" in line] == ["1,000 items"]
    said = [line for line in lines if line[2:] == "word"]
    assert len(said) == 1000 + 4  # the answer itself, and the lanes of the first items
    assert len(lines) - len(said) < 40


def test_quiet_prints_nothing_of_a_run_that_failed_before_its_first_text(folder: Path) -> None:
    down = CUT.replace(SCRIPT, 'kind: codec, url: "http://127.0.0.1:1"')
    (folder / "down.yaml").write_text(down)
    result = CliRunner().invoke(main, ["run", "down.yaml", "-q", "-i", "q=go"])
    assert result.exit_code == exits.ENGINE_FAILED, result.output
    assert result.stdout == ""
