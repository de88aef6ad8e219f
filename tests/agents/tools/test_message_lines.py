"""Messages of the Model Context Protocol that never end."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from codec_agents.exceptions import MessageTooLongError
from codec_agents.server import EmbeddedServer
from codec_agents.tools import mcp
from codec_agents.tools.mcp import mcp_tools
from codec_agents.tools.message_lines import DROPPED, MAX_MESSAGE, LineDecoder, LineReader, bounding
from tests.agents.tools.test_mcp import attempt
from tests.limits import calls_of

TEXT = "a\n\nöé\n" + "x" * 9 + "\n" + "y" * 10 + "\n" + "z" * 500 + "\nb\r\n" + "三" * 3 + "\nrest"
LINES = ["a\n", "\n", "öé\n", "x" * 9 + "\n", "y" * 10 + "\n", DROPPED, "b\r\n", "三" * 3 + "\n", "rest"]


def test_lines_are_the_same_however_they_are_split() -> None:
    draw, data = random.Random(3), TEXT.encode()
    for _ in range(100):
        decoder, found, place = LineDecoder(limit=10), "", 0
        while place < len(data):
            size = draw.choice([1, 2, 7, 40])
            found += decoder.decode(data[place : place + size])
            place += size
        assert found + decoder.decode(b"", True) == "".join(LINES)


def test_a_line_without_an_end_takes_no_memory_and_linear_time() -> None:
    def read(chunks: int) -> int:
        decoder = LineDecoder(limit=1000)
        return calls_of(lambda: [decoder.decode(b"x" * 64) for _ in range(chunks)])

    assert read(2000) < 2.5 * read(1000)
    decoder = LineDecoder(limit=1000)
    for _ in range(100):
        decoder.decode(b"x" * 64)
    assert decoder._parts == []


def test_bytes_that_are_no_text_are_an_error_as_the_library_asks() -> None:
    with pytest.raises(UnicodeDecodeError):
        LineDecoder().decode(b"\xff\n")
    assert LineDecoder("replace").decode(b"\xff\n") == "\ufffd\n"


def test_a_reader_of_lines_names_one_that_is_too_long() -> None:
    reader = LineReader(io.BytesIO(b"one\n" + b"x" * 10 + b"\n" + b"y" * 12), limit=10)
    assert [reader.readline(), reader.readline()] == ["one\n", "x" * 10 + "\n"]
    with pytest.raises(MessageTooLongError, match="more than 10 bytes"):
        reader.readline()
    assert LineReader(io.BytesIO(b"")).readline() == ""


PIPELINE = """
pipeline: echo
engines: {e: {kind: scripted, script: "model:say"}}
nodes:
  q: {kind: input}
  m: {kind: model, engine: e, map: demo/bytes, prompt: {user: "{q}"}}
  o: {kind: sink, text: true}
edges: [q -> m.q, m.answer -> o]
"""

ENDLESS = """
import sys
from codec_agents.tools import message_lines
message_lines.MAX_MESSAGE = 4096
message_lines.LineReader.__init__.__kwdefaults__["limit"] = 4096
from codec_agents.cli import main
sys.exit(main())
"""


@pytest.mark.slow
def test_a_client_that_never_ends_its_line_gets_a_typed_error(tmp_path: Path) -> None:
    pytest.importorskip("mcp", reason="the extra `mcp` is not installed")
    (tmp_path / "echo.yaml").write_text(PIPELINE)
    (tmp_path / "model.py").write_text("def say(prompt):\n    return prompt.user\n")
    command = [sys.executable, "-c", ENDLESS, "mcp", "echo.yaml"]
    done = subprocess.run(
        command, cwd=tmp_path, input=b"x" * 10_000, capture_output=True, timeout=60, check=False
    )
    said = done.stderr.decode()
    assert "more than 4096 bytes" in said, said
    assert "Traceback" not in said
    assert done.returncode not in (0, -9)


SERVER = """
import json, sys
info = {"name": "endless", "version": "1"}
server = {"protocolVersion": "2025-03-26", "capabilities": {"tools": {}}, "serverInfo": info}
tools = {"tools": [{"name": "clock", "inputSchema": {"type": "object"}}]}
answers = {"initialize": [server], "tools/list": [tools]}
answers["tools/call"] = [{"content": [{"type": "text", "text": text}]} for text in ("x" * 10_000, "noon")]
unknown = {"error": {"code": -32601, "message": "unknown"}}
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    found = [{"result": result} for result in answers.get(asked["method"], ())]
    for told in found or [unknown]:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **told}), flush=True)
"""


@pytest.mark.slow
@pytest.mark.asyncio
async def test_of_a_server_that_writes_too_long_a_line_the_next_one_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both are answers to the call, so the first one would be its result."""
    monkeypatch.setitem(LineDecoder.__init__.__kwdefaults__, "limit", 4096)  # type: ignore[arg-type]
    async with mcp_tools([sys.executable, "-c", SERVER]) as tools:
        found = await attempt(tools, "clock")
    assert (found.status, found.text) == ("ok", "noon")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("headers", "said"),
    [({}, "more than 10000 bytes"), ({"content-encoding": "gzip"}, "compressed by 'gzip'")],
)
async def test_an_answer_over_http_is_bounded(
    headers: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mcp", reason="the extra `mcp` is not installed")
    monkeypatch.setattr(mcp, "bounding", partial(bounding, 10_000))

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        kind = {"content-type": "application/json", **headers}
        head = [(name.encode(), value.encode()) for name, value in kind.items()]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
        await send({"type": "http.response.body"})

    async with EmbeddedServer(endless) as server:
        with pytest.raises(Exception, match=said):
            async with mcp_tools(f"{server.url}/mcp"):
                pass


@pytest.mark.asyncio
@pytest.mark.parametrize(("size", "status"), [(2**21, "ok"), (MAX_MESSAGE + 1, "tool_error")])
async def test_an_event_of_a_stream_is_as_long_as_a_message_may_be(size: int, status: str) -> None:
    pytest.importorskip("mcp", reason="the extra `mcp` is not installed")
    names: dict[str, Any] = {}
    exec(SERVER.partition("for line")[0], names)
    text = {"content": [{"type": "text", "text": "x" * size}]}
    answers = {**names["answers"], "tools/call": [text]}

    async def events(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", scope["method"] == "POST"
        while more:
            part = await receive()
            body, more = body + part["body"], part.get("more_body", False)
        asked = json.loads(body) if body else {}
        results = answers.get(asked.get("method"), [])
        told = {"result": results[0]} if results else names["unknown"]
        event = f"data: {json.dumps({'jsonrpc': '2.0', 'id': asked.get('id'), **told})}\n\n".encode()
        status, sent = (200, event) if "id" in asked else (202 if body else 405, b"")
        head = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": sent})

    async with EmbeddedServer(events) as server, mcp_tools(f"{server.url}/mcp") as tools:
        found = await attempt(tools, "clock")
    assert found.status == status
