"""The events of a run that a client may see before the answer: nodes that work, tools that they call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from codec_agents.events import NodeFinished, NodeStarted, ToolFinished, ToolStarted
from codec_agents.server.backends.backend import Progress
from codec_agents.server.parts import Part


def part_of(event: object, form: Progress) -> Part | None:
    """Return an event in the form that the client wants; None for one that it does not see."""
    fields = _fields(event)
    if fields is None:
        return None
    return Part("", event=fields) if form == "events" else Part("reasoning", _line(fields))


def _fields(event: object) -> Mapping[str, Any] | None:
    match event:
        case NodeStarted():
            return {"event": "node_started", "node": event.node}
        case NodeFinished():
            return {"event": "node_finished", "node": event.node, "outcome": event.outcome}
        case ToolStarted(call=call):
            called = {"tool": call.name, "arguments": call.arguments}
            return {"event": "tool_started", "node": event.node, **called}
        case ToolFinished(attempt=attempt):
            ended = {"tool": attempt.call.name, "status": attempt.status}
            return {"event": "tool_finished", "node": event.node, **ended}
    return None


def _line(fields: Mapping[str, Any]) -> str:
    node = fields["node"]
    match fields["event"]:
        case "node_started":
            return f"{node} begins\n"
        case "node_finished":
            return f"{node}: {fields['outcome']}\n"
        case "tool_started":
            return f"{node} calls {fields['tool']}({json.dumps(fields['arguments'], ensure_ascii=False)})\n"
        case _:
            return f"{node}: {fields['tool']} {fields['status']}\n"
