"""Answers that no server should give: typed errors, nothing lost in silence, no time without end."""

from __future__ import annotations

import json
import sys
import tracemalloc
from fractions import Fraction
from traceback import walk_stack
from types import SimpleNamespace

import msgspec
import pytest
from anyio.lowlevel import checkpoint

from codec_agents.engines.auto import AutoEngine
from codec_agents.engines.base import WHOLE, StreamStats
from codec_agents.engines.codec import CodecEngine, frames_of
from codec_agents.engines.http.addresses import read_address
from codec_agents.engines.http.stream import IDS_A_TOKEN, MOST_MERGED, OVERRUN, merged
from codec_agents.engines.in_process import InProcessEngine
from codec_agents.engines.openai import MAX_CALLS, MAX_CALLS_OF_A_TURN, OpenAIEngine, TextEvents
from codec_agents.engines.pool import EnginePool
from codec_agents.engines.stock.engine import parser_of_events
from codec_agents.engines.stock.event_parser import (
    ANSWER_BYTES,
    BOM,
    MAX_EVENT_BYTES,
    SPARE_BYTES,
    EventParser,
    SseDecoder,
    event_limit,
)
from codec_agents.engines.stock.lost_ids import find_lost_ids
from codec_agents.engines.stock.openai_ids import CompletionEvents
from codec_agents.engines.vllm import VllmEngine
from codec_agents.exceptions import EngineError, EngineStreamError
from codec_agents.testing import ScriptedEngine
from codec_core.exceptions import FrameTooLargeError
from codec_core.frames import CodecFrame, SampledValues
from codec_core.frames.values import with_values

pytestmark = pytest.mark.anyio

NO_QUESTIONS = {"api": "completions", "handshake": False}

NESTED = b'{"tokens": [1], "more": ' + b"[" * 100_000
DIGITS = "1" * 5000
"""More than `int` reads."""


def events(*ids: int) -> bytes:
    said = [{"choices": [{"index": 0, "token_ids": [each]}]} for each in ids]
    said.append({"choices": [{"index": 0, "token_ids": [], "finish_reason": "stop"}]})
    return b"".join(f"data: {json.dumps(each)}\n\n".encode() for each in said)


async def read(engine, request) -> list[int]:
    try:
        async with engine.stream(request) as stream:
            return [token async for frame in stream for token in frame.ids]
    finally:
        await engine.aclose()


def ids_in(parser, pieces) -> list[int]:
    frames = [frame for piece in pieces for frame in parser.feed(piece)]
    return [token for frame in (*frames, *parser.close()) for token in frame.ids]


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize("before", [b"", BOM, b"\r\n", b": hi\n\n"])
@pytest.mark.parametrize("content_type", ["text/event-stream", "text/plain"])
def test_an_event_stream_may_begin_with_a_mark_and_be_cut_anywhere(words, ask, content_type, before, size):
    response = SimpleNamespace(headers={"content-type": content_type})
    parser = parser_of_events("e", response, lambda: CompletionEvents("e", ask(words), StreamStats()))
    body = before + events(5, 6)
    assert ids_in(parser, [body[at : at + size] for at in range(0, len(body), size)]) == [5, 6]


@pytest.mark.parametrize("body", [[], [b"dat"]])
@pytest.mark.parametrize("kind", [AutoEngine, CodecEngine, VllmEngine])
async def test_a_body_that_ends_before_it_shows_what_it_is_was_cut_off(words, ask, stock, kind, body):
    async with stock.StockServer({"/v1/completions": lambda _: (200, {}, body)}) as server:
        with pytest.raises(EngineStreamError, match="ended before") as cut:
            await read(kind(server.url), ask(words))
    assert cut.value.transient


async def test_nesting_without_end_is_no_agreement(words, ask, stock):
    async with stock.StockServer({"/tokenize": lambda _: (200, {}, [NESTED])}) as server:
        with pytest.raises(EngineStreamError, match="does not return token ids"):
            await read(VllmEngine(server.url, api="completions"), ask(words))


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("text", [False, True])
async def test_an_engine_that_ignores_the_limit_is_left(byte_level, ask, stock, text, more):
    number = 3 * (IDS_A_TOKEN if text else 1) + OVERRUN + more
    said = {"index": 0, "finish_reason": "stop"}
    said |= {"text": "x" * number} if text else {"token_ids": [5] * number}
    route = {"/v1/completions": lambda _: (200, stock.SSE, [stock.event({"choices": [said]}), stock.DONE])}
    async with stock.StockServer(route) as server:
        make = OpenAIEngine(server.url, api="completions") if text else VllmEngine(server.url, **NO_QUESTIONS)
        if not more:
            assert len(await read(make, ask(byte_level, max_tokens=3))) == number
            return
        with pytest.raises(EngineStreamError, match="ignores the limit") as unlimited:
            await read(make, ask(byte_level, max_tokens=3))
    assert not unlimited.value.transient
    assert unlimited.value.delivered == 0  # they came in one part, and none was handed on


