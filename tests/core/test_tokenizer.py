"""Text to ids, equal to the models' own tokenizers."""

from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from codec_core import reference
from codec_core.byte_level import ALPHABET
from codec_core.detokenizer import detokenize
from codec_core.exceptions import TokenizerMapValidationError, UnencodableTextError
from codec_core.maps import AddedToken, TokenizerMap
from codec_core.merging.by_list import merge_symbols
from codec_core.merging.byte_level import MAX_ENGINE_TEXT
from codec_core.merging.pieces import PieceCache
from codec_core.pretokenizer import pretokenizer_of
from codec_core.tokenizer import BPETokenizer, LongestMatchTokenizer, Tokenizer, pick_tokenizer, tokenize
from codec_core.unicode.classes import category_ranges
from codec_core.vocabulary import vocabulary_of
from tests.cases import cases
from tests.conftest import load_shared_map, reference_cases
from tests.core.test_pretokenizer import (
    BYTE_LEVEL,
    DEEPSEEK,
    FALCON,
    GAPS,
    GPT_2,
    LOOKING,
    O200K_PROGRAM,
    REFERENCES,
)
from tests.limits import within
from tests.oracle import reference_ids, reference_tokenizer
from tests.texts import random_cuts, random_text

METASPACE = ["meta-llama/llama-2", "microsoft/phi-3", "mistralai/mistral-v3"]
FLATTENED = {"huggingfacetb/smollm2": "smollm", "tiiuae/falcon": "falcon"}
"""Published maps that flatten the several steps of the model's own pre-tokenizer; which steps those are."""

PHRASES = ["a", "b", "c", "ab", "bc", "abc", "abab", " ", "\n", "x", "é", "<s>", "▁", "aa", "漢"]


def byte_level_map(merges, special=None, **fields) -> TokenizerMap:
    """Return a byte-level map with these merges; ids in their order."""
    tokens = [*ALPHABET, *dict.fromkeys(merge.replace(" ", "") for merge in merges), *(special or [])]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    names = {name: vocab[name] for name in special or []}
    return TokenizerMap(
        id="test/bytes", version="2", vocab_size=len(vocab), vocab=vocab, merges=merges,
        encoder="byte_level", special_tokens=names, **fields,
    )  # fmt: skip


def metaspace_map(merges, characters="abcx▁é", special=("<s>",)) -> TokenizerMap:
    """Return a metaspace map with these merges and byte fallback."""
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *characters]
    tokens += [merge.replace(" ", "") for merge in merges]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    first = len(special)
    return TokenizerMap(
        id="test/words", version="2", vocab_size=len(vocab), vocab=vocab, merges=merges, encoder="metaspace",
        byte_fallback_start=first, byte_fallback_end=first + 255,
        special_tokens={name: vocab[name] for name in special},
    )  # fmt: skip


@pytest.mark.parametrize("map_id", [*BYTE_LEVEL, *METASPACE])
def test_ids_equal_the_reference(map_id, shared_map):
    tokenizer_map = shared_map(map_id)
    ours, theirs = pick_tokenizer(tokenizer_map), reference_tokenizer(tokenizer_map)
    random = Random(map_id)
    for _ in range(cases(400)):
        text = random_text(random)
        assert ours.encode(text) == reference_ids(theirs, text), text


@pytest.mark.parametrize("map_id", FLATTENED)
def test_ids_equal_the_reference_but_for_other_numbers(map_id, shared_map):
    """The reference follows the pattern here, and pattern and program agree on all ASCII numbers."""
    tokenizer_map = shared_map(map_id)
    ours, theirs = pick_tokenizer(tokenizer_map), reference_tokenizer(tokenizer_map)
    random = Random(map_id)
    for _ in range(cases(300)):
        text = "".join(c for c in random_text(random) if c.isascii() or not c.isnumeric())
        assert ours.encode(text) == reference_ids(theirs, text), text


