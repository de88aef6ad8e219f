"""Wherever the record of the shipped demo ends, its recovery gives the answer of the whole run."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from codec_agents import Pipeline

pytestmark = pytest.mark.anyio
INPUTS = {
    "question": (
        "Find me a cheap flight from Lisbon to Oslo on a Friday in November, and tell me what to pack."
    )
}


async def test_the_demo_is_recovered_at_any_line(tmp_path: Path) -> None:
    demo = Path(str(resources.files("codec_agents") / "cli" / "demo"))
    text = (demo / "travel_desk.yaml").read_text(encoding="utf-8")
    text = text.replace("kind: embedded", "kind: scripted").replace("ids_a_second: 120, ", "")
    path = tmp_path / "run.jsonl"
    desk = Pipeline.from_yaml(text, directory=demo)
    whole = await desk.invoke(INPUTS, record=path)
    lines = path.read_bytes().splitlines(keepends=True)
    for cut in range(1, len(lines), 3):
        path.write_bytes(b"".join(lines[:cut]))
        recovered = await desk.recover(path).execute()
        assert (recovered.text, recovered.ids) == (whole.text, whole.ids), f"cut after line {cut}"
