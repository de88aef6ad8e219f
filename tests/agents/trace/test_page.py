"""The page, in a real browser where there is one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from codec_agents import Pipeline
from codec_agents.cli import main
from codec_agents.exceptions import NodeFailedError
from codec_agents.testing import Cut, Say, ScriptedEngine
from codec_agents.trace import read_runs
from tests.agents.recorded_runs import model
from tests.agents.trace.browser import body_of, page_of, rendered

WriteChain = Callable[..., None]


def test_the_page_stands_alone(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl")
    html = page_of(tmp_path, tmp_path / "a.jsonl").read_text()
    assert not re.search(r"(src|href)\s*=|@import|url\(|https?://(?!www\.w3\.org)", html)


def test_content_cannot_leave_its_place(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl", said="</script><script>document.title='forged'</script>")
    html = page_of(tmp_path, tmp_path / "a.jsonl").read_text()
    assert html.count("<script") == 2
    assert html.count("</script>") == 2


def test_a_browser_shows_graph_waterfall_handoffs_and_text(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl", said="Grüße aus Oslo, <b>kalt</b>.")
    body = body_of(rendered(page_of(tmp_path, tmp_path / "a.jsonl"), tmp_path))
    assert 'data-ready="1"' in body
    assert 'data-node="node001"' in body
    assert "Grüße aus Oslo, &lt;b&gt;kalt&lt;/b&gt;." in body
    assert "node000.answer → node001.text" in body
    assert "3.00 ms" in body


@pytest.mark.slow
def test_a_browser_compares_runs(tmp_path: Path, write_chain: WriteChain) -> None:
    for name, gap in (("slow", 0.009), ("fast", 0.001)):
        write_chain(tmp_path / f"{name}.jsonl", gap=gap)
    body = body_of(rendered(page_of(tmp_path, tmp_path / "slow.jsonl", tmp_path / "fast.jsonl"), tmp_path))
    assert "over the runs shown" in body
    assert "5.00 ms" in body  # the median gap of both


@pytest.mark.slow
def test_a_browser_takes_100_nodes_and_100_000_ids(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl", nodes=100, ids=100_000)
    [run] = read_runs([tmp_path / "a.jsonl"])
    assert sum(len(lane.ids) for lane in run.lanes) > 95_000
    body = body_of(rendered(page_of(tmp_path, tmp_path / "a.jsonl"), tmp_path))
    assert 'data-ready="1"' in body
    assert body.count("data-node=") == 102


@pytest.mark.slow
def test_a_browser_shows_the_beginning_of_a_text_in_its_bar(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl", nodes=1, ids=4000, said="Oslo is cold in November. ")
    body = body_of(rendered(page_of(tmp_path, tmp_path / "a.jsonl"), tmp_path))
    assert re.search(r"<i [^>]*var\(--answer\)[^>]*>[^<]*is cold in November", body)


@pytest.mark.slow
def test_a_filter_leaves_what_it_names(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl", nodes=3)
    then = "byId('filter').value = 'NODE001'; byId('filter').dispatchEvent(new Event('input'));"
    body = body_of(rendered(page_of(tmp_path, tmp_path / "a.jsonl", then=then), tmp_path))
    rows = re.findall(r'<span class="name" title="(\w+) ', body)
    assert rows == ["node001", "node002"]  # what node001 hands to node002 names it, too
    assert body.count("data-node=") == 5  # the graph stays whole; the node stands out in it
    assert re.search(r'class="node model chosen" data-node="node001"', body)


@pytest.mark.slow
def test_a_kind_of_work_can_be_left_out(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl")
    whole = body_of(rendered(page_of(tmp_path, tmp_path / "a.jsonl"), tmp_path))
    then = "document.querySelector('#kinds input[value=reasoning]').click();"
    left = body_of(rendered(page_of(tmp_path, tmp_path / "a.jsonl", then=then), tmp_path))
    bar = re.compile(r'class="bare" title="[^"]*" style="[^"]*var\(--reasoning\)')
    assert (len(bar.findall(whole)), len(bar.findall(left))) == (2, 0)


@pytest.mark.slow
def test_runs_stand_beside_the_first(tmp_path: Path, write_chain: WriteChain) -> None:
    for name, gap in (("before", 0.004), ("after", 0.001)):
        write_chain(tmp_path / f"{name}.jsonl", gap=gap)
    then = "byId('grouping').value = 'node'; byId('grouping').dispatchEvent(new Event('change'));"
    page = page_of(tmp_path, tmp_path / "before.jsonl", tmp_path / "after.jsonl", then=then)
    body = body_of(rendered(page, tmp_path))
    assert "-75 %" in body
    assert re.findall(r'<div class="group">(\w+)</div>', body) == ["node000", "node001"]


@pytest.mark.slow
def test_a_node_is_chosen_with_the_keyboard(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl")
    then = (
        "const box = document.querySelector('[data-node=node001]'); box.focus();"
        "document.body.dataset.focused = document.activeElement.dataset.node;"
        "box.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter' }));"
    )
    body = body_of(rendered(page_of(tmp_path, tmp_path / "a.jsonl", then=then), tmp_path))
    assert 'data-focused="node001"' in body
    assert re.search(r'class="node model chosen" data-node="node001"', body)


@pytest.mark.slow
def test_a_stretch_of_time_is_chosen_by_dragging(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl", nodes=4)
    then = (
        "const track = document.querySelector('.row:not(.axis) .track'), box = track.getBoundingClientRect();"
        "const at = (kind, share) => track.dispatchEvent(new PointerEvent(kind,"
        " { clientX: box.left + share * box.width, pointerId: 1, bubbles: true }));"
        "track.setPointerCapture = () => {};"
        "at('pointerdown', .5); at('pointermove', 1); at('pointerup', 1);"
        "document.body.dataset.from = state.range[0] / RUNS[0].seconds;"
    )
    body = body_of(rendered(page_of(tmp_path, tmp_path / "a.jsonl", then=then), tmp_path))
    [share] = re.findall(r'data-from="([\d.]+)"', body)
    assert float(share) == pytest.approx(0.5, abs=0.01)


OVERLAPS = """
const boxesOf = what => [...document.querySelectorAll(what)].map(rect => rect.getBBox());
const nodes = boxesOf('#graph .node rect'), labels = boxesOf('#graph .plate');
const meet = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width
  && a.y < b.y + b.height && b.y < a.y + a.height;