@pytest.mark.parametrize("map_id", FLATTENED)
@pytest.mark.slow
def test_the_program_is_preferred_because_it_gives_the_models_ids(map_id, shared_map):
    """After a space: of all numbers for which program and pattern differ, the program is right for each."""
    tokenizer_map = shared_map(map_id)
    by_program = pick_tokenizer(tokenizer_map)
    by_pattern = pick_tokenizer(msgspec.structs.replace(tokenizer_map, pre_tokenizer_program=None))
    model = reference_tokenizer(tokenizer_map)
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [*REFERENCES[FLATTENED[map_id]][1], pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    differing = 0
    for number in NUMBERS:
        expected = reference_ids(model, f"a {number}")
        assert by_program.encode_ordinary(f"a {number}") == expected
        if by_pattern.encode_ordinary(f"a {number}") != expected:
            assert not number.isascii()
            differing += 1
    assert differing > 400


NUMBERS = [
    chr(point)
    for category in ("Nd", "Nl", "No")
    for start, stop in category_ranges()[category]
    for point in range(start, stop + 1)
]


@pytest.mark.parametrize("map_id", [*BYTE_LEVEL, *FLATTENED])
def test_the_ids_of_a_text_are_those_of_its_pieces(map_id, shared_map):
    """The engine cuts and merges a text in one call; the pieces are found here and merged one by one."""
    tokenizer_map = shared_map(map_id)
    assert_pieces_agree(tokenizer_map, Random(map_id), cases(300))


OTHER_PROGRAMS = {
    "o200k": O200K_PROGRAM,
    "deepseek": DEEPSEEK,
    "falcon": FALCON,
    "gaps": GAPS,
    "looking": LOOKING,
}


@pytest.mark.parametrize("program", OTHER_PROGRAMS)
@pytest.mark.slow
def test_the_ids_of_a_text_are_those_of_its_pieces_under_other_programs(program, shared_map):
    phi = shared_map("microsoft/phi-4")
    tokenizer_map = msgspec.structs.replace(phi, pre_tokenizer_program=OTHER_PROGRAMS[program])
    assert_pieces_agree(tokenizer_map, Random(1), cases(300))


def assert_pieces_agree(tokenizer_map: TokenizerMap, random: Random, cases: int) -> None:
    tokenizer = pick_tokenizer(tokenizer_map)
    cut = pretokenizer_of(tokenizer_map.pre_tokenizer_program, tokenizer_map.pre_tokenizer_pattern).cut
    for _ in range(cases):
        text = random_text(random)
        text = tokenizer.normalize(text) if tokenizer.normalizes else text
        assert tokenizer.encode_ordinary(text) == [
            number for piece in cut(text) for number in tokenizer.encode_ordinary(piece)
        ]


@pytest.mark.parametrize(
    "length", [MAX_ENGINE_TEXT, MAX_ENGINE_TEXT + 1, pytest.param(1_100_000, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("end", ["", "x"])
def test_runs_of_white_space_do_not_reach_the_limit_of_the_engine(length, end, shared_map):
    """The engine panics at a run of 1,000,000."""
    tokenizer_map = shared_map("microsoft/phi-4")
    text = " " * (length - len(end)) + end
    assert detokenize(tokenizer_map, pick_tokenizer(tokenizer_map).encode_ordinary(text)) == text


@pytest.mark.parametrize("name", ["gpt-2", "llama-bpe", "llama-spm"])
def test_reference_cases(name):
    tokenizer_map, cases = reference_cases(name)
    tokenizer = pick_tokenizer(tokenizer_map)
    for case in cases:
        assert tokenizer.encode_ordinary(case["text"]) == case["ids"]


@pytest.mark.parametrize("map_id", ["qwen/qwen2", "meta-llama/llama-2", "openai/r50k_base"])
@pytest.mark.parametrize(
    "word",
    [
        pytest.param("x" * 100_000, marks=pytest.mark.slow),
        "ab" * 50_000,
        pytest.param("漢字" * 20_000, marks=pytest.mark.slow),
        "aяא漢" * 10_000,
    ],
)
def test_long_words_equal_the_reference(map_id, word, shared_map):
    tokenizer_map = shared_map(map_id)
    ids = pick_tokenizer(tokenizer_map).encode_ordinary(word)
    if map_id != "meta-llama/llama-2" or len(word) < 50_000:
        assert ids == reference_ids(reference_tokenizer(tokenizer_map), word)
    assert detokenize(tokenizer_map, ids) == word


@pytest.mark.parametrize("map_id", [*BYTE_LEVEL, *METASPACE, *FLATTENED])
def test_ordinary_text_never_becomes_special(map_id, shared_map):
    tokenizer = pick_tokenizer(shared_map(map_id))
    special = tokenizer.vocabulary.special_ids
    for name in tokenizer.vocabulary.special_tokens:
        ids = tokenizer.encode_ordinary(f"a{name} {name}")
        assert special.isdisjoint(ids)
        assert tokenizer.encode(name) == [tokenizer.vocabulary.special_tokens[name]]


def test_a_special_token_that_merges_could_make_is_blocked():
    tokenizer = pick_tokenizer(byte_level_map(["< s", "<s >"], special=["<s>"]))
    special = tokenizer.vocabulary.special_tokens["<s>"]
    assert tokenizer.encode("<s>") == [special]
    assert special not in tokenizer.encode_ordinary("<s>")
    assert detokenize(tokenizer.vocabulary, tokenizer.encode_ordinary("x<s>")) == "x<s>"


def test_a_special_single_character_takes_part_in_no_merge():
    tokenizer_map = metaspace_map(["a b"], special=("<s>", "a"))
    tokenizer = pick_tokenizer(tokenizer_map)
    assert tokenizer.vocabulary.special_ids.isdisjoint(tokenizer.encode_ordinary("ab"))
    assert detokenize(tokenizer_map, tokenizer.encode_ordinary("ab")) == "ab"


def test_the_longest_special_token_wins_and_takes_its_white_space():
    tokenizer_map = byte_level_map(
        [],
        special=["<|a|>", "<|a|>b", "<|r|>"],
        added_tokens=[AddedToken("<|r|>", lstrip=True, rstrip=True)],
    )
    tokenizer = pick_tokenizer(tokenizer_map)
    names = tokenizer.vocabulary.special_tokens
    assert tokenizer.encode("<|a|>bc") == [names["<|a|>b"], ord("c")]
    assert tokenizer.encode("x <|r|>\n\ty") == [ord("x"), names["<|r|>"], ord("y")]
    assert tokenizer.encode("<|<|a|>") == [ord("<"), ord("|"), names["<|a|>"]]


def test_a_special_token_that_the_published_map_lacks_is_known_by_its_family(shared_map):
    phi = shared_map("microsoft/phi-3")
    tokenizer = pick_tokenizer(phi)
    assert "</s>" not in phi.special_tokens
    assert tokenizer.encode("a</s> b") == [*tokenizer.encode("a"), 2, *tokenizer.encode("b")]
    assert 2 not in tokenizer.encode_ordinary("</s>")
    assert detokenize(phi, [1, 2, *tokenizer.encode("a")]) == "a"


@pytest.mark.parametrize(
    ("map_id", "text", "kept"),
    [
        ("microsoft/phi-3", "a <|end|> \n b", "a  b"),  # the second stretch gets a prefix of its own
        ("microsoft/phi-4", "a <|im_end|> \n b", "ab"),
        ("qwen/qwen2", "a <|im_end|> \n b", "a  \n b"),
    ],
)
def test_which_published_vocabularies_lose_white_space_beside_special_tokens(map_id, text, kept, shared_map):
    tokenizer_map = shared_map(map_id)
    assert detokenize(tokenizer_map, pick_tokenizer(tokenizer_map).encode(text)) == kept


def test_special_lookalikes_are_linear(shared_map):
    tokenizer = pick_tokenizer(shared_map("mistralai/mistral-v3"))
    with within():
        tokenizer.encode("[control_" * 20_000)


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "🧳\ud83e"])
@pytest.mark.parametrize("make", [lambda: byte_level_map(["a b"]), lambda: metaspace_map(["a b"])])
def test_lone_surrogates_are_refused(text, make):
    tokenizer = pick_tokenizer(make())
    for encode in (tokenizer.encode, tokenizer.encode_ordinary):
        with pytest.raises(UnencodableTextError, match="surrogate"):
            encode(text)


def test_qwen_normalizes_to_nfc(shared_map):
    tokenizer = pick_tokenizer(shared_map("qwen/qwen2"))
    assert tokenizer.encode_ordinary("e\u0301") == tokenizer.encode_ordinary("é")
    plain = msgspec.structs.replace(shared_map("qwen/qwen2"), normalizer="none")
    assert pick_tokenizer(plain).encode_ordinary("e\u0301") != tokenizer.encode_ordinary("é")


def test_metaspace_keeps_newlines_and_runs_of_spaces(shared_map):
    llama = shared_map("meta-llama/llama-2")
    for text in (" ", "  a", "a\n\n b\t c  ", "\n"):
        assert detokenize(llama, pick_tokenizer(llama).encode_ordinary(text)) == text
    assert tokenize(llama, "") == []


merge_lists = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "ab", "bc", "aa", "abc", "ba", "abab"]),
              st.sampled_from(["a", "b", "c", "ab", "bc", "aa", "abc", "ba", "abab"])).map(" ".join),
    max_size=12,
)  # fmt: skip


