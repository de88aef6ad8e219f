"""A record answers in place of engines; where it ends, a run can go on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
from trio.testing import MockClock

from codec_agents import Chat, Pipeline
from codec_agents.events import IdsSampled
from codec_agents.exceptions import NodeFailedError, RecordError, ReplayError
from codec_agents.records.reader import read_record
from codec_agents.testing import Cut, PromptView, Refuse, Say, ScriptedEngine, ScriptedModel, Wait
from tests.agents.recorded_runs import (
    Answers,
    asking,
    desk,
    look,
    mapped,
    model,
    planner,
    refusing,
    rewrite,
    scripted,
)

pytestmark = pytest.mark.anyio
BACKENDS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


def never(number: int) -> int:
    """Look."""
    raise AssertionError(f"the tool ran with {number}")


never.__name__ = "look"


# --- replay ---


@BACKENDS
async def test_a_replay_gives_the_same_ids_in_the_same_batches_without_engines(tmp_path: Path) -> None:
    first, again = tmp_path / "first.jsonl", tmp_path / "again.jsonl"
    result = await desk().invoke({"q": "go"}, record=first)
    p = desk(refusing(), tools=[never])
    replayed = await p.replay(first, record=again).execute()
    assert replayed.text == result.text
    assert replayed.ids == result.ids
    one, two = read_record(first), read_record(again)
    assert one.differences(two) == []
    assert [turn.batches for turn in one.turns] == [turn.batches for turn in two.turns]
    assert [turn.tools[0]["told"] for turn in two.turns if turn.tools] == ["2", "4"]
    assert two.header["replays"] == result.run_id


@BACKENDS
async def test_maps_and_loops_are_replayed(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    result = await mapped().invoke({"q": "a\nb\nc"}, record=path)
    assert (await mapped(refusing()).replay(path).execute()).text == result.text


@BACKENDS
async def test_functions_are_not_asked_again_wherever_they_stand(tmp_path: Path) -> None:
    first, again = tmp_path / "first.jsonl", tmp_path / "again.jsonl"
    answers = Answers()
    result = await asking(answers).invoke({"q": "a"}, record=first)
    assert set(answers.asked) == {"lines", "reverse", "shout", "long_enough", "any_two"}
    p = asking(Answers(forbidden=True), refusing())
    replayed = await p.replay(first, record=again).execute()
    assert (replayed.text, replayed.ids, replayed.outcomes) == (result.text, result.ids, result.outcomes)
    one, two = read_record(first), read_record(again)
    assert one.differences(two) == []
    assert one.decided == two.decided == {"two": ["a.answer", "each.said"]}
    assert two.functions == {node: lines for node, lines in one.functions.items() if node != "two"}


@BACKENDS
async def test_functions_can_be_asked_again(tmp_path: Path) -> None:
    path, answers = tmp_path / "run.jsonl", Answers()
    result = await asking(Answers()).invoke({"q": "a"}, record=path)
    replayed = await asking(answers, refusing()).replay(path, functions="run").execute()
    assert replayed.text == result.text
    assert set(answers.asked) == {"lines", "reverse", "shout", "long_enough", "any_two"}


@BACKENDS
async def test_a_function_that_is_given_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"

    def shouting(give: Any) -> Pipeline:
        p = Pipeline("two").input("q").sink("out").function("give", give, wants="text")
        p.function("shout", lambda value: value.upper(), wants="text")
        return p.connect("q", "give").connect("give", "shout").connect("shout", "out")

    await shouting(lambda value: value).invoke({"q": "go"}, record=path)
    rewrite(path, lambda text: text.replace('"gave":"go"', '"gave":"gone"'))
    with pytest.raises(ReplayError, match="'shout': its function has other arguments") as caught:
        await shouting(lambda value: value).replay(path).execute()
    assert (caught.value.node, caught.value.turn) == ("shout", None)


@BACKENDS
async def test_the_failure_of_a_function_is_replayed_as_one(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"

    def broken(value: str) -> str:
        raise LookupError("no such thing")

    p = Pipeline("broken").input("q").sink("out").function("f", broken, wants="text")
    p.connect("q", "f").connect("f", "out")
    with pytest.raises(NodeFailedError, match="no such thing"):
        await p.invoke({"q": "go"}, record=path)
    with pytest.raises(NodeFailedError, match=r"failed here when it was recorded.*no such thing"):
        await p.replay(path).execute()


async def test_a_record_of_the_first_version_is_read_and_says_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    result = await asking(Answers()).invoke({"q": "a"}, record=path)

    def without_functions(text: str) -> str:
        lines = text.splitlines(keepends=True)
        return "".join(line for line in lines if '"kind":"function"' not in line)

    rewrite(path, without_functions, version=1)
    with pytest.raises(RecordError, match=r"version 1.*replay it with `functions='run'`"):
        asking(Answers(), refusing()).replay(path)
    replayed = await asking(Answers(), refusing()).replay(path, functions="run").execute()
    assert replayed.text == result.text
    assert (await asking(Answers(), refusing()).recover(path).execute()).text == result.text
    plain = tmp_path / "plain.jsonl"
    await desk().invoke({"q": "go"}, record=plain)
    rewrite(plain, str, version=1)
    assert (await desk(refusing()).replay(plain).execute()).text["reader"].startswith("told")


@BACKENDS
async def test_what_came_first_comes_first_again(tmp_path: Path) -> None:
    """The waits are not replayed, and the join and the map decide as they did all the same."""
    path = tmp_path / "run.jsonl"

    def racing(waits: dict[str, float]) -> Pipeline:
        def said(prompt: PromptView) -> Any:
            word = prompt.user.strip()
            return [Wait(waits.get(word, 0.0)), Say(f"<{word}>")]

        item = Pipeline("item").input("one").sink("said", text=False)
        model(item, "m", scripted(said)).connect("one", "m").connect("m", "said")
        p = Pipeline("racing").input("q").sink("won").sink("all").join("first", first=2, map="demo/bytes")
        p.map("each", item, order="completion", parallel=3, separator=" ").connect("q", "each")
        for name in ("x", "y", "z"):
            model(p, name, scripted(lambda _, name=name: [Wait(waits[name]), Say(name)]))
            p.connect("q", name).connect(name, "first")
        return p.connect("first", "won").connect("each", "all")

    waits = {"x": 0.06, "y": 0.0, "z": 0.03, "one": 0.06, "two": 0.0, "three": 0.03}
    p = racing(waits)
    result = await p.invoke({"q": "one\ntwo\nthree"}, record=path)
    decided = read_record(path).decided  # [1, 2, 0], unless this machine does something else meanwhile
    assert result.text["all"] == " ".join(["<one>", "<two>", "<three>"][item] for item in decided["each"])
    assert result.text["won"] == "\n\n".join(sorted(source[0] for source in decided["first"]))
    for _ in range(3):
        replayed = await p.replay(path).execute()
        assert (replayed.text, replayed.ids) == (result.text, result.ids)
        recovered = await p.recover(path).execute()
        assert (recovered.text, recovered.ids) == (result.text, result.ids)


@BACKENDS
async def test_another_prompt_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await desk().invoke({"q": "go"}, record=path)
    p = Pipeline("desk").input("q").sink("reader")
    model(p, "planner", refusing(), model="planner", tools=[look], prompt=Chat(user="{text}!"))
    model(p, "writer", refusing(), model="writer", map="demo/words")
    p.connect("q", "planner").connect("planner", "writer").connect("writer", "reader")
    with pytest.raises(ReplayError) as caught:
        await p.replay(path).execute()
    error, recorded = caught.value, read_record(path).turns[0].prompt
    assert (error.node, error.turn) == ("planner", 1)
    assert 0 < error.position < len(recorded)
    assert f"has id {recorded[error.position]} here" in str(error)


@BACKENDS
async def test_tools_can_run_again_and_a_new_result_is_found_out(tmp_path: Path) -> None:
    path, ran = tmp_path / "run.jsonl", []
    await desk().invoke({"q": "go"}, record=path)

    def counting(number: int) -> int:
        """Look."""
        ran.append(number)
        return number * (2 if len(ran) < 3 else 3)

    counting.__name__ = "look"
    p = desk(refusing(), tools=[counting])
    await p.replay(path, tools="run").execute()
    assert ran == [1, 2]
    with pytest.raises(ReplayError) as caught:
        await p.replay(path, tools="run").execute()
    assert (caught.value.node, caught.value.turn) == ("planner", 2)


@BACKENDS
async def test_a_refusal_is_not_taken_for_a_failure_that_a_policy_may_skip(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await one_model("fine", on_failure="skip").invoke({"q": "go"}, record=path)
    with pytest.raises(ReplayError):
        await one_model("fine", on_failure="skip", prompt=Chat(user="other {text}")).replay(path).execute()


def one_model(script: Any, *, on_failure: str = "fail", **fields: Any) -> Pipeline:
    said_by = scripted(script if callable(script) else lambda _: script)
    p = Pipeline("one").input("q").sink("out")
    policy = {"retry": {"attempts": 1}, "on_failure": on_failure}
    model(p, "m", said_by, policy=policy, **fields)
    return p.connect("q", "m").connect("m", "out")


@BACKENDS
async def test_a_failure_is_replayed_as_one(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    p = one_model([Say("some words"), Cut()])
    with pytest.raises(NodeFailedError):
        await p.invoke({"q": "go"}, record=path)
    run = p.replay(path)
    with pytest.raises(NodeFailedError, match="failed here when it was recorded"):
        await run.execute()
    assert run.partial_result().text["out"] == "some words"
    skipping = one_model([Say("some words"), Cut()], on_failure="skip")
    result = await skipping.invoke({"q": "go"}, record=path)
    assert (await skipping.replay(path).execute()).outcomes == result.outcomes


@BACKENDS
async def test_a_record_that_was_cut_says_so(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    cut_record(path, await recorded_lines(path, desk()), turn=2)
    with pytest.raises(ReplayError, match=r"the record ends here.*the recorded run has no end") as caught:
        await desk(refusing()).replay(path).execute()
    assert (caught.value.node, caught.value.turn) == ("planner", 2)
    assert caught.value.position == len(read_record(path).turns[-1].generated)


@BACKENDS
async def test_the_losers_of_a_race_lose_again(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    p = Pipeline("race").input("q").sink("out")
    model(p, "slow", scripted(lambda _: [Say("never"), Wait(60), Say("!")]))
    model(p, "quick", scripted(lambda _: [Say("first"), Wait(0.05), Say("!")]))
    p.join("first", first=1, map="demo/bytes")
    p.connect("q", "quick").connect("q", "slow").connect("quick", "first").connect("slow", "first")
    p.connect("first", "out")
    with anyio.fail_after(20):
        result = await p.invoke({"q": "q"}, record=path)
        replayed = await p.replay(path).execute()
    assert replayed.text == result.text
    assert replayed.outcomes == result.outcomes


def test_at_full_speed_ids_come_as_far_apart_as_they_came(tmp_path: Path) -> None:
    """On a clock that jumps to the next instant at which anything is due."""
    path = tmp_path / "run.jsonl"
    p = one_model([Say("a"), Wait(0.2), Say("b")])

    async def came_apart() -> float:
        async with p.run({"q": "go"}, record=path) as run:
            times = [event.at async for event in run if isinstance(event, IdsSampled)]
        return times[-1] - times[0]

    async def apart(speed: float | None) -> float:
        async with p.replay(path, speed=speed) as run:
            times = [trio.current_time() async for event in run if isinstance(event, IdsSampled)]
        return times[-1] - times[0]

    def on_jumping_clock(speed: float | None) -> float:
        return trio.run(apart, speed, clock=MockClock(autojump_threshold=0))

    recorded = asyncio.run(came_apart())
    assert on_jumping_clock(1.0) == pytest.approx(recorded, abs=0.02)
    assert on_jumping_clock(None) == 0


async def test_a_record_of_other_maps_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await desk().invoke({"q": "go"}, record=path)
    digest = read_record(path).header["maps"]["demo/words"]
    rewrite(path, lambda text: text.replace(digest, "sha256:" + "0" * 64))
    with pytest.raises(RecordError, match="the map demo/words"):
        desk().replay(path)


async def test_a_record_is_never_written_over_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await desk().invoke({"q": "go"}, record=path)
    with pytest.raises(RecordError, match="overwritten"):
        desk().replay(path, record=path)
    with pytest.raises(RecordError, match="overwritten"):
        desk().recover(path, record=path)


@BACKENDS
async def test_requests_ahead_of_a_prompt_are_no_turns(tmp_path: Path) -> None:
    """A replay answers them with nothing, and a recovery with the engine behind it."""
    path = tmp_path / "run.jsonl"

    def ahead(engine: Any) -> Pipeline:
        p = Pipeline("ahead").input("q").sink("out")
        model(p, "a", engine)
        model(p, "b", engine)
        p.connect("q", "a").connect("a", "b", prefill="ahead", prefill_stride=8)
        return p.connect("b", "out")

    script = lambda prompt: f"{prompt.user} " + "word " * 40  # noqa: E731
    engine = ScriptedEngine(ScriptedModel(script=script, ids_a_second=1000))
    result = await ahead(engine).invoke({"q": "go"}, record=path)
    assert result.total.prefill_requests
    replayed = await ahead(refusing()).replay(path).execute()
    assert replayed.text == result.text
    recovered = await ahead(refusing()).recover(path).execute()
    assert recovered.text == result.text


# --- recovery ---


@BACKENDS
async def test_a_recorded_function_does_not_run_again_and_the_others_do(tmp_path: Path) -> None:
    """Wherever the record is cut, the run ends as it ended, and no recorded answer is asked for."""
    path, whole = tmp_path / "run.jsonl", tmp_path / "whole.jsonl"
    result = await asking(Answers()).invoke({"q": "a"}, record=whole)
    lines = whole.read_text().splitlines(keepends=True)
    for end in range(1, len(lines), 7):
        path.write_text("".join(lines[:end]))
        answers = Answers()
        recovered = await asking(answers).recover(path).execute()
        assert recovered.text == result.text
        recorded = sum('"kind":"function"' in line for line in lines[:end])
        every = sum('"kind":"function"' in line for line in lines)
        assert len(answers.asked) <= every - recorded


async def recorded_lines(path: Path, p: Pipeline) -> list[str]:
    await p.invoke({"q": "go"}, record=path)
    return lines_of(path)


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


def cut_record(path: Path, lines: list[str], *, turn: int) -> None:
    """Cut the record in the middle of a turn of the planner."""
    of_turn = [n for n, line in enumerate(lines) if f'"planner","turn":{turn},"ids"' in line]
    path.write_text("".join(lines[: of_turn[len(of_turn) // 2]]))


@BACKENDS
@pytest.mark.parametrize("turn", [1, 2, 3])
async def test_a_cut_turn_goes_on_from_its_exact_prefix(tmp_path: Path, turn: int) -> None:
    path, whole = tmp_path / "cut.jsonl", tmp_path / "whole.jsonl"
    lines = await recorded_lines(path, desk())
    complete = read_record(path)
    cut_record(path, lines, turn=turn)
    kept = read_record(path).turns[-1]
    asked = scripted(continuing(complete))
    result = await desk(asked).recover(path, record=whole).execute()
    assert result.text["reader"].startswith("told: I look.")
    assert complete.differences(read_record(whole)) == []
    assert list(asked.requests[0].prompt_ids) == kept.prompt + kept.generated
    assert asked.requests[0].options.max_tokens == 1024 - len(kept.generated)
    assert len(asked.requests) == (3 - turn) + 2
    assert read_record(whole).header["recovers"] == complete.header["run_id"]


def continuing(complete: Any) -> Any:
    """Say the rest of what a complete run has said after the same prompt."""
    from codec_agents.testing import Raw
    from codec_agents.vocabularies import bundled_map
    from codec_core.detokenizer import Detokenizer

    def script(prompt: PromptView) -> Any:
        for turn in complete.turns:
            said = list(prompt.ids)
            whole = turn.prompt + turn.generated
            if len(said) >= len(turn.prompt) and whole[: len(said)] == said:
                source = bundled_map(complete.details(turn.node)["map"])
                rest = Detokenizer(source).render(whole[len(said) : -1], render_special=True)
                return [Raw(rest)]
        return planner(prompt)

    return script


@BACKENDS
async def test_wherever_a_map_is_cut_its_items_go_on(tmp_path: Path) -> None:
    """The stream that it cuts is a model's own, and ends somewhere in the record as well."""
    path, whole = tmp_path / "run.jsonl", tmp_path / "whole.jsonl"

    def listing(engine: Any) -> Pipeline:
        item = Pipeline("item").input("one").sink("said", text=False)
        model(item, "m", engine).connect("one", "m").connect("m", "said")
        p = Pipeline("listing").input("q").sink("out")
        model(p, "lister", engine).map("each", item, parallel=2, separator=" ").connect("q", "lister")
        return p.connect("lister", "each").connect("each", "out")

    def script(prompt: PromptView) -> str:
        said = prompt.user.strip()
        return "one\ntwo\nthree" if said == "go" else f"<{said} and more>"

    result = await listing(scripted(script)).invoke({"q": "go"}, record=whole)
    complete, lines = read_record(whole), lines_of(whole)
    assert len([node for node in complete.nodes if node.startswith("each[")]) == 3
    for end in range(1, len(lines), 3):
        path.write_text("".join(lines[:end]))
        recovered = await listing(scripted(continuing(complete))).recover(path).execute()
        assert (recovered.text, recovered.ids) == (result.text, result.ids)


