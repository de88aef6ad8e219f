"""`codec-agents gateway`, as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import httpx
import pytest
from click.testing import CliRunner

from codec_agents.cli import exits
from codec_agents.cli.commands.gateway import MODES, command
from codec_agents.engines.values import LogprobMode
from codec_agents.records.reader import read_record
from codec_agents.records.trajectories import trajectories_of
from codec_agents.server import SqliteStore
from codec_agents.testing import scripted_server
from codec_agents.vocabularies import bundled_map, bundled_map_bytes
from tests.processes import url_of

pytest.importorskip("uvicorn", reason="needs the extra `server`")


@pytest.mark.slow
def test_its_options_may_be_in_a_file_and_conversations_outlast_it(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(
        "gateway: {map: demo/words, port: 0, kind: codec, store: kept.db, record: runs, "
        "record-logprobs: true, logprob-mode: processed}\n"
    )
    with scripted_server(bundled_map("demo/words"), lambda _: "Hello.", name="default") as upstream:
        lineages = []
        turns = [{"role": "user", "content": "Hi"}]
        for _ in range(2):
            arguments = ["gateway", "gateway.yaml", "--engine", upstream.url]
            process = subprocess.Popen(
                [sys.executable, "-m", "codec_agents.cli", *arguments],
                cwd=tmp_path,
                stderr=subprocess.PIPE,
                encoding="utf-8",
            )
            url = url_of(process)
            answer = httpx.post(f"{url}/v1/chat/completions", json={"messages": turns}, timeout=20)
            lineages.append(answer.headers["x-codec-lineage"].split()[0])
            turns += [answer.json()["choices"][0]["message"], {"role": "user", "content": "On"}]
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
            assert process.returncode == 0
    assert lineages == ["new", "extended"]
    [record] = (tmp_path / "runs").glob("*.jsonl")
    [row] = trajectories_of(read_record(record))
    assert (len(row.turn_starts), row.logprobs is not None) == (2, True)
    assert row.logprob_mode == "processed"


def test_its_modes_of_log_probabilities_are_those_of_engines() -> None:
    assert get_args(LogprobMode) == MODES


ENGINE = ("--engine", "http://127.0.0.1:1", "--map", "demo/words")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("gateway: {portt: 1}", "unknown fields portt"),
        ("pipeline: x", "has no section `gateway:`"),
        ("gateway: {port: many}", "'many' is not a valid integer"),
        (
            "gateway: {filter: {a: b}}",
            "`filter:` takes a text or a number, or a list of them, not {'a': 'b'}",
        ),
        ("gateway: {memory: [3]}", "`memory:` takes a text or a number, not [3]"),
        ("gateway: {port: true}", "`port:` takes a text or a number, not True"),
        ("gateway: {cache-salt: maybe}", "`cache-salt:` is true or false, not 'maybe'"),
        ("gateway: {filter: claude}", "'claude' is not 'claude-code-cch'"),
        ("gateway: [", "gateway.yaml:1: not YAML"),
        ("gateway: " + "[" * 2000 + "]" * 2000, "nested deeper than"),
        (
            "a: &a [1,1]\n"
            + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{f'*{chr(97 + n)},' * 9}]\n" for n in range(9)),
            "values",
        ),
        ("gateway: !!python/object:os.system {}", "tag"),
    ],
)
def test_a_wrong_section_is_named(tmp_path: Path, section: str, said: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(section)
    result = CliRunner().invoke(command, [str(file), *ENGINE])
    assert result.exit_code == exits.USAGE
    assert said in result.stderr


def test_a_map_that_tells_no_family_needs_a_dialect(tmp_path: Path) -> None:
    plain = json.loads(bundled_map_bytes("demo/bytes"))
    plain["special_tokens"], plain["tool_calling"] = {}, None
    (tmp_path / "map.json").write_text(json.dumps(plain))
    arguments = [*ENGINE[:2], "--map", str(tmp_path / "map.json"), "--port", "0"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == exits.FAULTS
    assert "name the dialect" in result.stderr


def test_a_store_that_another_process_writes_is_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "kept.db")
    result = CliRunner().invoke(command, [*ENGINE, "--port", "0", "--store", str(tmp_path / "kept.db")])
    store.close()
    assert result.exit_code == exits.DATA_UNUSABLE
    assert "another process writes the store" in result.stderr
