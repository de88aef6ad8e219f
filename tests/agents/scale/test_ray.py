"""Batches on a real Ray cluster of one machine: the files of any batch, whatever dies."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codec_agents.records.reader import read_record

ray = pytest.importorskip("ray", reason="needs Ray, in an environment of its own: make test-ray")
pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("default"),  # Ray's own
]

ROOT = Path(__file__).parents[3]
PATIENCE = {"RAY_raylet_start_wait_time_s": "180", "RAY_agent_register_timeout_ms": "180000"}
"""On a busy machine Ray's processes take longer to start than Ray waits for them."""
WITHIN = 100.0
"""Seconds after which a driver that should get somewhere is taken for stuck."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    environment = {"env_vars": {"PYTHONPATH": str(ROOT)}}
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ |= PATIENCE
    context = ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        logging_level="ERROR",
        log_to_driver=False,
        runtime_env=environment,
    )
    yield context.address_info["address"]
    ray.shutdown()


def driver(
    folder: Path, count: int, cluster: str, *, pace: float = 0.0, actors: int = 1
) -> subprocess.Popen[str]:
    """Start a program that runs a batch of `count` rows on the cluster."""
    folder.mkdir(exist_ok=True)
    program = f"""
import json, sys
from tests.agents.scale import batch_pipelines
from codec_agents.scale.ray_data import run_on_ray
rows = [{{"id": n, "question": "break" if n % 10 == 9 else f"q{{n}}"}} for n in range({count})]
summary = run_on_ray("p.yaml", rows, {str(folder)!r}, address={cluster!r}, key="id", concurrency=4,
    actors={actors}, make=batch_pipelines.Paced({pace}, {str(folder / "effects")!r}))
