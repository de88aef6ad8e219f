"""Patterns that are no known operations: their pieces, which of their cuts are settled, and their limits."""

from random import Random

import msgspec
import pytest
import regex
from tokenizers import Regex, pre_tokenizers

from codec_core.exceptions import TokenizerMapValidationError
from codec_core.maps import TokenizerMap
from codec_core.pretokenizer import ops_of_pattern, pretokenizer_of, stage_of_pattern
from codec_core.pretokenizer.pattern_code import PatternCode
from codec_core.pretokenizer.pattern_parser import parse_pattern, portable_pattern
from codec_core.pretokenizer.pattern_search import PatternSearch
from codec_core.pretokenizer.patterns import SearchStage, pattern_stage
from codec_core.pretokenizer_program import (
    MAX_LITERAL_CHARACTERS,
    MAX_OPS,
    MAX_PATTERN,
    MAX_RUN,
    MAX_STAGES,
    DigitsIsolate,
)
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import Translator, translate
from tests.limits import within
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
    "lazy": r"<.??>|[a-c]+?|\s{2,}",
    "looks ahead": r"a(?=b)|b(?!c)|.",
    "possessive and counted": r"ab?c{2,3}|(b{2}|x)++|[<>]?\n",
    "possessive before the same": r"a++[^b]|b?+[bc]|x*+.",
    "possessive in rounds": r"(?:ab?+){2}+|(?:bb?+){2,}+|(?:cc?+)++|1",
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


@pytest.mark.parametrize(
    ("pattern", "stage"),
    [
        (r"\p{N}", DigitsIsolate("individual")),
        (r"\p{N}{1,3}", DigitsIsolate("grouped", 3)),
        (r"(?>\p{N}{1,3})", DigitsIsolate("grouped", 3)),
        (r"\p{N}++", DigitsIsolate("grouped")),
        (r"\p{N}{1,3}?", None),
        (r"\p{N}+?", None),
        (r"[\u4e00-\u9fa5\u3040-\u30ff]+?", None),
    ],
)
def test_a_stage_of_digits_takes_what_its_pattern_takes(pattern, stage):
    assert stage_of_pattern(pattern) == stage
    runs = [match.group() for match in regex.finditer(pattern, "1234567")]
    if stage is not None:
        most = 1 if stage.mode == "individual" else stage.max_run or 7
        assert runs == ["1234567"[place : place + most] for place in range(0, 7, most)]
    else:
        assert runs in ([], [*"1234567"])


@pytest.mark.parametrize(
    "name",
    [
        *FOUND_IN_THE_FIELD,
        "gaps",
        "possessive before the same",
        "possessive in rounds",
        "lazy",
        "looks ahead",
        "escapes",
    ],
)
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
        (r"ab{0,3}c|b|c|a", "abb", []),
        (r"ab{0,3}c|b|c|a", "abbb", []),
        (r"ab{0,3}c|b|c|a", "abbbb", ["a", "b", "b", "b", "b"]),
        (r"\s*\n|\s+(?!\S)|\s+|x", "x \n   ", ["x"]),
        (r"\s*\n|\s+(?!\S)|\s+|x", "x \n  x", ["x", " \n", " ", " ", "x"]),
        (r"x{1,3}|y", "xxx", ["xxx"]),
        (r"x{1,3}|y", "xx", []),
    ],
)
def test_what_is_settled(pattern, text, settled):
    assert pretokenizer_of(None, pattern).settle(text)[0] == settled


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
    assert pretokenizer_of(None, r"\p{L}+|x").cut(f"漢{later}a") == ["漢", later, "a"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a|(", "a group that does not end, at character 2"),
        ("[a-", "a set that does not end, at character 0"),
        ("a)", "an unmatched \\), at character 1"),
        ("(" * 4000 + "a" + ")" * 4000, "nested deeper than 24, at character 24"),
        ("[" * 4000, "sets are nested deeper than 8, at character 8"),
        (r"x|\p{Nonsense}", "a property that is not known, at character 2"),
        (r"(?<=a)b|\w", "a group of a kind that no tokenizer uses, at character 0"),
        (r"\bab\b|\W", r"\\b is not read, at character 0"),
        (r"(a)\1|.", r"\\1 is not read, at character 3"),
        (r"^a|.", r"\^ is not read here, at character 0"),
        (r"(?R)?a", "a group of a kind"),
        (r"(a)?(?(1)b|c)", "a group of a kind"),
        (r"(?:ab){e<=1}|.", "no repetition that is read"),
        ("a{1000000000}", "no repetition that is read"),
        (r"((((a{1,100}){1,100}){1,100}){1,100})b", "take more than 4096 characters"),
        (r"\X", r"\\X is not read"),
        (r"[a--b]", "is read differently by every engine"),
        (r"a**", "a repetition of a repetition, at character 2"),
        (r"(?i:[à-ü])+", "'à' without 'À' in a set|without"),
        ("a*", "matches the empty text"),
        ("a|", "matches the empty text"),
        ("(?=a)", "matches the empty text"),
    ],
)
def test_what_no_tokenizer_uses_is_refused_by_its_place(pattern, message):
    refused = pytest.raises(TokenizerMapValidationError, match=f"pre_tokenizer_pattern: .*(?:{message})")
    with within(), refused:
        pretokenizer_of(None, pattern)