@BACKENDS
async def test_what_is_finished_is_not_asked_and_its_tools_do_not_run(tmp_path: Path) -> None:
    """Cut in the last node: the planner and its tools come from the record."""
    path = tmp_path / "run.jsonl"
    lines = await recorded_lines(path, desk())
    begun = next(n for n, line in enumerate(lines) if '"kind":"prompt","node":"writer"' in line)
    path.write_text("".join(lines[:begun]))
    asked = scripted(lambda _: "told anew")
    result = await desk(asked, tools=[never]).recover(path).execute()
    assert result.text["reader"] == "told anew"
    assert [request.node for request in asked.requests] == ["writer"]


@BACKENDS
async def test_a_tool_without_a_result_runs_again(tmp_path: Path) -> None:
    path, ran = tmp_path / "run.jsonl", []
    lines = await recorded_lines(path, desk())
    at = [n for n, line in enumerate(lines) if '"kind":"tool"' in line][1]
    path.write_text("".join(lines[:at]))

    def counting(number: int) -> int:
        """Look."""
        ran.append(number)
        return number * 2

    counting.__name__ = "look"
    await desk(tools=[counting]).recover(path).execute()
    assert ran == [2]


@BACKENDS
async def test_a_failed_run_goes_on_when_the_engine_is_back(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with pytest.raises(NodeFailedError):
        await one_model([Say("some words "), Cut()]).invoke({"q": "go"}, record=path)
    result = await one_model("and the rest").recover(path).execute()
    assert result.text["out"] == "some words and the rest"


@BACKENDS
async def test_while_it_is_down_a_recovery_fails_as_any_run(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with pytest.raises(NodeFailedError):
        await one_model([Say("some words "), Cut()]).invoke({"q": "go"}, record=path)
    run = one_model(Refuse(500, "no")).recover(path)
    with pytest.raises(NodeFailedError, match="no") as caught:
        await run.execute()
    assert run.partial_result().text["out"] == "some words ", "what is recorded counts as delivered"
    assert caught.value.delivered == len(read_record(path).turns[0].generated)


@BACKENDS
async def test_a_turn_of_which_only_the_end_was_lost_is_not_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    lines = await recorded_lines(path, one_model("all of it"))
    end = next(n for n, line in enumerate(lines) if '"kind":"turn"' in line)
    path.write_text("".join(lines[:end]))
    result = await one_model(Refuse(500, "no")).recover(path).execute()
    assert result.text["out"] == "all of it"


@BACKENDS
async def test_what_follows_from_another_value_is_asked_anew(tmp_path: Path) -> None:
    """A function that runs again gives something else: the recorded answer is not an answer to that."""
    values: Iterator[str] = iter(["one", "two"])

    def draw(value: str) -> str:
        return next(values)

    path = tmp_path / "run.jsonl"
    p = Pipeline("drawn").input("q").sink("out").function("draw", draw, wants="text")
    model(p, "m", scripted(lambda prompt: f"got {prompt.user}"))
    p.connect("q", "draw").connect("draw", "m").connect("m", "out")
    assert (await p.invoke({"q": "go"}, record=path)).text["out"] == "got one"
    assert (await p.recover(path).execute()).text["out"] == "got one"
    assert (await p.recover(path, functions="run").execute()).text["out"] == "got two"
