"""Rules of normalization: SentencePiece's tables, written here unit by unit."""

import struct
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from random import Random

import msgspec
import pytest

from codec_core import reference
from codec_core.building import build_from_gguf, build_from_sentencepiece
from codec_core.detokenizer import Detokenizer
from codec_core.exceptions import MapBuildError, TokenizerMapValidationError
from codec_core.maps import TokenizerMap, parse_map
from codec_core.text_stream import text_stream
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import Translator
from codec_core.unicode.replacement_rules import (
    MAX_BYTES,
    ReplacementRules,
    RuleError,
)
from codec_core.unicode.rule_stream import CollapsedSpaces, RuleStream
from tests.core.building.gguf_files import gguf
from tests.core.building.test_sentencepiece_model import (
    BYTE,
    CONTROL,
    NORMAL,
    UNIGRAM,
    UNKNOWN,
    USER_DEFINED,
    field,
    model,
)
from tests.limits import within
from tests.texts import random_cuts

RULES = {
    "\n": " ",
    "\u3000": " ",
    "\u2581": " ",
    "\ufb01": "fi",
    "\u00bd": "1\u20442",
    "a\u0301": "\u00e1",
    "a\u0301\u0302": "\u1ea5",
    "\U0001d400": "A",
    "\x01": "",
}


@cache
def table_of(rules: tuple[tuple[str, str], ...]) -> bytes:
    return _table(dict(rules))


def table(rules: Mapping[str, str]) -> bytes:
    """Return a table of rules, whose trie shares no paths."""
    return table_of(tuple(rules.items()))


def _table(rules: Mapping[str, str]) -> bytes:
    tree: dict = {}
    replacements = b""
    for key, replacement in rules.items():
        node = tree
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[0] = len(replacements)
        replacements += replacement.encode() + b"\0"
    units, used = [0] * 2**16, {0}

    def place(node: dict, parent: int, flags: int) -> None:
        base = next(
            base
            for base in range(1, 2**15)
            if base not in bases and used.isdisjoint(base ^ byte for byte in node) and parent ^ base
        )
        bases.add(base)
        used.update(base ^ byte for byte in node)
        units[parent] = (parent ^ base) << 10 | flags
        for byte, child in node.items():
            if byte:
                place(child, base ^ byte, byte | (256 if 0 in child else 0))
            else:
                units[base] = child | 1 << 31

    bases: set[int] = set()
    place(tree, 0, 0)
    size = (max(used) | 255) + 1  # whole blocks, as the libraries expect
    return struct.pack(f"<I{size}I", size * 4, *units[:size]) + replacements


def replaced(text: str, kept: Sequence[str] = ()) -> str:
    """Return a text with the longest rule applied at each place that begins no kept text: the definition."""
    out = ""
    while text:
        if name := max((name for name in kept if text.startswith(name)), key=len, default=""):
            out, text = out + name, text[len(name) :]
            continue
        key = max((key for key in RULES if text.startswith(key)), key=len, default="")
        out, text = out + (RULES[key] if key else text[0]), text[len(key) or 1 :]
    return out


def collapsed(text: str) -> str:
    """Return it with single spaces, and none at the ends."""
    return " ".join(part for part in text.split(" ") if part).rstrip(" \u2581")


def random_texts(random: Random, count: int) -> list[str]:
    characters = [*"".join(RULES), *"ab  ", "\u0301", "\u0302", "\x00", "\U0001d401"]
    return ["".join(random.choices(characters, k=random.randrange(12))) for _ in range(count)]


def test_the_longest_rule_replaces_however_a_text_is_cut():
    rules, random = ReplacementRules(table(RULES)), Random(1)
    for text in random_texts(random, 400):
        assert rules.apply(text) == replaced(text), text
        for collapses in (False, True):
            expected = collapsed(replaced(text)) if collapses else replaced(text)
            stream = RuleStream(rules, CollapsedSpaces() if collapses else None)
            assert stream.feed(text) + stream.flush() == expected, text
            parts = ["".join(part) for part in random_cuts(random, list(text))]
            assert "".join(map(stream.feed, parts)) + stream.flush() == expected, parts


