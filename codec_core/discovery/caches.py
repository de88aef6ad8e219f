"""Caches of maps: in memory, on disk, or any other `MapCache`.

The rules:

* The key is the caller's `cache_key`, the map's hash, or its URL: the first of these that is given.
* A map under its hash never becomes stale. One under a URL is the map that was there at the first load.
* Caches are awaited, so that one may be behind a network. Those here never wait; `DiskMapCache` can also be
  read without an event loop.
* Two loads of the same bytes give one map object, in every cache and without any.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from abc import ABC, abstractmethod
from collections import OrderedDict
from pathlib import Path
from weakref import WeakValueDictionary

from codec_core.discovery.documents import check_hash
from codec_core.exceptions import MapDiscoveryError, TokenizerMapValidationError
from codec_core.maps import MAX_MAP_BYTES, TokenizerMap, hash_map, parse_map

_maps_in_use: WeakValueDictionary[str, TokenizerMap] = WeakValueDictionary()
"""By hash, the maps that this process holds. The references are weak: a map is freed with its last user."""


def map_in_use(name: str) -> TokenizerMap | None:
    """Return the map with this hash if this process holds it."""
    return _maps_in_use.get(name)


def shared_map(data: bytes, name: str) -> TokenizerMap:
    """Return the map of these bytes, whose hash is `name`: the one in use, or one parsed and checked now.

    Raises:
        TokenizerMapValidationError: the bytes are no map.
    """
    # Two threads may both parse. `setdefault` keeps the first result, so all callers share one map.
    return _maps_in_use.get(name) or _maps_in_use.setdefault(name, parse_map(data))


class MapCache(ABC):
    """A cache of maps by key. Implement `get` and `set`, and `store` to keep the map's own bytes."""

    @abstractmethod
    async def get(self, key: str) -> TokenizerMap | None:
        """Return the map under this key, or None."""

    @abstractmethod
    async def set(self, key: str, value: TokenizerMap) -> None:
        """Keep a map under this key."""

    async def store(self, key: str, value: TokenizerMap, data: bytes) -> None:  # noqa: ARG002 - for subclasses
        """Keep a map that was parsed from these bytes."""
        await self.set(key, value)


class MemoryMapCache(MapCache):
    """A cache in this process.

    Nothing is evicted unless `max_maps` is given; then the map that was used least recently goes first. A map
    that is in use elsewhere stays in memory all the same.
    """

    def __init__(self, max_maps: int | None = None) -> None:
        if max_maps is not None and max_maps < 1:
            raise ValueError(f"max_maps must be at least 1, got {max_maps}")
        self._max_maps = max_maps
        self._maps: OrderedDict[str, TokenizerMap] = OrderedDict()

    async def get(self, key: str) -> TokenizerMap | None:
        """Return the map under this key, or None."""
        found = self._maps.get(key)
        if found is not None:
            self._maps.move_to_end(key)
        return found

    async def set(self, key: str, value: TokenizerMap) -> None:
        """Keep a map under this key."""
        self._maps[key] = value
        self._maps.move_to_end(key)
        while self._max_maps is not None and len(self._maps) > self._max_maps:
            self._maps.popitem(last=False)

    def clear(self) -> None:
        """Drop all maps."""
        self._maps.clear()


