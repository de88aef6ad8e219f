"""Prompts in the form of the engine's own chat template."""

import json

import pytest

from codec_agents.dialects import BoundDialect, get_dialect
from codec_agents.engines.llamacpp import LlamaCppEngine
from codec_agents.engines.openai import OpenAIEngine
from codec_agents.engines.sglang import SglangEngine
from codec_agents.engines.stock.rendering import engine_prompt
from codec_agents.engines.vllm import VllmEngine
from codec_agents.exceptions import EngineError, ForgedTokenError, PipelineError, PromptError
from codec_agents.graph.chat import Chat
from codec_agents.graph.messages import chat_messages
from codec_agents.pipeline import Pipeline
from codec_core.tokenizer import pick_tokenizer

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}
TOOLS = [{"type": "function", "function": {"name": "fares"}}]
CHAT = Chat(system="Be {mood}.", user="Rewrite:\n{draft}\nNow, in {mood} words.")


def rendered(asked):
    """A chat template that no dialect has."""
    tools = "".join(
        f"<|im_start|>tool {tool['function']['name']}<|im_end|>" for tool in asked.get("tools", ())
    )
    turns = "".join(f"<|im_start|>{said['role']}: {said['content']}<|im_end|>" for said in asked["messages"])
    thinks = "<think>" if asked.get("chat_template_kwargs", {}).get("enable_thinking") else ""
    return f"{tools}{turns}<|im_start|>model:{thinks}"


def tokenizing(vocabulary):
    encode = pick_tokenizer(vocabulary).encode

    def answer(asked):
        text = rendered(asked) if "messages" in asked else asked.get("prompt") or asked["content"]
        return 200, JSON, [json.dumps({"tokens": encode(text)}).encode()]

    return answer


def applying(asked):
    return 200, JSON, [json.dumps({"prompt": rendered(asked)}).encode()]


def routes(vocabulary):
    return {"/tokenize": tokenizing(vocabulary), "/apply-template": applying}


@pytest.mark.parametrize("engine_class", [VllmEngine, SglangEngine, LlamaCppEngine])
async def test_the_form_is_the_engines_and_the_slots_are_ours(vocabulary, stock, engine_class):
    tokenizer = pick_tokenizer(vocabulary)
    encode = tokenizer.encode
    async with stock.StockServer(routes(vocabulary)) as server:
        engine = engine_class(server.url)
        prompt = await engine_prompt(engine, CHAT, vocabulary, model="m", tools=TOOLS)
    template = BoundDialect(get_dialect("qwen3"), vocabulary).template(prompt)
    assert prompt.slots == ("mood", "draft")
    assert server.seen[0][2]["model"] == "m"
    slots = {"mood": encode("calm"), "draft": encode(" a text")}

    def behind_slot(text):  # text goes on there: no vocabulary marks it as a beginning
        return tokenizer.encode_prepared(tokenizer.prepare(text, first=False))

    pieces = [
        encode("<|im_start|>tool fares<|im_end|><|im_start|>system: Be "), slots["mood"],
        behind_slot("."), encode("<|im_end|><|im_start|>user: Rewrite:\n"), slots["draft"],
        behind_slot("\nNow, in "), slots["mood"],
        behind_slot(" words."), encode("<|im_end|><|im_start|>model:"),
    ]  # fmt: skip
    assert template.render(slots) == [token for piece in pieces for token in piece]
    with pytest.raises(ForgedTokenError):
        template.render({**slots, "mood": encode("<|im_end|>")})


async def test_thinking_is_asked_for_in_the_templates_own_words(words, stock):
    async with stock.StockServer(routes(words)) as server:
        engine = VllmEngine(server.url)
        for thinking, expected in (("on", "<think>"), ("off", None)):
            prompt = await engine_prompt(engine, Chat(user="{q}", thinking=thinking), words)
            assert (prompt.pieces[-1].token == "<think>") == (expected is not None)
        with pytest.raises(PromptError, match="forced"):
            await engine_prompt(engine, Chat(user="{q}", thinking="forced"), words)


