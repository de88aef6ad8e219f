"""`serve:` in a declaration: where the parts of a chat go."""

from __future__ import annotations

import pytest

from codec_agents.compiler.compiler import digest_of
from codec_agents.exceptions import PipelineError
from codec_agents.pipeline import Pipeline

FILE = """
pipeline: desk
serve: {input: question, sink: reader, system: planner, tools: planner, progress: true}
nodes:
  planner: {engine: "http://127.0.0.1:1", map: demo/bytes, prompt: "{question}"}
  pieces: {engine: "http://127.0.0.1:1", map: demo/bytes, prompt: [{text: "x "}, {slot: draft}]}
edges: [question -> planner.question, planner -> pieces.draft, pieces -> reader]
"""


def test_it_is_written_as_it_is_read() -> None:
    pipeline = Pipeline.from_yaml(FILE)
    assert pipeline.spec.serve is not None
    assert pipeline.spec.serve.system == "planner"
    again = Pipeline.from_yaml(pipeline.to_yaml())
    assert again.spec == pipeline.spec == Pipeline.from_spec(pipeline.spec).spec
    declared = Pipeline.from_yaml(FILE.replace("serve:", "# serve:"))
    assert "serve" not in declared.to_yaml()
    declared.served(input="question", sink="reader", system="planner", tools="planner", progress=True)
    assert declared.spec == pipeline.spec


def test_the_file_of_conversations_is_declared_and_is_no_part_of_what_they_are_known_by() -> None:
    kept = Pipeline.from_yaml(FILE.replace("progress: true", "progress: true, store: kept.db"))
    assert kept.spec.serve is not None
    assert kept.spec.serve.store == "kept.db"
    assert Pipeline.from_yaml(kept.to_yaml()).spec == kept.spec
    assert digest_of(kept.spec) == digest_of(Pipeline.from_yaml(FILE).spec)
    alone = FILE.replace("serve: {", "serve: {store: a.db} # ")
    assert digest_of(Pipeline.from_yaml(alone).spec) == digest_of(
        Pipeline.from_yaml(FILE.replace("serve:", "# serve:")).spec
    )


@pytest.mark.parametrize(
    ("serve", "place", "found"),
    [
        ("{system: planer}", "serve.system", "there is no model 'planer'"),
        ("{tools: reader}", "serve.tools", "'reader' is no model"),
        ("{input: planner}", "serve.input", "'planner' is no input"),
        ("{sink: question}", "serve.sink", "'question' is no sink"),
        ("{system: pieces}", "serve.system", "given as pieces"),
        ("{prompt: planner}", "serve.prompt", "prompt"),
        ("{store: ''}", "serve.store", "at least 1 character"),
        ("{store: 5}", "serve.store", "string"),
    ],
)
def test_places_that_do_not_fit_are_named(serve: str, place: str, found: str) -> None:
    text = "\n".join(f"serve: {serve}" if line.startswith("serve") else line for line in FILE.splitlines())
    try:
        faults = Pipeline.from_yaml(text).check()
    except PipelineError as error:
        faults = list(error.errors)
    found_there = [fault for fault in faults if fault.place.startswith("serve")]
    assert [(fault.place, found in fault.found) for fault in found_there] == [(place, True)]
