"""What the server has seen: every exchange, open or ended, for tests, metrics and shutdown."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

from codec_agents.server.http import Request

REMEMBERED = 1000
"""Exchanges kept for inspection; older ones are forgotten, their counts are not."""


@dataclass(slots=True, eq=False)
class Exchange:
    """One request and its answer. Instants are readings of `time.perf_counter()`."""

    request: Request
    started: float = field(default_factory=time.perf_counter)
    ended: float | None = None
    closed_by_client: float | None = None
    """When the client was seen to have left before the answer was complete."""
    status: int | None = None
    prompt_ids: tuple[int, ...] = ()
    ids: list[int] = field(default_factory=list)
    """What was generated and sent."""
    frames: int = 0
    first_id: float | None = None
    last_id: float | None = None

    over: threading.Event = field(default_factory=threading.Event)
    """Set when the answer is over; a test in another thread, or under another event loop, can wait for it."""

    @property
    def open(self) -> bool:
        """Whether the answer is under way."""
        return self.ended is None


class Exchanges:
    """The exchanges of one server."""

    def __init__(self) -> None:
        self.recent: deque[Exchange] = deque(maxlen=REMEMBERED)
        self.total = 0
        self.closed_by_client = 0
        self.ids = 0
        self.frames = 0
        self._open: set[Exchange] = set()

    def begin(self, request: Request) -> Exchange:
        """Note a request."""
        exchange = Exchange(request)
        self.recent.append(exchange)
        self._open.add(exchange)
        self.total += 1
        return exchange

    def end(self, exchange: Exchange) -> None:
        """Note that its answer is over, for whatever reason."""
        exchange.ended = time.perf_counter()
        self._open.discard(exchange)
        self.closed_by_client += exchange.closed_by_client is not None
        self.ids += len(exchange.ids)
        self.frames += exchange.frames
        exchange.over.set()

    @property
    def open(self) -> int:
        """How many answers are under way."""
        return len(self._open)

    @property
    def generations(self) -> list[Exchange]:
        """The remembered exchanges that asked for a generation, oldest first."""
        return [exchange for exchange in self.recent if exchange.request.method == "POST"]


def render_metrics(exchanges: Exchanges) -> str:
    """Return what `/metrics` shows."""
    rows = [
        ("codec_server_requests_total", "counter", "Requests received.", exchanges.total),
        ("codec_server_open_requests", "gauge", "Requests under way, this one included.", exchanges.open),
        ("codec_server_ids_total", "counter", "Ids generated and sent.", exchanges.ids),
        ("codec_server_frames_total", "counter", "Frames sent.", exchanges.frames),
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
