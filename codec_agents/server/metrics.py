"""Counts in Prometheus' text format."""

from __future__ import annotations

from codec_agents.server.exchanges import Exchanges


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
