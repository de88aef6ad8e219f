"""Every stock engine's client against a server with its documented wire behaviour, faults included."""

import socket
import threading

import pytest

from codec_agents.engines.auto import AutoEngine
from codec_agents.engines.base import Timeouts, closes_late
from codec_agents.engines.llamacpp import LlamaCppEngine, LostIdsError
from codec_agents.engines.openai import OpenAIEngine
from codec_agents.engines.sglang import SglangEngine
from codec_agents.engines.vllm import VllmEngine
from codec_agents.exceptions import (
    EngineError,
    EngineStatusError,
    EngineStreamError,
    EngineTimeoutError,
    MapMismatchError,
)
from codec_core.detokenizer import detokenize
from codec_core.tokenizer import pick_tokenizer

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

TEXT = "Take the train at 9:30, it is 17 degrees."


async def read(engine, request):
    try:
        async with engine.stream(request) as stream:
            return [frame async for frame in stream], stream.stats
    finally:
        await engine.aclose()


def ids_of(frames):
    return [token for frame in frames for token in frame.ids]


@pytest.fixture
def answer(words):
    return [*pick_tokenizer(words).encode_ordinary(TEXT), words.special_tokens["<|im_end|>"]]


@pytest.fixture
def tokenize(words, stock):
    return stock.tokenize_route(pick_tokenizer(words))


def engine_server(stock, **routes):
    named = {
        "completions": "/v1/completions",
        "inference": "/inference/v1/generate",
        "generate": "/generate",
        "completion": "/completion",
        "tokenize": "/tokenize",
        "chat": "/v1/chat/completions",
        "server_info": "/server_info",
        "props": "/props",
    }
    return stock.StockServer({named[name]: route for name, route in routes.items()})


# --- what every engine does ---


def kinds(stock, words, answer):
    """Each engine with a server of its kind."""
    return {
        "vllm completions": (VllmEngine, {"completions": stock.vllm_completions(answer)}),
        "vllm generate": (VllmEngine, {"inference": stock.vllm_generate(answer)}),
        "sglang cumulative": (SglangEngine, {"generate": stock.sglang_generate(answer)}),
        "sglang incremental": (SglangEngine, {"generate": stock.sglang_generate(answer, cumulative=False)}),
        "sglang completions": (SglangEngine, {"completions": stock.vllm_completions(answer)}),
        "llamacpp": (LlamaCppEngine, {"completion": stock.llamacpp_completion(words, answer)}),
        "auto vllm": (AutoEngine, {"completions": stock.vllm_completions(answer)}),
    }


