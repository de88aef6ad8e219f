"""What models, tools, files and records wrote cannot steer the terminal, in any command."""

from __future__ import annotations

import ast
import json
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click import testing
from click.testing import CliRunner

from codec_agents.cli import COMMANDS, exits, main, terminal
from codec_agents.exceptions import ApprovalRequiredError
from codec_agents.pipeline import Pipeline

EVIL = "x\x1b]0;PWNED\x07\u202e\u2066\u200b\u2028\u00ad\ufeff\x9b\U000e0041y"
"""Sets a terminal's title, reverses the direction of text, and hides characters."""
SHOWN_EVIL = r"x\x1b]0;PWNED\x07\u202e\u2066\u200b\u2028\xad\ufeff\x9b\U000e0041y"

MODULE = f"""
import sys
from codec_agents import tool
from codec_agents.testing import Call, Say, Think

EVIL = {EVIL!r}

@tool(approval=True)
def pay(to: str) -> str:
    "Pay."
    return "paid " + EVIL

def model(prompt):
    if prompt.turn == 1:
        yield Think(EVIL)
        yield Call(EVIL, **{{EVIL: EVIL}})
        yield Call("pay", to=EVIL)
    else:
        yield Say("said " + EVIL)

def shout(value):
    if value.endswith("fail"):
        raise LookupError(EVIL)
    return value + EVIL
"""

DESK = {
    "pipeline": f"desk {EVIL}",
    "engines": {"e": {"kind": "scripted", "script": "evil:model"}},
    "nodes": {
        "q": {"kind": "input"},
        "f": {"kind": "function", "call": "evil:shout", "wants": "text"},
        "m": {
            "kind": "model",
            "engine": "e",
            "map": "demo/bytes",
            "tools": ["evil:pay"],
            "prompt": {"user": "{q}" + EVIL},
        },
        "o": {"kind": "sink", "text": True},
    },
    "edges": ["q -> f", "f -> m.q", "m.answer -> o"],
}

CASES: dict[str, list[str]] = {
    "run": ["run F -i q=go", "run F -i q=go -q", "run F -i q=go --json", "run F -i q=go --events",
            "run F -i q=fail", "run F -i q=fail --json", "run F -i E=1", "run F -i E=1 --json", "run F -i E",
            "run F -i q=go --pause W", "run F -i q=go --pause W --json", "run F -i q=@E", "run F"],
    "demo": ["demo E", "demo E -q", "demo E --json", "demo --copy P", "demo --copy F"],
    "init": ["init E", "init E"],
    "batch": ["batch E", "batch F E"],
    "latency": ["latency E", "latency F -i E"],
    "runs list": ["runs list E"],
    "runs show": ["runs show E E", "runs show . E"],
    "runs search": ["runs search E E", "runs search . E"],
    "durable start": ["durable start E E"],
    "durable work": ["durable work E E"],
    "durable list": ["durable list E"],
    "durable show": ["durable show E E"],
    "durable answer": ["durable answer E E"],
    "durable serve": ["durable serve E E"],
    "record annotate": ["record annotate E", "record annotate R E"],
    "resume": ["resume F paused.json", "resume F paused.json -d no -d yes", "resume F paused.json -d E",
               "resume F paused.json -d E --events", "resume F E -d yes"],
    "check": ["check F", "check faulty.yaml", "check faulty.yaml --json", "check E", "check E --json"],
    "doctor": ["doctor F", "doctor F --json", "doctor faulty.yaml"],
    "graph": ["graph F", "graph F --format svg", "graph F --json", "graph F -o P.svg", "graph faulty.yaml"],
    "explain": ["explain F", "explain F --json", "explain faulty.yaml"],
    "schema": ["schema", "schema -o P"],
    "serve": ["serve E", "serve --script nowhere:x --map E", "serve --script E --map E",
              "serve --bridge E --map demo/words"],
    "gateway": ["gateway --engine http://127.0.0.1:1 --map E", "gateway --engine E --map demo/words"],
    "mcp": ["mcp E", "mcp faulty.yaml", "mcp F E"],
    "maps build": ["maps build E --id a/b -o P", "maps build F --id E -o P"],
    "maps get": ["maps get E", "maps get http://127.0.0.1:1 E", "maps get http://127.0.0.1:1/E --hash E"],
    "maps publish": ["maps publish F --to P --origin E"],
    "maps hash": ["maps hash F", "maps hash F --json"],
    "maps verify": ["maps verify F", "maps verify F --hash E", "maps verify F --json"],
    "maps show": ["maps show E", "maps show demo/bytes --text E", "maps show demo/bytes --text E --json"],
    "record show": ["record show R", "record show R --json", "record show failed.jsonl", "record show F"],
    "record replay": ["record replay R F", "record replay R F --json", "record replay R F --record P"],
    "record recover": ["record recover R F", "record recover R F --json"],
    "record compare": ["record compare R R", "record compare R failed.jsonl", "record compare R F"],
    "record export": ["record export R", "record export R --node E", "record export R -o P"],
    "top": ["top F -i q=go", "top F -i q=go --json", "top F -i q=fail"],
    "trace": ["trace R", "trace R --json", "trace failed.jsonl R", "trace R --html P.html",
              "trace R --map F"],
}  # fmt: skip
"""Command lines of each command: E is evil text, F the pipeline, R its record, P and W are files to write."""


