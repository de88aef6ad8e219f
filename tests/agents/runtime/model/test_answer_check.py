"""Answers with a declared form: enforced where the engine can, checked on arrival, and corrected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from codec_agents import Pipeline, PipelineError
from codec_agents.cli.documents import result_document
from codec_agents.engines.base import WHOLE
from codec_agents.exceptions import NodeFailedError, OutputError
from codec_agents.testing import ScriptedEngine, Turns, turns
from codec_agents.vocabularies import bundled_map
from codec_core.detokenizer import detokenize
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of

pytestmark = pytest.mark.anyio


class Trip(BaseModel):
    city: str
    days: int


TRIP_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}


def asking(said: Turns | ScriptedEngine, output: Any, **fields: Any) -> Pipeline:
    engine = ScriptedEngine(said) if isinstance(said, Turns) else said
    p = Pipeline("one").input("q").sink("out")
    p.model("m", engine=engine, map="demo/bytes", output=output, **{"prompt": "{q}", **fields})
    return p.connect("q", "m.q").connect("m.answer", "out")


VALID = [
    (Trip, '{"city": "Oslo", "days": 3}', Trip(city="Oslo", days=3)),
    ({"schema": Trip}, '{"city": "Oslo", "days": 3}', Trip(city="Oslo", days=3)),
    ({"schema": TRIP_SCHEMA}, '{"city": "Oslo", "days": 3}', {"city": "Oslo", "days": 3}),
    ({"regex": r"\d{4}-\d\d"}, "2026-11", "2026-11"),
    ({"choices": ["yes", "no"]}, " no\n", "no"),
]


@pytest.mark.parametrize(("output", "said", "value"), VALID)
async def test_a_valid_answer_has_a_value(output: Any, said: str, value: Any) -> None:
    result = await asking(turns(said), output).invoke({"q": "?"})
    assert result.value == {"m": value}
    assert result.text == {"out": said}
    assert result.usage["m"].turns == 1


INVALID = [
    (Trip, '{"city": "Oslo"}', "days: Field required"),
    (Trip, "Oslo", "Invalid JSON"),
    ({"schema": TRIP_SCHEMA}, '{"city": "Oslo", "days": "3"}', r"\$.days: '3' is not of type 'integer'"),
    ({"schema": TRIP_SCHEMA}, '{"city": NaN, "days": 3}', "JSON has no NaN"),
    ({"schema": {"type": "integer"}}, "[" * 5_000, "not JSON"),
    ({"regex": r"\d+"}, "12a", "'12a' does not match"),
    ({"choices": ["yes", "no"]}, "maybe", "'maybe' is none of them"),
]


@pytest.mark.parametrize(("output", "said", "reason"), INVALID)
async def test_an_invalid_answer_without_retries_is_a_typed_error(
    output: Any, said: str, reason: str
) -> None:
    declared = {"schema": output} if isinstance(output, type) else output
    sampling = {"max_tokens": 9_000}
    policy = {"limits": {"max_ids": 9_000}}
    p = asking(turns(said), {**declared, "retries": 0}, sampling=sampling, policy=policy)
    with pytest.raises(NodeFailedError, match=reason) as raised:
        await p.invoke({"q": "?"})
    assert isinstance(raised.value.cause, OutputError)
    assert raised.value.cause.text == said


async def test_the_model_is_told_what_was_wrong_and_the_first_answer_does_not_leave() -> None:
    said = turns('{"city": {}}', '{"city": "Oslo", "days": 3}')
    result = await asking(said, Trip).invoke({"q": "Where {to}?"})
    assert result.text == {"out": '{"city": "Oslo", "days": 3}'}
    assert result.value == {"m": Trip(city="Oslo", days=3)}
    assert result.usage["m"].turns == 2
    told = said.prompts[1].messages[-1].text
    assert "city: Input should be a valid string; days: Field required." in told
    assert '"title": "Trip"' in told


async def test_a_correction_extends_the_conversation_exactly() -> None:
    engine = ScriptedEngine(turns("maybe", "no"))
    await asking(engine, {"choices": ["yes", "no"]}).invoke({"q": "?"})
    first, second = engine.requests
    text = detokenize(second.vocabulary, second.prompt_ids[len(first.prompt_ids) :])
    assert second.prompt_ids[: len(first.prompt_ids)] == first.prompt_ids
    assert text.startswith("maybe")


async def test_an_answer_that_stays_wrong_fails_after_the_retries() -> None:
    said = turns("maybe", "perhaps", "hm")
    with pytest.raises(
        NodeFailedError, match="after 0 ids: the answer of node 'm' does not have its form: 'hm'"
    ):
        await asking(said, {"choices": ["yes", "no"], "retries": 2}).invoke({"q": "?"})


async def test_a_cut_answer_says_so() -> None:
    with pytest.raises(NodeFailedError, match="it was cut after 3 ids"):
        await asking(
            turns("abcdefgh"), {"regex": "[a-z]{8}", "retries": 0}, sampling={"max_tokens": 3}
        ).invoke({"q": "?"})


async def test_a_corrected_run_replays_to_the_same_value(tmp_path: Path) -> None:
    p = asking(turns("maybe", "no"), {"choices": ["yes", "no"]})
    first = await p.invoke({"q": "?"}, record=tmp_path / "run.jsonl")
    again = await p.replay(tmp_path / "run.jsonl").execute()
    assert again.value == first.value == {"m": "no"}


@pytest.mark.slow
async def test_an_expression_that_takes_too_long_is_refused() -> None:
    with pytest.raises(NodeFailedError, match="took too long"):
        await asking(turns("a" * 60 + "!"), {"regex": "(a|a)+$|(a+)+b", "retries": 0}).invoke({"q": "?"})


class Enforcing(ScriptedEngine):
    """A model that, like a grammar's, can be told the form."""

    enforced_forms = frozenset({"json_schema", "choice"})


