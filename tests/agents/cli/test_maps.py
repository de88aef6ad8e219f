"""`codec-agents maps`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from codec_agents.cli import exits, main
from codec_agents.vocabularies import bundled_map, bundled_map_bytes


def maps(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["maps", *arguments])


@pytest.fixture
def map_file(tmp_path: Path) -> Path:
    path = tmp_path / "words.json"
    path.write_bytes(bundled_map_bytes("demo/words"))
    return path


def test_hash(map_file: Path) -> None:
    assert maps("hash", str(map_file)).stdout == f"{bundled_map('demo/words').hash}  {map_file}\n"


def test_verify(map_file: Path) -> None:
    result = maps("verify", str(map_file), "--hash", str(bundled_map("demo/words").hash), "--json")
    assert result.exit_code == exits.DONE
    assert json.loads(result.stdout)["ok"]


def test_verify_tells_another_hash(map_file: Path) -> None:
    result = maps("verify", str(map_file), "--hash", "sha256:" + "0" * 64)
    assert result.exit_code == exits.DATA_UNUSABLE
    assert "has another hash" in result.stderr


def test_verify_tells_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"id": "x"')
    result = maps("verify", str(tmp_path / "bad.json"))
    assert result.exit_code == exits.DATA_UNUSABLE
    assert result.stderr.startswith("error: ")


def test_show_cuts_a_text() -> None:
    document = json.loads(maps("show", "demo/words", "--json", "--text", "hello there").stdout)
    assert "".join(piece for _, piece in document["encoded"]).replace("▁", " ").strip() == "hello there"
    assert "<|im_end|>" in document["special tokens"]


def test_show_names_what_there_is() -> None:
    result = maps("show", "no/such")
    assert result.exit_code == exits.USAGE
    assert "demo/bytes" in result.stderr
