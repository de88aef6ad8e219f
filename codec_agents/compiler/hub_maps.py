"""Maps of models on the hub: the tokenizer file is fetched, the map is built from it and cached.

The environment decides as it does for the hub's own library: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`,
`HF_HUB_CACHE` and `HF_HOME`. A model that this library has on the disk is not fetched.
"""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from anyio import to_thread

from codec_agents.compiler.map_files import built_key, id_of_name, map_of_file
from codec_agents.compiler.own_templates import Config, config_beside, keep_config
from codec_agents.exceptions import DialectError
from codec_agents.references.secret_texts import hide
from codec_core.discovery import DiskMapCache
from codec_core.discovery.caches import shared_map
from codec_core.discovery.hub import ENDPOINT, TOKENIZERS, FileProgress, HubModel, fetch_tokenizer
from codec_core.exceptions import CodecError, MapDiscoveryError
from codec_core.maps import TokenizerMap, hash_map

YES = frozenset({"1", "ON", "YES", "TRUE"})
"""What the hub's own library takes for true in a variable, in capitals."""

_log = logging.getLogger("codec_agents")


async def map_of_hub(
    name: str,
    map_id: str | None,
    cache: DiskMapCache,
    *,
    progress: FileProgress | None = None,
    allow_private: bool = False,
) -> TokenizerMap:
    """Return the map of a model on the hub.

    Args:
        name: `org/model`, or `org/model@revision`.
        map_id: the id of the map; None for one named after the model.
        cache: asked first, and given the map. A branch stays what it was there; a commit never changes.
        progress: called while files arrive.
        allow_private: whether redirects may lead to addresses that are not public.

    Raises:
        CodecError: the model cannot be had, or a map cannot describe its tokenizer exactly.
        httpx.HTTPError: the connection failed.
        OSError: the tokenizer cannot be written to the disk.
    """
    model = HubModel.parse(name)
    map_id = map_id or id_of_name(model.model)
    if (folder := _local(model)) is not None:
        return await to_thread.run_sync(map_of_file, folder, map_id, cache)
    endpoint = hub_endpoint()
    # The endpoint is part of it: a mirror may have another model under the same name.
    key = built_key(map_id, f"{endpoint}/{model}")
    if (kept := cache.read(key)) is not None:
        return kept
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in YES:
        raise MapDiscoveryError(f"hf:{model} is not in a cache, and HF_HUB_OFFLINE forbids to fetch it")
    token = os.environ.get("HF_TOKEN", "").strip() or None  # one read from a file ends in a line feed
    _check_token_is_safe(endpoint, token)
    _log.info("fetching the tokenizer of %s from %s", model, endpoint)
    with tempfile.TemporaryDirectory() as place:
        try:
            commit = await fetch_tokenizer(
                model,
                Path(place),
                endpoint=endpoint,
                token=token,
                progress=progress,
                allow_private=allow_private,
            )
        except CodecError as error:
            if token is not None and token in str(error):  # a server may repeat what it was sent
                raise MapDiscoveryError(hide(str(error), [token])) from None
            raise
        return await to_thread.run_sync(_built, Path(place), map_id, key, commit, cache)


def _built(folder: Path, map_id: str, key: str, commit: str, cache: DiskMapCache) -> TokenizerMap:
    from codec_core.building.source import build_map, tokenizer_file

    file = tokenizer_file(folder)
    data = build_map(file, map_id=map_id)
    _log.info("the map %s is built from commit %s", map_id, commit or "unknown")
    try:
        cache.keep(key, data)
        keep_config(cache, hash_map(data), _config(file, map_id))
    except OSError as error:  # the map is made: without a cache it is only fetched again by the next process
        _log.warning("the map %s cannot be cached: %s; set CODEC_CACHE to a folder with space", map_id, error)
    return shared_map(data, hash_map(data))


def _config(file: Path, map_id: str) -> Config | None:
    """Return what renders the chat template; a map is built without it too."""
    try:
        return config_beside(file)
    except DialectError as error:
        _log.warning("the chat template of %s is not compared with a dialect: %s", map_id, error)
        return None


def hub_endpoint() -> str:
    """Return the URL of the hub: the one that the environment names, or the public one."""
    return os.environ.get("HF_ENDPOINT") or ENDPOINT


def _check_token_is_safe(endpoint: str, token: str | None) -> None:
    place = urlsplit(endpoint)
    if token and not (token.isascii() and token.isprintable()):
        # The HTTP client would refuse it too, with a message that repeats it.
        raise MapDiscoveryError("HF_TOKEN holds a character that no header can have; set it anew")
    if token and place.scheme != "https" and place.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise MapDiscoveryError("HF_TOKEN is not sent without TLS; let HF_ENDPOINT begin with https://")


def local_folder(name: str) -> Path | None:
    """Return the folder of a model, `org/model@revision`, if the hub's own library has its tokenizer."""
    return _local(HubModel.parse(name))


def _local(model: HubModel) -> Path | None:
    home = os.environ.get("HF_HOME")
    if home is None:
        home = str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
    place = hub / f"models--{model.model.replace('/', '--')}"
    named = place / "refs" / model.revision
    commit = named.read_text("utf-8", "replace").strip() if named.is_file() else model.revision
    folder = place / "snapshots" / commit
    return folder if any((folder / name).is_file() for name in TOKENIZERS) else None
