"""`codec-agents maps`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tokenizers import Tokenizer, models, pre_tokenizers

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


def test_build_makes_a_map_of_a_tokenizer_file(tmp_path: Path) -> None:
    alphabet = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab={**alphabet, "he": 256}, merges=[("h", "e")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    built = maps(
        "build", str(tmp_path / "tokenizer.json"), "--id", "my/map", "-o", str(tmp_path / "map.json")
    )
    assert built.exit_code == exits.DONE, built.stderr
    shown = json.loads(maps("show", str(tmp_path / "map.json"), "--json", "--text", "he").stdout)
    assert (shown["id"], shown["encoded"]) == ("my/map", [[256, "he"]])


def test_build_tells_a_file_that_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"")
    result = maps("build", str(tmp_path / "x.bin"), "--id", "a/b", "-o", str(tmp_path / "map.json"))
    assert result.exit_code == exits.USAGE
    assert "neither" in result.stderr


class Served(ThreadingHTTPServer):
    """A folder on loopback, as any web server would serve it."""

    def __init__(self, folder: Path) -> None:
        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=str(folder))

            def log_message(self, *args: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    server = Served(tmp_path)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_published_can_be_fetched(
    map_file: Path, tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEC_CACHE", str(tmp_path / "cache"))
    published = maps("publish", str(map_file), "--to", str(tmp_path), "--origin", served.origin)
    assert published.exit_code == exits.DONE, published.stderr
    copy = tmp_path / "copy.json"
    expected = str(bundled_map("demo/words").hash)
    got = maps("get", served.origin, "demo/words", "--hash", expected, "-o", str(copy), "--json")
    assert got.exit_code == exits.DONE, got.stderr
    assert json.loads(got.stdout) == {"id": "demo/words", "hash": expected}
    assert copy.read_bytes() == map_file.read_bytes()


def test_get_tells_what_is_not_there(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEC_CACHE", str(tmp_path / "cache"))
    assert maps("get", served.origin, "no/such").exit_code == exits.DATA_UNUSABLE
    assert "cannot fetch" in maps("get", "http://127.0.0.1:9", "demo/words").stderr
