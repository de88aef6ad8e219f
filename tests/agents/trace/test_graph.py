"""The graph of the page with fan-out, bodies and failures; and what it shows of a chosen node or edge."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from codec_agents import Chat, Pipeline
from codec_agents.testing import Call, PromptView, ScriptedEngine, Think
from tests.agents.recorded_runs import model
from tests.agents.trace.browser import body_of, page_of, rendered

pytestmark = pytest.mark.slow

WORKERS = 12


def look(number: int) -> list[str]:
    """Look."""
    return ["<b>seen</b>"] * number


def planner(prompt: PromptView) -> object:
    return [Think("hm"), Call("look", number=2)] if prompt.turn == 1 else "one two three"


def refuse(text: str) -> str:
    raise LookupError(text)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record a run of 30 nodes: fan-out, fan-in, a map, a loop, a tool, a function, a failure."""
    path = tmp_path_factory.mktemp("wide") / "wide.jsonl"
    p = Pipeline("wide").input("question").sink("reader").sink("log")
    model(p, "planner", ScriptedEngine(planner), tools=[look], prompt=Chat(user="Plan {text}"))
    p.connect("question", "planner").join("all", map="demo/bytes")
    for number in range(WORKERS):
        worker, check = f"worker{number:02}", f"check{number:02}"
        model(p, worker, ScriptedEngine(lambda _: "part "), map=("demo/bytes", "demo/words")[number % 2])
        model(p, check, ScriptedEngine(lambda _: "checked "))
        p.connect("planner", worker).connect(worker, check).connect(check, "all")
    item = Pipeline("item").input("one").sink("said", text=False)
    model(item, "m", ScriptedEngine(lambda prompt: f"{prompt.user.strip()}."))
    again = Pipeline("again").input("draft").sink("out", text=False)
    model(again, "m", ScriptedEngine(lambda prompt: f"{prompt.user.strip()}!"))
    p.map("each", item.connect("one", "m").connect("m", "said"), split=" ")
    p.loop("polish", again.connect("draft", "m").connect("m", "out"), turns=3, feedback={"out": "draft"})
    p.connect("all", "each").connect("each", "polish.draft").connect("polish.out", "reader")
    p.function("broken", refuse, inputs=["text"], wants="text", policy={"on_failure": "skip"})
    p.connect("all", "broken.text").connect("broken", "log")
    p.invoke_sync({"question": "to <i>Oslo</i>?"}, record=path)
    return path


LIES_OVER = """
const boxesOf = what => [...document.querySelectorAll(what)].map(rect => rect.getBBox());
const nodes = boxesOf('#graph .node:not(.body) rect'), labels = boxesOf('#graph .plate');
const meet = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width
  && a.y < b.y + b.height && b.y < a.y + a.height;
const pairs = (some, others) => some.flatMap((a, i) => others.filter((b, j) =>
  (some !== others || j > i) && meet(a, b))).length;
const through = [...document.querySelectorAll('#graph path.edge:not(.head)')].filter(path => {
  const long = path.getTotalLength();
  for (let at = 4; at < long - 4; at += 4) {
    const { x, y } = path.getPointAtLength(at);
    if (nodes.some(b => Math.abs(x - b.x - b.width / 2) < b.width / 2 - 1
      && Math.abs(y - b.y - b.height / 2) < b.height / 2 - 1)) return true;
  }
  return false;
}).length;
const text = document.querySelector('#graph text').getBoundingClientRect().height;
Object.assign(document.body.dataset, { drawn: nodes.length, nodes: pairs(nodes, nodes),
  labels: pairs(labels, labels), both: pairs(nodes, labels), through, tall: text,
  overflow: document.documentElement.scrollWidth - innerWidth });
"""


@pytest.mark.parametrize("size", ["1280,1600", "375,900"])
def test_thirty_nodes_stay_apart_and_readable(wide: Path, tmp_path: Path, size: str) -> None:
    body = body_of(rendered(page_of(tmp_path, wide, then=LIES_OVER), tmp_path, size=size))
    found = dict(re.findall(r'data-(\w+)="(-?[\d.]+)"', body.partition("<header")[0]))
    assert int(found["drawn"]) >= 30
    for overlap in ("nodes", "labels", "both", "through"):
        assert found[overlap] == "0", overlap
    assert float(found["tall"]) >= 11, "text of the graph, in pixels"
    assert float(found["overflow"]) <= 0, "nothing but the graph scrolls sideways"


