"""A vocabulary that is dropped can be collected: no cache, whatever it keeps about a vocabulary, holds it."""

from __future__ import annotations

import ast
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import msgspec
import pytest

from codec_agents.dialects import BoundDialect, get_dialect
from codec_agents.engines.base import SamplingOptions
from codec_agents.engines.prompt_body import invalid_id
from codec_agents.engines.stock.lost_ids import find_lost_ids
from codec_agents.engines.stock.text_encoding import TextEncoder
from codec_agents.plan.nodes import BuiltEdge
from codec_agents.runtime.edges.transducers import PassThrough
from codec_agents.server.apis.families import dialect_of
from codec_agents.server.backends.backend import ServedModel
from codec_agents.server.gateway.history import Asked, history_of
from codec_agents.server.prompt_texts import PromptTexts
from codec_agents.server.settings import ServerSettings
from codec_agents.server.workers import Workers
from codec_core.detokenizer import Detokenizer
from codec_core.discovery.caches import shared_map
from codec_core.maps import TextToken, TokenizerMap, hash_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import Translator
from codec_core.vocabulary import Vocabulary, vocabulary_of
from tests.agents.dialects.families import small_map_of
from tests.test_layout import SOURCES, module_of


def passing(vocabulary: Vocabulary) -> PassThrough:
    return PassThrough(BuiltEdge("a", "answer", "b", "x", "pass_through", vocabulary, vocabulary, 0))


def measuring(vocabulary: Vocabulary) -> None:
    """Look for the longest token, as for a prompt with more characters than a context has ids."""
    texts, served = PromptTexts(ServerSettings(), Workers()), ServedModel("m", vocabulary, 100)
    anyio.run(texts.check_length, 90, served, SamplingOptions(max_tokens=20), "prompt")


USES: dict[str, Callable[[Vocabulary], Any]] = {
    "tokenizer": lambda v: pick_tokenizer(v).encode("a <|im_start|> b"),
    "detokenizer": lambda v: Detokenizer(v).render([65, 66]),
    "translator": lambda v: Translator(v, v).translate([65, 66]),
    "view": lambda v: pick_tokenizer(v.with_control(["<plan>"])).encode("<plan>"),
    "dialect": lambda v: BoundDialect(get_dialect("hermes"), v),
    "chat": dialect_of,
    "checked ids": lambda v: invalid_id([65, 66], v),
    "lost ids": lambda v: find_lost_ids(v, 1, [pick_tokenizer(v).encode("a")[0]], "ba"),
    "text": lambda v: TextEncoder(v).feed("a b"),
    "edge": passing,
    "longest token": measuring,
    "history": lambda v: history_of(Asked(b"t", "m", []), BoundDialect(get_dialect("hermes"), v)),
}


@pytest.mark.parametrize("name", USES)
def test_what_uses_a_vocabulary_lets_go_of_it(name: str) -> None:
    gc.freeze()  # what other tests keep is not looked through
    base = small_map_of("hermes")
    vocab = {**(base.vocab or {}), "<plan>": max((base.vocab or {}).values()) + 1}
    data = msgspec.structs.replace(base, vocab=vocab, text_tokens=[TextToken("<plan>")]).to_json()
    own: TokenizerMap = shared_map(data, hash_map(data))
    assert shared_map(data, hash_map(data)) is own
    USES[name](vocabulary_of(own))
    gone = weakref.ref(own), weakref.ref(vocabulary_of(own))
    del own
    gc.collect()
    assert [each() for each in gone] == [None, None]


PLAIN = {"str", "int", "bool", "float", "None", "frozenset", "tuple"}
"""The types of values that hold nothing else alive."""


def cached_functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield each function of the packages whose results `functools` keeps by its arguments."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                kept = {ast.unparse(each).partition("(")[0] for each in node.decorator_list}
                if kept & {"cache", "lru_cache", "functools.cache", "functools.lru_cache"}:
                    yield f"{module_of(path)}.{node.name}", node


def types_of(function: ast.FunctionDef) -> set[str]:
    """Return the names of the types of a function's arguments, and `name=` for one without a type."""
    given = [each for each in ast.walk(function.args) if isinstance(each, ast.arg)]
    typed = [each.annotation for each in given if each.annotation is not None]
    words = [word.id for each in typed for word in ast.walk(each) if isinstance(word, ast.Name)]
    return {*words, *(f"{each.arg}=" for each in given if each.annotation is None)}


def test_no_cached_function_is_given_a_vocabulary() -> None:
    """Such a cache would hold its arguments; what is derived from a vocabulary is kept with it instead."""
    taken = {name: types_of(node) for name, node in cached_functions()}
    assert len(taken) > 10
    assert {name: types - PLAIN for name, types in taken.items() if types - PLAIN} == {}


def test_no_table_of_a_module_refers_to_vocabularies() -> None:
    """Even a weak one keeps those alive that its values refer to."""
    found = [
        f"{module_of(path)}: {ast.unparse(node)}"
        for path in SOURCES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.AnnAssign) and "Dict" in ast.unparse(node.annotation)
        if "Vocabulary" in ast.unparse(node.annotation)
    ]
    assert found == []
