"""Pipelines, explanations and results, as notebooks and rich show them."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from functools import partial
from typing import Any

import anyio
import pytest
from rich.console import Console

from codec_agents import Pipeline
from codec_agents.display.parts import MAX_PASSAGE, MAX_ROWS, Grid, Passage, Title, to_html, to_text
from codec_agents.runtime.result import RunResult
from codec_agents.testing import ScriptedEngine

FOREIGN = "<script>alert(1)</script> [red]\x1b[2J\u202eabc"


def pipeline(said: str = FOREIGN) -> Pipeline:
    p = Pipeline("desk").input("q").sink("out").sink("kept", text=False)
    p.model("writer", engine=ScriptedEngine(lambda _: said), map="demo/bytes", prompt="{x}")
    return p.connect("q", "writer").connect("writer", "out").connect("writer", "kept")


@pytest.fixture(scope="module")
def result() -> RunResult:
    return pipeline().invoke_sync({"q": "go"}, run_id="r<1>")


def printed(value: Any) -> str:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    console.print(value)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_result_is_tables_and_escaped_text(result: RunResult) -> None:
    html = result._repr_html_()
    assert "run r&lt;1&gt;" in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; [red]\\x1b[2J\\u202eabc" in html
    assert not re.search(r"<(?!/?(p|b|i|pre|div|table|thead|tbody|tr|th|td)\b)", html)
    assert "question" not in html
    assert "q.value → writer.x" in html
    for form in (printed(result), result._repr_mimebundle_()["text/plain"]):
        assert "[red]\\x1b[2J" in form
        assert "\x1b" not in form
        assert "writer  finished" in re.sub(" {2,}", "  ", form)
        assert re.search(r"kept +\d+", form)


def test_a_pipeline_is_its_graph_as_an_image_of_its_own() -> None:
    bundle = pipeline()._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "image/svg+xml"}
    [image] = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', bundle["text/html"])
    assert b64decode(image).decode() == bundle["image/svg+xml"] == pipeline().to_svg()
    assert "<style" not in bundle["text/html"]
    assert "writer.answer" not in printed(pipeline())
    assert "writer" in printed(pipeline())


def test_a_notebook_may_choose_forms() -> None:
    assert set(pipeline()._repr_mimebundle_(include={"text/html"})) == {"text/html"}
    assert set(pipeline()._repr_mimebundle_(exclude={"text/html"})) == {"text/plain", "image/svg+xml"}


def test_a_pipeline_that_is_not_complete_shows_its_faults() -> None:
    assert "&#x27;nodes&#x27; is empty" in Pipeline("p")._repr_html_()
    faulty = Pipeline("p").input("q").sink("out").connect("q", "aut")
    assert "aut" in faulty._repr_html_()
    assert "<img" not in faulty._repr_html_()


def test_an_explanation_is_tables() -> None:
    explanation = pipeline().explain()
    html = explanation._repr_html_()
    assert "writer.answer → out" in html
    assert "demo/bytes" in html
    assert "text is made or read at: q.value -&gt; writer.x" in html
    assert "ids to text" in printed(explanation)


def test_what_is_shown_is_bounded() -> None:
    rows = [(str(number), "1") for number in range(MAX_ROWS + 5)]
    parts = [Title("t"), Passage("", "x" * (MAX_PASSAGE + 7)), Grid(("name", "figure"), rows)]
    for form in (to_html(parts), to_text(parts)):
        assert "7 more characters" in form
        assert "5 more" in form
        assert f">{MAX_ROWS + 1}<" not in form


def test_a_batch_shows_a_bar_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    inputs = [{"q": "one"}, {"q": "two"}, {"q": "three"}]
    anyio.run(partial(pipeline().batch, inputs, progress=True))
    shown = capsys.readouterr()
    assert "desk" in shown.err
    assert "3/3" in shown.err
    assert shown.out == ""
    anyio.run(partial(pipeline().batch, inputs))
    assert capsys.readouterr().err == ""


def test_figures_are_aligned_to_the_right_and_words_to_the_left() -> None:
    grid = Grid(
        ("edge", "", "ids in", "took"), [("a", "encode", "text", "1.2 ms"), ("b", "id 7", "1,024", "-")]
    )
    assert grid.sides() == ["left", "left", "right", "right"]
    assert to_text([grid]).splitlines() == [
        "edge          ids in    took",
        "a     encode    text  1.2 ms",
        "b     id 7     1,024       -",
    ]