def test_bodies_are_frames_with_one_box_for_all_items(wide: Path, tmp_path: Path) -> None:
    body = body_of(rendered(page_of(tmp_path, wide), tmp_path))
    graph = body.partition('id="graph"')[2].partition("</section>")[0]
    assert re.search(r'class="node body" data-node="each"', graph)
    assert re.search(r'class="node body" data-node="polish"', graph)
    assert len(re.findall(r'data-node="each/m"', graph)) == 1
    assert "m ×3" in graph
    assert re.search(r'class="node bad" data-node="broken"', graph)


def test_a_chosen_node_shows_prompt_lanes_arguments_and_results(wide: Path, tmp_path: Path) -> None:
    body = body_of(rendered(page_of(tmp_path, wide), tmp_path, link="#node=planner"))
    detail = body.partition('id="detail-body"')[2].partition("</section>")[0]
    assert "Plan to &lt;i&gt;Oslo&lt;/i&gt;?" in detail
    assert "planner · turn 2" in detail
    assert "of them the turn before" in detail
    assert re.search(r"arguments</h3><pre>[^<]*\"number\": 2", detail)
    assert re.search(r"result</h3><pre>[^<]*&lt;b&gt;seen&lt;/b&gt;", detail)
    assert "reasoning, 1 ids" in detail or "reasoning, 2 ids" in detail


@pytest.mark.parametrize(
    ("node", "shown"),
    [
        ("question", "input</h3><pre>to &lt;i&gt;Oslo&lt;/i&gt;?"),
        ("broken", "LookupError: "),
        ("each", "<button type=\"button\">each/m</button>"),
        ("each/m", "each[2]/m · turn 1"),
        ("reader", "text</h3><pre>"),
    ],
)  # fmt: skip
def test_a_link_shows_what_is_in_a_node(wide: Path, tmp_path: Path, node: str, shown: str) -> None:
    body = body_of(rendered(page_of(tmp_path, wide), tmp_path, link=f"#node={node}"))
    assert shown in body.partition('id="detail-body"')[2].partition("</section>")[0]


@pytest.mark.parametrize("link", ["#node=reader", "#handoff=polish.out-%3Ereader"])
def test_what_a_link_chooses_is_in_the_graphs_window(wide: Path, tmp_path: Path, link: str) -> None:
    then = (
        "const boxOf = what => document.querySelector(what).getBoundingClientRect();"
        "const room = boxOf('#graph'), box = boxOf('#graph .chosen:is(.node, .label-of)');"
        "document.title = [box.left >= room.left && box.right <= room.right,"
        " box.top >= room.top && box.bottom <= room.bottom].join(' ');"
    )
    page = page_of(tmp_path, wide, then=then)
    document = rendered(page, tmp_path, link=link, size="375,900")
    assert re.findall("<title>(.*?)</title>", document)[0] == "true true"


def test_a_link_leads_to_a_handoff(wide: Path, tmp_path: Path) -> None:
    link = "#handoff=worker01.answer-%3Echeck01.text"
    body = body_of(rendered(page_of(tmp_path, wide), tmp_path, link=link))
    assert re.search(r'class="label-of chosen" data-edge="worker01.answer check01.text"', body)
    assert re.search(r'<tr class="chosen"><td>.{0,80}worker01.answer → check01.text', body)
    assert "worker01.answer → check01.text" in body.partition('id="detail-of"')[2].partition("</h2>")[0]


def test_the_keyboard_zooms_the_graph_and_chooses_an_edge(wide: Path, tmp_path: Path) -> None:
    then = (
        "const press = key => document.activeElement.dispatchEvent("
        "new KeyboardEvent('keydown', { key, bubbles: true })), at = view.scale;"
        "document.querySelector('[data-node=planner]').focus(); press('+'); press('+'); press('-');"
        "const grown = (view.scale / at).toFixed(2), whole = byId('whole').hidden;"
        "document.querySelector('[data-edge=\"question.value planner.text\"]').focus(); press('Enter');"
        "const hash = decodeURIComponent(location.hash), shown = !byId('detail').hidden; press('Escape');"
        "document.title = [grown, whole, hash, shown, byId('detail').hidden, view.scale === at].join(' ');"
    )
    document = rendered(page_of(tmp_path, wide, then=then), tmp_path)
    title, *_ = re.findall("<title>(.*?)</title>", document)
    assert title == "1.50 true #handoff=question.value-&gt;planner.text true true true"
