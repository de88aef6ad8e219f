"""Pipelines for runs that are stopped by `cancel(after="turn")` while a model speaks."""

from __future__ import annotations

from typing import Any

from codec_agents import Chat, Pipeline
from codec_agents.testing import ScriptedModel, Wait
from tests.agents.patient import Patient

LATER = Wait(0)
"""Begins another frame, which comes when nothing else can happen."""


def engine_of(script: Any) -> Patient:
    """Return a model that gives all it says between two waits in one frame."""
    return Patient(ScriptedModel(script=script, ids_a_frame=1000))


def with_second(kind: str, script: Any) -> Pipeline:
    """Return a model and, behind it, a node that asks the same one: a model, a router, a loop or a map."""
    engine, p = engine_of(script), Pipeline("two").input("q").sink("out").sink("late")
    common: dict[str, Any] = {"engine": engine, "map": "demo/bytes", "prompt": Chat(user="{x}")}
    body = Pipeline("body").input("x").sink("y", text=False)
    body.model("m", **common).connect("x", "m").connect("m", "y")
    p.model("first", **common).connect("q", "first")
    match kind:
        case "model":
            p.model("second", **common)
        case "router":
            p.router("second", **common, labels={"one": "then", "no": "then"})
            p.function("then", lambda value: value, wants="text").connect("q", "then").connect("then", "late")
        case "loop":
            p.loop("second", body, turns=5, feedback={"y": "x"})
        case "map":
            p.map("second", body, parallel=1)
    p.connect("first", "out").connect("first", "second")
    return p if kind == "router" else p.connect("second", "late")
