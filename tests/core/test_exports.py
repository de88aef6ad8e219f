"""The root module is the whole public surface, said once and in order."""

import importlib
import subprocess
import sys

import pytest

import codec_core

EXISTING_CLIENT = [
    "load_map",
    "discover_map",
    "discover_index",
    "MapCache",
    "MemoryMapCache",
    "TokenizerMap",
    "CodecFrame",
    "Detokenizer",
    "detokenize",
    "Tokenizer",
    "BPETokenizer",
    "LongestMatchTokenizer",
    "pick_tokenizer",
    "tokenize",
    "decode_stream",
    "decode_msgpack_stream",
    "decode_protobuf_stream",
    "decode_protobuf_frame",
    "ToolWatcher",
    "WatcherEvent",
    "Translator",
    "translate",
    "static_translation_table",
    "SafetyPolicyDescriptor",
    "validate_safety_policy",
    "hash_safety_policy",
    "load_safety_policy",
    "discover_safety_policy",
    "descriptor_canonical_bytes",
    "descriptor_from_json",
    "SafetyCategory",
    "SafetyClassifierBlock",
    "SafetyRulesSummary",
    "SafetyClientHooksBlock",
    "SafetyPublisherBlock",
    "SafetyPolicyCache",
    "MemorySafetyPolicyCache",
    "SafetyPolicyPointer",
    "MapIndex",
    "MapPointer",
    "CODEC_CLIENT_VERSION",
    "CODEC_CLIENT_VERSION_HEADER",
    "CODEC_MIN_VERSION_HEADER",
    "CODEC_REQUIRED_FEATURES_HEADER",
    "CodecVersionPolicyDocument",
    "CodecVersionRequiredBody",
    "CodecVersionRequiredError",
    "with_codec_client_version",
    "parse_version_required",
    "parse_version_policy_document",
    "discover_version_policy",
    "hash_zstd_dict",
    "select_zstd_dict_for_response",
    "CodecZstdDictError",
    "MapDiscoveryError",
    "MapDiscoveryNotFoundError",
    "SafetyPolicyDiscoveryError",
    "SafetyPolicyDiscoveryNotFoundError",
    "SafetyPolicyHashMismatchError",
    "SafetyPolicyValidationError",
    "TokenizerMapHashMismatchError",
    "TokenizerMapValidationError",
    "ToolWatcherError",
    "METASPACE",
    "WELL_KNOWN_BASE",
    "POLICY_WELL_KNOWN_BASE",
    "well_known_index_url",
    "well_known_map_url",
    "well_known_policy_hash_url",
    "well_known_policy_url",
    "well_known_version_policy_url",
    "decode_byte_level_token",
    "encode_byte_level_chars",
]

MODULES = ["codec_core.compression", "codec_core.discovery", "codec_core.frames", "codec_core.regions"]


def test_the_list_is_complete_and_holds_nothing_else():
    for name in codec_core.__all__:
        getattr(codec_core, name)  # some are imported when they are first used
    public = {
        name
        for name, value in vars(codec_core).items()
        if not name.startswith("_") and type(value).__name__ != "module"
    }
    assert public == set(codec_core.__all__)
    assert len(codec_core.__all__) == len(set(codec_core.__all__))


@pytest.mark.parametrize("name", EXISTING_CLIENT)
def test_the_names_of_the_existing_client_are_there(name):
    assert name in codec_core.__all__


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_what_it_lists(name):
    module = importlib.import_module(name)
    assert all(hasattr(module, public) for public in module.__all__)


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("MapDiscoveryNotFoundError", "MapDiscoveryError"),
        ("SafetyPolicyDiscoveryNotFoundError", "SafetyPolicyDiscoveryError"),
    ],
)
def test_except_clauses_of_the_existing_client_still_catch(name, base):
    assert issubclass(getattr(codec_core, name), getattr(codec_core, base))
    assert issubclass(getattr(codec_core, base), ValueError)


def test_importing_loads_nothing_that_is_not_needed_yet():
    heavy = [
        "httpx",
        "google.protobuf",
        "brotli",
        "zstandard",
        "asyncio",
        "anyio",
        "pydantic",
        "opentelemetry",
    ]
    code = f"import sys, codec_core; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
