"""Which prompts may be sent ahead where nothing declares it, for what is known before a run."""

from __future__ import annotations

from typing import Any

import pytest

from codec_agents import Chat, Pipeline
from codec_agents.testing import ScriptedEngine
from codec_agents.tools.tool import Tool, tool


@tool(approval=True)
def pay(amount: int) -> str:
    """Pay an amount."""
    return str(amount)


def chain(
    *, engine: str = "kept", a: dict[str, Any] | None = None, b: dict[str, Any] | None = None
) -> Pipeline:
    """Return `a -> b`, where `a` is a model of its own unless another engine is named."""
    p = Pipeline("chain").input("q").sink("out")
    p.engine("kept", kind="vllm", url="http://127.0.0.1:8000")
    p.engine("other", kind="vllm", url="http://127.0.0.1:8001")
    asked: Any = ScriptedEngine(lambda _: "x") if engine == "own" else engine
    p.model("a", engine=asked, map="demo/bytes", prompt=Chat(user="{q}"), **(a or {}))
    p.model("b", engine="kept", map="demo/words", prompt=Chat(user="{draft}"), **(b or {}))
    return p.connect("q", "a").connect("a", "b.draft").connect("b", "out")


def sends(p: Pipeline) -> bool:
    return any(edge.prefill for edge in p.build().edges)


@pytest.mark.parametrize("engine", ["own", "other"])
def test_a_prompt_that_waits_for_a_model_on_another_engine(engine: str) -> None:
    assert sends(chain(engine=engine))


PAYING: list[Tool] = [pay]


@pytest.mark.parametrize(
    "p",
    [
        pytest.param(chain(), id="a model on the same engine"),
        pytest.param(chain(engine="own", a={"tools": PAYING}), id="a model that may wait for a decision"),
        pytest.param(
            chain(engine="own", a={"policy": {"on_failure": "skip"}}), id="a model that may be left out"
        ),
        pytest.param(
            chain(engine="own", b={"policy": {"on_overflow": "drop_oldest_results"}}),
            id="a prompt that may be shortened",
        ),
    ],
)
def test_nothing_is_sent_by_default(p: Pipeline) -> None:
    assert not sends(p)


def test_nothing_is_sent_by_default_inside_a_map() -> None:
    p = Pipeline("items").input("list").sink("all").map("each", chain(engine="own"))
    built = p.connect("list", "each.q").connect("each.out", "all").build()
    body: Any = built.nodes["each"]
    assert not any(edge.prefill for edge in body.body.edges)
