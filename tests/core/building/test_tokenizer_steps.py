"""Normalizers and pre-tokenizers of `tokenizer.json`, one by one, held equal to the reference."""

from pathlib import Path
from random import Random

import msgspec
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from codec_core.building import build_from_tokenizer_json
from codec_core.byte_level import ALPHABET
from codec_core.detokenizer import Detokenizer
from codec_core.exceptions import MapBuildError
from codec_core.maps import parse_map
from codec_core.reference import encode_ordinary
from codec_core.text_stream import text_stream
from codec_core.tokenizer import pick_tokenizer
from tests.cases import cases
from tests.texts import random_cuts, random_text

DEEPSEEK = [
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    (
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^@@\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
        r"| ?[\p{P}\p{S}]+[@@]*|\s*[@@]+|\s+(?!\S)|\s+"
    ).replace("@@", "\r\n"),
]
_UPPER, _LOWER = (rf"[\p{{{c}}}\p{{Lm}}\p{{Lo}}\p{{M}}&&[^\p{{Han}}]]" for c in (r"Lu}\p{Lt", "Ll"))
_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
KIMI = (
    rf"[\p{{Han}}]+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTION}"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTION}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
    r"|\s+(?!\S)|\s"
)
GAPS = r" ?\p{L}+|->>|--|\d{2}"

bytes_as_they_are = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def split(pattern, behavior="isolated", *, invert=False):
    return pre_tokenizers.Split(pattern, behavior, invert)


BYTE_LEVEL = {
    "GPT-2's": [pre_tokenizers.ByteLevel(add_prefix_space=False)],
    "with a space before it": [pre_tokenizers.ByteLevel(add_prefix_space=True)],
    "DeepSeek's": [*(split(Regex(pattern)) for pattern in DEEPSEEK), bytes_as_they_are],
    "Kimi's": [split(Regex(KIMI)), bytes_as_they_are],
    "cl100k": [split(Regex(CL100K)), bytes_as_they_are],
    "runs of triples": [split(Regex(r"\p{N}{1,3}+|\p{L}+|x{2}+")), bytes_as_they_are],
    "ends of lines": [split(Regex(r"\s+$")), bytes_as_they_are],
    "gaps": [split(Regex(GAPS)), bytes_as_they_are],
    "removed inverted": [split(Regex(rf"{GAPS}|[\s\S]"), "removed", invert=True), bytes_as_they_are],
    "a string": [split("a."), bytes_as_they_are],
    "merged with previous": [split(Regex(r"[\s.]"), "merged_with_previous"), bytes_as_they_are],
    "merged with next": [split(" ", "merged_with_next"), bytes_as_they_are],
    "contiguous": [split(Regex(r"\p{P}"), "contiguous"), bytes_as_they_are],
    "inverted": [split(Regex(r"\p{P}|\d+"), invert=True), bytes_as_they_are],
    "digits": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)],
    "digits in runs": [pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.ByteLevel(False)],
    "punctuation": [pre_tokenizers.Punctuation(), bytes_as_they_are],
    "punctuation in runs": [pre_tokenizers.Punctuation("contiguous"), bytes_as_they_are],
    "punctuation with previous": [pre_tokenizers.Punctuation("merged_with_previous"), bytes_as_they_are],
    "punctuation with next": [pre_tokenizers.Punctuation("merged_with_next"), bytes_as_they_are],
}
MARK = normalizers.Replace(" ", "▁")
MARKED = {
    "Gemma's": (MARK, [split(" ", "merged_with_previous")]),
    "Llama's": (normalizers.Sequence([normalizers.Prepend("▁"), MARK]), []),
    "normalized": (normalizers.Sequence([normalizers.NFKC(), MARK]), []),
    "words, always": (None, [pre_tokenizers.Metaspace(prepend_scheme="always")]),
    "words, first": (None, [pre_tokenizers.Metaspace(prepend_scheme="first")]),
    "words, never": (None, [pre_tokenizers.Metaspace(prepend_scheme="never")]),
    "text, always": (None, [pre_tokenizers.Metaspace(prepend_scheme="always", split=False)]),
    "words, and digits": (None, [pre_tokenizers.Metaspace(), pre_tokenizers.Digits(individual_digits=True)]),
}