print(json.dumps([summary.done, summary.failed, summary.skipped]))
"""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def results(folder: Path) -> list[dict[str, Any]]:
    file = folder / "results.jsonl"
    lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]


def wait_for(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    began = time.monotonic()
    while len(results(folder)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - began < WITHIN
        time.sleep(0.05)


def ended(process: subprocess.Popen[str]) -> list[int]:
    out, error = process.communicate(timeout=WITHIN)
    assert process.returncode == 0, error
    counts: list[int] = json.loads(next(line for line in out.splitlines() if line[:1] == "["))
    return counts


def check(folder: Path, count: int) -> None:
    """Check that each key has one result and one whole record, and that each call took effect once."""
    found = results(folder)
    assert Counter(line["key"] for line in found) == {str(number): 1 for number in range(count)}
    failed = {line["key"] for line in found if "error" in line}
    assert failed == {str(number) for number in range(9, count, 10)}
    for line in found:
        record = read_record(folder / line["record"])
        assert record.complete == (line["key"] not in failed)
    assert not list(folder.glob("pending-*/*"))


def test_a_batch_on_ray_has_the_files_of_a_batch_here(cluster: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert ended(driver(folder, 40, cluster)) == [36, 4, 0]
    check(folder, 40)
    effects = Counter((folder / "effects").read_text().split())
    assert set(effects.values()) == {1}
    assert len(effects) == 36
    assert ended(driver(folder, 44, cluster)) == [4, 0, 40]


def test_a_driver_is_killed(cluster: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    process = driver(folder, 60, cluster, pace=0.05)
    wait_for(folder, 10, process)
    process.kill()
    process.communicate()
    done = len(results(folder))
    assert done < 60
    counts = ended(driver(folder, 60, cluster))
    assert sum(counts) == 60
    assert counts[2] >= done
    check(folder, 60)


def test_an_actor_is_killed(cluster: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    process = driver(folder, 60, cluster, pace=0.05)
    wait_for(folder, 10, process)
    pids = (folder / "effects.pids").read_text().split()
    os.kill(int(pids[-1]), 9)
    assert ended(process) == [54, 6, 0]
    check(folder, 60)
    assert len(set((folder / "effects.pids").read_text().split())) > 1
    # A call that was at work when the actor died runs again; its key is the same.
    effects = Counter((folder / "effects").read_text().split())
    assert len(effects) == 54
    assert sum(effects.values()) <= 54 + 2 * 4


def test_a_dataset_is_mapped(cluster: str) -> None:
    from codec_agents.scale import map_batches
    from tests.agents.scale import batch_pipelines

    dataset = ray.data.from_items([{"id": n, "question": "break" if n == 3 else f"q{n}"} for n in range(6)])
    mapped = map_batches(dataset, batch_pipelines.make, key="id", concurrency=3)
    found = {row["key"]: row for row in mapped.take_all()}
    assert set(found["0"]) == {"key", "error", "result", "reader"}
    assert found["2"]["reader"] == "Written: Rewrite: sum is 3 for q2"
    assert (found["3"]["reader"], found["3"]["error"][:16]) == ("", "NodeFailedError:")
    assert json.loads(found["4"]["result"])["text"] == {"reader": found["4"]["reader"]}


PIPELINE = (
    "pipeline: p\nengines: {A: {kind: scripted, script: yes it is}}\n"
    "nodes:\n  m: {engine: A, map: demo/bytes, prompt: '{q}'}\n  q: {kind: input}\n  r: {kind: sink}\n"
    "edges: [q -> m.q, m.answer -> r]\n"
)


def written(folder: Path) -> dict[str, Path]:
    """Write the same rows as each kind of inputs, one of them without a value; return the files by kind."""
    import pyarrow as pa
    from pyarrow import csv, ipc, parquet

    wanted = [{"id": str(n), "q": f"x{n}\u2028"} for n in range(20)] + [{"id": "none", "q": None}]
    table = pa.Table.from_pylist(wanted)
    found = {kind: folder / f"rows.{kind}" for kind in ("jsonl", "csv", "parquet")} | {
        "saved": folder / "saved"
    }
    found["jsonl"].write_text("".join(json.dumps(row) + "\n" for row in wanted))
    csv.write_csv(table.slice(0, 20), found["csv"])
    parquet.write_table(table, found["parquet"])
    found["saved"].mkdir()
    with ipc.new_stream(found["saved"] / "data-00000-of-00001.arrow", table.schema) as stream:
        stream.write_table(table)
    return found


def test_every_kind_of_inputs_gives_the_same_files_here_and_on_ray(cluster: str, tmp_path: Path) -> None:
    import asyncio

    from pyarrow import parquet

    from codec_agents import Pipeline
    from codec_agents.scale import run_batch
    from codec_agents.scale.exporting import export
    from codec_agents.scale.ray_data import run_on_ray

    (tmp_path / "p.yaml").write_text(PIPELINE)
    for kind, source in written(tmp_path).items():
        here, there = tmp_path / f"{kind}-here", tmp_path / f"{kind}-there"
        made = Pipeline.from_yaml(tmp_path / "p.yaml")
        summaries = [
            asyncio.run(run_batch(made, source, here, key="id")),
            run_on_ray(tmp_path / "p.yaml", source, there, key="id", concurrency=4),
        ]
        failed = 0 if kind == "csv" else 1  # a CSV file has no missing values
        assert {(each.done, each.failed) for each in summaries} == {(20, failed)}
        lines = [
            sorted(({**line, "seconds": 0} for line in results(folder)), key=str) for folder in (here, there)
        ]
        assert lines[0] == lines[1]
        texts = [
            sorted(str(read_record(path).texts()) for path in folder.glob("records/*/*.jsonl"))
            for folder in (here, there)
        ]
        assert len(texts[0]) == 20
        assert texts[0] == texts[1]
        tables = [
            sorted(parquet.read_table(export(folder, "parquet")).to_pylist(), key=str)
            for folder in (here, there)
        ]
        assert tables[0] == tables[1]
        sheets = [sorted(export(folder, "csv").read_text().splitlines()) for folder in (here, there)]
        assert sheets[0] == sheets[1]


def test_a_folder_that_takes_no_records_ends_the_batch_with_its_reason(cluster: str, tmp_path: Path) -> None:
    from codec_agents.exceptions import BatchError
    from codec_agents.scale.ray_data import run_on_ray

    (tmp_path / "p.yaml").write_text(PIPELINE)
    out = tmp_path / "out"
    out.mkdir()
    (out / "records").write_text("in the way")
    with pytest.raises(BatchError, match=r"records.*started again"):
        run_on_ray(tmp_path / "p.yaml", [{"id": 1, "q": "x"}], out, key="id")
    assert results(out) == []
    (out / "records").unlink()
    assert run_on_ray(tmp_path / "p.yaml", [{"id": 1, "q": "x"}], out, key="id").done == 1


def test_a_pipeline_that_cannot_be_made_in_an_actor_ends_the_batch(cluster: str, tmp_path: Path) -> None:
    from codec_agents.exceptions import BatchError
    from codec_agents.scale.ray_data import run_on_ray
    from tests.agents.scale import batch_pipelines

    with pytest.raises(BatchError, match="only here"):
        run_on_ray(
            "p.yaml",
            [{"id": 1, "question": "x"}],
            tmp_path,
            key="id",
            make=batch_pipelines.OnlyIn(os.getpid()),
        )


def test_the_command_differs_by_a_flag(cluster: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(PIPELINE)
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"q": "x{n}\\u2028"}}\n' for n in range(5)))
    found = []
    for name, options in (("here", []), ("there", ["--ray", cluster])):
        done = subprocess.run(
            [sys.executable, "-m", "codec_agents.cli", "batch", "p.yaml", "-i", "rows.jsonl", "-o", name,
             "--json", *options],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["done"] == 5
        lines = results(tmp_path / name)
        found.append(
            sorted((line["key"], line["row"], line["text"]["r"], str(line["values"])) for line in lines)
        )
    assert found[0] == found[1]


def test_an_application_of_ray_serve_is_an_engine(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its handle; and its URL is in what its controller says, which is what the dashboard answers."""
    import asyncio

    import httpx

    serve = pytest.importorskip("ray.serve", reason="needs Ray Serve: make test-ray")
    from codec_agents.engines.in_process import InProcessEngine
    from codec_agents.scale.ray_serve import HandleClient, resolved
    from tests.trainers.clients import ScriptedClient, desk

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    deployment = serve.deployment(ray_actor_options={"num_cpus": 0})(ScriptedClient)
    try:
        handle = serve.run(deployment.bind(), name="llm", route_prefix="/llm")
        engine = InProcessEngine(HandleClient(handle), logprob_mode="processed")
        result = asyncio.run(desk(engine).invoke({"q": "go"}))
        assert result.text == {"reader": "I look. It is 6."}
        details = serve.context._get_global_client().get_serve_details()
    finally:
        serve.shutdown()
    asked = httpx.Request("GET", "http://head")
    monkeypatch.setattr(
        httpx, "get", lambda *_, **__: httpx.Response(200, json=plain_json(details), request=asked)
    )
    assert resolved(["serve+http://head:8265/llm"]) == [f"http://127.0.0.1:{port}/llm"]


def plain_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))
