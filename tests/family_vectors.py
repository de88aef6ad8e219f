"""Make the vectors of model families: what references write for the conversations of the tests.

python -m tests.family_vectors templates            the models' own chat templates
python -m tests.family_vectors renderers            the package `renderers` (`make family-vectors`)
python -m tests.family_vectors encoders FOLDER      prompt encoders: files of vLLM's `vllm/tokenizers`, and
                                                    XTuner's `glm52_chat.py`
python -m tests.family_vectors common               the package `mistral-common`
python -m tests.family_vectors ids                  ids of models' own tokenizers, compared id for id
python -m tests.family_vectors readings ENGINE      what parsers read: `vllm`, in its environment, `renderers`
                                                    or `openai-harmony` (`make family-readings`)
python -m tests.family_vectors tables               the page and the module that say what is verified
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import yaml

from codec_agents.dialects import BoundDialect, get_dialect
from tests.agents.dialects.references import (
    FOLDER,
    Conversation,
    Source,
    cleaned,
    conversations,
    messages,
    options,
    reason,
    sources,
)


def template_texts(source: Source) -> dict[str, str]:
    """Return what a model's own chat template writes, by conversation."""
    from codec_agents.dialects.templates.template_process import TemplateProcess
    from tests.agents.dialects.template_archive import template

    with TemplateProcess(
        {"chat_template": template(source.package, source.template), **source.tokens}
    ) as process:

        def render(conversation: Conversation) -> str:
            return process.render(
                messages(source, conversation),
                conversation.schemas(source),
                conversation.chat.thinking,
                options=options(source, conversation),
            )

        return dict(_texts(source, render))


def renderer_texts(source: Source) -> dict[str, str]:
    """Return what a renderer of the package writes, by conversation; its ids must be the dialect's."""
    from tests.agents.dialects.renderer_reference import render

    return dict(_texts(source, lambda conversation: render(source, conversation)[1]))


def common_texts(source: Source) -> dict[str, str]:
    """Return what the package `mistral-common` writes, by conversation."""
    from tests.agents.dialects.real_ids import common_ids, real_map

    bound = BoundDialect(get_dialect(source.dialect), real_map("mistral-common", source.common))
    return dict(_texts(source, lambda conversation: bound.spelled(common_ids(source, conversation))))


def encoder_texts(source: Source, folder: Path) -> dict[str, str]:
    """Return what a prompt encoder writes, by conversation."""
    path = folder / f"{source.encoder}.py"
    write = _encoder_of_xtuner(path) if source.package == "xtuner" else _encoder_of_vllm(path)

    def render(conversation: Conversation) -> str:
        return write(
            messages(source, conversation), conversation.schemas(source), options(source, conversation)
        )

    return dict(_texts(source, render))


Encoder = Callable[[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]], str]
"""Writes messages, with schemas of tools and options, as a prompt."""


def _encoder_of_vllm(path: Path) -> Encoder:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)

    def write(said: list[dict[str, Any]], schemas: list[dict[str, Any]], told: dict[str, Any]) -> str:
        if schemas:
            if said[0]["role"] != "system":
                said.insert(0, {"role": "system", "content": ""})
            said[0]["tools"] = schemas
        text: str = module.encode_messages(said, **told)
        return text

    return write


def _encoder_of_xtuner(path: Path) -> Encoder:
    """Return the function that writes a chat; what is imported and declared around it needs a trainer."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kept = (ast.FunctionDef, ast.Assign)
    future = ast.parse(
        "from __future__ import annotations\nimport json\nfrom collections.abc import Mapping\n"
    )
    tree.body = [*future.body, *(each for each in tree.body if isinstance(each, kept))]
    names: dict[str, Any] = {}
    exec(compile(tree, str(path), "exec"), names)

    def write(said: list[dict[str, Any]], schemas: list[dict[str, Any]], told: dict[str, Any]) -> str:
        text: str = names["render_glm52_chat"](said, schemas or None, add_generation_prompt=True, **told)[0]
        return text

    return write


def _texts(source: Source, render: Callable[[Conversation], str]) -> Iterator[tuple[str, str]]:
    for conversation in conversations(source):
        if reason(source.skips, conversation.name) is None:
            yield conversation.name, cleaned(source, render(conversation))


def write(source: Source, texts: dict[str, str]) -> None:
    """Keep the texts of one reference."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{source.name}.yaml"
    path.write_text(
        yaml.safe_dump(texts, allow_unicode=True, sort_keys=False, width=10_000), encoding="utf-8"
    )
    print(f"{path.name}: {len(texts)} conversations")


def compare_ids() -> int:
    """Print how many turns have other ids than their references give them; return whether any has.

    Digests of the ids are kept, with which the quick suite repeats the comparison on maps that it has.
    """
    from tests.agents.dialects.real_ids import DIGESTS, SHARED_MAPS, rows

    kept: dict[str, dict[str, str]] = {}
    failed = False
    print(f"{'dialect':<13}{'reference':<40}{'tokenizer':<28}{'turns':>6}{'differ':>8}")
    for row in rows(sources()):
        told = f"{row.dialect:<13}{row.reference:<40}{row.tokenizer:<28}{len(row.digests):>6}"
        print(f"{told}{len(row.differ):>8}", *row.differ, flush=True)
        failed = failed or bool(row.differ)
        if row.tokenizer in SHARED_MAPS:
            name = f"{row.dialect}.{row.reference.removeprefix('tokenizers, ')}"
            kept[name] = {"map": SHARED_MAPS[row.tokenizer], **row.digests}
    DIGESTS.write_text(yaml.safe_dump(kept, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return int(failed)


def keep_readings(engine: str) -> None:
    """Let the parsers of an engine read the turns of dialects, and keep what they find."""
    from tests.agents.dialects import readings

    if engine == "vllm":
        from tests.agents.dialects.vllm_parsers import reading_of
    else:
        from tests.agents.dialects.renderer_parsers import reading_of
    readings.keep_readings(engine, reading_of)


def main(kind: str, folder: str = "") -> None:
    """Make the vectors of one kind of reference, or the tables."""
    if kind == "ids":
        raise SystemExit(compare_ids())
    if kind == "readings":
        keep_readings(folder)
        return
    if kind == "tables":
        from tests.agents.dialects import family_tables

        family_tables.MODULE.write_text(family_tables.module(), encoding="utf-8")
        family_tables.PAGE.write_text(family_tables.page(), encoding="utf-8")
        return
    for source in sources():
        if kind == "templates" and source.template:
            try:
                write(source, template_texts(source))
            except OSError as error:
                print(f"{source.name}: kept as it is, {error}")
        elif kind == "renderers" and source.renderer:
            write(source, renderer_texts(source))
        elif kind == "common" and source.common:
            write(source, common_texts(source))
        elif kind == "encoders" and source.encoder:
            try:
                write(source, encoder_texts(source, Path(folder)))
            except OSError as error:
                print(f"{source.name}: kept as it is, {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
