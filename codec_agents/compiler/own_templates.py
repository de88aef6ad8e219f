"""The chat template that a model's files hold beside its tokenizer, for the check of the dialect.

What stands beside a `tokenizer.json` on the disk is read when it is asked for. What is in a GGUF file, or
was fetched from the hub, is kept in the cache of maps under the hash of the map. A map that is built from a
`tokenizer.json` or a GGUF file holds the template that was there, and has another hash with another template;
published maps may hold none.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codec_agents.exceptions import DialectError
from codec_core.discovery import DiskMapCache
from codec_core.vocabulary import Vocabulary

CONFIGURATION = "tokenizer_config.json"
SEPARATE_TEMPLATE = "chat_template.jinja"
"""The file in which newer models keep the chat template, beside their `tokenizer_config.json`."""

MAX_CONFIG_BYTES = 32 * 1024 * 1024
"""A `tokenizer_config.json` of 100,000 added tokens takes half of it."""

TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
FIELDS = ("chat_template", *TOKENS)
"""What a chat template needs of the configuration."""

Config = Mapping[str, Any]

_log = logging.getLogger("codec_agents")


def read_config(path: Path, shown: str) -> dict[str, Any]:
    """Return a `tokenizer_config.json`, with the template of the file beside it where there is one.

    Raises:
        DialectError: it cannot be read, or is no configuration.
    """
    try:
        config = json.loads(read_text(path))
    # Python's reader of JSON ends at about a thousand levels.
    except (ValueError, RecursionError) as error:
        raise DialectError(f"{shown} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise DialectError(f"{shown} is no tokenizer configuration: it holds no object")
    beside = path.with_name(SEPARATE_TEMPLATE)
    if beside.is_file():  # it counts where both are there, as in `transformers`
        config["chat_template"] = read_text(beside)
    return config


def read_text(path: Path) -> str:
    """Return the text of a file of bounded size.

    Raises:
        DialectError: it cannot be read.
    """
    try:
        # Before it is read: the file came with a model.
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise DialectError(f"{path.name} has more than {MAX_CONFIG_BYTES} bytes; name the dialect")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise DialectError(f"cannot read {path.name}: {reason}") from error


def own_config(path: Path | None, vocabulary: Vocabulary, cache: DiskMapCache) -> Config | None:
    """Return what renders the chat template of a map's model; None where there is no template.

    Args:
        path: the tokenizer, or the model's folder; None for a map that was fetched.
        vocabulary: that of the map.
        cache: where maps are kept.

    Raises:
        DialectError: a file is there and cannot be read.
        CodecError: a GGUF file is damaged.
        OSError: a file cannot be read.
    """
    # The builders are imported here: most pipelines name maps, and start sooner without.
    if path is not None:
        from codec_core.building.source import FOLDER_FILES, is_gguf, tokenizer_file

        file = tokenizer_file(path)
        # Files of these names lie in the folder of their model; beside others may be those of another one.
        if file.name in FOLDER_FILES:
            return config_beside(file)
        if is_gguf(file):
            return config_of_gguf(file, vocabulary, cache)
    return kept_config(vocabulary, cache) or None


def config_beside(file: Path) -> Config | None:
    """Return what a chat template needs, from the files beside a tokenizer; None where there is no template.

    Raises:
        DialectError: a file is there and cannot be read.
    """
    path = file.with_name(CONFIGURATION)
    if path.is_file():
        return _needed(read_config(path, CONFIGURATION))
    template = file.with_name(SEPARATE_TEMPLATE)
    return {"chat_template": read_text(template)} if template.is_file() else None


def config_of_gguf(file: Path, vocabulary: Vocabulary, cache: DiskMapCache) -> Config | None:
    """Return the same from a GGUF file, whose metadata is read once.

    Raises:
        CodecError: the file is damaged.
        OSError: it cannot be read.
    """
    kept = kept_config(vocabulary, cache)
    if kept is None:
        kept = _read_gguf(file, vocabulary)
        try:
            keep_config(cache, vocabulary.hash, kept)
        # A cache that cannot be written costs the next build a second look into the file.
        except OSError as error:
            _log.info("the chat template of %s is not cached: %s", vocabulary.id, error)
    # An empty one is kept too, so that a file without a template is not read again.
    return kept or None


def _read_gguf(file: Path, vocabulary: Vocabulary) -> Config:
    from codec_core.building.gguf_reader import read_gguf_metadata

    template = "tokenizer.chat_template"
    ids = {f"tokenizer.ggml.{name}_id": name for name in TOKENS}
    found = read_gguf_metadata(file, lambda key: key in (template, *ids))
    names = {number: text for text, number in vocabulary.special_tokens.items()}
    config = {name: names[found[key]] for key, name in ids.items() if found.get(key) in names}
    return _needed(config | {"chat_template": found.get(template)}) or {}


def kept_config(vocabulary: Vocabulary, cache: DiskMapCache) -> Config | None:
    """Return what was kept for a map; None if nothing was. It is empty if the model has no template."""
    if vocabulary.hash is None:
        return None
    try:
        found = json.loads(_place(cache, vocabulary.hash).read_bytes())
    except (OSError, ValueError, RecursionError):  # never kept, or the folder was deleted in between
        return None
    return found if isinstance(found, dict) else None


def keep_config(cache: DiskMapCache, map_hash: str | None, config: Config | None) -> None:
    """Keep what a chat template needs for a map.

    Raises:
        OSError: the folder cannot be written.
    """
    if map_hash is not None:
        cache.keep_beside(_place(cache, map_hash), json.dumps(config or {}).encode())


def _place(cache: DiskMapCache, map_hash: str) -> Path:
    return cache.folder / "templates" / f"{map_hash.removeprefix('sha256:')}.json"


def _needed(config: Config) -> Config | None:
    """Return the fields that a template needs; None where there is no template."""
    if not config.get("chat_template"):
        return None
    return {name: config[name] for name in FIELDS if config.get(name)}