@pytest.mark.memory
@pytest.mark.slow
def test_the_largest_table_costs_little():
    units = struct.pack("<I", 0x61) * (MAX_BYTES // 4 - 2)
    with within(megabytes=96), pytest.raises(RuleError, match="or a circle"):
        ReplacementRules(struct.pack("<I", len(units)) + units + b"a\0bc")
    with pytest.raises(RuleError, match="there must be 8 to"):
        ReplacementRules(bytes(MAX_BYTES + 1))


def test_damaged_tables_are_refused_and_never_looked_at_without_end():
    whole, random, read = table(RULES), Random(2), 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(random.randrange(1, 4)):
            damaged[random.randrange(len(whole))] = random.randrange(256)
        try:
            rules = ReplacementRules(
                bytes(damaged[: random.choice([len(whole), random.randrange(len(whole))])])
            )
        except RuleError:
            continue
        read += 1
        rules.apply("".join(RULES))
    assert read  # damage within a replacement shows nowhere


def circle() -> bytes:
    """Return a table in which a unit leads to the place that it counts from."""
    units = [0] * 256
    units[0] = 128 << 10
    units[128 ^ 97] = ((128 ^ 97) ^ 128) << 10 | 97
    return struct.pack("<I256I", 1024, *units) + b"x\0"


def branches_that_share_their_ends(steps: int) -> bytes:
    """Return a table with a branch of so many steps, and one of as many that leads on behind its first."""
    units = [0] * 256 * (2 * steps + 2)
    units[0] = 256 << 10
    for first, path in (
        (97, [1, *range(2, steps + 2)]),
        (98, [1, *range(steps + 2, 2 * steps + 1), 2]),
    ):
        for base, to in pairwise(path):
            byte = first if base == 1 else 120
            place = 256 * base ^ byte
            units[place] = (place ^ 256 * to) << 10 | byte
    return struct.pack(f"<I{len(units)}I", len(units) * 4, *units) + b"x\0"


def test_branches_that_share_their_ends_count_in_full():
    ReplacementRules(branches_that_share_their_ends(16))  # 16 bytes, and 15 more
    with pytest.raises(RuleError, match="more than 32 bytes"):
        ReplacementRules(branches_that_share_their_ends(17))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes"),
        (struct.pack("<I", 400) + bytes(40), "a trie of 400 bytes"),
        (circle(), "a circle"),
        (table({"x" * 40: "y"}), "more than 32 bytes"),
        (table({"x": "y" * 300}), "no replacement"),
        (table({"x": "y"})[:-2] + b"\xff\0", "not UTF-8"),
        (table({"x": "y"})[:-1], "no replacement"),
    ],
)
def test_the_reason_is_told(data, reason):
    with pytest.raises(RuleError, match=reason):
        ReplacementRules(data)


def test_paths_that_share_their_ends_are_not_walked_without_end():
    with pytest.raises(RuleError, match="more than 10 steps"):
        ReplacementRules(table(RULES), max_steps=10)


LETTERS = ["▁", "a", "b", "f", "i", "á", "ấ", "A", "1", "2", "\u2044", "▁a", "fi", "ab"]
PIECES = [
    ("<unk>", 0.0, UNKNOWN),
    ("<s>", 0.0, CONTROL),
    *((piece, -2.0 - number / 4, NORMAL) for number, piece in enumerate(LETTERS)),
]
COLLAPSES = field(4, 1)


def built_from(tmp_path, rules: bytes, *, pieces=PIECES) -> TokenizerMap:
    path = tmp_path / "x.model"
    path.write_bytes(model(pieces, kind=UNIGRAM, normalizer=COLLAPSES + (field(2, rules) if rules else b"")))
    return parse_map(build_from_sentencepiece(path, map_id="test/rules"))


def test_the_definitions_refuse_rules(tmp_path):
    vocabulary = pick_tokenizer(built_from(tmp_path, table(RULES))).vocabulary
    for encode in (reference.encode_ordinary, reference.encode_longest_match):
        with pytest.raises(TokenizerMapValidationError, match="the definitions have no form"):
            encode(vocabulary, "a")