class DiskMapCache(MapCache):
    """A folder of the bytes of maps, each under its hash. Several processes may share it.

    A file appears whole or not at all, is checked against its name at every read, and is removed if it does
    not match. Nothing is evicted: files, and the folder, may be deleted at any time. A folder that cannot be
    written to is an `OSError`.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._maps = self.folder / "maps"
        self._keys = self.folder / "keys"

    async def get(self, key: str) -> TokenizerMap | None:
        """Return the map under this key, read and checked again, or None."""
        return self.read(key)

    def read(self, key: str) -> TokenizerMap | None:
        """Return the map under this key, or None, without an event loop."""
        name = self._name_of(key)
        if name is None:
            return None
        path = self._path(name)
        data = _read(path)
        if data is None:
            return None
        if hash_map(data) == name:
            # A version that refused less may have kept what is no map to this one.
            with contextlib.suppress(TokenizerMapValidationError):
                return shared_map(data, name)
        with contextlib.suppress(OSError):  # another process may have removed it
            path.unlink()
        return None

    def document(self, key: str) -> bytes | None:
        """Return the bytes of the map under this key, checked, or None."""
        name = self._name_of(key)
        data = None if name is None else _read(self._path(name))
        return data if data is not None and hash_map(data) == name else None

    async def set(self, key: str, value: TokenizerMap) -> None:
        """Keep the key of a map whose bytes are in this cache already: only `store` gets the bytes.

        Raises:
            MapDiscoveryError: the map was made in memory, or its bytes are not in this cache.
        """
        if value.hash is None or not self._path(value.hash).is_file():
            raise MapDiscoveryError("a cache on disk keeps bytes; call `store` with those of the map")
        self._remember(key, value.hash)

    async def store(self, key: str, value: TokenizerMap, data: bytes) -> None:  # noqa: ARG002 - the bytes are enough
        """Keep the bytes of a map."""
        self.keep(key, data)

    def keep(self, key: str, data: bytes) -> None:
        """Keep the bytes of a map, without an event loop."""
        name = hash_map(data)
        path = self._path(name)
        if not path.is_file():
            _write(path, data)
        self._remember(key, name)

    def keep_beside(self, path: Path, data: bytes) -> None:
        """Keep another file in the folder, whole or not at all.

        Args:
            path: below `folder`.
            data: its content.

        Raises:
            OSError: it cannot be written.
        """
        _write(path, data)

    def _remember(self, key: str, name: str) -> None:
        if key != name:
            _write(self._key_path(key), name.encode())

    def _name_of(self, key: str) -> str | None:
        """Return the hash under a key; a hash is its own key."""
        data = key.encode() if _is_hash(key) else _read(self._key_path(key))
        name = (data or b"").decode("ascii", "replace").strip()
        return name if _is_hash(name) else None

    def _path(self, name: str) -> Path:
        return self._maps / (name.removeprefix("sha256:") + ".json")

    def _key_path(self, key: str) -> Path:
        return self._keys / hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


class ChainedMapCache(MapCache):
    """Several caches, the fastest first. A map found in a later one is stored in the earlier ones.

    A cache on disk keeps the bytes of maps, which a later cache does not give: it keeps what is loaded.
    """

    def __init__(self, *caches: MapCache) -> None:
        self._caches = caches

    async def get(self, key: str) -> TokenizerMap | None:
        """Return the map under this key from the first cache that has it, or None."""
        for number, cache in enumerate(self._caches):
            found = await cache.get(key)
            if found is not None:
                for earlier in self._caches[:number]:
                    # Refused by a cache of bytes that has none for this map, which is found all the same.
                    with contextlib.suppress(MapDiscoveryError):
                        await earlier.set(key, found)
                return found
        return None

    async def set(self, key: str, value: TokenizerMap) -> None:
        """Keep a map in all caches."""
        for cache in self._caches:
            await cache.set(key, value)

    async def store(self, key: str, value: TokenizerMap, data: bytes) -> None:
        """Keep a map and its bytes in all caches."""
        for cache in self._caches:
            await cache.store(key, value, data)


def _is_hash(text: str) -> bool:
    try:
        check_hash(text)
    except MapDiscoveryError:
        return False
    return True


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(MAX_MAP_BYTES + 1)
    except OSError:
        return None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # also raised if the folder is deleted between two checks of `mkdir`
        if folder.exists() and not folder.is_dir():
            raise


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, also if another process writes the same one.

    If the folder is deleted meanwhile, the file may be gone, as if the folder had been deleted afterwards.
    """
    with contextlib.suppress(FileNotFoundError):
        _make_folder(path.parent)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
        try:
            # Not synced: what a power cut damages is found out when it is read, and made or fetched anew.
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
