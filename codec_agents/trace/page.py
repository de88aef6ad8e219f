"""One HTML file that shows runs in a browser, from disk, without a network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec

from codec_agents.records.files import write_whole
from codec_agents.trace.texts import TextReader
from codec_agents.trace.timeline import LaneSpan, TracedRun, TurnSpan

PARTS: Final = "page_parts"
"""The folder of what the page is put together from."""
SCRIPTS: Final = (
    "base.js",
    "keys.js",
    "troubles.js",
    "layout.js",
    "graph.js",
    "detail.js",
    "waterfall.js",
    "handoffs.js",
    "lanes.js",
    "page.js",
)
"""In this order: the first has what all others use, the last starts it all."""


def write_page(path: str | Path, runs: Iterable[TracedRun], maps: Iterable[str | Path] = ()) -> None:
    """Write the page.

    Raises:
        OSError: the file cannot be written.
    """
    write_whole(path, page(runs, TextReader(maps)).encode())


def page(runs: Iterable[TracedRun], texts: TextReader) -> str:
    """Return the page; text is decoded here, with the maps that are at hand."""
    data = msgspec.json.encode([_document(run, texts) for run in runs]).decode()
    fills = {
        "__STYLE__": _part("page.css"),
        "__SCRIPT__": "".join(map(_part, SCRIPTS)),
        # Inside <script> only `<` could end the block or open a comment.
        "__RUNS__": data.replace("<", "\\u003c"),
    }
    # In one pass: what the runs hold is never looked at for places.
    return re.sub("|".join(fills), lambda place: fills[place.group()], _part("page.html"))


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(PARTS, name).read_text("utf-8")


def _document(run: TracedRun, texts: TextReader) -> dict[str, Any]:
    return {
        **run.summary(),
        "lanes": [_lane(lane, run, texts) for lane in run.lanes],
        "texts": run.texts,
        "inputs": run.inputs,
        "functions": run.functions,
        "turns": [_turn(turn, run, texts) for turn in run.turns],
    }


def _turn(turn: TurnSpan, run: TracedRun, texts: TextReader) -> dict[str, Any]:
    fields = {**asdict(turn), "prompt_ids": turn.kept + len(turn.added)}
    return {**fields, "prompt": _decoded(turn.node, fields.pop("added"), run, texts)}


def _lane(lane: LaneSpan, run: TracedRun, texts: TextReader) -> dict[str, Any]:
    return {**asdict(lane), "text": _decoded(lane.node, lane.ids, run, texts)}


def _decoded(node: str, ids: Sequence[int], run: TracedRun, texts: TextReader) -> str | None:
    map_id = run.nodes.get(node, {}).get("map")
    return texts.decode(map_id, run.maps.get(map_id or ""), ids)