@given(merge_lists, st.text("abc", max_size=14))
@settings(max_examples=cases(400), deadline=None)  # builds three tokenizers a case
def test_any_merge_list_is_followed_exactly(merges, text):
    """Also lists with duplicates, missing parts, and tokens whose listed split is never reached."""
    for ignore_merges in (False, True):
        vocabulary = vocabulary_of(byte_level_map(merges, ignore_merges=ignore_merges))
        if not merges:
            continue
        assert pick_tokenizer(vocabulary).encode_ordinary(text) == reference.encode_byte_level(
            vocabulary, text
        )
    if merges:
        vocabulary = vocabulary_of(metaspace_map(merges))
        expected = reference.encode_metaspace(vocabulary, text)
        assert pick_tokenizer(vocabulary).encode_ordinary(text) == expected


@given(merge_lists, st.text("abc '\n1!\u00a0", max_size=14), st.booleans())
@settings(max_examples=cases(300), deadline=None)
def test_any_merge_list_is_followed_exactly_within_the_pieces_of_a_pattern(merges, text, ignore_merges):
    if merges:
        fields = {"pre_tokenizer_pattern": GPT_2, "ignore_merges": ignore_merges}
        vocabulary = vocabulary_of(byte_level_map([*merges, "Ġ a", "Ġa b", "Ġ Ġ"], **fields))
        expected = reference.encode_byte_level(vocabulary, text)
        assert pick_tokenizer(vocabulary).encode_ordinary(text) == expected