class OneChunk:
    """A client whose every answer is one stream of events, in one chunk."""

    def __init__(self, body, content_type="text/event-stream"):
        self.body = body
        self.headers = {"content-type": content_type}

    def build_request(self, *_args, **_options):
        """Return nothing: all requests get the same answer."""

    async def send(self, *_args, **_options):
        async def chunks():
            yield self.body

        return SimpleNamespace(status_code=200, headers=self.headers, stream=chunks(), aclose=checkpoint)


@pytest.mark.parametrize("fault", ["not in the map", "ignores the limit"])
async def test_ids_before_a_fault_of_the_same_chunk_are_handed_on_and_counted(byte_level, ask, stock, fault):
    good = [5] * MOST_MERGED
    rest = [2**31] if fault == "not in the map" else [5] * (OVERRUN + 1)
    said = {"index": 0, "finish_reason": "stop", "token_ids": good + rest}
    client = OneChunk(stock.event({"choices": [said]}) + stock.DONE)
    engine = VllmEngine("http://127.0.0.1:1", **NO_QUESTIONS, client=client)
    async with engine.stream(ask(byte_level, max_tokens=MOST_MERGED)) as stream:
        assert list((await anext(stream)).ids) == good
        with pytest.raises(EngineStreamError, match=fault) as raised:
            await anext(stream)
    assert raised.value.delivered == len(good)


def test_good_events_before_one_that_is_too_large_are_handed_on():
    class Numbers(EventParser[dict]):
        def read(self, event):
            return tuple(event["ids"])

    parser = Numbers("e", StreamStats(), dict)
    parser._events = SseDecoder(limit=100)
    frames = parser.feed(b'data: {"ids":[1,2]}\n\ndata: ' + b"x" * 200)
    assert [frame.ids for frame in frames] == [(1, 2)]
    assert parser.received == 2
    with pytest.raises(FrameTooLargeError):
        parser.close()


