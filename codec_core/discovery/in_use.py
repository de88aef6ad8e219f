"""The maps that this process holds, by hash: what is in use somewhere is not loaded a second time.

Nothing is kept here: a map goes with the last that uses it.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

from codec_core.maps import TokenizerMap, parse_map

_maps: WeakValueDictionary[str, TokenizerMap] = WeakValueDictionary()


def map_in_use(name: str) -> TokenizerMap | None:
    """Return the map that has this hash, if the process holds it."""
    return _maps.get(name)


def shared_map(data: bytes, name: str) -> TokenizerMap:
    """Return the map of these bytes, whose hash is `name`: the one in use, or one parsed and checked now.

    Raises:
        TokenizerMapValidationError: the bytes are no map.
    """
    # Two threads may both parse; the first that is stored is the one everybody uses.
    return _maps.get(name) or _maps.setdefault(name, parse_map(data))