async def test_an_engine_that_enforces_a_form_is_told_it() -> None:
    engine = Enforcing(turns("no"))
    await asking(engine, {"choices": ["yes", "no"]}).invoke({"q": "?"})
    assert engine.requests[0].options.structured == {"choice": ["yes", "no"]}
    plain = ScriptedEngine(turns("no"))
    await asking(plain, {"choices": ["yes", "no"]}).invoke({"q": "?"})
    assert plain.requests[0].options.structured is None


async def test_explain_says_who_enforces_a_form() -> None:
    output = {"choices": ["yes", "no"]}
    notes = {type(e): str(asking(e, output).explain()) for e in (Enforcing(turns()), ScriptedEngine(turns()))}
    assert "answers with choice: enforced by the engine, and checked on arrival" in notes[Enforcing]
    assert "checked on arrival, since the engine has no way to enforce it" in notes[ScriptedEngine]


def routing(engine: Any, **fields: Any) -> Pipeline:
    p = Pipeline("route").input("q").sink("out")
    p.router(
        "way", engine=engine, map="demo/bytes", prompt="{q}", labels={"left": "a", "right": "b"}, **fields
    )
    for name in ("a", "b"):
        p.model(name, engine=ScriptedEngine(lambda _: "here"), map="demo/bytes", prompt="{q}")
        p.connect("q", f"{name}.q").connect(f"{name}.answer", "out")
    return p.connect("q", "way.q")


async def test_a_router_without_default_tells_an_enforcing_engine_its_labels() -> None:
    engine = Enforcing(turns("left"))
    await routing(engine).invoke({"q": "?"})
    assert engine.requests[0].options.structured == {"choice": ["left", "right"]}


class Choosing(Enforcing):
    """A model that can be told the only ids that may be drawn."""

    enforced_forms = frozenset({"json_schema", "choice", "ids"})


BYTES = vocabulary_of(bundled_map("demo/bytes"))


async def test_one_id_decides_where_the_labels_begin_differently(tmp_path: Path) -> None:
    engine = Choosing(turns("right"))
    p = routing(engine)
    result = await p.invoke({"q": "?"}, record=tmp_path / "run.jsonl")
    asked = engine.requests[0]
    first_ids = [pick_tokenizer(BYTES).encode_ordinary(label)[0] for label in ("left", "right")]
    assert asked.options.structured == {"ids": first_ids}
    assert (asked.options.max_tokens, asked.stream_interval) == (1, WHOLE)
    assert p.build().nodes["way"].has_max_tokens  # type: ignore[attr-defined]
    assert result.usage["way"].generated_ids == 1
    assert (result.outcomes["a"], result.outcomes["b"]) == ("skipped", "finished")
    assert "one id decides" in str(p.explain())
    again = await p.replay(tmp_path / "run.jsonl").execute()
    assert again.outcomes == result.outcomes


