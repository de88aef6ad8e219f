"""Added tokens: found in text as the reference finds them, in every cut, and never control by accident."""

from __future__ import annotations

import json
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken as HfToken
from tokenizers import Tokenizer as HfTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers

from codec_core import reference, vocabulary
from codec_core.added import AddedTokens, AddedTokenStream, is_word
from codec_core.building import build_from_tokenizer_json
from codec_core.byte_level import ALPHABET
from codec_core.detokenizer import Detokenizer, detokenize
from codec_core.exceptions import TokenizerMapValidationError
from codec_core.maps import AddedToken, TextToken, TokenizerMap, parse_map
from codec_core.text_stream import text_stream
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import Translator
from codec_core.vocabulary import vocabulary_of
from tests.cases import cases
from tests.core.test_detokenizer import byte_map
from tests.core.test_tokenizer import byte_level_map, metaspace_map, plain_map
from tests.texts import random_cuts, random_text

BYTE_MERGES = ["Ġ t", "h e", "Ġt he", "i n", "Ġ Ġ", "ĠĠ ĠĠ", "Ċ Ċ", "a b", "ab ab", "Ġ a", "Ã ©"]
WORD_MERGES = ["▁ t", "h e", "▁t he", "i n", "▁ ▁", "▁▁ ▁▁", "\n \n", "a b", "ab ab", "▁ a"]
SPACES = [" " * count for count in range(2, 12)]
TABS = ["\t" * count for count in range(2, 6)]
NEWLINES = ["\n" * count for count in range(1, 10)]
MARKS = ["▁" * count for count in range(2, 10)]
TAGS = ["<table>", "</table>", "<h1>", "<unused1>", "<unused12>", "<", "<fcel>", "<fcel><fcel>"]
WORDS = ["hello", "hello there", "naïve", "é", "e\u0301", "the", "ab", "_x", "日本"]


def byte_level(normalizer=None) -> HfTokenizer:
    """Return a byte-level tokenizer with a few merges."""
    tokens = [*ALPHABET, *(merge.replace(" ", "") for merge in BYTE_MERGES)]
    vocab = {token: number for number, token in enumerate(tokens)}
    made = HfTokenizer(models.BPE(vocab=vocab, merges=[tuple(merge.split()) for merge in BYTE_MERGES]))
    if normalizer:
        made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def words(*, tokens=(), pre_tokenizer=None, steps=()) -> HfTokenizer:
    """Return a tokenizer that marks spaces, with byte fallback and a few merges."""
    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abcdefghilmnoprstuvwxyz<>/1\n", *tokens]
    names += [merge.replace(" ", "") for merge in WORD_MERGES]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(names))}
    made = HfTokenizer(
        models.BPE(
            vocab=vocab,
            merges=[tuple(merge.split(" ")) for merge in WORD_MERGES],
            byte_fallback=True,
            fuse_unk=True,
            unk_token="<unk>",
        )
    )
    if steps:
        made.normalizer = normalizers.Sequence(list(steps))
    if pre_tokenizer:
        made.pre_tokenizer = pre_tokenizer
    made.add_special_tokens([HfToken("<unk>", normalized=False, special=True)])
    return made


def added(names, **flags) -> list[HfToken]:
    return [HfToken(name, **{"normalized": False, "special": False, **flags}) for name in names]


def gemma() -> HfTokenizer:
    """Newlines, runs of marked spaces and tags, some of them in the model's vocabulary."""
    made = words(tokens=["\n\n\n", "▁▁▁"], steps=[normalizers.Replace(" ", "▁")])
    made.add_tokens(added([*NEWLINES, *MARKS, *TAGS]))
    return made


def neox() -> HfTokenizer:
    """Runs of spaces that are looked for in normalized text."""
    made = byte_level(normalizers.NFC())
    made.add_tokens(added([*SPACES, "naïve"], normalized=True))
    made.add_special_tokens([HfToken("<|endoftext|>", normalized=False, special=True)])
    return made


def phi_2() -> HfTokenizer:
    """Runs of spaces and tabs; CodeGen has the same."""
    made = byte_level()
    made.add_tokens(added([*SPACES, *TABS], normalized=True))
    made.add_special_tokens([HfToken("<|endoftext|>", normalized=False, special=True)])
    return made


def fine_tuned() -> HfTokenizer:
    """Words and tags with every flag."""
    made = byte_level(normalizers.NFC())
    made.add_tokens(added(["hello", "the", "ab", "_x"], single_word=True))
    made.add_tokens(added(["hello there", "<h1>", "naïve"], lstrip=True))
    made.add_tokens(added(["<table>", "</table>", "日本"], rstrip=True))
    made.add_tokens(added(["<fcel>"], lstrip=True, rstrip=True))
    made.add_tokens(added(["e\u0301", "<fcel><fcel>"], normalized=True, single_word=True))
    made.add_tokens(added(["\n", "\n\n", "  ", "<"]))
    made.add_special_tokens([HfToken("<|end|>", normalized=False, special=True, rstrip=True)])
    return made


