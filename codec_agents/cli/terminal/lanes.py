"""A run as people read it: a lane for each node's reasoning, tools and answer, streamed as it comes.

One lane is live; what others give meanwhile is shown when it ends, so that parallel nodes do not tear each
other's sentences apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from codec_agents import events
from codec_agents.cli import terminal
from codec_agents.cli.terminal.flow import Flow
from codec_core.detokenizer import Detokenizer

if TYPE_CHECKING:
    from codec_core.vocabulary import Vocabulary

LaneKey = tuple[str, str]
"""A node and a port of it; a sink and ""."""

STYLES: Mapping[str, tuple[str, str]] = {
    "reasoning": ("thinks", "dim italic"),
    "tools": ("calls tools", "cyan"),
    "answer": ("says", "yellow"),
    "notes": ("has trouble", "red"),
    "": ("reads", "green"),
}
"""Of each port: what its node does, and the style of its text."""


@dataclass(slots=True)
class Lane:
    """One lane, and what has not been shown of it."""

    key: LaneKey
    pending: list[str] = field(default_factory=list)
    closed: bool = False
    draining: bool = False
    """Whether all but its last characters has come: it is live until another lane has something to show."""


class LanePrinter:
    """Shows the events of a run."""

    def __init__(
        self, console: Console, vocabularies: Mapping[str, Vocabulary], sinks: Mapping[LaneKey, str]
    ) -> None:
        """Begin.

        Args:
            console: Where to.
            vocabularies: Of each model node.
            sinks: Ports whose text a sink shows, with the sink: they get no lane of their own.
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

    def show(self, event: events.Event) -> None:
        """Show one event, if it has something to show."""
        if (method := _METHODS.get(type(event))) is not None:
            method(self, event)

    def finish(self) -> None:
        """Show the rest."""
        for key in list(self._lanes):
            self._close(key)

    # --- events ---

    def _ids(self, event: events.IdsReceived) -> None:
        key = (event.node, event.port)
        self._close_others(key)
        if key in self._sinks or event.port == "tool_calls":
            return
        if key not in self._detokenizers:
            self._detokenizers[key] = Detokenizer(self._vocabularies[_declared(event.node)])
        self._write(key, self._detokenizers[key].feed(event.ids))

    def _turn_ended(self, event: events.GenerationFinished) -> None:
        self._close_others((event.node, "tools"))

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
        for (node, _), sink in self._sinks.items():
            if node == event.node and (lane := self._lanes.get((sink, ""))) is not None:
                lane.draining = True

    # --- lanes ---

    def _line(self, key: LaneKey, text: str) -> None:
        room = self._width - 2
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
        for text in lane.pending:
            self._flow.write(text)
        lane.pending.clear()

    def _close_others(self, key: LaneKey) -> None:
        """A node that goes on in one lane is done with its others."""
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
        while self._live is not None and self._live.closed:
            self._end_live()

    def _end_live(self) -> None:
        assert self._live is not None
        if self._flow is not None:
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


def _declared(node: str) -> str:
    """Return a node's path as declared: all items of a map speak one vocabulary."""
    from codec_agents.plan.nodes import declared_path

    return declared_path(node)


def _call(name: str, arguments: dict[str, Any] | None) -> str:
    if arguments is None:
        return f"{name}(?)"
    pairs = (f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in arguments.items())
    return f"{name}({', '.join(pairs)})"