@given(st.lists(st.sampled_from(PHRASES), max_size=12).map("".join))
@settings(max_examples=cases(300))
def test_metaspace_equals_its_definition(text):
    vocabulary = vocabulary_of(SMALL_WORDS)
    assert pick_tokenizer(vocabulary).encode_ordinary(text) == reference.encode_metaspace(vocabulary, text)


SMALL_WORDS = metaspace_map(["▁ a", "a b", "▁a b", "b c", "▁ ▁", "a a", "x ▁", "é é"])


@given(st.text("abc", max_size=30), merge_lists)
def test_the_heap_merges_as_the_definition_says(text, merges):
    ranks = {merge: place for place, merge in enumerate(merges)}
    assert merge_symbols(list(text), ranks) == reference.merge(list(text), merges)


@pytest.mark.parametrize("merge", ["ab", "a  b", " ab", "ab ", "a b c", ""])
def test_a_merge_that_is_not_two_tokens_is_refused(merge):
    with pytest.raises(TokenizerMapValidationError, match="merges"):
        pick_tokenizer(byte_level_map(["a b", merge]))


def test_merges_may_hold_newlines():
    """Some metaspace vocabularies merge them."""
    tokenizer = pick_tokenizer(metaspace_map(["\n \n", "\n\n \n", "a b"], characters="ab▁\n"))
    tokens = tokenizer.vocabulary.map.vocab
    ids = tokenizer.encode_ordinary("a\n\n\nab")
    assert ids == [tokens[token] for token in ("▁", "a", "\n\n\n", "ab")]


