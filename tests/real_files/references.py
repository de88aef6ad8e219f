"""The tokenizers that real files are for, each as two functions: text to ids and ids to text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from codec_core.building import (
    build_from_gguf,
    build_from_sentencepiece,
    build_from_tekken,
    build_from_tiktoken,
    build_from_tokenizer_json,
)
from codec_core.building.gguf_reader import read_gguf_metadata
from codec_core.building.tiktoken_ranks import PATTERNS

UNIGRAM_GGUF = "-nomic-bert-moe.gguf"
"""Of llama.cpp's vocabularies, the one of unigrams. No reference encodings lie beside it."""


class Reference(NamedTuple):
    """A tokenizer to compare a map with.

    Attributes:
        name: the package that it is of.
        encode: text to ids.
        decode: ids to text.
        reads_control: whether control tokens are read where a text spells them.
        unknown: the id of characters without a token. Maps refuse texts with them.
    """

    name: str
    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str]
    reads_control: bool
    unknown: int | None = None


def _tokenizers(path: Path) -> Reference:
    from tokenizers import Tokenizer

    # Older files do not state the kind of their model; those have no id of unknown characters.
    return _of(Tokenizer.from_file(str(path)), json.loads(path.read_bytes())["model"].get("unk_id"))


def _of(tokenizer, unknown: int | None = None) -> Reference:
    return Reference(
        "tokenizers",
        lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
        lambda ids: tokenizer.decode(ids, skip_special_tokens=True),
        reads_control=True,
        unknown=unknown,
    )


def _sentencepiece(path: Path) -> Reference:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    unknown = processor.unk_id()
    return Reference(
        "sentencepiece", processor.encode, processor.decode, reads_control=False, unknown=unknown
    )


def _tekken(path: Path) -> Reference:
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    tekken = Tekkenizer.from_file(path)
    return Reference(
        "mistral-common",
        lambda text: tekken.encode(text, bos=False, eos=False),
        tekken.decode,
        reads_control=False,
    )


def _tiktoken(path: Path) -> Reference:
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe

    encoding = tiktoken.Encoding(
        "cl100k",
        pat_str=PATTERNS["cl100k_base"],
        mergeable_ranks=load_tiktoken_bpe(str(path)),
        special_tokens={},
    )
    return Reference("tiktoken", encoding.encode_ordinary, encoding.decode, reads_control=False)


def _gguf(path: Path) -> Reference:
    """Return the tokenizer of SmolLM2, put together from what its GGUF file holds."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    section = read_gguf_metadata(path, lambda key: key.startswith("tokenizer.ggml."))
    tokens, types = section["tokenizer.ggml.tokens"], section["tokenizer.ggml.token_type"]
    assert section["tokenizer.ggml.pre"] == "smollm"
    merges = [tuple(merge.split(" ")) for merge in section["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, merges))
    digits, bytes_ = (
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, types, strict=True) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in control])
    return _of(tokenizer)


def unigram_gguf(path: Path) -> Reference:
    """Return the tokenizer of a GGUF file of unigrams: SentencePiece normalizes and `tokenizers` divides."""
    import sentencepiece
    from tokenizers import Tokenizer, models

    section = read_gguf_metadata(path, lambda key: key.startswith("tokenizer.ggml."))
    tokens, scores = section["tokenizer.ggml.tokens"], section["tokenizer.ggml.scores"]
    ids = [number for number, kind in enumerate(section["tokenizer.ggml.token_type"]) if kind == 1]
    unknown = section["tokenizer.ggml.unknown_token_id"]
    charsmap = bytes(number & 0xFF for number in section["tokenizer.ggml.precompiled_charsmap"])
    assert section["tokenizer.ggml.add_space_prefix"]
    assert section["tokenizer.ggml.remove_extra_whitespaces"]
    normalizer = sentencepiece.SentencePieceProcessor(model_proto=normalizing_model(charsmap))
    entries = [*((tokens[number], scores[number]) for number in ids), ("\0", 0.0)]
    divider = Tokenizer(models.Unigram(entries, unk_id=len(ids)))
    ids.append(unknown)

    def encode(text: str) -> list[int]:
        found = divider.encode(normalizer.normalize(text), add_special_tokens=False).ids
        return [ids[number] for number in found]

    def decode(found: list[int]) -> str:
        return "".join(tokens[number] for number in found).replace("\u2581", " ").removeprefix(" ")

    return Reference("both", encode, decode, reads_control=False, unknown=unknown)


def precompiled_files(path: Path, folder: Path) -> Iterator[Path]:
    """Write the tokenizer of a GGUF file of unigrams as the files that Hugging Face has of such models."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    section = read_gguf_metadata(path, lambda key: key.startswith("tokenizer.ggml."))
    tokens, scores = section["tokenizer.ggml.tokens"], section["tokenizer.ggml.scores"]
    unknown = section["tokenizer.ggml.unknown_token_id"]
    charsmap = bytes(number & 0xFF for number in section["tokenizer.ggml.precompiled_charsmap"])
    words, runs = pre_tokenizers.WhitespaceSplit(), Regex(" {2,}")
    stripped = [normalizers.Strip(left=False, right=True), normalizers.Replace(runs, "\u2581")]
    forms = {
        "words": ([], [words, pre_tokenizers.Metaspace()]),
        "merged": ([normalizers.Replace(runs, " ")], [pre_tokenizers.Metaspace()]),
        "stripped": (stripped, [pre_tokenizers.Metaspace()]),
    }
    for form, (behind, cuts) in forms.items():
        tokenizer = Tokenizer(models.Unigram(list(zip(tokens, scores, strict=True)), unk_id=unknown))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap), *behind])
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
        tokenizer.decoder = decoders.Metaspace()
        tokenizer.add_special_tokens([AddedToken(tokens[unknown], normalized=False)])
        target = folder / form / "tokenizer.json"
        target.parent.mkdir()
        tokenizer.save(str(target))
        yield target


