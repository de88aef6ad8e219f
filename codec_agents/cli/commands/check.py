"""`codec-agents check`: list every fault of a pipeline, and what its maps are made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from codec_agents.cli import terminal
from codec_agents.cli.exits import FAULTS, reporting
from codec_agents.cli.options import as_json, load, pipeline_file
from codec_agents.vocabularies import BUNDLED_MAPS

if TYPE_CHECKING:
    from codec_agents.faults import Fault
    from codec_agents.graph.spec import PipelineSpec
    from codec_agents.plan.plan import BuiltPipeline

FIELDS = ("severity", "place", "found", "remedy", "file", "line")


@click.command("check")
@pipeline_file
@as_json
@click.option("--strict", is_flag=True, help="Count warnings as faults.")
@reporting
def command(file: Path, as_json: bool, strict: bool) -> None:
    """Check the pipeline in FILE: names, edges, maps, dialects, tools.

    All faults are shown at once, each with its place and a remedy. An engine is asked for a map that the
    pipeline does not name, and for nothing else. Ends with 3 if the pipeline cannot be built.
    """
    faults, built = examine(file)
    maps = [] if built is None else named_maps(built)
    bad = [fault for fault in faults if strict or fault.severity == "error"]
    if as_json:
        listed = [{name: getattr(fault, name) for name in FIELDS} for fault in faults]
        terminal.print_json({"file": str(file), "ok": not bad, "faults": listed, "maps": maps})
    else:
        show_faults(file, faults)
        for each in maps:
            terminal.echo(f"  map {each['id']} from {each['from']}: {each['hash']}")
    if bad:
        raise SystemExit(FAULTS)


def examine(file: Path) -> tuple[Sequence[Fault], BuiltPipeline | None]:
    """Return the faults and warnings of a pipeline file, and its plan where it can be built."""
    from codec_agents.exceptions import PipelineError

    try:
        built = load(file).build()
    except PipelineError as error:
        return error.faults, None
    return built.warnings, built


def named_maps(built: BuiltPipeline) -> list[dict[str, str | None]]:
    """Return the maps that do not ship with this package, and what each was made from."""
    from codec_agents.plan.variants import prompted_nodes

    found: dict[str, dict[str, str | None]] = {}
    for path, node in prompted_nodes(built).items():
        vocabulary = node.vocabulary
        source = _source_of_map(built.spec, path) or f"the server of engine {node.engine.name!r}"
        if source not in BUNDLED_MAPS:
            found[vocabulary.id] = {"id": vocabulary.id, "from": source, "hash": vocabulary.hash}
    return list(found.values())


def _source_of_map(spec: PipelineSpec, path: str) -> str | None:
    """Return what the map of the node at a path is made from; None where its declaration names none."""
    *around, name = path.split("/")
    for each in around:
        spec = spec.body_of(each)
    declared: str | None = getattr(spec.nodes[name], "map", None)
    if declared is None:
        return None
    named = spec.map_of(declared)
    source = named.path or named.url or (named.hub and f"hf:{named.hub}")
    map_id = named.id or declared
    return source or (map_id if map_id in BUNDLED_MAPS else "the cache of maps, by its id")


def show_faults(file: Path, faults: Sequence[Fault]) -> None:
    """Print the faults, and a line with their number."""
    console = terminal.new_console()
    signs = terminal.glyphs(console)
    for fault in faults:
        colour = "red" if fault.severity == "error" else "yellow"
        where = fault.file or str(file)
        position = where if fault.line is None else f"{where}:{fault.line}"
        # A path that is divided over lines can neither be clicked on nor copied.
        line = Text.assemble((fault.severity, colour), f" {position} ", (fault.place, "bold"))
        console.print(line, soft_wrap=True)
        console.print(Text(f"  {fault.found}"), soft_wrap=True)
        if fault.remedy:
            console.print(Text(f"  {signs.arrow} {fault.remedy}", style="dim"), soft_wrap=True)
    errors = sum(fault.severity == "error" for fault in faults)
    warnings = len(faults) - errors
    if errors:
        console.print(Text(f"{signs.bad} {terminal.plural(errors, 'fault')}", style="red"), end="")
    else:
        console.print(Text(f"{signs.ok} {file} can be built", style="green"), end="")
    console.print(f", {terminal.plural(warnings, 'warning')}" if warnings else "")
