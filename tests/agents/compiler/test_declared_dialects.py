"""Dialects that a declaration brings along: as data, from a file, from a model's configuration, as code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codec_agents import Pipeline
from codec_agents.dialects import get_dialect
from codec_agents.exceptions import PipelineError
from codec_agents.graph.explain import render_text
from codec_agents.plan.explanation import explain
from codec_agents.testing import PromptView, Raw, ScriptedEngine, Stop
from codec_agents.vocabularies import bundled_map

DECLARATION = """
pipeline: desk
engines: {model: {kind: scripted, script: "script:answer"}}
dialects: {mine: DIALECT}
nodes:
  clerk: {map: demo/bytes, dialect: mine, prompt: {system: "Be brief.", user: "{question}"}TOOLS}
edges: [question -> clerk.question, clerk.answer -> reader]
"""

SCRIPT = '''
from codec_agents.dialects.grammars import FoundCall
from codec_agents.dialects import get_dialect
from codec_agents.testing import Raw, Say

GUEST = "<|im_start|>guest\\n{content}<|im_end|>\\n"
OURS = get_dialect("hermes").model_copy(update={"name": "ours", "user": GUEST})
NOTHING = 3

def shout(text: str) -> str:
    """Say it louder."""
    return text.upper()

def read(payload):
    """Read `name text`."""
    name, _, text = payload.text.strip().partition(" ")
    return [FoundCall(name, {"text": text})]

def answer(prompt):
    if "shout" in prompt.text and prompt.turn == 1:
        yield Raw("<tool_call>shout hello</tool_call>")
    else:
        yield Say("; ".join(prompt.results) or "fine")
'''


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    yield tmp_path
    sys.modules.pop("script", None)


def declare(folder: Path, dialect: str, tools: str = "") -> Pipeline:
    text = DECLARATION.replace("DIALECT", dialect).replace("TOOLS", tools)
    return Pipeline.from_yaml(text, directory=folder)


def shown(pipeline: Pipeline) -> str:
    return render_text(explain(pipeline.build()))


GUEST = r'user: "<|im_start|>guest\n{content}<|im_end|>\n"'


@pytest.mark.parametrize(
    ("dialect", "reason"),
    [
        (f"{{like: hermes, fields: {{{GUEST}}}}}", "like hermes; user declared"),
        ("{file: mine.yaml}", "the file mine.yaml: like hermes; user declared"),
        ('{call: "script:OURS"}', "the dialect script:OURS"),
    ],
)
def test_dialect_of_the_declaration(folder: Path, dialect: str, reason: str) -> None:
    (folder / "mine.yaml").write_text(f"like: hermes\nfields: {{{GUEST}}}\n", encoding="utf-8")
    told = shown(declare(folder, dialect))
    assert f"dialect mine: {reason}" in told or f"dialect ours: {reason}" in told
    assert "'guest\\n'" in told


def test_dialect_from_a_models_configuration_says_what_it_is_derived_from(folder: Path) -> None:
    config = {"chat_template": "<|im_start|> <tool_call> You are Qwen, created by Alibaba Cloud"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    told = shown(declare(folder, "{tokenizer_config: tokenizer_config.json}"))
    assert "tokenizer_config.json: the chat template holds '<|im_start|>', '<tool_call>'" in told


def test_chat_template_beside_the_configuration_is_read(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    (folder / "chat_template.jinja").write_text("<|im_start|>", encoding="utf-8")
    told = shown(declare(folder, "{tokenizer_config: tokenizer_config.json}"))
    assert "tokenizer_config.json: the chat template holds '<|im_start|>'" in told


@pytest.mark.asyncio
@pytest.mark.parametrize("dialect", ['{like: hermes, grammar: "script:read"}', "{file: mine.yaml}"])
async def test_grammar_of_ones_own(folder: Path, dialect: str) -> None:
    (folder / "mine.yaml").write_text('{like: hermes, grammar: "script:read"}', encoding="utf-8")
    pipeline = declare(folder, dialect, ', tools: ["script:shout"]')
    result = await pipeline.invoke({"question": "please shout"})
    assert result.text["reader"] == "HELLO"


def test_fields_inside_a_form_are_taken_one_by_one(folder: Path) -> None:
    pipeline = declare(folder, "{like: hermes, fields: {results: {join: '; '}}}")
    dialect = pipeline.build().nodes["clerk"].dialect.dialect  # type: ignore[attr-defined]
    assert dialect.results.join == "; "
    assert dialect.results.open == "<|im_start|>user\n"


@pytest.mark.parametrize(
    ("dialect", "found"),
    [
        ("{like: nobody}", "there is no dialect 'nobody'"),
        ("{like: hermes, fields: {usr: x}}", "usr: Extra inputs"),
        ("{like: hermes, fields: {results: {join: 3}}}", "results.join: Input should be a valid string"),
        ("{fields: {user: x}}", "Field required"),
        ("{}", "a dialect without fields"),
        ("{like: hermes, file: x}", "comes from one of"),
        ("{file: nowhere.yaml}", "cannot read nowhere.yaml"),
        ("{file: circle.yaml}", "names another file"),
        ("{tokenizer_config: nowhere.json}", "cannot read nowhere.json"),
        ("{tokenizer_config: broken.json}", "is not JSON"),
        ('{call: "script:NOTHING"}', "is a int, and no Dialect"),
        ('{like: hermes, grammar: "script:NOTHING"}', "is a int, and no function"),
        ('{call: "os:environ"}', "standard library"),
        ("{like: qwen3, fields: {markers: ['<|nobody|>']}}", "<|nobody|>"),
    ],
)
def test_what_is_no_dialect_is_a_fault(folder: Path, dialect: str, found: str) -> None:
    (folder / "circle.yaml").write_text("file: circle.yaml", encoding="utf-8")
    (folder / "broken.json").write_text("{", encoding="utf-8")
    with pytest.raises(PipelineError) as caught:
        declare(folder, dialect).build()
    assert found in str(caught.value)


@pytest.mark.asyncio
async def test_declared_in_python_and_read_back(folder: Path) -> None:
    def script(prompt: PromptView) -> Iterator[Any]:
        assert "guest" in prompt.text
        yield Raw("hello")
        yield Stop("length")

    p = Pipeline("desk").input("question").sink("reader")
    p.dialect("mine", like="hermes", fields={"user": "<|im_start|>guest\n{content}<|im_end|>\n"})
    p.engine("model", kind="scripted", script=script)
    p.model("clerk", map="demo/bytes", dialect="mine", prompt="{question}")
    p.connect("question", "clerk.question").connect("clerk.answer", "reader")
    assert (await p.invoke({"question": "Hi"})).text["reader"] == "hello"
    written = Pipeline.from_spec(p.spec.model_copy(update={"engines": {}})).to_yaml()
    assert Pipeline.from_yaml(written).spec.dialects == p.spec.dialects


@pytest.mark.parametrize("dialect", ["mistral-v3", "glm-4.5", "gemma-4"])
def test_pipeline_whose_map_lacks_markers_does_not_build(dialect: str) -> None:
    p = Pipeline("bot").input("question").sink("reader")
    p.model(
        "bot", engine=ScriptedEngine(lambda _: "Hi"), map="demo/words", dialect=dialect, prompt="{question}"
    )
    p.connect("question", "bot.question").connect("bot.answer", "reader")
    with pytest.raises(PipelineError, match="needs the control tokens") as caught:
        p.build()
    (fault,) = caught.value.errors
    assert fault.place == "nodes.bot"
    missing = [name for name in get_dialect(dialect).markers if name in fault.found]
    assert missing
    assert not set(missing) & bundled_map("demo/words").special_tokens.keys()


def test_dialect_derived_from_a_map_says_from_what() -> None:
    p = Pipeline("bot").input("question").sink("reader")
    p.model("bot", engine=ScriptedEngine(lambda _: "Hi"), map="demo/bytes", prompt="{question}")
    p.connect("question", "bot.question").connect("bot.answer", "reader")
    assert "dialect qwen3: the map's special tokens <|im_start|>" in shown(p)
