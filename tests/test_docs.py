"""What the pages show runs: every Python block, every pipeline, every command with its options."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import click
import pytest
from click.testing import CliRunner

import codec_agents.server
import codec_core
from codec_agents import Chat, Pipeline
from codec_agents.cli import main
from codec_agents.compiler.map_files import key_of_id
from codec_agents.dialects import registry
from codec_agents.exceptions import ApprovalRequiredError, PipelineError
from codec_agents.graph.edges import EdgeSpec
from codec_agents.graph.files.document import read_document
from codec_agents.graph.policy import Policy
from codec_agents.telemetry import spans
from codec_agents.testing import ScriptedEngine, scripted_server
from codec_agents.tools.tool import tool
from codec_agents.vocabularies import bundled_map, bundled_map_bytes
from codec_core.discovery import DiskMapCache
from tests.agents.dialects.templates.test_chat_template import CHATML
from tests.agents.recorded_runs import desk, paying
from tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"

PAGES = [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]

PROGRAMS = [DOCS / "start.md", *sorted((DOCS / "how-to").glob("*.md"))]
"""Pages whose Python blocks are whole programs; the text block behind one is what it prints."""

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(*languages: str, pages: Sequence[Path] = PAGES) -> list[Any]:
    """Return the code of all pages in some languages, each named by its page and line."""
    found = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            if match[1] in languages:
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(page.name, match[2], id=f"{page.name}:{line}"))
    return found


# --- text ---

PROSE = [
    *PAGES,
    *(REPOSITORY / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md")),
]

LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    for path, anchor in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: there is no {path}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {target.name} has no heading #{anchor}"


# What families write of ids are the ids of calls.
@pytest.mark.parametrize(
    "page", [page for page in PROSE if page.name != "families.md"], ids=lambda page: page.name
)
def test_ids_are_token_ids_at_first_mention(page: Path) -> None:
    """Other ids, such as those of calls, maps and runs, say whose they are."""
    text = re.sub(r"`[^`]*`", "", BLOCK.sub("", page.read_text(encoding="utf-8")))
    first = re.search(r"(?i)(?<!map )(?<!tool )(?<!call )\bids\b", text)
    if first:
        before = text[: first.end()].lower()
        assert "token id" in before, f"{page.name}: ...{text[max(0, first.start() - 60) : first.end()]!r}"


# --- Python ---


def fares(city: str = "Oslo", day: str = "Friday", origin: str = "", destination: str = "") -> dict[str, Any]:
    """Look up fares."""
    return {"eur": 96}


def climate(city: str) -> dict[str, Any]:
    """Look up the weather."""
    return {"low_c": -3}


def module(name: str, **content: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(content)
    for value in content.values():
        value.__module__ = name
    return made


async def paused() -> str:
    """Return a pause of a pipeline whose tool needs approval."""
    with pytest.raises(ApprovalRequiredError) as caught:
        await paying().invoke({"q": "go"})
    return caught.value.pause.to_json()


async def recorded() -> dict[str, Any]:
    """Write the records that the page on them is about, in the folder of the test."""
    await desk().invoke({"q": "go"}, record="run.jsonl")
    return {"pipeline": desk(), "inputs": {"q": "go"}}


async def given(page: str) -> dict[str, Any]:
    """Return what the blocks of a page take for granted."""
    tokenizer_map = bundled_map("demo/bytes")
    special = tokenizer_map.special_tokens or {}
    common = {"tokenizer_map": tokenizer_map, "tools": [tool(fares)], "fares": fares, "tool": tool}
    names = {"call": "<tool_call>", "end_call": "</tool_call>", "think": "<think>", "end_think": "</think>"}
    match page:
        case "regions.md":
            ids = {name: special[marker] for name, marker in names.items()}
            return {**common, **ids, "turn_end": special["<|im_end|>"], "batches": [[1, 2], [3]]}
        case "running.md" | "pipelines.md" | "batches.md" | "durable.md":
            engine = ScriptedEngine(lambda prompt: f"Take the train {prompt.user}")
            p = Pipeline("desk").input("question").sink("reader")
            p.model("planner", engine=engine, map="demo/bytes", prompt=Chat(user="{x}"))
            p.connect("question", "planner").connect("planner", "reader")
            questions = [{"question": "To Oslo?"}, {"question": "To Lisbon?"}]
            return {**common, "pipeline": p, "questions": questions}
        case "record.md":
            return {**common, **await recorded()}
        case "training.md":
            engine = ScriptedEngine(lambda prompt: "To Oslo.")
            p = Pipeline("desk").input("question").sink("reader")
            p.model("solver", engine=engine, map="demo/bytes", prompt=Chat(user="{x}"))
            return {**common, "pipeline": p.connect("question", "solver").connect("solver", "reader")}
        case "tools.md":
            kept: list[str] = []
            errors = {"ApprovalRequiredError": ApprovalRequiredError}
            pause = {
                "pipeline": paying(),
                "inputs": {"q": "go"},
                "store": kept.append,
                "stored": await paused(),
            }
            return {**common, **errors, **pause}
        case "dialects.md":
            return {**common, "tokenizer_config": {"chat_template": CHATML, "eos_token": "<|im_end|>"}}
    return common


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give blocks a folder with what they read, and the modules that they import."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "travel_tools", module("travel_tools", fares=fares, climate=climate))
    monkeypatch.setattr(codec_agents.server, "serve", lambda app: None)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    (tmp_path / "server.py").write_text((REPOSITORY / "tests" / "agents" / "mcp_server.py").read_text())
    (tmp_path / "maps").mkdir()
    for name, map_id in (("qwen2", "demo/bytes"), ("llama-3", "demo/words")):
        (tmp_path / "maps" / f"{name}.json").write_bytes(bundled_map_bytes(map_id))
        DiskMapCache(tmp_path / "cache").keep(key_of_id(name), bundled_map_bytes(map_id))
    monkeypatch.setenv("CODEC_CACHE", str(tmp_path / "cache"))
    yield tmp_path
    registry.dialects().pop("mine", None)


@pytest.mark.parametrize(
    ("page", "code"), blocks("python", pages=[page for page in PAGES if page not in PROGRAMS])
)
@pytest.mark.usefixtures("folder")
def test_python_runs(page: str, code: str) -> None:
    if "codec_agents.tools.mcp" in code:
        pytest.importorskip("mcp")
    if "chat_template" in code:
        pytest.importorskip("jinja2")
    if "from verl" in code:
        pytest.importorskip("verl")
    if "DurableRuns" in code:
        pytest.importorskip("dbos", reason="needs DBOS: make test-dbos")
    names = anyio.run(given, page)
    with served(code) as code:
        anyio.run(execute, page, code, names)


@contextmanager
def served(code: str) -> Iterator[str]:
    """Give the code of a block that runs something, with servers where it says that they are."""
    with ExitStack() as servers:
        for port, map_id, model in SERVERS if "invoke" in code else ():
            server = scripted_server(bundled_map(map_id), lambda _: "well", name=model)
            code = code.replace(f"http://127.0.0.1:{port}", servers.enter_context(server).url)
        yield code


SERVERS = ((8000, "demo/bytes", "qwen2.5-7b"), (8001, "demo/words", "llama-3-8b"))
"""What answers where the README says that servers are: port, map and model."""


async def execute(page: str, code: str, names: dict[str, Any]) -> None:
    """Run a block; it may await."""
    compiled = compile(code, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(compiled, names)
    if inspect.iscoroutine(result):
        await result


@pytest.mark.parametrize(
    "page",
    # Starting an MCP server takes seconds.
    [
        pytest.param(page, id=page.stem, marks=[pytest.mark.slow] * (page.stem == "tool-bot"))
        for page in PROGRAMS
    ],
)
def test_programs_print_what_is_shown(
    page: Path, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each runs by itself; one that begins with the name of a file is also kept under that name."""
    # A program may send its telemetry elsewhere; what comes after this test does not.
    monkeypatch.setattr("codec_agents.telemetry.spans._current", spans.current())
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    for (language, code), (next_language, shown) in zip(found, [*found[1:], ("", "")], strict=True):
        if language != "python":
            continue
        if "MCPServer" in code or "p.mcp(" in code:
            pytest.importorskip("mcp")
        if name := re.match(r"# (\w+\.py)\n", code):
            (folder / name[1]).write_text(code)
        with served(code) as runnable:
            anyio.run(execute, page.name, runnable, {"__name__": "program"})
        printed = capfd.readouterr().out
        if next_language == "text":
            assert printed.rstrip() == shown.rstrip()


