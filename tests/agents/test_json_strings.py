"""Ids inside the quotes of a JSON string."""

from __future__ import annotations

import json

import pytest

from codec_agents.prompts import JsonStrings
from codec_core.vocabulary import vocabulary_of
from tests.agents.test_forging import MAPS
from tests.conftest import load_shared_map


@pytest.mark.parametrize("name", MAPS)
def test_every_id_of_the_shared_maps_is_escaped_by_itself(name: str) -> None:
    vocabulary = vocabulary_of(load_shared_map(name))
    strings, spell = JsonStrings(vocabulary), vocabulary.byte_table.__getitem__
    for token_id in vocabulary.ordinary().values():
        if token_id in vocabulary.special_ids:
            continue
        escaped = strings.escape([token_id])
        assert vocabulary.special_ids.isdisjoint(escaped)
        written = b"".join(map(spell, escaped)).decode("latin-1")  # an id may begin or end inside a character
        assert json.loads(f'"{written}"').encode("latin-1") == spell(token_id)
