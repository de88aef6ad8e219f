"""A model without a map: its engine is asked, and one that cannot tell is a fault with a remedy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from codec_agents import Pipeline
from codec_agents.exceptions import PipelineError
from codec_agents.testing import Say, scripted_server
from codec_agents.vocabularies import bundled_map, bundled_map_bytes
from codec_core.vocabulary import vocabulary_of
from tests.agents.compiler.test_own_templates import HIDDEN, TURNS
from tests.agents.engines import imitations

pytestmark = pytest.mark.anyio

WORDS = bundled_map("demo/words")


def one(kind: Any, url: str) -> Pipeline:
    p = Pipeline("one").input("q").sink("out").engine("e", kind=kind, url=url)
    p.model("m", engine="e", prompt="{q}")
    return p.connect("q", "m.q").connect("m", "out")


@pytest.mark.parametrize("kind", ["codec", "auto"])
async def test_a_codec_server_tells_its_map(kind: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CODEC_CACHE", str(tmp_path))
    with scripted_server(WORDS, lambda _: Say("hi"), name="m") as server:
        p = one(kind, server.url)
        result = await p.invoke({"q": "go"})
    assert result.text == {"out": "hi"}
    assert p.build().map_hashes == {"m": WORDS.hash}


DOCUMENTS = {
    "vllm": ("/v1/models", lambda path: {"data": [{"id": "m", "root": path}]}),
    "sglang": ("/get_model_info", lambda path: {"model_path": path, "tokenizer_path": path}),
    "llamacpp": ("/props", lambda path: {"model_path": path}),
}


@contextmanager
def telling(kind: str, path: str, monkeypatch: Any) -> Iterator[str]:
    """Serve an imitation that says that it loaded this."""
    where, content = DOCUMENTS[kind]
    routes = imitations.routes

    def changed(engine: str, vocabulary: Any) -> dict[str, Any]:
        return {**routes(engine, vocabulary), where: imitations.document(content(path))}

    monkeypatch.setattr(imitations, "routes", changed)
    with imitations.imitation(kind, vocabulary_of(WORDS)) as url:
        yield url


@pytest.mark.parametrize("kind", DOCUMENTS)
async def test_a_server_on_this_machine_tells_what_it_loaded(
    kind: str, tmp_path: Path, monkeypatch: Any
) -> None:
    file = tmp_path / "words.json"
    file.write_bytes(bundled_map_bytes("demo/words"))
    with telling(kind, str(file), monkeypatch) as url:
        built = await anyio.to_thread.run_sync(one(kind, url).build)
    assert built.map_hashes == {"m": WORDS.hash}


@pytest.mark.parametrize("kind", DOCUMENTS)
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("Qwen/Qwen2.5-7B", "`codec-agents maps build hf:Qwen/Qwen2.5-7B`"),
        ("/there/is/no/such/model", "'/there/is/no/such/model', are not on this machine"),
        ("./Qwen2.5-7B", "'./Qwen2.5-7B', are not on this machine; add `map:` with the model's folder"),
        ("", "tells none"),
        ("/" + "long" * 2000, "are not on this machine"),
    ],
)
async def test_one_whose_files_are_elsewhere_is_a_fault_with_the_command(
    kind: str, path: str, said: str, monkeypatch: Any
) -> None:
    with (
        telling(kind, path, monkeypatch) as url,
        pytest.raises(PipelineError, match="no map is named") as raised,
    ):
        await anyio.to_thread.run_sync(one(kind, url).build)
    [fault] = raised.value.faults
    assert fault.place == "nodes.m.map"
    assert said in f"{fault.found}; {fault.remedy}"


async def test_a_file_that_gives_no_map_and_a_server_that_is_down_are_faults(
    tmp_path: Path, monkeypatch: Any
) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps({"model": {"type": "Other"}}))
    with telling("llamacpp", str(file), monkeypatch) as url, pytest.raises(PipelineError, match="gives none"):
        await anyio.to_thread.run_sync(one("llamacpp", url).build)
    with pytest.raises(PipelineError, match="cannot be asked for its own"):
        await anyio.to_thread.run_sync(one("vllm", "http://127.0.0.1:9").build)


def test_an_engine_that_has_no_way_to_tell_is_a_fault_of_the_declaration() -> None:
    [fault] = one("openai", "http://127.0.0.1:9").check()
    assert (fault.place, fault.found) == ("nodes.m", "no map is named")


async def test_the_template_beside_what_the_engine_loaded_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jinja2")
    monkeypatch.setenv("CODEC_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tokenizer.json").write_bytes(bundled_map_bytes("demo/words"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": HIDDEN + TURNS}))
    with telling("vllm", str(tmp_path), monkeypatch) as url:
        built = await anyio.to_thread.run_sync(one("vllm", url).build)
    assert built.map_hashes == {"m": WORDS.hash}
    [warning] = built.warnings
    assert "You are a helpful model" in warning.found