def between(engine: Any, *labels: str) -> Pipeline:
    """Return a router with two labels, which start the nodes `a` and `b`."""
    p = Pipeline("route").input("q").sink("out")
    chosen = dict(zip(labels, "ab", strict=True))
    p.router("way", engine=engine, map="demo/words", prompt="{q}", labels=chosen)
    for name in "ab":
        p.function(name, lambda value: value, map="demo/words")
        p.connect("q", f"{name}.value").connect(name, "out")
    return p.connect("q", "way.q")


@pytest.mark.parametrize(("said", "chosen"), [("in", "a"), ("into", "b")])
async def test_a_label_that_begins_another_is_told_from_it_by_its_id(said: str, chosen: str) -> None:
    engine = Choosing(turns(said))
    result = await between(engine, "in", "into").invoke({"q": "?"})
    assert result.usage["way"].generated_ids == 1
    assert result.outcomes[chosen] == "finished"


async def test_labels_that_begin_with_one_id_are_held_to_their_text() -> None:
    engine = Choosing(turns("form"))
    result = await between(engine, "for", "form").invoke({"q": "?"})
    assert engine.requests[0].options.structured == {"choice": ["for", "form"]}
    assert engine.requests[0].options.max_tokens > 1
    assert result.outcomes["b"] == "finished"


async def test_an_engine_that_draws_another_id_than_those_it_was_told_is_not_believed() -> None:
    with pytest.raises(NodeFailedError, match="left"):
        await routing(Choosing(turns("x"))).invoke({"q": "?"})


async def test_a_router_with_a_default_leaves_room_for_other_answers() -> None:
    engine = Enforcing(turns("neither"))
    await routing(engine, default="b").invoke({"q": "?"})
    assert engine.requests[0].options.structured is None


def look() -> str:
    """Look."""
    return ""


FAULTS = [
    ({"regex": "a", "choices": ["b"]}, {}, "exactly one of schema, regex, choices, grammar"),
    ({}, {}, "exactly one of"),
    ({"regex": "("}, {}, "not a regular expression"),
    ({"schema": {"type": "nonsense"}}, {}, "not a JSON Schema"),
    ({"schema": "json:loads"}, {}, "schema"),
    ({"grammar": "root ::= 'a'"}, {}, "enforces no grammar"),
    ({"regex": "a"}, {"tools": [look]}, "the form forbids the calls"),
    ({"regex": "a"}, {"sampling": {"structured": {"regex": "b"}}}, "both `output` and `sampling.structured`"),
    ({"regex": "a"}, {"prompt": [{"slot": "q"}]}, "no user's turn"),
]


@pytest.mark.parametrize(("output", "fields", "found"), FAULTS)
def test_a_form_that_cannot_be_is_refused_at_the_build(
    output: Any, fields: dict[str, Any], found: str
) -> None:
    with pytest.raises(PipelineError, match=found):
        asking(turns(), output, **fields).build()


def test_a_form_is_written_to_a_file_and_read_back() -> None:
    text = """
pipeline: one
engines: {e: {kind: scripted, script: "no"}}
nodes:
  m: {prompt: "{q}", map: demo/bytes, output: {schema: {type: string}, retries: 2}}
edges: [q -> m.q, m.answer -> out]
"""
    p = Pipeline.from_yaml(text)
    assert Pipeline.from_yaml(p.to_yaml()).spec == p.spec
    assert "schema:" in p.to_yaml()


def test_a_value_is_in_the_document_that_the_command_prints() -> None:
    result = asking(turns('{"city": "Oslo", "days": 3}'), Trip).invoke_sync({"q": "?"})
    assert result_document(result, "one")["value"] == {"m": {"city": "Oslo", "days": 3}}
