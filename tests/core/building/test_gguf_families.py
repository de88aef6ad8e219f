"""The pre-tokenizers that GGUF files name: their pieces, and which files have no form in a map."""

from random import Random

import msgspec
import pytest
from tokenizers import Regex, pre_tokenizers

from codec_core.building import build_from_gguf
from codec_core.building.gguf_families import FAMILIES, REFUSED
from codec_core.building.pre_tokenizers import isolating, program_fields
from codec_core.byte_level import ALPHABET
from codec_core.exceptions import MapBuildError
from codec_core.maps import parse_map
from codec_core.pretokenizer import pretokenizer_of
from codec_core.pretokenizer_program import Program
from codec_core.tokenizer import pick_tokenizer
from tests.core.building.gguf_files import gguf
from tests.texts import random_text

DISTINCT = {family: name for name, family in reversed(FAMILIES.items())}
"""One name of each family."""


def pretokenizer(family):
    fields = program_fields([isolating(cut) if isinstance(cut, str) else cut for cut in family.cuts])
    program = fields.get("pre_tokenizer_program")
    typed = None if program is None else msgspec.convert(program, Program)
    return pretokenizer_of(typed, fields.get("pre_tokenizer_pattern"))


@pytest.mark.parametrize("name", sorted(DISTINCT.values()))
def test_pieces_are_those_of_the_patterns(name):
    """Held equal to another engine of regular expressions, one step after the other."""
    family = FAMILIES[name]
    patterns = [cut for cut in family.cuts if isinstance(cut, str)]
    if len(patterns) < len(family.cuts):
        pytest.skip("counts digits from their end, which no pattern does in linear time")
    # Its braces for code points are Perl's; `$` ends a line, and the families' texts end there.
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    reference, ours, random = pre_tokenizers.Sequence(steps), pretokenizer(family), Random(name)
    for _ in range(200):
        text = random_text(random, 10)
        assert ours.cut(text) == [piece for piece, _ in reference.pre_tokenize_str(text)], text


@pytest.mark.parametrize("name", sorted(DISTINCT.values()))
def test_no_continuation_moves_a_settled_cut(name):
    ours, random = pretokenizer(FAMILIES[name]), Random(name)
    for _ in range(100):
        text = random_text(random, 10) + random.choice(["", "1234", "12 345", "a1b22"])
        stop = random.randint(0, len(text))
        settled, rest = ours.settle(text[:stop])
        assert "".join(settled) + rest == text[:stop]
        assert ours.cut(text)[: len(settled)] == settled, (text, stop)


@pytest.mark.parametrize(
    ("name", "text", "pieces"),
    [
        ("afmoe", "a1234567 b123", ["a", "1", "234", "567", " b", "123"]),
        ("tiny_aya", "x12345.6", ["x", "12", "345", ".", "6"]),
        ("superbpe", "a1234567", ["a", "1", "234", "567"]),
        ("superbpe", "123456½", ["123", "456½"]),
        ("superbpe", "½123", ["½", "123"]),
        ("llama-bpe", "I'LL say: don'ſ 1234", ["I", "'LL", " say", ":", " don", "'ſ", " ", "123", "4"]),
        ("gpt-4o", "aBcD'Ll ÀÉa", ["a", "Bc", "D'Ll", " ÀÉa"]),
        ("kimi-k2", "漢字abc漢", ["漢字", "abc", "漢"]),
        ("default", "a--b 12345", ["a", "--", "b", " ", "123", "45"]),
        ("default", "1𝟘𝟙", ["1𝟘𝟙"]),  # what stands for an astral digit is no ASCII digit
    ],
)
def test_what_is_cut(name, text, pieces):
    assert pretokenizer(FAMILIES[name]).cut(text) == pieces


