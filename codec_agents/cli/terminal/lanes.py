"""A run as people read it: a lane for each node's reasoning, tools and answer, streamed as it comes.

One lane is live; the output of others is held until it ends, so that parallel nodes do not interleave. The
first items of a map have lanes, and the others share one line that counts them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from codec_agents import events
from codec_agents.cli import terminal
from codec_agents.cli.terminal.flow import Flow
from codec_agents.plan.nodes import declared_path
from codec_core.detokenizer import Detokenizer

if TYPE_CHECKING:
    from codec_core.vocabulary import Vocabulary

LaneKey = tuple[str, str]
"""A node and one of its ports; a sink and ""."""

ITEMS_SHOWN = 4
"""Items of a map whose nodes have lanes of their own."""

_ITEM = re.compile(r"(.+?)\[(\d+)\]/")

STYLES: Mapping[str, tuple[str, str]] = {
    "reasoning": ("thinks", "dim italic"),
    "tools": ("calls tools", "cyan"),
    "answer": ("says", "yellow"),
    "notes": ("has trouble", "red"),
    "items": ("works on", "cyan"),
    "": ("reads", "green"),
}
"""By port: the verb of its node, and the style of its text."""


@dataclass(slots=True)
class Lane:
    """One lane, and its text that is not shown yet."""

    key: LaneKey
    pending: list[str] = field(default_factory=list)
    closed: bool = False
    draining: bool = False
    """True when only its last characters are missing: it stays live until another lane has something."""


class LanePrinter:
    """Shows the events of a run."""

    def __init__(
        self,
        console: Console,
        vocabularies: Mapping[str, Vocabulary],
        sinks: Mapping[LaneKey, str],
        maps: Collection[str] = (),
    ) -> None:
        """Start with no lane.

        Args:
            console: The console to print on.
            vocabularies: The vocabulary of each model node, by its declared path.
            sinks: Ports whose text a sink shows, with the sink: they get no lane of their own.
            maps: The declared paths of the map nodes.
        """
        self._console = console
        self._glyphs = terminal.glyphs(console)
        self._width = terminal.width(console)
        self._vocabularies = vocabularies
        self._sinks = sinks
        self._detokenizers: dict[LaneKey, Detokenizer] = {}
        self._lanes: dict[LaneKey, Lane] = {}
        self._live: Lane | None = None
        self._flow: Flow | None = None
        self._maps = maps
        self._items: dict[str, int] = {}
        """The number of items of each map of which some have no lanes."""

    def show(self, event: events.Event) -> None:
        """Show one event, if it has something to show."""
        if (item := self._crowded(getattr(event, "node", ""))) is not None:
            self._count(*item)
        elif (method := _METHODS.get(type(event))) is not None:
            method(self, event)

    def finish(self) -> None:
        """Show everything that is held."""
        for key in list(self._lanes):
            self._close(key)

    # --- maps with many items ---

    def _crowded(self, node: str) -> tuple[str, int] | None:
        """Return the map and item of a node whose item has no lanes."""
        for found in _ITEM.finditer(node):
            path, number = node[: found.end(1)], int(found[2])
            if number >= ITEMS_SHOWN and declared_path(path) in self._maps:
                return path, number
        return None

    def _count(self, path: str, item: int) -> None:
        if item < self._items.get(path, 0):
            return
        self._items[path] = item + 1
        key = (path, "items")
        lane = self._lanes.setdefault(key, Lane(key))
        lane.pending[:] = [terminal.plural(item + 1, "item")]
        if self._live is None:
            self._begin(lane)
        elif lane is self._live and self._flow is not None and self._console.is_terminal:
            self._flow.rewrite(lane.pending[0])

    # --- events ---

    def _ids(self, event: events.IdsReceived) -> None:
        key = (event.node, event.port)
        self._close_others(key)
        if key in self._sinks or event.port == "tool_calls":  # a call is shown as it was read, when it starts
            return
        if key not in self._detokenizers:
            self._detokenizers[key] = Detokenizer(self._vocabularies[declared_path(event.node)])
        self._write(key, self._detokenizers[key].feed(event.ids))

    def _turn_ended(self, event: events.GenerationFinished) -> None:
        # Its tools may have started within the turn, and go on.
        self._close_others((event.node, "tools"))
        if event.finish_reason == "length":
            self._line((event.node, "notes"), f"turn {event.turn} was cut at its limit of ids")

    def _tool_started(self, event: events.ToolStarted) -> None:
        key = (event.node, "tools")
        self._close_others(key)
        self._line(key, _call(event.call.name, event.call.arguments))

    def _tool_finished(self, event: events.ToolFinished) -> None:
        attempt = event.attempt
        sign = self._glyphs.ok if attempt.status == "ok" else f"{self._glyphs.bad} {attempt.status}"
        told = " ".join(terminal.escape(attempt.text).split())
        took = terminal.seconds(attempt.duration)
        self._line((event.node, "tools"), f"{sign} {attempt.call.name} {took} {self._glyphs.arrow} {told}")

    def _sink_text(self, event: events.SinkText) -> None:
        self._write((event.sink, ""), event.text)

    def _retried(self, event: events.Retried) -> None:
        kept = f", keeping {terminal.plural(event.kept_ids, 'id')}" if event.kept_ids else ""
        self._line(
            (event.node, "notes"), f"{event.error}; trying again in {terminal.seconds(event.delay)}{kept}"
        )

    def _node_ended(self, event: events.NodeFinished | events.NodeFailed) -> None:
        for key in list(self._lanes):
            if key[0] == event.node:
                self._close(key)
        self._close((event.node, "items"))
        for (node, _), sink in self._sinks.items():
            if node == event.node and (lane := self._lanes.get((sink, ""))) is not None:
                lane.draining = True

    # --- lanes ---

    def _line(self, key: LaneKey, text: str) -> None:
        room = self._width - 2  # the gutter and a space
        text = " ".join(terminal.escape(text).split())
        shown = Text(text)
        shown.truncate(room, overflow="ellipsis" if self._glyphs.more == "…" else "crop")
        self._write(key, shown.plain + "\n")

    def _write(self, key: LaneKey, text: str) -> None:
        text = terminal.escape(text)
        if not text:
            return
        lane = self._lanes.setdefault(key, Lane(key))
        if self._live is not None and self._live.draining and lane is not self._live:
            self._close(self._live.key)
        if self._live is None:
            self._begin(lane)
        if lane is self._live and self._flow is not None:
            self._flow.write(text)
        else:
            lane.pending.append(text)

    def _begin(self, lane: Lane) -> None:
        node, port = lane.key
        does, style = STYLES.get(port, (port, ""))
        self._live = lane
        self._console.print(
            Text.assemble((f"{self._glyphs.head} ", style), (node, "bold"), (f" {does}", "dim"))
        )
        self._flow = Flow(self._console, f"{self._glyphs.gutter} ", self._width, style)
        if port == "items":
            # It grows on a terminal; elsewhere its last state is printed when the lane ends.
            if self._console.is_terminal:
                self._flow.rewrite(lane.pending[0])
            return
        for text in lane.pending:
            self._flow.write(text)
        lane.pending.clear()

    def _close_others(self, key: LaneKey) -> None:
        """Close the other lanes of a node that continues in this one."""
        for other in list(self._lanes):
            if other[0] == key[0] and other != key:
                self._close(other)

    def _close(self, key: LaneKey) -> None:
        if (detokenizer := self._detokenizers.pop(key, None)) is not None:
            self._write(key, detokenizer.flush())
        lane = self._lanes.get(key)
        if lane is None:
            return
        lane.closed = True
        # The lane that becomes live next may have ended while it waited.
        while self._live is not None and self._live.closed:
            self._end_live()

    def _end_live(self) -> None:
        assert self._live is not None
        if self._flow is not None:
            if self._live.key[1] == "items" and not self._console.is_terminal:
                self._flow.write(self._live.pending[0])
            self._flow.end()
        del self._lanes[self._live.key]
        self._live = None
        if self._lanes:
            self._begin(next(iter(self._lanes.values())))


_METHODS: Mapping[type, Callable[[LanePrinter, Any], None]] = {
    events.IdsReceived: LanePrinter._ids,
    events.GenerationFinished: LanePrinter._turn_ended,
    events.ToolStarted: LanePrinter._tool_started,
    events.ToolFinished: LanePrinter._tool_finished,
    events.SinkText: LanePrinter._sink_text,
    events.Retried: LanePrinter._retried,
    events.NodeFinished: LanePrinter._node_ended,
    events.NodeFailed: LanePrinter._node_ended,
}


def _call(name: str, arguments: dict[str, Any] | None) -> str:
    if arguments is None:
        return f"{name}(?)"
    pairs = (f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in arguments.items())
    return f"{name}({', '.join(pairs)})"
