"""The set-ups of docs/telemetry.md: what each sends and where to; a real Phoenix too, if one is reachable.

`CODEC_TEST_PHOENIX=http://127.0.0.1:6006 python -m pytest tests/agents/telemetry/test_setups.py` sends a run
to a Phoenix of yours and asks it for what arrived.
"""

from __future__ import annotations

import base64
import gzip
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from codec_agents.telemetry import names

ROOT = Path(__file__).resolve().parents[3]
BACK_ENDS = ("Jaeger", "Grafana Tempo", "Langfuse", "Phoenix")
KEYS = {"PUBLIC_KEY": "pk-lf-1", "SECRET_KEY": "sk-lf-2"}
INSTRUMENT = Path(sys.executable).with_name("opentelemetry-instrument")
SPANS = {
    "invoke_workflow desk",
    "invoke_agent planner",
    "invoke_agent writer",
    "text_completion m",
    "codec.handoff question -> planner",
    "codec.handoff planner -> writer",
}

pytest.importorskip("uvicorn", reason="embedded engines need the extra `server`")


class Received(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[Received]]]:
    """An OTLP receiver on loopback that keeps what it gets."""
    received: list[Received] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
            received.append(Received(self.path, headers, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", received
        server.shutdown()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "said.py").write_text("def say(prompt):\n    return 'Pack a coat.'\n")
    (folder / "desk.yaml").write_text(
        "pipeline: desk\n"
        "engines: {e: {kind: embedded, script: 'said:say'}}\n"
        "nodes:\n"
        "  planner: {kind: model, engine: e, model: m, map: demo/bytes, prompt: {user: '{question}'}}\n"
        "  writer: {kind: model, engine: e, model: m, map: demo/bytes, prompt: {user: 'Rewrite: {draft}'}}\n"
        "  question: {kind: input}\n"
        "  reader: {kind: sink, text: true}\n"
        "edges: [question -> planner.question, planner.answer -> writer.draft, writer.answer -> reader]\n"
    )
    return folder / "desk.yaml"


def documented() -> tuple[str, dict[str, str]]:
    """Return the common variables that the page exports, and those of each back end."""
    page = (ROOT / "docs" / "telemetry.md").read_text("utf-8")
    [common] = re.findall(r"^\$ export (OTEL_.*)$", page, re.MULTILINE)
    rows = re.findall(r"^\| ([\w ]+) \|.*\| `(OTEL_.*)` \|$", page, re.MULTILINE)
    return common, {name: variables.replace(r"\|", "|") for name, variables in rows}


def variables_of(back_end: str, endpoint: str) -> dict[str, str]:
    """Let a shell read the variables of a back end as the page gives them; only the origin is another."""
    common, of = documented()
    done = subprocess.run(
        ["bash", "-c", f"env -i PATH=$PATH {common} {of[back_end]} env"],
        env={"PATH": os.environ["PATH"], **KEYS},
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if line.startswith("OTEL_"))
    found["OTEL_EXPORTER_OTLP_ENDPOINT"] = re.sub(
        r"^https?://[^/]+", endpoint, found["OTEL_EXPORTER_OTLP_ENDPOINT"]
    )
    return found


def run(desk: Path, variables: dict[str, str]) -> None:
    """Run the pipeline as the page says."""
    command = [str(INSTRUMENT), sys.executable, "-m", "codec_agents.cli", "run", str(desk), "--quiet"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [*command, "--input", "question=Where to?"],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "Pack a coat."), shlex.join(command) + done.stderr


def test_every_back_end_has_a_set_up() -> None:
    assert tuple(documented()[1]) == BACK_ENDS


@pytest.mark.slow
@pytest.mark.parametrize("back_end", ["Grafana Tempo", "Langfuse"])  # what the others send is less
def test_what_the_documented_variables_send(
    back_end: str, receiver: tuple[str, list[Received]], desk: Path
) -> None:
    url, received = receiver
    run(desk, variables_of(back_end, url))
    root = "/api/public/otel" if back_end == "Langfuse" else ""
    traces = [request for request in received if request.path == f"{root}/v1/traces"]
    metrics = [request for request in received if request.path == f"{root}/v1/metrics"]
    spans = [
        span
        for request in traces
        for resource in ExportTraceServiceRequest.FromString(request.body).resource_spans
        for scope in resource.scope_spans
        if scope.scope.name == names.SCOPE
        for span in scope.spans
    ]
    assert {span.name for span in spans} == SPANS
    assert len({span.trace_id for span in spans}) == 1
    assert bool(metrics) is (back_end == "Grafana Tempo")
    if back_end == "Langfuse":
        keys = base64.b64encode("{PUBLIC_KEY}:{SECRET_KEY}".format(**KEYS).encode()).decode()
        assert traces[0].headers["authorization"] == f"Basic {keys}"
        assert traces[0].headers["x-langfuse-ingestion-version"] == "4"


def test_every_page_names_the_protocol_of_the_exporter_that_it_installs() -> None:
    """Without it the distribution asks for an exporter over gRPC, which is another package."""
    for page in (ROOT / "docs").rglob("*.md"):
        text = page.read_text("utf-8")
        blocks = [block for block in text.split("```") if "opentelemetry-exporter-otlp-proto-http" in block]
        assert all("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" in block for block in blocks), page


@pytest.mark.parametrize("back_end", ["Jaeger", "Phoenix"])
def test_those_that_take_traces_only_get_traces_at_their_root(back_end: str) -> None:
    found = variables_of(back_end, "http://127.0.0.1:1")
    tempo = variables_of("Grafana Tempo", "http://127.0.0.1:1")
    assert found == {**tempo, "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}


def test_a_real_phoenix_shows_the_run(desk: Path) -> None:
    url = os.environ.get("CODEC_TEST_PHOENIX")
    if url is None:
        pytest.skip("CODEC_TEST_PHOENIX is not set: no Phoenix to send a run to")
    project = f"codec-{uuid4().hex[:8]}"
    variables = variables_of("Phoenix", url.rstrip("/"))
    variables["OTEL_RESOURCE_ATTRIBUTES"] = f"openinference.project.name={project}"
    run(desk, variables)
    spans = {span["name"]: span for span in arrived(url, project, count=len(SPANS) + 1)}
    assert spans.keys() == SPANS
    root, handoff = spans["invoke_workflow desk"], spans["codec.handoff planner -> writer"]
    assert handoff["parent_id"] == root["context"]["span_id"]
    assert handoff["attributes"][names.HANDOFF_GAP] > 0
    assert spans["text_completion m"]["span_kind"] == "LLM"
    assert spans["invoke_agent writer"]["span_kind"] == "AGENT"
    assert spans["text_completion m"]["attributes"][names.USAGE_OUTPUT] > 0


def arrived(url: str, project: str, *, count: int) -> list[dict[str, Any]]:
    """Ask until all is there: a back end stores what it got some time later."""
    place = f"{url.rstrip('/')}/v1/projects/{project}/spans"
    spans: list[dict[str, Any]] = []
    for _ in range(200):
        answer = httpx.get(place, params={"limit": 100})
        spans = answer.json()["data"] if answer.status_code == 200 else []
        if len(spans) >= count:
            break
    return spans
