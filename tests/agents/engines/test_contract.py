"""The documented wire of each stock engine, byte by byte: what is sent, and what each kind of event means.

The answers here are the documentation's own examples, with ids of a test vocabulary. Faults of networks are
in `test_networks`, lost ids in `test_stock`, what is asked before the first request in `test_first_use`.
"""

import functools
import json
import threading

import anyio
import anyio.lowlevel
import msgspec
import pytest

from codec_agents.dialects import CallRegion, get_dialect
from codec_agents.engines.auto import AutoEngine
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.http.draining import BodyDrainer
from codec_agents.engines.llamacpp import LlamaCppEngine, LostIdsError
from codec_agents.engines.openai import OpenAIEngine
from codec_agents.engines.sglang import SglangEngine
from codec_agents.engines.vllm import VllmEngine
from codec_agents.exceptions import EngineStatusError, EngineStreamError
from codec_agents.tools.tool import make_tool
from codec_core.detokenizer import detokenize
from codec_core.tokenizer import pick_tokenizer
from tests.agents.engines import wires
from tests.agents.engines.wires import WIRES, FaultyServer

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

DONE = b"data: [DONE]\n\n"
PING = b": keep-alive\n\n"


def lines(*documents):
    """Write events as engines do, given as the text of their JSON."""
    return [b"data: " + document.encode() + b"\n\n" for document in documents]


async def read(engine, request):
    try:
        async with engine.stream(request) as stream:
            frames = [frame async for frame in stream]
    finally:
        await engine.aclose()
    return [token for frame in frames for token in frame.ids], frames[-1].finish_reason, stream.stats


class Answering:
    """A server that gives these pieces to whoever asks a path, and remembers the bodies."""

    def __init__(self, stock, path, pieces, status=200, content_type="text/event-stream; charset=utf-8"):
        headers = {"content-type": content_type}
        self._server = stock.StockServer({path: lambda _: (status, headers, pieces)})

    async def __aenter__(self):
        return await self._server.__aenter__()

    async def __aexit__(self, *error):
        await self._server.__aexit__(*error)


# --- vLLM, /v1/completions ---


def vllm(ids, *, prompt=None, finish="null", stop="null", more=""):
    first = f'"prompt_token_ids":{prompt},' if prompt is not None else ""
    return (
        '{"id":"cmpl-1","object":"text_completion","created":1762,"model":"m","choices":[{"index":0,"text":"Hi",'
        f'"logprobs":null,"finish_reason":{finish},"stop_reason":{stop},{first}"token_ids":{ids},'
        f'"weight_versions":null}}],"kv_transfer_params":null{more}}}'
    )


USAGE = '{{"id":"cmpl-1","object":"text_completion","created":1762,"model":"m","choices":[],"usage":{}}}'
COUNTS = (
    '{"prompt_tokens":7,"total_tokens":10,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}'
)

VLLM_ENDS = {
    "the end of the turn": ('"stop"', "null", "stop"),
    "a stop id": ('"stop"', "128008", "stop"),
    "a stop text": ('"stop"', '"END"', "stop_sequence"),
    "the limit": ('"length"', "null", "length"),
    "a repetition": ('"repetition"', '"repetition_detected"', "repetition"),
}


def vllm_engine(url):
    return VllmEngine(url, api="completions", handshake=False)


@pytest.mark.parametrize("name", VLLM_ENDS)
async def test_vllm_the_documented_stream(words, ask, stock, name):
    finish, stop, reason = VLLM_ENDS[name]
    request = ask(words)
    pieces = lines(vllm([21], prompt=list(request.prompt_ids)), vllm([]), vllm("null"), vllm([22]))
    pieces += [PING, *lines(vllm([23], finish=finish, stop=stop), USAGE.format(COUNTS)), DONE]
    async with Answering(stock, "/v1/completions", pieces) as server:
        ids, found, stats = await read(vllm_engine(server.url), request)
    assert (ids, found) == ([21, 22, 23], reason)
    assert (stats.prompt_tokens, stats.cached_tokens) == (7, 4)


async def test_vllm_the_front_end_in_rust(words, ask, stock):
    """The prompt comes alone, every chunk has ids if only none, and the end has a chunk of its own."""
    request = ask(words)
    pieces = lines(vllm([], prompt=list(request.prompt_ids)), vllm([21, 22]), vllm([], finish='"stop"'))
    async with Answering(stock, "/v1/completions", [*pieces, DONE]) as server:
        ids, reason, _ = await read(vllm_engine(server.url), request)
    assert (ids, reason) == ([21, 22], "stop")


