"""Live objects keep their identity, however many of them have the same name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_agents import Pipeline
from codec_agents.exceptions import PipelineError
from codec_agents.testing import Call, PromptView, Say, ScriptedEngine
from codec_agents.tools import tool


def answering(text: str) -> Callable[[PromptView], str]:
    def answer(prompt: PromptView) -> str:
        return text

    return answer


def returning(text: str) -> Callable[[str], str]:
    return lambda q: text


def with_model(name: str, engine: str, pipeline: Pipeline, **fields: Any) -> Pipeline:
    return (
        pipeline.model(name, engine=engine, map="demo/bytes", prompt="{q}", **fields)
        .sink(f"{name}_out")
        .connect("q", f"{name}.q")
        .connect(f"{name}.answer", f"{name}_out")
    )


def body(script: Callable[..., Any]) -> Pipeline:
    inner = Pipeline("inner").input("q").engine("e", kind="scripted", script=script)
    return with_model("m", "e", inner)


@given(st.lists(st.sampled_from(["scripts", "functions", "bodies"]), min_size=2, max_size=6))
@settings(max_examples=15, deadline=None)
def test_many_of_the_same_name_are_told_apart(kinds: list[str]) -> None:
    pipeline = Pipeline("many").input("q")
    expected = {}
    for number, kind in enumerate(kinds):
        name, text = f"n{number}", f"number {number}"
        expected[f"{name}_out"] = text
        if kind == "scripts":
            pipeline.engine(name, kind="scripted", script=answering(text))
            with_model(name, name, pipeline)
        elif kind == "functions":
            pipeline.function(name, returning(text), wants="text")
            pipeline.sink(f"{name}_out").connect("q", f"{name}.q").connect(name, f"{name}_out")
        else:
            pipeline.pipeline(name, body(answering(text)))
            pipeline.sink(f"{name}_out").connect("q", f"{name}.q").connect(f"{name}.m_out", f"{name}_out")
    assert pipeline.invoke_sync({"q": "hi"}).text == expected


def test_tools_sinks_and_joins_keep_their_callables() -> None:
    pipeline = Pipeline("many").input("q")
    seen: dict[str, list[str]] = {"a": [], "b": []}

    def calls(prompt: PromptView) -> list[Any]:
        return [Call("which")] if prompt.turn == 1 else [Say(prompt.results[0])]

    for name in "ab":

        @tool(name="which")
        def which(name: str = name) -> str:
            return name

        def keep(text: str, name: str = name) -> None:
            seen[name].append(text)

        pipeline.engine(f"engine_{name}", ScriptedEngine(calls, name="same"))
        pipeline.model(name, engine=f"engine_{name}", map="demo/bytes", prompt="{q}", tools=[which])
        pipeline.sink(f"{name}_out", call=keep).connect("q", f"{name}.q").connect(name, f"{name}_out")
        pipeline.join(f"{name}_join", until=lambda answers, name=name: name == "a", map="demo/bytes")
        pipeline.connect(f"{name}.answer", f"{name}_join")
    pipeline.sink("joined").connect("a_join", "joined").connect("b_join", "joined")
    pipeline.invoke_sync({"q": "hi"})
    assert {name: "".join(texts) for name, texts in seen.items()} == {"a": "a", "b": "b"}
    assert len({id(each) for each in pipeline.live.callables.values()}) == 6


def test_maps_loops_and_policies_keep_their_lambdas() -> None:
    pipeline, inner = Pipeline("many").input("q"), Pipeline("inner").input("q").sink("s")
    inner.connect("q", "s")
    rounds: dict[str, list[int]] = {"a": [], "b": []}
    for name, times in (("a", 2), ("b", 3)):
        pipeline.map(f"{name}_map", inner, items=lambda text, times=times: [f"{times}"] * times)

        def until(sinks: Any, name: str = name, times: int = times) -> bool:
            rounds[name].append(times)
            return len(rounds[name]) == times

        pipeline.loop(f"{name}_loop", inner, turns=9, feedback={"s": "q"}, until=until)
        for node in (f"{name}_map", f"{name}_loop"):
            pipeline.sink(f"{node}_out").connect("q", f"{node}.q").connect(f"{node}.s", f"{node}_out")
        shortens = lambda messages, sizes, most, name=name: [name, *messages]  # noqa: E731
        pipeline.engine(f"{name}_engine", kind="scripted", script="hi", context=4000)
        with_model(name, f"{name}_engine", pipeline, policy={"on_overflow": shortens})
    text = pipeline.invoke_sync({"q": "hi"}).text
    assert (text["a_map_out"], text["b_map_out"]) == ("2\n2", "3\n3\n3")
    assert rounds == {"a": [2, 2], "b": [3, 3, 3]}
    assert len({id(each) for each in pipeline.live.callables.values()}) == 6
    for name in "ab":
        policy = pipeline.spec.nodes[name].policy
        assert policy is not None
        assert pipeline.live.callables[policy.on_overflow]([], [], 1) == [name]


def test_an_answer_that_spells_a_scripts_name_is_an_answer() -> None:
    pipeline = Pipeline("two").input("q")
    pipeline.engine("first", kind="scripted", script=answering("from the function"))
    pipeline.engine("second", kind="scripted", script="answer")
    for name in ("first", "second"):
        with_model(name, name, pipeline)
    assert pipeline.invoke_sync({"q": "hi"}).text == {
        "first_out": "from the function",
        "second_out": "answer",
    }


@pytest.mark.parametrize("outer", ["script", "object"])
def test_a_body_keeps_its_own_engine_of_the_same_name(outer: str) -> None:
    pipeline = Pipeline("outer").input("q")
    if outer == "script":
        pipeline.engine("e", kind="scripted", script=answering("outside"))
    else:
        pipeline.engine("e", ScriptedEngine(answering("outside"), name="e"))
    with_model("m", "e", pipeline)
    pipeline.pipeline("p", body(answering("inside"))).sink("p_out")
    pipeline.connect("q", "p.q").connect("p.m_out", "p_out")
    assert pipeline.invoke_sync({"q": "hi"}).text == {"m_out": "outside", "p_out": "inside"}


def test_scripts_without_an_import_path_cannot_be_written() -> None:
    pipeline = Pipeline("p").input("q").engine("e", kind="scripted", script=answering("x"))
    with pytest.raises(PipelineError, match=r"engines\.e\.script: a callable that cannot be imported"):
        with_model("m", "e", pipeline).to_yaml()