def llama_words() -> HfTokenizer:
    """Words added to a tokenizer that puts a mark before each stretch as it normalizes."""
    made = words(steps=[normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.add_tokens(added(["hello", "ab", "the he"], normalized=True))
    made.add_tokens(added(["<h1>", "\n\n", "é", "  "]))
    return made


def mistral_words() -> HfTokenizer:
    """Words added to a tokenizer that puts one mark before the text, as it cuts."""
    made = words(pre_tokenizer=pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False))
    made.add_tokens(added(["hello", "ab", "the he", " in"], normalized=True))
    made.add_tokens(added(["<h1>", "\n\n", "é", "  "]))
    return made


MAKERS = [gemma, neox, phi_2, fine_tuned, llama_words, mistral_words]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the reference and our map of each of the tokenizers."""
    made = {}

    def build(maker) -> tuple[HfTokenizer, TokenizerMap]:
        if maker not in made:
            path = tmp_path_factory.mktemp(maker.__name__) / "tokenizer.json"
            theirs = maker()
            theirs.save(str(path))
            made[maker] = (theirs, parse_map(build_from_tokenizer_json(path, map_id="test/added")))
        return made[maker]

    return build


def text_with_tokens(random: Random, names) -> str:
    """Return a text in which added tokens lie side by side, within words and white space."""
    parts = []
    for _ in range(random.randint(0, 14)):
        kind = random.random()
        if kind < 0.5:
            parts.append(random.choice(names))
        elif kind < 0.7:
            parts.append(random.choice([" ", "\n", "\t", "  ", "a", "the", " the", "_", "é", "1", "he"]))
        else:
            parts.append(random_text(random, 3))
    return "".join(parts)


ALL_NAMES = [*SPACES, *TABS, *NEWLINES, *MARKS, *TAGS, *WORDS, "<|end|>", "<|endoftext|>", "<unk>"]


@pytest.mark.parametrize("maker", MAKERS)
def test_ids_equal_the_reference_and_the_definition(maker, built):
    theirs, own = built(maker)
    ours, random = pick_tokenizer(own), Random(1)
    for _ in range(cases(400)):
        text = text_with_tokens(random, ALL_NAMES)
        theirs.encode_special_tokens = False
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids, text
        if "<|" not in text and "<unk>" not in text:  # there, what is control reads as ordinary text
            theirs.encode_special_tokens = True
            expected = theirs.encode(text, add_special_tokens=False).ids
            assert ours.encode_ordinary(text) == expected, text
        assert ours.encode_ordinary(text) == reference.encode_ordinary(ours.vocabulary, text), text


@pytest.mark.parametrize("maker", MAKERS)
def test_every_cut_of_a_text_gives_the_same_ids(maker, built):
    _, own = built(maker)
    tokenizer, random = pick_tokenizer(own), Random(2)
    stream = text_stream(tokenizer)
    for _ in range(cases(300)):
        text = text_with_tokens(random, ALL_NAMES)
        ids = []
        for part in random_cuts(random, list(text)):
            ids += stream.feed("".join(part))
        ids += stream.finish()
        stream.restart()
        assert ids == tokenizer.encode_ordinary(text), text


@pytest.mark.parametrize("maker", MAKERS)
def test_every_cut_of_a_translation_gives_the_same_ids(maker, built):
    _, own = built(maker)
    tokenizer, random = pick_tokenizer(own), Random(3)
    translator = Translator(byte_map(), own)
    for _ in range(cases(200)):
        data = list(text_with_tokens(random, ALL_NAMES).encode())
        ids = [number for part in random_cuts(random, data) for number in translator.feed(part)]
        ids += translator.flush()
        assert ids == tokenizer.encode_ordinary(bytes(data).decode())
        assert translator.held_bytes == 0


@pytest.mark.parametrize("maker", [gemma, phi_2])
def test_a_text_comes_back_whole(maker, built):
    theirs, own = built(maker)
    tokenizer, random = pick_tokenizer(own), Random(4)
    for _ in range(cases(300)):
        text = text_with_tokens(random, [name for name in ALL_NAMES if "▁" not in name])
        text = "".join(c for c in text if c != "▁")
        ids = tokenizer.encode_ordinary(text)
        assert detokenize(own, ids) == text
        detokenizer = Detokenizer(own)
        parts = [detokenizer.feed(part) for part in random_cuts(random, ids)]
        assert "".join(parts) + detokenizer.flush() == text
        if maker is phi_2:
            assert theirs.decode(ids) == text


def test_a_text_token_decodes_to_its_text_where_its_letters_also_spell_bytes(built):
    """The reference's decoder reads `é` as the byte that the alphabet writes so, and gives U+FFFD."""
    _, own = built(fine_tuned)
    assert detokenize(own, [own.vocab["naïve"]]) == "naïve"
    assert vocabulary_of(own).token_bytes(own.vocab["naïve"]) == "naïve".encode()


names = st.lists(st.text("ab \n_", min_size=1, max_size=5), min_size=1, max_size=6, unique=True)


@given(names, st.lists(st.integers(0, 7), min_size=6, max_size=6), st.text("ab \n_", max_size=24), st.data())
@settings(max_examples=cases(500))
def test_any_tokens_are_found_in_any_text_as_the_definition_says(contents, flags, text, data):
    tokens = {
        name: AddedToken(name, lstrip=bool(flag & 1), rstrip=bool(flag & 2), single_word=bool(flag & 4))
        for name, flag in zip(contents, flags, strict=False)
    }
    ids = {name: number for number, name in enumerate(tokens)}
    expected = [part if isinstance(part, str) else ids[part.content] for part in find_added(text, tokens)]
    found = AddedTokens({name: (ids[name], token) for name, token in tokens.items()})
    assert found.split(text) == expected
    stream, parts = AddedTokenStream(found), []
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True):
        parts += stream.feed(text[start:stop])
    assert joined([*parts, *stream.finish()]) == expected


