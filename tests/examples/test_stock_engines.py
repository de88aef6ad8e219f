"""The example for engines that people run, against a server with vLLM's API for ids."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from codec_agents import vocabularies
from codec_agents.server import EmbeddedServer, ScriptedBackend, create_app
from codec_agents.server.recording import RecordingExchanges
from codec_agents.vocabularies import bundled_map
from codec_core.tokenizer import pick_tokenizer

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
MAPS = Path(vocabularies.__file__).parent


@pytest.fixture
def models(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location("travel_models_for_stock", EXAMPLES / "travel_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_tokenize(app, tokenizer_map):
    """Answer vLLM's `/tokenize` beside a server's own calls."""
    tokenizer = pick_tokenizer(tokenizer_map)

    async def served(scope, receive, send):
        if scope["type"] != "http" or scope["path"] != "/tokenize":
            await app(scope, receive, send)
            return
        asked = json.loads((await receive())["body"])
        ids = tokenizer.encode(asked["prompt"])
        body = json.dumps({"count": len(ids), "max_model_len": 4096, "tokens": ids}).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return served


@pytest.mark.slow
def test_the_travel_desk_runs_on_stock_engines(models):
    letters, words = bundled_map("demo/bytes"), bundled_map("demo/words")
    planner = create_app(ScriptedBackend.of(letters, models.planner, "planner"))
    writer = create_app(ScriptedBackend.of(words, models.writer, "writer"), exchanges=RecordingExchanges())
    with (
        EmbeddedServer(with_tokenize(planner, letters)) as first,
        EmbeddedServer(with_tokenize(writer, words)) as second,
    ):
        command = [
            sys.executable, str(EXAMPLES / "stock_engines.py"),
            "I fly from Lisbon to Oslo on a Friday in March.",
            "--planner", "vllm", first.url, str(MAPS / "demo" / "bytes.json"), "planner",
            "--writer", "vllm", second.url, str(MAPS / "demo" / "words.json"), "writer",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    assert "lands in Oslo" in done.stdout
    sent = [exchange.request.body for exchange in writer.exchanges.generations]
    assert sent
    assert all(b"Oslo" not in body for body in sent)


def test_what_cannot_be_built_is_said_in_a_few_lines():
    place = ["vllm", "http://127.0.0.1:1", str(MAPS / "demo" / "bytes.json")]
    command = [
        sys.executable, str(EXAMPLES / "stock_engines.py"), "?",
        "--planner", *place, "--writer", *place, "--writer-dialect", "no-such-dialect",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 1
    assert "no-such-dialect" in done.stderr
    assert "Traceback" not in done.stderr
