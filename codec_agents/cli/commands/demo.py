"""`codec-agents demo`: run the travel desk that ships with the package."""

from __future__ import annotations

import shlex
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from codec_agents.cli import terminal
from codec_agents.cli.commands.run import show_run, with_options
from codec_agents.cli.exits import reporting
from codec_agents.cli.options import ExistingPath
from codec_agents.records.files import write_whole

if TYPE_CHECKING:
    from codec_agents.pipeline import Pipeline

QUESTION = "Find me a cheap flight from Lisbon to Oslo on a Friday in November, and tell me what to pack."

FILE = "travel_desk.yaml"

INSTALL = 'pip install "codec-agents[server]"'


@click.command("demo", short_help="Run the travel desk that ships with the package.")
@click.argument("question", default=QUESTION)
@click.option(
    "--copy",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the demo's files into a new folder instead, to start from.",
)
@click.option("--real", is_flag=True, help="Run two small real models; they are fetched once, about 350 MB.")
@click.option("-y", "--yes", is_flag=True, help="With --real: do not ask before the download.")
@click.option(
    "--llama-server",
    "program",
    type=ExistingPath(),
    help="With --real: the server of llama.cpp; found on the PATH when left out.",
)
@with_options
@reporting
def command(
    question: str, copy: Path | None, *, real: bool, yes: bool, program: Path | None, **options: Any
) -> None:
    """Run two models that exchange token ids: a planner with tools, and a writer of another vocabulary.

    The models are scripts that answer any QUESTION about a flight, such as "From Munich to Stockholm on
    Sunday?". Nothing is fetched, and no other program is needed. The options are those of `run`.

    With --real, SmolLM2 writes a paragraph and Gemma 3, whose vocabulary is another one, finds its title;
    QUESTION is then the task. llama.cpp's server runs them, or the extra `transformers`.
    """
    if copy is not None:
        _refuse_beside("--copy")
    if real:
        _run_real(question, yes, program, options)
        return
    if yes or program is not None:
        raise click.UsageError("--yes and --llama-server are options of --real")
    folder = resources.files("codec_agents") / "cli" / "demo"
    # A package in a zip archive has no folder: its files are unpacked for as long as the demo runs.
    with resources.as_file(folder) as place:
        if copy is not None:
            _copy(place, copy)
            return
        pipeline = _pipeline(place)
        show_run(
            place / FILE, pipeline, lambda **chosen: pipeline.run({"question": question}, **chosen), **options
        )


def _refuse_beside(alone: str) -> None:
    """Refuse every other option and argument of the command that is given.

    Raises:
        click.UsageError: One is given, which would be without effect.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if given and alone not in parameter.opts:
            name = parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name
            raise click.UsageError(f"{alone} only writes the demo's files; leave out {name}")


def _run_real(question: str, yes: bool, program: Path | None, options: dict[str, Any]) -> None:
    from codec_agents.cli.laptop.chain import TASK
    from codec_agents.cli.laptop.show import run_real

    task = TASK if question == QUESTION else question

    def begin(pipeline: Pipeline) -> None:
        # No file declares it. A file is only named to resume a run, and no tool here needs approval.
        show_run(Path(), pipeline, lambda **chosen: pipeline.run({"task": task}, **chosen), **options)

    measured = not any(options[name] for name in ("as_json", "events", "quiet"))
    run_real(program, yes=yes, begin=begin, measured=measured)


def _pipeline(place: Path) -> Pipeline:
    from codec_agents.pipeline import Pipeline

    text = (place / FILE).read_text("utf-8")
    if find_spec("uvicorn") is None:
        terminal.echo(f"the models answer in this process; to let them answer over HTTP: {INSTALL}", err=True)
        text = text.replace("kind: embedded", "kind: scripted")
    return Pipeline.from_yaml(text, directory=place)


def _copy(place: Path, target: Path) -> None:
    """Copy the demo into a folder that does not exist yet.

    Raises:
        FileExistsError: It exists.
        OSError: A file cannot be written; `filename` is its path.
    """
    target.mkdir(parents=True)
    for file in sorted(place.rglob("*")):
        name = file.relative_to(place)
        if file.is_file() and "__pycache__" not in name.parts:
            (target / name.parent).mkdir(exist_ok=True)
            write_whole(target / name, file.read_bytes())
    terminal.echo(
        f"wrote the demo to {target}; run it with: "
        f"codec-agents run {shlex.quote(str(target / FILE))} -i question=..."
    )
    if find_spec("uvicorn") is None:
        terminal.echo(f"its models answer over HTTP, so it needs: {INSTALL}", err=True)
