"""Maps from SentencePiece models, written here field by field."""

import struct

import pytest

from codec_core import reference
from codec_core.building import build_from_sentencepiece
from codec_core.building.sentencepiece_model import read_model
from codec_core.detokenizer import Detokenizer
from codec_core.exceptions import MapBuildError
from codec_core.maps import parse_map
from codec_core.tokenizer import pick_tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
BPE, UNIGRAM = 2, 1


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def field(number: int, value: bytes | float) -> bytes:
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def model(pieces, *, kind=BPE, normalizer=b"", trainer=b"") -> bytes:
    data = b"".join(
        field(1, field(1, piece.encode()) + field(2, score) + field(3, type_))
        for piece, score, type_ in pieces
    )
    keeps_spaces = field(4, 0)
    return data + field(2, field(3, kind) + trainer) + field(3, keeps_spaces + normalizer)


PIECES = [
    ("<unk>", 0.0, UNKNOWN),
    ("<s>", 0.0, CONTROL),
    *((f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)),
    ("[REF]", 0.0, USER_DEFINED),
    ("▁a", -1.0, NORMAL),
    ("ab", -2.0, NORMAL),
    ("▁ab", -3.0, NORMAL),
    ("▁▁", -4.0, NORMAL),
    ("▁", -5.0, NORMAL),
    ("a", -6.0, NORMAL),
    ("b", -7.0, NORMAL),
]
IDS = {piece: number for number, (piece, _, _) in enumerate(PIECES)}


def build(tmp_path, data):
    (tmp_path / "x.model").write_bytes(data)
    return parse_map(build_from_sentencepiece(tmp_path / "x.model", map_id="test/pieces"))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("ab", ["▁ab"]),
        ("bab", ["▁", "b", "ab"]),
        (" ab", ["▁", "▁ab"]),
        ("[REF]ab", ["▁", "[REF]", "ab"]),
        ("b[REF] a", ["▁", "b", "[REF]", "▁a"]),
        ("é", ["▁", "<0xC3>", "<0xA9>"]),
        ("<s>", ["▁", "<0x3C>", "<0x73>", "<0x3E>"]),
    ],
)
def test_text_gets_one_space_before_it_and_symbols_are_found_first(text, tokens, tmp_path):
    built = build(tmp_path, model(PIECES))
    tokenizer = pick_tokenizer(built)
    ids = tokenizer.encode_ordinary(text)
    assert ids == [IDS[token] for token in tokens]
    assert ids == reference.encode_ordinary(tokenizer.vocabulary, text)
    assert Detokenizer(built).render(ids) == text


def test_a_model_without_a_space_before_the_text(tmp_path):
    built = build(tmp_path, model(PIECES, normalizer=field(3, 0)))
    assert pick_tokenizer(built).encode_ordinary("ab") == [IDS["ab"]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (model(PIECES, kind=3), "of type word has no form"),
        (model([("▁", 0.0, USER_DEFINED)], kind=UNIGRAM), "no ordinary piece"),
        (model([*PIECES, ("a b", 0.0, USER_DEFINED)], normalizer=field(4, 1)), "symbols with spaces"),
        (model(PIECES, trainer=field(24, 1)), "behind words"),
        (model([*PIECES, ("x", 0.0, UNUSED)]), "unused pieces"),
        (model([*PIECES, ("a", 0.0, NORMAL)]), "listed twice"),
        (model([("a", 0.0, NORMAL)]), "no pieces with U\\+2581"),
        (b"", "it has no pieces"),
        (model(PIECES)[:-3], "no SentencePiece model"),
        (b"\xff" * 40, "no SentencePiece model"),
        (field(1, field(1, b"\xff")), "no SentencePiece model"),
        (field(1, field(3, b"x")), "no SentencePiece model"),
        (field(1, 5), "no SentencePiece model"),
        (model(PIECES, normalizer=field(4, b"")), "no SentencePiece model"),
        # Of a message that is there twice, the fields are joined: the second one states none.
        (
            model([*PIECES, ("a b", 0.0, USER_DEFINED)], normalizer=field(4, 1)) + field(3, b""),
            "symbols with spaces",
        ),
    ],
)
def test_what_has_no_form_or_is_damaged_is_refused(data, message, tmp_path):
    with pytest.raises(MapBuildError, match=message):
        build(tmp_path, data)