const pairs = (some, others) => some.flatMap((a, i) => others.filter((b, j) =>
  (some !== others || j > i) && meet(a, b))).length;
const graph = document.querySelector('#graph');
Object.assign(document.body.dataset, { nodes: pairs(nodes, nodes), labels: pairs(labels, labels),
  both: pairs(nodes, labels), fits: graph.scrollWidth <= graph.clientWidth });
"""


@pytest.mark.slow
def test_nothing_lies_over_anything_with_100_nodes(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl", nodes=100, ids=100_000)
    body = body_of(rendered(page_of(tmp_path, tmp_path / "a.jsonl", then=OVERLAPS), tmp_path))
    assert 'data-nodes="0"' in body
    assert 'data-labels="0"' in body
    assert 'data-both="0"' in body
    assert 'data-fits="true"' in body


@pytest.fixture
def troubled(tmp_path: Path) -> Path:
    """Return the record of a run with a retry, a cut answer, and a node that fails."""
    path = tmp_path / "troubled.jsonl"
    tries: list[int] = []

    def script(prompt: Any) -> Any:
        tries.append(1)
        return [Say("one "), Cut()] if len(tries) == 1 else "many words for so few ids"

    def fail(_: str) -> str:
        raise LookupError("no <b>such</b> fare")

    p = Pipeline("troubled").input("q").sink("out").function("check", fail, wants="text")
    policy = {"retry": {"attempts": 2, "initial": 0}}
    model(p, "writer", ScriptedEngine(script), policy=policy, sampling={"max_tokens": 4})
    p.connect("q", "writer").connect("writer", "check").connect("check", "out")
    with pytest.raises(NodeFailedError):
        p.invoke_sync({"q": "go"}, record=path)
    return path


@pytest.mark.slow
def test_a_browser_shows_failures_retries_and_cut_answers(tmp_path: Path, troubled: Path) -> None:
    body = body_of(rendered(page_of(tmp_path, troubled), tmp_path))
    rows = re.findall(r'<li class="(\w+)"><button type="button">(\w+)</button>', body)
    assert rows == [("failed", "check"), ("cut", "writer"), ("retried", "writer")]
    assert "LookupError: no &lt;b&gt;such&lt;/b&gt; fare" in body
    assert re.search(r'class="node bad" data-node="check"', body)
    assert not re.search(r'class="node[^"]* bad" data-node="writer"', body)
    assert re.search(r'data-node="writer"[^>]*aria-label="writer: [^"]*cut', body)


def test_the_terminal_shows_failures_retries_and_cut_answers(troubled: Path) -> None:
    shown = CliRunner().invoke(main, ["trace", str(troubled)]).output
    assert "check failed: " in shown
    assert "LookupError: no <b>such</b> fare" in shown
    assert "writer asked again in turn 1" in shown
    assert "writer was cut: its last turn ended at its limit of ids" in shown


@pytest.mark.slow
def test_a_browser_shows_no_troubles_of_a_sound_run(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl")
    body = body_of(rendered(page_of(tmp_path, tmp_path / "a.jsonl"), tmp_path))
    assert '<section id="troubles" hidden="">' in body
    assert " bad" not in body


@pytest.mark.slow
def test_a_link_opens_the_page_at_a_node(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl", nodes=3)
    body = body_of(rendered(page_of(tmp_path, tmp_path / "a.jsonl"), tmp_path, link="#node=node001"))
    assert re.search(r'class="node model chosen" data-node="node001"', body)


@pytest.mark.slow
def test_keys_zoom_move_and_reset(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl", nodes=3)
    press = "const press = key => document.activeElement.dispatchEvent("
    press += "new KeyboardEvent('keydown', { key, bubbles: true }));"
    then = press + "press('+'); document.querySelector('[data-node=node000]').focus(); press('ArrowRight');"
    then += "const at = document.activeElement.dataset.node, zoomed = !byId('whole').hidden; press('Enter');"
    then += "const hash = location.hash; press('Escape');"
    then += "document.title = [at, zoomed, hash, location.hash, byId('whole').hidden].join(' ');"
    document = rendered(page_of(tmp_path, tmp_path / "a.jsonl", then=then), tmp_path)
    assert re.findall("<title>(.*?)</title>", document)[0] == "node001 true #node=node001  true"