find_added = reference.find_added


def joined(parts) -> list[str | int]:
    """Return the parts with neighbouring stretches put together."""
    whole: list[str | int] = []
    for part in parts:
        if whole and isinstance(part, str) and isinstance(whole[-1], str):
            whole[-1] += part
        else:
            whole.append(part)
    return whole


def test_which_characters_are_of_a_word_is_as_in_the_reference():
    theirs = HfTokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    theirs.add_tokens([HfToken("\x01", single_word=True, normalized=False)])
    number = theirs.token_to_id("\x01")
    points = [p for p in range(2, 0x110000) if not 0xD800 <= p < 0xE000]
    sample = {*range(2, 0x3000), *Random(1).sample(points, 12_000), *range(0x1F100, 0x1F200)}
    for point in sample:
        alone = number in theirs.encode(f"\x01{chr(point)}").ids
        assert is_word(chr(point)) != alone, hex(point)


def with_text_tokens(base: TokenizerMap, *tokens: TextToken) -> TokenizerMap:
    """Return a map with more text tokens."""
    vocab = dict(base.vocab)
    for token in tokens:
        vocab.setdefault(token.content, max(vocab.values()) + 1)
    return TokenizerMap.from_json(
        msgspec.structs.replace(base, vocab=vocab, text_tokens=list(tokens)).to_json()
    )


def test_control_tokens_never_come_out_of_ordinary_text_and_text_tokens_do():
    base = byte_level_map(["< s", "<s >"], special=["<s>", "<e>"])
    own = with_text_tokens(base, TextToken("<h1>"), TextToken("\n\n"), TextToken("<"))
    tokenizer = pick_tokenizer(own)
    ids = tokenizer.encode_ordinary("a<s>\n\n<h1><e>")
    assert tokenizer.vocabulary.special_ids.isdisjoint(ids)
    assert {own.vocab[name] for name in ("<h1>", "\n\n", "<")} <= {*ids}
    assert detokenize(own, ids) == "a<s>\n\n<h1><e>"
    assert tokenizer.encode("<s><h1>") == [own.vocab["<s>"], own.vocab["<h1>"]]


def test_one_view_is_made_at_a_time_so_threads_share_it(monkeypatch):
    plain, held = vocabulary_of(with_text_tokens(byte_level_map(["< t"]), TextToken("<think>"))), []

    def facts_of(tokenizer_map):
        held.append(vocabulary._MAKING_VIEWS.locked())
        return plain.facts

    monkeypatch.setattr(vocabulary, "facts_of", facts_of)
    views = [plain.with_control(["<think>"]) for _ in range(2)]
    assert held == [True]
    assert views[0] is views[1]


@pytest.mark.parametrize("special", [["<think>"], ["<think>", "</think>"]])
def test_a_dialect_makes_text_tokens_control(special):
    own = with_text_tokens(
        byte_level_map(["< t"]), TextToken("<think>"), TextToken("</think>"), TextToken("\n")
    )
    plain = vocabulary_of(own)
    bound = plain.with_control(special)
    assert plain.with_control(special) is bound is bound.with_control(special)
    assert plain.with_control(["unknown"]) is plain
    assert plain.special_ids == frozenset()
    assert bound.special_tokens == {name: own.vocab[name] for name in special}
    text = "a<think>\n</think>b"
    ids = pick_tokenizer(bound).encode_ordinary(text)
    assert bound.special_ids.isdisjoint(ids)
    assert own.vocab["\n"] in ids
    assert detokenize(bound, ids) == detokenize(plain, pick_tokenizer(plain).encode_ordinary(text)) == text
    assert detokenize(bound, [own.vocab["<think>"]]) == ""
    source = byte_map()
    for cut in range(len(text)):
        translator = Translator(source, bound)
        given = translator.feed(list(text[:cut].encode())) + translator.translate(list(text[cut:].encode()))
        assert given == ids


