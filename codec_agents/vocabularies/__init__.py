"""Two small vocabularies of different kinds that ship with the package, so that nothing needs fetching."""

from __future__ import annotations

from functools import cache
from importlib import resources

from codec_core.maps import TokenizerMap, parse_map

BUNDLED_MAPS = ("demo/bytes", "demo/words")
"""`demo/bytes` is byte level, `demo/words` metaspace with byte fallback.

No special token has the same id in both.
"""


@cache
def bundled_map(map_id: str) -> TokenizerMap:
    """Return a bundled map, parsed once a process.

    Raises:
        LookupError: no bundled map has that id.
    """
    return parse_map(bundled_map_bytes(map_id))


def bundled_map_bytes(map_id: str) -> bytes:
    """Return the document of a bundled map, as it is published and hashed.

    Raises:
        LookupError: no bundled map has that id.
    """
    if map_id not in BUNDLED_MAPS:
        raise LookupError(f"no map {map_id!r} is bundled; there are {', '.join(BUNDLED_MAPS)}")
    return resources.files(__name__).joinpath(f"{map_id}.json").read_bytes()
