"""A program that uses the public names as pages show them; type checkers find nothing in it."""

from __future__ import annotations

from typing import assert_type

import codec_agents
import codec_core
from codec_agents import (
    Chat,
    EngineSpec,
    Fault,
    MapSpec,
    Pipeline,
    Policy,
    RetryPolicy,
    Run,
    RunResult,
    Sampling,
    Tool,
    ToolContext,
    Toolset,
    tool,
)
from codec_agents.graph.sources import OwnKind
from codec_agents.testing import ScriptedEngine

assert_type(codec_agents.__version__, str)
assert_type(codec_core.__version__, str)


@tool
def fares(origin: str, destination: str, *, day: str = "Friday") -> list[int]:
    """Look up fares."""
    return [len(origin), len(destination), len(day)]


@tool(read_only=True, timeout=5)
async def climate(city: str, context: ToolContext) -> str:
    """Look up the weather."""
    return city


class Desk:
    """Books flights."""

    @tool
    def book(self, flight: str) -> bool:
        """Book a flight."""
        return bool(flight)


def plain(city: str) -> str:
    """Return the city."""
    return city


assert_type(fares("Lisbon", "Oslo", day="Monday"), list[int])
assert_type(Desk().book("DY1819"), bool)
assert_type(fares.renamed("prices")("Lisbon", "Oslo"), list[int])
any_tool: Tool = fares
more = Toolset([fares, climate, Desk().book])

p = Pipeline("desk", policy={"retry": {"attempts": 2, "on": ["connect"]}, "on_failure": "skip"})
p.input("question", type="text", default="where?")
p.engine("A", kind="vllm", url="http://127.0.0.1:8000", options={"handshake": "full"})
p.engine("B", kind="scripted", script=lambda prompt: "well", ids_a_frame=(1, 8))
p.engine("C", kind=OwnKind("acme"), url="http://127.0.0.1:8001")
p.engine("D", EngineSpec(kind="llamacpp", url="http://127.0.0.1:8080"))
p.engine("E", ScriptedEngine(lambda prompt: "well"), concurrency=4)
p.tokenizer_map("qwen2", path="maps/qwen2.json")
p.mcp("files", ["python", "server.py"], only=["read"], approval=True)
p.model(
    "planner",
    engine="A",
    map=MapSpec(path="maps/qwen2.json"),
    prompt=Chat(user="{question}", thinking="on"),
    tools=[fares, climate, plain, more, "travel:fares", "mcp:files"],
    sampling={"temperature": 0.2, "max_tokens": 200, "structured": {"choice": ["a", "b"]}},
    policy=Policy(retry=RetryPolicy(attempts=2)),
)
p.model("writer", engine="B", prompt="{draft}", sampling=Sampling(top_p=0.9), policy={"limits": {"turns": 2}})
p.router("route", prompt="{x}", labels={"yes": "writer", "no": ["planner"]}, default="writer")
p.function("upper", str.upper, inputs=["value"], wants="text")
p.join("both", first=1)
p.sink("reader", to="stdout")
p.connect("question", "planner.question").connect("planner", "writer", prefill="ahead", buffer=64)

assert_type(p.check(), list[Fault])


async def run() -> None:
    """Run it in each way."""
    result = await p.invoke({"question": "Oslo?"}, record="run.jsonl", durability="disk", deps=object())
    assert_type(result, RunResult)
    assert_type(result.text, dict[str, str])
    async with p.run({"question": "Oslo?"}, after=result, run_id="second") as running:
        assert_type(running, Run)
        async for piece in running.text("reader"):
            assert_type(piece, str)
    results = await p.batch(
        [{"question": "Oslo?"}], concurrency=2, progress=True, record="runs", after=result
    )
    assert_type(results, list[RunResult | Exception])
    async with p.batch_as_completed([{"question": "Oslo?"}], deps=object(), run_id="night") as completed:
        async for position, each in completed:
            assert_type(position, int)
            assert_type(each, RunResult | Exception)
    resumed = p.resume("{}", [True, "not today"], after=result, record="run.jsonl", run_id="third")
    assert_type(await resumed.execute(), RunResult)