def test_a_token_that_the_model_does_not_have_is_no_piece_of_text():
    """It is not whole where it is part of a word, and then the model's own pieces spell it."""
    base = byte_level_map(["a b"], ignore_merges=True, pre_tokenizer_pattern=r"\p{N}+|\p{L}+")
    own = with_text_tokens(base, TextToken("ba", single_word=True))
    ids = pick_tokenizer(own).encode_ordinary("ba1 ba")
    assert ids == [own.vocab[name] for name in ("b", "a", "1", "Ġ", "ba")]


def test_a_map_without_merges_finds_them_too():
    own = with_text_tokens(plain_map(["a", "ab"]), TextToken("b!", single_word=True), TextToken("aab"))
    tokenizer = pick_tokenizer(own)
    ids = tokenizer.encode_ordinary("aab b! ab!a")
    assert ids == [own.vocab["aab"], 0x20, own.vocab["b!"], 0x20, own.vocab["ab"], ord("!"), own.vocab["a"]]
    stream = text_stream(tokenizer)
    assert [n for c in "aab b! ab!a" for n in stream.feed(c)] + stream.finish() == ids


def test_a_reader_that_does_not_know_the_field_decodes_them_as_text():
    own = with_text_tokens(byte_level_map(["a b"]), TextToken("\n\n"))
    document = json.loads(own.to_json())
    del document["text_tokens"]
    old = TokenizerMap.from_json(document)
    assert detokenize(old, pick_tokenizer(own).encode_ordinary("a\n\nb")) == "a\n\nb"


REFUSED = {
    "not in vocab": ([TextToken("zz")], {}, "'zz' is not in vocab"),
    "empty": ([TextToken("")], {}, "is empty"),
    "twice": ([TextToken("ab"), TextToken("ab")], {}, "given twice"),
    "control": ([TextToken("<s>")], {}, "text or control"),
    "two readings": ([TextToken("é", in_model=True)], {}, "spelling of other bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_contradicts_itself_is_refused(name):
    tokens, fields, message = REFUSED[name]
    base = byte_level_map(["a b"], special=["<s>"])
    with pytest.raises(TokenizerMapValidationError, match=message):
        TokenizerMap.from_json(msgspec.structs.replace(base, text_tokens=tokens, **fields).to_json())


def test_a_control_token_that_is_the_only_token_of_a_byte_is_refused():
    own = byte_level_map(["a b"], special=["!"])
    with pytest.raises(TokenizerMapValidationError, match=r"'!' .* is the only token of byte 0x21"):
        pick_tokenizer(own)


def test_a_control_token_in_the_range_of_bytes_is_refused():
    own = metaspace_map(["a b"])
    with pytest.raises(TokenizerMapValidationError, match=r"special_tokens: '<0x0A>' has id 11"):
        TokenizerMap.from_json(msgspec.structs.replace(own, special_tokens={"<0x0A>": 11}).to_json())
    vocab = {token: number for token, number in own.vocab.items() if number != 11} | {"x\n": 11}
    other = msgspec.structs.replace(own, vocab=vocab)
    with pytest.raises(TokenizerMapValidationError, match="the token of byte 0x0a"):
        with_text_tokens(other, TextToken("x\n"))


def test_long_runs_are_read_in_linear_time_however_they_come():
    own = with_text_tokens(byte_level_map(["a b"]), *(TextToken(" " * n) for n in range(2, 1000)))
    stream = text_stream(pick_tokenizer(own))
    ids = [number for _ in range(5000) for number in stream.feed(" ")] + stream.finish()
    assert ids == pick_tokenizer(own).encode_ordinary(" " * 5000)


def test_a_name_that_normalization_leaves_nothing_of_is_refused():
    tokenizer_map = TokenizerMap.from_json(
        {"id": "a/b", "version": "2", "vocab_size": 4, "vocab": {"\u2581": 0, "a": 1, "\u2581a": 2, " ": 3}}
        | {"encoder": "metaspace", "merges": ["\u2581 a"]}
        | {"normalizer": "rules", "normalizer_rules": {"collapses_spaces": True}}
        | {"text_tokens": [{"content": " ", "normalized": True}]}
    )
    with pytest.raises(TokenizerMapValidationError, match="nothing is left of ' ' once it is normalized"):
        pick_tokenizer(tokenizer_map).encode_ordinary("a a")
