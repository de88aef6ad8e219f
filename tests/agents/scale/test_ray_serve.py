"""Engines that are an application of Ray Serve: its URLs, by the documented answer of the dashboard."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from codec_agents.engines.in_process import InProcessEngine
from codec_agents.exceptions import BatchError
from codec_agents.scale import replicas
from codec_agents.scale.ray_serve import HandleClient, resolved
from tests.trainers.clients import ScriptedClient, desk

DETAILS: dict[str, Any] = {
    "controller_info": {"node_id": "a", "node_ip": "10.0.0.1"},
    "proxy_location": "EveryNode",
    "http_options": {"host": "0.0.0.0", "port": 8000, "request_timeout_s": None},
    "proxies": {
        "a": {"node_id": "a", "node_ip": "10.0.0.1", "status": "HEALTHY"},
        "b": {"node_id": "b", "node_ip": "10.0.0.2", "status": "HEALTHY"},
        "c": {"node_id": "c", "node_ip": "10.0.0.3", "status": "DRAINING"},
    },
    "applications": {
        "llm": {"name": "llm", "route_prefix": "/llm", "status": "RUNNING", "deployments": {}},
        "default": {"name": "default", "route_prefix": "/", "status": "RUNNING", "deployments": {}},
        "new": {"name": "new", "route_prefix": "/new", "status": "DEPLOYING", "deployments": {}},
    },
}


def answering(monkeypatch: pytest.MonkeyPatch, details: Any, status: int = 200) -> list[str]:
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        content = {"content": details} if isinstance(details, bytes) else {"json": details}
        return httpx.Response(status, **content)

    client = httpx.Client(transport=httpx.MockTransport(handle))
    monkeypatch.setattr(httpx, "get", client.get)
    return asked


def test_an_application_has_a_url_for_each_healthy_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, DETAILS)
    assert resolved(["http://other:1", "serve+http://head:8265/llm"]) == [
        "http://other:1",
        "http://10.0.0.1:8000/llm",
        "http://10.0.0.2:8000/llm",
    ]
    assert asked == ["http://head:8265/api/serve/applications/"]
    assert resolved(["serve+http://head:8265"])[0] == "http://10.0.0.1:8000"
    here = {**DETAILS, "http_options": {"host": "127.0.0.1", "port": 8100}}
    answering(monkeypatch, here)
    assert resolved(["serve+http://head:8265/llm"]) == ["http://127.0.0.1:8100/llm"]
    here["http_options"] |= {"ssl_keyfile": "k.pem", "ssl_certfile": "c.pem"}
    assert resolved(["serve+http://head:8265/llm"]) == ["https://127.0.0.1:8100/llm"]


def test_the_rows_of_a_batch_are_divided_among_the_proxies(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answering(monkeypatch, DETAILS)
    file = tmp_path / "p.yaml"
    file.write_text(
        "pipeline: p\nengines: {A: {kind: vllm, url: 'http://127.0.0.1:1'}}\n"
        "nodes:\n  m: {engine: A, model: m, map: demo/bytes, prompt: '{q}'}\n"
        "  q: {kind: input}\n  r: {kind: sink}\nedges: [q -> m.q, m.answer -> r]\n"
    )
    made = replicas(file, {"A": ["serve+http://head:8265/llm"]})
    assert [p.spec.engines["A"].url for p in made] == ["http://10.0.0.1:8000/llm", "http://10.0.0.2:8000/llm"]


@pytest.mark.parametrize(
    ("details", "status", "name", "said"),
    [
        (DETAILS, 200, "none", "no application 'none'; its applications: default, llm, new"),
        (DETAILS, 200, "new", "its status is DEPLOYING"),
        ({**DETAILS, "proxies": {}}, 200, "llm", "no proxy that is healthy"),
        (DETAILS, 503, "llm", "dashboard does not answer"),
        ([], 200, "llm", "is not the dashboard of Ray"),
        (b'{"applications": {}, "x": %s' % (b"[" * 100_000), 200, "llm", "is not the dashboard of Ray"),
    ],
)
def test_an_application_that_cannot_be_asked_is_refused(
    monkeypatch: pytest.MonkeyPatch, details: Any, status: int, name: str, said: str
) -> None:
    answering(monkeypatch, details, status)
    with pytest.raises(BatchError, match=said):
        resolved([f"serve+http://head:8265/{name}"])


@pytest.mark.anyio
async def test_a_handle_is_an_engine() -> None:
    client = ScriptedClient()

    class Method:
        """As a handle has it: the call is made by `remote`, and its response is awaited."""

        async def remote(self, *given: Any, **named: Any) -> Any:
            return await client.generate(*given, **named)

    handle = SimpleNamespace(generate=Method())
    p = desk(InProcessEngine(HandleClient(handle), logprob_mode="processed"))
    assert (await p.invoke({"q": "go"})).text == {"reader": "I look. It is 6."}
    assert len(client.asked) == 2


def test_an_address_that_is_none_is_refused() -> None:
    for url in ("serve+http://127.0.0.1:1/llm", "serve+llm", "serve+http://[/llm"):
        with pytest.raises(BatchError, match=r"serve\+http://HEAD:8265/APPLICATION"):
            resolved([url])
