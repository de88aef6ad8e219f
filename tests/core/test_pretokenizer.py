"""Where texts are cut, and which cuts are settled."""

from random import Random

import pytest
import regex
from tokenizers import Regex, pre_tokenizers

from codec_core import pretokenizer_program as programs
from codec_core.exceptions import TokenizerMapValidationError
from codec_core.pretokenizer import PreTokenizer, alternative_of, ops_of_pattern, pretokenizer_of
from codec_core.pretokenizer_program import ProgramV1, ProgramV2
from codec_core.unicode.classes import WHITE_SPACE, samples, shadow
from codec_core.unicode.generate_categories import TARGET, module_text
from tests.cases import cases
from tests.texts import random_text

BYTE_LEVEL = (
    "meta-llama/llama-3", "microsoft/phi-4", "openai/cl100k_base", "openai/r50k_base", "qwen/qwen2",
    "qwen/qwen3",
)  # fmt: skip
CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K_PROGRAM = ProgramV1(
    (
        programs.LettersCased(kind="title", lead_other=True, trailing_ci=CONTRACTIONS),
        programs.LettersCased(kind="upper", lead_other=True, trailing_ci=CONTRACTIONS),
        programs.Numbers(max_run=3),
        programs.PunctRun(lead_space=True, trailing_newlines=True, trailing_chars="\r\n/"),
        programs.NewlineBlock(),
        programs.TrailingWs(),
        programs.WsRun(),
    )
)
DEEPSEEK = ProgramV2(
    (
        programs.DigitsIsolate(mode="grouped", max_run=3),
        programs.CjkIsolate(),
        programs.Alternation(
            (
                programs.PunctAsciiLetters(),
                programs.Letters(lead_other=True, lead_other_class="l_p_s", body="L_M"),
                programs.PunctRun(lead_space=True, trailing_newlines=True, charset="p_s"),
                programs.NewlineBlock(),
                programs.TrailingWs(),
                programs.WsRun(),
            )
        ),
    )
)
FALCON = ProgramV2(
    (
        programs.PunctuationContiguous(),
        programs.Alternation(ops_of_pattern(GPT_2)),
        programs.DigitsIsolate(mode="grouped"),
        programs.DigitTriplesIsolate(),
    )
)
LOOKING = ProgramV1(
    (
        programs.TrailingWs(),
        programs.Letters(lead_space=True),
        programs.Numbers(lead_space=True),
        programs.PunctRun(trailing_newlines=True),
        programs.WsRun(),
    )
)
"""Looks ahead first of all."""
NAMED = r"[©®]|א| ?\p{L}+|[²]|\p{N}| ?[^\s\p{L}\p{N}]+[£]*|\s+"
GAPS = ProgramV1((programs.Letters(lead_space=True), programs.Literals(("--", "->>"))))


def split(pattern: str, behavior: str = "isolated"):
    return pre_tokenizers.Split(Regex(pattern), behavior)


REFERENCES = {
    "llama 3": (pretokenizer_of(None, LLAMA_3), [split(LLAMA_3)]),
    "gpt 2": (pretokenizer_of(None, GPT_2), [split(GPT_2)]),
    "o200k": (pretokenizer_of(O200K_PROGRAM, None), [split(O200K)]),
    "deepseek": (
        pretokenizer_of(DEEPSEEK, None),
        [
            split(r"\p{N}{1,3}"),
            split("[一-龥\u3040-ゟ゠-ヿ]+"),
            split(
                r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
                r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
        ],
    ),
    "falcon": (
        pretokenizer_of(FALCON, None),
        [
            pre_tokenizers.Punctuation("contiguous"),
            split(GPT_2),
            pre_tokenizers.Digits(individual_digits=False),
            split("[0-9][0-9][0-9]"),
        ],
    ),
    "smollm": (
        pretokenizer_of(
            ProgramV2((programs.DigitsIsolate(), programs.Alternation(ops_of_pattern(GPT_2)))), None
        ),
        [pre_tokenizers.Digits(individual_digits=True), split(GPT_2)],
    ),
    "gaps": (pretokenizer_of(GAPS, None), [split(r" ?\p{L}+|->>|--")]),
    # These are the stand-ins of astral symbols, letters and numbers.
    "named stand-ins": (pretokenizer_of(None, NAMED), [split(NAMED)]),
    "unknown pattern": (pretokenizer_of(None, r"\p{Lu}\p{Ll}*|\d+"), [split(r"\p{Lu}\p{Ll}*|\p{Nd}+")]),
}


def reference_pieces(steps, text: str) -> list[str]:
    return [piece for piece, _ in pre_tokenizers.Sequence(steps).pre_tokenize_str(text)]


@pytest.mark.parametrize("name", REFERENCES)
def test_pieces_equal_the_reference(name):
    ours, steps = REFERENCES[name]
    random = Random(name)
    for _ in range(cases(400)):
        text = random_text(random)
        assert ours.cut(text) == reference_pieces(steps, text), text


@pytest.mark.parametrize("name", REFERENCES)
def test_no_continuation_moves_a_settled_cut(name):
    ours, _ = REFERENCES[name]
    random = Random(name)
    for _ in range(cases(400)):
        text = random_text(random, 8)
        stop = random.randint(0, len(text))
        settled, rest = ours.settle(text[:stop])
        assert "".join(settled) + rest == text[:stop]
        whole = ours.cut(text)
        assert whole[: len(settled)] == settled, (text, stop)


@pytest.mark.parametrize("name", ["llama 3", "gpt 2", "o200k", "deepseek", "falcon", "smollm"])
def test_little_is_held_on_natural_text(name):
    ours, _ = REFERENCES[name]
    text = "The quick brown fox, aged 12, doesn't jump.\n\n    return x == 3  # done\n" * 3
    for stop in range(len(text)):
        assert len(ours.settle(text[:stop])[1]) <= (64 if name == "deepseek" else 16)


@pytest.mark.parametrize(
    ("text", "settled"),
    [
        ("it'", ["it"]),
        ("it'r", ["it"]),
        ("it'rx", ["it"]),
        ("it're", ["it"]),
        ("a 12", ["a", " "]),
        ("a  ", ["a"]),
        ("a \n ", ["a"]),
        ("a \n b", ["a", " \n"]),
        ("!!\n", []),
        ("word", []),
        ("", []),
    ],
)
def test_what_is_settled_for_llama_3(text, settled):
    assert REFERENCES["llama 3"][0].settle(text)[0] == settled


@pytest.mark.slow
@pytest.mark.timeout(300)  # the reference looks at every character once for each category
def test_every_character_has_the_category_of_the_reference():
    assert TARGET.read_text(encoding="utf-8") == module_text()


@pytest.mark.slow
def test_white_space_is_that_of_the_reference():
    everything = "".join(chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000)
    runs = pre_tokenizers.Split(Regex(r"\S+"), "removed").pre_tokenize_str(everything)
    assert "".join(sorted(WHITE_SPACE)) == "".join(run for run, _ in runs)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("llama 3", marks=pytest.mark.slow),
        "gpt 2",
        pytest.param("o200k", marks=pytest.mark.slow),
        pytest.param("deepseek", marks=pytest.mark.slow),
    ],
)
def test_every_character_is_cut_as_the_reference_cuts_it(name):
    ours, steps = REFERENCES[name]
    planes = 0x20000 if name == "llama 3" else 0x10000
    for start in range(0, planes, 0x400):
        points = [point for point in range(start, start + 0x400) if not 0xD800 <= point < 0xE000]
        text = "".join(f"a{chr(point)}1 {chr(point)}b!{chr(point)}\n" for point in points)
        assert ours.cut(text) == reference_pieces(steps, text), hex(start)


