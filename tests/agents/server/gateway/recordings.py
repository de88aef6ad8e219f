"""Requests that official clients sent to a scripted server, and what the server had answered.

The recordings are no part of the repository. The tests that read them are skipped without the folder, which
`CODEC_RECORDINGS` names.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from codec_agents.dialects.messages import Message, MessageCall

FOLDER = Path(os.environ.get("CODEC_RECORDINGS", Path(__file__).parents[5] / "shared" / "recordings"))

needs_recordings = pytest.mark.skipif(
    not (FOLDER / "runs").is_dir(), reason=f"no recordings in {FOLDER}; CODEC_RECORDINGS names another folder"
)


@dataclass(frozen=True)
class Request:
    """One request of a run."""

    run: str
    api: str
    headers: dict[str, str]
    body: dict[str, Any]


@cache
def _server() -> ModuleType:
    found = importlib.util.spec_from_file_location("fake_server", FOLDER / "fake_server.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def answers(run: str) -> list[Message]:
    """Return the turns with which the server answered a run."""
    return [
        Message(
            role="assistant",
            content=turn["text"],
            reasoning=turn["reasoning"],
            calls=tuple(MessageCall(name, None, call_id, text) for call_id, name, text in turn["calls"]),
        )
        for turn in _server().turns_of(run)
    ]


def runs() -> Iterator[tuple[str, list[Request]]]:
    """Yield each run with its requests, in order."""
    for path in sorted((FOLDER / "runs").glob("*.json")):
        recorded = json.loads(path.read_text(encoding="utf-8"))
        name = recorded["run"]
        yield (
            name,
            [Request(name, each["api"], each["headers"], each["body"]) for each in recorded["requests"]],
        )


def model_turns(request: Request) -> list[Message]:
    """Return the assistant's turns of a request's history; text behind `previous_response_id` has none."""
    return {"chat": _of_chat, "messages": _of_messages, "responses": _of_responses}[request.api](request.body)


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text") or "" for part in content)


def _message(text: str, reasoning: str | None, calls: list[tuple[str | None, str, str]]) -> Message:
    found = tuple(MessageCall(name, None, call_id, arguments) for call_id, name, arguments in calls)
    return Message(role="assistant", content=text, reasoning=reasoning, calls=found)


def _of_chat(body: dict[str, Any]) -> list[Message]:
    return [
        _message(
            _text(each.get("content")),
            each.get("reasoning_content") or each.get("reasoning"),
            [
                (call["id"], call["function"]["name"], call["function"]["arguments"])
                for call in each.get("tool_calls") or ()
            ],
        )
        for each in body["messages"]
        if each["role"] == "assistant"
    ]


def _of_messages(body: dict[str, Any]) -> list[Message]:
    turns = []
    for each in body["messages"]:
        if each["role"] != "assistant":
            continue
        content = each["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        turns.append(
            _message(
                "".join(part["text"] for part in parts if part["type"] == "text"),
                "".join(part["thinking"] for part in parts if part["type"] == "thinking"),
                [
                    (part["id"], part["name"], json.dumps(part["input"]))
                    for part in parts
                    if part["type"] == "tool_use"
                ],
            )
        )
    return turns


def _of_responses(body: dict[str, Any]) -> list[Message]:
    if body.get("previous_response_id") or isinstance(body["input"], str):
        return []
    turns: list[dict[str, Any]] = []
    inside = False
    for item in body["input"]:
        kind = item.get("type", "message")
        ours = kind in ("reasoning", "function_call") or item.get("role") == "assistant"
        if ours and not inside:
            turns.append({"text": "", "reasoning": "", "calls": []})
        inside = ours
        if kind == "reasoning":
            turns[-1]["reasoning"] += _text(item.get("content"))
        elif kind == "function_call":
            turns[-1]["calls"].append((item["call_id"], item["name"], item["arguments"]))
        elif ours:
            turns[-1]["text"] += _text(item["content"])
    return [_message(turn["text"], turn["reasoning"], turn["calls"]) for turn in turns]
