"""The Codec protocol in Python: maps, tokenizers, frames, regions and translation.

Nothing here opens a connection but the functions of `codec_core.discovery`.
"""

import typing as _typing
from importlib import import_module as _import

from codec_core.byte_level import (
    decode_byte_level_token,
    encode_byte_level_chars,
)
from codec_core.detokenizer import (
    Detokenizer,
    detokenize,
)
from codec_core.exceptions import (
    CodecError,
    CodecVersionBodyError,
    CodecVersionRequiredBody,
    CodecVersionRequiredError,
    CodecZstdDictError,
    CompressionError,
    CorruptBodyError,
    DecompressionBudgetError,
    FrameEncodeError,
    FrameError,
    FrameTooLargeError,
    LeafMapMismatchError,
    LeafTokenizationError,
    MalformedFrameError,
    MapDiscoveryError,
    MapDiscoveryNotFoundError,
    MissingExtraError,
    NestingError,
    RegionKindError,
    SafetyPolicyDiscoveryError,
    SafetyPolicyDiscoveryNotFoundError,
    SafetyPolicyHashMismatchError,
    SafetyPolicyValidationError,
    TokenizerMapHashMismatchError,
    TokenizerMapValidationError,
    ToolWatcherError,
    TrailingDataError,
    TruncatedBodyError,
    TruncatedStreamError,
    UnencodableTextError,
    UnsupportedEncodingError,
    UnsupportedFormatError,
    VersionPolicyError,
)
from codec_core.frames import (
    CONTENT_TYPES,
    CodecFrame,
    CodecRequest,
    FrameDecoder,
    FrameEncoder,
    decode_msgpack_stream,
    decode_protobuf_frame,
    decode_protobuf_stream,
    decode_request,
    decode_stream,
    decoder,
    encode_request,
    encoder,
    format_of_content_type,
)
from codec_core.maps import (
    TokenizerMap,
    hash_map,
    parse_map,
    read_map,
)
from codec_core.regions import (
    RegionEvent,
    RegionKind,
    RegionScanner,
    ToolWatcher,
    WatcherEvent,
)
from codec_core.tokenizer import (
    BPETokenizer,
    LongestMatchTokenizer,
    Tokenizer,
    UnigramTokenizer,
    pick_tokenizer,
    tokenize,
)
from codec_core.translator import (
    Translator,
    static_translation_table,
    translate,
)
from codec_core.vocabulary import (
    METASPACE,
    Vocabulary,
    vocabulary_of,
)

if _typing.TYPE_CHECKING:
    __version__: str

    from codec_core.compression import (
        accept_encoding,
        choose_encoding,
        compressor,
        decompressor,
        encoding_headers,
        hash_zstd_dict,
        select_zstd_dict_for_response,
        train_zstd_dict,
    )
    from codec_core.discovery import (
        POLICY_WELL_KNOWN_BASE,
        WELL_KNOWN_BASE,
        ChainedMapCache,
        DiskMapCache,
        MapCache,
        MapIndex,
        MapPointer,
        MemoryMapCache,
        MemorySafetyPolicyCache,
        SafetyPolicyCache,
        SafetyPolicyPointer,
        discover_index,
        discover_map,
        discover_safety_policy,
        discover_version_policy,
        discover_zstd_dict,
        load_map,
        load_map_dicts,
        load_safety_policy,
        load_zstd_dict,
        well_known_dict_url,
        well_known_index_url,
        well_known_map_url,
        well_known_policy_hash_url,
        well_known_policy_url,
        well_known_version_policy_url,
    )
    from codec_core.leaf import (
        LEAF_TOKENIZATION,
        LeafTokenization,
        leaf_ids,
        read_leaf,
        write_leaf,
    )
    from codec_core.safety import (
        SafetyCategory,
        SafetyClassifierBlock,
        SafetyClientHooksBlock,
        SafetyPolicyDescriptor,
        SafetyPublisherBlock,
        SafetyRulesSummary,
        descriptor_canonical_bytes,
        descriptor_from_json,
        hash_safety_policy,
        validate_safety_policy,
    )
    from codec_core.versions import (
        CODEC_CLIENT_VERSION,
        CODEC_CLIENT_VERSION_HEADER,
        CODEC_MIN_VERSION_HEADER,
        CODEC_REQUIRED_FEATURES_HEADER,
        CodecVersionPolicyDocument,
        parse_version_policy_document,
        parse_version_required,
        with_codec_client_version,
    )

_LATER = ("versions", "leaf", "safety", "compression", "discovery")
"""Imported when one of their names is first used: together a quarter of what importing this takes."""


