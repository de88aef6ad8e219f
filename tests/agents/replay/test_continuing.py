"""A run goes on in its own record, wherever it was cut off, and the record stays one file."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from codec_agents import Pipeline
from codec_agents.exceptions import (
    ApprovalRequiredError,
    NodeFailedError,
    PauseError,
    RecordDamagedError,
    RecordError,
    ReplayError,
)
from codec_agents.records.answers import answer
from codec_agents.records.appending import append_line
from codec_agents.records.continuing import ContinuedRecorder
from codec_agents.records.format import Chain
from codec_agents.records.reader import read_record
from codec_agents.records.recorded import RecordedRun
from codec_agents.testing import Call, PromptView, Refuse, Say
from codec_agents.tools import tool
from codec_agents.tools.calls import ToolContext
from tests.agents.recorded_runs import Answers, asking, desk, mapped, model, refusing, scripted

pytestmark = pytest.mark.anyio


class Effects:
    """A tool that counts how often each call took effect, by its key."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()

    def look(self, number: int, context: ToolContext) -> int:
        """Look."""
        self.of[context.call_key.partition("/")[2]] += 1
        return number * 2


def counted(effects: Effects) -> Pipeline:
    return desk(tools=[effects.look])


def cuts(record: bytes) -> list[bytes]:
    """Return the record after each of its lines, and after the half of each."""
    lines = record.splitlines(keepends=True)
    found, whole = [], b""
    for line in lines:
        found += [whole + line[: len(line) // 2], whole + line]
        whole += line
    return found


def kinds(record: RecordedRun) -> Counter[str]:
    """Count lines; a text may be cut into other pieces."""
    return Counter(line["kind"] for line in record.lines if line["kind"] not in ("continued", "text"))


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
async def test_a_run_goes_on_from_every_line_and_every_half_of_one(step: int, tmp_path: Path) -> None:
    path = tmp_path / "whole.jsonl"
    effects = Effects()
    expected = await counted(effects).run_or_recover(path, {"q": "go"}, run_id="r").execute()
    assert effects.of == {"planner/1/0": 1, "planner/2/0": 1}
    whole = read_record(path)
    for number, part in enumerate(cuts(path.read_bytes())[::step]):
        cut = tmp_path / f"{number}.jsonl"
        cut.write_bytes(part)
        recorded = {
            f"planner/{turn.number}/0" for turn in read_record(cut).turns for _ in turn.tools
        } if part.count(b"\n") else set()  # fmt: skip
        again = Effects()
        result = await counted(again).run_or_recover(cut, {"q": "go"}, run_id="r").execute()
        assert (result.text, result.ids, result.run_id) == (expected.text, expected.ids, "r")
        assert set(again.of) == {"planner/1/0", "planner/2/0"} - recorded
        assert set(again.of.values()) <= {1}
        found = read_record(cut)
        assert found.differences(whole) == []
        assert found.complete
        assert found.texts() == whole.texts()
        assert [turn.number for turn in found.turns] == [turn.number for turn in whole.turns]
        assert kinds(found) == kinds(whole)


async def test_a_run_is_cut_again_and_again(tmp_path: Path) -> None:
    """Each process gets a few lines further; the record grows by what is new, and by one line a start."""
    path = tmp_path / "run.jsonl"
    expected = await counted(Effects()).run_or_recover(tmp_path / "whole.jsonl", {"q": "go"}).execute()
    effects = Effects()
    for lines in range(1, 40, 4):
        result = await counted(effects).run_or_recover(path, {"q": "go"}).execute()
        assert result.text == expected.text
        content = path.read_bytes().splitlines(keepends=True)
        ended = [number for number, line in enumerate(content, 1) if b'"kind":"tool"' in line]
        path.write_bytes(b"".join(content[: max([lines, *(end for end in ended if end <= lines + 2)])]))
    instants = [turn.started for turn in read_record(path).turns]
    assert instants == sorted(instants)


async def test_a_finished_run_gives_its_result_again_and_asks_no_engine(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    expected = await desk().run_or_recover(path, {"q": "go"}).execute()
    size = len(path.read_bytes().splitlines())
    result = await desk(refusing()).run_or_recover(path, {"q": "go"}).execute()
    assert (result.text, result.run_id) == (expected.text, expected.run_id)
    assert len(path.read_bytes().splitlines()) == size + 1


@pytest.mark.parametrize("declared", [mapped, lambda: asking(Answers())], ids=["mapped", "asking"])
async def test_maps_loops_joins_and_functions_go_on(declared: Any, tmp_path: Path) -> None:
    path, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    expected = await declared().run_or_recover(path, {"q": "a b"}).execute()
    for part in cuts(path.read_bytes())[3::12]:
        cut.write_bytes(part)
        result = await declared().run_or_recover(cut, {"q": "a b"}).execute()
        assert (result.text, result.ids) == (expected.text, expected.ids)
        assert read_record(cut).differences(read_record(path)) == []


async def test_a_failed_run_goes_on_where_its_engine_failed(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    p = Pipeline("p").input("q").sink("reader")
    failing = [True]

    def script(prompt: PromptView) -> Any:
        yield Say("one ")
        if failing.pop() if failing else False:
            yield Refuse(400)
        yield Say("two")

    model(p, "m", scripted(script)).connect("q", "m").connect("m", "reader")
    with pytest.raises(NodeFailedError):
        await p.run_or_recover(path, {"q": "go"}).execute()
    result = await p.run_or_recover(path, {"q": "go"}).execute()
    assert result.text["reader"].endswith("two")
    assert read_record(path).texts() == result.text


async def test_a_failure_that_the_run_went_on_from_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    answers = iter([[Say("one "), Refuse(400)], [Say("never")]])

    def declared(engine: Any) -> Pipeline:
        p = Pipeline("p").input("q").sink("reader").sink("spare")
        model(p, "first", engine, policy={"on_failure": "fallback"})
        model(p, "rescue", scripted(lambda prompt: f"after {prompt.user.strip()}"))
        p.connect("q", "first").connect("first", "reader")
        return p.connect("first", "rescue", fallback=True).connect("rescue", "spare")

    p = declared(scripted(lambda _: next(answers)))
    expected = await p.run_or_recover(path, {"q": "go"}).execute()
    lines = path.read_bytes().splitlines(keepends=True)
    failed = next(number for number, line in enumerate(lines) if b'"outcome":"failed"' in line)
    path.write_bytes(b"".join(lines[: failed + 2]))
    again = await declared(scripted(lambda _: next(answers))).run_or_recover(path, {"q": "go"}).execute()
    assert again.text == expected.text


# --- refusals ---


async def test_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await desk().run_or_recover(path, {"q": "go"}, run_id="one").execute()
    with pytest.raises(RecordError, match="other inputs"):
        desk().run_or_recover(path, {"q": "stay"})
    with pytest.raises(RecordError, match="the run one, and not of two"):
        desk().run_or_recover(path, {"q": "go"}, run_id="two")
    with pytest.raises(RecordError, match="other nodes, models or edges"):
        mapped().run_or_recover(path, {"q": "go"})
    with pytest.raises(RecordError, match="leave `record` out"):
        desk().run_or_recover(path, {"q": "go"}, record=tmp_path / "other.jsonl")


async def test_a_run_that_does_not_repeat_its_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await desk().run_or_recover(path, {"q": "go"}).execute()
    before = path.read_bytes()
    other = Pipeline("desk").input("q").sink("reader")
    model(other, "planner", scripted("x"), model="planner", prompt="Other words: {text}")
    model(other, "writer", scripted("x"), model="writer", map="demo/words")
    other.connect("q", "planner").connect("planner", "writer").connect("writer", "reader")
    with pytest.raises(ReplayError, match="another prompt than its record"):
        await other.run_or_recover(path, {"q": "go"}).execute()
    assert path.read_bytes().startswith(before)


async def test_a_record_has_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    held = ContinuedRecorder(path, {})
    with pytest.raises(RecordError, match="another run is writing"):
        desk().run_or_recover(path, {"q": "go"})
    held.close()
    await desk().run_or_recover(path, {"q": "go"}).execute()


async def test_damage_and_other_files_are_refused_untouched(tmp_path: Path) -> None:
    path, other = tmp_path / "run.jsonl", tmp_path / "notes.txt"
    await desk().run_or_recover(path, {"q": "go"}).execute()
    damaged = path.read_bytes().replace(b'"turn":1', b'"turn":7', 1)
    path.write_bytes(damaged)
    other.write_bytes(b"Dear diary\n")
    with pytest.raises(RecordDamagedError):
        desk().run_or_recover(path, {"q": "go"})
    with pytest.raises(RecordError, match="no record with seals"):
        desk().run_or_recover(other, {"q": "go"})
    assert (path.read_bytes(), other.read_bytes()) == (damaged, b"Dear diary\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"model": "m"}', "no record with seals"),
        (b'{"kind":"running"', "no record with seals"),
        (b'{"kind":"run","version":3' + b" " * 200, "no record with seals"),
    ],
)
async def test_a_foreign_file_without_a_newline_is_refused_untouched(
    content: bytes, said: str, tmp_path: Path
) -> None:
    """The last one has a first line above the bound, which no crash left behind."""
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=said):
        ContinuedRecorder(path, {}, longest=100)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"{", b'{"kind":"run","version":3,"run_id":"0'])
