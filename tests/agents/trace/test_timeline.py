"""A recorded run, arranged by time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner

from codec_agents import Pipeline
from codec_agents.cli import main
from codec_agents.exceptions import RecordError
from codec_agents.records.recorded import RecordedTurn
from codec_agents.testing import Call, Raw, ScriptedModel, Wait
from codec_agents.tools.tool import tool
from codec_agents.trace import edge_figures, read_run, read_runs
from codec_agents.trace.percentiles import percentile
from codec_agents.trace.timeline import tools_saved
from tests.agents.patient import Continuing

WriteChain = Callable[..., None]


def test_parts_of_a_handoff_add_up(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl", gap=0.003)
    edge = read_run(tmp_path / "a.jsonl").edges[1]
    assert edge.name == "node000.answer -> node001.text"
    assert edge.detect == pytest.approx(0.0002)
    assert edge.tail == pytest.approx(0.0004)
    assert (edge.wait, edge.render, edge.queue) == (0.0, 0.0002, 0.0001)
    assert edge.request == pytest.approx(0.0021)
    assert edge.engine == pytest.approx(0.01)
    assert edge.gap == pytest.approx(0.003)
    assert edge.first_id_latency == pytest.approx(0.013)
    parts = (edge.detect, edge.tail, edge.wait, edge.render, edge.queue, edge.request, edge.engine)
    assert sum(part or 0.0 for part in parts) == pytest.approx(edge.first_id_latency)


def test_bars_wait_then_stream_and_tile_the_turn(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl", nodes=1)
    bars = read_run(tmp_path / "a.jsonl").bars
    assert [bar.kind for bar in bars] == ["wait", "reasoning", "answer"]
    assert [bar.start for bar in bars[1:]] == [bar.end for bar in bars[:-1]]


def test_lanes_hold_all_ids_in_order(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl", nodes=1, ids=5_000)
    run = read_run(tmp_path / "a.jsonl")
    assert [lane.port for lane in run.lanes] == ["reasoning", "answer"]
    assert sum(len(lane.ids) for lane in run.lanes) == 4 + len(run.lanes[1].ids)
    assert run.lanes[0].end <= run.lanes[1].start <= run.lanes[1].end <= run.seconds


def test_an_edge_that_nobody_measured_still_counts_its_ids(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl")
    last = read_run(tmp_path / "a.jsonl").edges[-1]
    assert (last.target, last.gap) == ("reader", None)
    assert last.ids_in


def test_figures_over_several_runs(tmp_path: Path, write_chain: WriteChain) -> None:
    paths = [tmp_path / f"{number}.jsonl" for number in range(5)]
    for number, path in enumerate(paths):
        write_chain(path, gap=0.001 * (number + 1))
    [edge] = edge_figures(read_runs(paths))
    assert edge.runs == 5
    assert edge.gap == pytest.approx((0.001, 0.002, 0.003, 0.004, 0.005))
    assert percentile(edge.gap, 50) == pytest.approx(0.003)


def test_runs_of_the_same_file_name_keep_apart(tmp_path: Path, write_chain: WriteChain) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_chain(tmp_path / folder / "run.jsonl")
    names = [run.name for run in read_runs([tmp_path / "a" / "run.jsonl", tmp_path / "b" / "run.jsonl"])]
    assert len(set(names)) == 2


def test_a_run_cut_off_is_shown_as_far_as_it_came(tmp_path: Path, write_chain: WriteChain) -> None:
    path = tmp_path / "a.jsonl"
    write_chain(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]) + lines[4][:10])
    run = read_run(path)
    assert not run.complete
    assert run.bars


def test_a_file_that_is_no_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"kind": "other"}\n')
    with pytest.raises(RecordError, match="not a record"):
        read_run(tmp_path / "a.jsonl")


def test_the_terminal_has_a_row_for_each_node_that_shows_its_handoff(
    tmp_path: Path, write_chain: WriteChain
) -> None:
    write_chain(tmp_path / "a.jsonl", nodes=3, ids=3000)
    shown = CliRunner().invoke(main, ["trace", str(tmp_path / "a.jsonl")], env={"COLUMNS": "90"}).output
    waterfall, _, _ = shown.partition("handed on")
    rows = [line.split()[:2] for line in waterfall.splitlines() if line.startswith("node")]
    assert [name for name, _ in rows] == ["node000", "node001", "node002"]
    assert rows[0][1].startswith(".")
    assert all(bar.startswith("h") and bar.endswith("a") for _, bar in rows[1:])


@pytest.mark.parametrize(
    ("tools", "saved"),
    [
        ([], 0.0),
        ([(0.6, 0.3)], 0.3),  # a call of 300 ms that ended 700 ms before its turn
        ([(1.6, 0.3)], 0.0),
        ([(1.4, 0.3)], 0.2),
        ([(0.6, 0.3), (1.5, 0.2)], 0.1),
    ],
)
def test_the_time_that_early_tools_save(tools: list[tuple[float, float]], saved: float) -> None:
    turn = RecordedTurn("m", 1, [1], 0, ended=1.3, tools=[{"at": at, "seconds": took} for at, took in tools])
    assert tools_saved(turn) == pytest.approx(saved)


@pytest.mark.parametrize(("read_only", "overlaps"), [(True, True), (False, False)])
@pytest.mark.asyncio
async def test_a_tool_that_reads_overlaps_its_turn(tmp_path: Path, read_only: bool, overlaps: bool) -> None:
    """The turn goes on behind the call until the tool is done, where it may start early."""
    done = anyio.Event()

    @tool(read_only=read_only)
    async def look() -> str:
        """Look."""
        await anyio.sleep(0.01)
        done.set()
        return "seen"

    def script(prompt: Any) -> Any:
        return [Call("look"), Wait(0.001), Raw([65])] if prompt.turn == 1 else "done"

    if not read_only:
        done.set()
    engine = Continuing(ScriptedModel(script=script, ids_a_frame=1000), done)
    p = Pipeline("one").input("q").sink("out")
    p.model("m", engine=engine, map="demo/bytes", prompt="{q}", tools=[look])
    p.connect("q", "m.q").connect("m.answer", "out")
    await p.invoke({"q": "?"}, record=tmp_path / "run.jsonl")
    saved = read_run(tmp_path / "run.jsonl").tools_saved
    assert (saved > 0.005) == overlaps
