"""Counts of the requests and answers of one server, for metrics, limits and shutdown.

Rules that hold in this file:

- An exchange holds numbers and instants. It never holds a body, a header, token ids or text: what clients
  send is gone from memory when its answer is over.
- Counts only grow; `open` is the number of answers under way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from codec_agents.server.http import Request
from codec_core.frames import CodecFrame


@dataclass(slots=True, eq=False)
class Exchange:
    """One request and its answer, in numbers. Instants are readings of `time.perf_counter()`."""

    started: float = field(default_factory=time.perf_counter)
    ended: float | None = None
    closed_by_client: float | None = None
    """When the client was seen to have left before the answer was complete."""
    failed: bool = False
    """True once a generation has ended without a complete answer: lost, out of time, or failed."""
    status: int | None = None
    id_count: int = 0
    """Token ids sent so far."""
    frames: int = 0
    first_id: float | None = None
    last_id: float | None = None

    over: threading.Event = field(default_factory=threading.Event)
    """Set when the answer is over. A test in another thread or event loop can wait for it."""

    @property
    def open(self) -> bool:
        """True while the answer is under way."""
        return self.ended is None

    def received(self, request: Request) -> None:
        """Note that the body has arrived. Nothing of it is kept here; `RecordedExchange` does."""

    def prompted(self, prompt_ids: Sequence[int]) -> None:
        """Note the prompt of a generation. Nothing of it is kept here; `RecordedExchange` does."""

    def count(self, frame: CodecFrame) -> None:
        """Count a frame that is about to be sent."""
        self.frames += 1
        if frame.ids:
            self.last_id = time.perf_counter()
            self.first_id = self.first_id or self.last_id
            self.id_count += len(frame.ids)


class Exchanges:
    """The counts of one server."""

    def __init__(self) -> None:
        self.total = 0
        self.closed_by_client = 0
        self.failed = 0
        self.ids = 0
        self.frames = 0
        self._open: set[Exchange] = set()

    def begin(self, request: Request) -> Exchange:
        """Count a request, when its head has arrived."""
        exchange = self._make(request)
        self._open.add(exchange)
        self.total += 1
        return exchange

    def end(self, exchange: Exchange) -> None:
        """Note that the answer is over, for any reason."""
        exchange.ended = time.perf_counter()
        self._open.discard(exchange)
        self.closed_by_client += exchange.closed_by_client is not None
        self.failed += exchange.failed
        self.ids += exchange.id_count
        self.frames += exchange.frames
        exchange.over.set()

    @property
    def open(self) -> int:
        """The number of answers under way."""
        return len(self._open)

    def _make(self, request: Request) -> Exchange:  # noqa: ARG002 - `RecordingExchanges` keeps it
        return Exchange()


def render_metrics(exchanges: Exchanges) -> str:
    """Return the text of `/metrics`, in Prometheus' format."""
    rows = [
        ("codec_server_requests_total", "counter", "Requests received.", exchanges.total),
        ("codec_server_open_requests", "gauge", "Requests under way, this one included.", exchanges.open),
        ("codec_server_ids_total", "counter", "Ids generated and sent.", exchanges.ids),
        ("codec_server_frames_total", "counter", "Frames sent.", exchanges.frames),
        ("codec_server_failed_total", "counter", "Generations without a complete answer.", exchanges.failed),
        (
            "codec_server_closed_by_client_total",
            "counter",
            "Answers that a client left early.",
            exchanges.closed_by_client,
        ),
    ]
    return "".join(
        f"# HELP {name} {description}\n# TYPE {name} {kind}\n{name} {value}\n"
        for name, kind, description, value in rows
    )
