"""Keyword arguments as types: their names are the models', and what a type checker cannot see is a fault."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from codec_agents import Pipeline, PipelineError
from codec_agents.engines.factory import make_engine
from codec_agents.graph import fields
from codec_agents.graph.dialects import DialectSpec
from codec_agents.graph.edges import EdgeSpec
from codec_agents.graph.kinds import Sampling
from codec_agents.graph.policy import Limits, Policy, RetryPolicy, TimeoutPolicy
from codec_agents.graph.servers import McpSpec
from codec_agents.graph.serving import ServeSpec
from codec_agents.graph.sources import EngineSpec, MapSpec, OwnKind

MODELS: dict[Any, tuple[Any, set[str]]] = {
    fields.EngineFields: (EngineSpec, set()),
    fields.MapFields: (MapSpec, set()),
    fields.DialectFields: (DialectSpec, set()),
    fields.McpFields: (McpSpec, {"command"}),
    fields.ServeFields: (ServeSpec, set()),
    fields.EdgeFields: (EdgeSpec, {"source", "target"}),
    fields.SamplingFields: (Sampling, set()),
    fields.TimeoutFields: (TimeoutPolicy, set()),
    fields.RetryFields: (RetryPolicy, set()),
    fields.LimitFields: (Limits, set()),
    fields.PolicyFields: (Policy, set()),
}
"""The model of each type, and the fields that are arguments of their own."""


def test_each_type_has_the_fields_of_its_model() -> None:
    for kind, (model, apart) in MODELS.items():
        assert set(kind.__annotations__) == set(model.model_fields) - apart, kind.__name__


MISTAKES: dict[str, tuple[Callable[[Any], object], str]] = {
    "kind": (lambda p: p.engine("A", kind="vlmm", url="http://a"), "did you mean 'vllm'"),
    "engine": (lambda p: p.engine("A", kind="vllm", adress="http://a"), "there is no field 'adress'"),
    "sampling": (lambda p: p.model("m", prompt="{q}", sampling={"temprature": 1}), "mean 'temperature'"),
    "tools": (lambda p: p.model("m", prompt="{q}", tools=[42]), "int is not a tool"),
    "toolset": (lambda p: p.model("m", prompt="{q}", tools=[[42]]), "list is not a tool"),
    "policy": (lambda p: p.model("m", prompt="{q}", policy={"retry": {"attemps": 2}}), "mean 'attempts'"),
    "type": (lambda p: p.input("q", type="txt"), "did you mean 'text'"),
    "wants": (lambda p: p.function("f", len, wants="bytes"), "'ids', 'text'"),
    "edge": (lambda p: p.connect("q", "m", prefil="ahead"), "did you mean 'prefill'"),
    "mcp": (lambda p: p.mcp("files", ["python"], aproval=True), "did you mean 'approval'"),
}


@pytest.mark.parametrize("place", MISTAKES)
def test_a_mistake_is_a_fault_with_a_remedy(place: str) -> None:
    declare, said = MISTAKES[place]
    with pytest.raises(PipelineError, match=said):
        declare(Pipeline("p"))


OWN = """
class Engine:
    provider = "acme"

    def __init__(self, url, *, name, client=None, settings=None, region="north"):
        self.url, self.name, self.settings, self.region = url, name, settings, region
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package that adds a kind of engine."""
    (tmp_path / "acme_engine.py").write_text(OWN)
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[codec_agents.engines]\nacme = acme_engine:Engine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "acme_engine", raising=False)


@pytest.mark.usefixtures("acme")
def test_a_package_adds_a_kind_of_engine() -> None:
    p = Pipeline("p").engine("A", kind=OwnKind("acme"), url="http://a", options={"region": "south"})
    assert p.input("q").sink("out").connect("q", "out").spec.engines["A"].kind == "acme"
    engine: Any = make_engine(
        "acme", name="A", url="http://a", options={"region": "south", "proxy": "http://p"}
    )
    options = {"region": SimpleNamespace()}
    built = [
        Pipeline("p").engine("A", kind=OwnKind("acme"), url="http://a", options=options)
        .input("q").sink("out").connect("q", "out").build()
        for _ in range(2)
    ]  # fmt: skip
    assert built[0].digest == built[1].digest
    assert (engine.url, engine.name, engine.region, engine.settings.proxy) == (
        "http://a",
        "A",
        "south",
        "http://p",
    )
    with pytest.raises(ValueError, match="unexpected keyword argument 'regoin'"):
        make_engine("acme", url="http://a", options={"regoin": "south"})
    with pytest.raises(ValueError, match="does not take script"):
        make_engine("acme", url="http://a", script="hi")


def test_without_the_package_the_kind_is_a_fault() -> None:
    with pytest.raises(PipelineError, match="'acme' is none of the values for 'kind'"):
        Pipeline("p").engine("A", kind=OwnKind("acme"), url="http://a")