def test_a_shadow_has_the_categories_of_its_text():
    text = "𝔘𝟘🧳𠀀\U0001e900\U0001d165\U0010ffff\U000e0061\U00010100"
    assert len(shadow(text)) == len(text)
    assert all(character <= "\uffff" for character in shadow(text))
    for character, stand_in in zip(text, shadow(text), strict=True):
        for name in "LNMPSC":
            assert bool(regex.match(rf"\p{{{name}}}", character)) == bool(
                regex.match(rf"\p{{{name}}}", stand_in)
            )


def test_patterns_are_read_as_the_operations_of_the_programs(shared_map):
    for map_id in BYTE_LEVEL:
        tokenizer_map = shared_map(map_id)
        assert ops_of_pattern(tokenizer_map.pre_tokenizer_pattern) == tokenizer_map.pre_tokenizer_program.ops
    assert ops_of_pattern(r"\p{L}+|fo+") is None


def is_number(text: str) -> bool:
    return bool(regex.fullmatch(r"\p{N}", text))


@pytest.mark.parametrize("map_id", ["huggingfacetb/smollm2", "tiiuae/falcon"])
def test_where_program_and_pattern_differ(map_id, shared_map):
    """The program is the pattern but for one thing: a number's piece does not take the space before it."""
    tokenizer_map = shared_map(map_id)
    by_program = pretokenizer_of(tokenizer_map.pre_tokenizer_program, None)
    by_pattern = pretokenizer_of(None, tokenizer_map.pre_tokenizer_pattern)
    assert by_program.cut("a  7") == ["a", " ", " ", "7"]
    assert by_pattern.cut("a  7") == ["a", " ", " 7"]
    random = Random(map_id)
    for _ in range(1000):
        text = random_text(random)
        expected: list[str] = []
        for piece in by_pattern.cut(text):
            expected += [" ", piece[1:]] if piece[0] == " " and is_number(piece[1:2]) else [piece]
        assert by_program.cut(text) == expected, text


@pytest.mark.parametrize("op", [programs.LiteralsCi(("'s",)), programs.Literals(("'s",))])
def test_case_of_literals(op):
    pattern = regex.compile(alternative_of(op))
    assert pattern.fullmatch("'s")
    assert bool(pattern.fullmatch("'S")) == isinstance(op, programs.LiteralsCi)


@pytest.mark.parametrize("text", ["🙂!", "a🙂🙂 b", "x©!", "𐤀x", "🄀1", "!🙂£"])
def test_a_named_character_is_not_taken_for_its_whole_category(text):
    ours, steps = REFERENCES["named stand-ins"]
    assert ours.cut(text) == reference_pieces(steps, text)


def test_literals_of_every_category_leave_no_text_out():
    literals = {*map(chr, range(128)), *WHITE_SPACE, *samples(), *"ſあア一"}
    ours = pretokenizer_of(ProgramV1((programs.Literals(tuple(literals)),)), None)
    assert ours.cut("aÉ½b") == ["a", "É½", "b"]


def test_a_pattern_that_does_not_compile_is_refused():
    with pytest.raises(TokenizerMapValidationError, match="pattern"):
        pretokenizer_of(None, "(")


def test_without_program_and_pattern_a_text_is_one_piece():
    whole = pretokenizer_of(None, None)
    assert isinstance(whole, PreTokenizer)
    assert whole.cut("a b\n🧳") == ["a b\n🧳"]
    assert whole.cut("") == []
    assert whole.settle("a b") == ([], "a b")
