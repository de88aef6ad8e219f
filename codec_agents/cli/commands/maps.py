"""`codec-agents maps`: build, fetch, publish, verify and inspect tokenizer maps."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codec_agents.cli import terminal
from codec_agents.cli.exits import DATA_UNUSABLE, reporting
from codec_agents.cli.options import ExistingPath, as_json
from codec_agents.records.files import write_whole

if TYPE_CHECKING:
    from codec_core.maps import TokenizerMap

MAP_FILE = ExistingPath()


@click.group("maps", short_help="Build, fetch, publish and inspect tokenizer maps.")
def command() -> None:
    """Work with tokenizer maps: the documents that define the token ids of a model."""


@command.command("build", short_help="Make a map from a model's folder or tokenizer file.")
@click.argument("source")
@click.option("--id", "map_id", metavar="ORG/FAMILY", help="The id of the map; by default after its source.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it here as well."
)
@click.option("--pattern", help="The pre-tokenizer's regular expression; for tiktoken ranks only.")
@click.option("--hash", "expected", metavar="sha256:HEX", help="The hash that the map must have.")
@click.option("--allow-private", is_flag=True, help="Follow redirects of a hub to private addresses.")
@reporting
def build_command(
    source: str,
    map_id: str | None,
    output: Path | None,
    pattern: str | None,
    expected: str | None,
    allow_private: bool,
) -> None:
    """Make a map from SOURCE: a model's folder, its tokenizer file, or hf:ORG/MODEL@REVISION; and cache it.

    Known are tokenizer.json, tekken.json, SentencePiece .model, .gguf and .tiktoken files. From the Hugging
    Face hub, the tokenizer file alone is fetched; HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are respected.

    Pipelines find the map by its id. A tokenizer that a map cannot describe exactly is an error.
    """
    from codec_agents.cli.map_sources import build, keep

    document = build(source, map_id, pattern, allow_private=allow_private)
    if expected is not None:
        _check_hash(document, expected)
    if output is not None:
        write_whole(output, document)
    # A file that was written is a result by itself; without one the cache is the only one.
    kept = keep(document, required=output is None)
    terminal.echo(f"{_hash(document)}  {output or kept}")


@command.command("get", short_help="Fetch, verify and cache a published map.")
@click.argument("origin")
@click.argument("map_id", required=False)
@click.option("--hash", "expected", metavar="sha256:HEX", help="The hash that the map must have.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Keep a copy here.")
@click.option(
    "--allow-private", is_flag=True, help="Follow pointers and redirects to private addresses of other hosts."
)
@as_json
@reporting
def get_command(
    origin: str,
    map_id: str | None,
    expected: str | None,
    output: Path | None,
    allow_private: bool,
    as_json: bool,
) -> None:
    """Fetch the map MAP_ID that ORIGIN publishes, or the map at the URL ORIGIN; verify and cache it.

    Prints what a pipeline declares to use it from the cache.
    """
    import anyio

    from codec_agents.cli.map_sources import remember

    tokenizer_map, document = anyio.run(_fetch, origin, map_id, expected, output is not None, allow_private)
    remember(tokenizer_map)
    if output is not None:
        write_whole(output, document)
    found = {"id": tokenizer_map.id, "hash": tokenizer_map.hash}
    if as_json:
        terminal.print_json(found)
    else:
        place = origin if map_id is None else f"{origin.rstrip('/')}/.well-known/codec/maps/{map_id}.json"
        terminal.echo(f"{tokenizer_map.id}: {{url: {place!r}, hash: {tokenizer_map.hash!r}}}")


@command.command("publish", short_help="Write maps and their index into a folder for a web server.")
@click.argument("files", nargs=-1, required=True, type=MAP_FILE)
@click.option("--to", "folder", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--origin", required=True, metavar="URL", help="Where the folder will be served.")
@reporting
def publish_command(files: tuple[Path, ...], folder: Path, origin: str) -> None:
    """Write maps and their index into a folder that any web server can serve for discovery.

    Maps that the folder has already stay there.
    """
    from codec_core.discovery.publishing import publish_maps

    for path in publish_maps([_document(file) for file in files], folder, origin):
        terminal.echo(f"wrote {path}")


@command.command("hash")
@click.argument("files", nargs=-1, required=True, type=MAP_FILE)
@as_json
@reporting
def hash_command(files: tuple[Path, ...], as_json: bool) -> None:
    """Print the hash of each map: the sha256 of its bytes."""
    hashes = {str(file): _hash_of(file) for file in files}
    if as_json:
        terminal.print_json(hashes)
    else:
        for name, digest in hashes.items():
            terminal.echo(f"{digest}  {name}")


@command.command("verify")
@click.argument("file", type=MAP_FILE)
@click.option("--hash", "expected", metavar="sha256:HEX", help="The hash that the file must have.")
@as_json
@reporting
def verify_command(file: Path, expected: str | None, as_json: bool) -> None:
    """Check that FILE is a valid map and, if asked, that it has a hash."""
    from codec_core.discovery.documents import pinned_hash

    found = _hash_of(file)
    if expected is not None and pinned_hash(expected) != found:
        _tell(as_json, {"file": str(file), "ok": False, "hash": found, "expected": expected})
        if not as_json:
            terminal.echo(f"{file} has another hash: {found}, not {expected}; fetch it again", err=True)
        raise SystemExit(DATA_UNUSABLE)
    # After the hash: that a file is another one says more than where its JSON ends.
    tokenizer_map = _read(file)
    _tell(as_json, {"file": str(file), "ok": True, "id": tokenizer_map.id, "hash": found})
    if not as_json:
        terminal.echo(f"{tokenizer_map.id}: valid, {found}")


@command.command("show", short_help="Describe a map.")
@click.argument("name", metavar="SOURCE_OR_ID")
@click.option("--text", help="Show how the map cuts this text.")
@as_json
@reporting
def show_command(name: str, text: str | None, as_json: bool) -> None:
    """Describe a map: by its file, its id, a tokenizer file, a model's folder, or hf:ORG/MODEL."""
    from codec_agents.cli.map_sources import named_map

    tokenizer_map = named_map(name)
    document = _description(tokenizer_map)
    if text is not None:
        document["encoded"] = _encoded(tokenizer_map, text)
    if as_json:
        terminal.print_json(document)
        return
    pieces = document.pop("encoded", None)
    for key, value in document.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        terminal.echo(f"{key + ':':<16}{shown}")
    for token_id, piece in pieces or []:
        terminal.echo(f"{token_id:>8}  {piece!r}")