@pytest.mark.parametrize(
    "pattern", [r"a(?=b+c)|b|c", r"(?:a++)++b", r"(?:a++b)*c", r"(?>a|ab)c", r"(?:a*)*b"]
)
def test_what_cannot_be_followed_character_by_character_is_refused(pattern):
    with pytest.raises(TokenizerMapValidationError, match="pre_tokenizer_pattern: refused, because"):
        pretokenizer_of(None, pattern)


UNPROVEN = [
    "a*b|a|c",
    "x+y",
    r"(a+)+b",
    r"(a|a)*b",
    r"(a|aa)+b",
    r"(.*a){20}",
    r"(?:(?:a|a)+)+b|.",
    r"\s+(?![\s\S])|x",
    r"(?:.*\n)*x",
    r"(\d+)+(\p{N}+)+[^\p{N}]",
    r"a(?:b{1,60}c){1,60}d|.",
    r"<.*?>|[^<]",
]


@pytest.mark.parametrize("pattern", UNPROVEN)
def test_what_is_not_proven_to_take_linear_time_is_searched_for(pattern):
    stage = pattern_stage(pattern)
    assert isinstance(stage, SearchStage)
    random = Random(pattern)
    for _ in range(100):
        text = "".join(random.choices("abcdxy1<> \n", k=random.randrange(16)))
        assert stage.cut(text) == reference_pieces(pattern, text), text
        assert stage.settle(text) == ([], text)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 3000 + "!",
        "1" * 20_000,
        pytest.param(" " * 200_000, marks=pytest.mark.slow),
        pytest.param("x\n" * 20_000, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("pattern", UNPROVEN)
def test_a_search_that_reads_a_text_too_often_is_stopped(pattern, text):
    cut = pretokenizer_of(None, pattern).cut
    with within(seconds=2):
        try:
            assert "".join(cut(text)) == text
        except TokenizerMapValidationError as error:
            assert "reads more than 8 times" in str(error)  # noqa: PT017 - either is right


def test_the_budget_is_counted_in_characters():
    with pytest.raises(TokenizerMapValidationError, match="reads more than 8 times the 20000 characters"):
        pretokenizer_of(None, "a*b|a|c").cut("a" * 20_000)


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
    with within():
        tokenizer_map = TokenizerMap.from_json(
            document(encoder="byte_level", merges=["a b"], pre_tokenizer_program=AT_THE_LIMITS[name])
        )
        assert pick_tokenizer(tokenizer_map).encode_ordinary("ab")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pre_tokenizer_pattern": "a" * (MAX_PATTERN + 1)}, "pre_tokenizer_pattern: 8193 characters"),
        ({"pre_tokenizer_program": {"version": 1, "ops": [LETTERS] * (MAX_OPS + 1)}}, "33 ops"),
        (
            {"pre_tokenizer_program": {"version": 2, "stages": [{"op": "cjk_isolate"}] * (MAX_STAGES + 1)}},
            "17 stages",
        ),
        (
            {
                "pre_tokenizer_program": {
                    "version": 2,
                    "stages": [
                        {"op": "alternation", "ops": [{"op": "metaspace_split"}]},
                        {"op": "digits_isolate"},
                    ],
                }
            },
            "metaspace_split must be the only stage",
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


COSTLY = {
    "letters without case under (?i)": "(?i)" + "".join(chr(0x4E00 + number) for number in range(20)) + "+",
    "large sets under (?i)": "(?i)" + "|".join(f"[^{chr(0x4E00 + number)}]x" for number in range(20)),
    "literals that multiply": "|".join("[ab]" * 11 + f"[{letter}x]" for letter in "cdefghij" * 9) + "|y+x",
    "options": "|".join(f"{chr(0x4E00 + number)}x+" for number in range(300)),
    "a long row": "[a-z]++" + "".join(f"{chr(0x4E00 + number)}?" for number in range(600)) + "b",
}


@pytest.mark.parametrize(
    "name",
    [
        *list(COSTLY)[:3],
        *(pytest.param(name, marks=pytest.mark.slow) for name in list(COSTLY)[3:]),
    ],
)
def test_patterns_that_are_long_cost_little(name):
    with within():
        assert "".join(pretokenizer_of(None, COSTLY[name]).cut("ab" * 50)) == "ab" * 50


@pytest.mark.slow
def test_a_search_that_follows_many_attempts_at_once_is_stopped():
    """Each character of the text begins an attempt that goes on for thousands more."""
    search = PatternSearch(PatternCode(parse_pattern("a(?:a|b){2000}c|a(?:a|b){2000}d")))
    with within(seconds=2), pytest.raises(TokenizerMapValidationError, match="attempts at once"):
        list(search.spans("a" * 20_000))


def test_a_search_keeps_no_more_places_than_its_limit():
    search = PatternSearch(PatternCode(parse_pattern("[ab]*a[ab]{40}c|[ab]*b[ab]{2}d")), max_kept=500)
    assert not list(search.spans("".join(Random(1).choices("ab", k=120))))
    kept = search._steps.items()
    assert 50 < sum(len(places) + len(step.places) for (places, _), step in kept) <= 500


COUNTED = ("{2}", "{1,3}", "{2,}", "{0,2}")


def random_counted(random: Random, depth: int = 2) -> str:
    """Return a pattern with repetitions that have bounds, in groups and beside one another."""
    parts = []
    for _ in range(random.randint(1, 2)):
        atom = random.choice(["a", "b", "[ab]", "(?:a$)", r"(?:\n|a$)"])
        if depth and random.random() < 0.5:
            atom = f"(?:{random_counted(random, depth - 1)})"
        parts.append(
            atom + random.choice(["", "?", *(each + kind for each in COUNTED for kind in ("", "?", "+"))])
        )
    return "".join(parts) if random.random() < 0.7 else "|".join(parts)


@pytest.mark.parametrize("count", [pytest.param(12), pytest.param(400, marks=pytest.mark.slow)])
def test_counted_repetitions_of_oniguruma_are_cut_as_there(count):
    """Lazy with bounds, repeated again by `+` or by `?`, and any of these inside one another."""
    random, read = Random(7), 0
    named = [r"a{1,3}?", r"a{2,}?b", r"(?:ab){1,2}?c|.", r"a{2}?b", r"(?:a$){1,3}+", r"(?:a{1,3}+b){2}?c|."]
    for pattern in [*named, *(f"{random_counted(random)}c|." for _ in range(count))]:
        try:
            cut = pattern_stage(portable_pattern(pattern, "oniguruma")).cut
        except TokenizerMapValidationError:  # refused: what may be empty is repeated without a bound
            assert pattern not in named
            continue
        read += 1
        for text in ["".join(random.choices("aaabbc\n", k=random.randrange(9))) for _ in range(20)]:
            assert cut(text) == reference_pieces(pattern, text), (pattern, text)
    assert read > count / 2
