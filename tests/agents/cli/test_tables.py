"""What a run closes with: what each handoff carried, and where its time went."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from codec_agents.cli.terminal.tables import show_handoffs
from codec_agents.events import HandoffReport
from codec_agents.trace import figures_of, measured

REPORT = HandoffReport(
    source="planner.answer",
    target="writer.draft",
    strategy="translate",
    source_map="a",
    target_map="b",
    input_ids=1092,
    output_ids=1090,
    dropped_ids=0,
    replaced=0,
    translate_seconds=0.00234,
    tail_seconds=0.00021,
    first_in=0.1,
    last_in=1.00101,
    request_sent=1.002,
    first_out=1.04,
    wire_bytes=5700,
    wire_ids=1000,
    last_id=1.0,
    render_seconds=0.00018,
    request_seconds=0.0006,
)


def shown(*reports: HandoffReport, width: int = 80) -> list[str]:
    """Return the lines for the handoffs of one run."""
    console = Console(file=io.StringIO(), width=width)
    show_handoffs(console, figures_of(measured(report, report.strategy) for report in reports))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def row(lines: list[str], title: str) -> dict[str, str]:
    """Return the first row of a table, by its heads."""
    [number] = [number for number, line in enumerate(lines) if line.startswith(title)]
    heads = lines[number].removeprefix(title).replace("first id", "first-id").replace("ids ", "ids-").split()
    cells = lines[number + 1].replace("planner → writer", "").replace(" ms", "").split()
    return dict(zip(heads, cells[-len(heads) :], strict=True))


def changed(**changes: Any) -> HandoffReport:
    """Return the handoff with other figures."""
    return msgspec.structs.replace(REPORT, **changes)


def test_what_was_carried() -> None:
    assert row(shown(REPORT), "handed on") == {
        "ids-in": "1,092",
        "ids-out": "1,090",
        "bytes": "5,700",
        "bytes/id": "5.7",
        "translate": "2.34",
    }


def test_the_parts_add_up_to_the_gap_and_with_the_engine_to_the_first_id() -> None:
    times = {name: float(cell) for name, cell in row(shown(REPORT), "time, ms").items()}
    assert list(times) == ["detect", "tail", "render", "request", "gap", "engine", "first-id"]
    assert times["gap"] == pytest.approx(sum(list(times.values())[:4]), abs=0.02)
    assert times["first-id"] == pytest.approx(times["gap"] + times["engine"], abs=0.02)


def test_what_an_edge_waited_for_has_a_column_where_it_waited() -> None:
    assert row(shown(changed(queue_seconds=0.25)), "time, ms")["queue"] == "250"
    assert row(shown(changed(wait_seconds=0.05)), "time, ms")["wait"] == "50.00"


def test_edges_between_the_same_nodes_are_called_by_their_ports() -> None:
    lines = shown(REPORT, changed(source="planner.reasoning"), width=120)
    assert any(line.startswith("planner.reasoning → writer.draft ") for line in lines)


def test_several_handoffs_of_an_edge_are_percentiles() -> None:
    lines = shown(*(changed(request_sent=1.002 + number / 1000) for number in range(11)))
    assert row(lines, "median ms")["gap"] == "7.00"
    assert lines[[line.startswith("spread, ms") for line in lines].index(True) + 1].split()[3:7] == [
        "11",
        "7.00",
        "11.00",
        "11.90",
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_a_table_breaks_between_its_columns_and_leaves_nothing_out(width: int) -> None:
    lines = shown(REPORT, width=width)
    assert max(map(len, lines)) <= width
    whole = row(shown(REPORT), "time, ms")
    parts: dict[str, str] = {}
    for number, line in enumerate(lines):
        if line.startswith("time, ms"):
            heads = line.removeprefix("time, ms").replace("first id", "first-id").split()
            cells = lines[number + 1].replace("planner", "").replace("→ writer", "").split()
            parts |= dict(zip(heads, cells, strict=True))
    assert parts == whole
