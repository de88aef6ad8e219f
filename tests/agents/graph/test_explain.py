"""The values of an explanation, and how they read."""

import json

import pytest

from codec_agents.graph import Fault
from codec_agents.graph.explain import (
    HELD_BACK,
    EdgeExplanation,
    Explanation,
    NodeExplanation,
    PieceExplanation,
    render_text,
)


@pytest.fixture
def explanation():
    planner = NodeExplanation(
        "planner",
        "model",
        engine="A",
        model="qwen",
        map="qwen/qwen2",
        dialect="chatml",
        dialect_reason="the map has <|im_start|>",
        prompt=(
            PieceExplanation("token", "<|im_start|>", 1),
            PieceExplanation("text", "system\n" + "x" * 200, 90),
            PieceExplanation("slot", "question"),
        ),
        tools=("fares",),
        notes=("retries twice",),
    )
    edges = (
        EdgeExplanation("question.value", "planner.question", "encode", 4096, None, "qwen/qwen2"),
        EdgeExplanation(
            "planner.answer", "writer.draft", "translate", 64, "a", "b", separator=", ", fallback=True
        ),
        EdgeExplanation("writer.answer", "reader", "decode", 4096, "b"),
    )
    sink = NodeExplanation("reader", "sink", makes_text=True)
    shout = NodeExplanation("shout", "function", makes_text=True)
    return Explanation(
        "desk", (planner, sink, shout), edges, (Fault("nodes.a", "unused", "remove it", "warning"),)
    )


def test_text_boundaries_are_edges_and_nodes(explanation):
    assert explanation.text_boundaries == (
        "question.value -> planner.question",
        "writer.answer -> reader",
        "shout",
    )


def test_the_text_says_what_the_values_hold(explanation):
    text = render_text(explanation)
    for part in (
        "engine A, model qwen, map qwen/qwen2",
        "dialect chatml: the map has <|im_start|>",
        "prompt of 91 ids and {question}",
        "    1  <|im_start|>",
        "   90  'system\\nxxx",
        " slot  {question}",
        "tools fares",
        "retries twice",
        "planner.answer -> writer.draft: translate from a to b",
        HELD_BACK["translate"] + "; buffer of 64 ids",
        "only if the source fails, after ', '",
        "text is made or read at: question.value -> planner.question, writer.answer -> reader, shout",
        "warning: nodes.a: unused; remove it",
    ):
        assert part in text
    assert max(map(len, text.splitlines())) < 140


def test_plain_data_has_what_is_derived(explanation):
    data = json.loads(json.dumps(explanation.to_data()))
    assert data["nodes"][0]["prompt_ids"] == 91
    assert data["edges"][1]["held_back"] == HELD_BACK["translate"]
    assert data["warnings"][0]["severity"] == "warning"


def test_without_text_it_says_so():
    assert "text is made nowhere" in render_text(Explanation("p", (), ()))
