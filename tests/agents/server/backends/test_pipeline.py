"""A pipeline behind the server answers as a model would, on both APIs."""

import asyncio

import anyio
import anyio.lowlevel
import httpx
import pytest

from codec_agents.engines.codec import CodecEngine
from codec_agents.exceptions import PipelineError
from codec_agents.pipeline import Pipeline
from codec_agents.server import EmbeddedServer, PipelineBackend, ScriptedBackend, create_app
from codec_agents.server.recording import RecordingExchanges
from codec_agents.testing import Cut, Refuse, Say, ScriptedEngine, ScriptedModel
from codec_core.detokenizer import detokenize
from codec_core.frames import decoder
from codec_core.tokenizer import pick_tokenizer

pytestmark = pytest.mark.asyncio


def desk(planner, writer="", name="desk"):
    """Two models of different vocabularies, whose answer comes from the second."""
    pipeline = Pipeline(name)
    pipeline.input("question")
    pipeline.model("planner", engine=ScriptedEngine(planner), map="demo/bytes", prompt="{question}")
    writing = ScriptedEngine(writer or (lambda prompt: f"Dear: {prompt.user.strip()}"))
    pipeline.model("writer", engine=writing, map="demo/words", prompt="{draft}")
    pipeline.sink("reader")
    return joined(
        pipeline, "question -> planner.question", "planner.answer -> writer.draft", "writer.answer -> reader"
    )


def joined(pipeline, *edges):
    for edge in edges:
        pipeline.connect(*edge.split(" -> "))
    return pipeline


def serving(pipeline, **arguments):
    return EmbeddedServer(create_app(PipelineBackend(pipeline, **arguments), exchanges=RecordingExchanges()))


async def post(server, path, **body):
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
        return await client.post(path, json=body)


async def test_chat_gets_the_users_message_answered():
    messages = [{"role": "user", "content": "to Oslo"}]
    async with serving(desk(lambda prompt: f"[{prompt.user}]")) as server:
        answer = (await post(server, "/v1/chat/completions", messages=messages)).json()
    assert answer["choices"][0]["message"]["content"] == "Dear: [to Oslo]"
    assert (answer["model"], answer["choices"][0]["finish_reason"]) == ("desk", "stop")


