"""What a user gets wrong: one message, no traceback, and what would do."""

# ruff: noqa: E501 - a table of mistakes is read by its columns

from __future__ import annotations

import contextlib
import importlib.util
import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from codec_agents.cli import exits, main
from codec_agents.cli.commands import durable

SOUND = """\
pipeline: sound
engines: {A: {kind: scripted, script: "hello there"}}
nodes: {m: {map: demo/bytes, prompt: "{x}"}}
edges: [q -> m, m -> out]
"""

DOWN = SOUND.replace('kind: scripted, script: "hello there"', 'kind: codec, url: "http://127.0.0.1:1"')
DOWN += "policy: {retry: {attempts: 1}}\n"

FILES = {
    "sound.yaml": SOUND,
    "down.yaml": DOWN,
    "keyless.yaml": DOWN.replace('url: "', 'api_key: "${NO_SUCH_KEY}", url: "'),
    "open.yaml": 'pipeline: p\nnodes:\n  m: {prompt: "hi}\n',
    "empty.yaml": "",
    "far_kind.yaml": SOUND.replace("scripted", "zz"),
    "kind.yaml": SOUND.replace("scripted", "scribbled"),
    "far.yaml": SOUND.replace(
        "nodes:", f"maps: {{far: {{url: 'http://127.0.0.1:1/m', hash: 'sha256:{'0' * 64}'}}}}\nnodes:"
    ).replace("demo/bytes", "far"),
    "toolless.yaml": SOUND.replace("prompt:", "tools: ['nowhere:tool'], prompt:"),
    "nameless.yaml": SOUND.replace("prompt:", "tools: ['beside_desk:toll'], prompt:"),
    "mcp.yaml": SOUND.replace("nodes:", "mcp: {far: {command: [python, far.py]}}\nnodes:").replace(
        "prompt:", "tools: ['mcp:far'], prompt:"
    ),
    "nofile.yaml": SOUND.replace("out]", "file]").replace("nodes: {", "nodes: {file: {file: no/where.txt}, "),
    "two.yaml": "pipeline: two\nedges: [a -> s, b -> t]\n",
    "program.py": 'p = {"a": [1, 2}\n',
    "beside_desk.py": "def tool() -> int:\n    '''Count.'''\n    return 1\n",
}

CASES: dict[str, tuple[str, int, tuple[str, ...]]] = {
    # command line, exit code, what is said
    "no command": ("runn sound.yaml", 2, ("there is no command 'runn'; did you mean 'run'?",)),
    "no file": ("check none.yaml", 2, ("File 'none.yaml' does not exist in the folder '",)),
    "a file of nearly that name": ("check sond.yaml", 2, ("; did you mean 'sound.yaml'?",)),
    "a folder": ("run .", 2, ("'.' is a folder; name a file in it, such as 'down.yaml'",)),
    "a folder of records": ("record show .", 2, ("'.' is a folder; name a file in it, such as 'run.jsonl'",)),
    "no folder of a file": ("check no/where.yaml", 2, ("does not exist in the folder '", "no'.")),
    "no folder of records": ("runs list nowhere", 2, ("Directory 'nowhere' does not exist in the folder '",)),
    "a program": ("check program.py", 3, ("program.py:1", "run it with `python`")),
    "no input": ("run sound.yaml", 2, ("add --input q=...",)),
    "no file of an input": ("run sound.yaml -i q=@none", 2, ("cannot read 'none'", "name an existing file")),
    "open quote": ("run open.yaml -i q=1", 3, ("open.yaml:4", "(from line 3)", "quote texts")),
    "empty": ("explain empty.yaml", 3, ("the file is empty", "begin with `pipeline: name`")),
    "not text": ("check noise.yaml", 3, ("not UTF-8", "save the file as UTF-8 text")),
    "unknown kind": ("graph kind.yaml", 3, ("kind.yaml:2: engines.A.kind", "did you mean 'scripted'?")),
    "no kind of that name": ("check far_kind.yaml", 3, ("values 'auto', 'codec', 'embedded', 'llamacpp', 'openai', 'sc",)),
    "no variable": ("run keyless.yaml -i q=1", 3, ("'NO_SUCH_KEY' is not set; set it",)),
    "no module": ("check toolless.yaml", 3, ("toolless.yaml:3", "put nowhere.py there, or add `imports:")),
    "no such tool": ("check nameless.yaml", 3, ("'beside_desk' has no 'toll'", "its names are tool")),
    "no network": ("check far.yaml", 3, ("cannot be fetched: nothing listens at http://127.0.0.1:1/m", "maps get")),
    "server down": ("run down.yaml -i q=1", 4, ("engine 'A'", "start the server, or correct the engine's `url`")),
    "no script of a server of tools": ("check mcp.yaml", 3, ("'far.py': no such script in", "put it there")),
    "no folder": ("run sound.yaml -i q=1 --record no/r.jsonl", 6, ("no/r.jsonl", "an existing folder")),
    "no folder of a trace": ("run sound.yaml -i q=1 --trace no/t.html", 2, ("no folder no; make it first",)),
    "no folder of a picture": ("graph sound.yaml -o no/p.svg", 6, ("cannot use no/p.svg", "an existing folder")),
    "no folder of a sink": ("run nofile.yaml -i q=1", 1, ("node 'file' failed", "no/where.txt")),
    "no record": ("record show sound.yaml", 6, ("sound.yaml is not a record of a run", "a run recorded")),
    "no record to trace": ("trace sound.yaml", 6, ("sound.yaml is not a record of a run",)),
    "another pipeline": ("record replay run.jsonl other.yaml", 6, ("node 'other'", "has no such turn")),
    "no picture of that kind": ("graph sound.yaml -o p.png", 2, ("by the ending of 'p.png'", ".svg, .mmd")),
    "picture of faults": ("graph toolless.yaml", 3, ("toolless.yaml:3", "put nowhere.py there")),
    "no trace of that kind": ("run sound.yaml -i q=1 --trace t.htm", 2, ("'t.htm'", ".html or .jsonl")),
    "not text of an input": ("run sound.yaml -i q=@noise.yaml", 2, ("byte 0 is not UTF-8", "convert it")),
    "not text on the line": ("run sound.yaml -i q=\udcff", 2, ("is not UTF-8 text", "@FILE")),
    "no such node": ("record export run.jsonl --node n", 2, ("no record has a node 'n'", "nodes 'm'")),
    "no map": ("maps show no/map", 2, ("is no bundled map (demo/bytes", "`maps get`), and no file in the folder '", "no'")),
    "no source of a map": ("maps build sond.yaml", 2, ("there is no 'sond.yaml' in the folder '", "; did you mean 'sound.yaml'?")),
    "no pause": ("resume sound.yaml run.jsnl", 2, ("File 'run.jsnl' does not exist in the folder '", "did you mean 'run.jsonl'?")),
    "no origin": ("maps get http://127.0.0.1:1 a/b", 6, ("nothing listens at http://127.0.0.1:1; start the server",)),
    "one text for two inputs": ("run two.yaml -i a=- -i b=-", 2, ("'a' and 'b' both read standard input", "@FILE")),
    "no pace": ("record replay run.jsonl sound.yaml --speed nan", 2, ("--speed", "'nan' is not a finite number")),
    "no interval": ("top sound.yaml -i q=1 --interval nan", 2, ("--interval", "'nan' is not a finite number")),
    "no time": ("runs list . --slower-than inf", 2, ("--slower-than", "'inf' is not a finite number")),
    "no rate": ("serve --script hi --ids-a-second nan", 2, ("--ids-a-second", "'nan' is not a finite number")),
    "a page and a document": ("trace run.jsonl --html t.html --json", 2, ("--json and --html exclude each other",)),
    "a map without a page": ("trace run.jsonl --map sound.yaml", 2, ("--map is an option of --html",)),
    "a node of a document": ("trace run.jsonl --json --node m", 2, ("--node chooses rows of the waterfall",)),
    "a page and a document of a run": ("runs show . run.jsonl --html t.html --json", 2, ("exclude each other",)),
    "a picture and a document": ("graph sound.yaml -o p.svg --json", 2, ("--json and --output exclude each other",)),
    "actors here": ("batch sound.yaml -i run.jsonl -o out --actors 2", 2, ("--actors needs --ray",)),
    "values without a record": ("gateway --engine http://127.0.0.1:1 --map demo/bytes --record-logprobs", 2, ("--record-logprobs needs --record",)),
    "others without a key": ("serve --script hi --host 0.0.0.0", 2, ("asks for no key: name the variable", "--api-key-env, or leave out --host")),
    "no script": ("serve --script nowhere:script", 3, ("put nowhere.py there",)),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "noise.yaml").write_bytes(b"\xfe\x00\xff")
    (tmp_path / "other.yaml").write_text(
        SOUND.replace("{m: {", "{other: {").replace("m,", "other,").replace("m ->", "other ->")
    )
    assert call("run sound.yaml -i q=1 --record run.jsonl").exit_code == 0
    return tmp_path


