"""The example for engines that people run, against a server with vLLM's API for ids."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from codec_agents import vocabularies
from codec_agents.server import EmbeddedServer, ScriptedBackend, create_app
from codec_agents.server.recording import RecordingExchanges
from codec_agents.vocabularies import bundled_map

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
MAPS = Path(vocabularies.__file__).parent


@pytest.fixture
def models(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location("travel_models_for_stock", EXAMPLES / "travel_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_travel_desk_runs_on_stock_engines(models):
    planner = ScriptedBackend.of(bundled_map("demo/bytes"), models.planner, "planner")
    writer = ScriptedBackend.of(bundled_map("demo/words"), models.writer, "writer")
    served = create_app(writer, exchanges=RecordingExchanges())
    with EmbeddedServer(create_app(planner)) as first, EmbeddedServer(served) as second:
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
    sent = [exchange.request.body for exchange in second.app.exchanges.generations]
    assert sent
    assert all(b"Oslo" not in body for body in sent)
