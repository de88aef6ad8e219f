"""One lane is live; the others are shown when it ends."""

from __future__ import annotations

import io
import re
from typing import Any

from rich.console import Console

from codec_agents import events
from codec_agents.cli.terminal.lanes import LanePrinter
from codec_agents.events import Usage
from codec_agents.vocabularies import bundled_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of

BYTES = bundled_map("demo/bytes")


def said(node: str, text: str, port: Any = "answer") -> events.IdsReceived:
    ids = tuple(pick_tokenizer(BYTES).encode_ordinary(text))
    return events.IdsReceived(node, port, 1, ids, 0.0)


def ended(node: str) -> events.NodeFinished:
    return events.NodeFinished(node, "finished", "stop", Usage(), 0.0)


def shown(*happened: events.Event) -> list[str]:
    """Return the lines that the events make; `writer` answers to the sink `reader`."""
    console = Console(file=io.StringIO(), width=60, force_terminal=False)
    vocabulary = vocabulary_of(BYTES)
    vocabularies = dict.fromkeys(("a", "b", "writer"), vocabulary)
    printer = LanePrinter(console, vocabularies, {("writer", "answer"): "reader"})
    for event in happened:
        printer.show(event)
    printer.finish()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().replace("|", "│").replace("*", "●").splitlines()


def test_parallel_nodes_do_not_tear_each_other_apart() -> None:
    lines = shown(
        said("a", "one "), said("b", "eins "), said("a", "two"), said("b", "zwei"), ended("a"), ended("b")
    )
    assert lines == ["● a says", "│ one two", "● b says", "│ eins zwei"]


def test_a_node_that_goes_on_in_another_lane_ends_the_first() -> None:
    lines = shown(said("a", "hm", "reasoning"), said("a", "yes"), ended("a"))
    assert lines == ["● a thinks", "│ hm", "● a says", "│ yes"]


def test_what_a_sink_shows_is_not_shown_twice() -> None:
    lines = shown(said("writer", "hello"), events.SinkText("reader", "hello", 0.0), ended("writer"))
    assert lines == ["● reader reads", "│ hello"]


def test_the_end_of_a_sinks_text_may_come_after_its_node() -> None:
    text = [events.SinkText("reader", piece, 0.0) for piece in ("hello ", "there")]
    lines = shown(text[0], ended("writer"), text[1], said("a", "next"), ended("a"))
    assert lines == ["● reader reads", "│ hello there", "● a says", "│ next"]


def test_an_unfinished_character_is_shown_as_one_at_the_end() -> None:
    ids = tuple(pick_tokenizer(BYTES).encode_ordinary("é"))
    first = events.IdsReceived("a", "answer", 1, ids[:1], 0.0)
    lines = shown(first, ended("a"))
    assert lines[0] == "● a says"


def test_models_cannot_control_the_terminal() -> None:
    assert shown(said("a", "x\x1b[2Jy"), ended("a")) == ["● a says", r"│ x\x1b[2Jy"]


def test_the_line_of_a_maps_items_grows_in_place_on_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=60, force_terminal=True, color_system=None)
    printer = LanePrinter(console, {"each/m": vocabulary_of(BYTES)}, {}, {"each"})
    for item in range(4, 9):
        printer.show(said(f"each[{item}]/m", "word"))
    printer.finish()
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert [found.strip() for found in re.findall(r"\d+ items", shown)] == [
        f"{n} items" for n in range(5, 10)
    ]
    assert shown.count("\n") == 2  # the head of the lane, and the one line


def test_the_rounds_of_a_loop_have_lanes_however_many_there_are() -> None:
    console = Console(file=io.StringIO(), width=60, force_terminal=False)
    printer = LanePrinter(console, {"again/m": vocabulary_of(BYTES)}, {}, {"each"})
    for round_number in (0, 7):
        printer.show(said(f"again[{round_number}]/m", "word"))
        printer.show(ended(f"again[{round_number}]/m"))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("word") == 2
