"""Recorded runs over time: a timeline, a table of handoffs, and a page for the browser."""

from codec_agents.trace.page import page, write_page
from codec_agents.trace.percentiles import EdgeFigures, edge_figures, figures_of
from codec_agents.trace.reading import read_run, read_runs, read_up_to_damage
from codec_agents.trace.timeline import Bar, Edge, LaneSpan, TracedRun, measured, traced

__all__ = [
    "Bar",
    "Edge",
    "EdgeFigures",
    "LaneSpan",
    "TracedRun",
    "edge_figures",
    "figures_of",
    "measured",
    "page",
    "read_run",
    "read_runs",
    "read_up_to_damage",
    "traced",
    "write_page",
]