def test_a_model_with_rules_encodes_what_they_make_of_a_text(tmp_path):
    built, random = built_from(tmp_path, table(RULES)), Random(3)
    assert built.normalizer == "rules"
    tokenizer = pick_tokenizer(built)
    spelled = tokenizer.vocabulary.raw_token
    assert [spelled(n) for n in tokenizer.encode_ordinary("  \ufb01\n\u3000a\u0301b ")] == [
        "▁",
        "fi",
        "▁",
        "á",
        "b",
    ]
    for text in random_texts(random, 300):
        if not set(collapsed(replaced(text))) <= {*"".join(LETTERS), " "}:
            continue
        ids = tokenizer.encode_ordinary(text)
        assert Detokenizer(built).render(ids) == collapsed(replaced(text)), text
        stream = text_stream(tokenizer)
        parts = ["".join(part) for part in random_cuts(random, list(text))]
        assert [n for part in parts for n in stream.feed(part)] + stream.finish() == ids, parts


def test_spaces_collapse_without_a_table_too(tmp_path):
    tokenizer = pick_tokenizer(built_from(tmp_path, b""))
    assert tokenizer.encode_ordinary("  a   b ") == tokenizer.encode_ordinary("a b")


SYMBOLS = ["\ufb01", "[REF]", "[R", "a\u0301", "ab", "\u00bdb"]


def test_no_rule_changes_symbols_of_the_user(tmp_path):
    symbols = [(symbol, 0.0, USER_DEFINED) for symbol in SYMBOLS]
    letters = [(letter, -float(number), NORMAL) for number, letter in enumerate(("▁", *"abfi[REF]1"))]
    pieces = [*PIECES[:2], *((f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)), *symbols, *letters]
    path = tmp_path / "x.model"
    path.write_bytes(model(pieces, normalizer=COLLAPSES + field(2, table(RULES))))
    built = parse_map(build_from_sentencepiece(path, map_id="test/symbols"))
    tokenizer, random = pick_tokenizer(built), Random(7)
    spelled = tokenizer.vocabulary.raw_token
    assert [spelled(n) for n in tokenizer.encode_ordinary(" \ufb01  [REF]\n[Ra\u0301\u0302f")] == [
        "▁",
        "\ufb01",
        "▁",
        "[REF]",
        "▁",
        "[R",
        "a\u0301",
        "<0xCC>",
        "<0x82>",
        "f",
    ]
    kept = [*RULES, *SYMBOLS, *"[REabf ", "REF]", "\u0302"]
    for _ in range(60):
        parts = random.choices(kept, k=random.randint(1, 9))
        text = "".join(parts)
        assert tokenizer.normalize(text) == collapsed(replaced(text, SYMBOLS)), text
        stream = text_stream(tokenizer)
        cuts = ["".join(part) for part in random_cuts(random, list(text))]
        ids = tokenizer.encode_ordinary(text)
        assert [n for part in cuts for n in stream.feed(part)] + stream.finish() == ids, cuts


def test_a_damaged_table_is_refused(tmp_path):
    with pytest.raises(MapBuildError, match="rules of normalization are damaged: a trie of"):
        built_from(tmp_path, table(RULES)[:40])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"normalizer": "nfc"}, "only then"),
        ({"normalizer_rules": None}, "only then"),
        ({"encoder": "byte_level", "unigram": None}, "only a metaspace"),
        ({"normalizer_rules": {"charsmap": "?"}}, "charsmap is damaged"),
        ({"normalizer_rules": {"charsmap": b64encode(circle()).decode()}}, "a circle"),
        ({"normalizer_rules": {"kept": [""]}}, "an empty text"),
    ],
)
def test_a_map_with_damaged_rules_is_refused(change, reason, tmp_path):
    document = msgspec.json.decode(built_from(tmp_path, table(RULES)).to_json())
    with pytest.raises(TokenizerMapValidationError, match=reason):
        pick_tokenizer(TokenizerMap.from_json(document | change))


def unigram_gguf(tmp_path, **changes):
    section = {
        "model": "t5",
        "tokens": [piece for piece, _, _ in PIECES] + ["[PAD1]"],
        "scores": [score for _, score, _ in PIECES] + [-10000.0],
        "token_type": [kind for _, _, kind in PIECES] + [5],
        "add_space_prefix": True,
        "remove_extra_whitespaces": True,
        "precompiled_charsmap": list(table(RULES)),
    } | changes
    path = tmp_path / "x.gguf"
    path.write_bytes(
        gguf({f"tokenizer.ggml.{name}": value for name, value in section.items() if value is not None})
    )
    return path


