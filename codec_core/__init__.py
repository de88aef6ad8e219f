"""The Codec protocol in Python: maps, tokenizers, frames, regions and translation, with no networking but discovery."""

from codec_core.byte_level import decode_byte_level_token, encode_byte_level_chars
from codec_core.detokenizer import Detokenizer, detokenize
from codec_core.exceptions import (
    CodecError,
    TokenizerMapHashMismatchError,
    TokenizerMapValidationError,
    UnencodableTextError,
)
from codec_core.maps import TokenizerMap, hash_map, parse_map, read_map
from codec_core.tokenizer import BPETokenizer, LongestMatchTokenizer, Tokenizer, pick_tokenizer, tokenize
from codec_core.translator import Translator, static_translation_table, translate
from codec_core.vocabulary import METASPACE, Vocabulary, vocabulary_of

__all__ = [
    "METASPACE",
    "BPETokenizer",
    "CodecError",
    "Detokenizer",
    "LongestMatchTokenizer",
    "Tokenizer",
    "TokenizerMap",
    "TokenizerMapHashMismatchError",
    "TokenizerMapValidationError",
    "Translator",
    "UnencodableTextError",
    "Vocabulary",
    "decode_byte_level_token",
    "detokenize",
    "encode_byte_level_chars",
    "hash_map",
    "parse_map",
    "pick_tokenizer",
    "read_map",
    "static_translation_table",
    "tokenize",
    "translate",
    "vocabulary_of",
]
