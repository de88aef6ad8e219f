"""`codec-agents maps`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tokenizers import Tokenizer, models, pre_tokenizers

from codec_agents.cli import exits, main
from codec_agents.compiler.map_files import key_of_id
from codec_agents.vocabularies import bundled_map, bundled_map_bytes
from codec_core.discovery import DiskMapCache


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
    assert result.exit_code == exits.DATA_UNUSABLE
    assert "neither tokenizer.json" in result.stderr


@pytest.mark.parametrize("command", ["show", "verify"])
def test_a_damaged_map_is_named(command: str, tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text('{"id": "a/b"}')
    result = maps(command, str(tmp_path / "half.json"))
    assert result.exit_code == exits.DATA_UNUSABLE
    assert f"{tmp_path / 'half.json'}: not a tokenizer map: Object missing" in result.stderr


def test_a_damaged_map_of_a_node_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text('{"id": "a/b"}')
    (tmp_path / "one.yaml").write_text(
        'pipeline: one\nengines: {A: {kind: scripted, script: "so"}}\n'
        'nodes: {m: {engine: A, map: half.json, prompt: "{q}"}}\nedges: [q -> m, m -> out]\n'
    )
    done = CliRunner().invoke(main, ["check", str(tmp_path / "one.yaml")])
    assert done.exit_code == exits.FAULTS
    assert done.output.count("half.json") == 1


def test_build_says_of_a_map_that_it_is_one(map_file: Path) -> None:
    result = maps("build", str(map_file), "--id", "a/b")
    assert result.exit_code == exits.DATA_UNUSABLE
    assert "is a map already: use it as it is" in result.stderr


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


def test_a_second_map_joins_the_index(map_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "bytes.json"
    other.write_bytes(bundled_map_bytes("demo/bytes"))
    for file in (map_file, other, map_file):
        assert maps("publish", str(file), "--to", str(tmp_path), "--origin", "https://x.org").exit_code == 0
    index = json.loads((tmp_path / ".well-known" / "codec" / "index.json").read_text())
    assert [(one["id"], one["hash"]) for one in index["maps"]] == [
        (map_id, bundled_map(map_id).hash) for map_id in ("demo/words", "demo/bytes")
    ]
    assert index["maps"][1]["url"] == "https://x.org/.well-known/codec/maps/demo/bytes.json"
    assert not list(tmp_path.rglob(".*.json.*"))


@pytest.mark.parametrize("map_id", ["../../out", "/tmp/out", "a/../../out", "Upper/case", "a b", "a//b"])
def test_a_map_whose_id_leads_elsewhere_is_not_published(map_id: str, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(
        json.dumps({"id": map_id, "version": "2", "vocab_size": 1, "vocab": {"a": 0}})
    )
    target = tmp_path / "deep" / "folder"
    result = maps("publish", str(tmp_path / "map.json"), "--to", str(target), "--origin", "https://x.org")
    assert result.exit_code == exits.DATA_UNUSABLE
    assert "invalid id" in result.stderr
    assert not target.exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["map.json"]


def test_each_writer_of_published_maps_has_a_file_of_its_own_and_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from codec_core.discovery.publishing import publish_maps

    fresh: list[Path] = []

    def fail(path: Path, _target: Path) -> None:
        fresh.append(path)
        raise OSError("no place")

    monkeypatch.setattr(Path, "replace", fail)
    for _ in range(2):
        with pytest.raises(OSError, match="no place"):
            publish_maps([bundled_map_bytes("demo/words")], tmp_path, "https://x.org")
    assert len(set(fresh)) == 2
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_cannot_be_published_as_a_whole_is_not_begun(map_file: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    for files, origin, message in (
        ([map_file, map_file], "https://x.org", "two maps have the id"),
        ([map_file], "ftp://x.org", "http or https"),
        ([map_file, tmp_path / "bad.json"], "https://x.org", "not a tokenizer map"),
    ):
        result = maps("publish", *map(str, files), "--to", str(tmp_path / "to"), "--origin", origin)
        assert result.exit_code == exits.DATA_UNUSABLE
        assert message in result.stderr
        assert not (tmp_path / "to").exists()


def test_an_index_that_is_none_is_left_as_it_is(map_file: Path, tmp_path: Path) -> None:
    index = tmp_path / ".well-known" / "codec" / "index.json"
    index.parent.mkdir(parents=True)
    index.write_text("[]")
    result = maps("publish", str(map_file), "--to", str(tmp_path), "--origin", "https://x.org")
    assert result.exit_code == exits.DATA_UNUSABLE
    assert "index.json" in result.stderr
    assert index.read_text() == "[]"


def test_a_map_of_another_hash_is_not_copied(
    map_file: Path, tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEC_CACHE", str(tmp_path / "cache"))
    maps("publish", str(map_file), "--to", str(tmp_path), "--origin", served.origin)
    copy = tmp_path / "copy.json"
    got = maps("get", served.origin, "demo/words", "--hash", "sha256:" + "0" * 64, "-o", str(copy))
    assert got.exit_code == exits.DATA_UNUSABLE
    assert not copy.exists()


def test_get_tells_what_is_not_there(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEC_CACHE", str(tmp_path / "cache"))
    assert maps("get", served.origin, "no/such").exit_code == exits.DATA_UNUSABLE
    assert "cannot fetch" in maps("get", "http://127.0.0.1:9", "demo/words").stderr


BODIES = """\
pipeline: outer
engines: {A: {kind: scripted, script: "so it is"}}
maps: {mine: {path: words.json}}
nodes:
  own: {engine: A, map: mine, prompt: "{q}"}
  kept: {engine: A, map: a/kept, prompt: "{q}"}
  each: {each: {nodes: {m: {engine: A, map: words.json, prompt: "{i}"}}, edges: [i -> m, m -> o]}}
  part: {pipeline: {nodes: {m: {engine: A, map: ./bytes.json, prompt: "{i}"}}, edges: [i -> m, m -> o]}}