def test_the_reference_has_every_public_name() -> None:
    reference = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    for root, elsewhere in ((codec_agents, codec_agents.exceptions), (codec_core, None)):
        for name in root.__all__:
            shown = re.search(rf"^::: [\w.]+\.{name}$|`{name}`", reference, re.MULTILINE)
            assert shown or hasattr(elsewhere, name) or name == "__version__", f"{root.__name__}.{name}"
    for identifier in re.findall(r"^::: (\S+)$", reference, re.MULTILINE):
        module, _, name = identifier.rpartition(".")
        assert hasattr(import_module(module), name), identifier


RUN_PAGES = {"README.md", "start.md", "record.md", "tracing.md"}
"""Pages whose `sh` blocks are run, above and below."""

MOST_NOT_RUN = 30
"""Blocks that need a server, a package index or a checkout: they are marked `console`, or `py`."""


def test_few_blocks_of_commands_are_not_run() -> None:
    run = {(page, "sh") for page in RUN_PAGES}
    kinds = [
        (page.name, kind) for page in PAGES for kind, _ in BLOCK.findall(page.read_text(encoding="utf-8"))
    ]
    assert {kind for _, kind in kinds} <= {
        "python",
        "py",
        "yaml",
        "sh",
        "console",
        "text",
        "json",
        "toml",
        "",
    }
    assert (
        sum(kind in ("sh", "console", "py") for page, kind in kinds if (page, kind) not in run)
        <= MOST_NOT_RUN
    )


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    text = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    named = set(re.findall(r": ([\w/-]+\.md)$", text, re.MULTILINE))
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert named - pages == {"index.md", "examples.md", "changelog.md", "contributing.md", "security.md"}