@pytest.mark.parametrize("whole", [False, True])
async def test_an_event_is_bounded_by_what_was_asked_for(byte_level, ask, stock, whole):
    """Small values of JSON take forty times their bytes: the limit comes before they are decoded."""
    many = b'{"choices":[' + b"{}," * (2 * SPARE_BYTES // 3) + b"{}]}"
    body = many if whole else b"data: " + many + b"\n\n"
    client = OneChunk(body, "application/json" if whole else "text/event-stream")
    engine = VllmEngine("http://127.0.0.1:1", **NO_QUESTIONS, client=client)
    asked = msgspec.structs.replace(ask(byte_level, max_tokens=100), stream_interval=WHOLE if whole else 1)
    tracemalloc.start()
    try:
        with pytest.raises(EngineStreamError, match="too large"):
            await read(engine, asked)
        assert tracemalloc.get_traced_memory()[1] < 5 * len(body)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("whole", [False, True])
async def test_a_long_text_that_was_not_asked_for_is_passed_over(byte_level, ask, stock, whole):
    """vLLM with `--enable-return-routed-experts` sends kilobytes for each id, to every request."""
    choice = {
        "index": 0,
        "token_ids": [5],
        "finish_reason": "length",
        "routed_experts": "A" * 3 * SPARE_BYTES,
    }
    said = json.dumps({"choices": [choice]}).encode()
    body = said if whole else b"data: " + said + b"\n\ndata: [DONE]\n\n"
    client = OneChunk(body, "application/json" if whole else "text/event-stream")
    engine = VllmEngine("http://127.0.0.1:1", **NO_QUESTIONS, client=client)
    asked = msgspec.structs.replace(ask(byte_level, max_tokens=1), stream_interval=WHOLE if whole else 1)
    assert await read(engine, asked) == [5]


def test_what_is_asked_for_has_room(byte_level, ask):
    long = msgspec.structs.replace(ask(byte_level, max_tokens=100_000), prompt_ids=[5] * 100_000)
    assert 30 * 2**20 < event_limit(long) < MAX_EVENT_BYTES
    assert event_limit(ask(byte_level, max_tokens=10**9)) == MAX_EVENT_BYTES
    # Their values, and what a field of the user's own asks for, may be of any size.
    assert event_limit(ask(byte_level, max_tokens=9, logprobs=0)) == MAX_EVENT_BYTES
    assert event_limit(ask(byte_level, max_tokens=9, extra={"return_hidden_states": True})) == MAX_EVENT_BYTES


@pytest.mark.parametrize("field", ["content", "reasoning", "refusal"])
def test_text_beyond_what_was_asked_for_is_not_encoded(byte_level, ask, field, monkeypatch):
    parser = TextEvents("e", ask(byte_level, max_tokens=3), StreamStats())
    parser._marks = [5, 6]
    encoded = []

    class Encoder:
        def feed(self, text):
            encoded.append(text)
            return []

        def flush(self):
            return []

    monkeypatch.setattr("codec_agents.engines.openai.TextEncoder", lambda _: Encoder())
    parser._encoder = Encoder()
    most = (3 + OVERRUN) * ANSWER_BYTES

    def said(text):
        return f"data: {json.dumps({'choices': [{'delta': {field: text}}]})}\n\n".encode()

    parser.feed(said("x" * most))
    with pytest.raises(EngineStreamError, match="ignores the limit") as refused:
        parser.feed(said("x"))
    assert not refused.value.transient
    assert [len(text) for text in encoded] == [most]


async def test_a_lost_connection_does_not_tell_what_a_server_is(words, ask, stock):
    answer = [5, 6, 7, 8, words.special_tokens["<|im_end|>"]]
    routes = [lambda _: (200, stock.SSE, []), stock.vllm_completions(answer), stock.vllm_completions(answer)]
    async with stock.StockServer({"/v1/completions": lambda asked: routes.pop(0)(asked)}) as server:
        engine = AutoEngine(server.url, handshake=False)
        with pytest.raises(EngineStreamError) as lost:
            await read(engine, ask(words))
        assert lost.value.transient
        assert await read(engine, ask(words)) == answer


def test_a_long_text_with_lost_ids_takes_no_long_time(vocabulary):
    assert find_lost_ids(vocabulary, 12, [], "é" * 20_000) is None


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        ({"code": [1]}, True), ({"code": {}}, True), ({"code": 400}, False), ({"code": 503}, True),
        ({"code": 503, "retryable": False}, False), ({"code": 400, "retryable": "no"}, False),
        ("x", True), ([1], True),
    ],
)  # fmt: skip
def test_whatever_an_event_reports_is_a_typed_error(words, ask, error, transient):
    parser = CompletionEvents("e", ask(words), StreamStats())
    with pytest.raises(EngineStreamError, match="the engine reports") as reported:
        parser.feed(f"data: {json.dumps({'error': error})}\n\n".encode())
    assert reported.value.transient == transient


def test_an_error_of_any_depth_is_a_typed_error(words, ask):
    left = sys.getrecursionlimit() - sum(1 for _ in walk_stack(None))
    for depth in range(left - 20, left + 2):  # some of them can be parsed and not be printed
        parser = CompletionEvents("e", ask(words), StreamStats())
        with pytest.raises(EngineStreamError):
            parser.feed(b'data: {"error":' + b"[" * depth + b"1" + b"]" * depth + b"}\n\n")


def test_an_id_outside_the_map_tells_nothing_of_lost_ones(vocabulary):
    assert find_lost_ids(vocabulary, 1, [vocabulary.size], "é") is None


@pytest.mark.parametrize("cached", [DIGITS, "-1", "1 2", "٣"])
def test_a_count_in_a_header_that_is_none_is_not_reported(cached):
    stats = StreamStats()
    frames_of("e", "msgpack", SimpleNamespace(headers={"x-cached-tokens": cached}), {}, stats)
    assert stats.cached_tokens is None


def test_a_name_that_is_no_id_is_a_text(words, ask):
    parser = CompletionEvents("e", ask(words, logprobs=1), StreamStats())
    logprobs = {"tokens": ["x"], "token_logprobs": [-1.0], "top_logprobs": [{f"token_id:{DIGITS}": -1.0}]}
    said = {"choices": [{"index": 0, "token_ids": [5], "logprobs": logprobs}]}
    with pytest.raises(EngineStreamError, match="do not tell their ids"):
        parser.feed(f"data: {json.dumps(said)}\n\n".encode())


def test_values_are_kept_where_a_frame_without_ids_comes_first():
    values = SampledValues((-1.0,))
    valued = with_values(CodecFrame((5,), done=False), values)
    end = CodecFrame((), done=True, finish_reason="stop")
    [frame] = merged([CodecFrame((), done=False), valued, end])
    assert (frame.ids, frame.values, frame.done) == ((5,), values, True)


