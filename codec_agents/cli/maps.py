"""`codec-agents maps`: look at tokenizer maps, verify them, fetch them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codec_agents.cli.exits import DATA_UNUSABLE, reporting
from codec_agents.cli.options import as_json, print_json

if TYPE_CHECKING:
    from codec_core.maps import TokenizerMap

MAP_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("maps")
def command() -> None:
    """Work with tokenizer maps: the documents that say what the ids of a model mean."""


@command.command("hash")
@click.argument("files", nargs=-1, required=True, type=MAP_FILE)
@as_json
@reporting
def hash_command(files: tuple[Path, ...], as_json: bool) -> None:
    """Print the name of each map: the sha256 of its bytes."""
    hashes = {str(file): _hash(file.read_bytes()) for file in files}
    if as_json:
        print_json(hashes)
    else:
        for name, digest in hashes.items():
            click.echo(f"{digest}  {name}")


@command.command("verify")
@click.argument("file", type=MAP_FILE)
@click.option("--hash", "expected", metavar="sha256:HEX", help="The hash that the file must have.")
@as_json
@reporting
def verify_command(file: Path, expected: str | None, as_json: bool) -> None:
    """Check that FILE is a valid map and, if asked, that it has a hash."""
    found = _hash(file.read_bytes())
    if expected is not None and expected.lower() != found:
        _tell(as_json, {"file": str(file), "ok": False, "hash": found, "expected": expected})
        if not as_json:
            click.echo(f"{file} has another hash: {found}, not {expected}; fetch it again", err=True)
        raise SystemExit(DATA_UNUSABLE)
    tokenizer_map = _read(file)
    _tell(as_json, {"file": str(file), "ok": True, "id": tokenizer_map.id, "hash": found})
    if not as_json:
        click.echo(f"{tokenizer_map.id}: valid, {found}")


@command.command("show")
@click.argument("name", metavar="FILE_OR_ID")
@click.option("--text", help="Show how the map cuts this text.")
@as_json
@reporting
def show_command(name: str, text: str | None, as_json: bool) -> None:
    """Describe a map, given as a file or as the id of a bundled one."""
    tokenizer_map = _named(name)
    document = _description(tokenizer_map)
    if text is not None:
        document["encoded"] = _encoded(tokenizer_map, text)
    if as_json:
        print_json(document)
        return
    pieces = document.pop("encoded", None)
    for key, value in document.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        click.echo(f"{key + ':':<16}{shown}")
    for token_id, piece in pieces or []:
        click.echo(f"{token_id:>8}  {piece!r}")


def _tell(as_json: bool, document: dict[str, Any]) -> None:
    if as_json:
        print_json(document)


def _hash(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _read(path: Path) -> TokenizerMap:
    from codec_core.maps import read_map

    return read_map(path)


def _named(name: str) -> TokenizerMap:
    from codec_agents.vocabularies import BUNDLED_MAPS, bundled_map

    if name in BUNDLED_MAPS:
        return bundled_map(name)
    if not Path(name).is_file():
        known = ", ".join(BUNDLED_MAPS)
        raise click.BadParameter(f"{name!r} is no file and no bundled map ({known})")
    return _read(Path(name))


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
