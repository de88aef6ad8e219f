"""Tokenizer maps: the JSON document of one tokenizer, its parts, and the rules that it keeps."""

from codec_core.maps.checks import ids_of_version_1
from codec_core.maps.document import (
    MAX_MAP_BYTES,
    MAX_MAP_TOKENS,
    MAX_MAP_VALUES,
    TokenizerMap,
    check_map,
    hash_map,
    parse_map,
    read_map,
)
from codec_core.maps.parts import (
    AddedToken,
    NormalizerRules,
    TextToken,
    ToolCallingBlock,
    ToolCallingMarkers,
    UnigramScores,
    ZstdDictionary,
)

__all__ = [
    "MAX_MAP_BYTES",
    "MAX_MAP_TOKENS",
    "MAX_MAP_VALUES",
    "AddedToken",
    "NormalizerRules",
    "TextToken",
    "TokenizerMap",
    "ToolCallingBlock",
    "ToolCallingMarkers",
    "UnigramScores",
    "ZstdDictionary",
    "check_map",
    "hash_map",
    "ids_of_version_1",
    "parse_map",
    "read_map",
]
