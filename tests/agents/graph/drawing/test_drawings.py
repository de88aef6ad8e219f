"""Mermaid and SVG: complete, self-contained, and safe from what names and labels hold."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_agents.graph import Declaration
from codec_agents.graph.drawing.mermaid import to_mermaid
from codec_agents.graph.drawing.svg import to_svg

SVG = "{http://www.w3.org/2000/svg}"


def desk() -> Declaration:
    inner = Declaration("inner").input("x").sink("y").connect("x", "y")
    p = Declaration('a "desk" <of> travel').input("end", title="a & b")
    p.router("triage", prompt="{q}", labels={"a|b": "m", "<c>": "n"}, default="n")
    p.model("m", model='"x"]', prompt="{q}").model("n", prompt="{q}").loop("l", inner, turns=3)
    p.sink("reader")
    p.connect("end", "triage").connect("end", "m").connect("end", "n").connect("m", "l").connect(
        "l", "reader"
    )
    return p.connect("n", "reader").connect("m.reasoning", "reader").connect("m", "n", fallback=True)


def test_mermaid_draws_all_nodes_edges_and_choices():
    text = to_mermaid(desk().spec)
    lines = text.splitlines()
    assert lines[0] == "flowchart LR"
    assert '  n_end(["a #38; b (input)"])' in lines
    assert '  n_triage{"triage (router)"}' in lines
    assert '  n_triage -.->|"a#124;b"| n_m' in lines
    assert '  n_m -.->|"answer to q"| n_n' in lines
    assert '  subgraph n_l["l (loop, 3 turns)"]' in lines
    assert "    n_l_2f_x --> n_l_2f_y" in lines


def test_nothing_in_a_label_means_anything_in_mermaid():
    for line in to_mermaid(desk().spec).splitlines():
        quoted = re.findall(r'"([^"]*)"', line)
        assert line.count('"') == 2 * len(quoted)
        assert all(not set(label) & set("[]{}<>|`\\") for label in quoted)


def test_svg_is_xml_with_a_box_for_each_node_and_a_line_for_each_pair():
    root = ET.fromstring(to_svg(desk().spec))
    boxes = [box for box in root.iter(f"{SVG}rect") if box.get("class") != "back"]
    paths = list(root.iter(f"{SVG}path"))
    names = [text.text for text in root.iter(f"{SVG}text") if text.get("class") == "name"]
    assert len(boxes) == 6
    assert names == ["a & b", "triage", "m", "n", "l", "reader"]
    assert len(paths) == 10
    assert sum(path.get("class") == "dashed" for path in paths) == 3
    assert root.find(f"{SVG}title").text == 'a "desk" <of> travel'


def test_svg_needs_nothing_from_elsewhere():
    text = to_svg(desk().spec).replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "http" not in text
    assert "<script" not in text
    assert "@import" not in text


def test_boxes_lie_apart_and_inside_the_picture():
    root = ET.fromstring(to_svg(desk().spec))
    width, height = map(float, root.get("viewBox").split()[2:])
    places = [
        tuple(float(box.get(name)) for name in ("x", "y", "width", "height"))
        for box in root.iter(f"{SVG}rect")
        if box.get("class") != "back"
    ]
    for x, y, w, h in places:
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
    for number, (x1, y1, w1, h1) in enumerate(places):
        for x2, y2, w2, h2 in places[:number]:
            assert x1 + w1 <= x2 or x2 + w2 <= x1 or y1 + h1 <= y2 or y2 + h2 <= y1


@pytest.mark.parametrize("draw", [to_mermaid, to_svg])
def test_a_drawing_is_the_same_each_time(draw):
    assert draw(desk().spec) == draw(desk().spec)


@given(st.text(min_size=1, max_size=60))
def test_any_title_gives_a_drawing(title):
    p = Declaration(title).input("a", title=title).sink("b", title=title).connect("a", "b")
    assert to_mermaid(p.spec).count("\n") == 4
    ET.fromstring(to_svg(p.spec))


def test_a_circle_is_drawn_too():
    p = Declaration("p").model("m", prompt="{x}").model("n", prompt="{x}")
    p.connect("m", "n").connect("n", "m")
    ET.fromstring(to_svg(p.spec))
    assert "n_n -->" in to_mermaid(p.spec)
