"""One HTML file that shows runs in a browser, from disk, without a network."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec

from codec_agents.trace.texts import TextReader
from codec_agents.trace.timeline import LaneSpan, TracedRun

PARTS: Final = "page_parts"
"""The folder of what the page is put together from."""
SCRIPTS: Final = (
    "base.js",
    "keys.js",
    "troubles.js",
    "graph.js",
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
    Path(path).write_text(page(runs, TextReader(maps)), encoding="utf-8")


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
    lanes = [_lane(lane, run, texts) for lane in run.lanes]
    return {**run.summary(), "lanes": lanes, "texts": run.texts}


def _lane(lane: LaneSpan, run: TracedRun, texts: TextReader) -> dict[str, Any]:
    map_id = run.nodes.get(lane.node, {}).get("map")
    return {**asdict(lane), "text": texts.decode(map_id, run.maps.get(map_id or ""), lane.ids)}