edges: [q -> own, q -> kept, q -> each.i, q -> part.i, own -> a, kept -> b, each.o -> c, part.o -> d]
"""


def test_check_names_what_each_map_is_made_from_also_inside_of_bodies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEC_CACHE", str(tmp_path / "cache"))
    for name in ("words", "bytes"):
        (tmp_path / f"{name}.json").write_bytes(bundled_map_bytes(f"demo/{name}"))
    document = {**json.loads(bundled_map_bytes("demo/bytes")), "id": "a/kept"}
    DiskMapCache(tmp_path / "cache").keep(key_of_id("a/kept"), json.dumps(document).encode())
    (tmp_path / "outer.yaml").write_text(BODIES)
    checked = CliRunner().invoke(main, ["check", str(tmp_path / "outer.yaml"), "--json"])
    assert checked.exit_code == exits.DONE, checked.output
    assert {each["id"]: each["from"] for each in json.loads(checked.stdout)["maps"]} == {
        "demo/words": "words.json",
        "demo/bytes": "./bytes.json",
        "a/kept": "the cache of maps, by its id",
    }


def test_check_names_the_engine_that_tells_its_map(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra `server`")
    from codec_agents.testing import scripted_server

    with scripted_server(bundled_map("demo/words"), lambda _: "hello") as server:
        file = tmp_path / "told.yaml"
        file.write_text(
            f'pipeline: told\nengines: {{A: {{kind: codec, url: "{server.url}"}}}}\n'
            'nodes: {m: {engine: A, prompt: "{q}"}}\nedges: [q -> m, m -> out]\n'
        )
        done = CliRunner().invoke(main, ["check", str(file)])
    assert f"map demo/words from the server of engine 'A': {bundled_map('demo/words').hash}" in done.output


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("NO_PROXY", "localhost,[::1]", "cannot be used: .*; correct them, or unset them"),
        ("ALL_PROXY", "socks://127.0.0.1:9", "cannot be used: .*; correct them, or unset them"),
        (
            "HTTP_PROXY",
            "http://127.0.0.1:1",
            r"nothing listens at http://a\.example \(asked through the proxy of HTTP_",
        ),
    ],
)
def test_odd_proxies_are_an_error_that_names_them(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv(variable, value)
    got = maps("get", "http://a.example", "demo/words")
    assert got.exit_code == exits.DATA_UNUSABLE
    assert re.search(said, got.stderr), got.stderr