# --- pipelines ---


@pytest.mark.parametrize(("page", "text"), blocks("yaml"))
def test_pipelines_are_without_fault(page: str, text: str) -> None:
    if text.startswith("edges:"):
        for edge in read_document(text).data["edges"]:
            EdgeSpec.model_validate(edge)
    elif "pipeline:" not in text:  # a part of a file, which has the form of one
        Pipeline.from_yaml(f"pipeline: part\n{text}")
    else:
        assert Pipeline.from_yaml(text).check() == []


def test_python_and_yaml_make_the_same_value(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (REPOSITORY / "docs" / "pipelines.md").read_text(encoding="utf-8")
    (in_python, in_yaml), *_ = [
        (python, text)
        for (kind, python), (other, text) in pairwise(BLOCK.findall(page))
        if (kind, other) == ("python", "yaml")
    ]
    (folder / "travel.py").write_text("def fares() -> int:\n    '''Look up fares.'''\n    return 1\n")
    monkeypatch.syspath_prepend(str(folder))
    names: dict[str, Any] = {}
    exec("from travel import fares\n" + in_python, names)
    assert names["p"].spec == Pipeline.from_yaml(in_yaml).spec


def test_faults_read_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (REPOSITORY / "docs" / "pipelines.md").read_text(encoding="utf-8")
    (told,) = [text for _, text in BLOCK.findall(page) if text.startswith("travel.yaml:")]
    Path("travel.yaml").write_text("""\
pipeline: travel
engines: {A: {kind: scripted, script: hi}}
nodes:
  planner: {map: demo/bytes, prompt: "{question}"}
  writer:
    promt: hi
    kind: model
edges:
  - question -> planner
  - planner -> reader
  - question -> log
  - question -> notes
  - planner.anser -> writer.draft
""")
    with pytest.raises(PipelineError) as caught:
        Pipeline.from_yaml("travel.yaml")
    said = [str(fault) for fault in caught.value.errors]
    for line in told.splitlines():
        assert re.sub(r":\d+:", ":", line, count=1) in [re.sub(r":\d+:", ":", each, count=1) for each in said]


@cache
def errors() -> set[str]:
    """Return the names of all errors: ours, Python's own, and those of its library that pages name."""
    packages = (REPOSITORY / "codec_agents", REPOSITORY / "codec_core")
    texts = [path.read_text(encoding="utf-8") for package in packages for path in package.rglob("*.py")]
    own = re.findall(r"^class (\w+Error)\(", "\n".join(texts), re.MULTILINE)
    return {*own, *dir(builtins), "CancelledError", "JSONDecodeError"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_errors_that_a_page_names_are_there(page: Path) -> None:
    assert set(re.findall(r"`(\w+Error)`", page.read_text(encoding="utf-8"))) <= errors()


def test_the_table_of_policies_says_what_holds() -> None:
    page = (REPOSITORY / "docs" / "pipelines.md").read_text(encoding="utf-8")
    rows = [
        row.split("|")[1:3] for row in page.splitlines() if re.match(r"\| `(timeouts|retry|limits)\.", row)
    ]
    policy, count = Policy(), 0
    for fields, defaults in rows:
        names = re.findall(r"`([\w.]+)`", fields)
        part = getattr(policy, names[0].partition(".")[0])
        for name, default in zip(names, defaults.split(","), strict=True):
            value, said = getattr(part, name.rpartition(".")[2]), default.strip()
            if said != "all transient kinds":
                assert said == ("none" if value is None else f"{value:g}"), name
            count += 1
    assert count == sum(
        len(type(part).model_fields) for part in (policy.timeouts, policy.retry, policy.limits)
    )


def test_the_picture_of_the_readme_is_the_graph_of_the_demo() -> None:
    """`codec-agents graph examples/travel_desk.yaml -o docs/screenshots/desk.svg` makes it."""
    drawn = Pipeline.from_yaml(REPOSITORY / "examples" / "travel_desk.yaml").to_svg()
    assert (DOCS / "screenshots" / "desk.svg").read_text(encoding="utf-8") == drawn


# --- commands ---

COMMAND = re.compile(r"codec-agents ((?:maps|record|durable|runs) )?([a-z]+)([^`\n]*)")


def commands() -> Iterator[tuple[str, str, str]]:
    """Yield the commands of all pages: the page, the command's name, and what stands behind it."""
    for page in PAGES:
        for group, name, rest in COMMAND.findall(page.read_text(encoding="utf-8")):
            yield page.name, f"{group}{name}", rest


def options_of(path: str) -> set[str]:
    """Return the options that a command has."""
    command: click.Command = main
    with click.Context(main) as context:
        for name in path.split():
            assert isinstance(command, click.Group)
            found = command.get_command(context, name)
            assert found is not None, f"there is no command {path!r}"
            command = found
    return {"--help", *(option for each in command.params for option in (*each.opts, *each.secondary_opts))}


def test_commands_and_their_options_are_there() -> None:
    seen = 0
    for page, path, rest in commands():
        if path in ("is", "for"):
            continue
        for option in re.findall(r"(?<![\w-])--?[a-z][\w-]*", rest):
            assert option in options_of(path), f"{page}: codec-agents {path} has no {option}"
            seen += 1
    assert seen > 20


def globbed(pattern: str) -> list[str]:
    """Return the files that a shell would put in the place of a pattern."""
    return sorted(str(path) for path in Path().glob(pattern))


def test_commands_on_records_run_as_shown(folder: Path) -> None:
    """As a reader would try them, one after the other."""
    sound = """\
pipeline: sound
engines: {A: {kind: scripted, script: "hello there"}}
nodes: {writer: {map: demo/bytes, prompt: "{question}"}}
edges: [question -> writer, writer -> reader]
"""
    Path("pipeline.yaml").write_text(sound)
    Path("runs").mkdir()
    runner = CliRunner()
    for name in ("one.jsonl", "two.jsonl", "run.jsonl", "runs/a.jsonl", "runs/b.jsonl"):
        run = runner.invoke(main, ["run", "pipeline.yaml", "-i", "question=hi", "--record", name])
        assert run.exit_code == 0, run.output
    tried = 0
    for name in ("record.md", "tracing.md"):
        page = (REPOSITORY / "docs" / name).read_text(encoding="utf-8")
        for text in (text for kind, text in BLOCK.findall(page) if kind == "sh"):
            for line in text.splitlines():
                words = shlex.split(line.replace("FILE", "pipeline.yaml"), comments=True)[1:]
                words = [found for word in words for found in (globbed(word) if "*" in word else [word])]
                result = runner.invoke(main, words)
                assert result.exit_code == 0, f"{line}: {result.output}"
                tried += 1
    assert tried == 16
    assert (folder / "train.jsonl").read_text()
    assert (folder / "run.html").read_text()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("page", "count"), [("README.md", 4), ("docs/start.md", 7)])
def test_commands_run_as_a_newcomer_tries_them(
    page: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, as a newcomer would try them; the demo has tests of its own, since it keeps a human pace."""
    # Another test of this process may have loaded a module of the same name from another folder.
    monkeypatch.delitem(sys.modules, "starter_tools", raising=False)
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    lines = [line for kind, block in BLOCK.findall(text) if kind == "sh" for line in block.splitlines()]
    assert "codec-agents demo" in lines
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("codec-agents")]
    for words in commands:
        if words != ["demo"]:
            result = CliRunner().invoke(main, words)
            assert result.exit_code == 0, f"{words}: {result.output}"
    assert len(commands) == count