async def test_what_a_crash_left_of_a_first_line_is_cut_off(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    recorder = ContinuedRecorder(path, {})
    recorder.close()
    assert recorder.record is None
    assert path.read_bytes() == b""


async def test_a_line_above_the_bound_is_damage_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await desk().run_or_recover(path, {"q": "go"}).execute()
    first = path.read_bytes().splitlines(keepends=True)[0]
    chain = Chain()
    chain.verify(first)
    content = first + chain.seal(b'{"kind":"note","text":"' + b"x" * len(first) + b'"}')
    path.write_bytes(content)
    with pytest.raises(RecordDamagedError):
        ContinuedRecorder(path, {}, longest=len(first))
    assert path.read_bytes() == content


# --- approvals ---


def guarded(effects: Counter[str], **fields: Any) -> Pipeline:
    """Declare a desk whose model asks twice for a tool that needs approval."""

    @tool(approval=True)
    def pay(euro: int, context: ToolContext) -> str:
        """Pay."""
        effects[context.call_key] += 1
        return f"paid {euro}"

    def script(prompt: PromptView) -> Any:
        if prompt.turn <= 2:
            yield Call("pay", euro=prompt.turn)
        else:
            yield Say(" and ".join(prompt.results))

    p = Pipeline("guarded").input("q").sink("reader")
    model(p, "m", scripted(script), tools=[pay], **fields)
    return p.connect("q", "m").connect("m", "reader")


async def test_an_answer_is_not_written_to_the_record_of_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "run.jsonl", tmp_path / "other.jsonl"
    for each in (path, other):
        with pytest.raises(ApprovalRequiredError):
            await guarded(Counter()).run_or_recover(each, {"q": "go"}, run_id=each.stem).execute()
    before = other.read_bytes()

    def replaced(*arguments: Any) -> None:
        other.replace(path)
        append_line(*arguments)

    monkeypatch.setattr("codec_agents.records.answers.append_line", replaced)
    with pytest.raises(PauseError, match="the record of another run"):
        answer(path, {"m/1/0": True})
    assert path.read_bytes() == before


async def test_an_approval_waits_in_the_record(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    effects: Counter[str] = Counter()
    p = guarded(effects)
    for turn, decision in ((1, True), (2, "not today")):
        for _ in range(2):  # until it is answered, a run that goes on waits again
            with pytest.raises(ApprovalRequiredError):
                await p.run_or_recover(path, {"q": "go"}, run_id="r").execute()
        waits = read_record(path).waiting
        assert waits is not None
        assert path.read_bytes().count(b'"kind":"suspended"') == turn
        assert waits["calls"] == [
            {"key": f"m/{turn}/0", "node": "m", "name": "pay", "arguments": {"euro": turn}}
        ]
        with pytest.raises(PauseError, match=f"a decision on each of: m/{turn}/0"):
            answer(path, {"m/9/0": True})
        answer(path, {f"m/{turn}/0": decision})
        with pytest.raises(PauseError, match="waits for no decision"):
            answer(path, {f"m/{turn}/0": True})
    result = await p.run_or_recover(path, {"q": "go"}, run_id="r").execute()
    told = [tool["told"] for turn in read_record(path).turns for tool in turn.tools]
    assert told == ["paid 1", "Error: not today"]
    assert result.text["reader"] == "Error: not today"
    assert effects == {"r/m/1/0": 1}
    assert read_record(path).decisions == {"m/1/0": True, "m/2/0": "not today"}


async def test_time_outs_do_not_count_the_week_for_which_an_approval_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, week = tmp_path / "run.jsonl", 7 * 86_400.0
    effects: Counter[str] = Counter()
    limits = {"limits": {"wall": 60}, "timeouts": {"whole": 60, "tool": 60}}
    p = guarded(effects, policy=limits)
    for weeks, turn in ((1, 1), (2, 2)):
        with pytest.raises(ApprovalRequiredError):
            await p.run_or_recover(path, {"q": "go"}, run_id="r").execute()
        for clock in ("time", "monotonic", "perf_counter"):
            real = getattr(time, clock)
            monkeypatch.setattr(time, clock, lambda real=real: real() + week)
        assert time.perf_counter() > weeks * week
        answer(path, {f"m/{turn}/0": True})
    result = await p.run_or_recover(path, {"q": "go"}, run_id="r").execute()
    assert result.text["reader"] == "paid 2"
    assert result.seconds < 60
    assert effects == {"r/m/1/0": 1, "r/m/2/0": 1}
