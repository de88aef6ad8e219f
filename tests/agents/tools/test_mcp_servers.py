"""MCP servers that a declaration names: allowed, asked at the build, started with each run, ended with it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

from codec_agents import Pipeline
from codec_agents.events import ToolFinished
from codec_agents.exceptions import ApprovalRequiredError, PipelineError, ToolServerError
from codec_agents.graph.explain import render_text
from codec_agents.graph.servers import McpSpec
from codec_agents.server import EmbeddedServer, PipelineBackend, create_app
from codec_agents.testing import Call, PromptView, Say
from codec_agents.tools.mcp_servers import OpenServers, ToolServer

SERVER = """
import json, os, sys
from pathlib import Path

def schema(*names):
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}}

READS = {"annotations": {"readOnlyHint": True}}
TOOLS = [
    {"name": "search", "description": "Find a fare.", "inputSchema": schema("city"), **READS},
    {"name": "pid", "description": "Say which process this is.", "inputSchema": schema()},
    {"name": "leave", "description": "End the process.", "inputSchema": schema()},
]
if Path("more").exists():
    TOOLS.append({"name": "cancel", "inputSchema": schema("booking")})

def call(name, arguments):
    if name == "search":
        return f"{arguments['city']}: {os.environ.get('FARES_KEY', 'no key')}"
    return str(os.getpid()) if name == "pid" else os._exit(3)

def answer(method, params):
    if method == "initialize":
        own = {"name": "fares", "version": "1"}
        version = params["protocolVersion"]
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": own}
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": call(params["name"], params.get("arguments"))}]}

with open("log", "a") as log:
    print(os.getpid(), file=log)
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    result = answer(asked["method"], asked.get("params"))
    said = {"result": result} if result else {"error": {"code": -32601, "message": "unknown"}}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **said}), flush=True)
"""
"""The protocol by hand, without the library: it starts in a twentieth of the time."""

DECLARATION = """
pipeline: desk
engines: {{model: {{kind: scripted, script: "script:answer"}}}}
mcp: {mcp}
{more}
nodes:
  clerk: {{map: demo/bytes, prompt: "{{question}}", tools: {tools}}}
edges: [question -> clerk.question, clerk.answer -> reader]
"""

SCRIPT = """
from codec_agents.testing import Call, Say

def answer(prompt):
    if prompt.turn == 1:
        for line in prompt.user.splitlines():
            name, _, city = line.partition(" ")
            yield Call(name, **({"city": city} if city else {}))
    else:
        yield Say("; ".join(prompt.results))
