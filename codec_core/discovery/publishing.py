"""Write the folder that a web server serves as `/.well-known/codec`."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from codec_core.discovery.documents import (
    WELL_KNOWN_BASE,
    MapIndex,
    MapPointer,
    check_pointer,
    parse_json,
    read_document,
    well_known_map_url,
)
from codec_core.exceptions import MapDiscoveryError
from codec_core.maps import MAX_MAP_BYTES, parse_map
from codec_core.versions import CODEC_CLIENT_VERSION


def publish_maps(documents: Iterable[bytes], folder: str | os.PathLike[str], origin: str) -> list[Path]:
    """Write maps and their index into the folder of an origin; return the files written.

    Maps that the folder's index lists already are kept. Everything is checked before anything is written.

    Raises:
        TokenizerMapValidationError: a document is not a map.
        MapDiscoveryError: an id cannot be part of a path or is given twice, the origin is not http or https,
            or the index in the folder is malformed.
        OSError: a file cannot be written.
    """
    base = Path(folder) / WELL_KNOWN_BASE.strip("/")
    maps: dict[str, tuple[MapPointer, bytes]] = {}
    for document in documents:
        pointer = _pointer(document, origin)
        if pointer.id in maps:
            raise MapDiscoveryError(f"two maps have the id {pointer.id!r}; give each id once")
        maps[pointer.id] = pointer, document
    pointers = {pointer.id: pointer for pointer in _published(base / "index.json")}
    pointers |= {map_id: pointer for map_id, (pointer, _) in maps.items()}
    index = MapIndex(CODEC_CLIENT_VERSION, tuple(pointers.values()))
    files = {base / "maps" / f"{map_id}.json": document for map_id, (_, document) in maps.items()}
    files[base / "index.json"] = _written(index)  # written last: it lists no map that is not there yet
    for path, data in files.items():
        _write(path, data)
    return list(files)


def _pointer(document: bytes, origin: str) -> MapPointer:
    tokenizer_map = parse_map(document)
    url = well_known_map_url(origin, tokenizer_map.id)
    return MapPointer(tokenizer_map.id, url, tokenizer_map.hash or "")


def _published(path: Path) -> Iterator[MapPointer]:
    """Yield the maps that an index lists; none if there is no index."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        raw = parse_json(file.read(MAX_MAP_BYTES), str(path), MapDiscoveryError)
    for pointer in read_document(raw, MapIndex, str(path), MapDiscoveryError).maps:
        check_pointer(pointer, None, MapDiscoveryError)
        yield pointer


def _written(index: MapIndex) -> bytes:
    maps = [
        {name: value for name, value in msgspec.structs.asdict(pointer).items() if value is not None}
        for pointer in index.maps
    ]
    document = {"codec_version": index.codec_version, "maps": maps}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _write(path: Path, data: bytes) -> None:
    """Write a file whole and rename it into place, since a server may be reading the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")  # threads write the same file, too
    try:
        fresh.write_bytes(data)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
