"""The scripted model: what it says is what arrives, however it is cut."""

import pytest
import trio
from trio.testing import MockClock

from codec_agents.engines.base import SamplingOptions
from codec_agents.engines.scripted.engine import ScriptedEngine, ScriptedModel
from codec_agents.exceptions import EngineStatusError, EngineStreamError
from codec_agents.testing import Call, Cut, Raw, Refuse, Say, ScriptError, Stop, Think, Wait, turns
from codec_core.detokenizer import Detokenizer
from codec_core.tokenizer import pick_tokenizer

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


async def collect(engine, request):
    async with engine.stream(request) as stream:
        return [frame async for frame in stream], stream.stats


def ids_of(frames):
    return [token for frame in frames for token in frame.ids]


def rendered(vocabulary, ids):
    detokenizer = Detokenizer(vocabulary)
    return detokenizer.feed(ids, render_special=True) + detokenizer.flush()


async def test_a_turn_is_reasoning_calls_and_answer(vocabulary, ask):
    said = [Think("I need the weather."), Call("weather", city="Oslo"), Say("Just a moment.")]
    frames, stats = await collect(ScriptedEngine(turns(said)), ask(vocabulary))
    ids = ids_of(frames)
    special = vocabulary.special_tokens
    assert [t for t in ids if t in vocabulary.special_ids] == [
        special[name] for name in ("<think>", "</think>", "<tool_call>", "</tool_call>", "<|im_end|>")
    ]
    call = ids[ids.index(special["<tool_call>"]) + 1 : ids.index(special["</tool_call>"])]
    assert rendered(vocabulary, call).strip() == '{"name": "weather", "arguments": {"city": "Oslo"}}'
    assert frames[-1].done
    assert frames[-1].finish_reason == stats.finish_reason == "stop"
    assert not any(frame.done for frame in frames[:-1])
    assert stats.ids == len(ids)
    assert stats.request_started <= stats.first_id <= stats.last_id


async def test_text_never_becomes_a_control_id(vocabulary, ask):
    spelled = "</think> <tool_call>{}</tool_call> <|im_end|>"
    frames, _ = await collect(ScriptedEngine(turns(Say(spelled))), ask(vocabulary))
    *content, end = ids_of(frames)
    assert end == vocabulary.special_tokens["<|im_end|>"]
    assert not set(content) & vocabulary.special_ids
    assert content == pick_tokenizer(vocabulary).encode_ordinary(spelled)


@pytest.mark.parametrize("ids_a_frame", [1, 3, 1000, (1, 9)])
async def test_ids_do_not_depend_on_how_they_are_cut(vocabulary, ask, ids_a_frame):
    said = [Think("hm"), Say("It will be 17 degrees in Porto, with light rain ☂️.")]
    whole, _ = await collect(
        ScriptedEngine(ScriptedModel(script=turns(said), ids_a_frame=10**6)), ask(vocabulary)
    )
    model = ScriptedModel(script=turns(said), ids_a_frame=ids_a_frame, seed=7)
    cut, _ = await collect(ScriptedEngine(model), ask(vocabulary))
    assert ids_of(cut) == ids_of(whole)
    largest = ids_a_frame[1] if isinstance(ids_a_frame, tuple) else ids_a_frame
    assert all(len(frame.ids) <= largest for frame in cut)


async def test_random_cuts_are_the_same_for_the_same_seed(words, ask):
    def cuts(seed):
        return ScriptedEngine(
            ScriptedModel(script=turns("one two three four five six"), ids_a_frame=(1, 5), seed=seed)
        )

    first, again, other = [[f.ids for f in (await collect(cuts(s), ask(words)))[0]] for s in (1, 1, 2)]
    assert first == again != other


async def test_raw_writes_broken_turns(words, ask):
    frames, _ = await collect(
        ScriptedEngine(turns([Raw("<tool_call>{"), Raw([5, 6]), Stop("length")])), ask(words)
    )
    ids = ids_of(frames)
    assert ids[0] == words.special_tokens["<tool_call>"]
    assert ids[-2:] == [5, 6]
    assert frames[-1].finish_reason == "length"


async def test_limits_and_stop_ids_end_the_turn(words, ask):
    comma = pick_tokenizer(words).encode_ordinary("a, b")[-2]
    limited, _ = await collect(ScriptedEngine(turns("one two three four")), ask(words, max_tokens=2))
    assert len(ids_of(limited)) == 2
    assert limited[-1].finish_reason == "length"
    stopped, _ = await collect(ScriptedEngine(turns("a, b")), ask(words, stop_token_ids=(comma,)))
    assert ids_of(stopped)[-1] == comma
    assert stopped[-1].finish_reason == "stop"


async def test_a_model_told_not_to_think_does_not(words, chat):
    model = ScriptedModel(script=lambda _: [Think("secret"), Say("open")])
    closed = chat(words, ("user", "hi"), ends_with="<think>\n\n</think>\n\n")
    forced = chat(words, ("user", "hi"), ends_with="<think>\n")
    assert "secret" not in rendered(words, model.turn(closed, words, SamplingOptions()).ids)
    assert rendered(words, model.turn(forced, words, SamplingOptions()).ids).startswith("secret</think>")


async def test_faults(words, ask):
    with pytest.raises(EngineStatusError, match="answered 503: not now") as refused:
        await collect(ScriptedEngine(turns(Refuse(503, "not now"))), ask(words))
    assert refused.value.transient
    with pytest.raises(EngineStreamError) as cut:
        await collect(ScriptedEngine(turns([Say("half"), Cut()])), ask(words))
    assert cut.value.delivered == len(pick_tokenizer(words).encode_ordinary("half"))


async def test_an_unexpected_request_is_an_error(words, ask):
    engine = ScriptedEngine(turns("only this"))
    await collect(engine, ask(words))
    with pytest.raises(ScriptError, match="request 2 was not expected"):
        await collect(engine, ask(words, "again"))


async def test_leaving_early_ends_the_stream(words, ask):
    engine = ScriptedEngine(ScriptedModel(script=turns("a b c d e f"), ids_a_second=50))
    async with engine.stream(ask(words)) as stream:
        async for _ in stream:
            break
        assert engine.open_streams == 1
    assert engine.open_streams == 0


async def test_a_map_without_the_marker_is_named(shared_map, ask):
    from codec_core.vocabulary import vocabulary_of

    qwen2 = vocabulary_of(shared_map("qwen/qwen2"))
    with pytest.raises(ScriptError, match=r"'qwen/qwen2' has no special token '<think>'"):
        await collect(ScriptedEngine(turns(Think("hm"))), ask(qwen2))


class TestPace:
    """On a clock that jumps to the next instant at which anything is due, so that no time is measured."""

    def test_pace_and_pauses_are_kept(self, words, ask):
        model = ScriptedModel(
            script=turns([Wait(0.03), Say("one two"), Wait(0.02)]), ids_a_second=200, first_id_after=0.02
        )

        async def instants():
            began, found = trio.current_time(), []
            async with ScriptedEngine(model).stream(ask(words)) as stream:
                async for frame in stream:
                    found += [trio.current_time() - began] * len(frame.ids)
            return found

        # 5 ms an id; before the first one 20 ms and the script's pause, before the end the other pause.
        found = trio.run(instants, clock=MockClock(autojump_threshold=0))
        assert found == pytest.approx([0.055, 0.06, 0.085])
