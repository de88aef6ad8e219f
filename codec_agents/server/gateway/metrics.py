"""The counts of a gateway, in Prometheus' format."""

from __future__ import annotations

from codec_agents.server.gateway.conversations import Counts

KINDS = ("extended", "forked", "rendered", "new")


def render_counts(counts: Counts) -> str:
    """Return the lines of a gateway for `/metrics`."""
    name = "codec_gateway_requests_total"
    lines = [
        f"# HELP {name} Requests, by how their prompts continue what is known.",
        f"# TYPE {name} counter",
        *(f'{name}{{lineage="{kind}"}} {counts.requests[kind]}' for kind in KINDS),
    ]
    rows = [
        ("kept_ids_total", "Ids of prompts that were known, and not written again.", counts.kept),
        ("inserted_ids_total", "Ids of prompts that were written.", counts.inserted),
        ("ambiguous_total", "Requests for which several equal turns were known.", counts.ambiguous),
        ("turns_total", "Turns stored whole.", counts.stored),
        ("broken_turns_total", "Turns stored that their client left, or that broke off.", counts.broken),
    ]
    for suffix, text, value in rows:
        name = f"codec_gateway_{suffix}"
        lines += [f"# HELP {name} {text}", f"# TYPE {name} counter", f"{name} {value}"]
    return "\n".join(lines) + "\n"
