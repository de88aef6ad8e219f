"""What a text tells of lost ids: the truth, or nothing."""

import json
from random import Random

import pytest

from codec_agents.engines.stock.lost_ids import MOST_MISSING, Pieces, find_lost_ids
from codec_core.byte_level import encode_byte_level_chars
from codec_core.maps import parse_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary, vocabulary_of
from tests.texts import random_text


def losses(vocabulary, ids):
    """Yield what llama.cpp's server keeps back of a stream: (ids kept back, the id sent, the joined text)."""
    held, waiting = b"", []
    for token in ids:
        held += vocabulary.token_bytes(token)
        waiting.append(token)
        try:
            text = held.decode()
        except UnicodeDecodeError:
            continue
        if len(waiting) > 1:
            yield waiting[:-1], waiting[-1:], text
        held, waiting = b"", []


def random_ids(random, vocabulary):
    """The ids of a text, or any ordinary ids, as a model with random weights gives them."""
    if random.random() < 0.5:
        return pick_tokenizer(vocabulary).encode_ordinary(random_text(random))
    ordinary = [token for token in range(vocabulary.size) if token not in vocabulary.special_ids]
    return [random.choice(ordinary) for _ in range(60)]


@pytest.mark.parametrize("seed", range(10))
def test_what_is_found_is_what_was_lost(vocabulary, seed):
    random = Random(seed)
    met = found = 0
    for _ in range(20):
        for lost, known, text in losses(vocabulary, random_ids(random, vocabulary)):
            told = find_lost_ids(vocabulary, len(lost), known, text)
            assert told is None or list(told) == lost
            met += 1
            found += told is not None
    assert 0 < found <= met


def vocabulary_of_tokens(*tokens):
    """A byte-level vocabulary of these tokens, in bytes."""
    names = [encode_byte_level_chars(token) for token in tokens]
    vocab = {name: number for number, name in enumerate(names)}
    document = {"id": "t/t", "version": "2", "encoder": "byte_level", "vocab": vocab, "merges": []}
    return vocabulary_of(parse_map(json.dumps({**document, "vocab_size": len(vocab)}).encode()))


def test_two_readings_are_none():
    """Two bytes as one token or as two: one lost id can only be the one, two lost ids could be either."""
    umbrella = "☂".encode()
    both = vocabulary_of_tokens(umbrella[:2], umbrella[:1], umbrella[1:2], umbrella[2:])
    assert find_lost_ids(both, 1, [3], "☂") == (0,)
    assert find_lost_ids(both, 2, [3], "☂") is None
    single = vocabulary_of_tokens(umbrella[:1], umbrella[1:2], umbrella[2:])
    assert find_lost_ids(single, 2, [2], "☂") == (0, 1)


def test_too_many_are_not_looked_for(words):
    assert find_lost_ids(words, MOST_MISSING + 1, [], "☂" * 20) is None


VERSION_1 = {"id": "t/1", "version": "1", "encoder": "byte_level", "vocab_size": 4}


def test_pieces_are_all_ids_whose_bytes_end_inside_a_character(vocabulary):
    """Compared with a look at every id, which takes too long between two turns of an event loop."""
    expected = {}
    for token in range(vocabulary.size):
        if vocabulary.is_valid(token) and token not in vocabulary.special_ids:
            data = vocabulary.token_bytes(token)
            try:
                data.decode()
            except UnicodeDecodeError:
                expected.setdefault(data, []).append(token)
    pieces = Pieces(vocabulary)
    assert {data: sorted(pieces.ids(data)) for data in expected} == expected
    assert max(map(len, expected), default=1) <= pieces.longest


def test_ids_of_version_1_that_are_written_alike_are_two_readings():
    first, rest = (encode_byte_level_chars(each) for each in ("é".encode()[:1], "é".encode()[1:]))
    document = {**VERSION_1, "tokens": {"0": first, "1": first, "2": rest}}
    assert find_lost_ids(vocabulary_of(parse_map(json.dumps(document).encode())), 1, [2], "é") is None
    document["tokens"]["1"] = "x"
    assert find_lost_ids(vocabulary_of(parse_map(json.dumps(document).encode())), 1, [2], "é") == (0,)


def test_the_first_lost_id_costs_no_look_at_every_id(vocabulary, monkeypatch):
    looked_at = []
    own = Vocabulary.token_bytes

    def token_bytes(self, token):
        looked_at.append(token)
        return own(self, token)

    monkeypatch.setattr(Vocabulary, "token_bytes", token_bytes)
    vocabulary.derived.pop(Pieces, None)
    find_lost_ids(vocabulary, 1, [], "\u2602")
    assert len(looked_at) < 100


def test_a_text_with_millions_of_readings_is_looked_at_once(monkeypatch):
    """Tokens that cross characters: twelve of them divide 31 characters in 86 million ways."""
    one = "é".encode()
    crossing = [one[:1], *(one[1:] + one * count + one[:1] for count in range(30))]
    looked_up = []
    own = Pieces.ids
    monkeypatch.setattr(Pieces, "ids", lambda self, piece: looked_up.append(piece) or own(self, piece))
    assert find_lost_ids(vocabulary_of_tokens(*crossing), MOST_MISSING, [], "é" * 31) is None
    assert len(looked_up) < 1000