def test_pieces_are_counted_as_they_come(tmp_path):
    (tmp_path / "x.model").write_bytes(field(1, b"") * 11 + b"\xff")
    with pytest.raises(MapBuildError, match="has 11 tokens"):
        read_model(tmp_path / "x.model", max_tokens=10)


def test_unigrams_divide_by_their_scores(tmp_path):
    pieces = [piece for piece in PIECES if piece[0] != "[REF]"]
    built = build(tmp_path, model(pieces, kind=UNIGRAM))
    ids = {piece: number for number, (piece, _, _) in enumerate(pieces)}
    tokenizer = pick_tokenizer(built)
    assert tokenizer.encode_ordinary("ab") == [ids["▁ab"]]
    assert tokenizer.encode_ordinary("abé") == [ids["▁ab"], ids["<0xC3>"], ids["<0xA9>"]]
    assert built.unigram is not None
    assert built.unigram.precision == "single"


SYMBOLS = ["[REF]", "ab", "\ufb01", "▁<x>", "abab", "<|end|>"]
ORDINARY = {"▁": -2.0, "a": -3.0, "b": -3.5, "x": -3.0, "xab": -1.0, "▁a": -2.5, "<": -4.0, ">": -4.0}


DIVIDED = {
    "ab": "▁ ab",
    "a b": "▁a ▁ b",
    "xabab": "▁ xab ab",  # a piece that outweighs them is taken in place of x and the symbol
    "ababab": "▁ ab abab",
    "b <x>a": "▁ b ▁<x> a",
    "b<x>": "▁ b < x >",
    "[REF]\ufb01a[RE": "▁ [REF] \ufb01 a <0x5B> <0x52> <0x45>",
    "▁ab": "▁ ▁ ab",
    "a<|end|>b": "▁a < <0x7C> <0x65> <0x6E> <0x64> <0x7C> > b",  # a name that only templates write
}


def test_symbols_of_unigrams_count_more_than_most_pieces(tmp_path):
    """The tokens are those of sentencepiece 0.2.3, but for the control token."""
    pieces = [("<unk>", 0.0, UNKNOWN), *PIECES[2:258], *((symbol, -50.0, USER_DEFINED) for symbol in SYMBOLS)]
    built = build(tmp_path, model([*pieces, *((*each, NORMAL) for each in ORDINARY.items())], kind=UNIGRAM))
    tokenizer = pick_tokenizer(built)
    for text, tokens in DIVIDED.items():
        ids = tokenizer.encode_ordinary(text)
        assert [tokenizer.vocabulary.raw_token(number) for number in ids] == tokens.split()
        assert Detokenizer(built).render(ids) == text.replace("▁", " ")
    assert built.unigram is not None
    assert built.unigram.unknown == -14  # of the ordinary pieces alone
    control = tokenizer.encode("ab<|end|>b")
    assert [tokenizer.vocabulary.raw_token(number) for number in control] == ["▁", "ab", "<|end|>", "b"]


def test_sums_of_long_texts_keep_their_precision(tmp_path):
    """Two letters outweigh their pair by less than a sum of 200,000 shows in 32 bits."""
    scores = {"▁": -1.0, "a": -1000.0, "b": -1000.0, "ab": -2000.01}
    pieces = [("<unk>", 0.0, UNKNOWN), *((*each, NORMAL) for each in scores.items())]
    built = build(tmp_path, model(pieces, kind=UNIGRAM, normalizer=field(3, 0)))
    assert pick_tokenizer(built).encode_ordinary("ab" * 400) == [2, 3] * 400
