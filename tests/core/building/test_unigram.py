"""Maps with scores in place of merges, from `tokenizer.json`, held equal to the reference."""

from random import Random

import msgspec
import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

from codec_core.building import build_from_tokenizer_json
from codec_core.detokenizer import Detokenizer
from codec_core.exceptions import MapBuildError, TokenizerMapValidationError
from codec_core.maps import TokenizerMap, parse_map
from codec_core.text_stream import text_stream
from codec_core.tokenizer import UnigramTokenizer, pick_tokenizer
from tests.natural import OTHER_SCRIPTS, prose
from tests.texts import random_cuts, random_text

MARK = normalizers.Replace(" ", "▁")
FORMS = {
    "words": (None, pre_tokenizers.Metaspace()),
    "words, never prefixed": (None, pre_tokenizers.Metaspace(prepend_scheme="never")),
    "whole text": (None, pre_tokenizers.Metaspace(split=False)),
    "normalized": (normalizers.Sequence([normalizers.NFKC(), normalizers.Prepend("▁"), MARK]), None),
}


@pytest.fixture(scope="module")
def pieces() -> list[tuple[str, float]]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=600, unk_token="<unk>", special_tokens=["<unk>", "<s>"])
    tokenizer.train_from_iterator([prose()[:60_000], *OTHER_SCRIPTS], trainer)
    return msgspec.convert(msgspec.json.decode(tokenizer.to_str())["model"]["vocab"], list[tuple[str, float]])


def built_from(pieces, form, folder) -> tuple[Tokenizer, TokenizerMap]:
    with_bytes = [*pieces, *((f"<0x{byte:02X}>", -20.0) for byte in range(256))]
    reference = Tokenizer(models.Unigram(with_bytes, unk_id=0, byte_fallback=True))
    normalizer, pre_tokenizer = FORMS[form]
    if normalizer is not None:
        reference.normalizer = normalizer
    if pre_tokenizer is not None:
        reference.pre_tokenizer = pre_tokenizer
    reference.add_special_tokens([AddedToken(name, normalized=False) for name in ("<unk>", "<s>", "<new>")])
    reference.add_tokens([AddedToken("\n\n", normalized=False)])
    path = folder / "tokenizer.json"
    reference.save(str(path))
    return reference, parse_map(build_from_tokenizer_json(path, map_id="test/unigram"))


@pytest.mark.parametrize("form", FORMS)
def test_ids_equal_the_reference(form, pieces, tmp_path):
    reference, built = built_from(pieces, form, tmp_path)
    tokenizer, random = pick_tokenizer(built), Random(1)
    assert isinstance(tokenizer, UnigramTokenizer)
    natural = prose()[60_000:]
    for _ in range(300):
        start = random.randrange(len(natural))
        text = (
            random_text(random, 8)
            + natural[start : start + random.randrange(80)]
            + random.choice(["", "aaaa<new>"])
        )
        text = text.replace("<0x", "")  # the reference takes these for the bytes that they name
        assert tokenizer.encode(text) == reference.encode(text, add_special_tokens=False).ids, text


@pytest.mark.parametrize("form", FORMS)
def test_every_cut_of_a_text_gives_the_same_ids(form, pieces, tmp_path):
    _, built = built_from(pieces, form, tmp_path)
    tokenizer, random = pick_tokenizer(built), Random(2)
    stream = text_stream(tokenizer)
    for _ in range(150):
        text = random_text(random, 10)
        ids = [number for part in random_cuts(random, list(text)) for number in stream.feed("".join(part))]
        ids += stream.finish()
        stream.restart()
        assert ids == tokenizer.encode_ordinary(text), text


@pytest.mark.slow
def test_text_that_names_a_byte_token_stays_text(pieces, tmp_path):
    _, built = built_from(pieces, "words", tmp_path)
    ids = pick_tokenizer(built).encode_ordinary("a <0x41> b")
    assert Detokenizer(built).render(ids) == "a <0x41> b"


def document(**unigram):
    return {
        "id": "test/scores",
        "version": "2",
        "vocab_size": 3,
        "encoder": "metaspace",
        "vocab": {"a": 0, "b": 1, "ab": 2},
        "metaspace_prefix": "never",
        "unigram": unigram,
    }


@pytest.mark.parametrize(
    ("scores", "tokens"),
    [([-1.0, -1.0, -3.0], [0, 1]), ([-1.0, -1.0, -1.5], [2]), ([-1.0, -1.0, -2.0], [2])],
)
def test_the_highest_sum_counts_and_of_equal_ones_the_first(scores, tokens):
    assert pick_tokenizer(TokenizerMap.from_json(document(scores=scores))).encode("ab") == tokens


def test_sums_are_rounded_as_the_reference_rounds_them():
    """In single precision the small difference is lost, and the longer token was found first."""
    scores = [-1.0, -1.0, -2.00000001]
    single, double = (document(scores=scores, precision=precision) for precision in ("single", "double"))
    assert pick_tokenizer(TokenizerMap.from_json(double)).encode("ab") == [0, 1]
    assert pick_tokenizer(TokenizerMap.from_json(single)).encode("ab") == [2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unigram": {"scores": [0.0]}}, "a finite score for each id"),
        ({"encoder": "byte_level"}, "only a metaspace vocabulary"),
        ({"vocab": {"a": 0, "b": 1, "a" * 1025: 2}}, "a token has 1025 characters"),
    ],
)
def test_maps_with_other_scores_are_refused(changes, message):
    with pytest.raises(TokenizerMapValidationError, match=message):
        pick_tokenizer(TokenizerMap.from_json(document(scores=[0.0, 0.0, 0.0]) | changes))


def test_a_piece_that_is_listed_twice_is_refused(tmp_path):
    file = {
        "model": {"type": "Unigram", "vocab": [["a", 0.0], ["a", 0.0]]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁"},
    }
    (tmp_path / "tokenizer.json").write_bytes(msgspec.json.encode(file))
    with pytest.raises(MapBuildError, match="a piece is listed twice"):
        build_from_tokenizer_json(tmp_path / "tokenizer.json", map_id="test/unigram")


def test_a_text_token_of_the_model_divides_what_normalization_makes(tmp_path):
    pieces = [("<unk>", 0.0), ("▁", -1.0), ("f", -2.0), ("i", -2.0), ("fi", -1.0)]
    reference = Tokenizer(models.Unigram(pieces, unk_id=0))
    reference.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Prepend("▁"), MARK])
    reference.add_tokens([AddedToken("fi", normalized=False)])
    reference.save(str(tmp_path / "tokenizer.json"))
    tokenizer = pick_tokenizer(
        parse_map(build_from_tokenizer_json(tmp_path / "tokenizer.json", map_id="test/unigram"))
    )
    assert tokenizer.encode_ordinary("i\ufb01") == [1, 3, 4]
    for text in ("i\ufb01", "ifi f", "\ufb01fi i"):
        assert tokenizer.encode(text) == reference.encode(text, add_special_tokens=False).ids, text