async def test_vllm_counts_on_every_chunk(words, ask, stock):
    counted = [vllm([20 + n], more=f',"usage":{{"prompt_tokens":7,"completion_tokens":{n}}}') for n in (1, 2)]
    pieces = lines(*counted, vllm([], finish='"length"'))
    async with Answering(stock, "/v1/completions", [*pieces, DONE]) as server:
        assert (await read(vllm_engine(server.url), ask(words)))[:2] == ([21, 22], "length")


async def test_vllm_ids_behind_a_stop_text_are_trimmed_and_counted_all_the_same(words, ask, stock):
    pieces = [*lines(vllm([21], finish='"stop"', stop='"END"'), USAGE.format(COUNTS)), DONE]
    async with Answering(stock, "/v1/completions", pieces) as server:
        assert (await read(vllm_engine(server.url), ask(words, stop=("END",))))[:2] == ([21], "stop_sequence")
        with pytest.raises(EngineStreamError, match="counts 3 ids and sent 1") as lost:
            await read(vllm_engine(server.url), ask(words))
    assert not lost.value.transient, "which of them are missing is not known"


async def test_vllm_another_choice_is_nobodys(words, ask, stock):
    pieces = lines(vllm([21]), vllm([22]).replace('"index":0', '"index":1'))
    async with Answering(stock, "/v1/completions", pieces) as server:
        with pytest.raises(EngineStreamError, match="unrequested choice 1") as wrong:
            await read(vllm_engine(server.url), ask(words))
    assert (wrong.value.delivered, wrong.value.transient) == (1, False)


VLLM_ERRORS = [("BadRequestError", 400, False), ("InternalServerError", 500, True), ("x", "null", True)]


@pytest.mark.parametrize(("kind", "code", "transient"), VLLM_ERRORS)
async def test_vllm_an_error_after_the_start(words, ask, stock, kind, code, transient):
    error = f'{{"error":{{"message":"boom","type":"{kind}","param":null,"code":{code}}}}}'
    async with Answering(stock, "/v1/completions", [*lines(vllm([21]), error), DONE]) as server:
        with pytest.raises(EngineStreamError, match="boom") as told:
            await read(vllm_engine(server.url), ask(words))
    assert (told.value.delivered, told.value.transient) == (1, transient)


# --- vLLM, /inference/v1/generate ---


def generated(ids, finish="null", prompt=None):
    first = f',"prompt_token_ids":{prompt}' if prompt is not None else ""
    return (
        '{"request_id":"generate-tokens-1","usage":null,"output_mode":"tokens","choices":[{"index":0,'
        f'"finish_reason":{finish},"stop_reason":null,"token_ids":{ids},"routed_experts":null,'
        f'"sampling_mask":null,"weight_versions":null,"logprobs":null}}]{first}}}'
    )


BARE = '{{"request_id":"r","choices":[{{"index":0,"token_ids":{}{}}}]}}'