def test_a_file_without_a_name_is_cut_as_the_default(tmp_path):
    tokens = ["1", "2", "3", "4", "12", "123", "1234", "Ġ"]
    pairs = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": ["1 2", "12 3", "123 4"],
    }
    for extra in ({}, {"tokenizer.ggml.pre": "default"}):
        (tmp_path / "x.gguf").write_bytes(gguf(pairs | extra))
        tokenizer = pick_tokenizer(parse_map(build_from_gguf(tmp_path / "x.gguf", map_id="test/default")))
        assert tokenizer.encode("1234") == [5, 3]


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("field", ["model", "pre"])
def test_what_has_no_form_is_refused_with_the_reason(name, field, tmp_path):
    pairs = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": ["a", "b", "ab"],
        "tokenizer.ggml.merges": ["a b"],
        f"tokenizer.ggml.{field}": name,
    }
    (tmp_path / "x.gguf").write_bytes(gguf(pairs))
    with pytest.raises(MapBuildError, match=f"{name!r} has no form in a map: {REFUSED[name][:12]}"):
        build_from_gguf(tmp_path / "x.gguf", map_id="test/refused")


def test_control_tokens_of_phi_3_take_the_white_space_behind_them(tmp_path):
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a", "<|end|>"]
    types = [2, 3, 1, *[6] * 256, 1, 1, 1, 3]
    pairs = {
        "general.name": "Phi-3-mini",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.scores": [0.0] * len(tokens),
    }
    (tmp_path / "x.gguf").write_bytes(gguf(pairs))
    built = parse_map(build_from_gguf(tmp_path / "x.gguf", map_id="test/phi"))
    tokenizer = pick_tokenizer(built)
    ids = {token: number for number, token in enumerate(tokens)}
    assert tokenizer.encode("a<|end|> \n a") == [ids["▁a"], ids["<|end|>"], ids["▁a"]]
    assert tokenizer.encode("a<s> a") == [ids["▁a"], ids["<s>"], ids["▁"], ids["▁a"]]


def test_a_mask_that_the_file_calls_an_ordinary_token_takes_no_white_space(tmp_path):
    tokens = [*ALPHABET, "<mask>", "<m"]
    pairs = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "jina-v2-de",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * len(tokens),
        "tokenizer.ggml.merges": ["< m"],
    }
    (tmp_path / "x.gguf").write_bytes(gguf(pairs))
    built = parse_map(build_from_gguf(tmp_path / "x.gguf", map_id="test/mask"))
    assert not built.special_tokens
    assert tokens.index("<mask>") not in pick_tokenizer(built).encode("a <mask>")


def test_white_space_that_users_define_is_one_token_and_no_part_of_a_merge(tmp_path):
    own = ["\n", "\n\n", "  ", "   ", "    "]
    tokens = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", *own]
    pairs = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [2, *[6] * 256, 1, 1, 4, 4, 4, 4, 4],
        "tokenizer.ggml.scores": [0.0] * len(tokens),
        "tokenizer.ggml.add_space_prefix": False,
    }
    (tmp_path / "x.gguf").write_bytes(gguf(pairs))
    tokenizer = pick_tokenizer(parse_map(build_from_gguf(tmp_path / "x.gguf", map_id="test/gemma")))
    expected = ["a", "\n\n", "    ", "a", "▁", "a", "  ", "a"]
    assert tokenizer.encode("a\n\n    a a  a") == [tokens.index(each) for each in expected]


@pytest.mark.parametrize("beside", [(), ("<|tool_response>",)])
def test_what_llama_cpp_takes_for_control_by_its_name_is_no_content(tmp_path, beside):
    """Unless another name in the vocabulary shows that it is not meant."""
    letters = ["▁", *"</s>abcdefghijklmnopqrtuvwxyz_|"]
    marks = ["</s>", "<b>", *beside]
    tokens = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters, *marks]
    pairs = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [2, *[6] * 256, *[1] * len(letters), *[4] * len(marks)],
        "tokenizer.ggml.scores": [0.0] * len(tokens),
        "tokenizer.ggml.add_space_prefix": False,
    }
    (tmp_path / "file.gguf").write_bytes(gguf(pairs))
    found = pick_tokenizer(parse_map(build_from_gguf(tmp_path / "file.gguf", map_id="x/y")))
    end, bold = tokens.index("</s>"), tokens.index("<b>")
    spelled = [tokens.index(letter) for letter in "</s>"]
    assert found.encode("</s>") == [end]
    assert found.encode_ordinary("<b></s>") == [bold, *([end] if beside else spelled)]
