"""`codec-agents run`, `check`, `graph`, `explain`, `schema` and `trace` on the demo."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from codec_agents.cli import exits, main

pytest.importorskip("uvicorn", reason="embedded engines need the extra `server`")
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
QUESTION = "question=From Lisbon to Oslo on Friday in January"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo without its pace, beside copies of its modules."""
    folder = tmp_path_factory.mktemp("desk")
    for name in ("travel_models.py", "travel_tools.py", "data"):
        (folder / name).symlink_to(EXAMPLES / name)
    text = (EXAMPLES / "travel_desk.yaml").read_text(encoding="utf-8")
    (folder / "desk.yaml").write_text(text.replace("ids_a_second: 120, ", ""), encoding="utf-8")
    return folder / "desk.yaml"


def command(
    *arguments: str | Path, stdin: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "codec_agents.cli", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "90", **environment},
        check=False,
    )


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


# --- run ---


def test_people_see_lanes_and_handoffs(desk: Path) -> None:
    done = command("run", desk, "--input", QUESTION)
    assert (done.returncode, done.stderr) == (exits.DONE, "")
    places = [
        done.stdout.index(text)
        for text in (
            "● planner thinks",
            "● planner calls tools",
            'fares(origin="Lisbon"',
            "✓ fares",
            "● planner says",
            "● reader reads",
            "planner → writer",
            "time, ms",
            "notebook:",
        )
    ]
    assert places == sorted(places)
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 90


@pytest.mark.slow
def test_colours_are_for_terminals_and_can_be_refused(desk: Path) -> None:
    assert "\x1b[" in command("run", desk, "-i", QUESTION, FORCE_COLOR="1").stdout
    refused = command("run", desk, "-i", QUESTION, FORCE_COLOR="1", NO_COLOR="1").stdout
    assert "\x1b[3" not in refused.replace("\x1b[3m", "")


@pytest.mark.slow
def test_quiet_gives_the_text_alone(desk: Path) -> None:
    done = command("run", desk, "--quiet", "-i", "question=-", stdin="Hello?")
    assert done.stdout == "I am glad to help! Which city do you leave from, and where do you want to go?\n"


@pytest.mark.slow
def test_json_is_one_document(desk: Path) -> None:
    document = json.loads(command("run", desk, "--json", "-i", QUESTION).stdout)
    assert document["text"]["reader"].startswith("Take DY1819")
    assert [handoff["strategy"] for handoff in document["handoffs"]] == ["encode", "translate"]
    assert document["handoffs"][1]["gap"] >= 0
    assert document["usage"]["planner"]["turns"] == 2


@pytest.mark.slow
def test_events_are_lines(desk: Path) -> None:
    lines = [
        json.loads(line) for line in command("run", desk, "--events", "-i", QUESTION).stdout.splitlines()
    ]
    assert [lines[0]["event"], lines[-1]["event"]] == ["run_started", "run_finished"]
    instants = [line["at"] for line in lines]
    assert instants == sorted(instants)


def test_a_missing_input_says_what_to_add(desk: Path) -> None:
    done = command("run", desk)
    assert done.returncode == exits.USAGE
    assert "--input question=..." in done.stderr


def test_an_unknown_input_says_what_there_is(desk: Path) -> None:
    done = command("run", desk, "-i", "x=1", "-i", QUESTION)
    assert done.returncode == exits.USAGE
    assert "the pipeline has: question" in done.stderr


@pytest.mark.slow
def test_an_engine_that_is_down(tmp_path: Path) -> None:
    path = tmp_path / "down.yaml"
    path.write_text(
        "pipeline: down\n"
        "engines: {a: {kind: codec, url: 'http://127.0.0.1:9'}}\n"
        "policy: {retry: {attempts: 1}}\n"
        "nodes:\n"
        "  q: {kind: input}\n"
        "  m: {engine: a, map: demo/bytes, prompt: '{q}'}\n"
        "  out: {kind: sink}\n"
        "edges: [q -> m.q, m.answer -> out]\n"
    )
    done = command("run", path, "-i", "q=hello")
    assert done.returncode == exits.ENGINE_FAILED
    assert "node 'm'" in done.stderr
    assert "Traceback" not in done.stderr
    document = json.loads(command("run", path, "-i", "q=hello", "--json").stdout)
    assert document["error"]["engine"] == "a"
    assert document["exit_code"] == exits.ENGINE_FAILED


