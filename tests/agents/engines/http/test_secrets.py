"""Servers that repeat every secret in every field of an answer: no output of any engine does.

Each secret (the key, a header's value, a text of the URL, a login) is sent back through the status line,
headers, bodies and events of every kind of answer; then errors, their attributes, causes and tracebacks with
local variables, streams, statistics and reprs are searched for it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import traceback
from typing import Any

import msgspec
import pytest

from codec_agents.engines.auto import AutoEngine
from codec_agents.engines.base import context_of
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.http.secrets import EngineSecrets
from codec_agents.engines.http.settings import HttpSettings
from codec_agents.engines.llamacpp import LlamaCppEngine
from codec_agents.engines.openai import OpenAIEngine
from codec_agents.engines.sglang import SglangEngine
from codec_agents.engines.told_map import told_map
from codec_agents.engines.vllm import VllmEngine
from codec_agents.exceptions import CodecAgentsError, EngineError

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

SECRETS = {
    "key": "sk-KEY-0123456789", "header": "hdr/SECRET+value 77", "url": "url$ecret-abcdef",
    "password": "p4ss-of-the-login",
}  # fmt: skip
ALL = " ".join(SECRETS.values())


def http(status: str = "200 OK", headers: str = "", body: bytes = b"", kind: str = "") -> bytes:
    type_line = f"Content-Type: {kind}\r\n" if kind else ""
    head = (
        f"HTTP/1.1 {status}\r\n{type_line}{headers}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def event(document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


CODEC, SSE, JSON = "application/x-msgpack", "text/event-stream", "application/json"


def answers(secret: str) -> dict[str, bytes]:
    """Return answers that hold a secret, each in another field."""
    header = secret.replace("\r", "").replace("\n", "")
    error = {"error": {"message": f"not {secret}", "type": secret, "code": 400}}
    required = {
        "error": "codec_version_required", "minimum_version": "9.0", "required_features": [secret],
        "client_version": "0.5", "docs_url": f"http://x/{secret}", "deployment_id": secret,
    }  # fmt: skip
    escaped = "".join(f"\\u{ord(char):04x}" for char in secret)
    return {
        "an error's message": http("401 No", "", json.dumps(error).encode(), JSON),
        "an error's text": http("403 No", "", f"Bearer {secret} is wrong".encode()),
        "an escaped error": http("400 No", "", f'{{"error":{{"message":"{escaped}"}}}}'.encode(), JSON),
        "an error that is cut": http("500 No", "", b"x" * 490 + secret.encode() * 3),
        "detail": http("422 No", "", json.dumps({"detail": [{"input": secret}]}).encode(), JSON),
        "a version": http("426 No", f"Codec-Min-Version: {header}\r\n", json.dumps(required).encode(), JSON),
        "a version's text": http("426 No", "", secret.encode()),
        "a map": http("412 No", f"Codec-Tokenizer-Map: {header}\r\n"),
        "the map of frames": http("200 OK", f"Codec-Tokenizer-Map: {header}\r\n", b"", CODEC),
        "a reason": http(f"500 {header}"),
        "a content type": http("200 OK", "", b"x", f"x/{header}"),
        "a content encoding": http("200 OK", f"Content-Encoding: {header}\r\n", b"x", CODEC),
        "a dictionary": http(
            "200 OK", f"Content-Encoding: zstd\r\nCodec-Zstd-Dict: {header}\r\n", b"x", CODEC
        ),
        "a redirect": http("302 Found", f"Location: http://x/{header}\r\n"),
        "a cached count": http("200 OK", f"x-cached-tokens: {header}\r\n", b"x", CODEC),
        "Retry-After": http("503 No", f"Retry-After: {header}\r\n"),
        "a line that is no header": f"HTTP/1.1 200 OK\r\n{header}\r\n\r\n".encode(),
        "no status line": f"{header} hello\r\n\r\n".encode(),
        "no chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + secret.encode() + b"\r\n",
        "a finish reason": http(
            body=msgspec.msgpack.encode({"ids": [5], "done": True, "finish_reason": secret}), kind=CODEC
        ),
        "an unknown field": http(body=msgspec.msgpack.encode({"ids": secret, "done": True}), kind=CODEC),
        "an event's error": http(body=event(error), kind=SSE),
        "an event's text": http(body=event(f"{secret}"), kind=SSE),
        "no JSON": http(body=b"data: {" + secret.encode() + b"\n\n", kind=SSE),
        "an event's reason": http(
            body=event({
                "choices": [{"index": 0, "token_ids": [5], "delta": {}, "finish_reason": secret}],
                "meta_info": {"completion_tokens": 1, "finish_reason": {"type": "abort", "message": secret}},
                "tokens": [5], "tokens_predicted": 1, "stop": True, "stop_type": secret, "output_ids": [5],
            }) + b"data: [DONE]\n\n", kind=SSE,
        ),
    }  # fmt: skip


ENGINES = {
    "codec": (CodecEngine, {}),
    "vllm completions": (VllmEngine, {"api": "completions", "handshake": False}),
    "vllm": (VllmEngine, {}),
    "sglang": (SglangEngine, {"api": "generate", "handshake": False}),
    "llamacpp": (LlamaCppEngine, {"handshake": False, "lost_ids": "error"}),
    "llamacpp whole": (LlamaCppEngine, {"handshake": False, "lost_ids": "no_stream"}),
    "openai": (OpenAIEngine, {}),
    "auto": (AutoEngine, {}),
}


def texts_of(error: BaseException) -> str:
    """Return all that can be read from an error, its causes and its traceback's variables included."""
    found, waiting = "", [error]
    while waiting:
        each = waiting.pop()
        found += f"{each} {each!r} {each.args!r} {vars(each)!r}"
        waiting += [cause for cause in (each.__cause__, each.__context__) if cause is not None]
    report = traceback.TracebackException.from_exception(error, capture_locals=False)
    return found + "".join(report.format()) + "".join(map(repr, frames_of(error)))


