"""The only I/O of this package: load, discover, verify and cache documents, with httpx."""

from codec_core.discovery.caches import ChainedMapCache, DiskMapCache, MapCache, MemoryMapCache
from codec_core.discovery.dictionaries import discover_zstd_dict, load_map_dicts, load_zstd_dict
from codec_core.discovery.documents import (
    POLICY_WELL_KNOWN_BASE,
    WELL_KNOWN_BASE,
    MapIndex,
    MapPointer,
    SafetyPolicyPointer,
    well_known_dict_url,
    well_known_index_url,
    well_known_map_url,
    well_known_policy_hash_url,
    well_known_policy_url,
    well_known_version_policy_url,
)
from codec_core.discovery.maps import discover_index, discover_map, load_map
from codec_core.discovery.policies import (
    MemorySafetyPolicyCache,
    SafetyPolicyCache,
    discover_safety_policy,
    discover_version_policy,
    load_safety_policy,
)

__all__ = [
    "POLICY_WELL_KNOWN_BASE",
    "WELL_KNOWN_BASE",
    "ChainedMapCache",
    "DiskMapCache",
    "MapCache",
    "MapIndex",
    "MapPointer",
    "MemoryMapCache",
    "MemorySafetyPolicyCache",
    "SafetyPolicyCache",
    "SafetyPolicyPointer",
    "discover_index",
    "discover_map",
    "discover_safety_policy",
    "discover_version_policy",
    "discover_zstd_dict",
    "load_map",
    "load_map_dicts",
    "load_safety_policy",
    "load_zstd_dict",
    "well_known_dict_url",
    "well_known_index_url",
    "well_known_map_url",
    "well_known_policy_hash_url",
    "well_known_policy_url",
    "well_known_version_policy_url",
]
