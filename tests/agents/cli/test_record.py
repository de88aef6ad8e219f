"""`codec-agents record`: show, replay, recover, compare, export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from codec_agents.cli import exits, main
from codec_agents.records.reader import read_record
from tests.agents.recorded_runs import Answers, asking

DESK = """
pipeline: desk
engines: {a: {kind: scripted, script: [{say: "one two three"}], ids_a_frame: 2}}
nodes:
  q: {kind: input}
  m: {engine: a, map: demo/bytes, prompt: "{q}"}
  each:
    each:
      pipeline: item
      nodes:
        one: {kind: input}
        n: {engine: a, map: demo/words, prompt: "say {one}"}
        said: {kind: sink, text: false}
      edges: [one -> n.one, n.answer -> said]
    split: " "
  out: {kind: sink}
edges: [q -> m.q, m.answer -> each.one, each.said -> out]
"""


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "desk.yaml").write_text(DESK)
    return tmp_path / "desk.yaml"


@pytest.fixture
def record(desk: Path) -> Path:
    path = desk.parent / "run.jsonl"
    done = invoke("run", desk, "-i", "q=hello", "--record", path)
    assert done.exit_code == exits.DONE, done.output
    return path


def test_show_names_functions_and_what_came_first(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    asking(Answers()).invoke_sync({"q": "a"}, record=path)
    shown = invoke("record", "show", path).output
    for said in ("shout: finished", "1 call of its function", "came first: a.answer, each.said"):
        assert said in shown
    document = json.loads(invoke("record", "show", path, "--json").output)
    assert document["functions"]["each"] == 1
    assert document["decided"] == {"two": ["a.answer", "each.said"]}


def test_show_names_every_turn(record: Path) -> None:
    shown = invoke("record", "show", record)
    assert shown.exit_code == exits.DONE
    for said in ("desk", "complete", "input q: hello", "m: finished", "each[2]/n: finished", "turn 1:"):
        assert said in shown.output
    document = json.loads(invoke("record", "show", record, "--json").output)
    assert document["inputs"] == {"q": "hello"}
    assert document["nodes"]["each[0]/n"]["map"] == "demo/words"
    assert {turn["node"] for turn in document["turns"]} == {"m", *(f"each[{n}]/n" for n in range(3))}


def test_show_says_where_a_record_is_cut_off(record: Path) -> None:
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(lines[:3]))
    shown = invoke("record", "show", record).output
    assert "not complete" in shown
    assert "m: cut off" in shown
    assert "stopped" not in shown
    assert ", cut off" in shown


def test_replay_shows_the_text_and_refuses_another_pipeline(record: Path, desk: Path) -> None:
    again = desk.parent / "again.jsonl"
    done = invoke("record", "replay", record, desk, "--record", again)
    assert done.exit_code == exits.DONE
    assert done.output.strip() == read_record(record).texts()["out"]
    assert invoke("record", "compare", record, again).exit_code == exits.DONE
    document = json.loads(invoke("record", "replay", record, desk, "--json").output)
    assert document["text"]["out"] == done.output.strip()
    desk.write_text(DESK.replace("say {one}", "tell {one}"))
    refused = invoke("record", "replay", record, desk)
    assert refused.exit_code == exits.DATA_UNUSABLE
    assert "node 'each[0]/n', turn 1, position" in refused.output


def test_recover_goes_on(record: Path, desk: Path) -> None:
    whole = read_record(record).texts()["out"]
    lines = record.read_text().splitlines(keepends=True)
    cut = next(n for n, line in enumerate(lines) if '"each[' in line)
    record.write_text("".join(lines[:cut]))
    done = invoke("record", "recover", record, desk)
    assert done.exit_code == exits.DONE
    assert done.output.strip() == whole
    refused = invoke("record", "recover", record, desk, "--record", record)
    assert refused.exit_code == exits.DATA_UNUSABLE
    assert "overwritten" in refused.output


def test_compare_ends_as_diff_does(record: Path, desk: Path) -> None:
    other = desk.parent / "other.jsonl"
    assert invoke("run", desk, "-i", "q=other", "--record", other).exit_code == exits.DONE
    assert "the same ids" in invoke("record", "compare", record, record).output
    found = invoke("record", "compare", record, other)
    assert found.exit_code == exits.RUN_FAILED
    assert "m, turn 1: prompt ids differ from position" in found.output
    document = json.loads(invoke("record", "compare", record, other, "--json").output)
    assert not document["same"]
    assert "input q: the values differ" in document["differences"]


def test_export_writes_trajectories(record: Path, desk: Path) -> None:
    lines = [json.loads(line) for line in invoke("record", "export", record).output.splitlines()]
    assert lines == list(read_record(record).trajectories())
    for line in lines:
        assert len(line["ids"]) == len(line["sampled"]) == line["turn_ends"][-1]
        assert line["map_hash"].startswith("sha256:")
    target = desk.parent / "train.jsonl"
    done = invoke("record", "export", record, record, "--node", "each/n", "-o", target)
    assert done.exit_code == exits.DONE
    assert len(target.read_text().splitlines()) == 6


def test_rewards_and_notes_are_added_and_exported(record: Path, desk: Path) -> None:
    node = read_record(record).nodes[0]
    assert (
        invoke("record", "annotate", record, "--reward", "0.25", "--reward", f"{node}=0.75").exit_code
        == exits.DONE
    )
    assert (
        invoke(
            "record", "annotate", record, "--set", "judge=tests", "--set", "passed=3", "--set", "cost=NaN"
        ).exit_code
        == exits.DONE
    )
    read = read_record(record)
    assert (read.rewards, read.metadata) == (
        {"": 0.25, node: 0.75},
        {"judge": "tests", "passed": 3, "cost": "NaN"},
    )
    target = desk.parent / "rows"
    assert invoke("record", "export", record, "--format", "verl", "-o", target).exit_code == exits.DONE
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert rows[0]["reward_score"] == 0.75
    assert rows[0]["response_logprobs"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("annotate",), "give --reward or --set"),
        (("annotate", "--reward", "well"), "is no number"),
        (("annotate", "--reward", "nan"), "'nan' is no number"),
        (("annotate", "--set", "a=\udcff"), "is not UTF-8 text"),
        (("annotate", "--reward", "nobody=1"), "no record has a node 'nobody'"),
        (("annotate", "--set", "reward=1"), "rewards have --reward"),
        (("export", "--format", "trl"), "give --output"),
        (("export", "--format", "trl", "-o", "rows.json"), "sampling.logprobs"),
    ],
)
def test_what_cannot_be_annotated_or_exported_says_why(
    record: Path, arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(record.parent)
    done = invoke("record", arguments[0], record, *arguments[1:])
    assert done.exit_code != exits.DONE
    assert said in done.output + done.stderr


def test_export_can_leave_out_what_was_cut_off(record: Path) -> None:
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(lines[:3]))
    assert len(invoke("record", "export", record).output.splitlines()) == 1
    assert invoke("record", "export", record, "--complete").output == ""


@pytest.mark.parametrize("command", ["show", "export"])
def test_what_is_no_record_is_said_in_words(tmp_path: Path, command: str) -> None:
    (tmp_path / "x.jsonl").write_text("hello\n")
    done = invoke("record", command, tmp_path / "x.jsonl")
    assert done.exit_code == exits.DATA_UNUSABLE
    assert "x.jsonl" in done.output
    assert invoke("record", command, tmp_path / "nothing.jsonl").exit_code == exits.USAGE


def test_a_damaged_record_is_shown_and_recovered_up_to_the_damage(record: Path, desk: Path) -> None:
    whole = invoke("record", "replay", record, desk).output
    lines = record.read_bytes().splitlines(keepends=True)
    number = next(i for i, line in enumerate(lines) if b'"kind":"ids"' in line)
    lines[number] = lines[number].replace(b'"ids":[', b'"ids":[1')
    record.write_bytes(b"".join(lines))
    shown = invoke("record", "show", record)
    assert shown.exit_code == exits.DATA_UNUSABLE
    assert "turn 1: " in shown.stdout
    assert f":{number + 1}: the record is damaged: its checksum does not match" in shown.stderr
    assert invoke("record", "recover", record, desk).exit_code == exits.DATA_UNUSABLE
    done = invoke("record", "recover", record, desk, "--up-to-damage")
    assert (done.exit_code, done.output) == (exits.DONE, whole)
