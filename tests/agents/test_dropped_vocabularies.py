"""A vocabulary that is dropped can be collected: no cache, whatever it keeps about a vocabulary, holds it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from codec_agents.dialects import BoundDialect, get_dialect
from codec_agents.engines.prompt_body import invalid_id
from codec_agents.engines.stock.lost_ids import find_lost_ids
from codec_agents.engines.stock.text_encoding import TextEncoder
from codec_agents.server.apis.families import dialect_of
from codec_core.detokenizer import Detokenizer
from codec_core.discovery.caches import shared_map
from codec_core.maps import TextToken, TokenizerMap, hash_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import Translator
from codec_core.vocabulary import Vocabulary, vocabulary_of
from tests.agents.dialects.families import small_map_of

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
