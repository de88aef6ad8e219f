"""A record says every id once, survives a crash, and is what a model can be trained with."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import threading
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import anyio
import pytest

from codec_agents import Pipeline
from codec_agents.events import Event
from codec_agents.exceptions import NodeFailedError, RecordError, RecordLostError
from codec_agents.records.compare import first_difference
from codec_agents.records.header import record_header
from codec_agents.records.reader import read_record
from codec_agents.records.writer import Recorder
from codec_agents.runtime.run import Run
from codec_agents.testing import Call, Cut, EmbeddedEngine, PromptView, Say, ScriptedModel, Wait
from tests.agents.recorded_runs import Answers, asking, desk, look, mapped, model, planner, rewrite, scripted

pytestmark = pytest.mark.anyio
BACKENDS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@BACKENDS
async def test_a_record_says_every_id_once_and_reads_back(tmp_path: Path) -> None:
    path, engine = tmp_path / "run.jsonl", scripted(planner)
    p = model(Pipeline("one").input("q").sink("reader"), "model", engine, tools=[look])
    await p.connect("q", "model").connect("model", "reader").invoke({"q": "go"}, record=path)
    record = read_record(path)
    assert record.complete
    assert record.inputs == {"q": "go"}
    assert [turn.prompt for turn in record.turns] == [list(each.prompt_ids) for each in engine.requests]
    assert [list(chain(*turn.batches)) for turn in record.turns] == [turn.generated for turn in record.turns]
    last = record.turns[-1]
    written = sum(len(json.loads(line).get("ids", ())) for line in path.read_text().splitlines())
    assert written == len(last.prompt) + len(last.generated)
    (trajectory,) = record.trajectories()
    assert trajectory["ids"] == last.prompt + last.generated
    assert sum(trajectory["sampled"]) == sum(len(turn.generated) for turn in record.turns)
    assert trajectory["turn_ends"][-1] == len(trajectory["ids"])
    assert record.header["versions"]["codec-agents"]
    assert record.texts() == {"reader": "I look. I look. seen 4"}


async def test_what_a_server_saw_is_what_the_record_says(tmp_path: Path) -> None:
    engine = EmbeddedEngine(ScriptedModel(script=planner), name="desk")
    p = model(Pipeline("one").input("q").sink("reader"), "model", engine, tools=[look])
    p.connect("q", "model").connect("model", "reader")
    try:
        await p.invoke({"q": "go"}, record=tmp_path / "run.jsonl")
        assert engine.app is not None
        exchanges = engine.app.exchanges.generations
    finally:
        await engine.aclose()
    turns = read_record(tmp_path / "run.jsonl").turns
    assert [tuple(turn.prompt) for turn in turns] == [each.prompt_ids for each in exchanges]
    assert [turn.generated for turn in turns] == [each.ids for each in exchanges]


async def test_a_crash_costs_at_most_the_line_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await desk().invoke({"q": "go"}, record=path)
    whole, lines = read_record(path), path.read_bytes()
    generated = {(turn.node, turn.number): turn.generated for turn in whole.turns}
    for cut in range(lines.index(b"\n") + 1, len(lines), 23):
        path.write_bytes(lines[:cut])
        record = read_record(path)
        assert not record.complete
        for turn in record.turns:
            assert generated[turn.node, turn.number][: len(turn.generated)] == turn.generated


SLOW = """\
pipeline: slow
engines: {A: {kind: scripted, script: "%s", ids_a_second: 200, ids_a_frame: 3}}
nodes: {m: {map: demo/bytes, prompt: "{q}"}}
edges: [q -> m, m -> out]
"""


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_every_frame_that_it_showed(tmp_path: Path) -> None:
    """Nothing is tidied up: what was shown is in the file, and a run goes on from there."""
    pipeline, path = tmp_path / "slow.yaml", tmp_path / "run.jsonl"
    pipeline.write_text(SLOW.replace("%s", "word " * 300))
    command = [sys.executable, "-m", "codec_agents.cli", "run", str(pipeline), "-i", "q=go", "--events"]
    shown: list[int] = []
    with subprocess.Popen([*command, "--record", str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "ids_sampled":
                shown += event["ids"]
            if len(shown) > 30:
                process.kill()
                break
    (turn,) = read_record(path).turns
    assert turn.generated[: len(shown)] == shown
    assert not read_record(path).complete
    quick = Pipeline.from_yaml(SLOW.replace("200", "200000").replace("%s", "and the rest"))
    recovered = quick.recover(path)
    result = anyio.run(recovered.execute)
    assert result.text["out"].startswith("word word word")
    assert result.text["out"].endswith("and the rest")


LISTING = """\
pipeline: listing
engines:
  A: {kind: scripted, script: "TALK:lines", ids_a_second: %s, ids_a_frame: 2}
  B: {kind: scripted, script: "TALK:words", ids_a_second: %s}