"""

OWN = "{fares: {command: [python, fares.py]}}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fares.py").write_text(SERVER, encoding="utf-8")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    return tmp_path


@pytest.fixture(autouse=True)
def _forget_script() -> Iterator[None]:
    yield
    sys.modules.pop("script", None)


def declare(folder: Path, mcp: str = OWN, tools: str = '["mcp:fares"]', more: str = "") -> Pipeline:
    return Pipeline.from_yaml(DECLARATION.format(mcp=mcp, tools=tools, more=more), directory=folder)


def started(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "log").read_text().splitlines()]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.asyncio
async def test_server_is_asked_at_the_build_and_started_with_each_run(folder: Path) -> None:
    pipeline = declare(folder)
    built = pipeline.build()
    assert len(started(folder)) == 1
    assert not is_alive(started(folder)[0])
    node = built.nodes["clerk"]
    assert node.dispatcher.tools.names == ("search", "pid", "leave")  # type: ignore[attr-defined]
    for number in (2, 3):
        result = await pipeline.invoke({"question": "search Oslo\npid"})
        assert len(started(folder)) == number
        assert result.text["reader"] == f"Oslo: no key; {started(folder)[-1]}"
        assert not is_alive(started(folder)[-1])


@pytest.mark.asyncio
async def test_opened_pipeline_keeps_its_server(folder: Path) -> None:
    pipeline = declare(folder)
    async with pipeline.opened():
        first = await pipeline.invoke({"question": "pid"})
        second = await pipeline.invoke({"question": "pid"})
        assert first.text == second.text
        (_, pid) = started(folder)
        assert is_alive(pid)
    assert not is_alive(pid)


@pytest.mark.asyncio
async def test_a_run_after_a_tool_that_ended_every_task_starts_a_server_of_its_own(folder: Path) -> None:
    pipeline = declare(folder)
    async with pipeline.opened():
        first = await pipeline.invoke({"question": "pid"})
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)
        second = await pipeline.invoke({"question": "pid"})
        assert second.text["reader"] not in (first.text["reader"], "")
        assert second.text["reader"] == str(started(folder)[-1])


@pytest.mark.asyncio
async def test_leaving_a_run_ends_its_server(folder: Path) -> None:
    pipeline = declare(folder)
    async with pipeline.run({"question": "pid"}) as run:
        async for event in run:
            if isinstance(event, ToolFinished):
                break
        pid = started(folder)[-1]
        assert is_alive(pid)
    assert not is_alive(pid)


@pytest.mark.asyncio
async def test_replay_starts_no_server(folder: Path) -> None:
    pipeline = declare(folder)
    await pipeline.invoke({"question": "search Oslo"}, record=folder / "run.jsonl")
    before = started(folder)
    result = await pipeline.replay(folder / "run.jsonl").execute()
    assert result.text["reader"] == "Oslo: no key"
    assert started(folder) == before


@pytest.mark.asyncio
async def test_server_that_dies_is_told_to_the_model(folder: Path) -> None:
    pipeline = declare(folder)
    async with pipeline.opened():
        async with pipeline.run({"question": "leave"}) as run:
            told = [event.attempt.status async for event in run if isinstance(event, ToolFinished)]
        assert told == ["tool_error"]
        with anyio.fail_after(10):
            again = await pipeline.invoke({"question": "search Oslo"})
        assert again.text["reader"] == "Oslo: no key", "a run after that starts its own"


@pytest.mark.asyncio
async def test_server_that_offers_other_tools_than_at_the_build_ends_the_run(folder: Path) -> None:
    pipeline = declare(folder)
    pipeline.build()
    (folder / "fares.py").write_text(SERVER.replace('schema("city")', 'schema("town")'), encoding="utf-8")
    with pytest.raises(ToolServerError, match="'search' takes other arguments") as caught:
        await pipeline.invoke({"question": "search Oslo"})
    assert caught.value.server == "fares"
    with pytest.raises(ToolServerError):
        async with pipeline.opened():
            raise AssertionError("the server is another one")


@pytest.mark.asyncio
async def test_a_tool_that_is_there_twice_since_the_build_ends_the_run(folder: Path) -> None:
    pipeline = declare(folder)
    pipeline.build()
    twice = SERVER.replace("if Path(", 'TOOLS.append({**TOOLS[0], "inputSchema": schema("town")})\nif Path(')
    (folder / "fares.py").write_text(twice, encoding="utf-8")
    with pytest.raises(ToolServerError, match="'search' takes other arguments, or is there several times"):
        await pipeline.invoke({"question": "search Oslo"})


def test_two_tools_of_one_name_in_a_node_are_a_fault_that_names_both(folder: Path) -> None:
    (folder / "local.py").write_text('def search(city: str) -> str:\n    "Find."\n    return city\n')
    tools = '["local:search", "mcp:fares"]'
    said = r"`tools\[0\]` \(local:search\) and `tools\[1\]` \(mcp:fares\) both have a tool named 'search'"
    with pytest.raises(PipelineError, match=said):
        declare(folder, tools=tools).build()
    prefixed = "{fares: {command: [python, fares.py], prefix: fares_}}"
    built = declare(folder, prefixed, tools).build()
    assert "fares_search" in built.nodes["clerk"].dispatcher.tools  # type: ignore[attr-defined]


SILENT = "import sys; sys.stdin.read()"


@pytest.mark.asyncio
async def test_server_that_does_not_answer_is_given_up(folder: Path) -> None:
    (folder / "fares.py").write_text(SILENT, encoding="utf-8")
    with pytest.raises(PipelineError, match=r"'python fares.py' did not answer in time"):
        declare(folder, "{fares: {command: [python, fares.py], start_timeout: 0.3}}").build()
    command = ["python", "fares.py"]
    server = ToolServer("fares", McpSpec(command=command, start_timeout=0.3), command, folder)
    failures: list[ToolServerError] = []
    with pytest.raises(ToolServerError, match="did not answer in time"):
        async with OpenServers([server], failures.append) as servers:
            await servers.all_there()
    assert len(failures) == 1


@pytest.mark.asyncio
async def test_tools_that_are_new_since_the_build_are_ignored(folder: Path) -> None:
    pipeline = declare(folder)
    pipeline.build()
    (folder / "more").touch()
    assert (await pipeline.invoke({"question": "search Oslo"})).text["reader"] == "Oslo: no key"


@pytest.mark.asyncio
async def test_secret_reaches_the_server_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_KEY", "s3cret")
    pipeline = declare(folder, '{fares: {command: [python, fares.py], env: {FARES_KEY: "${OUR_KEY}"}}}')
    assert (await pipeline.invoke({"question": "search Oslo"})).text["reader"] == "Oslo: s3cret"
    from codec_agents.plan.explanation import explain

    shown = render_text(explain(pipeline.build())) + pipeline.to_yaml()
    assert "s3cret" not in shown
    assert "fares: python fares.py" in shown
    assert "offers search, pid, leave" in shown


@pytest.mark.asyncio
async def test_lines_that_are_no_message_are_logged_once_without_their_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OUR_KEY", "s3cret")
    printing = "import os\nfor _ in range(9): print(os.environ['KEY'], chr(27), flush=True)\n"
    (folder / "fares.py").write_text(printing + SERVER, encoding="utf-8")
    spec = McpSpec(command=["python", "fares.py"], env={"KEY": "${OUR_KEY}"})
    await ToolServer("fares", spec, spec.command, folder).ask()
    [record] = caplog.records
    assert record.getMessage() == "Failed to parse JSONRPC message from server (ValidationError)"
    assert "s3cret" not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.asyncio
async def test_lines_that_are_no_text_do_not_end_the_connection(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As of a program that greets in the encoding of its machine."""
    greeting = "import sys\nsys.stdout.buffer.write(b'caf\\xe9 \\xff\\n')\nsys.stdout.buffer.flush()\n"
    (folder / "fares.py").write_text(greeting + SERVER, encoding="utf-8")
    spec = McpSpec(command=["python", "fares.py"])
    server = ToolServer("fares", spec, spec.command, folder)
    await server.ask()
    assert server.offered
    assert [record.getMessage() for record in caplog.records] == [
        "Failed to parse JSONRPC message from server (ValidationError)"
    ]


