"""Markers that a tokenizer file lists as text: a dialect binds them, and content cannot forge them."""

from __future__ import annotations

import msgspec
import pytest

from codec_agents import Pipeline
from codec_agents.dialects import BoundDialect, dialects, get_dialect
from codec_agents.graph.chat import Chat
from codec_agents.plan.nodes import strategy_between
from codec_agents.runtime.edges.transducers import EncodeText, PassThrough
from codec_agents.vocabularies import bundled_map
from codec_core.maps import TextToken, TokenizerMap, parse_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import Translator
from codec_core.vocabulary import vocabulary_of
from tests.agents.dialects.families import few, small_map_of
from tests.agents.test_forging import SLOTTED, check_results, edge, halves, slots_of_calls


def all_as_text(own: TokenizerMap) -> TokenizerMap:
    """Return a map whose control tokens are text tokens, and which has a newline as one besides."""
    vocab = {**(own.vocab or {}), "\n": max((own.vocab or {}).values()) + 1}
    text = [TextToken(name) for name in [*(own.special_tokens or {}), "\n"]]
    made = msgspec.structs.replace(own, vocab=vocab, special_tokens=None, tool_calling=None, text_tokens=text)
    return parse_map(made.to_json())


@pytest.mark.parametrize("name", few([name for name in dialects() if slots_of_calls(name)]))
def test_halves_in_slots(name: str) -> None:
    own = all_as_text(small_map_of(name))
    assert vocabulary_of(own).special_ids == frozenset()
    bound = BoundDialect(get_dialect(name), own)
    control = bound.vocabulary.special_ids
    assert control == {(own.vocab or {})[marker] for marker in get_dialect(name).all_markers()}
    encode = pick_tokenizer(bound.vocabulary).encode_ordinary
    template = bound.template(SLOTTED, [])
    fair = [i for i in template.render({"a": encode("x"), "b": encode("y")}) if i in control]
    for left, right in halves(bound.vocabulary):
        ids = template.render({"a": encode(left), "b": encode(right)})
        assert [i for i in ids if i in control] == fair, (left, right)


@pytest.mark.parametrize("name", few([name for name in dialects() if get_dialect(name).results is not None]))
def test_halves_in_results(name: str) -> None:
    check_results(BoundDialect(get_dialect(name), all_as_text(small_map_of(name))))


@pytest.mark.parametrize("keep_special", [False, True])
def test_halves_over_edges(keep_special: bool) -> None:
    """From another vocabulary, from the same one under another dialect, and as text."""
    own = all_as_text(small_map_of("hermes"))
    plain, bound = vocabulary_of(own), BoundDialect(get_dialect("hermes"), own).vocabulary
    other = vocabulary_of(bundled_map("demo/bytes"))
    translator = Translator(other, bound, keep_special=keep_special)
    encode, control = pick_tokenizer(other).encode_ordinary, bound.special_ids
    for left, right in halves(bound):
        translator.reset()
        ids = [*translator.feed(encode(left)), *translator.feed(encode(right)), *translator.flush()]
        assert control.isdisjoint(ids), (left, right)
        encoder = EncodeText(edge(plain, bound))
        encoder.feed(left)
        encoder.feed(right)
        assert control.isdisjoint(encoder.flush()), (left, right)
    assert strategy_between(plain, bound) == "pass_through"
    over = PassThrough(edge(plain, bound, keep_special=keep_special))
    for name in bound.special_tokens:
        ids = over.feed(pick_tokenizer(plain).encode_ordinary(name))
        assert ids == pick_tokenizer(bound).encode_ordinary(name)
        assert control.isdisjoint(ids)
    assert over.dropped == 0


def test_a_declared_dialect_makes_its_markers_control_for_its_nodes() -> None:
    base = bundled_map("demo/bytes")
    vocab = {**(base.vocab or {}), "<plan>": max((base.vocab or {}).values()) + 1}
    made = msgspec.structs.replace(base, vocab=vocab, text_tokens=[TextToken("<plan>")])
    own = parse_map(made.to_json())
    p = Pipeline("plans")
    p.engine("desk", kind="scripted", script="hello")
    markers = [*get_dialect("hermes").markers, "<plan>"]
    p.dialect("planner", like="hermes", fields={"markers": markers})
    p.input("question")
    for name, dialect in (("free", "hermes"), ("bound", "planner")):
        p.model(name, engine="desk", map=own, dialect=dialect, prompt=Chat(user="{q}"))
    p.sink("out")
    p.connect("question", "free.q")
    p.connect("free.answer", "bound.q")
    p.connect("bound.answer", "out")
    built = p.build()
    free, bound = (built.nodes[name].vocabulary for name in ("free", "bound"))
    assert vocab["<plan>"] not in free.special_ids
    assert vocab["<plan>"] in bound.special_ids
    (between,) = built.edges_into("bound")
    assert (between.source_vocabulary, between.target_vocabulary) == (free, bound)


def test_maps_made_in_memory_are_the_same_only_as_one_object() -> None:
    """They have no hash, which would make any two of them equal."""
    first, second = (TokenizerMap(id=name, version="2", vocab_size=1, vocab={name: 0}) for name in ("a", "b"))
    assert strategy_between(vocabulary_of(first), vocabulary_of(second)) == "translate"
    assert strategy_between(vocabulary_of(first), vocabulary_of(first)) == "pass_through"