@pytest.mark.parametrize("build", ["new", "old or rust"])
async def test_vllm_generate(words, ask, stock, build):
    request = ask(words, temperature=0.5, top_k=3, stop_token_ids=(4,), model="m", extra={"min_p": 0.1})
    new = build == "new"
    first = generated([21], prompt=list(request.prompt_ids)) if new else BARE.format([21], "")
    last = generated([22, 23], '"stop"') if new else BARE.format([22, 23], ',"finish_reason":"stop"')
    usage = f'{{"request_id":"generate-tokens-1","choices":[],"usage":{COUNTS}}}'
    async with Answering(stock, "/inference/v1/generate", [*lines(first, last, usage), DONE]) as server:
        engine = VllmEngine(server.url, api="generate", handshake=False)
        ids, reason, stats = await read(engine, request)
    assert (ids, reason, stats.prompt_tokens) == ([21, 22, 23], "stop", 7)
    [(_, _, body)] = server.seen
    assert body == {
        "model": "m",
        "token_ids": request.prompt_ids,
        "sampling_params": {
            "detokenize": False, "max_tokens": 1024, "temperature": 0.5, "top_k": 3, "stop_token_ids": [4],
            "min_p": 0.1,
        },
        "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip


async def test_vllm_generate_takes_stop_texts_only_when_it_makes_text(words, ask, stock):
    """With `--tokens-only` it makes none, and says so."""
    refusal = b'{"error":{"message":"stop needs detokenize","type":"BadRequestError","code":400}}'
    async with Answering(stock, "/inference/v1/generate", [refusal], 400, "application/json") as server:
        engine = VllmEngine(server.url, api="generate", handshake=False)
        with pytest.raises(EngineStatusError, match="stop needs detokenize") as refused:
            await read(engine, ask(words, stop=("END",)))
    assert not refused.value.transient
    params = server.seen[0][2]["sampling_params"]
    assert (params["detokenize"], params["stop"]) == (True, ["END"])


# --- SGLang ---


def sglang(ids, total, finish="null", text='"text":"..",', more=""):
    return (
        f'{{{text}"output_ids":{ids},"meta_info":{{"id":"rid","finish_reason":{finish},"prompt_tokens":7,'
        f'"weight_version":"default","num_retractions":0,"completion_tokens":{total},"cached_tokens":0,'
        f'"e2e_latency":0.1}}{more}}}'
    )


SGLANG_ENDS = {
    "a stop id": ('{"type":"stop","matched":151645}', "stop"),
    "a stop text": ('{"type":"stop","matched":"END"}', "stop_sequence"),
    "the limit": ('{"type":"length","length":3}', "length"),
}


def sglang_engine(url):
    return SglangEngine(url, api="generate", handshake=False)


@pytest.mark.parametrize("name", SGLANG_ENDS)
@pytest.mark.parametrize("cumulative", [True, False])
@pytest.mark.parametrize("text", ['"text":"..",', ""], ids=["text", "skip_tokenizer_init"])
async def test_sglang_the_documented_stream(words, ask, stock, name, cumulative, text):
    finish, reason = SGLANG_ENDS[name]
    parts = [[21], [21, 22], [21, 22, 23]] if cumulative else [[21], [22], [23]]
    pieces = lines(
        sglang(parts[0], 1, text=text, more=',"index":0,"prompt_token_ids":[1,2]'),
        sglang(parts[1], 2, text=text),
        sglang(parts[2], 3, finish, text),
    )
    async with Answering(stock, "/generate", [*pieces, DONE]) as server:
        ids, found, stats = await read(sglang_engine(server.url), ask(words))
    assert (ids, found) == ([21, 22, 23], reason)
    assert (stats.prompt_tokens, stats.cached_tokens) == (7, 0)


SAMPLING_PARAMS = {
    "max_new_tokens", "temperature", "top_p", "top_k", "sampling_seed", "stop", "stop_token_ids",
}  # fmt: skip


async def test_sglang_is_sent_no_parameter_that_it_refuses(words, ask, stock):
    """Unknown keys inside `sampling_params` are a 400."""
    request = ask(words, temperature=1.0, top_p=0.9, top_k=3, seed=1, stop=("END",), stop_token_ids=(4,))
    async with Answering(stock, "/generate", [*lines(sglang([21], 1, '{"type":"length"}')), DONE]) as server:
        await read(sglang_engine(server.url), request)
    [(_, _, body)] = server.seen
    assert body["sampling_params"].keys() == SAMPLING_PARAMS
    assert body.keys() == {"input_ids", "sampling_params", "stream"}
    assert body["input_ids"] == request.prompt_ids


SGLANG_ABORTS = [(503, True), (400, False), (None, True)]


@pytest.mark.parametrize(("status", "transient"), SGLANG_ABORTS)
async def test_sglang_an_abort_keeps_what_came(words, ask, stock, status, transient):
    finish = json.dumps({"type": "abort", "message": "boom", "status_code": status, "err_type": "x"})
    async with Answering(
        stock, "/generate", [*lines(sglang([21], 1), sglang([], 1, finish)), DONE]
    ) as server:
        with pytest.raises(EngineStreamError, match="boom") as aborted:
            await read(sglang_engine(server.url), ask(words))
    assert (aborted.value.delivered, aborted.value.transient) == (1, transient)


async def test_sglang_another_generation_is_nobodys(words, ask, stock):
    async with Answering(stock, "/generate", lines(sglang([21], 1, more=',"index":1'))) as server:
        with pytest.raises(EngineStreamError, match="of another generation"):
            await read(sglang_engine(server.url), ask(words))


@pytest.mark.parametrize(
    ("finish", "matched", "reason"),
    [
        ('"stop"', "151645", "stop"), ('"stop"', '"END"', "stop_sequence"), ('"length"', "null", "length"),
        ('"content_filter"', "null", "content_filter"),
    ],
)  # fmt: skip
async def test_sglang_completions(words, ask, stock, finish, matched, reason):
    last = vllm([22], finish=finish).replace('"stop_reason":null', f'"matched_stop":{matched}')
    async with Answering(stock, "/v1/completions", [*lines(vllm([21]), last), DONE]) as server:
        engine = SglangEngine(server.url, api="completions", handshake=False)
        assert (await read(engine, ask(words)))[:2] == ([21, 22], reason)


# --- llama.cpp ---


def partial(tokens, count, content="Hi"):
    return (
        f'{{"index":0,"content":{json.dumps(content)},"tokens":{tokens},"stop":false,"id_slot":-1,'
        f'"tokens_predicted":{count},"tokens_evaluated":7}}'
    )


def final(count, stop_type="eos", truncated="false"):
    return (
        f'{{"index":0,"content":"","tokens":[],"id_slot":0,"stop":true,"model":"m","tokens_predicted":{count},'
        '"tokens_evaluated":7,"generation_settings":{"n_predict":9},"prompt":"..","has_new_line":false,'
        f'"truncated":{truncated},"stop_type":"{stop_type}","stopping_word":"","tokens_cached":9,'
        '"timings":{"cache_n":3,"prompt_n":4,"predicted_n":2}}'
    )


LLAMA_ENDS = {
    "the end of the turn": ("eos", "false", "stop"), "the limit": ("limit", "false", "length"),
    "a stop text": ("word", "false", "stop_sequence"), "nothing said": ("none", "false", "stop"),
    "the context": ("limit", "true", "length"), "the context, not said": ("none", "true", "length"),
}  # fmt: skip


def llamacpp_engine(url, **options):
    return LlamaCppEngine(url, handshake=False, **options)


@pytest.mark.parametrize("name", LLAMA_ENDS)
async def test_llamacpp_the_documented_stream(words, ask, stock, name):
    """The end of the turn is a last partial without text; there is no end mark; pings are comments."""
    stop_type, truncated, reason = LLAMA_ENDS[name]
    request = ask(words, temperature=0.5, top_k=3, top_p=0.9, seed=1, model="m", max_tokens=9)
    pieces = [*lines(partial([21], 1)), b":\n\n", *lines(partial([2], 2, ""), final(2, stop_type, truncated))]
    async with Answering(stock, "/completion", pieces, content_type="text/event-stream") as server:
        ids, found, stats = await read(llamacpp_engine(server.url), request)
    assert (ids, found) == ([21, 2], reason)
    assert (stats.prompt_tokens, stats.cached_tokens) == (7, 3)
    [(_, headers, body)] = server.seen
    assert body == {
        "model": "m", "prompt": request.prompt_ids, "n_predict": 9, "stream": True, "return_tokens": True,
        "cache_prompt": True, "temperature": 0.5, "top_k": 3, "top_p": 0.9, "seed": 1,
    }  # fmt: skip
    assert headers["connection"] == "close", "it promises to keep connections, and closes them"


async def test_llamacpp_an_error_in_mid_stream(words, ask, stock):
    error = '{"error":{"code":500,"message":"boom","type":"server_error"}}'
    async with Answering(stock, "/completion", lines(partial([21], 1), error)) as server:
        with pytest.raises(EngineStreamError, match="boom") as told:
            await read(llamacpp_engine(server.url, lost_ids="error"), ask(words))
    assert (told.value.delivered, told.value.transient) == (1, True)


async def test_llamacpp_what_is_held_for_a_stop_text_is_not_guessed(words, ask, stock):
    """The server keeps text back that may begin a stop text: what is missing has no place in this one."""
    encode = pick_tokenizer(words).encode_ordinary
    first, *rest = encode("one two three")
    pieces = lines(partial([first], 1, "one"), partial([rest[-1]], 1 + len(rest), " two three"), final(9))
    async with Answering(stock, "/completion", pieces) as server:
        with pytest.raises(LostIdsError) as lost:
            await read(llamacpp_engine(server.url, lost_ids="error"), ask(words, stop=("twos",)))
    assert (lost.value.delivered, lost.value.transient) == (1, True)


async def test_llamacpp_a_request_without_a_stream_has_the_headers_of_any_other(words, ask, stock):
    request = ask(words, headers={"traceparent": "00-1"}, extra={"headers": {"X-Tenant": "t"}})
    request = msgspec.structs.replace(request, session="s")
    streamed, whole = llamacpp_engine, functools.partial(llamacpp_engine, lost_ids="no_stream")
    sent = []
    for engine in (streamed, whole):
        async with stock.StockServer({"/completion": stock.llamacpp_completion(words, [21, 2])}) as server:
            await read(engine(server.url), request)
        names = ("traceparent", "x-tenant", "x-session-id")
        sent.append([server.seen[0][1].get(name) for name in names])
    assert sent == [["00-1", "t", "s"]] * 2


async def test_llamacpp_a_rest_outside_the_map_counts_what_came_before_it(words, ask, stock):
    def lossy(asked):
        if asked["stream"]:
            return 200, stock.SSE, lines(partial([21], 1), partial([22], 9))
        return stock.llamacpp_completion(words, [999_999])(asked)

    async with stock.StockServer({"/completion": lossy}) as server:
        with pytest.raises(EngineStreamError, match="not in the map") as failed:
            await read(llamacpp_engine(server.url), ask(words))
    assert (failed.value.delivered, failed.value.transient) == (1, False)


async def test_llamacpp_a_stop_id_of_ours_closes_the_request_at_once(words, ask):
    """It knows no stop ids: it would go on, and notices only that the client has gone."""
    answer = pick_tokenizer(words).encode_ordinary("one two three four five")
    noticed = threading.Event()

    def endless(exchange):
        wires.half_open(exchange)
        noticed.set()

    async with FaultyServer(WIRES["llamacpp"], words, answer, endless) as server:
        engine = llamacpp_engine(server.url)
        engine.pool.drainer = BodyDrainer(limit=20.0)
        with anyio.fail_after(5):
            async with engine.stream(ask(words, stop_token_ids=(answer[1],))) as stream:
                ids = [token async for frame in stream for token in frame.ids]
            while not noticed.is_set():
                await anyio.lowlevel.checkpoint()
        await engine.aclose()
    assert ids == answer[:2]


# --- Codec servers of others, and text APIs ---


@pytest.mark.parametrize("content_type", ["application/codec+msgpack", "application/x-codec-msgpack"])
@pytest.mark.parametrize("prefixed", [False, True])
async def test_codec_servers_of_others(words, ask, stock, content_type, prefixed):
    """Some name msgpack otherwise, and some put a length before each frame."""
    frames = wires.codec(words, [21, 22])
    pieces = [len(frame).to_bytes(4, "big") + frame for frame in frames] if prefixed else frames
    async with Answering(stock, "/v1/completions", pieces, content_type=content_type) as server:
        for engine in (CodecEngine(server.url), AutoEngine(server.url)):
            assert (await read(engine, ask(words)))[:2] == ([21, 22], "stop")


@pytest.mark.parametrize("body", [b"", b"upgrade!", b'{"error":"codec_version_required"}', b'{"error":"x"}'])
async def test_a_426_with_another_body_is_an_error_too(words, ask, stock, body):
    async with Answering(stock, "/v1/completions", [body], 426, "application/json") as server:
        with pytest.raises(EngineStatusError) as refused:
            await read(CodecEngine(server.url), ask(words))
    assert (refused.value.status, refused.value.transient) == (426, False)


@pytest.mark.parametrize("api", ["chat", "completions"])
async def test_text_apis_get_text_and_no_ids(words, ask, stock, api):
    """`transformers serve` and others refuse ids; all take a limit, and none takes stop ids."""
    path = "/v1/chat/completions" if api == "chat" else "/v1/completions"
    said = '{"choices":[{"index":0,"delta":{"content":"Hi"},"text":"Hi","finish_reason":null}]}'
    end = '{"choices":[{"index":0,"delta":{},"text":"","finish_reason":"length"}]}'
    usage = f'{{"choices":[],"usage":{COUNTS}}}'
    async with Answering(stock, path, [*lines(said, end, usage), DONE]) as server:
        engine = OpenAIEngine(f"{server.url}/v1", api=api)
        request = ask(words, "what now?", stop_token_ids=(4,), stop=("END",), max_tokens=5, model="m")
        ids, reason, stats = await read(engine, request)
    assert (ids, reason, stats.prompt_tokens) == (pick_tokenizer(words).encode_ordinary("Hi"), "length", 7)
    [(_, _, body)] = server.seen
    prompt = body.pop("messages" if api == "chat" else "prompt")
    assert prompt == [{"role": "user", "content": "what now?"}] if api == "chat" else isinstance(prompt, str)
    assert body == {
        "model": "m", "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 5,
        "stop": ["END"],
    }  # fmt: skip


# --- what chat APIs take out of the text ---


def chat_delta(finish="null", **delta):
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": json.loads(finish)}]})


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("opened", [False, True])
async def test_reasoning_arrives_between_its_marks(words, ask, chat, stock, field, opened):
    said = [
        chat_delta(**{field: "let me "}),
        chat_delta(**{field: "see"}),
        chat_delta(content="fine "),
        chat_delta('"stop"', content="then"),
    ]
    encode, marks = pick_tokenizer(words).encode_ordinary, words.special_tokens
    request = msgspec.structs.replace(
        ask(words), prompt_ids=chat(words, ("user", "hi"), ends_with="<think>" if opened else "")
    )
    async with Answering(stock, "/v1/chat/completions", [*lines(*said), DONE]) as server:
        ids, reason, _ = await read(OpenAIEngine(server.url), request)
    head = [] if opened else [marks["<think>"]]
    assert ids == [*head, *encode("let me see"), marks["</think>"], *encode("fine then")]
    assert reason == "stop"


@pytest.mark.parametrize("opened", [False, True])
async def test_a_prompt_opens_only_the_first_stretch_of_reasoning(words, ask, chat, stock, opened):
    said = [
        chat_delta(reasoning="let me "),
        chat_delta(content="fine"),
        chat_delta(reasoning="see"),
        chat_delta('"stop"', content="then"),
    ]
    encode, marks = pick_tokenizer(words).encode_ordinary, words.special_tokens
    request = msgspec.structs.replace(
        ask(words), prompt_ids=chat(words, ("user", "hi"), ends_with="<think>" if opened else "")
    )
    async with Answering(stock, "/v1/chat/completions", [*lines(*said), DONE]) as server:
        ids, _, _ = await read(OpenAIEngine(server.url), request)
    first = [*([] if opened else [marks["<think>"]]), *encode("let me "), marks["</think>"], *encode("fine")]
    assert ids == [*first, marks["<think>"], *encode("see"), marks["</think>"], *encode("then")]


async def test_a_refusal_is_the_answer(words, ask, stock):
    pieces = [*lines(chat_delta('"stop"', refusal="I will not")), DONE]
    async with Answering(stock, "/v1/chat/completions", pieces) as server:
        ids, _, _ = await read(OpenAIEngine(server.url), ask(words))
    assert ids == pick_tokenizer(words).encode_ordinary("I will not")


async def test_tool_calls_that_the_server_has_parsed_are_not_lost_in_silence(words, ask, stock):
    call = {"index": 0, "function": {"name": "weather", "arguments": "{}"}}
    async with Answering(
        stock, "/v1/chat/completions", [*lines(chat_delta('"tool_calls"', tool_calls=[call])), DONE]
    ) as server:
        with pytest.raises(EngineStreamError, match="parsed tool calls out of the answer") as lost:
            await read(OpenAIEngine(server.url), ask(words))
    assert not lost.value.transient


def weather(city: str) -> str:
    """Say the weather."""
    return city


async def test_calls_that_the_server_has_parsed_arrive_as_the_dialect_writes_them(words, ask, stock):
    bound = get_dialect("hermes").bind(words, [make_tool(weather)])
    parts = [
        chat_delta(content="let me see"),
        chat_delta(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": ""}}]),
        chat_delta(tool_calls=[{"index": 0, "function": {"arguments": '{"city": '}}]),
        chat_delta(tool_calls=[{"index": 0, "function": {"arguments": '"Oslo"}'}}]),
        chat_delta(
            tool_calls=[{"index": 1, "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}]
        ),
        chat_delta('"tool_calls"'),
    ]
    async with Answering(stock, "/v1/chat/completions", [*lines(*parts), DONE]) as server:
        asked = msgspec.structs.replace(ask(words), dialect=bound)
        ids, _, _ = await read(OpenAIEngine(server.url), asked)
    reader = bound.reader()
    regions = [event for event in [*reader.feed(ids), *reader.flush("stop")] if isinstance(event, CallRegion)]
    calls = [call for region in regions for call in bound.parse_calls(region)]
    assert [(call.name, call.arguments) for call in calls] == [
        ("weather", {"city": "Oslo"}), ("weather", {"city": "Rome"}),
    ]  # fmt: skip
    assert detokenize(words, ids).startswith("let me see")


@pytest.mark.parametrize(
    ("arguments", "dialect", "why"),
    [
        ("{", "hermes", "Expecting"),
        ("[1]", "hermes", "no objects"),
        ('{"x": 1, "x": 2}', "hermes", "'x' occurs twice"),
        ('{"x": NaN}', "hermes", "JSON has no NaN"),
        ('{"x": ' + "[" * 80 + "]" * 80 + "}", "hermes", "deeper than 64 levels"),
        ("{}", "plain", "no form in which calls"),
    ],
)
async def test_parsed_calls_that_cannot_be_written_are_an_error(words, ask, stock, arguments, dialect, why):
    call = {"index": 0, "function": {"name": "weather", "arguments": arguments}}
    pieces = [*lines(chat_delta('"tool_calls"', tool_calls=[call])), DONE]
    async with Answering(stock, "/v1/chat/completions", pieces) as server:
        asked = msgspec.structs.replace(ask(words), dialect=get_dialect(dialect).bind(words, []))
        with pytest.raises(EngineStreamError, match=why):
            await read(OpenAIEngine(server.url), asked)


# --- content types that proxies rewrite ---


@pytest.mark.parametrize(
    "content_type", ["application/octet-stream", "text/plain; charset=utf-8", "TEXT/EVENT-STREAM"]
)
async def test_an_event_stream_by_another_name(words, ask, stock, content_type):
    pieces = [*lines(vllm([21]), vllm([22], finish='"stop"')), DONE]
    async with Answering(stock, "/v1/completions", pieces, content_type=content_type) as server:
        assert (await read(vllm_engine(server.url), ask(words)))[:2] == ([21, 22], "stop")


@pytest.mark.parametrize(
    "content_type", ["application/octet-stream", "text/event-stream", "APPLICATION/X-MSGPACK"]
)
async def test_frames_by_another_name(words, ask, stock, content_type):
    frames = wires.codec(words, [21, 22])
    async with Answering(stock, "/v1/completions", frames, content_type=content_type) as server:
        assert (await read(CodecEngine(server.url), ask(words)))[:2] == ([21, 22], "stop")


async def test_what_is_neither_is_refused(words, ask, stock):
    async with Answering(stock, "/v1/completions", [b"hello"], content_type="text/plain") as server:
        for engine in (CodecEngine(server.url), vllm_engine(server.url)):
            with pytest.raises(EngineStreamError, match="answered text/plain"):
                await read(engine, ask(words))


@pytest.mark.parametrize("form", ["sha256:{}", "{}", '"sha256:{}"', "SHA256:{}", "name@sha256:{}"])
async def test_every_form_of_a_maps_hash(words, ask, stock, form):
    head = {"Codec-Tokenizer-Map": form.format(words.hash.removeprefix("sha256:"))}
    frames = wires.codec(words, [21, 22])
    route = {"/v1/completions": lambda _: (200, {**head, "content-type": "application/x-msgpack"}, frames)}
    async with stock.StockServer(route) as server:
        engine = CodecEngine(server.url)
        assert (await read(engine, ask(words)))[0] == [21, 22]
        await engine.aclose()


# --- llama.cpp: the last event is read before the stream ends at a stop id ---


async def test_llamacpp_counts_follow_a_stop_id(words, ask, stock):
    pieces = [*lines(partial([21], 1), partial([4], 2, "")), *lines(final(2))]
    async with Answering(stock, "/completion", pieces) as server:
        ids, reason, stats = await read(llamacpp_engine(server.url), ask(words, stop_token_ids=(4,)))
    assert (ids, reason) == ([21, 4], "stop")
    assert (stats.prompt_tokens, stats.cached_tokens) == (7, 3)


async def test_llamacpp_that_generates_further_is_left_at_once(words, ask, stock):
    pieces = lines(partial([21], 1), partial([4], 2, ""), partial([22], 3), final(3))
    async with Answering(stock, "/completion", pieces) as server:
        ids, reason, stats = await read(llamacpp_engine(server.url), ask(words, stop_token_ids=(4,)))
    assert (ids, reason, stats.cached_tokens) == ([21, 4], "stop", None)
