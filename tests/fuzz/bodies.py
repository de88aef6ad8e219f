"""Bodies of requests to a server: any bytes are refused with 400, or read."""

import contextlib
import json

from codec_agents.server.apis.messages import read_count
from codec_agents.server.apis.table import READERS
from codec_agents.server.bodies import DEFAULTS, read_completion, read_prompt
from codec_agents.server.http import HttpError
from codec_core.exceptions import FrameError
from codec_core.frames import CodecRequest, decode_request, encode_request

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": [1, null]}'}}
FUNCTION = {
    "name": "f",
    "description": "d",
    "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
}
CHAT = {
    "model": "m", "max_tokens": 5, "temperature": 0.5, "stream": True, "stop": ["a"], "tool_choice": "auto",
    "tools": [{"type": "function", "function": FUNCTION}],
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "u"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "r"},
    ],
}  # fmt: skip
RESPONSES = {
    "input": [
        {"role": "user", "content": "q"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "r"},
    ],
    "instructions": "i",
    "tools": [{"type": "function", **FUNCTION}], "include": ["reasoning.encrypted_content"],
}  # fmt: skip
MESSAGES = {
    "max_tokens": 5, "system": "s", "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "x"},
                                          {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "r"}]},
    ],
}  # fmt: skip
COMPLETION = {
    "prompt": [1, 2],
    "max_tokens": 5,
    "stream_format": "msgpack",
    "logit_bias": None,
    "stop": ["a"],
}
REQUEST = CodecRequest(
    prompt_ids=(1, 70_000), max_tokens=5, temperature=0.5, stop=("a",), stream_format="msgpack"
)


def _completion(body):
    read_prompt(bytes(read_completion(body, DEFAULTS).prompt))


def _conversation(path):
    def read(body):
        asked = READERS[path](body, DEFAULTS, {"session_id": "s"})
        assert asked.characters >= 0
        assert asked.messages is not None

    return read


def _codec(form):
    def read(body):
        with contextlib.suppress(FrameError):
            decode_request(body, form)

    return read


BODIES = (
    (_completion, json.dumps(COMPLETION).encode()),
    (_completion, b'{"prompt": "text", "echo": false}'),
    (_conversation("/v1/chat/completions"), json.dumps(CHAT).encode()),
    (_conversation("/v1/responses"), json.dumps(RESPONSES).encode()),
    (_conversation("/v1/messages"), json.dumps(MESSAGES).encode()),
    (lambda body: read_count(body, DEFAULTS), json.dumps(MESSAGES).encode()),
    (_codec("msgpack"), encode_request(REQUEST, "msgpack")),
    (_codec("protobuf"), encode_request(REQUEST, "protobuf")),
)


def seeds():
    """Yield a body of each kind, behind a byte that says which."""
    for number, (_, body) in enumerate(BODIES):
        yield bytes([number]) + body


def check(data):
    """Hold the reader of a kind to its promises."""
    if data:
        read, _ = BODIES[data[0] % len(BODIES)]
        with contextlib.suppress(HttpError):
            read(bytes(data[1:]))
