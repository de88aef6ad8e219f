"""A built pipeline seen as a whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from codec_agents import Chat, Pipeline
from codec_agents.exceptions import InputError
from codec_agents.plan.nodes import PromptedNode, declared_path
from codec_agents.plan.variants import placed, prompted_nodes, with_nodes
from codec_agents.prompts import ToldResults
from codec_agents.records.header import record_header
from codec_agents.testing import ScriptedEngine
from tests.agents.recorded_runs import desk, mapped, refusing


def test_models_inside_loops_and_maps_are_found() -> None:
    assert sorted(prompted_nodes(mapped().build())) == ["again/m", "each/m"]


def test_a_changed_pipeline_shares_the_lease_of_the_engines() -> None:
    """Two leases of the same engines would close them under each other."""
    built, engine = mapped().build(), refusing()
    changed = with_nodes(
        built, lambda node: replace(node, engine=engine) if isinstance(node, PromptedNode) else node
    )
    assert {node.engine for node in prompted_nodes(changed).values()} == {engine}
    assert engine not in {node.engine for node in prompted_nodes(built).values()}
    assert changed.lease is built.lease


def test_placed_nodes_keep_their_names_and_know_their_prefix() -> None:
    built = placed(desk().build(), "each[3]/")
    node = built.nodes["planner"]
    assert (node.name, node.path, node.prefix) == ("planner", "each[3]/planner", "each[3]/")
    assert declared_path(node.path) == "each/planner"
    assert declared_path("a[1]/b[22]/c") == "a/b/c"


def test_a_header_names_maps_with_their_hashes() -> None:
    header = record_header(desk().build())
    assert set(header["maps"]) == {"demo/bytes", "demo/words"}
    assert all(value.startswith("sha256:") for value in header["maps"].values())
    assert header["nodes"]["writer"] == {
        "map": "demo/words",
        "dialect": header["nodes"]["writer"]["dialect"],
        "model": "writer",
        "engine": "scripted",
        "sampling": {"stop_token_ids": (2, 0)},
    }


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": [10**9]}, "ids that are not in the map"),
        ({"prompt": [-1]}, "ids that are not in the map"),
        ({"generated": [2**33]}, "ids that are not in the map"),
        ({"prompt": ["a"]}, "no list of integers"),
        ({"prompt": [True] * 20}, "no list of integers"),
        ({"generated": "abc"}, "no list of integers"),
        ({"begin": -5}, "begins at -5"),
        ({"begin": 10**9}, "begins at 1000000000"),
        ({"begin": "x"}, "begins at 'x'"),
        ({"unread": True}, "an answer behind results"),
        ({"told": (ToldResults(start=0, stop=10**9, calls=()),)}, "results outside its prompt"),
    ],
)
async def test_a_history_that_does_not_fit_together_is_refused(changes: dict[str, Any], said: str) -> None:
    """It may come from a file of the caller's."""
    p = Pipeline("p").input("q").sink("out")
    p.model("m", engine=ScriptedEngine(lambda _: "done"), map="demo/bytes", prompt=Chat(user="{x}"))
    p.connect("q", "m").connect("m", "out")
    result = await p.invoke({"q": "go"})
    history = msgspec.structs.replace(result.histories["m"], **changes)
    with pytest.raises(InputError, match=said):
        await p.invoke({"q": "and?"}, after={"m": history})
    assert (await p.invoke({"q": "and?"}, after=result)).text["out"] == "done"
