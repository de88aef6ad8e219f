"""The root module is the whole public surface, said once and in order."""

import importlib
import inspect
import operator
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
    assert public == set(codec_core.__all__) - {"__version__"}
    assert len(codec_core.__all__) == len(set(codec_core.__all__))


@pytest.mark.parametrize("name", EXISTING_CLIENT)
def test_the_names_of_the_existing_client_are_there(name):
    assert name in codec_core.__all__


SIGNATURES = {
    "BPETokenizer": "m",
    "BPETokenizer.encode": "text",
    "BPETokenizer.supports": "m",
    "CodecFrame": "ids done finish_reason",
    "CodecVersionPolicyDocument": "minimum_version required_features deployment_id docs_url valid_until",
    "CodecVersionRequiredBody": (
        "error minimum_version required_features client_version docs_url deployment_id"
    ),
    "CodecVersionRequiredError": "body",
    "Detokenizer": "tokenizer_map",
    "Detokenizer.render": "ids partial render_special",
    "Detokenizer.reset": "",
    "LongestMatchTokenizer": "m",
    "LongestMatchTokenizer.encode": "text",
    "MapCache.get": "key",
    "MapCache.set": "key value",
    "MapDiscoveryNotFoundError": "url status",
    "MapIndex": "codec_version maps",
    "MapPointer": "id url hash published_at",
    "MemoryMapCache.get": "key",
    "MemoryMapCache.set": "key value",
    "MemorySafetyPolicyCache.get": "key",
    "MemorySafetyPolicyCache.set": "key descriptor",
    "SafetyCategory": "name action description",
    "SafetyClassifierBlock": "family host requires_engine_features",
    "SafetyClientHooksBlock": "prefilter_categories client_classifier_family",
    "SafetyPolicyCache.get": "key",
    "SafetyPolicyCache.set": "key descriptor",
    "SafetyPolicyDescriptor": (
        "id version tokenizers categories classifier category_registry rules_summary client_hooks "
        "published_at publisher"
    ),
    "SafetyPolicyDiscoveryNotFoundError": "url status",
    "SafetyPolicyHashMismatchError": "expected actual",
    "SafetyPolicyPointer": "id url hash published_at",
    "SafetyPolicyValidationError": "message",
    "SafetyPublisherBlock": "name url contact",
    "SafetyRulesSummary": (
        "banned_token_id_count regex_pattern_count grammar_constraint_count multi_token_pattern_count"
    ),
    "Tokenizer.encode": "text",
    "TokenizerMap": (
        "id version vocab_size vocab tokens encoder merges pre_tokenizer_pattern "
        "byte_fallback_start byte_fallback_end special_tokens tool_calling published_at"
    ),
    "TokenizerMap.from_json": "data",
    "TokenizerMapHashMismatchError": "expected actual",
    "TokenizerMapValidationError": "message",
    "ToolWatcher": "map start_name end_name",
    "ToolWatcher.feed": "ids",
    "ToolWatcher.reset": "",
    "Translator": "from_map to_map",
    "Translator.finish": "",
    "Translator.reset": "",
    "Translator.translate": "ids partial",
    "WatcherEvent": "kind ids",
    "decode_byte_level_token": "raw_token",
    "decode_msgpack_stream": "body",
    "decode_protobuf_frame": "data",
    "decode_protobuf_stream": "body",
    "decode_stream": "body fmt",
    "descriptor_canonical_bytes": "descriptor",
    "descriptor_from_json": "raw",
    "detokenize": "tokenizer_map ids render_special",
    "discover_index": "origin client timeout",
    "discover_map": "origin id cache client timeout",
    "discover_safety_policy": "origin id hash cache client timeout",
    "discover_version_policy": "origin client",
    "encode_byte_level_chars": "data",
    "hash_safety_policy": "descriptor",
    "hash_zstd_dict": "dict_bytes",
    "load_map": "url hash cache client cache_key timeout",
    "load_safety_policy": "url hash cache client cache_key timeout",
    "parse_version_policy_document": "raw",
    "parse_version_required": "resp",
    "pick_tokenizer": "m",
    "select_zstd_dict_for_response": "response_headers loaded_dicts",
    "static_translation_table": "from_map to_map",
    "tokenize": "m text",
    "translate": "from_map to_map ids",
    "validate_safety_policy": "value",
    "well_known_index_url": "origin",
    "well_known_map_url": "origin id",
    "well_known_policy_hash_url": "origin hash_hex",
    "well_known_policy_url": "origin policy_id",
    "well_known_version_policy_url": "origin",
    "with_codec_client_version": "headers override_version",
}
"""The parameters that the existing client's functions and methods take, in their order."""


@pytest.mark.parametrize("name", SIGNATURES)
def test_calls_written_for_the_existing_client_are_understood(name):
    called = operator.attrgetter(name)(codec_core)
    parameters = {k: p for k, p in inspect.signature(called).parameters.items() if k != "self"}
    expected = SIGNATURES[name].split()
    assert [parameter for parameter in parameters if parameter in expected] == expected
    added = [p for k, p in parameters.items() if k not in expected]
    assert all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in added)


AWAITED = [
    "MapCache.get",
    "MapCache.set",
    "MemoryMapCache.get",
    "MemoryMapCache.set",
    "MemorySafetyPolicyCache.get",
    "MemorySafetyPolicyCache.set",
    "SafetyPolicyCache.get",
    "SafetyPolicyCache.set",
    "discover_index",
    "discover_map",
    "discover_safety_policy",
    "discover_version_policy",
    "load_map",
    "load_safety_policy",
]
"""What the existing client awaits; all else it calls."""


@pytest.mark.parametrize("name", SIGNATURES)
def test_what_the_existing_client_awaits_is_awaited(name):
    assert inspect.iscoroutinefunction(operator.attrgetter(name)(codec_core)) == (name in AWAITED)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_what_it_lists(name):
    module = importlib.import_module(name)
    assert all(hasattr(module, public) for public in module.__all__)


@pytest.mark.parametrize(
    ("name", "bases"),
    [
        ("CodecVersionRequiredError", (Exception,)),
        ("CodecZstdDictError", (Exception,)),
        ("FrameError", (ValueError,)),
        ("MapDiscoveryError", (ValueError,)),
        ("MapDiscoveryNotFoundError", (codec_core.MapDiscoveryError, ValueError)),
        ("SafetyPolicyDiscoveryError", (ValueError,)),
        ("SafetyPolicyDiscoveryNotFoundError", (codec_core.SafetyPolicyDiscoveryError, ValueError)),
        ("SafetyPolicyHashMismatchError", (Exception,)),
        ("SafetyPolicyValidationError", (ValueError,)),
        ("TokenizerMapHashMismatchError", (ValueError,)),
        ("TokenizerMapValidationError", (ValueError,)),
        ("ToolWatcherError", (ValueError,)),
        ("VersionPolicyError", (ValueError,)),
    ],
)
def test_except_clauses_of_the_existing_client_still_catch(name, bases):
    assert all(issubclass(getattr(codec_core, name), base) for base in bases)


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