KINDS = (
    "vllm completions", "vllm generate", "sglang cumulative", "sglang incremental", "llamacpp", "auto vllm",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
async def test_the_ids_are_the_engines_own(words, ask, stock, answer, tokenize, kind):
    engine_class, routes = kinds(stock, words, answer)[kind]
    text_field = stock.tokenize_route(pick_tokenizer(words), "content") if kind == "llamacpp" else tokenize
    async with engine_server(stock, tokenize=text_field, **routes) as server:
        frames, stats = await read(engine_class(server.url), ask(words, max_tokens=99))
    assert ids_of(frames) == answer
    assert [frame.done for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert frames[-1].finish_reason == "stop"
    assert stats.ids == len(answer)
    assert stats.prompt_tokens is not None
    if kind != "vllm generate":
        assert stats.cached_tokens is not None
    assert stats.engine_seconds == (0.0125 if kind == "llamacpp" else None)


@pytest.mark.parametrize("kind", KINDS)
async def test_another_tokenizer_is_refused_before_any_generation(
    words, byte_level, ask, stock, answer, kind
):
    engine_class, routes = kinds(stock, words, answer)[kind]
    field = "content" if kind == "llamacpp" else "prompt"
    other = stock.tokenize_route(pick_tokenizer(byte_level), field)
    async with engine_server(stock, tokenize=other, **routes) as server:
        with pytest.raises(MapMismatchError, match="of its own tokenizer"):
            await read(engine_class(server.url), ask(words))
    if kind != "auto vllm":
        assert server.paths() == ["/tokenize"]


@pytest.mark.parametrize("kind", KINDS)
async def test_streams_that_are_cut_off_are_told_from_finished_ones(words, ask, stock, answer, kind):
    engine_class, routes = kinds(stock, words, answer)[kind]

    def cut(route):
        def answered(asked):
            status, headers, pieces = route(asked)
            return status, headers, list(pieces)[:1]

        return answered

    async with engine_server(stock, **{name: cut(route) for name, route in routes.items()}) as server:
        options = {} if kind == "auto vllm" else {"handshake": False}
        with pytest.raises(EngineStreamError) as broken:
            await read(engine_class(server.url, **options), ask(words))
    assert broken.value.transient
    assert broken.value.delivered > 0 or kind == "auto vllm"


@pytest.mark.parametrize("engine_class", [VllmEngine, SglangEngine, LlamaCppEngine])
async def test_refusals_keep_status_and_message(words, ask, stock, engine_class):
    routes = dict.fromkeys(("completions", "inference", "generate", "completion"), stock.refusing(503))
    async with engine_server(stock, **routes) as server:
        with pytest.raises(EngineStatusError, match="answered 503: no") as refused:
            await read(engine_class(server.url, handshake=False), ask(words))
    assert refused.value.transient


# --- vLLM ---


@pytest.mark.parametrize("status", [403, 404])
async def test_vllm_generate_is_probed_once_and_remembered(words, ask, stock, answer, status):
    routes = {"inference": stock.refusing(status), "completions": stock.vllm_completions(answer)}
    async with engine_server(stock, **routes) as server:
        engine = VllmEngine(server.url, handshake=False)
        for _ in range(2):
            frames, _ = await read(engine, ask(words))
            assert ids_of(frames) == answer
    assert server.paths() == ["/inference/v1/generate", "/v1/completions", "/v1/completions"]


async def test_an_unreadable_tokenize_is_no_agreement(words, ask, stock, answer):
    routes = {"completions": stock.vllm_completions(answer), "tokenize": lambda _: (200, {}, [b"<html>"])}
    async with engine_server(stock, **routes) as server:
        with pytest.raises(EngineStreamError, match="does not return token ids"):
            await read(VllmEngine(server.url), ask(words))
    assert server.paths() == ["/tokenize"]
    assert server.seen[0][1]["accept-encoding"] == "identity"


async def test_vllm_is_always_told_a_limit_and_given_ids(words, ask, stock, answer):
    async with engine_server(stock, completions=stock.vllm_completions(answer)) as server:
        request = ask(
            words, "a private question", stop=("END",), stop_token_ids=(4,), top_k=3, seed=1, model="m"
        )
        await read(VllmEngine(server.url, api="completions", handshake=False), request)
    [(_, headers, body)] = server.seen
    assert body["prompt"] == request.prompt_ids
    assert body["max_tokens"] == 1024
    assert body["return_token_ids"] is True
    assert (body["stop"], body["stop_token_ids"], body["top_k"], body["seed"], body["model"]) == (
        ["END"], [4], 3, 1, "m",
    )  # fmt: skip
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("finish", "stop", "reason"),
    [
        ("stop", None, "stop"),
        ("stop", "END", "stop_sequence"),
        ("length", None, "length"),
    ],
)
async def test_vllm_reasons(words, ask, stock, answer, finish, stop, reason):
    route = stock.vllm_completions(answer, finish=finish, stop=stop)
    async with engine_server(stock, completions=route) as server:
        frames, _ = await read(VllmEngine(server.url, api="completions", handshake=False), ask(words))
    assert frames[-1].finish_reason == reason


def vllm_faults(stock, answer):
    good = stock.event(stock.vllm_event(answer[:2]))
    ended = stock.event(stock.vllm_event(answer[:2], finish="stop"))
    told = stock.event({"error": {"message": "boom", "type": "x", "code": 500}})
    return {
        "error after 200": ([good, told, stock.DONE], "boom", 2),
        "no ids at all": ([stock.event(stock.vllm_event(...))], "no token_ids", 0),
        "not JSON": ([good, b"data: {oops\n\n"], "cannot be read", 2),
        "negative id": ([stock.event(stock.vllm_event([-4]))], "cannot be read", 0),
        "id outside the map": ([stock.event(stock.vllm_event([99_999]))], "not in the map", 0),
        "fewer ids than counted": (
            [ended, stock.event(stock.usage_event(3, 5)), stock.DONE],
            "counts 5 ids and sent 2", 2,
        ),
        "end mark too early": ([good, stock.DONE], "before a finish reason", 2),
        "another prompt": ([stock.event(stock.vllm_event([1], prompt=[1, 2, 3]))], "another prompt", 0),
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "error after 200", "no ids at all", "not JSON", "negative id", "id outside the map",
        "fewer ids than counted", "end mark too early", "another prompt",
    ],
)  # fmt: skip
async def test_vllm_faults_keep_what_came_before(words, ask, stock, answer, name):
    pieces, message, delivered = vllm_faults(stock, answer)[name]
    got = []

    async def gather(engine):
        async with engine.stream(ask(words)) as stream:
            async for frame in stream:
                got.extend(frame.ids)

    async with engine_server(stock, completions=lambda _: (200, stock.SSE, [b"".join(pieces)])) as server:
        engine = VllmEngine(server.url, api="completions", handshake=False)
        with pytest.raises(EngineStreamError, match=message) as broken:
            await gather(engine)
        await engine.aclose()
    assert got == answer[:delivered]
    assert broken.value.delivered == delivered