def _check_hash(document: bytes, expected: str) -> None:
    from codec_core.discovery.documents import pinned_hash
    from codec_core.exceptions import TokenizerMapHashMismatchError

    if pinned_hash(expected) != _hash(document):
        raise TokenizerMapHashMismatchError(expected, _hash(document))


async def _fetch(
    origin: str, map_id: str | None, expected: str | None, anew: bool, allow_private: bool
) -> tuple[TokenizerMap, bytes]:
    """Return a map, and its bytes where it is fetched `anew`."""
    import httpx

    from codec_agents.compiler.maps import map_cache_folder
    from codec_agents.references.unreachable import by_way_of, unreachable
    from codec_core.discovery import DiskMapCache, discover_map, load_map
    from codec_core.discovery.documents import pinned_hash
    from codec_core.exceptions import TokenizerMapHashMismatchError

    class Copying(DiskMapCache):
        """Keeps the bytes at hand; what is asked for anew is never there."""

        fetched = b""

        async def get(self, key: str) -> TokenizerMap | None:
            # With --output, the bytes that the origin sends now are wanted.
            return None if anew else await super().get(key)

        async def store(self, key: str, value: TokenizerMap, data: bytes) -> None:
            self.fetched = data
            await super().store(key, value, data)

    cache = Copying(map_cache_folder())
    try:
        if map_id is None:
            found = await load_map(url=origin, hash=expected, cache=cache, allow_private=allow_private)
        else:
            found = await discover_map(origin=origin, id=map_id, cache=cache, allow_private=allow_private)
    except httpx.ConnectError as error:
        said = f"{unreachable(error, by_way_of(origin))}; start the server, or correct the URL"
        raise OSError(f"cannot fetch the map: {said}") from error
    except httpx.HTTPError as error:
        raise OSError(f"cannot fetch from {origin}: {str(error) or type(error).__name__}") from error
    # Also of a map that was discovered: `discover_map` takes no hash.
    if expected is not None and found.hash != pinned_hash(expected):
        raise TokenizerMapHashMismatchError(expected, found.hash or "of no document")
    return found, cache.fetched


def _tell(as_json: bool, document: dict[str, Any]) -> None:
    if as_json:
        terminal.print_json(document)


def _hash(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _document(path: Path) -> bytes:
    """Return the bytes of a map, or so many that they are refused as one."""
    from codec_core.maps import MAX_MAP_BYTES

    with path.open("rb") as file:
        return file.read(MAX_MAP_BYTES + 1)


def _read(path: Path) -> TokenizerMap:
    from codec_core.maps import read_map

    return read_map(path)


def _description(tokenizer_map: TokenizerMap) -> dict[str, Any]:
    from codec_core.vocabulary import vocabulary_of

    vocabulary = vocabulary_of(tokenizer_map)
    return {
        "id": tokenizer_map.id,
        "hash": tokenizer_map.hash,
        "version": tokenizer_map.version,
        "encoder": tokenizer_map.encoder or "plain text",
        "ids": vocabulary.size,
        "merges": len(tokenizer_map.merges or ()),
        "special tokens": list(vocabulary.special_tokens),
    }


def _encoded(tokenizer_map: TokenizerMap, text: str) -> list[tuple[int, str]]:
    from codec_core.tokenizer import pick_tokenizer
    from codec_core.vocabulary import vocabulary_of

    vocabulary = vocabulary_of(tokenizer_map)
    ids = pick_tokenizer(tokenizer_map).encode(text)
    return [(token_id, vocabulary.token_bytes(token_id).decode("utf-8", "replace")) for token_id in ids]
