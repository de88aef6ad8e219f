"""`codec-agents serve`, as a process."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from codec_agents.cli import exits
from codec_agents.cli.commands.serve import command
from codec_agents.testing import scripted_server
from codec_agents.vocabularies import bundled_map
from codec_core.vocabulary import vocabulary_of
from tests.processes import url_of

pytest.importorskip("uvicorn", reason="needs the extra `server`")


@contextmanager
def serving(*arguments: str, folder: Path) -> Iterator[str]:
    """Run the server on a port of its own; give its URL."""
    command = [sys.executable, "-m", "codec_agents.cli", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, encoding="utf-8")
    try:
        yield url_of(process)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 0


@pytest.mark.slow
def test_a_text_is_what_every_turn_says(tmp_path: Path) -> None:
    with serving("--script", "hello there", folder=tmp_path) as url:
        answer = httpx.post(f"{url}/v1/completions", json={"prompt": "hi", "max_tokens": 50}, timeout=20)
        assert answer.json()["choices"][0]["text"] == "hello there"
        models = httpx.get(f"{url}/v1/models", timeout=20).json()["data"]
        assert [model["id"] for model in models] == ["scripted"]
        index = httpx.get(f"{url}/.well-known/codec/index.json", timeout=20).json()
        assert index["maps"][0]["hash"] == bundled_map("demo/bytes").hash


def test_a_dialect_that_is_none_is_refused_before_the_server_starts(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["--script", "hello", "--dialect", "klingon"])
    assert result.exit_code == exits.FAULTS
    assert "klingon" in result.stderr


@pytest.mark.slow
def test_a_function_of_a_module_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def echo(prompt):\n    return prompt.user.upper()\n")
    with serving("--script", "mine:echo", "--map", "demo/words", folder=tmp_path) as url:
        body = {"messages": [{"role": "user", "content": "loud"}], "max_tokens": 50}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=20)
        assert answer.json()["choices"][0]["message"]["content"] == "LOUD"


SERVING = """
from codec_agents.server import ScriptedBackend, create_app, serve
from codec_agents.testing import Say, Wait
from codec_agents.vocabularies import bundled_map

def answer(prompt):
    seconds = float(prompt.text)
    return [Say("begun"), Wait(seconds), Say(" ended")]

serve(create_app(ScriptedBackend.of(bundled_map("demo/bytes"), answer)), port=0, drain=1)
"""


def test_a_signal_lets_what_runs_end_and_ends_the_rest(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVING], cwd=tmp_path, stderr=subprocess.PIPE, encoding="utf-8"
    )
    url = url_of(process)

    def stream(client: httpx.Client, seconds: float) -> Iterator[str]:
        body = {"prompt": str(seconds), "stream": True}
        with client.stream("POST", f"{url}/v1/completions", json=body) as answer:
            yield from answer.iter_lines()

    with httpx.Client(timeout=20) as client:
        soon, late = stream(client, 0.3), stream(client, 60)
        begun = next(soon) + next(late)
        process.send_signal(signal.SIGTERM)
        rest = "".join(soon)
        ended = "".join(late)
    process.communicate(timeout=20)
    assert begun.count("data: ") == 2
    assert '"finish_reason":"stop"' in rest
    assert '"finish_reason":"error"' in ended
    assert rest.endswith("data: [DONE]")
    assert ended.endswith("data: [DONE]")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_draining_server_says_so_until_it_ends(tmp_path: Path, name: str) -> None:
    """The address stays open, so that a load balancer sees the 503; a hang-up drains as well."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVING.replace("drain=1", "drain=20")],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    url = url_of(process)
    body = {"prompt": "1", "stream": True}
    with httpx.Client(timeout=20) as client:
        assert client.get(f"{url}/ready").status_code == 200
        with client.stream("POST", f"{url}/v1/completions", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.Signals[name])
            statuses = set()
            while 503 not in statuses:
                statuses.add(httpx.get(f"{url}/ready", timeout=20).status_code)
            assert httpx.post(f"{url}/v1/completions", json={"prompt": "1"}, timeout=20).status_code == 503
            assert "data: [DONE]" in list(lines)
    process.communicate(timeout=20)
    assert process.returncode == (0 if name == "SIGHUP" else -signal.Signals[name])


