"""Patterns that are no known operations: their pieces, which of their cuts are settled, and their limits."""

import time
from random import Random

import msgspec
import pytest
from tokenizers import Regex, pre_tokenizers

from codec_core.exceptions import TokenizerMapValidationError
from codec_core.maps import TokenizerMap
from codec_core.pretokenizer import pretokenizer_of
from codec_core.pretokenizer.patterns import PatternStage, as_assigned
from codec_core.pretokenizer_program import (
    MAX_LITERAL_CHARACTERS,
    MAX_OPS,
    MAX_PATTERN,
    MAX_RUN,
    MAX_STAGES,
    ops_of_pattern,
)
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import Translator, translate
from tests.natural import prose
from tests.texts import random_cuts, random_text

_CASED = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_ENDING = r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
FOUND_IN_THE_FIELD = {
    "han apart": (
        rf"[\p{{Han}}]+|[^\r\n\p{{L}}\p{{N}}]?{_CASED[0]}*{_CASED[1]}+{_CONTRACTION}?"
        rf"|[^\r\n\p{{L}}\p{{N}}]?{_CASED[0]}+{_CASED[1]}*{_CONTRACTION}?|{_ENDING}"
    ),
    "marks in words": (
        rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
        r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "white space and stops": r" ?[^(\s|[.,!?…。，、।۔،])]+",
}
MADE_UP = {
    "gaps": r"\p{Lu}\p{Ll}*|\d+",
    "lazy": r"<.*?>|[a-c]+?|\s{2,}",
    "looks two characters ahead": r"a(?=b+c)|b(?!c)|.",
    "atomic and counted": r"(?>a|ab)c{2,3}|(b{2}|x)++|[<>]?\n",
    "escapes": r"\x61+|\u0062|\S|\.",
}
SMALL = "abc<> x\n.B1"


def reference_pieces(pattern: str, text: str) -> list[str]:
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return [piece for piece, _ in split.pre_tokenize_str(text)]


def texts_for(name: str, count: int = 300) -> list[str]:
    random = Random(name)
    if name in FOUND_IN_THE_FIELD:
        return [random_text(random) for _ in range(count)]
    return ["".join(random.choices(SMALL, k=random.randrange(24))) for _ in range(count)]


ALL = {**FOUND_IN_THE_FIELD, **MADE_UP}


@pytest.mark.parametrize("name", ALL)
def test_these_are_no_known_operations(name):
    assert ops_of_pattern(ALL[name]) is None


@pytest.mark.parametrize("name", [*FOUND_IN_THE_FIELD, "gaps", "looks two characters ahead"])
def test_pieces_equal_the_reference(name):
    cut = pretokenizer_of(None, ALL[name]).cut
    for text in texts_for(name):
        assert cut(text) == reference_pieces(ALL[name], text), text


@pytest.mark.parametrize("name", ALL)
def test_no_continuation_moves_a_settled_cut(name):
    ours = pretokenizer_of(None, ALL[name])
    random = Random(1)
    for text in texts_for(name):
        stop = random.randint(0, len(text))
        settled, rest = ours.settle(text[:stop])
        assert "".join(settled) + rest == text[:stop]
        assert ours.cut(text)[: len(settled)] == settled, (text, stop)


@pytest.mark.parametrize("name", FOUND_IN_THE_FIELD)
def test_little_is_held_on_natural_text(name):
    settle = pretokenizer_of(None, ALL[name]).settle
    rest = ""
    held = []
    for character in prose()[:5000]:
        rest = settle(rest + character)[1]
        held.append(len(rest))
    assert sorted(held)[len(held) * 9 // 10] <= 16
    assert max(held) <= 80


@pytest.mark.parametrize(
    ("pattern", "text", "settled"),
    [
        (r"\p{Lu}\p{Ll}*|\d+", "Ab", []),
        (r"\p{Lu}\p{Ll}*|\d+", "AbC", ["Ab"]),
        (r"\p{Lu}\p{Ll}*|\d+", "Ab--", ["Ab"]),  # what lies between matches ends with the next match
        (r"\p{Lu}\p{Ll}*|\d+", "Ab--1.", ["Ab", "--", "1"]),
        (r"a(?=b+c)|b|c", "abb", []),
        (r"a(?=b+c)|b|c", "abbc", ["a", "b", "b", "c"]),
        (r"x{1,3}|y", "xxx", ["xxx"]),
        (r"x{1,3}|y", "xx", []),
    ],
)
def test_what_is_settled(pattern, text, settled):
    assert pretokenizer_of(None, pattern).settle(text)[0] == settled


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?<=a)b|\w",
        r"\bab\b|\W",
        r"^a|.",
        r"a$|.",
        r"(a)\1|.",
        r"(?P<n>a)|.",
        r"(?:ab){e<=1}|.",
        "a*",
        "a|",
        r"\X",
    ],
)
def test_a_pattern_of_other_syntax_settles_nothing_and_is_followed_all_the_same(pattern, shared_map):
    """What looks behind itself would see another beginning once the settled part is gone."""
    assert pretokenizer_of(None, pattern).settle("ab ab. ab") == ([], "ab ab. ab")
    source = shared_map("openai/r50k_base")
    target = msgspec.structs.replace(source, pre_tokenizer_program=None, pre_tokenizer_pattern=pattern)
    ids = pick_tokenizer(source).encode_ordinary("aab ab. ab\n")
    translator = Translator(source, target)
    assert [n for i in ids for n in translator.feed([i])] == []
    assert translator.flush() == translate(source, target, ids)


