"""Records of runs that never happened, written by the real recorder."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from codec_agents import events
from codec_agents.events import HandoffReport, Usage
from codec_agents.records.writer import Recorder
from codec_agents.vocabularies import bundled_map
from codec_core.tokenizer import pick_tokenizer

MAP = "demo/bytes"


def encode(text: str) -> tuple[int, ...]:
    return tuple(pick_tokenizer(bundled_map(MAP)).encode_ordinary(text))


def handoff(
    source: str, target: str, *, ids: int, last_in: float, sent: float, first: float
) -> HandoffReport:
    return HandoffReport(
        source=source,
        target=target,
        strategy="translate",
        source_map=MAP,
        target_map=MAP,
        input_ids=ids,
        output_ids=ids,
        dropped_ids=0,
        replaced=0,
        translate_seconds=0.004,
        tail_seconds=0.0004,
        first_in=last_in - 0.5,
        last_in=last_in + 0.0002,
        request_sent=sent,
        first_out=first,
        last_id=last_in,
        render_seconds=0.0002,
        queue_seconds=0.0001,
        request_seconds=sent - last_in - 0.0009,
        wire_bytes=ids * 4,
        wire_ids=ids,
    )


def _write_chain(path: Path, nodes: int = 2, ids: int = 0, *, said: str = "", gap: float = 0.003) -> None:
    words = encode(said or "The quick brown fox jumps over <b>the</b> lazy dog. </script><!-- ")
    spoken = words * max(1, ids // (len(words) * nodes)) if ids else words
    names = [f"node{number:03d}" for number in range(nodes)]
    header = {
        "maps": {MAP: bundled_map(MAP).hash},
        "nodes": {name: {"map": MAP, "dialect": "chatml", "model": "m"} for name in names},
        "edges": [
            {"from": "question.value", "to": f"{names[0]}.text", "strategy": "encode"},
            *(
                {"from": f"{left}.answer", "to": f"{right}.text", "strategy": "translate"}
                for left, right in itertools.pairwise(names)
            ),
            {"from": f"{names[-1]}.answer", "to": "reader", "strategy": "decode"},
        ],
    }
    recorder = Recorder(path, header)
    recorder.write(events.RunStarted("run-1", "chain"))
    now = 0.0
    for position, name in enumerate(names):
        started = now
        recorder.write(events.GenerationStarted(name, 1, words, 0, now))
        now += 0.01
        first = now
        for start in range(0, len(spoken), 512):
            recorder.write(events.IdsSampled(name, 1, spoken[start : start + 512], now))
            now += 0.002
        regions = (("reasoning", 0, 4), ("answer", 4, len(spoken)))
        recorder.write(
            events.GenerationFinished(name, 1, spoken, "stop", regions, 4 * len(spoken), first, now)
        )
        if position:
            report = handoff(
                f"{names[position - 1]}.answer",
                f"{name}.text",
                ids=len(spoken) - 4,
                last_in=started - gap,
                sent=started,
                first=first,
            )
            recorder.write(events.HandoffFinished(report, now))
        recorder.write(events.NodeFinished(name, "finished", "stop", Usage(turns=1), now))
    recorder.write(events.SinkText("reader", said or "The answer.", now))
    recorder.write(events.RunFinished({}, now))
    recorder.close()


@pytest.fixture
def write_chain() -> Callable[..., None]:
    """Write a chain of model nodes, each of which says a text and hands it on."""
    return _write_chain