def test_missing_variable_is_a_fault_of_the_build(folder: Path) -> None:
    with pytest.raises(PipelineError, match="OUR_KEY"):
        declare(folder, '{fares: {command: [python, fares.py], env: {KEY: "${OUR_KEY}"}}}').build()


@pytest.mark.parametrize(
    "mcp",
    [
        "{fares: {command: [fares, --token=abc]}}",
        "{fares: {command: [fares, --api-key, abc]}}",
        "{fares: {command: [fares], env: {FARES_TOKEN: abc}}}",
        '{fares: {url: "http://127.0.0.1:1/mcp", headers: {Authorization: "Bearer abc"}}}',
        '{fares: {url: "http://user:abc@127.0.0.1:1/mcp"}}',
    ],
)
def test_literal_secrets_are_refused_and_not_shown(folder: Path, mcp: str) -> None:
    with pytest.raises(PipelineError) as caught:
        declare(folder, mcp)
    assert "secret" in str(caught.value) or "password" in str(caught.value)
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize(
    ("mcp", "found"),
    [
        ("{fares: {command: [python, -c, 'import os']}}", "'python': the program is not beside"),
        ("{fares: {command: [sh, -c, 'echo']}}", "'sh': the program is not beside"),
        ("{fares: {command: [python, ../fares.py]}}", "'python': the program is not beside"),
        ("{fares: {command: [python, -m, os]}}", "'os' is part of the standard library"),
        ("{fares: {command: [python, -m, far.server]}}", "add `imports: [far]` if"),
        ("{fares: {}}", "has a `command` or a `url`"),
        ("{other: {command: [python, fares.py]}}", "there is no MCP server 'fares'"),
        ("{fares: {command: [python, fares.py], only: [nothing]}}", "unknown tools ['nothing']"),
        ('{fares: {url: "http://127.0.0.1:9/mcp"}}', "nothing listens at http://127.0.0.1:9/mcp"),
    ],
)
def test_servers_that_may_not_or_cannot_be_had_are_faults(folder: Path, mcp: str, found: str) -> None:
    with pytest.raises(PipelineError) as caught:
        declare(folder, mcp).build()
    assert found in str(caught.value)
    assert not (folder / "log").exists() or "nothing" in found