def hear_interruptions() -> None:
    """Let a program hear Ctrl-C also where the tests run in the background of a shell, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interruption_ends_the_run(tmp_path: Path) -> None:
    path = tmp_path / "endless.yaml"
    path.write_text(
        "pipeline: endless\n"
        f"engines: {{a: {{kind: embedded, script: [{{say: '{'word ' * 500}'}}], ids_a_second: 1}}}}\n"
        "nodes:\n"
        "  q: {kind: input}\n"
        "  m: {engine: a, map: demo/bytes, prompt: '{q}'}\n"
        "  out: {kind: sink}\n"
        "edges: [q -> m.q, m.answer -> out]\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "codec_agents.cli", "run", str(path), "-i", "q=hello", "--events"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=hear_interruptions,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if '"ids_sampled"' in line:
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == exits.INTERRUPTED
    assert errors.strip() == "interrupted"


# --- trace ---


@pytest.mark.slow
def test_record_then_trace(desk: Path, tmp_path: Path) -> None:
    record, page = tmp_path / "run.jsonl", tmp_path / "run.html"
    assert command("run", desk, "-i", QUESTION, "--record", record, "--trace", page).returncode == exits.DONE
    assert "DY1819" in page.read_text(encoding="utf-8")
    shown = invoke("trace", record, record)
    assert shown.exit_code == exits.DONE
    assert re.search(r"^planner (→|->) writer ", shown.stdout, re.MULTILINE)
    assert re.search(r"spread, ms +times +gap p50 +p90 +p99 +first id p50 +p90 +p99\n", shown.stdout)
    document = json.loads(invoke("trace", record, "--json").stdout)
    assert document["runs"][0]["complete"]
    assert {bar["kind"] for bar in document["runs"][0]["bars"]} >= {
        "wait",
        "reasoning",
        "tool",
        "answer",
        "handoff",
    }
    second = next(bar for bar in document["runs"][0]["bars"] if bar["label"].startswith("turn 2:"))
    ids, kept = map(int, re.findall(r"(\d+) prompt ids, (\d+) kept", second["label"])[0])
    assert 0 < kept < ids  # the prompt was extended, and the trace says from where
    assert second["label"] in page.read_text(encoding="utf-8")


def test_a_trace_that_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("hello\n")
    assert invoke("trace", tmp_path / "x.jsonl").exit_code == exits.DATA_UNUSABLE


# --- check, graph, explain, schema ---


def test_check_finds_no_fault(desk: Path) -> None:
    document = json.loads(command("check", desk, "--json").stdout)
    assert document["ok"]


def test_check_shows_every_fault_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "pipeline: bad\n"
        "nodes:\n"
        "  q: {kind: input}\n"
        "  m: {map: demo/bytes, prompt: '{q} {other}'}\n"
        "  out: {kind: sink}\n"
        "edges:\n"
        "  - q -> n.q\n"
        "  - m.answers -> out\n"
    )
    done = invoke("check", path)
    assert done.exit_code == exits.FAULTS
    assert f"{path}:7" in done.stdout
    assert f"{path}:8" in done.stdout
    assert len(json.loads(invoke("check", path, "--json").stdout)["faults"]) >= 3
    assert invoke("run", path, "-i", "q=1").exit_code == exits.FAULTS


@pytest.mark.slow
def test_graph_draws(desk: Path, tmp_path: Path) -> None:
    assert command("graph", desk).stdout.startswith("flowchart")
    assert command("graph", desk, "-o", tmp_path / "desk.svg").returncode == exits.DONE
    assert (tmp_path / "desk.svg").read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.slow
def test_explain_says_where_text_appears(desk: Path) -> None:
    assert "translate from demo/bytes to demo/words" in command("explain", desk).stdout
    document = json.loads(command("explain", desk, "--json").stdout)
    assert document["text_boundaries"] == [
        "question.value -> planner.question",
        "writer.answer -> reader",
    ]


def test_schema_is_a_schema() -> None:
    assert "$schema" in json.loads(invoke("schema").stdout)
