"""Exchanges that keep what was sent and received, for tests.

A server holds counts only. A test that compares bodies, headers or token ids gives its application a
`RecordingExchanges` of its own: `create_app(backend, exchanges=RecordingExchanges())`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from codec_agents.server import embedded_engine
from codec_agents.server.exchanges import Exchange, Exchanges
from codec_agents.server.http import Request
from codec_core.frames import CodecFrame

REMEMBERED = 1000
"""Exchanges kept by default. A test that serves more keeps the newest."""


@dataclass(slots=True, eq=False, kw_only=True)
class RecordedExchange(Exchange):
    """One request and its answer, with what they carried."""

    request: Request
    """The request; its body is empty until it has arrived."""
    prompt_ids: tuple[int, ...] = ()
    ids: list[int] = field(default_factory=list)
    """The token ids that were generated and sent."""

    def received(self, request: Request) -> None:
        """Keep the request with its body."""
        self.request = request

    def prompted(self, prompt_ids: Sequence[int]) -> None:
        """Keep the ids of the prompt."""
        self.prompt_ids = tuple(prompt_ids)

    def count(self, frame: CodecFrame) -> None:
        """Count a frame and keep its ids."""
        # A class with slots is made anew by the decorator, so `super()` without arguments would miss.
        Exchange.count(self, frame)
        self.ids += frame.ids


class RecordingExchanges(Exchanges):
    """The counts of a server, and its last exchanges as they were."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        super().__init__()
        self.recent: deque[RecordedExchange] = deque(maxlen=remembered)

    @property
    def generations(self) -> list[RecordedExchange]:
        """The remembered exchanges with a generation, oldest first."""
        return [exchange for exchange in self.recent if exchange.request.method == "POST"]

    def _make(self, request: Request) -> RecordedExchange:
        exchange = RecordedExchange(request=request)
        self.recent.append(exchange)
        return exchange


class EmbeddedEngine(embedded_engine.EmbeddedEngine):
    """A scripted model behind a real Codec server on loopback, whose exchanges a test can look at.

    `engine.app.exchanges` keeps the requests and the token ids, which a server outside of tests never does.
    """

    exchanges: ClassVar[type[Exchanges]] = RecordingExchanges
