"""Tables of model families, made from the data: a page of the docs and a module of the package."""

from __future__ import annotations

from collections import defaultdict

from codec_agents.dialects import Dialect
from codec_agents.dialects.registry import built_in
from tests.agents.dialects.references import Source, reason, recorded, sources
from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "families.md"
MODULE = REPOSITORY / "codec_agents" / "dialects" / "verified.py"
RENDERERS = "renderers 0.1.12"
ENCODERS = {"llama.cpp": "vLLM 0.32.0", "xtuner": "XTuner of August 2026"}
"""Carriers of prompt encoders, by `Source.package`."""

_HEAD = """\
# Model families

`python -m tests.family_vectors tables` generates this page from the package's data. [Dialects](dialects.md)
explains what a dialect is, and `pipeline.explain()` shows the same facts for each node's dialect.

A dialect is verified if its prompts match those of a reference, control token by control token. The
conversations have system texts, tools, calls, results, reasoning and several turns, in every thinking mode.
A reference is the model's own chat template, the package `renderers`, or the prompt encoder of an inference
engine. `tests/vectors/family_sources.yaml` lists the references, and each conversation that a dialect writes
differently, with the reason. If a package ships a model's tokenizer, `python -m tests.family_vectors ids`
also compares the prompts id for id.

Reading is verified as well: dialects read their turns (calls with values of every type, strings that look
like other values or like control tokens, several calls, reasoning) as the parsers of vLLM 0.32.0, of
`renderers` 0.1.12 and of `openai-harmony` 0.0.8 do. `tests/vectors/reading_sources.yaml` lists the parsers,
and each turn that one of them reads differently, with the reason.

"""


def references() -> dict[str, list[Source]]:
    """Return the references of each dialect that has some."""
    found: dict[str, list[Source]] = defaultdict(list)
    for source in sources():
        found[source.dialect].append(source)
    return found


def title(source: Source) -> str:
    """Return what a reference is called."""
    if source.template:
        carrier = "" if source.package in ("llama.cpp", "hub") else f" of {source.package}"
        what = "a transcription of the chat template" if source.transcribed else "the chat template"
        return f"{what} {source.template.removesuffix('.jinja')}{carrier}"
    if source.common:
        return f"mistral-common 1.13.1 ({source.common.removeprefix('.')})"
    if source.renderer:
        return f"{RENDERERS} ({source.renderer})"
    return f"{ENCODERS[source.package]} ({source.encoder})"


def module() -> str:
    """Return the text of the module that says what each dialect is verified against."""
    lines = [
        '"""The references of dialects\' prompts. Made by `python -m tests.family_vectors tables`."""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import Mapping",
        "",
        "VERIFIED: Mapping[str, tuple[str, ...]] = {",
    ]
    for name, found in sorted(references().items()):
        told = [f'"{title(source)}",' for source in found]
        short = f'    "{name}": ({" ".join(told)})'
        if len(told) == 1:
            lines.append(f"{short},")
        else:
            lines += [f'    "{name}": (', *(f"        {each}" for each in told), "    ),"]
    return "\n".join([*lines, "}", '"""References by the names of dialects."""', ""])


def page() -> str:
    """Return the text of the page."""
    found = references()
    rows = ["| dialect | format | earlier reasoning | verified against |", "| --- | --- | --- | --- |"]
    for name, dialect in sorted(built_in().items()):
        told = "; ".join(_told(source) for source in found.get(name, ())) or "no reference"
        rows.append(f"| `{name}` | {_cell(dialect.description)} | {_reasoning(dialect)} | {_cell(told)} |")
    return _HEAD + "\n".join([*rows, "", *_unverified(), ""])


def _told(source: Source) -> str:
    names = list(recorded(source))
    parted = [each for each in names if reason(source.differs, each) is not None]
    share = f"{len(names) - len(parted)} of {len(names)} conversations" if parted else "all conversations"
    return f"{title(source)}: {share}{', without tool definitions' if source.untold else ''}"


def _reasoning(dialect: Dialect) -> str:
    if dialect.thinking is None:
        return "none"
    told: dict[bool | str, str] = {
        True: "kept",
        False: "removed",
        "with_tools": "kept if there are tools",
        "never": "removed, by a gateway also between calls",
    }
    return told[dialect.thinking.kept]


def _unverified() -> list[str]:
    names: dict[str, list[str]] = defaultdict(list)
    for name, dialect in sorted(built_in().items()):
        for each in dialect.unverified:
            names[each].append(f"`{name}`")
    rows = [f"| {_cell(each)} | {', '.join(found)} |" for each, found in names.items()]
    return [
        "## Not verified",
        "",
        "No reference covers these points. There the dialects choose what is safe, or what most families do.",
        "",
        "| point | dialects |",
        "| --- | --- |",
        *rows,
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