def frames_of(error: BaseException) -> list[dict[str, Any]]:
    """Return the local variables of the frames of an error that are the package's own."""
    found = []
    tb = error.__traceback__
    while tb is not None:
        if "/codec_agents/" in tb.tb_frame.f_code.co_filename:
            found.append({name: repr(value) for name, value in tb.tb_frame.f_locals.items()})
        tb = tb.tb_next
    return found


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
@pytest.mark.parametrize("name", ENGINES)
async def test_no_output_repeats_a_secret(words, ask, stock, caplog, anyio_backend_name, name, transport):
    if anyio_backend_name == "trio" and transport == "aiohttp":
        pytest.skip("aiohttp runs under asyncio alone")
    caplog.set_level(logging.DEBUG, "codec_agents")
    make, options = ENGINES[name]
    settings = HttpSettings(
        api_key=SECRETS["key"],
        headers={"X-Custom": SECRETS["header"]},
        secrets=(SECRETS["url"],),
        transport=transport,
    )
    for secret in (*SECRETS.values(), ALL):
        for field, raw in answers(secret).items():
            async with stock.RawServer(raw) as server:
                url = server.url.replace("http://", f"http://user:{SECRETS['password']}@")
                engine = make(f"{url}/{SECRETS['url'].replace('$', '%24')}", settings=settings, **options)
                seen = await outputs(engine, ask(words))
                await engine.aclose()
            leaked = [kind for kind, value in SECRETS.items() if value in seen]
            assert not leaked, f"{field}: {seen}"
    assert not any(secret in caplog.text for secret in SECRETS.values())


@pytest.mark.parametrize("name", ["codec", "auto", "llamacpp whole"])
@pytest.mark.parametrize("field", ["a line that is no header", "no status line", "an error that is cut"])
async def test_no_question_beside_a_stream_repeats_a_secret(words, ask, stock, name, field):
    make, options = ENGINES[name]
    settings = HttpSettings(api_key=SECRETS["key"], transport="httpx")
    async with stock.RawServer(answers(SECRETS["key"])[field]) as server:
        engine = make(server.url, settings=settings, **{**options, "handshake": True} if options else {})
        for question in (context_of(engine, ask(words)), told_map(engine, None), outputs(engine, ask(words))):
            try:
                seen = str(await question)
            except CodecAgentsError as error:
                seen = texts_of(error)
            assert SECRETS["key"] not in seen
        await engine.aclose()


async def outputs(engine: Any, request: Any) -> str:
    """Return all that an engine shows while it answers."""
    seen = repr(engine) + repr(getattr(engine, "pool", "")) + repr(vars(engine))
    with contextlib.suppress(AttributeError):
        seen += repr(engine.pool.settings) + repr(vars(engine.pool))
    try:
        async with engine.stream(request) as stream:
            async for frame in stream:
                seen += repr(frame)
            seen += repr(stream.stats)
    except CodecAgentsError as error:
        seen += texts_of(error)
    return seen


def test_a_sealed_error_repeats_no_secret_in_notes_and_lists() -> None:
    error = EngineError("e", "failed with sk-KEY-0123456789")
    error.add_note("asked with sk-KEY-0123456789")
    error.tried = ["http://x/sk-KEY-0123456789"]  # type: ignore[attr-defined]
    sealed = EngineSecrets(["sk-KEY-0123456789"]).seal(error)
    assert sealed.__notes__ == ["asked with [secret]"]
    assert SECRETS["key"] not in texts_of(sealed)


async def test_the_line_feed_behind_a_key_that_was_read_from_a_file_is_left_out() -> None:
    """Clients refuse such a header, and log it with the key as they do."""
    assert HttpSettings(api_key=" sk-1\r\n").key == "sk-1"
    headers = CodecEngine("http://127.0.0.1:1", settings=HttpSettings(api_key="sk-1\n")).pool._headers({})
    assert headers["Authorization"] == "Bearer sk-1"