def test_unknown_tool_of_a_server_names_those_there_are(folder: Path) -> None:
    with pytest.raises(PipelineError, match=r"no tool 'serch'.*search, pid, leave"):
        declare(folder, tools='["mcp:fares/serch"]').build()


def test_named_program_may_be_started(folder: Path) -> None:
    mcp = f"{{fares: {{command: ['{sys.executable}', fares.py], prefix: f_, only: [search]}}}}"
    built = declare(folder, mcp, more=f"programs: ['{sys.executable}']").build()
    assert built.nodes["clerk"].dispatcher.tools.names == ("f_search",)  # type: ignore[attr-defined]


@pytest.mark.asyncio
async def test_tools_of_a_server_can_ask_for_approval(folder: Path) -> None:
    pipeline = declare(folder, "{fares: {command: [python, fares.py], approval: true}}")
    with pytest.raises(ApprovalRequiredError) as waiting:
        await pipeline.invoke({"question": "search Oslo"})
    assert [call.name for call in waiting.value.pending] == ["search"]
    result = await pipeline.resume(waiting.value.pause.to_json(), [True]).execute()
    assert result.text["reader"] == "Oslo: no key"


def script(prompt: PromptView) -> Iterator[Any]:
    if prompt.turn == 1:
        yield Call("shout", text=prompt.user)
    else:
        yield Say(prompt.results[0])


@pytest.mark.asyncio
async def test_server_behind_a_url_gets_the_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.agents import mcp_server

    monkeypatch.setenv("WEB_TOKEN", "t0ken")
    seen: set[bytes] = set()
    inner = mcp_server.server.streamable_http_app()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.add(dict(scope["headers"]).get(b"authorization", b"none"))
        await inner(scope, receive, send)

    # The server in its own thread: the build, which is sync, asks it.
    with EmbeddedServer(app) as served:
        p = Pipeline("web").input("question").sink("reader")
        p.engine("model", kind="scripted", script=script)
        p.mcp("web", url=f"{served.url}/mcp", headers={"Authorization": "Bearer ${WEB_TOKEN}"})
        p.model("clerk", map="demo/bytes", prompt="{question}", tools=["mcp:web/shout"])
        p.connect("question", "clerk.question").connect("clerk.answer", "reader")
        result = await p.invoke({"question": "hello"})
    assert result.text["reader"] == "HELLO"
    assert seen == {b"Bearer t0ken"}


def test_declaration_in_python_reads_back_equal_and_is_allowed(folder: Path) -> None:
    p = Pipeline("desk", directory=folder).input("question").sink("reader")
    p.engine("model", kind="scripted", script="hello")
    p.mcp("fares", [sys.executable, folder / "fares.py"], prefix="f_")
    p.model("clerk", map="demo/bytes", prompt="{question}", tools=["mcp:fares"])
    p.connect("question", "clerk.question").connect("clerk.answer", "reader")
    read = Pipeline.from_yaml(p.to_yaml(), directory=folder)
    assert read.spec == p.spec
    assert read.build().digest == p.build().digest


@pytest.mark.asyncio
async def test_served_pipeline_starts_its_servers_once_and_ends_them_with_the_server(folder: Path) -> None:
    backend = PipelineBackend(declare(folder))
    async with (
        EmbeddedServer(create_app(backend)) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        assert len(started(folder)) == 2, "the build asks, the server starts"
        for number in range(3):
            answer = await client.post("/v1/completions", json={"prompt": f"search {number}"})
            assert answer.json()["choices"][0]["text"] == f"{number}: no key"
        (_, pid) = started(folder)
        assert is_alive(pid)
    assert not is_alive(pid)


@pytest.mark.parametrize("where", ["loop", "thread"])
@pytest.mark.asyncio
async def test_served_pipeline_whose_servers_are_not_there_is_not_served(folder: Path, where: str) -> None:
    backend = PipelineBackend(declare(folder))
    (folder / "fares.py").write_text("raise SystemExit(1)", encoding="utf-8")
    server = EmbeddedServer(create_app(backend))
    enter = server.__aenter__ if where == "loop" else partial(anyio.to_thread.run_sync, server.__enter__)
    with pytest.raises(ToolServerError, match="fares"):
        await enter()
