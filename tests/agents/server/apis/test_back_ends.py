"""The three chat APIs on a back end that only relays ids."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from codec_agents.server import BridgeBackend, EmbeddedServer, create_app
from codec_agents.testing import Call, Say, ScriptedEngine, Stop, Think
from tests.agents.dialects.families import small_map_of

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]

SCHEMA = {"type": "object"}
USER = {"role": "user", "content": "hi"}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": [USER],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
    },
    "/v1/responses": {"input": "hi", "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}]},
    "/v1/messages": {
        "messages": [USER],
        "max_tokens": 99,
        "tools": [{"name": "f", "input_schema": SCHEMA}],
    },
}


TURNS: dict[str, list[Any]] = {
    "qwen3": [Think("Hm."), Say("Well. "), Call("f", a="ü")],
    "deepseek-v3": [Say('Well "ü".'), Stop("length")],
    "llama3": [Say('Well "ü".')],
}


@pytest.mark.parametrize("family", TURNS)
async def test_a_conversation_makes_one_prompt_by_each_api(family: str) -> None:
    engine = ScriptedEngine(lambda _: TURNS[family])
    app = create_app(BridgeBackend(engine, small_map_of(family), "m"))
    async with EmbeddedServer(app) as server, httpx.AsyncClient(base_url=server.url) as client:
        for path, body in BODIES.items():
            answer = await client.post(path, json=body)
            assert answer.status_code == 200, answer.text
            assert '"ü"' in answer.text.replace("\\", "").replace(" ", "")
            streamed = await client.post(path, json={**body, "stream": True})
            assert streamed.text.rstrip().endswith(("[DONE]", "}"))
    prompts = [list(request.prompt_ids) for request in engine.requests]
    assert len(prompts) == 2 * len(BODIES)
    assert all(prompt == prompts[0] for prompt in prompts)
