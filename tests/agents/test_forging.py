"""No content makes a control id: every special token of every map, cut at every place.

The two halves come in neighbouring slots, as two results, as a result beside its call's id, over an edge in
two batches, as text over an edge, and over an edge that keeps the names of special tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from codec_agents.dialects import (
    BoundDialect,
    CallRegion,
    ResultForm,
    ToolCall,
    derive_dialect,
    dialects,
    get_dialect,
)
from codec_agents.exceptions import DialectError
from codec_agents.graph.chat import Chat
from codec_agents.plan.nodes import BuiltEdge, strategy_between
from codec_agents.runtime.edges.transducers import EncodeText, PassThrough
from codec_agents.tools.calls import Attempt, ToolContext
from codec_agents.tools.dispatch import Dispatcher
from codec_agents.tools.tool import ResultIds, Tool, make_tool, tool
from codec_agents.vocabularies import bundled_map
from codec_core.maps import TokenizerMap
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import Translator
from codec_core.vocabulary import Vocabulary, vocabulary_of
from tests.agents.dialects.families import few, small_map_of
from tests.conftest import maps_directory

QUICK = ("qwen/qwen2", "meta-llama/llama-2", "mistralai/mistral-v3")
"""Maps of three kinds of tokenizer; the other ones are for the slow tests."""

MAPS = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for path in sorted(maps_directory().glob("*/*.json"))
    # claude-3-text stands for text, and has no tokens of its own.
    if (name := path.relative_to(maps_directory()).with_suffix("").as_posix()) != "anthropic/claude-3-text"
] or ["qwen/qwen2"]

SharedMap = Callable[[str], TokenizerMap]


def halves(vocabulary: Vocabulary) -> Iterator[tuple[str, str]]:
    """Yield each special token's name, cut at every place; the last cut leaves it whole."""
    for name in vocabulary.special_tokens:
        for place in range(1, len(name) + 1):
            yield name[:place], name[place:]


def edge(source: Vocabulary, target: Vocabulary, *, keep_special: bool = False) -> BuiltEdge:
    strategy = strategy_between(source, target)
    return BuiltEdge("a", "answer", "b", "x", strategy, source, target, 1024, keep_special=keep_special)


@pytest.mark.parametrize("map_id", MAPS)
def test_halves_in_neighbouring_slots_and_texts(map_id: str, shared_map: SharedMap) -> None:
    own = shared_map(map_id)
    vocabulary, encode = vocabulary_of(own), pick_tokenizer(own).encode_ordinary
    template = BoundDialect(get_dialect("plain"), own).template(Chat(user="{a}{b}"))
    control = vocabulary.special_ids
    fair = [i for i in template.render({"a": [], "b": []}) if i in control]
    for left, right in halves(vocabulary):
        ids = template.render({"a": encode(left), "b": encode(right)})
        assert [i for i in ids if i in control] == fair, (left, right)


@pytest.mark.parametrize("map_id", MAPS)
@pytest.mark.parametrize("keep_special", [False, True])
def test_halves_over_an_edge_in_two_batches(map_id: str, keep_special: bool, shared_map: SharedMap) -> None:
    target, source = vocabulary_of(shared_map(map_id)), vocabulary_of(bundled_map("demo/bytes"))
    encode, control = pick_tokenizer(source).encode_ordinary, target.special_ids
    translator = Translator(source, target, keep_special=keep_special)
    for left, right in halves(target):
        translator.reset()
        ids = [*translator.feed(encode(left)), *translator.feed(encode(right)), *translator.flush()]
        assert control.isdisjoint(ids), (left, right)


@pytest.mark.parametrize("map_id", MAPS)
def test_specials_over_an_edge_within_one_map(map_id: str, shared_map: SharedMap) -> None:
    own = vocabulary_of(shared_map(map_id))
    control = own.special_ids
    dropping, spelling = PassThrough(edge(own, own)), PassThrough(edge(own, own, keep_special=True))
    for special in control:
        assert [*dropping.feed([special]), *dropping.flush()] == []
        assert control.isdisjoint([*spelling.feed([special]), *spelling.flush()])


@pytest.mark.parametrize("map_id", MAPS)
def test_halves_as_text_over_an_edge(map_id: str, shared_map: SharedMap) -> None:
    own = vocabulary_of(shared_map(map_id))
    for left, right in halves(own):
        encoder = EncodeText(edge(own, own))
        encoder.feed(left)
        encoder.feed(right)
        assert own.special_ids.isdisjoint(encoder.flush()), (left, right)


@pytest.mark.asyncio
@pytest.mark.parametrize("map_id", MAPS)
async def test_halves_as_prepared_results(map_id: str, shared_map: SharedMap) -> None:
    own = vocabulary_of(shared_map(map_id))
    assert own.hash is not None

    @tool
    async def say() -> ResultIds:
        return ResultIds((left, right), own.hash or "", left + right)

    dispatcher = Dispatcher([say], vocabulary=own)
    for left, right in halves(own):
        attempt = await dispatcher.run(ToolCall(0, "say", {}, None, "say()"), ToolContext("run", "node"))
        assert attempt.ids is not None
        assert own.special_ids.isdisjoint(attempt.ids), (left, right)


def attempts(left: str, right: str) -> list[Attempt]:
    """Return results with the halves in them, between them, and in what the model called its call."""
    told = [left, right, left + right, f'{left}"}}']
    return [Attempt(ToolCall(0, right, {}, left, ""), "ok", text) for text in told]


SLOTTED = Chat(
    turns=[
        {"user": "{a}{b}"},
        {"assistant": "", "calls": [{"name": "f", "arguments": {"x": "{a}{b}", "y": ["{b}"]}}]},
        {"tool": "{a}{b}"},
    ]
)
"""What is declared to have been said, called and found out, with slots in every place that has some."""


