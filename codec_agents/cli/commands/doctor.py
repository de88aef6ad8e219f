"""`codec-agents doctor`: ask each engine of a pipeline, and say what would keep it from working."""

from __future__ import annotations

from pathlib import Path

import anyio
import click
from rich.console import Console
from rich.text import Text

from codec_agents.cli import terminal
from codec_agents.cli.diagnosis import Finding, Status, Subject, as_data, examine, subjects
from codec_agents.cli.exits import ENGINE_FAILED, reporting
from codec_agents.cli.options import as_json, load, pipeline_file
from codec_agents.plan.plan import BuiltPipeline

STYLES: dict[Status, str] = {"ok": "green", "failed": "red", "unknown": "yellow"}


@click.command("doctor", short_help="Ask each engine of the pipeline in FILE for a few ids.")
@pipeline_file
@as_json
@reporting
def command(file: Path, as_json: bool) -> None:
    """Ask each engine of the pipeline in FILE for a few ids, and report what works.

    For each engine: whether it answers, which server and version it is, ids in and out, the tokenizer against
    the map, the prefix cache, and whether cut answers are continued. Ends with 4 if a check failed.
    """
    results = anyio.run(_examine_all, load(file).build(), not as_json)
    if as_json:
        engines = [{"engine": each.node.engine.name, "nodes": list(each.nodes), "checks": as_data(found)}
                   for each, found in results]  # fmt: skip
        terminal.print_json({"file": str(file), "ok": not _failed(results), "engines": engines})
    if _failed(results):
        raise SystemExit(ENGINE_FAILED)


def _failed(results: list[tuple[Subject, list[Finding]]]) -> bool:
    return any(each.status == "failed" for _, found in results for each in found)


async def _examine_all(built: BuiltPipeline, show: bool) -> list[tuple[Subject, list[Finding]]]:
    results = []
    console = terminal.new_console()
    # Open until the last check: the checks of an engine share its connections.
    async with built.lease:
        for subject in subjects(built):
            found = []
            if show:
                console.print(Text(subject.name, style="bold"))
            async for finding in examine(subject):
                found.append(finding)
                if show:
                    _show(console, finding)
            results.append((subject, found))
    return results


def _show(console: Console, finding: Finding) -> None:
    signs = terminal.glyphs(console)
    sign = {"ok": signs.ok, "failed": signs.bad, "unknown": signs.dot}[finding.status]
    line = Text.assemble((f"  {sign} ", STYLES[finding.status]), f"{finding.check}: {finding.found}")
    console.print(line, soft_wrap=True)
    if finding.remedy:
        console.print(Text(f"    {signs.arrow} {finding.remedy}", style="dim"), soft_wrap=True)
