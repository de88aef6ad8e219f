"""Runs and events as JSON, and notes on cut answers."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import asdict

if TYPE_CHECKING:
    from codec_agents.events import Event, HandoffReport
    from codec_agents.runtime.result import RunResult

_encode = msgspec.json.Encoder(enc_hook=str).encode


def result_document(result: RunResult, pipeline: str) -> dict[str, Any]:
    """Return the result of a run."""
    return {
        "pipeline": pipeline,
        "run_id": result.run_id,
        "text": result.text,
        "ids": result.ids,
        "value": {node: _json_value(value) for node, value in result.value.items()},
        "outcomes": result.outcomes,
        "finish_reasons": result.finish_reasons,
        "usage": {node: asdict(usage) for node, usage in result.usage.items()},
        "handoffs": [handoff_document(report) for report in result.handoffs],
        "seconds": result.seconds,
    }


def _json_value(value: Any) -> Any:
    """Return the value of an answer as JSON has it; pydantic's models say how they are written."""
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def cut_answers(result: RunResult) -> list[str]:
    """Return a note for each node whose answer was cut at a limit of ids."""
    return [
        f"{node}: the answer was cut at its limit of ids; raise `sampling.max_tokens` of the node, "
        "or set its policy `on_length`"
        for node, reason in result.finish_reasons.items()
        if reason == "length"
    ]


def handoff_document(report: HandoffReport) -> dict[str, Any]:
    """Return a handoff with the figures that are derived from its instants."""
    derived = {name: getattr(report, name) for name in ("gap", "first_id_latency", "bytes_per_id")}
    return {**asdict(report), **derived}


def event_line(event: Event) -> str:
    """Return an event as one line of JSON; `event` holds its name."""
    name = re.sub(r"(?<!^)([A-Z])", r"_\1", type(event).__name__).lower()
    return _encode({"event": name, **_plain(event)}).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseException):
        return {"type": type(value).__name__, "message": str(value)}
    if isinstance(value, msgspec.Struct):
        return {name: _plain(entry) for name, entry in asdict(value).items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return value