@pytest.mark.parametrize("delta", [{"tool_calls": [{"function": {"name": "f"}}]}, {"reasoning": "hm"}])
def test_what_has_no_ids_of_its_own_is_progress_and_a_keep_alive_is_none(byte_level, ask, delta):
    parser = TextEvents("e", ask(byte_level), StreamStats())
    parser._marks = [None, None]  # a map without marks for reasoning
    said = f"data: {json.dumps({'choices': [{'delta': delta}]})}\n\n".encode()
    assert [(parser.feed(data), parser.advanced) for data in (said, b": ping\n\n", said + b": ping\n\n")] == [
        ([], True), ([], False), ([], True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "calls",
    [
        [{"index": 0, "function": {"arguments": "x" * (MAX_CALLS + 1)}}],
        [{"index": number} for number in range(MAX_CALLS_OF_A_TURN + 1)],
    ],
)
def test_calls_without_end_are_an_error(byte_level, ask, calls):
    parser = TextEvents("e", ask(byte_level), StreamStats())
    with pytest.raises(EngineStreamError, match="without end") as endless:
        parser.feed(f"data: {json.dumps({'choices': [{'delta': {'tool_calls': calls}}]})}\n\n".encode())
    assert not endless.value.transient


@pytest.mark.parametrize("ids", [[-1], [2**40]])
async def test_a_pool_refuses_a_prompt_outside_the_map_as_its_replicas_do(words, ask, ids):
    import msgspec

    pool = EnginePool([ScriptedEngine(lambda _: "x")], name="pool")
    with pytest.raises(EngineError, match="not in the map"):
        async with pool.stream(msgspec.structs.replace(ask(words), prompt_ids=ids)):
            pass


@pytest.mark.parametrize(
    "answer",
    [
        None,
        SimpleNamespace(),
        SimpleNamespace(token_ids=None),
        SimpleNamespace(token_ids=["a"]),
        SimpleNamespace(token_ids=[1.5]),
        SimpleNamespace(token_ids=[1, 2.0]),
        SimpleNamespace(token_ids=[True]),
        SimpleNamespace(token_ids=[1], log_probs=[None]),
        SimpleNamespace(token_ids=[1], log_probs=[-1.0], extra_fields=[1]),
    ],
)
async def test_an_object_whose_answer_is_none_is_an_error(words, ask, answer):
    class Client:
        async def generate(self, request_id, *, prompt_ids, sampling_params):
            return answer

    with pytest.raises(EngineStreamError, match="cannot be read") as raised:
        async with InProcessEngine(Client()).stream(ask(words, logprobs=0)) as stream:
            [_ async for _ in stream]
    assert not raised.value.transient


async def test_the_arrays_of_an_object_become_numbers(words, ask):
    class Array(list):
        """As numpy's: its truth is ambiguous, and its numbers are no `int` and no `float`."""

        def __bool__(self):
            raise ValueError("the truth value of an array is ambiguous")

    class Integer:
        """As numpy's."""

        def __init__(self, number):
            self.number = number

        def __index__(self):
            return self.number

    ids, logprobs = Array(map(Integer, (1, 2))), Array(map(Fraction, (-1, -2)))

    class Client:
        async def generate(self, request_id, *, prompt_ids, sampling_params):
            return SimpleNamespace(token_ids=ids, log_probs=logprobs)

    async with InProcessEngine(Client()).stream(ask(words, logprobs=0)) as stream:
        first, _ = [frame async for frame in stream]
    assert (first.ids, first.values.logprobs) == ((1, 2), (-1.0, -2.0))
    assert {type(each) for each in (*first.ids, *first.values.logprobs)} == {int, float}


@pytest.mark.parametrize("rest", ["/a?mail=x@y", "?mail=x@y", "/a#x@y", ""])
def test_a_login_ends_before_the_path_and_the_query(rest):
    address = read_address(f"http://user:pa%40ss@host:81{rest}")
    assert (address.host, address.port, address.login) == ("host", 81, ("user", "pa@ss"))
    assert address.of("/x").startswith("http://host:81/")


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_an_answer_of_reasoning_without_marks_is_no_empty_answer(byte_level, ask, reason):
    """What was cut while its model reasoned has its finish reason to say so."""
    parser = TextEvents("e", ask(byte_level), StreamStats())
    parser._marks = [None, None]  # a map without marks for reasoning
    said = [{"delta": {"reasoning": "hm"}}, {"delta": {}, "finish_reason": reason}]
    pieces = [f"data: {json.dumps({'choices': [each]})}\n\n".encode() for each in said]
    if reason == "length":
        assert ids_in(parser, [*pieces, b"data: [DONE]\n\n"]) == []
        return
    with pytest.raises(EngineStreamError, match=r"the whole answer for reasoning.*`api: completions`"):
        ids_in(parser, [*pieces, b"data: [DONE]\n\n"])
