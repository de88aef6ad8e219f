"""A chat template in the files of a model is compared with the dialect when a pipeline is built."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

pytest.importorskip("jinja2", reason="the extra `templates` is not installed")

from codec_agents import Chat, Pipeline
from codec_agents.cli import main
from codec_agents.cli.exits import FAULTS
from codec_agents.compiler import template_check
from codec_agents.compiler.own_templates import config_beside, keep_config, kept_config, own_config
from codec_agents.dialects.templates.template_process import MAX_TEMPLATE
from codec_agents.exceptions import DialectError
from codec_agents.testing import ScriptedEngine
from codec_agents.vocabularies import bundled_map, bundled_map_bytes
from codec_core.discovery import DiskMapCache
from codec_core.vocabulary import vocabulary_of
from tests.core.building.gguf_files import gguf

TURNS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HIDDEN = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful model.<|im_end|>\n{% endif %}"
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DiskMapCache:
    monkeypatch.setenv("CODEC_CACHE", str(tmp_path / "cache"))
    return DiskMapCache(tmp_path / "cache")


@pytest.fixture
def map_file(tmp_path: Path) -> Path:
    path = tmp_path / "map.json"
    path.write_bytes(bundled_map_bytes("demo/words"))
    return path


def keep(cache: DiskMapCache, **config: Any) -> None:
    keep_config(cache, bundled_map("demo/words").hash, config)


def pipeline(map_file: Path, **chat: Any) -> Pipeline:
    p = Pipeline("p").input("q").sink("out")
    p.model(
        "bot", engine=ScriptedEngine("Hello."), map=str(map_file), prompt=Chat(user="{q}", **chat),
        dialect="hermes",
    )  # fmt: skip
    return p.connect("q", "bot.q").connect("bot.answer", "out")


def test_a_system_text_that_the_template_adds_is_a_warning_with_its_place(
    cache: DiskMapCache, map_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep(cache, chat_template=HIDDEN + TURNS)
    with caplog.at_level(logging.WARNING, "codec_agents"):
        [warning] = pipeline(map_file).build().warnings
    assert (warning.place, warning.severity) == ("nodes.bot.prompt", "warning")
    assert "'hermes' writes otherwise" in warning.found
    assert "one turn: at character 1" in warning.found
    assert "You are a helpful model" in warning.found
    assert "template: engine" in warning.remedy
    assert "You are a helpful model" in caplog.text


@pytest.mark.slow
def test_the_conversations_are_like_the_node_s_own(cache: DiskMapCache, map_file: Path) -> None:
    keep(cache, chat_template=HIDDEN + TURNS)
    assert pipeline(map_file, system="Be kind.").build().warnings == ()
    keep(
        cache,
        chat_template=TURNS.replace("<|im_end|>", "{{ eos_token }}"),
        eos_token="<|im_end|>",
    )
    assert pipeline(map_file).build().warnings == ()


def test_a_comparison_is_made_once(
    cache: DiskMapCache, map_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(cache, chat_template=HIDDEN + TURNS)
    made: list[int] = []
    monkeypatch.setattr(template_check, "_compared", lambda *_: made.append(1) or ["they differ"])
    first, second = (pipeline(map_file).build().warnings for _ in range(2))
    assert first == second != ()
    keep(cache, chat_template=TURNS)
    pipeline(map_file).build()
    pipeline(map_file, system="Be kind.").build()
    assert len(made) == 3


def test_what_cannot_be_rendered_is_a_warning_and_tried_again(cache: DiskMapCache, map_file: Path) -> None:
    keep(cache, chat_template="x" * (MAX_TEMPLATE + 1))
    for _ in range(2):
        [warning] = pipeline(map_file).build().warnings
        assert "cannot be compared" in warning.found


def test_without_jinja2_nothing_is_compared(
    cache: DiskMapCache, map_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keep(cache, chat_template=HIDDEN + TURNS)
    monkeypatch.setattr(template_check, "find_spec", lambda name: None)
    with caplog.at_level(logging.INFO, "codec_agents"):
        assert pipeline(map_file).build().warnings == ()
    assert "jinja2 is not installed" in caplog.text


def test_check_shows_it_with_its_line(cache: DiskMapCache, map_file: Path, tmp_path: Path) -> None:
    keep(cache, chat_template="x" * (MAX_TEMPLATE + 1))
    file = tmp_path / "pipeline.yaml"
    file.write_text(
        "pipeline: p\nengines: {e: {kind: scripted, script: Hello.}}\nnodes:\n  q: {kind: input}\n"
        "  bot:\n    engine: e\n    map: map.json\n    dialect: hermes\n    prompt: {user: '{q}'}\n"
        "  out: {kind: sink}\nedges:\n  - {from: q, to: bot.q}\n  - {from: bot.answer, to: out}\n"
    )
    shown = CliRunner().invoke(main, ["check", str(file), "--json"])
    [fault] = json.loads(shown.output)["faults"]
    assert (fault["place"], fault["line"], fault["severity"]) == ("nodes.bot.prompt", 9, "warning")
    assert CliRunner().invoke(main, ["check", str(file), "--strict"]).exit_code == FAULTS


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"tokenizer_config.json": '{"bos_token": "<s>"}'}, None),
        ({"chat_template.jinja": "T"}, {"chat_template": "T"}),
        (
            {
                "tokenizer_config.json": '{"bos_token": "<s>", "model_max_length": 1}',
                "chat_template.jinja": "T",
            },
            {"chat_template": "T", "bos_token": "<s>"},
        ),
        (
            {"tokenizer_config.json": '{"chat_template": "older"}', "chat_template.jinja": "T"},
            {"chat_template": "T"},
        ),
        (
            {"tokenizer_config.json": '{"chat_template": [{"name": "default", "template": "T"}]}'},
            {"chat_template": [{"name": "default", "template": "T"}]},
        ),
    ],
)
def test_files_beside_a_tokenizer(
    files: dict[str, str], expected: Any, tmp_path: Path, cache: DiskMapCache
) -> None:
    for name, text in {**files, "tokenizer.json": "{}"}.items():
        (tmp_path / name).write_text(text)
    words = vocabulary_of(bundled_map("demo/words"))
    assert (
        own_config(tmp_path, words, cache)
        == own_config(tmp_path / "tokenizer.json", words, cache)
        == expected
    )


def test_a_configuration_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(DialectError, match="is not JSON"):
        config_beside(tmp_path / "tokenizer.json")


def test_the_template_of_a_gguf_file_is_kept(tmp_path: Path, cache: DiskMapCache) -> None:
    words = vocabulary_of(bundled_map("demo/words"))
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf({"tokenizer.ggml.tokens": ["a", "b"], "tokenizer.chat_template": TURNS}))
    assert own_config(path, words, cache) == {"chat_template": TURNS}
    assert kept_config(words, cache) == {"chat_template": TURNS}
    path.write_bytes(b"GGUF")  # not read again
    assert own_config(path, words, cache) == {"chat_template": TURNS}