def __getattr__(name: str) -> object:
    """Find a name in the modules that are imported later, the cheapest first."""
    if name == "__version__":
        return _import("importlib.metadata").version("codec-agents")
    for module in _LATER if name in __all__ else ():
        found = _import(f"codec_core.{module}")
        if hasattr(found, name):
            globals()[name] = getattr(found, name)
            return globals()[name]
    raise AttributeError(f"module 'codec_core' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, those of modules that are not imported yet among them."""
    return list(__all__)


__all__ = [
    "CODEC_CLIENT_VERSION",
    "CODEC_CLIENT_VERSION_HEADER",
    "CODEC_MIN_VERSION_HEADER",
    "CODEC_REQUIRED_FEATURES_HEADER",
    "CONTENT_TYPES",
    "LEAF_TOKENIZATION",
    "METASPACE",
    "POLICY_WELL_KNOWN_BASE",
    "WELL_KNOWN_BASE",
    "BPETokenizer",
    "ChainedMapCache",
    "CodecError",
    "CodecFrame",
    "CodecRequest",
    "CodecVersionBodyError",
    "CodecVersionPolicyDocument",
    "CodecVersionRequiredBody",
    "CodecVersionRequiredError",
    "CodecZstdDictError",
    "CompressionError",
    "CorruptBodyError",
    "DecompressionBudgetError",
    "Detokenizer",
    "DiskMapCache",
    "FrameDecoder",
    "FrameEncodeError",
    "FrameEncoder",
    "FrameError",
    "FrameTooLargeError",
    "LeafMapMismatchError",
    "LeafTokenization",
    "LeafTokenizationError",
    "LongestMatchTokenizer",
    "MalformedFrameError",
    "MapCache",
    "MapDiscoveryError",
    "MapDiscoveryNotFoundError",
    "MapIndex",
    "MapPointer",
    "MemoryMapCache",
    "MemorySafetyPolicyCache",
    "MissingExtraError",
    "NestingError",
    "RegionEvent",
    "RegionKind",
    "RegionKindError",
    "RegionScanner",
    "SafetyCategory",
    "SafetyClassifierBlock",
    "SafetyClientHooksBlock",
    "SafetyPolicyCache",
    "SafetyPolicyDescriptor",
    "SafetyPolicyDiscoveryError",
    "SafetyPolicyDiscoveryNotFoundError",
    "SafetyPolicyHashMismatchError",
    "SafetyPolicyPointer",
    "SafetyPolicyValidationError",
    "SafetyPublisherBlock",
    "SafetyRulesSummary",
    "Tokenizer",
    "TokenizerMap",
    "TokenizerMapHashMismatchError",
    "TokenizerMapValidationError",
    "ToolWatcher",
    "ToolWatcherError",
    "TrailingDataError",
    "Translator",
    "TruncatedBodyError",
    "TruncatedStreamError",
    "UnencodableTextError",
    "UnigramTokenizer",
    "UnsupportedEncodingError",
    "UnsupportedFormatError",
    "VersionPolicyError",
    "Vocabulary",
    "WatcherEvent",
    "__version__",
    "accept_encoding",
    "choose_encoding",
    "compressor",
    "decode_byte_level_token",
    "decode_msgpack_stream",
    "decode_protobuf_frame",
    "decode_protobuf_stream",
    "decode_request",
    "decode_stream",
    "decoder",
    "decompressor",
    "descriptor_canonical_bytes",
    "descriptor_from_json",
    "detokenize",
    "discover_index",
    "discover_map",
    "discover_safety_policy",
    "discover_version_policy",
    "discover_zstd_dict",
    "encode_byte_level_chars",
    "encode_request",
    "encoder",
    "encoding_headers",
    "format_of_content_type",
    "hash_map",
    "hash_safety_policy",
    "hash_zstd_dict",
    "leaf_ids",
    "load_map",
    "load_map_dicts",
    "load_safety_policy",
    "load_zstd_dict",
    "parse_map",
    "parse_version_policy_document",
    "parse_version_required",
    "pick_tokenizer",
    "read_leaf",
    "read_map",
    "select_zstd_dict_for_response",
    "static_translation_table",
    "tokenize",
    "train_zstd_dict",
    "translate",
    "validate_safety_policy",
    "vocabulary_of",
    "well_known_dict_url",
    "well_known_index_url",
    "well_known_map_url",
    "well_known_policy_hash_url",
    "well_known_policy_url",
    "well_known_version_policy_url",
    "with_codec_client_version",
    "write_leaf",
]
