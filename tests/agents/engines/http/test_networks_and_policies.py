"""What a node does when networks fail its engine: each fault under each policy, with every engine."""

import anyio
import pytest

from codec_agents import Chat, Pipeline
from codec_agents.exceptions import (
    EngineStatusError,
    EngineStreamError,
    EngineTimeoutError,
    NodeFailedError,
)
from codec_core.detokenizer import detokenize
from codec_core.tokenizer import pick_tokenizer
from tests.agents.engines import wires
from tests.agents.engines.wires import SENT, WIRES, FaultyServer

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

TEXT = "It is 17 degrees in Porto, and the train leaves at nine."

IN_THE_MIDDLE = {
    "killed": EngineStreamError,
    "cut_inside": EngineStreamError,
    "reset": EngineStreamError,
    "half_open": EngineTimeoutError,
    "dripping_body": EngineTimeoutError,
}
BEFORE = {
    "silent": EngineTimeoutError,
    "dripping_head": EngineTimeoutError,
    "busy": EngineStatusError,
}
FAULTS = {**IN_THE_MIDDLE, **BEFORE}


def fault(name):
    return wires.refusing(503) if name == "busy" else getattr(wires, name)


@pytest.fixture
def answer(words):
    return pick_tokenizer(words).encode_ordinary(TEXT)


def declare(wire, server, name, *, attempts=1, on_failure="fail", max_tokens=None):
    """Declare one model, and somebody who takes over where it fails."""
    # Short only where silence is the fault: a busy machine must not turn another fault into a time-out.
    silent = FAULTS[name] is EngineTimeoutError
    first_id, idle = (0.1 if attempts == 1 else 0.4, 0.15) if silent else (20, 20)
    silence = {"idle": idle} if name in IN_THE_MIDDLE else {"first_id": first_id}
    p = Pipeline("one").input("question").sink("reader").sink("spare")
    p.engine("A", kind=wire.kind, url=server.url, options=wire.options)
    p.model(
        "m",
        engine="A",
        map="demo/words",
        prompt=Chat(user="{question}"),
        sampling={"max_tokens": 1000 if max_tokens is None else max_tokens},
        policy={
            "retry": {"attempts": attempts, "initial": 0, "max": 0},
            "timeouts": silence,
            "on_failure": on_failure,
        },
    )
    p.function("rescue", lambda text: f"instead of {text!r}", wants="text")
    p.connect("question", "m.question").connect("m.answer", "reader").connect("rescue", "spare")
    return p.connect(
        "m" if on_failure == "fallback" else "question", "rescue", fallback=on_failure == "fallback"
    )


BY_IDS = [kind for kind in WIRES if kind != "openai"]
PAIRS = [(kind, name) for kind in BY_IDS for name in IN_THE_MIDDLE]
PAIRS += [(kind, name) for kind in ("codec", "vllm completions") for name in BEFORE]
QUICK = {"codec", "vllm completions"}
PAIRS = [pair if pair[0] in QUICK else pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS]
"""Each pair waits for a fault: the quick suite has two kinds of wire, the slow tests have every engine."""


@pytest.mark.parametrize(("kind", "name"), PAIRS)
async def test_tried_again_it_goes_on_from_the_exact_prefix(words, answer, kind, name):
    """Twice the same fault, and then the rest: the reader sees one answer, without a seam."""
    async with FaultyServer(WIRES[kind], words, answer, fault(name), fault(name)) as server:
        with anyio.fail_after(10):
            result = await declare(WIRES[kind], server, name, attempts=3).invoke({"question": "hi"})
    assert result.text["reader"] == TEXT
    assert result.usage["m"].retries == 2
    first, second, third = server.prompts
    came = SENT if name in IN_THE_MIDDLE else 0
    assert second == first + answer[:came]
    assert third == first + answer[: 2 * came]