async def test_keep_alives_do_not_count_as_progress(words, ask, stock):
    import time

    def dripping(_):
        def pieces():
            for _ in range(40):
                time.sleep(0.02)
                yield b": keep-alive\n\n"

        return 200, stock.SSE, pieces()

    async with engine_server(stock, completions=dripping) as server:
        engine = VllmEngine(server.url, api="completions", handshake=False)
        with pytest.raises(EngineTimeoutError) as slow:
            await read(engine, ask(words, timeouts=Timeouts(first_id=0.2)))
    assert slow.value.phase == "first_id"


async def test_bytes_one_at_a_time_make_the_same_ids(words, ask, stock, answer):
    def slowly(asked):
        status, headers, pieces = stock.vllm_completions(answer)(asked)
        return status, headers, [bytes([byte]) for byte in b"".join(pieces)]

    async with engine_server(stock, completions=slowly) as server:
        frames, _ = await read(VllmEngine(server.url, api="completions", handshake=False), ask(words))
    assert ids_of(frames) == answer


async def test_a_reset_connection_keeps_what_came(words, ask, stock, answer):
    def reset(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    head = stock.head(200, stock.SSE.items())
    async with stock.RawServer(head, stock.event(stock.vllm_event(answer[:2])), reset) as server:
        with pytest.raises(EngineStreamError) as broken:
            await read(VllmEngine(server.url, api="completions", handshake=False), ask(words))
    assert broken.value.transient


# --- SGLang ---


async def test_sglang_completions_are_found_by_asking_once(words, ask, stock, answer):
    def completions(asked):
        if asked.get("stream"):
            return stock.vllm_completions(answer)(asked)
        return 200, {"content-type": "application/json"}, [b'{"choices":[{"text":"x","token_ids":[5]}]}']

    async with engine_server(stock, completions=completions) as server:
        engine = SglangEngine(server.url, handshake=False)
        for _ in range(2):
            frames, _ = await read(engine, ask(words))
            assert ids_of(frames) == answer
    assert server.paths() == ["/v1/completions"] * 3
    assert server.seen[0][2]["max_tokens"] == 1


async def test_sglang_in_trouble_is_not_taken_for_an_old_one(words, ask, stock, answer):
    refusals = [stock.refusing(503)]

    def completions(asked):
        if refusals:
            return refusals.pop()(asked)
        if asked.get("stream"):
            return stock.vllm_completions(answer)(asked)
        return 200, {"content-type": "application/json"}, [b'{"choices":[{"text":"x","token_ids":[5]}]}']

    async with engine_server(stock, completions=completions) as server:
        engine = SglangEngine(server.url, handshake=False)
        with pytest.raises(EngineStatusError) as refused:
            await read(engine, ask(words))
        assert refused.value.transient
        frames, _ = await read(engine, ask(words))
    assert ids_of(frames) == answer


@pytest.mark.parametrize("cuts", [(1,), (1, 2, 3, 4, 5), (4,), (2, 2)])
@pytest.mark.parametrize("cumulative", [True, False])
async def test_sglang_events_however_cut(words, ask, stock, answer, cuts, cumulative):
    route = stock.sglang_generate(answer, cumulative=cumulative, cuts=cuts)
    async with engine_server(stock, generate=route) as server:
        frames, _ = await read(SglangEngine(server.url, api="generate", handshake=False), ask(words))
    assert ids_of(frames) == answer
    assert server.seen[0][2]["sampling_params"] == {"max_new_tokens": 1024}


def sglang_faults(stock, answer):
    first = stock.event(stock.sglang_event(answer[:2], 2))
    abort = {"type": "abort", "message": "out of memory", "status_code": 500, "err_type": "x"}
    nan = {"type": "stop", "matched": "NaN happened"}
    return {
        "lost ids": ([first, stock.event(stock.sglang_event(answer[5:7], 7))], "counts 7 ids", True),
        "abort": ([first, stock.event(stock.sglang_event([], 2, finish=abort))], "out of memory", True),
        "NaN": ([first, stock.event(stock.sglang_event(answer[:3], 3, finish=nan))], "NaN", True),
        "error event": (
            [first, stock.event({"error": {"message": "bad", "retryable": False}})],
            "bad",
            False,
        ),
    }


@pytest.mark.parametrize("name", ["lost ids", "abort", "NaN", "error event"])
async def test_sglang_faults(words, ask, stock, answer, name):
    pieces, message, transient = sglang_faults(stock, answer)[name]
    async with engine_server(stock, generate=lambda _: (200, stock.SSE, pieces)) as server:
        with pytest.raises(EngineStreamError, match=message) as broken:
            await read(SglangEngine(server.url, api="generate", handshake=False), ask(words))
    assert broken.value.delivered == 2
    assert broken.value.transient == transient


async def test_sglang_reports_nan_before_values_that_are_missing(words, ask, stock, answer):
    """Another attempt may mend it, and would not be made for missing values."""
    pieces, message, _ = sglang_faults(stock, answer)["NaN"]
    async with engine_server(stock, generate=lambda _: (200, stock.SSE, pieces[1:])) as server:
        with pytest.raises(EngineStreamError, match=message) as broken:
            await read(SglangEngine(server.url, api="generate", handshake=False), ask(words, logprobs=0))
    assert broken.value.transient


async def test_sglang_repeats_the_last_id_of_an_incremental_stream(words, ask, stock, answer):
    end = {"type": "length", "length": 4}
    pieces = [
        stock.event(stock.sglang_event(answer[:3], 3)),
        stock.event(stock.sglang_event(answer[3:4], 4)),
        stock.event(stock.sglang_event(answer[3:4], 4, finish=end)),
        stock.DONE,
    ]
    async with engine_server(stock, generate=lambda _: (200, stock.SSE, pieces)) as server:
        frames, _ = await read(SglangEngine(server.url, api="generate", handshake=False), ask(words))
    assert ids_of(frames) == answer[:4]
    assert frames[-1].finish_reason == "length"


# --- llama.cpp ---


async def test_llamacpp_lost_ids_are_put_back_or_asked_for_never_guessed(vocabulary, ask, stock):
    text = "Rain ☂️ in 東京 and 🧳🧳 with 👩🏽‍💻, naïve \U0001f9ff!"
    answer = [*pick_tokenizer(vocabulary).encode_ordinary(text), vocabulary.special_tokens["<|im_end|>"]]

    def completion(asked):
        left = answer[len(asked["prompt"]) - len(request.prompt_ids) :]
        return stock.llamacpp_completion(vocabulary, left)(asked)

    request = ask(vocabulary, max_tokens=500)
    async with engine_server(stock, completion=completion) as server:
        frames, stats = await read(LlamaCppEngine(server.url, handshake=False), request)
    assert ids_of(frames) == answer
    assert stats.ids == len(answer)
    assert detokenize(vocabulary, ids_of(frames)) == text


async def test_llamacpp_what_cannot_be_told_is_an_error_where_that_is_chosen(words, ask, stock):
    answer = pick_tokenizer(words).encode_ordinary("a \U0001f9ff")[:-1]
    async with engine_server(stock, completion=stock.llamacpp_completion(words, answer)) as server:
        with pytest.raises(LostIdsError) as lost:
            await read(LlamaCppEngine(server.url, lost_ids="error", handshake=False), ask(words))
    assert lost.value.delivered < len(answer)


async def test_llamacpp_without_streaming(words, ask, stock, answer):
    async with engine_server(stock, completion=stock.llamacpp_completion(words, answer)) as server:
        engine = LlamaCppEngine(server.url, lost_ids="no_stream", handshake=False)
        frames, stats = await read(engine, ask(words))
    assert ids_of(frames) == answer
    assert stats.format == "json"
    counts = (len(ask(words).prompt_ids), 3, 0.0125)
    assert (stats.prompt_tokens, stats.cached_tokens, stats.engine_seconds) == counts
    assert stats.request_started is not None
    assert stats.request_started <= stats.first_id
    assert server.seen[0][2]["stream"] is False


async def test_llamacpp_the_rest_is_asked_for_when_the_stream_is_closed(words, ask, stock):
    """The server has one place for both: it would finish the first answer before it begins the second."""
    left = threading.Event()
    closed = []

    def streamed():
        yield stock.event({"content": "a", "tokens": [21], "tokens_predicted": 1})
        yield stock.event({"content": "b", "tokens": [22], "tokens_predicted": 9})
        try:
            while True:
                yield b": still at work\n\n" * 1000
        finally:
            left.set()

    def completion(asked):
        if asked["stream"]:
            return 200, stock.SSE, streamed()
        closed.append(left.wait(5))
        return stock.llamacpp_completion(words, [22])(asked)

    async with engine_server(stock, completion=completion) as server:
        frames, _ = await read(LlamaCppEngine(server.url, handshake=False), ask(words))
    assert (ids_of(frames), closed) == ([21, 22], [True])


@pytest.mark.parametrize(
    ("stop_type", "reason"), [("limit", "length"), ("word", "stop_sequence"), ("eos", "stop")]
)
async def test_llamacpp_reasons_and_limits(words, ask, stock, answer, stop_type, reason):
    route = stock.llamacpp_completion(words, answer, stop_type=stop_type)
    async with engine_server(stock, completion=route) as server:
        frames, _ = await read(LlamaCppEngine(server.url, handshake=False), ask(words, max_tokens=3))
    assert ids_of(frames) == answer[:3]
    assert frames[-1].finish_reason == reason
    assert server.seen[0][2]["n_predict"] == 3


@pytest.mark.parametrize("mode", ["ask", "no_stream"])
async def test_llamacpp_stop_ids_are_kept_on_this_side(words, ask, stock, answer, mode):
    async with engine_server(stock, completion=stock.llamacpp_completion(words, answer)) as server:
        engine = LlamaCppEngine(server.url, lost_ids=mode, handshake=False)
        frames, _ = await read(engine, ask(words, stop_token_ids=(answer[2],)))
    assert ids_of(frames) == answer[:3]
    assert frames[-1].finish_reason == "stop"


# --- text ---


@pytest.mark.parametrize("api", ["chat", "completions"])
async def test_text_apis_are_a_boundary_and_their_ids_are_those_of_the_text(vocabulary, ask, stock, api):
    text = "It is 17 degrees ☂️ in Porto.\n\n  Bring a coat!"

    def answered(_):
        choices = [
            {"index": 0, "text": part, "delta": {"content": part}}
            for part in (text[:7], text[7:20], text[20:])
        ]
        if api == "completions":
            choices = [{"index": 0, "text": choice["text"]} for choice in choices]
        ending = {"index": 0, "delta": {}, "text": "", "finish_reason": "stop"}
        if api == "completions":
            ending.pop("delta")
        return 200, stock.SSE, [*(stock.event({"choices": [c]}) for c in (*choices, ending)), stock.DONE]

    async with engine_server(stock, chat=answered, completions=answered) as server:
        engine = OpenAIEngine(server.url, api=api)
        frames, _ = await read(engine, ask(vocabulary, "what now?"))
    assert engine.text_boundary
    assert ids_of(frames) == pick_tokenizer(vocabulary).encode_ordinary(text)
    assert frames[-1].finish_reason == "stop"
    body = server.seen[0][2]
    if api == "chat":
        assert body["messages"] == [{"role": "user", "content": "what now?"}]
    else:
        assert body["prompt"] == "<|im_start|>user\nwhat now?<|im_end|>\n<|im_start|>assistant\n"


# --- auto ---


async def test_auto_asks_who_an_engine_without_ids_is(words, ask, stock, answer):
    def text_only(_):
        return 200, stock.SSE, [stock.event(stock.vllm_event(...)), stock.DONE]

    props = {"props": lambda _: (200, {"content-type": "application/json"}, [b"{}"])}
    routes = {"completions": text_only, "completion": stock.llamacpp_completion(words, answer), **props}
    async with engine_server(stock, **routes) as server:
        engine = AutoEngine(server.url, handshake=False)
        assert engine.provider == "auto"
        assert not closes_late(engine)
        frames, _ = await read(engine, ask(words))
    assert ids_of(frames) == answer
    assert engine.provider == "llama_cpp"
    assert closes_late(engine), "as its server does"


async def test_auto_knows_vllm_that_serves_its_paths_for_development(words, ask, stock, answer, tokenize):
    def server_info(_):
        return 200, {"content-type": "application/json"}, [b'{"vllm_config": "model=...", "vllm_env": {}}']

    routes = {"completions": stock.vllm_completions(answer), "tokenize": tokenize}
    async with engine_server(stock, server_info=server_info, **routes) as server:
        engine = AutoEngine(server.url)
        frames, _ = await read(engine, ask(words))
    assert ids_of(frames) == answer
    assert engine.provider == "vllm"


async def test_auto_refuses_to_become_a_text_boundary_by_itself(words, ask, stock):
    def text_only(_):
        return 200, stock.SSE, [stock.event(stock.vllm_event(...)), stock.DONE]

    async with engine_server(stock, completions=text_only) as server:
        with pytest.raises(EngineError, match="kind openai"):
            await read(AutoEngine(server.url), ask(words))


async def test_auto_tells_what_is_wrong_with_ids_of_an_unknown_server(words, ask, stock):
    def strange(_):
        said = {"index": 0, "text": "x", "token_ids": [9_999_999], "finish_reason": None}
        return 200, stock.SSE, [stock.event({"choices": [said]}), stock.DONE]

    async with engine_server(stock, completions=strange) as server:
        with pytest.raises(EngineStreamError, match="the id 9999999 is not in the map"):
            await read(AutoEngine(server.url), ask(words))


async def test_auto_finds_a_codec_server(words, ask):
    from codec_agents.server import EmbeddedServer, ScriptedBackend, create_app

    async with EmbeddedServer(create_app(ScriptedBackend.of(words, lambda _: TEXT))) as server:
        engine = AutoEngine(server.url)
        frames, stats = await read(engine, ask(words))
    assert engine.provider == "codec"
    assert stats.format == "msgpack"
    assert ids_of(frames)[:-1] == pick_tokenizer(words).encode_ordinary(TEXT)