def test_a_merge_that_makes_no_token_is_refused():
    tokenizer_map = msgspec.structs.replace(byte_level_map(["a b"]), merges=["a b", "b c"])
    with pytest.raises(TokenizerMapValidationError, match="'b c'"):
        pick_tokenizer(tokenizer_map)


def test_deeply_nested_tokens_are_followed():
    merges = [f"{'a' * length} a" for length in range(1, 1500)]
    tokenizer = pick_tokenizer(byte_level_map(merges))
    assert detokenize(tokenizer.vocabulary, tokenizer.encode_ordinary("a" * 1500)) == "a" * 1500


def test_a_map_without_merges_takes_the_longest_match():
    tokenizer_map = TokenizerMap(
        id="a/b", version="2", vocab_size=4, vocab={"a": 0, "ab": 1, "abcd": 2, "c": 3}
    )
    tokenizer = pick_tokenizer(tokenizer_map)
    assert isinstance(tokenizer, LongestMatchTokenizer)
    assert not BPETokenizer.supports(tokenizer_map)
    assert tokenizer.encode("abcab") == [1, 3, 1]
    with pytest.raises(UnencodableTextError, match="'z'"):
        tokenizer.encode("az")
    with pytest.raises(ValueError, match="longest match"):
        BPETokenizer(tokenizer_map)


def plain_map(tokens) -> TokenizerMap:
    """Return a map without merges that falls back to bytes."""
    names = [*(f"<0x{byte:02X}>" for byte in range(256)), *tokens]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(names))}
    fallback = {"byte_fallback_start": 0, "byte_fallback_end": 255}
    return TokenizerMap(id="a/b", version="2", vocab_size=len(vocab), vocab=vocab, **fallback)


@given(
    st.lists(st.text("ab!", min_size=1, max_size=7), min_size=1, max_size=14),
    st.text("ab!x", max_size=20),
    st.randoms(use_true_random=False),
)
@settings(max_examples=cases(400))
def test_the_longest_match_equals_its_definition_however_the_text_comes(tokens, text, random):
    tokenizer = pick_tokenizer(plain_map(tokens))
    expected = reference.encode_longest_match(tokenizer.vocabulary, text)
    assert tokenizer.encode_ordinary(text) == expected
    given_ids, rest = [], ""
    for part in random_cuts(random, list(text)):
        ids, rest = tokenizer.settle(rest + "".join(part))
        given_ids += ids
    assert given_ids + tokenizer.encode_prepared(rest) == expected


def test_a_long_token_is_no_candidate_of_a_map_without_merges():
    with pytest.raises(TokenizerMapValidationError, match="1025 characters; without merges"):
        pick_tokenizer(plain_map(["a" * 1025]))


def test_a_tokenizer_of_another_kind_needs_an_id_and_encode():
    class Words(Tokenizer):
        @property
        def id(self) -> str:
            return "my/words"

        def encode(self, text: str) -> list[int]:
            return [len(word) for word in text.split()]

    assert (Words().id, Words().encode("a few words")) == ("my/words", [1, 3, 5])
    assert isinstance(pick_tokenizer(byte_level_map(["a b"])), Tokenizer)


