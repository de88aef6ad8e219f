"""Maps from files: a map is read, a tokenizer of any known format is built once and cached by its content."""

from __future__ import annotations

import hashlib
import logging
import re
from importlib.metadata import version
from pathlib import Path
from weakref import WeakValueDictionary

from codec_core.discovery.caches import DiskMapCache, shared_map
from codec_core.maps import TokenizerMap, hash_map, read_map

HASHED_WHOLE = 256 << 20
"""Bytes. Of a larger file (a GGUF with weights) only as many are hashed, with its size: the tokenizer is in
the metadata at the beginning, and hashing weights of many gigabytes would delay every start."""

_log = logging.getLogger("codec_agents")

_files: WeakValueDictionary[tuple[str, str, int, int], TokenizerMap] = WeakValueDictionary()
"""The maps of files that are in use, by path, id, time of change and size."""


def map_of_file(path: Path, map_id: str | None, cache: DiskMapCache) -> TokenizerMap:
    """Return the map in a file, or the one that is built from the tokenizer in it.

    Args:
        path: a map, a tokenizer file, or a model's folder.
        map_id: the id of a map that is built; None for one named after the file.
        cache: where built maps are kept, by the content of their file.

    Raises:
        CodecError: the file is damaged, or a map cannot describe its tokenizer exactly.
        OSError: the file cannot be read.
    """
    # The builders are imported here: most pipelines name maps, and start sooner without.
    from codec_core.building.source import is_map, tokenizer_file

    file = tokenizer_file(path)
    # Before the file is read: a change meanwhile leaves the old key, so the next call reads the file again.
    status = file.stat()
    map_id = map_id or id_of_file(file)
    key = (str(file), map_id, status.st_mtime_ns, status.st_size)
    found = _files.get(key)
    if found is None:
        found = _files[key] = read_map(str(file)) if is_map(file) else _built(file, map_id, cache)
    return found


def _built(file: Path, map_id: str, cache: DiskMapCache) -> TokenizerMap:
    # By content: the same tokenizer in another folder or image of a container is not built again.
    key = built_key(map_id, _digest(file))
    cached = cache.read(key)
    if cached is not None:
        return cached
    from codec_core.building.source import build_map

    _log.info("building the map %s from %s", map_id, file)
    data = build_map(file, map_id=map_id)
    try:
        cache.keep(key, data)
    except OSError as error:  # the map is made: without a cache it is only made again by the next process
        _log.warning("the map %s cannot be cached: %s; set CODEC_CACHE to a folder with space", map_id, error)
    return shared_map(data, hash_map(data))


def key_of_id(map_id: str) -> str:
    """Return the key in the cache of the map that was built or fetched last under an id."""
    return f"id:{map_id}"


def built_key(map_id: str, source: str) -> str:
    """Return the key in the cache of a map that is built here: other builders may build another one."""
    return f"built:{version('codec-agents')}:{map_id}:{source}"


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        if file.stat().st_size <= HASHED_WHOLE:
            return hashlib.file_digest(opened, "sha256").hexdigest()
        digest = hashlib.sha256(opened.read(HASHED_WHOLE))
    digest.update(str(file.stat().st_size).encode())
    return digest.hexdigest()


def id_of_file(file: Path) -> str:
    """Return the id of the map of a file for which none is given."""
    # Most tokenizer files of models have the same name, and the folder tells them apart.
    common = file.name.startswith(("tokenizer.", "tekken."))
    return f"local/{id_of_name(file.absolute().parent.name if common else file.name.split('.')[0])}"


def id_of_name(name: str) -> str:
    """Return the id of a map for a name: ids have no capitals, spaces or other scripts."""
    segments = (re.sub(r"[^a-z0-9._-]+|\.{2,}", "-", each).strip(".-") for each in name.lower().split("/"))
    return "/".join(filter(None, segments)) or "model"