SYMBOLS = ("[REF]", "\ufb01", "e\u0301", "\n", "\u00bd", "123", "\u2581fo", "uick", "ick", "own", "é", "o'")


def model_with_symbols(path: Path, folder: Path) -> Path:
    """Write a SentencePiece model with further pieces that it takes for symbols of its user."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    added = [each for each in SYMBOLS if processor.piece_to_id(each) == processor.unk_id()]
    target = folder / path.name
    target.write_bytes(
        path.read_bytes() + b"".join(_field(1, _field(1, each.encode()) + _field(3, 4)) for each in added)
    )
    return target


def normalizing_model(charsmap: bytes) -> bytes:
    """Return a SentencePiece model with a table of rules, and as few pieces as it may have."""
    pieces = [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("\u2581", 1), ("a", 1)]
    return (
        b"".join(_field(1, _field(1, piece.encode()) + _field(3, kind)) for piece, kind in pieces)
        + _field(2, _field(3, 1))
        + _field(3, _field(2, charsmap) + _field(3, 1) + _field(4, 1))
    )


def _field(number: int, value: bytes | int) -> bytes:
    """Return a field of a protobuf message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


class Kind(NamedTuple):
    """How a map is built from a file, and what it is compared with."""

    build: Callable[[Path], bytes]
    reference: Callable[[Path], Reference]


def kind_of(path: Path) -> Kind | None:
    """Return how to deal with a file, or None for one that only lies beside another."""
    name = path.name
    if name.endswith("tokenizer_config.json"):
        return None
    if ".model.v" in name or name.endswith(".model"):
        return Kind(lambda p: build_from_sentencepiece(p, map_id="real/file"), _sentencepiece)
    if "tekken" in name:
        return Kind(lambda p: build_from_tekken(p, map_id="real/file"), _tekken)
    if name.endswith("tokenizer.json"):
        return Kind(lambda p: build_from_tokenizer_json(p, map_id="real/file"), _tokenizers)
    if name.endswith(UNIGRAM_GGUF):
        return Kind(lambda p: build_from_gguf(p, map_id="real/file"), unigram_gguf)
    if name.endswith(".gguf"):
        return Kind(lambda p: build_from_gguf(p, map_id="real/file"), _gguf)
    if name.endswith("9b5ad71b2ce5302211f9c61530b329a4922fc6a4"):
        return Kind(lambda p: build_from_tiktoken(p, map_id="real/file", pattern="cl100k_base"), _tiktoken)
    return None
