"""What a pipeline is told in confidence goes to its server, and nowhere else."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from codec_agents import Pipeline
from codec_agents.exceptions import NodeFailedError, PipelineError
from codec_agents.graph.drawing.mermaid import to_mermaid
from codec_agents.graph.drawing.svg import to_svg
from codec_agents.graph.explain import render_text
from codec_agents.plan.explanation import explain

pytestmark = pytest.mark.anyio

SECRETS = {"KEY": "sk-verysecret-1", "TOKEN": "verysecret-2", "WORD": "verysecret-3"}
KINDS = ["codec", "vllm", "sglang", "llamacpp", "openai"]


class Gossip(BaseHTTPRequestHandler):
    """Refuses every request, and says what it was told: some servers name the key that they do not know."""

    def do_POST(self) -> None:
        """Answer."""
        told = self.headers.items()
        self.server.told.append(dict(told))  # type: ignore[attr-defined]
        body = json.dumps({"error": {"message": " ".join(value for _, value in told)}}).encode()
        self.send_response(401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815 - the name that the handler looks for

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def gossip() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Gossip)
    server.told = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def declare(kind: str, port: int, *, login: bool) -> Pipeline:
    key = "" if login else ', api_key: "${KEY}"'
    engine = f'{{kind: {kind}, url: "http://{"me:${WORD}@" if login else ""}127.0.0.1:{port}"{key}'
    return Pipeline.from_yaml(f"""\
pipeline: confidential
engines:
  A: {engine}, headers: {{X-Api-Key: "${{TOKEN}}"}}}}
nodes: {{m: {{engine: A, model: m, map: demo/bytes, prompt: "{{x}}", policy: {{retry: {{attempts: 1}}}}}}}}
edges: [q -> m.x, m -> out]
""")


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("login", [False, True])
async def test_keys_reach_the_server_and_nobody_else(
    kind: str,
    login: bool,
    gossip: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    caplog.set_level(logging.DEBUG)
    p = declare(kind, gossip.server_port, login=login)
    shown = [p.to_yaml(), str(p.check()), to_svg(p.spec), to_mermaid(p.spec)]
    events: list[Any] = []
    run = p.run({"q": "hi"}, record=tmp_path / "run.jsonl")
    with pytest.raises(NodeFailedError, match="answered 401") as caught:
        await read(run, events)
    built = p.build()
    shown += [repr(events), (tmp_path / "run.jsonl").read_text(), caplog.text, repr(built), repr(run)]
    shown += ["".join(traceback.format_exception(caught.value)), repr(vars(caught.value))]
    shown += [render_text(explain(built)), json.dumps(explain(built).to_data(), default=str)]
    for text in shown:
        assert "verysecret" not in text
        assert b64encode(f"me:{SECRETS['WORD']}".encode()).decode() not in text
    told = {name.lower(): value for name, value in gossip.told[-1].items()}
    assert told["x-api-key"] == SECRETS["TOKEN"]
    basic = "Basic " + b64encode(f"me:{SECRETS['WORD']}".encode()).decode()
    assert told["authorization"] == (basic if login else f"Bearer {SECRETS['KEY']}")


async def read(run: Any, events: list[Any]) -> None:
    """Read all events of a run."""
    async with run:
        async for event in run:
            events.append(event)  # noqa: PERF401 - those before an error are kept, too


async def test_a_variable_that_is_not_set_is_a_fault_with_its_line(
    gossip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KEY", raising=False)
    monkeypatch.setenv("TOKEN", "verysecret")
    path = tmp_path / "p.yaml"
    path.write_text(declare("codec", gossip.server_port, login=False).to_yaml())
    with pytest.raises(ValueError, match="environment variable 'KEY' is not set") as caught:
        Pipeline.from_yaml(path).build()
    (fault,) = caught.value.errors  # type: ignore[attr-defined]
    assert fault.file == str(path)
    assert fault.line
    assert "verysecret" not in str(caught.value)


def asking(engine: str) -> Pipeline:
    """Declare one model at an engine."""
    return Pipeline.from_yaml(f"""\
pipeline: confidential
engines: {{A: {engine}}}
nodes: {{m: {{engine: A, model: m, map: demo/bytes, prompt: "{{x}}", policy: {{retry: {{attempts: 1}}}}}}}}
edges: [q -> m.x, m -> out]
""")


class Babble(Gossip):
    """Says what it was asked for, in answers of several kinds; the last two are no HTTP."""

    def do_POST(self) -> None:
        """Answer."""
        answers = {
            "status": f"HTTP/1.1 404 no\r\n\r\nthere is nothing at {self.path}",
            "event": "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
            f'data: {{"error": {{"message": "cannot serve {self.path}"}}}}\n\n',
            "head": f"HTTP/{self.path} what\r\n\r\n",
            "cut": "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\n\r\nd",
        }
        self.wfile.write(answers[self.server.answer].encode())  # type: ignore[attr-defined]
        self.close_connection = True

    do_GET = do_POST  # noqa: N815 - the name that the handler looks for


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", [*KINDS, "auto"])
@pytest.mark.parametrize("answer", ["status", "event", "head", "cut"])
async def test_a_secret_in_the_path_of_a_url_is_repeated_by_nobody(
    kind: str, answer: str, gossip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", SECRETS["TOKEN"])
    gossip.RequestHandlerClass, gossip.answer = Babble, answer
    events: list[Any] = []
    p = asking(f'{{kind: {kind}, url: "http://127.0.0.1:{gossip.server_port}/${{TOKEN}}/api"}}')
    run = p.run({"q": "hi"}, record=tmp_path / "run.jsonl")
    with pytest.raises(NodeFailedError) as caught:
        await read(run, events)
    shown = ["".join(traceback.format_exception(caught.value)), repr(caught.value), repr(events)]
    assert "verysecret" not in "".join([*shown, (tmp_path / "run.jsonl").read_text()])


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize("transport", ["auto", "httpx"])
@pytest.mark.parametrize(
    "token", ["very secret/\N{SNOWMAN}", "verysecret\x7f", "verysecret\n", "]verysecret["]
)
async def test_a_url_that_cannot_be_used_is_not_repeated(
    token: str, transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", token)
    p = asking(f'{{kind: codec, url: "http://127.0.0.1:1${{TOKEN}}", options: {{transport: {transport}}}}}')
    with pytest.raises((NodeFailedError, PipelineError), match=r"the url|its url") as caught:
        await p.invoke({"q": "hi"}, record=tmp_path / "run.jsonl")
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "secret" not in shown.replace("[secret]", "")


async def test_a_password_of_a_proxy_is_told_to_the_proxy_alone(
    gossip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORD", SECRETS["WORD"])
    proxy = f"http://me:${{WORD}}@127.0.0.1:{gossip.server_port}"
    p = asking(f'{{kind: codec, url: "http://127.0.0.1:1", options: {{proxy: "{proxy}"}}}}')
    with pytest.raises(NodeFailedError, match="answered 401") as caught:
        await p.invoke({"q": "hi"})
    basic = "Basic " + b64encode(f"me:{SECRETS['WORD']}".encode()).decode()
    assert {name.lower(): value for name, value in gossip.told[-1].items()}["proxy-authorization"] == basic
    shown = "".join(traceback.format_exception(caught.value)) + p.to_yaml() + str(p.check())
    assert "verysecret" not in shown
    assert basic.partition(" ")[2] not in shown
