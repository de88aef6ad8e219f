"""What leaves the body of a loop or a map: ids of one map, or text, and nothing is lost on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from click.testing import CliRunner

from codec_agents import Pipeline
from codec_agents.cli import exits, main
from codec_agents.exceptions import PipelineError
from codec_agents.records.reader import read_record
from codec_agents.testing import ScriptedEngine

BYTES, WORDS = "demo/bytes", "demo/words"


def shouting() -> Pipeline:
    body = Pipeline("body").input("q").function("f", lambda q: f"{q}!", wants="text").sink("s")
    return body.connect("q", "f").connect("f", "s")


def passing_on() -> Pipeline:
    return Pipeline("body").input("q").sink("s").connect("q", "s")


def echoing(name: str, pipeline: Pipeline, map_id: str = BYTES) -> Pipeline:
    engine = ScriptedEngine(lambda prompt: prompt.user.strip())
    return pipeline.model(name, engine=engine, map=map_id, prompt="{q}")


def around(kind: Literal["map", "loop"], body: Pipeline, **fields: Any) -> Pipeline:
    p = Pipeline("outer").input("q").sink("out")
    if kind == "map":
        p.map("n", body, **fields)
    else:
        p.loop("n", body, **{"turns": 2, "feedback": {"s": "q"}, **fields})
    return p.connect("q", "n").connect("n.s", "out")


@pytest.mark.parametrize("given", ["one", "one\ntwo\nthree"])
def test_the_text_of_each_item_leaves_a_map(given: str) -> None:
    assert around("map", passing_on()).invoke_sync({"q": given}).text["out"] == given
    said = around("map", shouting(), separator=" + ").invoke_sync({"q": given}).text["out"]
    assert said == given.replace("\n", "! + ") + "!"


def test_text_goes_back_into_a_loop_and_leaves_it() -> None:
    assert around("loop", passing_on()).invoke_sync({"q": "go"}).text["out"] == "go"
    assert around("loop", shouting(), turns=3).invoke_sync({"q": "go"}).text["out"] == "go!!!"


def test_the_conditions_of_a_loop_see_the_text() -> None:
    seen: list[Any] = []

    def twice(sinks: dict[str, Any]) -> bool:
        seen.append(sinks)
        return sinks["s"].endswith("!!")

    assert around("loop", shouting(), turns=9, until=twice).invoke_sync({"q": "go"}).text["out"] == "go!!"
    assert seen == [{"s": "go!"}, {"s": "go!!"}]
    begins = {"sink": "s", "starts_with": "go"}
    said = around("loop", shouting(), turns=9, until=begins).invoke_sync({"q": " go"})
    assert said.text["out"] == " go!"


def test_text_goes_back_into_an_input_that_takes_ids() -> None:
    body = echoing("m", Pipeline("body").input("q").sink("s")).function("f", lambda m: f"{m}!", wants="text")
    body.connect("q", "m").connect("m", "f").connect("f", "s")
    p = echoing("first", Pipeline("outer").input("q").sink("out"), WORDS)
    p.loop("n", body, turns=2, feedback={"s": "q"})
    p.connect("q", "first").connect("first", "n").connect("n.s", "out")
    assert p.invoke_sync({"q": "go"}).text["out"].strip() == "go!!"


def test_a_sink_that_calls_a_function_in_a_body_gives_it_the_text() -> None:
    heard: list[Any] = []
    body = Pipeline("body").input("q").function("f", lambda q: f"{q}!", wants="text")
    body.sink("s", call=heard.append).connect("q", "f").connect("f", "s")
    assert around("map", body, parallel=1).invoke_sync({"q": "a\nb"}).text["out"] == "a!\nb!"
    assert heard == ["a!", "b!"]


def test_text_leaves_bodies_inside_bodies_and_goes_to_models() -> None:
    inner = Pipeline("inner").input("line").sink("s")
    inner.map("word", shouting(), split=" ", separator=" ").connect("line", "word").connect("word.s", "s")
    p = echoing("m", Pipeline("outer").input("q").sink("out"))
    p.map("n", inner).connect("q", "n").connect("n.s", "m").connect("m", "out")
    assert p.invoke_sync({"q": "a b\nc d"}).text["out"] == "a! b!\nc! d!"


def test_a_replay_sends_the_same_text(tmp_path: Path) -> None:
    p, file, again = around("map", shouting()), tmp_path / "run.jsonl", tmp_path / "again.jsonl"
    said = p.invoke_sync({"q": "one\ntwo"}, record=file).text
    assert anyio.run(p.replay(file, record=again).execute).text == said == {"out": "one!\ntwo!"}
    assert read_record(file).differences(read_record(again)) == []


def test_commands_show_the_text_that_left_the_pipeline_alone(tmp_path: Path) -> None:
    """Of a sink inside the body there is no text to print, to record or to compare."""
    (tmp_path / "shouts.py").write_text("def shout(line):\n    return line.upper()\n")
    (tmp_path / "p.yaml").write_text(
        "pipeline: p\nnodes:\n  each:\n    each:\n      pipeline: item\n"
        "      nodes: {f: {call: 'shouts:shout', wants: text, inputs: [line]}}\n"
        "      edges: [line -> f.line, f -> said]\n"
        "edges: [lines -> each, each.said -> out, each.said -> copy]\n"
    )
    page, file = str(tmp_path / "p.yaml"), str(tmp_path / "run.jsonl")

    def command(*words: str) -> str:
        done = CliRunner().invoke(main, list(words))
        assert done.exit_code == exits.DONE, done.output
        return done.stdout

    run = ("run", page, "-i", "lines=a\nb", "--record", file)
    assert command(*run, "-q") == "A\nB\nA\nB\n"
    assert read_record(file).texts() == {"out": "A\nB", "copy": "A\nB"}
    assert json.loads(command("run", page, "-i", "lines=a\nb", "--json"))["text"]["out"] == "A\nB"
    assert command("record", "replay", file, page) == "A\nB\nA\nB\n"
    shown = command("run", page, "-i", "lines=a\nb")
    assert shown.count("reads") == 2


def both(*contents: str) -> Pipeline:
    body = Pipeline("body").input("q").sink("s")
    for name, content in zip("abc", contents, strict=False):
        if content == "text":
            body.function(name, lambda q: q, wants="text")
        else:
            echoing(name, body, content)
        body.connect("q", name).connect(name, "s")
    return body


@pytest.mark.parametrize("kind", ["map", "loop"])
@pytest.mark.parametrize(
    "contents", [(BYTES, WORDS), ("text", BYTES), (BYTES, "text"), (BYTES, "text", WORDS)]
)
def test_ids_of_two_maps_or_ids_and_text_in_one_sink_are_refused(
    kind: Any, contents: tuple[str, ...]
) -> None:
    """They would leave the body as ids of the first one, and be read as other words. A sink has one fault."""
    first, second, *_ = (each if each == "text" else f"ids of {each}" for each in contents)
    with pytest.raises(PipelineError, match=f"edges carry {first} and {second} into one sink") as caught:
        around(kind, both(*contents)).build()
    (fault,) = caught.value.errors
    assert fault.place == f"nodes.n.{'each' if kind == 'map' else 'loop'}.nodes.s"


def test_the_remedy_for_two_maps_in_one_sink_is_one() -> None:
    joined = Pipeline("body").input("q").pipeline("both", _with_two_sinks()).join("j", map=BYTES).sink("s")
    joined.connect("q", "both").connect("both.a_out", "j").connect("both.b_out", "j").connect("j", "s")
    assert around("map", joined).invoke_sync({"q": "go"}).text["out"].split() == ["go", "go"]


def _with_two_sinks() -> Pipeline:
    inner = Pipeline("both").input("q")
    for name, map_id in (("a", BYTES), ("b", WORDS)):
        echoing(name, inner, map_id).sink(f"{name}_out").connect("q", name).connect(name, f"{name}_out")
    return inner
