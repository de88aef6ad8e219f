"""Durable runs over HTTP, without a database: the statuses of errors."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from codec_agents import Pipeline
from codec_agents.scale.durable_client import DurableRuns
from codec_agents.scale.durable_http import DurableApp


def damaged(**asked: Any) -> list[Any]:
    """List the one workflow `damaged`, whose row has no arguments."""
    row = SimpleNamespace(workflow_id="damaged", status="SUCCESS", input=None, output=None, error=None)
    return [row] if asked.get("workflow_ids") == ["damaged"] else []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "/runs", {"run_id": "../x"}, 400, "'../x' cannot be the id of a run; use letters"),
        ("POST", "/runs", {"run_id": ".x"}, 400, "begins with a dot"),
        ("POST", "/runs", {"run_id": ""}, 400, "cannot be the id"),
        ("POST", "/runs", {"run_id": "damaged"}, 500, "the server failed"),
        ("GET", "/runs/.x", None, 400, "begins with a dot"),
        ("GET", "/runs/none", None, 404, "there is no durable run 'none'"),
    ],
)
@pytest.mark.asyncio
async def test_errors_have_the_status_of_their_cause(
    method: str, path: str, body: dict[str, Any] | None, status: int, said: str, tmp_path: Path
) -> None:
    runs = object.__new__(DurableRuns)  # without a database
    runs._state = tmp_path
    runs._client = SimpleNamespace(list_workflows=damaged, enqueue=lambda *_: None)
    pipeline = Pipeline("desk").input("q").sink("reader").connect("q", "reader")
    transport = httpx.ASGITransport(app=DurableApp(runs, {"desk": pipeline}))  # type: ignore[arg-type]
    content = None if body is None else json.dumps({"pipeline": "desk", "inputs": {"q": "x"}, **body})
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answered = await client.request(
            method, path, content=content, headers={"content-type": "application/json"}
        )
    error = answered.json()["error"]
    assert (answered.status_code, said in error["message"]) == (status, True), error
    assert error["param"] == ("run_id" if status == 400 else None)