def call(line: str) -> Result:
    return CliRunner().invoke(main, line.split())


def test_serve_names_the_extra_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    absent = "codec_agents.server.hosting.serving.find_spec"
    monkeypatch.setattr(absent, lambda name: None if name == "uvicorn" else found(name))
    result = call("serve --script hello")
    assert result.exit_code == exits.USAGE
    assert 'pip install "codec-agents[server]"' in result.stderr
    assert "serving scripted" not in result.stderr


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_said_with_what_would_do(case: str) -> None:
    line, code, said = CASES[case]
    result = call(line)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.exit_code == code, result.output
    told = " ".join(result.output.split())
    for part in said:
        assert part in told
    assert "Traceback" not in told


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("run sound.yaml --bogus --json", exits.USAGE, "No such option '--bogus'"),
        ("run --json", exits.USAGE, "Missing argument 'FILE'"),
        ("run none.yaml --json", exits.USAGE, "does not exist in the folder"),
        ("run sound.yaml --json", exits.USAGE, "add --input q=..."),
        ("runn --json", exits.USAGE, "did you mean 'run'?"),
        ("run toolless.yaml -i q=1 --json", exits.FAULTS, "put nowhere.py there"),
        ("run down.yaml -i q=1 --json", exits.ENGINE_FAILED, "nothing listens at http://127.0.0.1:1"),
    ],
)
def test_errors_are_documents_with_json_those_of_usage_too(line: str, code: int, said: str) -> None:
    result = call(line)
    document = json.loads(result.stdout)
    assert (result.exit_code, document["exit_code"], result.stderr) == (code, code, "")
    assert said in document["error"]["message"]


def test_a_run_that_never_began_leaves_no_trace_of_an_earlier_one(folder: Path) -> None:
    recorded = (folder / "run.jsonl").read_bytes()
    assert call("run toolless.yaml -i q=1 --record run.jsonl --trace t.html").exit_code == exits.FAULTS
    assert not (folder / "t.html").exists()
    assert (folder / "run.jsonl").read_bytes() == recorded


def test_durable_serve_refuses_an_address_in_use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "_runs", lambda *_: contextlib.nullcontext())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = call(f"durable serve {folder} sound.yaml --port {taken.getsockname()[1]}")
    assert result.exit_code == exits.ADDRESS_IN_USE
    assert "give another --port" in result.stderr