def test_the_tokenizer_of_a_map_is_made_once():
    tokenizer_map = byte_level_map(["a b"])
    assert pick_tokenizer(tokenizer_map) is pick_tokenizer(vocabulary_of(tokenizer_map))
    assert pick_tokenizer(tokenizer_map).id == "test/bytes"


def test_the_piece_cache_is_bounded():
    cache = PieceCache(lambda piece: (len(piece),), limit=10)
    for number in range(1000):
        assert cache[str(number)] == (len(str(number)),)
        assert cache.held <= 10
    assert cache["x" * 1000] == (1000,)
    assert "x" * 1000 not in cache


def test_what_is_used_stays_in_the_cache():
    computed = []
    cache = PieceCache(lambda piece: (computed.append(piece) or len(piece),), limit=10)
    for number in range(100):
        assert cache["often"] == (5,)
        assert cache[str(number)]
    assert computed.count("often") == 1


ADVERSARIAL = {
    "a word without end": lambda size: "x" * size,
    "random letters": lambda size: "".join(Random(1).choices("abcdefghij", k=size)),
    "spaces": lambda size: " " * 5 * size,
    "alternating scripts": lambda size: "aяא漢" * (size // 4),
    "marks": lambda size: "a" + "\u0301\u0323" * (size // 2),
    "newlines": lambda size: "\n" * 2 * size,
    "digits": lambda size: "7" * size,
    "astral": lambda size: "𝔘🧳" * (size // 4),
    "apostrophes": lambda size: "'" * size,
}
"""Texts of about a size. At the smaller one already, quadratic work is a billion steps."""

SIZES = [pytest.param(30_000, id="30 KB"), pytest.param(200_000, id="200 KB", marks=pytest.mark.slow)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ADVERSARIAL)
@pytest.mark.parametrize("map_id", ["qwen/qwen2", "meta-llama/llama-2"])
def test_adversarial_texts_take_little_time_and_memory(name, map_id, size):
    tokenizer = pick_tokenizer(load_shared_map(map_id))
    tokenizer.encode_ordinary("warm 漢 \n")
    text = ADVERSARIAL[name](size)
    with within():
        ids = tokenizer.encode_ordinary(text)
    with within():
        back = detokenize(tokenizer.vocabulary, ids)
    assert back == (tokenizer.normalize(text) if tokenizer.normalizes else text)


@pytest.mark.parametrize("fallback", [{}, {"byte_fallback_start": 0, "byte_fallback_end": 255}])
def test_a_token_of_the_character_0_is_a_token_like_others(fallback):
    vocab = {"\0": 256, "a": 257, "aa": 258, "\0a": 259, "b\0a": 260, "b": 261, "\u2581": 262}
    merges = ["a a", "b \0a", "\0 a"]  # of which the second comes too early for ranks
    tokenizer_map = TokenizerMap.from_json(
        {"id": "a/b", "version": "2", "vocab_size": 263, "vocab": vocab, "merges": merges}
        | {"encoder": "metaspace", "metaspace_prefix": "never", **fallback}
    )
    tokenizer = pick_tokenizer(tokenizer_map)
    for text in ("\0", "a\0a", "\0\0aab\0", "b\0a"):
        ids = tokenizer.encode_ordinary(text)
        assert ids == reference.encode_metaspace(tokenizer.vocabulary, text)
        assert detokenize(tokenizer_map, ids) == text


def test_no_merge_takes_a_byte_without_a_token():
    vocab = {character: number for number, character in enumerate(ALPHABET) if character != ALPHABET[0xC3]}
    tokenizer_map = TokenizerMap.from_json(
        {"id": "a/b", "version": "2", "vocab_size": 301, "vocab": vocab | {"\0a": 300}, "merges": ["\0 a"]}
        | {"encoder": "byte_level", "missing_bytes": "apart"}
    )
    assert pick_tokenizer(tokenizer_map).encode_ordinary("\xc3a") == [vocab[ALPHABET[0x83]], vocab["a"]]
