"""Maps as the command line names them: by id, file, folder, or model of the hub."""

from __future__ import annotations

from pathlib import Path

import anyio
import click

from codec_agents.cli import terminal
from codec_agents.compiler.hub_maps import hub_endpoint, map_of_hub
from codec_agents.compiler.map_files import id_of_file, id_of_name, key_of_id, map_of_file
from codec_agents.compiler.maps import map_cache_folder
from codec_agents.graph.sources import HUB_PREFIX
from codec_agents.references.missing_files import searched
from codec_agents.references.unreachable import by_way_of, unreachable
from codec_agents.vocabularies import BUNDLED_MAPS, bundled_map, bundled_map_bytes
from codec_core.building.source import build_map, is_map, tokenizer_file
from codec_core.discovery import DiskMapCache
from codec_core.discovery.hub import HubModel
from codec_core.exceptions import MapBuildError
from codec_core.maps import MAX_MAP_BYTES, TokenizerMap, parse_map, read_map


def build(source: str, map_id: str | None, pattern: str | None, *, allow_private: bool) -> bytes:
    """Return the bytes of a map built from a source.

    Raises:
        BadParameter: the source is no file or folder.
        CodecError: a map cannot describe the tokenizer exactly, or the hub does not give it.
        OSError: a file cannot be read, or the hub cannot be reached.
    """
    if source.startswith(HUB_PREFIX):
        found = _from_hub(source.removeprefix(HUB_PREFIX), map_id, allow_private=allow_private)
        return _document_of(found)
    path = Path(source)
    if not path.exists():
        raise click.BadParameter(f"there is no {source!r}{searched(path)}", param_hint="SOURCE")
    return build_map(path, map_id=map_id or id_of_file(tokenizer_file(path)), pattern=pattern)


def keep(document: bytes, *, required: bool) -> str:
    """Keep a map in the cache under its id; return how pipelines name it.

    Args:
        document: the map.
        required: whether a cache that cannot be written to is an error, or only a warning.

    Raises:
        OSError: the cache cannot be written to.
    """
    found = parse_map(document)
    try:
        _cache().keep(key_of_id(found.id), document)
    # Not required where it is written to a file as well: the command has its result.
    except OSError as error:
        if required:
            raise
        terminal.echo(f"warning: the map is not kept in the cache: {error}", err=True)
    return found.id


def remember(tokenizer_map: TokenizerMap) -> None:
    """Let pipelines find a map, which the cache has, by its id."""
    anyio.run(_cache().set, key_of_id(tokenizer_map.id), tokenizer_map)


def named_map(name: str, param_hint: str = "SOURCE_OR_ID") -> TokenizerMap:
    """Return the map of a name.

    Raises:
        BadParameter: there is none.
        CodecError: the file is damaged, or a map cannot describe its tokenizer exactly.
    """
    # Before files: a bundled name means the bundled map, as in a declaration.
    if name in BUNDLED_MAPS:
        return bundled_map(name)
    if name.startswith(HUB_PREFIX):
        # Only `maps build` has an option for hubs that redirect to private addresses.
        return _from_hub(name.removeprefix(HUB_PREFIX), None, allow_private=False)
    path = Path(name)
    if path.exists():
        return read_map(path) if path.is_file() and is_map(path) else map_of_file(path, None, _cache())
    if (kept := _cache().read(key_of_id(name))) is not None:
        return kept
    known = ", ".join(BUNDLED_MAPS)
    raise click.BadParameter(
        f"{name!r} is no bundled map ({known}), no map in the cache (make one with `codec-agents maps build` "
        f"or `maps get`), and no file{searched(path)}",
        param_hint=param_hint,
    )


def named_document(name: str, param_hint: str) -> bytes:
    """Return the bytes of the map of a name; raises as `named_map` does."""
    if name in BUNDLED_MAPS:
        return bundled_map_bytes(name)
    path = Path(name)
    if path.is_file() and is_map(path):
        with path.open("rb") as file:
            return file.read(MAX_MAP_BYTES + 1)  # one more is refused as a map
    if path.exists():
        found = map_of_file(path, None, _cache())
        # A cache that cannot be written does not have it: then it is built once more, for its bytes.
        return _cache().document(found.hash or "") or build_map(path, map_id=found.id)
    return _document_of(named_map(name, param_hint))


def _from_hub(name: str, map_id: str | None, *, allow_private: bool) -> TokenizerMap:
    import httpx

    chosen = map_id or id_of_name(HubModel.parse(name).model)
    with terminal.GrowingLine() as line:

        def show(file: str, received: int, total: int | None) -> None:
            of = f" of {terminal.size(total)}" if total else ""
            line.show(f"{file}: {terminal.size(received)}{of}")

        async def fetch() -> TokenizerMap:
            return await map_of_hub(name, chosen, _cache(), progress=show, allow_private=allow_private)

        try:
            return anyio.run(fetch)
        # As an `OSError` it has the exit code of data that cannot be had.
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            if isinstance(error, httpx.ConnectError):  # of which httpx says only that all attempts failed
                said = unreachable(error, by_way_of(hub_endpoint()))
            raise OSError(
                f"cannot fetch hf:{name}: {said}; check the network, HTTPS_PROXY and HF_ENDPOINT, or name "
                "the model's folder"
            ) from error


def _document_of(found: TokenizerMap) -> bytes:
    document = _cache().document(found.hash or "")
    if document is None:
        raise MapBuildError(
            f"the map {found.id} was made, and is not in the cache; set CODEC_CACHE to a folder with space"
        )
    return document


def _cache() -> DiskMapCache:
    return DiskMapCache(map_cache_folder())
