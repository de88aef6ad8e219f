"""Maps made in memory, which have no hash: two of them are the same only where their content is."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from codec_agents import Chat, Pipeline, tool
from codec_agents.dialects import Message, get_dialect
from codec_agents.exceptions import (
    ApprovalRequiredError,
    InputError,
    PauseError,
    PipelineError,
    RecordError,
)
from codec_agents.records.reader import read_record
from codec_agents.runtime.pause import Pause
from codec_agents.server.backends.pipeline_ends import sink_of, vocabulary_at
from codec_agents.server.gateway.history import Asked, history_of
from codec_agents.testing import Call, PromptView, ScriptedEngine
from codec_agents.trace.texts import TextReader
from codec_agents.vocabularies import bundled_map, bundled_map_bytes
from codec_core.maps import TokenizerMap
from codec_core.vocabulary import vocabulary_of


def in_memory(*, other: bool = False) -> TokenizerMap:
    """Return the map `demo/bytes` without a hash; the other one of its id has two letters exchanged."""
    fields = json.loads(bundled_map_bytes("demo/bytes"))
    if other:
        vocab = fields["vocab"]
        vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    return TokenizerMap.from_json(fields)


@tool(approval=True)
def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


def declared(*maps: TokenizerMap, script: object = lambda _: "ok") -> Pipeline:
    """Return models side by side, one of each map, before one sink."""
    p = Pipeline("p").input("q").sink("reader")
    for number, tokenizer_map in enumerate(maps):
        engine = ScriptedEngine(script)
        p.model(f"m{number}", engine=engine, map=tokenizer_map, prompt=Chat(user="{q}"), tools=[pay])
        p.connect("q", f"m{number}").connect(f"m{number}", "reader")
    return p


@pytest.mark.asyncio
async def test_histories_and_records_continue_with_equal_content_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    first = await declared(in_memory()).invoke({"q": "go"}, record=path)
    history = first.histories["m0"]
    assert history.map_hash == in_memory().identity == read_record(path).header["maps"]["demo/bytes"]
    await declared(in_memory()).invoke({"q": "go"}, after=first)
    assert (await declared(in_memory()).replay(path).execute()).text == first.text
    with pytest.raises(InputError, match=f"node 'm0' is of a map with the hash {history.map_hash}"):
        declared(in_memory(other=True)).run({"q": "go"}, after=first)
    with pytest.raises(RecordError, match="use the map of the record"):
        declared(in_memory(other=True)).replay(path)
    unknown = msgspec.structs.replace(history, map_hash=None)
    with pytest.raises(InputError, match="does not say which map"):
        declared(in_memory()).run({"q": "go"}, after={"m0": unknown})


@pytest.mark.asyncio
async def test_a_pause_resumes_with_equal_content_alone() -> None:
    def script(prompt: PromptView) -> object:
        return [Call("pay", amount=3)] if prompt.turn == 1 else "ok"

    with pytest.raises(ApprovalRequiredError) as caught:
        await declared(in_memory(), script=script).invoke({"q": "go"})
    pause = caught.value.pause
    assert (await declared(in_memory()).resume(pause, [True]).execute()).text == {"reader": "ok"}
    with pytest.raises(PauseError, match=r"at node 'm0'.*resume with the map of the pause"):
        declared(in_memory(other=True)).resume(pause, [True])
    unknown = Pause.from_json(msgspec.structs.replace(pause, maps={"m0": None}).to_json())
    with pytest.raises(PauseError, match="an unknown hash at node 'm0'"):
        declared(in_memory()).resume(unknown, [True])


def test_ids_that_reach_one_sink_are_of_one_content() -> None:
    same = declared(in_memory(), in_memory()).build()
    assert vocabulary_at(same, sink_of(same, None)).identity == in_memory().identity
    apart = declared(in_memory(), in_memory(other=True)).build()
    with pytest.raises(PipelineError, match="ids of several maps reach this sink: demo/bytes"):
        vocabulary_at(apart, sink_of(apart, None))


def test_conversations_of_a_gateway_are_of_one_content() -> None:
    def origin(tokenizer_map: TokenizerMap) -> bytes:
        bound = get_dialect("qwen3").bind(vocabulary_of(tokenizer_map), [])
        return history_of(Asked(b"t", "m", [Message(role="user", content="go")]), bound).origin

    assert origin(in_memory()) == origin(in_memory())
    assert origin(in_memory()) != origin(in_memory(other=True))


def test_ids_of_an_unknown_map_are_not_shown_as_text() -> None:
    texts, known = TextReader(), bundled_map("demo/bytes")
    assert texts.decode(known.id, known.hash, [0]) is not None
    assert texts.decode(known.id, None, [0]) is None