@pytest.mark.parametrize("name", FAULTS)
async def test_a_chat_api_is_asked_again_only_before_the_first_id(words, answer, name):
    """Messages end where the answer begins: what came of it would come a second time."""
    wire = WIRES["openai"]
    async with FaultyServer(wire, words, answer, fault(name)) as server:
        p = declare(wire, server, name, attempts=3)
        with anyio.fail_after(10):
            if name in BEFORE:
                assert (await p.invoke({"question": "hi"})).text["reader"] == TEXT
                assert len(server.asked) == 2
                return
            async with p.run({"question": "hi"}) as run:
                with pytest.raises(NodeFailedError) as caught:
                    await run.wait()
    assert isinstance(caught.value.cause, FAULTS[name])
    kept = run.partial_result().text["reader"]
    assert kept
    assert TEXT.startswith(kept)
    assert len(server.asked) == 1


@pytest.mark.parametrize("kind", ["vllm completions", "openai"])
@pytest.mark.parametrize("name", FAULTS)
async def test_a_run_that_fails_keeps_what_had_come(words, answer, kind, name):
    async with (
        FaultyServer(WIRES[kind], words, answer, fault(name)) as server,
        declare(WIRES[kind], server, name).run({"question": "hi"}) as run,
    ):
        with anyio.fail_after(10), pytest.raises(NodeFailedError) as caught:
            await run.wait()
    assert isinstance(caught.value.cause, FAULTS[name])
    assert (caught.value.node, caught.value.engine) == ("m", "A")
    ids = run.partial_result().ids["reader"]
    assert ids == answer[: len(ids)]
    assert len(ids) == caught.value.delivered
    assert bool(ids) == (name in IN_THE_MIDDLE)
    # On a busy machine the time can be over before a silent server has read the request.
    assert len(server.asked) == 1 or (name == "silent" and not server.asked)


@pytest.mark.parametrize("kind", ["codec", "openai"])
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("on_failure", ["skip", "fallback"])
async def test_a_run_that_goes_on_keeps_it_too(words, answer, kind, name, on_failure):
    async with FaultyServer(WIRES[kind], words, answer, fault(name)) as server:
        with anyio.fail_after(10):
            result = await declare(WIRES[kind], server, name, on_failure=on_failure).invoke(
                {"question": "hi"}
            )
    assert result.outcomes["m"] == "failed"
    kept = result.text["reader"]
    assert TEXT.startswith(kept)
    assert bool(kept) == (name in IN_THE_MIDDLE)
    assert result.text["spare"] == f"instead of {kept if on_failure == 'fallback' else 'hi'!r}"


@pytest.mark.parametrize("kind", BY_IDS)
async def test_an_answer_that_lacks_only_its_end_is_whole(words, answer, kind):
    """At its limit there is nothing left to ask for: engines would refuse a request for no ids."""

    def without_end(exchange):
        exchange.send(exchange.head, *exchange.pieces[:-1])

    async with FaultyServer(WIRES[kind], words, answer, without_end) as server:
        p = declare(WIRES[kind], server, "killed", attempts=3, max_tokens=len(answer))
        result = await p.invoke({"question": "hi"})
    assert result.text["reader"] == TEXT
    assert len(server.asked) == 1


@pytest.mark.parametrize("kind", BY_IDS)
async def test_nothing_is_asked_for_behind_an_end_of_turn(words, answer, kind):
    ended = [*answer, words.special_tokens["<|im_end|>"]]

    def without_end(exchange):
        exchange.send(exchange.head, *exchange.pieces[:-1])

    async with FaultyServer(WIRES[kind], words, ended, without_end) as server:
        result = await declare(WIRES[kind], server, "killed", attempts=3).invoke({"question": "hi"})
    assert result.text["reader"] == detokenize(words, answer) == TEXT
    assert len(server.asked) == 1


@pytest.mark.parametrize("kind", ["codec", "openai"])
async def test_a_recovery_goes_on_where_that_can_be_exact(words, answer, kind, tmp_path):
    async with FaultyServer(WIRES[kind], words, answer, wires.killed) as server:
        p = declare(WIRES[kind], server, "killed")
        with pytest.raises(NodeFailedError):
            await p.invoke({"question": "hi"}, record=tmp_path / "run.jsonl")
        async with p.recover(tmp_path / "run.jsonl") as run:
            if kind == "openai":
                with pytest.raises(NodeFailedError, match="it begins its answers anew"):
                    await run.wait()
            else:
                await run.wait()
        kept = run.partial_result().text["reader"]
    assert TEXT.startswith(kept)
    assert (kept == TEXT, len(server.asked)) == ((True, 2) if kind == "codec" else (False, 1))
