"""One HTML file that shows runs in a browser, from disk, without a network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from codec_agents.trace.texts import TextReader
from codec_agents.trace.timeline import LaneSpan, TracedRun

PLACE = "__RUNS__"
"""Where the template takes the runs."""


def write_page(path: str | Path, runs: Iterable[TracedRun], maps: Iterable[str | Path] = ()) -> None:
    """Write the page.

    Raises:
        OSError: the file cannot be written.
    """
    Path(path).write_text(page(runs, TextReader(maps)), encoding="utf-8")


def page(runs: Iterable[TracedRun], texts: TextReader) -> str:
    """Return the page; text is decoded here, with the maps that are at hand."""
    template = resources.files(__package__).joinpath("page.html").read_text("utf-8")
    data = msgspec.json.encode([_document(run, texts) for run in runs]).decode()
    # Inside <script> only `<` could end the block or open a comment.
    return template.replace(PLACE, data.replace("<", "\\u003c"))


def _document(run: TracedRun, texts: TextReader) -> dict[str, Any]:
    lanes = [_lane(lane, run, texts) for lane in run.lanes]
    return {**run.summary(), "lanes": lanes, "texts": run.texts}


def _lane(lane: LaneSpan, run: TracedRun, texts: TextReader) -> dict[str, Any]:
    map_id = run.nodes.get(lane.node, {}).get("map")
    return {**asdict(lane), "text": texts.decode(map_id, run.maps.get(map_id or ""), lane.ids)}