def slots_of_calls(name: str) -> bool:
    """Tell whether a family's declared calls take slots."""
    calls = get_dialect(name).calls
    written = calls.written if calls is not None else None
    return written is not None and not (
        written.bare_strings and "<arg_value>" not in get_dialect(name).all_markers()
    )


@pytest.mark.parametrize("name", few([name for name in dialects() if slots_of_calls(name)]))
def test_halves_in_slots_of_declared_calls_and_results(name: str) -> None:
    bound = BoundDialect(get_dialect(name), small_map_of(name))
    encode, control = pick_tokenizer(bound.vocabulary).encode_ordinary, bound.vocabulary.special_ids
    template = bound.template(SLOTTED, [])
    fair = [i for i in template.render({"a": encode("x"), "b": encode("y")}) if i in control]
    for left, right in halves(bound.vocabulary):
        ids = template.render({"a": encode(left), "b": encode(right)})
        assert [i for i in ids if i in control] == fair, (left, right)


@pytest.mark.parametrize("name", few([name for name in dialects() if slots_of_calls(name)]))
def test_halves_in_declared_calls_themselves(name: str) -> None:
    """A declaration is the user's own, and still no text in it is a marker."""
    bound = BoundDialect(get_dialect(name), small_map_of(name))
    control = bound.vocabulary.special_ids

    def controls(text: str) -> list[int]:
        call = {"name": "f", "arguments": {"x": text.replace("{", "{{").replace("}", "}}")}}
        chat = Chat(turns=[{"user": "Hi"}, {"assistant": "", "calls": [call]}, {"tool": "R"}])
        return [i for i in bound.template(chat, []).render({}) if i in control]

    fair = controls("x")
    for token in bound.vocabulary.special_tokens:
        assert controls(token) == fair, token
        assert controls(f'{token}", "y": "') == fair, token


def check_results(bound: BoundDialect) -> None:
    control = bound.vocabulary.special_ids
    fair = [i for i in bound.extend([], "stop", attempts("x", "y")) if i in control]
    for left, right in halves(bound.vocabulary):
        ids = bound.extend([], "stop", attempts(left, right))
        assert [i for i in ids if i in control] == fair, (left, right)


@pytest.mark.parametrize("name", few([name for name in dialects() if get_dialect(name).results is not None]))
def test_halves_in_results_of_each_family(name: str) -> None:
    check_results(BoundDialect(get_dialect(name), small_map_of(name)))


@pytest.mark.parametrize("name", few([name for name in dialects() if get_dialect(name).tools is not None]))
def test_halves_in_what_is_told_of_a_tool(name: str) -> None:
    """Descriptions of tools and of parameters come from servers as well as from us."""
    plain = BoundDialect(get_dialect(name), small_map_of(name))
    control = plain.vocabulary.special_ids
    chat = Chat(system="Be brief.", user="Hi")

    def forged(left: str, right: str) -> list[int]:
        schema = {"type": "object", "properties": {right: {"type": "string", "description": left + right}}}
        told = replace(make_tool(_nothing), description=f"{left}{right} {left}", parameters=schema)
        return [i for i in plain.template(chat, [told]).render({}) if i in control]

    fair = forged("x", "y")
    for left, right in halves(plain.vocabulary):
        assert forged(left, right) == fair, (left, right)


def _nothing() -> None:
    """Do nothing."""


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("map_id", MAPS)
async def test_halves_as_arguments_and_from_a_file(
    map_id: str, shared_map: SharedMap, tmp_path: Path
) -> None:
    """What a model spells in an argument, or a tool reads from a file, comes back to it as text."""
    own = vocabulary_of(shared_map(map_id))
    bound = BoundDialect(get_dialect("plain").model_copy(update=HERMES_FORMS), own, [keep_in(tmp_path)])
    tokenizer, control = pick_tokenizer(own), own.special_ids
    dispatcher = Dispatcher(bound.tools.values(), vocabulary=own)

    def encode(text: str) -> list[int]:
        return tokenizer.encode_prepared(tokenizer.prepare(text, first=False))

    begin, end = encode('{"name": "keep", "arguments": {"text": "'), encode('"}}')
    for name in own.special_tokens:
        for place in range(len(name) + 1):
            left, right = (
                json.dumps(half, ensure_ascii=False)[1:-1] for half in (name[:place], name[place:])
            )
            payload = (*begin, *encode(left), *encode(right), *end)
            assert control.isdisjoint(payload)
            (call,) = bound.parse_calls(CallRegion(payload, 0, len(payload), closed=True))
            assert call.arguments == {"text": name}, place
        attempt = await dispatcher.run(call, ToolContext("run", "node"))
        assert attempt.text == name
        assert control.isdisjoint(bound.extend([], "stop", [attempt])), name


HERMES_FORMS = {name: getattr(get_dialect("hermes"), name) for name in ("tools", "calls")} | {
    "results": ResultForm(each="[{content}]", then="nothing")
}


def keep_in(folder: Path) -> Tool:
    """Return a tool that writes its argument into a file, and gives what the file holds."""

    @tool
    def keep(text: str) -> str:
        (folder / "kept.txt").write_text(text, encoding="utf-8")
        return (folder / "kept.txt").read_text(encoding="utf-8")

    return keep


@pytest.mark.slow
@pytest.mark.parametrize("map_id", MAPS)
def test_halves_in_results_in_each_real_vocabulary(map_id: str, shared_map: SharedMap) -> None:
    try:
        dialect, _ = derive_dialect(shared_map(map_id))
    except DialectError:
        pytest.skip("the map is of no family")
    if dialect.results is None:
        pytest.skip("the family has no tools")
    check_results(BoundDialect(dialect, shared_map(map_id)))