nodes:
  lister: {engine: A, map: demo/bytes, prompt: "{q}"}
  each:
    each:
      nodes: {m: {engine: B, map: demo/bytes, prompt: "{item}"}}
      edges: [item -> m, m -> said]
  again:
    turns: 3
    feedback: {said: item}
    loop:
      nodes: {m: {engine: B, map: demo/bytes, prompt: "{item}"}}
      edges: [item -> m, m -> said]
edges: [q -> lister, lister -> each, each.said -> again.item, again.said -> out, each.said -> all]
"""


TALK = """\
def rest(prompt, whole):
    said = prompt.text.rpartition("<|im_start|>assistant\\n")[2]
    assert whole.startswith(said)
    return whole[len(said):]

def lines(prompt):
    return rest(prompt, "one word\\ntwo words\\nthree words")

def words(prompt):
    return rest(prompt, f"as many words as {prompt.user.strip()}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_at_whatever_moment_a_process_is_killed_its_run_goes_on(number: int, tmp_path: Path) -> None:
    pipeline, path = tmp_path / "listing.yaml", tmp_path / "run.jsonl"
    (tmp_path / f"talk_{number}.py").write_text(TALK)
    listing = LISTING.replace("TALK", f"talk_{number}")
    pipeline.write_text(listing.replace("%s", "100"))
    quick = Pipeline.from_yaml(listing.replace("%s", "100000"), directory=tmp_path)
    whole = quick.invoke_sync({"q": "go"})
    command = [sys.executable, "-m", "codec_agents.cli", "run", str(pipeline), "-i", "q=go", "--events"]
    events = random.Random(number).randint(1, 250)
    with subprocess.Popen([*command, "--record", str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _, _line in zip(range(events), process.stdout, strict=False):
            pass
        process.kill()
    recovered = anyio.run(quick.recover(path).execute)
    assert (recovered.text, recovered.ids, recovered.outcomes) == (whole.text, whole.ids, whole.outcomes)


def fill_the_disk_of(path: Path) -> None:
    """Let the file that this process has open as `path` take no more."""
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{descriptor}") == str(path):  # noqa: PTH115
                full = os.open("/dev/full", os.O_WRONLY)
                os.dup2(full, int(descriptor))
                os.close(full)


def in_a_chain(function: Any, on_failure: Any) -> Pipeline:
    p = Pipeline("chain", policy={"on_failure": on_failure}).input("q").sink("out")
    p.function("f", function, wants="text")
    model(p, "m", scripted(lambda _: "said"))
    return p.connect("q", "f").connect("f", "m").connect("m", "out")


def in_a_race(function: Any, on_failure: Any) -> Pipeline:
    p = in_a_chain(function, on_failure).join("first", first=2, map="demo/bytes").sink("won")
    model(p, "other", scripted(lambda _: [Wait(0.01), Say("one "), Wait(0.01), Say("two")]))
    p.connect("q", "other").connect("other", "first").connect("m", "first")
    return p.connect("first", "won")


def in_a_map(function: Any, on_failure: Any) -> Pipeline:
    p = Pipeline("map").input("q").sink("out")
    p.map("each", in_a_chain(function, on_failure), parallel=3, separator=" ")
    return p.connect("q", "each").connect("each", "out")


async def heard(run: Run) -> list[Event]:
    """Return the events of a run."""
    async with run:
        return [event async for event in run]


@BACKENDS
@pytest.mark.parametrize("on_failure", ["fail", "skip"])
@pytest.mark.parametrize("shape", [in_a_chain, in_a_race, in_a_map])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
async def test_a_record_that_can_be_written_no_further_ends_the_run(
    shape: Any, on_failure: Any, tmp_path: Path
) -> None:
    """Whatever the policies of the nodes say, and with one error that names the file, not a group of them."""
    path = tmp_path / "run.jsonl"

    first = threading.Lock()

    def fill(value: str) -> str:
        if first.acquire(blocking=False):  # a thread that comes late must not spoil what the test reads
            fill_the_disk_of(path)
        return value

    run = shape(fill, on_failure).run({"q": "a\nb\nc"}, record=path)
    with anyio.fail_after(10), pytest.raises(RecordLostError, match="No space left") as caught:
        await heard(run)
    assert caught.value.path == str(path)
    with pytest.raises(RecordLostError):
        _ = run.result
    assert not read_record(path).complete


@BACKENDS
async def test_lines_that_are_lost_when_the_file_is_closed_fail_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File systems of a network may report only then what they could not write."""

    class Losing:
        write, fsync = os.write, os.fsync

        @staticmethod
        def close(descriptor: int) -> None:
            os.close(descriptor)
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr("codec_agents.records.writer.os", Losing)
    run = desk().run({"q": "go"}, record=tmp_path / "run.jsonl")
    with anyio.fail_after(10), pytest.raises(RecordLostError, match="quota"):
        await heard(run)
    with pytest.raises(RecordLostError):
        _ = run.result


@BACKENDS
async def test_a_record_that_cannot_be_begun_ends_the_run() -> None:
    with pytest.raises(RecordLostError, match="/dev/full any further: No space left"):
        await desk().invoke({"q": "go"}, record="/dev/full")


def bounded(p: Pipeline, path: Path) -> Run:
    """Return a run that is recorded in lines of 2000 bytes at most."""
    plan, inputs = p.build(), {"q": "go"}
    recorder = Recorder(path, {**record_header(plan), "inputs": inputs}, longest=2000)
    return Run(plan, inputs, recorder=recorder)


async def test_a_line_that_no_reader_would_take_ends_the_run(tmp_path: Path) -> None:
    """Written, it would hide all that follows it."""
    path = tmp_path / "run.jsonl"
    result = await bounded(desk(tools=[look]), path).execute()
    assert result.text["reader"].startswith("told: ")

    def look_long(number: int) -> str:
        """Look."""
        return "x" * 2000

    def script(prompt: PromptView) -> Any:
        return Call("look_long", number=1) if prompt.turn == 1 else "seen"

    p = model(Pipeline("one").input("q").sink("out"), "m", scripted(script), tools=[look_long])
    with pytest.raises(RecordLostError, match=r"a line of 2\d\d\d bytes is longer than the 2000"):
        await bounded(p.connect("q", "m").connect("m", "out"), path).execute()
    assert read_record(path).turns[0].complete


@BACKENDS
async def test_items_and_rounds_have_paths_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    result = await mapped().invoke({"q": "a\nb\nc"}, record=path)
    assert result.text["reader"].replace(" ", "") == "stop<a><b><c>xx"
    record = read_record(path)
    assert sorted(record.nodes) == [*(f"again[{n}]/m" for n in range(3)), *(f"each[{n}]/m" for n in range(3))]
    assert {record.details(node)["map"] for node in record.nodes} == {"demo/bytes"}
    assert sorted(result.usage) == sorted(record.nodes)
    edges = {(line["source"], line["target"]) for line in record.lines if line["kind"] == "handoff"}
    assert ("each[2]/one.value", "each[2]/m.text") in edges
    for trajectory in record.trajectories():
        (turn,) = record.of_node(trajectory["node"])
        assert trajectory["ids"] == turn.prompt + turn.generated


@pytest.mark.parametrize("ids_a_frame", [1, 8])
async def test_its_size_is_linear_in_the_ids(tmp_path: Path, ids_a_frame: int) -> None:
    """A turn more costs what a turn costs, although its prompt holds all turns before it."""

    async def size(turns: int) -> int:
        def script(prompt: Any) -> Any:
            return [Say("word " * 40), Call("look", number=1)] if prompt.turn < turns else "done"

        engine = scripted(script)
        engine.model = ScriptedModel(script=script, ids_a_frame=ids_a_frame)
        policy = {"limits": {"turns": 20, "tool_calls": 20}}
        p = Pipeline("one").input("q").sink("out", text=False)
        model(p, "m", engine, tools=[look], policy=policy)
        p.connect("q", "m").connect("m", "out")
        await p.invoke({"q": "go"}, record=tmp_path / "run.jsonl")
        return (tmp_path / "run.jsonl").stat().st_size

    first, second, third = [await size(turns) for turns in (2, 10, 18)]
    assert abs((third - second) - (second - first)) < 0.05 * (second - first)


async def test_a_failed_run_keeps_what_was_delivered(tmp_path: Path) -> None:
    engine = scripted(lambda _: [Say("some words"), Cut()])
    p = model(Pipeline("one").input("q").sink("out"), "m", engine, policy={"retry": {"attempts": 1}})
    with pytest.raises(NodeFailedError):
        await p.connect("q", "m").connect("m", "out").invoke({"q": "go"}, record=tmp_path / "run.jsonl")
    record = read_record(tmp_path / "run.jsonl")
    assert not record.complete
    assert record.texts() == {"out": "some words"}
    assert record.ends["m"]["outcome"] == "failed"


async def test_differences_name_the_place(tmp_path: Path) -> None:
    for name in ("one", "two"):
        await desk().invoke({"q": name}, record=tmp_path / name)
    one, two = read_record(tmp_path / "one"), read_record(tmp_path / "two")
    assert one.differences(read_record(tmp_path / "one")) == []
    found = one.differences(two)
    assert found[0] == "input q: the values differ"
    position = first_difference(one.turns[0].prompt, two.turns[0].prompt)
    assert f"planner, turn 1: prompt ids differ from position {position} on" in found


async def test_what_functions_gave_and_what_came_first_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await asking(Answers()).invoke({"q": "a"}, record=path)
    one = read_record(path)
    rewrite(
        path,
        lambda text: (
            text.replace('"choices":["a.answer","each.said"]', '"choices":["a.answer"]')
            .replace('"node":"again","given":"', '"node":"again","given":"0', 1)
            .replace('"gave":"ABC', '"gave":"ABD')
        ),
    )
    assert one.differences(read_record(path)) == [
        "again, call 1 of its function: the arguments differ",
        "shout, call 1 of its function: the results differ",
        "two: the orders of arrival differ",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no whole line: the run was cut off before it began"),
        (b'{"kind": "run", "vers', "no whole line"),
        (b'{"kind": "prompt"}\n', "its first line"),
        (b'{"kind": "run", "version": 99}\n', "record version 99"),
        (
            b'{"kind": "run", "version": 1}\nnonsense\n{"kind": "end"}\n',
            ":2: the record is dam",
        ),
        (
            b'{"kind": "run", "version": 1}\n{"kind": "ids", "node": "m", "ids": [1]}\n',
            ":2: the record is damaged",
        ),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(RecordError, match=said):
        read_record(tmp_path / "x")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"nothing\.jsonl"):
        read_record(tmp_path / "nothing.jsonl")