@pytest.mark.parametrize("name", FOUND_IN_THE_FIELD)
def test_a_stream_is_translated_as_it_comes(name, shared_map):
    source = shared_map("openai/r50k_base")
    target = msgspec.structs.replace(source, pre_tokenizer_program=None, pre_tokenizer_pattern=ALL[name])
    random, translator = Random(name), Translator(source, target)
    early = 0
    for text in texts_for(name, 100):
        ids = pick_tokenizer(source).encode_ordinary(text)
        given = [number for part in random_cuts(random, ids) for number in translator.feed(part)]
        early += len(given)
        assert given + translator.flush() == translate(source, target, ids)
    assert early > 1000


def test_a_character_that_a_later_unicode_assigns_is_still_unassigned():
    later = "\U00032df4"
    assert as_assigned(f"漢{later}a") == "漢\uffffa"
    assert pretokenizer_of(None, r"\p{L}+|x").cut(f"漢{later}a") == ["漢", later, "a"]


def test_reading_is_bounded_and_what_is_left_is_held():
    """Every match of this pattern reads to the end of the run: without a bound the square of it."""
    stage = PatternStage("a*b|a|c")
    text = "a" * 8000 + "c"
    started = time.process_time()
    settled, rest = stage.settle(text)
    assert time.process_time() - started < 1
    assert len(settled) < 100
    assert "".join(settled) + rest == text


@pytest.mark.parametrize("pattern", ["(?:(?:a|a)+)+b|.", "(?:(?:a{1,1000}){1,1000}){1,1000}b|."])
def test_a_pattern_that_never_ends_is_stopped(pattern):
    started = time.process_time()
    with pytest.raises(TokenizerMapValidationError, match="takes more than"):
        pretokenizer_of(None, pattern).cut("a" * 3000 + "!")
    assert time.process_time() - started < 1


@pytest.mark.parametrize("pattern", ["(", "[a-", "(" * 4000 + "a" + ")" * 4000, r"\p{Nonsense}"])
def test_a_pattern_that_does_not_compile_is_refused(pattern):
    with pytest.raises(TokenizerMapValidationError, match="pre_tokenizer_pattern: not a pattern"):
        pretokenizer_of(None, pattern)


LETTERS, NUMBERS = {"op": "letters"}, {"op": "numbers", "max_run": MAX_RUN}
AT_THE_LIMITS = {
    "ops": {
        "version": 1,
        "ops": [LETTERS] * (MAX_OPS - 3) + [NUMBERS, {"op": "punct_run"}, {"op": "ws_run"}],
    },
    "stages": {"version": 2, "stages": [{"op": "digits_isolate", "max_run": MAX_RUN}] * MAX_STAGES},
    "literals": {
        "version": 1,
        "ops": [
            {"op": "literals_ci", "patterns": [f"{n:04}" for n in range(MAX_LITERAL_CHARACTERS // 4)]},
            *(LETTERS, NUMBERS, {"op": "punct_run"}, {"op": "ws_run"}),
        ],
    },
}


def document(**fields) -> dict:
    return {"id": "a/b", "version": "2", "vocab_size": 3, "vocab": {"a": 0, "b": 1, "ab": 2}, **fields}


@pytest.mark.parametrize("name", AT_THE_LIMITS)
def test_programs_at_their_limits_cost_little(name):
    started = time.process_time()
    tokenizer_map = TokenizerMap.from_json(
        document(encoder="byte_level", merges=["a b"], pre_tokenizer_program=AT_THE_LIMITS[name])
    )
    assert pick_tokenizer(tokenizer_map).encode_ordinary("ab")
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pre_tokenizer_pattern": "a" * (MAX_PATTERN + 1)}, "pre_tokenizer_pattern: 8193 characters"),
        ({"pre_tokenizer_program": {"version": 1, "ops": [LETTERS] * (MAX_OPS + 1)}}, "33 ops"),
        (
            {"pre_tokenizer_program": {"version": 2, "stages": [{"op": "cjk_isolate"}] * (MAX_STAGES + 1)}},
            "17 stages",
        ),
        ({"pre_tokenizer_program": {"version": 1, "ops": [{"op": "numbers", "max_run": 10**12}]}}, "max_run"),
        ({"pre_tokenizer_program": {"version": 1, "ops": [{"op": "numbers", "max_run": -1}]}}, "max_run"),
        (
            {"pre_tokenizer_program": {"version": 2, "stages": [{"op": "digits_isolate", "max_run": 65}]}},
            "max_run",
        ),
        (
            {"pre_tokenizer_program": {"version": 1, "ops": [{"op": "literals", "patterns": ["x" * 5000]}]}},
            "literals",
        ),
        (
            {
                "pre_tokenizer_program": {
                    "version": 1,
                    "ops": [{"op": "punct_run", "trailing_chars": "x" * 5000}],
                }
            },
            "literals",
        ),
    ],
)
def test_programs_and_patterns_past_their_limits_are_refused(fields, message):
    with pytest.raises(TokenizerMapValidationError, match=message):
        TokenizerMap.from_json(document(**fields))
