"""`map:` takes the files that people have: a map, a tokenizer file, or a model's folder."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path

import pytest
import tokenizers

from codec_agents import Pipeline, PipelineError
from codec_agents.compiler.map_files import id_of_name, map_of_file
from codec_agents.testing import ScriptedEngine
from codec_agents.vocabularies import bundled_map_bytes
from codec_core.discovery import DiskMapCache
from codec_core.discovery.documents import check_id
from codec_core.tokenizer import pick_tokenizer

TEXTS = ["the cat sat on the mat", "the mat, the cat", "a hat on a cat"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a model's folder with a byte-level tokenizer.json."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TEXTS,
        tokenizers.trainers.BpeTrainer(
            vocab_size=300, initial_alphabet=alphabet, special_tokens=["<|im_end|>"], show_progress=False
        ),
    )
    folder = tmp_path / "tiny-cat"
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DiskMapCache:
    monkeypatch.setenv("CODEC_CACHE", str(tmp_path / "cache"))
    return DiskMapCache(tmp_path / "cache")


def pipeline(where: Path) -> Pipeline:
    p = Pipeline("p").input("q").sink("out")
    p.model("m", engine=ScriptedEngine(lambda prompt: "the cat"), map=str(where), prompt=[{"slot": "q"}])
    return p.connect("q", "m.q").connect("m.answer", "out")


@pytest.mark.parametrize("name", ["", "tokenizer.json"])
def test_a_pipeline_names_a_folder_or_its_tokenizer(model: Path, name: str, cache: DiskMapCache) -> None:
    built = pipeline(model / name if name else model)
    assert built.invoke_sync({"q": "on the mat"}).text == {"out": "the cat"}
    assert "local/tiny-cat" in {node.map for node in built.explain().nodes}


@pytest.mark.parametrize(
    ("name", "map_id"),
    [
        ("Qwen2.5-7B-Instruct", "qwen2.5-7b-instruct"),
        ("My Model (v2)", "my-model-v2"),
        ("org/Model..v1", "org/model-v1"),
        ("模型", "model"),
        ("..", "model"),
    ],
)
def test_any_name_gives_an_id(name: str, map_id: str) -> None:
    assert check_id(id_of_name(name)) == map_id


def test_the_folder_of_a_model_may_have_capitals(model: Path, cache: DiskMapCache) -> None:
    folder = model.rename(model.with_name("Tiny-Cat 1.5B"))
    assert map_of_file(folder, None, cache).id == "local/tiny-cat-1.5b"


def test_a_declared_name_may_have_capitals(model: Path, cache: DiskMapCache) -> None:
    text = f"""\
pipeline: p
engines: {{A: {{kind: scripted, script: a hat}}}}
maps: {{Mine: {{path: "{model}"}}}}
nodes: {{m: {{map: Mine, prompt: [{{slot: q}}]}}}}
edges: [q -> m, m -> out]
"""
    assert "mine" in {node.map for node in Pipeline.from_yaml(text).explain().nodes}


def test_a_cache_that_cannot_be_written_only_warns(model: Path, tmp_path: Path, caplog) -> None:
    (tmp_path / "file").touch()
    built = map_of_file(model, None, DiskMapCache(tmp_path / "file" / "cache"))
    assert built.id == "local/tiny-cat"
    assert "cannot be cached" in caplog.text


def test_a_built_map_encodes_as_the_file_says(model: Path, cache: DiskMapCache) -> None:
    reference = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    found = pick_tokenizer(map_of_file(model, "cats/tiny", cache))
    for text in TEXTS:
        assert found.encode(text) == reference.encode(text).ids


def test_a_map_is_built_once_for_the_content_of_a_file(model: Path, cache: DiskMapCache, caplog) -> None:
    caplog.set_level("INFO", "codec_agents")
    first = map_of_file(model, None, cache).hash
    gc.collect()
    (model / "tokenizer.json").touch()
    assert map_of_file(model, None, cache).hash == first
    assert [record.message.split(" from ")[0] for record in caplog.records] == [
        "building the map local/tiny-cat"
    ]


def test_a_changed_file_is_built_anew(model: Path, cache: DiskMapCache) -> None:
    first = map_of_file(model, None, cache).hash
    file = model / "tokenizer.json"
    document = json.loads(file.read_text())
    flags = dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized"), False)
    added = {"id": len(document["model"]["vocab"]), "content": "<end>", "special": True, **flags}
    document["added_tokens"].append(added)
    file.write_text(json.dumps(document))
    assert map_of_file(model, None, cache).hash != first


def test_a_map_is_read_as_it_is(tmp_path: Path, cache: DiskMapCache) -> None:
    file = tmp_path / "words.json"
    file.write_bytes(bundled_map_bytes("demo/words"))
    assert map_of_file(file, "another/id", cache).id == "demo/words"


def test_a_map_of_a_file_is_freed_with_its_last_user(model: Path, cache: DiskMapCache) -> None:
    gone = weakref.ref(map_of_file(model, None, cache))
    gc.collect()
    assert gone() is None


def test_a_folder_without_a_tokenizer_is_a_fault_that_names_it(tmp_path: Path, cache: DiskMapCache) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(PipelineError, match=r"has none of tokenizer\.json, tekken\.json, tokenizer\.model"):
        pipeline(empty).build()


def test_ranks_without_a_pattern_say_what_to_do(tmp_path: Path, cache: DiskMapCache) -> None:
    ranks = tmp_path / "some.tiktoken"
    ranks.write_text("YQ== 0\n")
    with pytest.raises(PipelineError, match="codec-agents maps build --pattern"):
        pipeline(ranks).build()
