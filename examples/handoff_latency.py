"""Where the time between two models goes: ids beside text, on your own two endpoints.

    python examples/handoff_latency.py                       # two scripted servers on loopback
    python examples/handoff_latency.py --html handoff.html \
        --a vllm http://127.0.0.1:8000 maps/qwen2.json Qwen/Qwen2.5-7B-Instruct \
        --b llamacpp http://127.0.0.1:8080 maps/llama-3.json

A writes a draft, B reads it. An endpoint is its kind, its origin, the tokenizer map of its model, and the
model's name if the server needs one. The text path asks the same servers through OpenAI's chat API
(`--no-text` leaves it out). Times are medians over the runs, and the parts are the median run's. What B's
engine tells of itself comes last: its own queue, reading the prompt, ids sent ahead and ids found in its
cache; `-` is unknown. `codec-agents latency FILE.yaml` measures a pipeline of yours in the same way.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from codec_agents import Chat, MapSpec, Pipeline
from codec_agents.events import HandoffReport
from codec_agents.testing import ScriptedModel, scripted_server
from codec_agents.trace import read_runs, write_page
from codec_agents.vocabularies import bundled_map

DRAFT = "The flight leaves Lisbon at 13:40 and lands in Oslo at 19:00; pack a coat, gloves and a hat. "
PARTS = ("detect", "translate", "wait", "render", "queue", "request", "engine")

Endpoint = Sequence[str]


@contextmanager
def scripted_endpoints(words: int) -> Iterator[tuple[Endpoint, Endpoint]]:
    """Serve two scripted models of different vocabularies."""
    length = 6 * words
    models = (
        ScriptedModel(
            script=lambda prompt: f"{prompt.user} {DRAFT * words}"[:length], ids_a_second=2000, ids_a_frame=4
        ),
        ScriptedModel(script=lambda _: "I have read it.", seconds_a_prompt_id=5e-5, prefix_cache=True),
    )
    with ExitStack() as stack:
        found = []
        for name, model in zip(("demo/bytes", "demo/words"), models, strict=True):
            server = stack.enter_context(scripted_server(bundled_map(name), model, name=name))
            found.append(("codec", server.url, name, name))
        yield found[0], found[1]


def pipeline(a: Endpoint, b: Endpoint, *, words: int, text: bool = False, prefill: str = "off") -> Pipeline:
    """Return `a -> b`; as text, both are asked through the chat API."""
    p = Pipeline("handoff").input("task").sink("out", text=False)
    for name, place, prompt in (("a", a, "{task}"), ("b", b, "Say briefly what this is about:\n{draft}")):
        kind, url, source, *model = place
        p.engine(f"{name}-engine", kind="openai" if text else kind, url=url)
        is_file = source.endswith(".json")
        p.model(
            name,
            engine=f"{name}-engine",
            map=MapSpec(path=str(Path(source).resolve())) if is_file else source,
            model=model[0] if model else None,
            prompt=Chat(user=prompt),
            sampling={"max_tokens": 4 * words},
        )
    edge = {"prefill": prefill}
    return p.connect("task", "a.task").connect("a.answer", "b.draft", **edge).connect("b.answer", "out")


async def measure(p: Pipeline, task: str, runs: int, records: Path) -> list[HandoffReport]:
    """Run the pipeline, once to warm up and then to measure; the fastest handoff comes first.

    Each run is given another task, so that no engine finds in its cache what the run before left there.
    """
    reports = []
    async with p.opened():
        await p.invoke({"task": f"{records.name}. {task}"})
        for number in range(runs):
            numbered = {"task": f"{records.name} {number}. {task}"}
            result = await p.invoke(numbered, record=records / f"{number}.jsonl")
            reports.append(result.handoffs[-1])
    return sorted(reports, key=lambda report: report.first_id_latency or 0.0)


def show(name: str, reports: list[HandoffReport]) -> None:
    """Print one path: from A's last id to B's request, to B's first id, and what that consists of."""
    middle = reports[(len(reports) - 1) // 2]
    gap = statistics.median(report.gap or 0.0 for report in reports)
    first = statistics.median(report.first_id_latency or 0.0 for report in reports)
    figures = [gap, first, *(middle.parts.get(part, 0.0) for part in PARTS)]
    told = [middle.engine_queue, middle.engine_prefill]
    cells = "".join(f"{figure * 1000:>10.2f}" for figure in figures)
    cells += "".join(f"{'-' if figure is None else f'{figure * 1000:.2f}':>10}" for figure in told)
    cells += f"{middle.prefilled_ids:>8,}{'-' if middle.cached_ids is None else f'{middle.cached_ids:,}':>8}"
    print(f"{name:<20}{middle.output_ids:>8,}{cells}", flush=True)


async def compare(a: Endpoint, b: Endpoint, options: argparse.Namespace, records: Path) -> None:
    """Measure each path and print it."""
    paths = {
        "ids": {},
        "ids, prefill ahead": {"prefill": "ahead"},
        "ids, prefill auto": {"prefill": "auto"},
    }
    if not options.no_text:
        paths["text"] = {"text": True}
    files: list[Path] = []
    lengths: list[int] = []
    task = f"Write about {options.words} words on travelling by train."
    heads = "".join(f"{head:>10}" for head in ("gap", "first id", *PARTS, "its queue", "reading"))
    print(f"{'milliseconds':<20}{'ids':>8}{heads}{'ahead':>8}{'cached':>8}")
    for name, fields in paths.items():
        folder = records / name.replace(", ", "-").replace(" ", "-")
        folder.mkdir()
        files += [folder / f"{number}.jsonl" for number in range(options.runs)]
        p = pipeline(a, b, words=options.words, **fields)
        reports = await measure(p, task, options.runs, folder)
        lengths += [report.output_ids for report in reports]
        show(name, reports)
    if min(lengths) < 0.9 * max(lengths):
        print(
            f"The drafts have {min(lengths):,} to {max(lengths):,} ids: a longer one takes B longer to read."
        )
    if options.html:
        maps = [place[2] for place in (a, b) if place[2].endswith(".json")]
        write_page(options.html, read_runs(files), maps)
        print(f"wrote {options.html}")


def main() -> None:
    """Measure the handoff between two endpoints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--a", nargs="+", metavar="KIND URL MAP [MODEL]")
    parser.add_argument("--b", nargs="+", metavar="KIND URL MAP [MODEL]")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--words", type=int, default=300, help="about how long A's draft is")
    parser.add_argument("--no-text", action="store_true", help="leave the text path out")
    parser.add_argument("--html", type=Path, help="write the runs as a page for the browser")
    options = parser.parse_args()
    if (options.a is None) != (options.b is None):
        parser.error("give both endpoints, or none")
    with ExitStack() as stack:
        records = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        scripted = options.a is None
        a, b = stack.enter_context(scripted_endpoints(options.words)) if scripted else (options.a, options.b)
        asyncio.run(compare(a, b, options, records))


if __name__ == "__main__":
    main()