def leaves(group: click.Group, path: str = "") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaves(command, f"{path}{name} ")
        else:
            yield f"{path}{name}"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("evil")
    (folder / "evil.py").write_text(MODULE, encoding="utf-8")
    pipeline = folder / f"desk{EVIL.replace('/', '')}.yaml"
    pipeline.write_text(json.dumps(DESK), encoding="utf-8")
    faulty = {**DESK, "sinks": EVIL, "edges": [f"{EVIL} -> m.q", f"q -> {EVIL}"]}
    (folder / "faulty.yaml").write_text(json.dumps(faulty), encoding="utf-8")
    record = folder / f"run{EVIL}.jsonl"
    desk = Pipeline.from_yaml(pipeline)
    with pytest.raises(ApprovalRequiredError) as waiting:
        desk.invoke_sync({"q": "go"})
    (folder / "paused.json").write_text(waiting.value.pause.to_json(), encoding="utf-8")
    desk.invoke_sync({"q": "go"}, record=record, approve=lambda *_: True)
    with pytest.raises(Exception, match="PWNED"):
        desk.invoke_sync({"q": "fail"}, record=folder / "failed.jsonl")
    yield {"F": str(pipeline), "R": str(record), "P": str(folder / f"new{EVIL}"), "W": str(folder / "w.json"),
           "folder": str(folder)}  # fmt: skip
    sys.modules.pop("evil", None)


def hidden(text: str) -> list[str]:
    """Return the characters that a terminal obeys or does not show, by Unicode's categories."""
    bad = {"Cc", "Cf", "Zl", "Zp", "Cs"}
    return [ascii(each) for each in text if unicodedata.category(each) in bad and each not in "\n\t"]


def run(line: str, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(files["folder"])
    for name, value in {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)
    # At a terminal nothing is passed on as it is; without colours no escape of our own is among the output.
    monkeypatch.setattr(testing._NamedTextIOWrapper, "isatty", lambda _: True)  # type: ignore[attr-defined]
    names = {**files, "E": EVIL}
    arguments = [re.sub(r"\b[EFRPW]\b", lambda found: names[found.group()], part) for part in line.split()]
    done = CliRunner().invoke(main, arguments, input="no\nno\n")
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done.output


def test_every_command_has_a_case() -> None:
    assert set(leaves(main)) == CASES.keys()  # type: ignore[arg-type]


@pytest.mark.parametrize("line", [line for lines in CASES.values() for line in lines])
def test_no_command_prints_a_hidden_character(
    line: str, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hidden(run(line, files, monkeypatch)) == []


def test_the_case_can_fail(files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Evil text does reach the commands: with an `escape` that does nothing it is printed as it is."""
    assert SHOWN_EVIL in run("run F -i q=go -q", files, monkeypatch)
    monkeypatch.setattr("codec_agents.cli.terminal.console.escape", lambda text: text)
    assert hidden(run("run F -i q=go -q", files, monkeypatch)) != []


def test_all_output_passes_the_terminal() -> None:
    """No command prints by itself: whatever is printed passes `terminal`, which escapes it."""
    folder = Path(main.callback.__code__.co_filename).parent  # type: ignore[union-attr]
    names = ("echo", "secho", "prompt", "confirm", "print")
    printers = {*names, *(f"click.{name}" for name in names)}
    sources = [path for path in folder.rglob("*.py") if path.parent.name != "terminal"]
    calls = [
        (path.name, ast.unparse(node.func))
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]
    assert [call for call in calls if call[1] in printers] == []


def test_questions_cannot_be_forged() -> None:
    from codec_agents.cli.approval import _spelled

    spelled = _spelled("pay", {"to": "bob\n\u202eecila\u2066", "note": "\x1b[2K\r"})
    assert hidden(spelled) == []
    assert "\n" not in spelled
    assert terminal.escape_line("a\nb") == r"a\nb"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Grüße, 世界 ☕️ and 🇳🇴", "Grüße, 世界 ☕️ and 🇳🇴"),
        ("a\r\nb\rc", "a\nb\\x0dc"),
        ("\u202e", r"\u202e"),
        ("☕\ufe0f\ufe0e\ufe0f", "☕\ufe0f\\ufe0e\\ufe0f"),
        ("\U000e0061", r"\U000e0061"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_is_readable_stays_and_what_is_hidden_is_spelled(text: str, shown: str) -> None:
    assert terminal.escape(text) == shown
    assert terminal.escape(shown) == shown


def test_escaped_json_is_the_same_document(capsys: pytest.CaptureFixture[str]) -> None:
    document = {EVIL: [EVIL, "\ud800", "☕️"]}
    terminal.print_json(document)
    printed = capsys.readouterr().out
    assert hidden(printed) == []
    assert json.loads(printed) == document


def test_a_usage_error_ends_with_its_code_and_is_json_where_that_is_asked_for() -> None:
    done = CliRunner().invoke(main, ["check", "--json", "--nonsense"])
    assert done.exit_code == exits.USAGE
    assert json.loads(done.output)["exit_code"] == exits.USAGE
    assert "--nonsense" in json.loads(done.output)["error"]["message"]
    assert set(COMMANDS) >= {"run", "check"}