USER = {"role": "user", "content": "to Oslo"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{"role": "system", "content": "be nice"}, USER]}, "messages"),
        ({"messages": [USER, {"role": "assistant", "content": "yes"}, USER]}, "messages"),
        ({"messages": [{"role": "assistant", "content": "yes"}]}, "messages"),
        ({"messages": [USER], "tools": [TOOL]}, "tools"),
        ({"messages": [USER], "temperature": 0.2}, "temperature"),
        ({"messages": [USER], "seed": 7}, "seed"),
    ],
)
async def test_what_a_pipeline_has_no_use_for_is_refused_by_its_name(body, param):
    """A client must not believe that earlier messages, a system text or tools were heeded."""
    async with serving(desk(lambda _: "never")) as server:
        answer = await post(server, "/v1/chat/completions", **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_text_that_is_too_long_is_named_as_the_api_calls_it():
    bodies = {
        "/v1/completions": ({"prompt": "to Oslo"}, "prompt"),
        "/v1/chat/completions": ({"messages": [USER]}, "messages"),
        "/v1/responses": ({"input": "to Oslo"}, "input"),
    }
    async with serving(desk(lambda _: "never"), max_text=3) as server:
        for path, (body, param) in bodies.items():
            answer = await post(server, path, **body)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_prompt_of_several_turns_is_refused():
    prompt = (
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n"
    )
    async with serving(desk(lambda _: "never")) as server:
        answer = await post(server, "/v1/completions", prompt=prompt)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")


async def test_frames_hold_the_ids_of_the_sink(words):
    prompt = pick_tokenizer(words).encode("to Oslo")
    async with serving(desk(lambda prompt: f"[{prompt.user}]")) as server:
        answer = await post(server, "/v1/completions", prompt=prompt, stream=True, stream_format="msgpack")
    assert answer.headers["codec-tokenizer-map"] == words.hash
    frames = decoder("msgpack").feed(answer.content)
    assert frames[-1].done
    assert detokenize(words, [token for frame in frames for token in frame.ids]) == "Dear: [to Oslo]"


async def test_limit_stop_id_and_stop_text(words):
    encode = pick_tokenizer(words).encode_ordinary
    answered = encode("one two three")
    async with serving(desk(lambda _: "x", lambda _: "one two three")) as server:

        async def ids(**options):
            body = {"prompt": "go", "return_token_ids": True, **options}
            choice = (await post(server, "/v1/completions", **body)).json()["choices"][0]
            return choice["token_ids"], choice["finish_reason"]

        assert await ids(max_tokens=2) == (answered[:2], "length")
        assert await ids(max_tokens=len(answered)) == (answered, "stop")
        assert await ids(stop_token_ids=[answered[1]]) == (answered[:2], "stop")
        cut, reason = await ids(stop="two")
    assert (detokenize(words, cut), reason) == ("one two", "stop")


async def test_an_input_of_ids_gets_the_text_in_its_own_map(words):
    seen = []
    pipeline = Pipeline("ids")
    pipeline.input("given", type="ids", map="demo/bytes")

    def note(prompt):
        seen.append(prompt.user)
        return "ok"

    pipeline.model("m", engine=ScriptedEngine(note), map="demo/words", prompt="{text}")
    pipeline.sink("out")
    joined(pipeline, "given -> m.text", "m.answer -> out")
    async with serving(pipeline) as server:
        await post(server, "/v1/completions", prompt="caffè, 12")
    assert [text.strip() for text in seen] == ["caffè, 12"]


async def test_leaving_ends_the_run():
    entered, left = asyncio.Event(), asyncio.Event()
    pipeline = Pipeline("slow")
    pipeline.input("question")

    async def wait(text):
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    pipeline.function("step", call=wait, wants="text")
    pipeline.model("m", engine=ScriptedEngine(lambda _: "x"), map="demo/words", prompt="{text}")
    pipeline.sink("out")
    joined(pipeline, "question -> step.text", "step -> m.text", "m.answer -> out")
    async with serving(pipeline) as server:
        request = asyncio.create_task(post(server, "/v1/completions", prompt="x"))
        await entered.wait()
        request.cancel()
        await asyncio.wait_for(left.wait(), 5)


async def test_leaving_half_way_closes_the_engines_requests():
    slowly = ScriptedModel(script=lambda _: "word " * 500, ids_a_second=50)
    async with serving(desk(lambda _: "x", slowly)) as inner:
        pipeline = through(inner.url)
        async with pipeline.run({"question": "x"}) as run:
            async for _ in run.ids("out"):
                break
        [exchange] = inner.app.exchanges.generations
        assert await asyncio.to_thread(exchange.over.wait, 5)
        assert exchange.closed_by_client is not None
        await close(pipeline)


async def close(pipeline):
    await pipeline.aclose()
    for engine in pipeline.live.engines.values():
        await engine.aclose()


def through(url):
    """A pipeline whose only model is a served pipeline."""
    pipeline = Pipeline("outer")
    pipeline.input("question")
    engine = CodecEngine(url)
    pipeline.model("m", engine=engine, model="desk", map="demo/words", prompt="{question}")
    pipeline.sink("out", text=True)
    return joined(pipeline, "question -> m.question", "m.answer -> out")


async def test_a_served_pipeline_is_the_engine_of_another():
    async with serving(desk(lambda prompt: f"[{prompt.user}]")) as inner:
        pipeline = through(inner.url)
        result = await pipeline.invoke({"question": "to Oslo"})
        await close(pipeline)
    assert result.text["out"] == "Dear: [to Oslo]"


async def test_a_failure_before_the_first_ids_is_a_status_and_an_id(caplog):
    """What failed inside is the pipeline's own business: the log has it, the client gets its id."""
    async with serving(desk(lambda _: [Refuse(429, "db password is hunter2")])) as server:
        refused = await post(server, "/v1/completions", prompt="x")
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (429, "pipeline_failed")
    assert refused.headers["retry-after"] == "1"
    assert "hunter2" not in refused.text
    assert "planner" not in refused.text
    error_id = error["message"].split()[-1]
    assert error_id in caplog.text
    assert "hunter2" in caplog.text


@pytest.mark.slow
async def test_a_failure_after_the_first_ids_cuts_the_answer_off():
    async with serving(desk(lambda _: "x", lambda _: [Say("some words"), Cut()])) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            await post(server, "/v1/completions", prompt="x", stream=True)


async def test_what_is_not_plain_is_refused_when_it_is_made():
    def two_inputs():
        pipeline = desk(lambda _: "x")
        pipeline.input("other")
        return pipeline

    said = r"several inputs can be the prompt: question, other; name one: `serve: \{input: question\}`, `--i"
    with pytest.raises(PipelineError, match=said):
        PipelineBackend(two_inputs())
    two_sinks = desk(lambda _: "x").sink("copy").connect("writer.answer", "copy")
    with pytest.raises(PipelineError, match=r"`--sink \w+`, or in Python `sink='\w+'`"):
        PipelineBackend(two_sinks)
    with pytest.raises(PipelineError, match="give this input a `default`"):
        PipelineBackend(two_inputs(), input="question")
    with pytest.raises(PipelineError, match="did you mean 'reader'"):
        PipelineBackend(desk(lambda _: "x"), sink="raeder")
    with pytest.raises(PipelineError, match="there is no input 'q'"):
        PipelineBackend(desk(lambda _: "x"), input="q")
    model = {"engine": ScriptedEngine(lambda _: "x"), "map": "demo/words"}
    with pytest.raises(PipelineError, match=r"no input for the prompt.*add an input"):
        PipelineBackend(Pipeline("bare").model("m", prompt="Hi", **model))
    with pytest.raises(PipelineError, match=r"no sink for the answer.*add a sink"):
        PipelineBackend(joined(Pipeline("bare").input("q").model("m", prompt="{q}", **model), "q -> m"))


async def test_engines_are_opened_once_and_closed_with_the_server(words):
    """Every request is a run of its own, and none opens a connection of its own."""
    async with EmbeddedServer(create_app(ScriptedBackend.of(words, lambda _: "fine", "m"))) as engine:
        pipeline = Pipeline("front")
        pipeline.engine("A", kind="codec", url=engine.url)
        pipeline.input("question")
        pipeline.model("m", engine="A", map="demo/words", prompt="{question}")
        pipeline.sink("out")
        joined(pipeline, "question -> m.question", "m.answer -> out")
        async with serving(pipeline) as server:
            for _ in range(5):
                answer = await post(server, "/v1/completions", prompt="x")
                assert answer.json()["choices"][0]["text"] == "fine"
            assert engine.accepted < 5, "no connection a request; a busy server may end one body too late"
            assert engine.connections == 1
        with anyio.fail_after(5):
            while engine.connections:
                await anyio.lowlevel.checkpoint()