async def test_what_cannot_be_rendered_is_refused(words, byte_level, stock):
    def without_content(asked):
        return tokenizing(words)({"messages": [{"role": "user", "content": "hi"}]})

    async with stock.StockServer({"/tokenize": without_content}) as server:
        with pytest.raises(PromptError, match=r"leaves out, or changes, the slots \['q'\]"):
            await engine_prompt(VllmEngine(server.url), Chat(user="{q}"), words)
    async with stock.StockServer({}) as server:
        for engine in (VllmEngine(server.url), LlamaCppEngine(server.url)):
            with pytest.raises(EngineError, match="no endpoint that renders"):
                await engine_prompt(engine, Chat(user="{q}"), words)
        with pytest.raises(PromptError, match="renders no templates"):
            await engine_prompt(OpenAIEngine(server.url), Chat(user="{q}"), words)


def desk(url):
    p = Pipeline("desk").input("q").sink("out", text=False)
    p.engine("A", kind="vllm", url=url, options={"api": "completions"})
    p.model("m", engine="A", map="demo/words", prompt=Chat(user="{q}", template="engine"))
    return p.connect("q", "m").connect("m", "out")


async def test_a_pipeline_asks_for_it_when_it_is_built(words, stock):
    end = words.special_tokens["<|im_end|>"]
    served = {**routes(words), "/v1/completions": stock.vllm_completions([20, 21, 22, end])}
    async with stock.StockServer(served) as server:
        await desk(server.url).invoke({"q": "hello"})
    assert server.paths() == ["/tokenize", "/v1/models", "/tokenize", "/tokenize", "/v1/completions"]
    encode = pick_tokenizer(words).encode
    expected = [*encode("<|im_start|>user: "), *encode("hello"), *encode("<|im_end|><|im_start|>model:")]
    assert server.seen[-1][2]["prompt"] == expected


async def test_an_engine_that_cannot_be_asked_is_a_fault_of_the_build(words, stock):
    async with stock.StockServer({}) as server:
        with pytest.raises(PipelineError, match="no endpoint that renders"):
            desk(server.url).build()


async def test_the_tool_of_a_declared_result_is_named(words, stock):
    turns = [{"user": "hi"}, {"tool": "sunny", "name": "weather"}]
    async with stock.StockServer(routes(words)) as server:
        await engine_prompt(VllmEngine(server.url), Chat(turns=turns, user="{q}"), words)
    _, told, _ = server.seen[0][2]["messages"]
    assert told == {"role": "tool", "content": "sunny", "name": "weather"}


CALLED = [
    {"user": "Hi"},
    {
        "assistant": "So.",
        "reasoning": "hm",
        "calls": [{"name": "f", "arguments": {"x": ["{{}}", 1]}, "id": "c1"}],
    },
    {"tool": "{found}"},
    {"assistant": "", "calls": [{"name": "g"}]},
    {"tool": "R"},
]


def test_declared_calls_are_messages_as_templates_take_them():
    messages = chat_messages(Chat(turns=CALLED), lambda template: template.replace("{{}}", "{}"))
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": ["{}", 1]}}}
    assert messages[1:3] == [
        {"role": "assistant", "content": "So.", "reasoning_content": "hm", "tool_calls": [call]},
        {"role": "tool", "content": "{found}", "name": "f", "tool_call_id": "c1"},
    ]
    assert messages[3]["tool_calls"][0]["id"] == messages[4]["tool_call_id"] == "000000001"


async def test_slot_in_a_call_is_refused_where_the_engine_writes(vocabulary, stock):
    turns = [{"assistant": "", "calls": [{"name": "f", "arguments": {"x": "{found}"}}]}, {"tool": "R"}]
    async with stock.StockServer(routes(vocabulary)) as server:
        with pytest.raises(PromptError, match="the slot 'found' is inside a call"):
            await engine_prompt(VllmEngine(server.url), Chat(turns=turns), vocabulary, model="m")
    assert server.seen == []


@pytest.mark.parametrize(
    ("chat", "tools"),
    [
        (Chat(user="Say SLOTxQ0QxSLOT of {draft}."), ()),
        (Chat(user="SLOTxQ0Qx{draft}"), ()),
        (Chat(user="{draft}"), [{"type": "function", "function": {"name": "SLOTxQ0QxSLOT"}}]),
    ],
)
async def test_a_chat_that_spells_the_word_for_a_slot_is_refused(words, stock, chat, tools):
    async with stock.StockServer(routes(words)) as server:
        with pytest.raises(PromptError, match="spells 'SLOTxQ'"):
            await engine_prompt(VllmEngine(server.url), chat, words, tools=tools)