def merges_of(random: Random, alphabet: str, count: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return a vocabulary of random merges, so that a cut at another place shows in the ids."""
    vocab = {character: number for number, character in enumerate(alphabet)}
    merges: list[tuple[str, str]] = []
    tokens = list(alphabet)
    while len(merges) < count:
        # Characters that texts hold often, so that most places of a text may be merged across.
        pair = tuple(
            random.choice(f"etaoin{alphabet[-1]}.,1'-" if random.random() < 0.7 else tokens) for _ in range(2)
        )
        if all(part in vocab for part in pair) and "".join(pair) not in vocab:
            vocab["".join(pair)] = len(vocab)
            tokens.append("".join(pair))
            merges.append(pair)
    return vocab, merges


def byte_level_model() -> models.BPE:
    space = ALPHABET[ord(" ")]
    alphabet = "".join(c for c in ALPHABET if c != space) + space
    return models.BPE(*merges_of(Random(1), alphabet, 600))


def marked_model() -> models.BPE:
    alphabet = "".join(map(chr, range(32, 127))).replace(" ", "") + "\n\té▁"
    vocab, merges = merges_of(Random(2), alphabet, 500)
    pieces = {f"<0x{byte:02X}>": len(vocab) + byte for byte in range(256)}
    return models.BPE(
        {**vocab, **pieces, "<unk>": len(vocab) + 256},
        merges,
        unk_token="<unk>",
        byte_fallback=True,
        fuse_unk=True,
    )


def assert_equal(reference: Tokenizer, folder: Path) -> None:
    reference.add_special_tokens([AddedToken("<s>", normalized=False)])
    path = folder / "tokenizer.json"
    reference.save(str(path))
    tokenizer = pick_tokenizer(parse_map(build_from_tokenizer_json(path, map_id="test/steps")))
    random = Random(3)
    for _ in range(cases(300)):
        text = random_text(random, 12) + random.choice(["", " ", "\n", "a.", "--", "<s>", "  \n", "12"])
        assert tokenizer.encode(text) == reference.encode(text, add_special_tokens=False).ids, text


@pytest.mark.parametrize("name", BYTE_LEVEL)
@pytest.mark.slow
def test_steps_over_bytes(name, tmp_path):
    reference = Tokenizer(byte_level_model())
    reference.pre_tokenizer = pre_tokenizers.Sequence(BYTE_LEVEL[name])
    assert_equal(reference, tmp_path)


@pytest.mark.parametrize("name", MARKED)
def test_steps_over_marked_text(name, tmp_path):
    normalizer, steps = MARKED[name]
    reference = Tokenizer(marked_model())
    if normalizer is not None:
        reference.normalizer = normalizer
    if steps:
        reference.pre_tokenizer = pre_tokenizers.Sequence(steps)
    assert_equal(reference, tmp_path)


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_normal_forms(form, tmp_path):
    reference = Tokenizer(byte_level_model())
    reference.normalizer = normalizers.Sequence([getattr(normalizers, form)()])
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert_equal(reference, tmp_path)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([split(Regex(r"\p{L}+|\s+"), "removed", invert=True)], "loses text: not every character"),
        ([split(Regex(r"\s+"), "removed")], "behavior 'Removed' and invert False has no form"),
        ([split(Regex(r"ab|c"), "contiguous")], "'Contiguous' by more than a set"),
        ([split(Regex(r"ab"), "merged_with_next")], "merges matches of more than a set"),
        ([split(Regex(r"(?<=a)b"))], "a group of a kind that no tokenizer uses, at character 0"),
        ([split(Regex(r"a(?=b+c)"))], "a look-ahead at more than one character"),
        ([pre_tokenizers.Whitespace()], "'Whitespace' has no form in a map: it leaves the white space out"),
        ([pre_tokenizers.UnicodeScripts()], "'UnicodeScripts' has no form"),
    ],
)
def test_steps_that_a_map_cannot_say_are_refused(steps, message, tmp_path):
    reference = Tokenizer(byte_level_model())
    reference.pre_tokenizer = pre_tokenizers.Sequence([*steps, bytes_as_they_are])
    reference.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(MapBuildError, match=message):
        build_from_tokenizer_json(tmp_path / "tokenizer.json", map_id="test/steps")


RUNS = normalizers.Replace(Regex(" {2,}"), " ")
QUOTES = normalizers.Replace("``", '"')


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            [QUOTES, normalizers.NFKD(), normalizers.StripAccents(), RUNS],
            "replaces '``' by .*: it loses what it",
        ),
        ([normalizers.NFKD(), normalizers.StripAccents()], "'NFKD' .*: maps normalize to NFC or NFKC alone"),
        ([normalizers.StripAccents(), normalizers.Lowercase(), RUNS], "'StripAccents' .*: it loses accents"),
        ([normalizers.Lowercase(), normalizers.Strip()], "'Lowercase' .*: it loses the case of letters"),
        ([normalizers.Strip(), RUNS], "'Strip' .*: it loses white space before the text"),
        ([normalizers.BertNormalizer()], "'BertNormalizer' .*: it loses characters"),
    ],
    ids=["ALBERT and XLNet", "without quotes", "uncased", "DeBERTa, uncased", "DeBERTa", "BERT"],
)
def test_normalizers_of_encoder_models_are_refused_with_the_reason_and_a_way(steps, message, tmp_path):
    reference = Tokenizer(byte_level_model())
    reference.normalizer = normalizers.Sequence(steps)
    reference.pre_tokenizer = bytes_as_they_are
    path = tmp_path / "tokenizer.json"
    reference.save(str(path))
    with pytest.raises(MapBuildError, match=f"{message}.*can be used through a text API") as caught:
        build_from_tokenizer_json(path, map_id="test/steps")
    assert str(caught.value).startswith(f"{path}: ")


def test_a_split_that_removes_all_of_a_marked_text_is_refused(tmp_path):
    """No space is left in it, and so all of it is between the matches."""
    reference = Tokenizer(marked_model())
    reference.normalizer = MARK
    reference.pre_tokenizer = split(" ", "removed", invert=True)
    assert reference.encode("a b").ids == []
    reference.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(MapBuildError, match="loses text: all of it"):
        build_from_tokenizer_json(tmp_path / "tokenizer.json", map_id="test/steps")


def test_a_byte_token_that_is_spelled_by_its_character(tmp_path):
    """Gemma's vocabulary has a tab where its 256 tokens of bytes have `<0x09>`."""
    vocab = {"a": 0, **{f"<0x{byte:02X}>": 1 + byte for byte in range(256)}, "▁": 257, "▁a": 258}
    vocab["\t"] = vocab.pop("<0x09>")
    reference = Tokenizer(models.BPE(vocab, [("▁", "a")], byte_fallback=True, unk_token="a"))
    reference.normalizer = MARK
    reference.save(str(tmp_path / "tokenizer.json"))
    built = parse_map(build_from_tokenizer_json(tmp_path / "tokenizer.json", map_id="test/steps"))
    ids = pick_tokenizer(built).encode("a\ta é")
    assert ids == reference.encode("a\ta é").ids
    assert Detokenizer(built).render(ids) == "a\ta é"


def test_a_stream_gets_one_space_before_it(tmp_path):
    reference = Tokenizer(byte_level_model())
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    reference.save(str(tmp_path / "tokenizer.json"))
    built = parse_map(build_from_tokenizer_json(tmp_path / "tokenizer.json", map_id="test/steps"))
    tokenizer, random = pick_tokenizer(built), Random(4)
    stream = text_stream(tokenizer)
    for _ in range(100):
        text = random_text(random, 8)
        ids = [number for part in random_cuts(random, list(text)) for number in stream.feed("".join(part))]
        ids += stream.finish()
        stream.restart()
        assert ids == tokenizer.encode_ordinary(text) == encode_ordinary(tokenizer.vocabulary, text), text


@pytest.mark.parametrize("skips_merges", [False, True])
@pytest.mark.slow
def test_what_is_beside_a_byte_without_a_token_merges(skips_merges, tmp_path):
    """SmolLM2's vocabulary, for one, has no tokens for some control characters."""
    alphabet = [character for byte, character in enumerate(ALPHABET) if byte not in (0x04, 0x2D, 0xE3)]
    vocab, merges = merges_of(Random(5), "".join(alphabet), 600)
    reference = Tokenizer(models.BPE(vocab, merges, ignore_merges=skips_merges))
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    reference.save(str(tmp_path / "tokenizer.json"))
    built = parse_map(build_from_tokenizer_json(tmp_path / "tokenizer.json", map_id="test/steps"))
    tokenizer, random = pick_tokenizer(built), Random(6)
    for _ in range(300):
        text = random_text(random, 8) + "".join(random.choices("etao-\x04in", k=8))
        ids = tokenizer.encode_ordinary(text)
        assert ids == reference.encode(text).ids == encode_ordinary(tokenizer.vocabulary, text), text
    apart = msgspec.structs.replace(built, missing_bytes="apart")
    for _ in range(100):
        text = "".join(random.choices("etao-\x04in", k=8))
        expected = encode_ordinary(pick_tokenizer(apart).vocabulary, text)
        assert pick_tokenizer(apart).encode_ordinary(text) == expected, text
