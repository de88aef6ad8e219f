"""`map: hf:org/model`: a loopback server with certificates answers as the hub's documented addresses do."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from typing import ClassVar

import pytest
import trustme
from click.testing import CliRunner

from codec_agents.cli import exits, main
from codec_agents.compiler.map_files import id_of_file
from codec_agents.compiler.maps import map_cache_folder
from codec_agents.compiler.own_templates import kept_config
from codec_agents.exceptions import PipelineError
from codec_agents.graph.sources import MapSpec
from codec_agents.pipeline import Pipeline
from codec_core.discovery import DiskMapCache, hub
from codec_core.discovery.hub import HubModel
from codec_core.exceptions import MapDiscoveryError

pytestmark = pytest.mark.slow  # each test builds a map, which is tried in many ways

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_SecretOfTheTest"


def tokenizer() -> bytes:
    letters = {chr(code): number for number, code in enumerate(range(33, 127))} | {"Ġ": 94, "Ċ": 95, "he": 96}
    model = {"type": "BPE", "vocab": letters, "merges": ["h e"], "unk_token": None}
    bytes_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": bytes_level,
            "model": model,
        }
    ).encode()


class Hub(http.server.BaseHTTPRequestHandler):
    """Small files are answered at once, large ones are redirected to another host, as on the hub."""

    files: ClassVar = {
        "org/small": ("tokenizer.json",),
        "org/large": ("tokenizer.json", "tokenizer_config.json"),
    }
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        parts = self.path.strip("/").split("/")
        if parts[0] == "store":
            self._answer(200, {}, tokenizer())
            return
        model, revision, name = "/".join(parts[:2]), parts[3], parts[4]
        if model == "org/gated" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"X-Error-Code": "GatedRepo"}, b"Access to model org/gated is restricted.")
        elif model == "org/huge":
            self._answer(200, {"Content-Length": str(hub.MAX_TOKENIZER_BYTES + 1)}, b"")
        elif model not in {*self.files, "org/gated"}:
            self._answer(404, {"X-Error-Code": "RepoNotFound"}, b"Repository not found")
        elif revision not in ("main", COMMIT):
            self._answer(404, {"X-Error-Code": "RevisionNotFound"}, b"Invalid rev id")
        elif name not in self.files.get(model, ("tokenizer.json",)):
            self._answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b"Entry not found")
        elif name == "tokenizer_config.json":
            self._answer(200, {"X-Repo-Commit": COMMIT}, b'{"chat_template": "T", "model_max_length": 1}')
        elif model == "org/small":
            self._answer(200, {"X-Repo-Commit": COMMIT}, tokenizer())
        else:
            away = f"https://localhost:{self.server.store.server_port}/store/{name}"
            self._answer(302, {"X-Repo-Commit": COMMIT, "Location": away}, b"")

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def serve(certificate):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.asked = []
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def authority():
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture(scope="module")
def running(authority):
    servers = [serve(authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)) for _ in range(2)]
    servers[0].store = servers[1]
    yield servers[0]
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(running, authority, tmp_path, monkeypatch):
    """The hub, and an environment that leads there and has nothing in its caches."""
    running.asked.clear()
    running.store.asked.clear()
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HOME", "HF_HUB_CACHE", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CODEC_CACHE", str(tmp_path / "maps"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("HF_ENDPOINT", f"https://localhost:{running.server_port}")
    return running


def pipeline(name: str) -> Pipeline:
    p = Pipeline("hub").input("q").sink("out", text=True)
    p.engine("A", kind="scripted", script="hello")
    p.model("m", engine="A", map=name, dialect="plain", prompt="{q}")
    return p.connect("q", "m.q").connect("m.answer", "out")


def faults(name: str) -> str:
    with pytest.raises(PipelineError) as caught:
        pipeline(name).build()
    return str(caught.value)


@pytest.mark.parametrize("name", ["hf:org/small", "hf:org/large@main", f"hf:org/small@{COMMIT}"])
def test_a_model_of_the_hub_is_fetched_once(name, server):
    vocabulary = pipeline(name).build().nodes["m"].vocabulary
    assert vocabulary.id == name[3:].partition("@")[0]
    assert server.asked
    asked = len(server.asked)
    pipeline(name).build()
    assert len(server.asked) == asked, "the second build finds it in the cache"


def test_all_files_are_of_the_commit_that_the_first_one_was_of(server):
    pipeline("hf:org/large").build()
    assert [path.split("/")[4] for path, _ in server.asked] == ["main", COMMIT, COMMIT]


def test_the_chat_template_of_a_model_is_kept_beside_its_map(server):
    vocabulary = pipeline("hf:org/large").build().nodes["m"].vocabulary
    assert kept_config(vocabulary, DiskMapCache(map_cache_folder())) == {"chat_template": "T"}


def test_a_token_goes_to_the_hub_and_not_where_it_redirects(server, monkeypatch):
    assert "set HF_TOKEN to a token that may read it" in faults("hf:org/gated")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    pipeline("hf:org/gated").build()
    assert {sent for _, sent in server.asked[1:]} == {f"Bearer {TOKEN}"}
    assert [sent for _, sent in server.store.asked] == [None]


@pytest.mark.parametrize(
    ("end", "said"),
    [("\n", "set HF_TOKEN"), ("\r\n", "set HF_TOKEN"), ("é", "no header"), ("\na", "no header")],
)
def test_a_token_that_no_header_can_have_is_not_printed(server, monkeypatch, end, said):
    """One from a file ends in a line feed, and a client refuses others with a message that repeats them."""
    monkeypatch.setenv("HF_TOKEN", f"hf_another_token{end}")
    message = faults("hf:org/gated")
    assert said in message
    assert "hf_another_token" not in message


def test_a_broken_cache_of_the_hubs_library_is_passed_over(server, tmp_path):
    named = tmp_path / "cache" / "huggingface" / "hub" / "models--org--small" / "refs"
    named.mkdir(parents=True)
    (named / "main").write_bytes(b"\xff\xfe")
    assert pipeline("hf:org/small").build().nodes["m"].vocabulary.id == "org/small"


def test_a_token_is_neither_printed_nor_sent_in_the_clear(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_another_token")
    assert "hf_another_token" not in faults("hf:org/gated")
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    assert "is not sent without TLS" in faults("hf:org/gated")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf:org/none", "/org/none/resolve/main/tokenizer.json (HTTP 404)"),
        ("hf:org/small@v9", "/org/small/resolve/v9/tokenizer.json (HTTP 404)"),
    ],
)
def test_what_the_hub_does_not_have_is_named(name, message, server):
    assert message in faults(name)
    assert len(server.asked) == 1


def test_a_model_without_a_tokenizer_file_says_what_was_looked_for(server, monkeypatch):
    monkeypatch.setitem(Hub.files, "org/small", ())
    assert "at main: none of tokenizer.json, tekken.json, tokenizer.model" in faults("hf:org/small")


def test_a_file_above_the_limit_is_refused_by_its_announced_length(server):
    assert f"the limit is {hub.MAX_TOKENIZER_BYTES}" in faults("hf:org/huge")


def test_offline_nothing_is_asked(server, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE forbids to fetch it" in faults("hf:org/small")
    assert server.asked == []


def test_what_the_library_of_the_hub_has_on_the_disk_is_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    place = tmp_path / "cache" / "huggingface" / "hub" / "models--org--small"
    (place / "snapshots" / COMMIT).mkdir(parents=True)
    (place / "snapshots" / COMMIT / "tokenizer.json").write_bytes(tokenizer())
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    for name in ("hf:org/small", f"hf:org/small@{COMMIT}"):
        assert pipeline(name).build().nodes["m"].vocabulary.id == "org/small"
    assert server.asked == []


def test_no_hub_is_told_with_what_to_do(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://localhost:9")
    message = faults("hf:org/small")
    assert "the map cannot be fetched from hf:org/small: nothing listens at https://localhost:9;" in message
    assert "maps build hf:org/model -o map.json" in message
    built = CliRunner().invoke(main, ["maps", "build", "hf:org/small"])
    assert built.exit_code == exits.DATA_UNUSABLE
    assert "cannot fetch hf:org/small: nothing listens at https://localhost:9; check" in built.stderr


@pytest.mark.parametrize(
    "name", ["org", "org/model/more", "../x", "org/mo del", "org/model@a..b", "a/b@", "a/b@/etc"]
)
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(MapDiscoveryError, match="is no model of the hub"):
        HubModel.parse(name)


def test_a_commit_pins():
    assert HubModel.parse(f"a/b@{COMMIT}").is_pinned
    assert not HubModel.parse("a/b").is_pinned
    assert MapSpec.of("hf:a/b@c").hub == "a/b@c"


def test_the_command_builds_a_map_that_pipelines_find_by_its_id(server, tmp_path):
    run = CliRunner().invoke
    built = run(main, ["maps", "build", "hf:org/large", "--id", "my/map", "-o", str(tmp_path / "map.json")])
    assert built.exit_code == exits.DONE, built.output
    digest = built.stdout.split()[0]
    assert pipeline("my/map").build().nodes["m"].vocabulary.hash == digest
    assert pipeline(str(tmp_path / "map.json")).build().nodes["m"].vocabulary.hash == digest
    shown = run(main, ["maps", "show", "my/map", "--text", "he"])
    assert digest in shown.stdout
    other = run(main, ["maps", "build", "hf:org/large", "--id", "my/map", "--hash", "sha256:" + "0" * 64])
    assert other.exit_code == exits.DATA_UNUSABLE
    refused = run(main, ["maps", "build", "hf:org/gated"])
    assert refused.exit_code == exits.DATA_UNUSABLE
    assert "set HF_TOKEN" in refused.stderr


def test_check_says_what_each_map_was_made_from(server, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(tokenizer())
    file = tmp_path / "p.yaml"
    file.write_text(
        "pipeline: p\nengines: {A: {kind: scripted, script: x}}\nnodes:\n"
        "  a: {engine: A, map: ./tokenizer.json, dialect: plain, prompt: '{q}'}\n"
        "  b: {engine: A, map: 'hf:org/small', dialect: plain, prompt: '{q}'}\n"
        "  c: {engine: A, map: demo/bytes, dialect: plain, prompt: '{q}'}\n"
        "edges: [a.answer -> b.q, b.answer -> c.q, c.answer -> out, q -> a.q]\n"
    )
    done = CliRunner().invoke(main, ["check", str(file)])
    assert done.exit_code == exits.DONE, done.output
    lines = [line.partition(": sha256:")[0].strip() for line in done.stdout.splitlines() if " map " in line]
    assert lines == [
        f"map {id_of_file(tmp_path / 'tokenizer.json')} from ./tokenizer.json",
        "map org/small from hf:org/small",
    ]


def test_a_map_from_a_file_is_found_by_its_id_as_well(server, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(tokenizer())
    assert "no map 'own/map' is bundled or in the cache" in faults("own/map")
    built = CliRunner().invoke(main, ["maps", "build", str(tmp_path / "tokenizer.json"), "--id", "own/map"])
    assert built.stdout.split()[1] == "own/map"
    assert pipeline("own/map").build().nodes["m"].vocabulary.id == "own/map"
    (tmp_path / "My-Model").mkdir()
    (tmp_path / "My-Model" / "tokenizer.json").write_bytes(tokenizer())
    unnamed = CliRunner().invoke(main, ["maps", "build", str(tmp_path / "My-Model")])
    assert unnamed.stdout.split()[1] == "local/my-model"
    assert pipeline("local/my-model").build().nodes["m"].vocabulary.id == "local/my-model"