def test_an_address_that_others_can_reach_needs_a_key() -> None:
    outcome = CliRunner().invoke(command, ["--script", "x", "--host", "0.0.0.0"])
    assert outcome.exit_code == 2
    assert "--api-key-env" in outcome.output


PIPELINE = """
pipeline: desk
nodes:
  question: {kind: input}
  writer:
    kind: model
    engine: writing
    map: demo/words
    prompt: {user: "{question}"}
  reader: {kind: sink, text: true}
engines:
  writing: {kind: embedded, script: "mine:echo"}
edges:
  - question -> writer.question
  - writer.answer -> reader
"""


@pytest.mark.slow
def test_a_pipeline_and_a_bridge_to_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def echo(prompt):\n    return prompt.user.strip().upper()\n")
    (tmp_path / "desk.yaml").write_text(PIPELINE)
    with (
        serving("desk.yaml", folder=tmp_path) as pipeline,
        serving(
            "--bridge",
            pipeline,
            "--map",
            "demo/words",
            "--model",
            "m",
            "--engine-model",
            "desk",
            folder=tmp_path,
        ) as bridge,
    ):
        for url, model in ((pipeline, "desk"), (bridge, "m")):
            body = {"model": model, "messages": [{"role": "user", "content": "loud"}], "max_tokens": 50}
            answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=20)
            assert answer.json()["choices"][0]["message"]["content"] == "LOUD"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name one model"),
        (["--script", "x", "--bridge", "http://127.0.0.1:1"], "name one model"),
        (["--bridge", "http://127.0.0.1:1"], "--map"),
        (["--script", "x", "--sink", "y"], "--sink is not an option of script"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: list[str], said: str) -> None:
    outcome = CliRunner().invoke(command, arguments)
    assert outcome.exit_code == 2
    assert said in outcome.output


@pytest.mark.slow
def test_a_pipeline_is_opened_once_for_all_requests(tmp_path: Path) -> None:
    """The back end's connection stands from request to request, and is closed when the server stops."""
    with scripted_server(vocabulary_of(bundled_map("demo/words")), lambda _: "fine") as engine:
        declared = f"engines:\n  writing: {{kind: codec, url: '{engine.url}'}}"
        (tmp_path / "desk.yaml").write_text(re.sub(r"engines:\n.*", declared, PIPELINE))
        with serving("desk.yaml", folder=tmp_path) as url:
            for _ in range(3):
                answer = httpx.post(f"{url}/v1/completions", json={"prompt": "hi"}, timeout=20)
                assert answer.json()["choices"][0]["text"] == "fine"
            assert engine.accepted < 3, "no connection a request; a busy server may end one body too late"


BROKEN = """
import sys
from contextlib import asynccontextmanager
from codec_agents.server import ScriptedBackend, create_app, serve
from codec_agents.vocabularies import bundled_map

class Broken(ScriptedBackend):
    @asynccontextmanager
    async def opened(self):
        raise LookupError("no model today")
        yield

backend = Broken.of(bundled_map("demo/bytes"), lambda _: "x")
try:
    serve(create_app(backend), port=0)
except LookupError as error:
    print(error)
    sys.exit(7)
"""


def test_what_cannot_be_opened_is_not_served(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BROKEN], cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=30
    )
    assert (done.returncode, done.stdout) == (7, "no model today\n")


def test_a_used_port_has_an_exit_code_and_a_message_of_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = CliRunner().invoke(command, ["--script", "x", "--port", str(port)])
    assert done.exit_code == exits.ADDRESS_IN_USE
    assert f"port {port} of 127.0.0.1 is in use" in done.output
    assert "--port" in done.output


@pytest.mark.slow
def test_port_0_prints_the_port_that_was_found(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "codec_agents.cli", "serve", "--port", "0", "--script", "x"]
    with subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stderr is not None
        lines = [process.stderr.readline()]
        while "running on" not in lines[-1]:
            lines.append(process.stderr.readline())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    ports = [re.findall(r"http://127.0.0.1:(\d+)", text) for text in lines]
    assert ports[0] == ports[-1] != ["0"]