def test_unigrams_of_gguf_encode_as_those_of_the_model_do(tmp_path):
    built = parse_map(build_from_gguf(unigram_gguf(tmp_path), map_id="test/rules"))
    reference = pick_tokenizer(built_from(tmp_path, table(RULES)))
    for text in ("  \ufb01\n\u3000a\u0301b ", "abab a", "\u00bd f"):
        assert pick_tokenizer(built).encode_ordinary(text) == reference.encode_ordinary(text)
    # The lowest score of ordinary tokens, and not that of the padding, counts for characters without a token.
    assert built.unigram.unknown == pytest.approx(-2.0 - (len(LETTERS) - 1) / 4 - 10)


def test_where_gguf_merges_spaces_each_word_has_one_before_it_whatever_is_said_of_a_prefix(tmp_path):
    built = build_from_gguf(unigram_gguf(tmp_path, add_space_prefix=False), map_id="test/rules")
    # llama.cpp puts a space where a word begins if it merges spaces, the first word included.
    assert built == build_from_gguf(unigram_gguf(tmp_path), map_id="test/rules")
    tokenizer = pick_tokenizer(parse_map(built))
    assert "".join(PIECES[number][0] for number in tokenizer.encode_ordinary("a  b ")) == "▁a▁b"


def test_symbols_of_gguf_are_found_in_the_text_and_then_in_what_the_rules_make_of_it(tmp_path):
    tokens = [*[piece for piece, _, _ in PIECES], "fib", "[R]"]
    path = unigram_gguf(
        tmp_path,
        tokens=tokens,
        scores=[*[score for _, score, _ in PIECES], -900.0, -900.0],
        token_type=[*[kind for _, _, kind in PIECES], 4, 4],
    )
    tokenizer = pick_tokenizer(parse_map(build_from_gguf(path, map_id="test/rules")))

    def spelled(text):
        return [tokens[number] for number in tokenizer.encode_ordinary(text)]

    # llama.cpp normalizes each stretch between them alone, and puts a space before it.
    assert spelled("a [R]b  a") == ["▁", "a", "[R]", "▁", "b", "▁", "a"]
    assert spelled("afib") == ["▁", "a", "fib"]
    # Here the text spells none. One that the rules make counts 0 in place of its score.
    assert spelled("a\ufb01b") == ["▁", "a", "fib"]
    assert spelled("a\ufb01a") == ["▁", "a", "fi", "a"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scores": [0.0]}, "a type and a score for each token"),
        ({"remove_extra_whitespaces": None}, "how its tokenizer treats spaces"),
        ({"remove_extra_whitespaces": False}, "white space alone|leave characters out"),
        ({"precompiled_charsmap": list(table({"x": "y"}))}, "keep U\\+2581"),
        ({"token_type": [*[kind for _, _, kind in PIECES], BYTE]}, "tokens for bytes"),
        ({"tokens": [*[piece for piece, _, _ in PIECES], "a"]}, "spelled alike"),
    ],
)
def test_what_a_map_cannot_say_of_unigrams_is_refused(changes, reason, tmp_path):
    with pytest.raises(MapBuildError, match=reason):
        build_from_gguf(unigram_gguf(tmp_path, **changes), map_id="test/rules")


def test_decoding_leaves_out_all_spaces_that_a_text_begins_with(tmp_path):
    built = built_from(tmp_path, b"")
    ids = [
        next(n for n, (piece, _, _) in enumerate(PIECES) if piece == name)
        for name in ("▁", "▁", "▁a", "▁", "b")
    ]
    decoder = Detokenizer(built)
    assert "".join(decoder.feed([number]) for number in ids) + decoder.flush() == "a b"
    # An answer is translated as it is decoded.
    translator = Translator(built, built)
    assert [n for number in ids for n in translator.feed([number])] + translator.flush() == pick_tokenizer(
        built
    ).encode_ordinary("a b")
