"""`codec-agents top`: rates, queues and waits of the edges of a run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from click.testing import CliRunner
from rich.console import Console

from codec_agents import Pipeline
from codec_agents.cli import exits, main
from codec_agents.cli.commands.top import Sampler, table_of
from codec_agents.testing import Say, Wait
from tests.agents.recorded_runs import mapped, model, scripted

BACKENDS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])

DESK = """
pipeline: desk
engines: {a: {kind: scripted, script: [{say: "one two three four five six"}], ids_a_second: 30}}
nodes:
  q: {kind: input}
  m: {engine: a, map: demo/bytes, prompt: "{q}"}
  out: {kind: sink}
edges: [q -> m.q, m.answer -> out]
"""


@pytest.mark.anyio
@BACKENDS
async def test_a_held_up_source_is_seen_with_its_queue_and_its_wait() -> None:
    """The sink takes nothing until it is told to: the queue fills up, and the model waits."""
    taking = anyio.Event()

    async def slowly(_: str) -> None:
        await taking.wait()

    p = Pipeline("slow").input("q").sink("out", call=slowly)
    model(p, "m", scripted(lambda _: "word " * 40))
    p.connect("q", "m").connect("m", "out", buffer=16)
    async with p.run({"q": "go"}) as run:
        sampler = Sampler(run)
        with anyio.fail_after(10):
            while not any(edge.blocked and edge.held for edge in run.edges()):
                await checkpoint()
        sample = next(each for each in sampler.look()[1] if each.state.source == "m.answer")
        state = sample.state
        assert state.blocked
        assert state.open
        assert 8 < state.held <= state.buffer == 16
        assert state.blocked_seconds > 0
        assert sample.blocked_share > 0
        assert sample.per_second > 0
        console = Console(width=100, height=20, force_terminal=False)
        with console.capture() as shown:
            console.print(table_of(console, *Sampler(run).look()))
        assert "blocked" in shown.get()
        assert f"{state.held}/16" in shown.get()
        taking.set()
        result = await run.wait()
        (last,) = [each.state for each in sampler.look()[1] if each.state.source == "m.answer"]
        assert last.sent == len(result.ids["out"])
        assert (last.held, last.blocked, last.open) == (0, False, False)
        assert last.waits > 0


@pytest.mark.anyio
@BACKENDS
async def test_edges_inside_a_map_are_there_while_it_runs() -> None:
    seen: set[str] = set()
    engine = scripted(lambda prompt: [Wait(0.01), Say(f"{prompt.user.strip()}x")])
    async with mapped(engine).run({"q": "a\nb\nc"}) as run:
        with anyio.fail_after(10):
            while "reader" not in run.outcomes:
                seen |= {edge.source for edge in run.edges()}
                await checkpoint()
        assert {"each[0]/m.answer", "each[2]/m.answer", "again[1]/m.answer", "each.said"} <= seen
        assert not any("[" in edge.source for edge in run.edges())


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_where_there_is_no_terminal_it_prints_lines_of_json(tmp_path: Path) -> None:
    file = tmp_path / "desk.yaml"
    file.write_text(DESK)
    done = invoke("top", file, "-i", "q=hello", "--interval", "0.05", "--record", tmp_path / "run.jsonl")
    assert done.exit_code == exits.DONE
    looks = [json.loads(line) for line in done.output.splitlines()]
    assert len(looks) >= 3
    assert [look["at"] for look in looks] == sorted(look["at"] for look in looks)
    last = {(edge["source"], edge["target"]): edge for edge in looks[-1]["edges"]}
    assert last["q.value", "m.q"]["unit"] == "characters"
    assert last["m.answer", "out"]["sent"] > 0
    assert not last["m.answer", "out"]["open"]
    assert (tmp_path / "run.jsonl").exists()


def test_its_errors_are_those_of_run(tmp_path: Path) -> None:
    file = tmp_path / "desk.yaml"
    file.write_text(DESK)
    assert invoke("top", file).exit_code == exits.USAGE
    down = "engines: {a: {kind: codec, url: 'http://127.0.0.1:9'}}\npolicy: {retry: {attempts: 1}}"
    file.write_text(re.sub("engines: .*", down, DESK))
    done = invoke("top", file, "-i", "q=hello")
    assert done.exit_code == exits.ENGINE_FAILED
    assert "Traceback" not in done.output
