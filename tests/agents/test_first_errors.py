"""The errors of a first hour: each names the value that is wrong, its place, and what to do."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from codec_agents import Pipeline, tool
from codec_agents.exceptions import (
    ApprovalRequiredError,
    InputError,
    NodeFailedError,
    PauseError,
    PipelineError,
    RecordError,
    ToolDefinitionError,
)
from codec_agents.prompts import History
from codec_agents.vocabularies import bundled_map_bytes
from tests.agents.recorded_runs import paying


def chain(*, script: Callable[..., Any] = lambda prompt: "hi", map_name: str = "demo/bytes") -> Pipeline:
    pipeline = Pipeline("desk").input("q").engine("e", kind="scripted", script=script)
    pipeline.model("m", engine="e", map=map_name, prompt="{q}").sink("out")
    return pipeline.connect("q", "m.q").connect("m.answer", "out")


@pytest.mark.parametrize("given", ["x", ["x"]])
def test_inputs_is_a_mapping(given: Any) -> None:
    with pytest.raises(InputError, match=r"inputs is a mapping of the pipeline's inputs, \{'q': ...\}, not"):
        chain().invoke_sync(given)


def test_a_missing_input_has_a_remedy_for_python() -> None:
    with pytest.raises(InputError, match=r"the input 'q' has no value; give it one, as in \{'q': ...\}"):
        chain().invoke_sync()


async def answer(prompt: str) -> str:
    """Answer at once."""
    return "hi"


@pytest.mark.parametrize(
    ("script", "returned"),
    [(lambda prompt: None, "NoneType"), (lambda prompt: 5, "int"), (answer, "a coroutine")],
)
def test_a_script_that_returns_no_turn_is_told_what_it_returned(script: Any, returned: str) -> None:
    with pytest.raises(NodeFailedError, match=f"node 'm' .* the script returned {returned}, not a string"):
        chain(script=script).invoke_sync({"q": "x"})


@pytest.mark.parametrize("fields", [{"wants": "text"}, {"map": "demo/bytes"}])
def test_a_function_that_returns_none_is_told_so(fields: dict[str, Any]) -> None:
    pipeline = Pipeline("desk").input("q").function("f", lambda q: None, **fields).sink("out")
    with pytest.raises(NodeFailedError, match=r"node 'f' .* the function returned NoneType, not"):
        pipeline.connect("q", "f.q").connect("f", "out").invoke_sync({"q": "x"})


def test_a_split_that_returns_none_is_told_so() -> None:
    body = Pipeline("body").input("item").sink("s").connect("item", "s")
    pipeline = Pipeline("desk").input("q").map("f", body, over="item", items=lambda text: None).sink("out")
    with pytest.raises(NodeFailedError, match=r"node 'f' .* the function that splits returned NoneType"):
        pipeline.connect("q", "f.item").connect("f.s", "out").invoke_sync({"q": "x"})


@pytest.mark.parametrize("value", [b"hi", "hi", [True], ["x"], [2**40], 5])
@pytest.mark.parametrize("splits", [False, True])
def test_what_is_no_ids_is_refused_of_a_function_and_of_one_that_splits(value: Any, splits: bool) -> None:
    """Bytes and truth values are numbers to Python, and would go on as ids that were not meant."""
    pipeline, ids = Pipeline("desk").input("q", type="ids", map="demo/bytes"), {"map": "demo/bytes"}
    if splits:
        body = Pipeline("body").input("item", type="ids", **ids).sink("s", text=False).connect("item", "s")
        pipeline.map("f", body, over="item", items=lambda given: [given, value])
    else:
        pipeline.function("f", lambda item: value, **ids)
    pipeline.sink("out").connect("q", "f.item").connect("f", "out")
    with pytest.raises(NodeFailedError, match=r"node 'f' .* returned .*( no id| not ids) of the map"):
        pipeline.invoke_sync({"q": [1, 2]})


@pytest.mark.parametrize("value", [b"hi", ["hi"], None, 5])
def test_what_is_no_text_is_refused_among_the_items_of_a_function(value: Any) -> None:
    body = Pipeline("body").input("item").sink("s").connect("item", "s")
    pipeline = Pipeline("desk").input("q").map("f", body, over="item", items=lambda _: [value]).sink("out")
    with pytest.raises(NodeFailedError, match=r"node 'f' .* returned among its items \w+, not text"):
        pipeline.connect("q", "f.item").connect("f.s", "out").invoke_sync({"q": "x"})


def test_a_missing_map_file_names_the_folder_that_was_searched(tmp_path: Path) -> None:
    pipeline = tmp_path / "desk.yaml"
    pipeline.write_text(
        "pipeline: desk\nengines: {e: {kind: scripted, script: hi}}\n"
        "nodes: {m: {map: ./maps/own.json, prompt: '{q}'}}\nedges: [q -> m.q, m.answer -> out]\n",
        encoding="utf-8",
    )
    with pytest.raises(PipelineError) as caught:
        Pipeline.from_yaml(pipeline).build()
    assert f"no file 'own.json' in {tmp_path / 'maps'};" in str(caught.value)


def test_a_missing_pipeline_or_record_names_the_folder_that_was_searched(tmp_path: Path) -> None:
    (tmp_path / "desk.yaml").write_text("pipeline: desk")
    place = re.escape(f"in the folder {str(tmp_path)!r}; did you mean 'desk.yaml'?")
    with pytest.raises(FileNotFoundError, match=f"no such file {place}"):
        Pipeline.from_yaml(tmp_path / "desc.yaml")
    for call in (chain().replay, chain().recover):
        with pytest.raises(RecordError, match=f"cannot read the record .*: no such file {place}"):
            call(tmp_path / "desc.yaml")
    with pytest.raises(FileNotFoundError, match=r"no such file in the folder '.*nowhere'"):
        Pipeline.from_yaml(tmp_path / "nowhere" / "desk.yaml")


def test_a_damaged_map_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text('{"id": "own"}', encoding="utf-8")
    with pytest.raises(PipelineError, match=r"own\.json: not a tokenizer map: .* `version`"):
        chain(map_name=str(tmp_path / "own.json")).build()


def test_a_missing_library_for_tools_is_the_whole_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    pipeline = chain()
    pipeline.mcp("files", ["python", "server.py"])
    pipeline.model("n", engine="e", map="demo/bytes", prompt="{q}", tools=["mcp:files"]).sink("other")
    with pytest.raises(PipelineError) as caught:
        pipeline.connect("q", "n.q").connect("n", "other").build()
    (fault,) = caught.value.errors
    assert fault.found == "tools of MCP servers need the official library"
    assert fault.remedy == "install it with: pip install 'codec-agents[mcp]'"


def test_an_unknown_map_comes_with_the_command_that_builds_it() -> None:
    with pytest.raises(PipelineError, match=r"name the model's folder.*`hf:"):
        chain(map_name="Own/Model").build()


def test_a_tool_that_is_none_is_a_fault_with_its_place() -> None:
    with pytest.raises(PipelineError, match=r"nodes\.m\.tools\[1\]: int is not a tool; give a function"):
        Pipeline("desk").model("m", prompt="{q}", tools=["tools:book", 42])


def with_tools(*tools: Any) -> Pipeline:
    p = Pipeline("desk").input("q").engine("e", kind="scripted", script="hi").sink("out")
    p.model("m", engine="e", map="demo/bytes", prompt="{q}", tools=tools)
    return p.connect("q", "m.q").connect("m.answer", "out")


def test_all_objects_that_are_no_tools_are_told_together() -> None:
    with pytest.raises(PipelineError) as raised:
        with_tools(42, len, 43.5)
    assert [fault.place for fault in raised.value.faults] == ["nodes.m.tools[0]", "nodes.m.tools[2]"]


def test_callables_of_which_no_tool_can_be_made_are_told_together_with_all_other_faults() -> None:
    def by_position(*names: str) -> str:
        return ""

    with pytest.raises(PipelineError) as raised:
        with_tools(by_position, lambda x: x, "gone:tool").build()
    told = {fault.place: f"{fault.found}; {fault.remedy}" for fault in raised.value.faults}
    assert "takes 'names' by position only" in told["nodes.m.tools[0]"]
    assert "a lambda has no name" in told["nodes.m.tools[1]"]
    assert "put gone.py there" in told["nodes.m.tools[2]"]


NOT_LISTS: dict[str, Callable[[Pipeline], Any]] = {
    "nodes.m.tools": lambda p: p.model("m", map="demo/bytes", prompt="{q}", tools="climate"),  # type: ignore[arg-type]
    "nodes.n.tools": lambda p: p.model("n", map="demo/bytes", prompt="{q}", tools=42),  # type: ignore[arg-type]
    "nodes.f.inputs": lambda p: p.function("f", lambda q: q, inputs="q"),
    "mcp.library.command": lambda p: p.mcp("library", "python server.py"),
    "imports": lambda p: Pipeline("desk", imports="numpy"),
}


@pytest.mark.parametrize("place", NOT_LISTS)
def test_a_text_in_place_of_a_list_is_not_taken_apart(place: str) -> None:
    with pytest.raises(PipelineError, match=rf"{place}: a list belongs here, not (str|int); write a list"):
        NOT_LISTS[place](Pipeline("desk"))


def test_what_is_no_map_is_told_what_a_map_can_be(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="int is not a map; give an id, a path, a `MapSpec`"):
        Pipeline("desk").model("m", map=5, prompt="{q}")  # type: ignore[arg-type]
    path = tmp_path / "bytes.json"
    path.write_bytes(bundled_map_bytes("demo/bytes"))
    pipeline = Pipeline("desk").input("q").engine("e", kind="scripted", script="hi").sink("out")
    pipeline.model("m", engine="e", map=path, prompt="{q}").connect("q", "m.q").connect("m.answer", "out")
    assert pipeline.invoke_sync({"q": "x"}).text["out"] == "hi"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"approve": True}, "`approve` is a function of the call and its context, not bool"),
        ({"record": 5}, "`record` is the path of a file, not int"),
    ],
)
def test_an_option_of_a_run_of_another_type_is_refused(option: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        chain().invoke_sync({"q": "x"}, **option)


async def as_completed(**options: Any) -> None:
    async with chain().batch_as_completed([{"q": "x"}], **options) as results:
        async for _ in results:
            pass


@pytest.mark.parametrize("batch", [partial(chain().batch, [{"q": "x"}]), as_completed])
@pytest.mark.parametrize(
    ("option", "error", "said"),
    [
        ({"recrod": "runs"}, TypeError, "unknown run option 'recrod'; the options are record,"),
        ({"approve": True}, InputError, "`approve` is a function"),
        ({"record": 5}, InputError, "`record` is the path"),
        ({"run_id": 5}, InputError, "`run_id` is a text"),
        ({"durability": "ram"}, RecordError, "there is no durability 'ram'"),
        ({"durability": "disk"}, RecordError, "give `record`, too"),
        ({"after": {"n": History(prompt=[1], generated=[], begin=0, map_hash=None)}}, InputError, "'n'"),
    ],
)
def test_a_mistake_in_the_options_of_a_batch_is_one_error(
    batch: Any, option: dict[str, Any], error: type[Exception], said: str
) -> None:
    """As the result of each run it would be seen late, or never."""
    with pytest.raises(error, match=said):
        anyio.run(partial(batch, **option))


@pytest.mark.parametrize("inputs", ["abc", {"q": "x"}, 5])
def test_the_inputs_of_a_batch_are_a_list(inputs: Any) -> None:
    with pytest.raises(InputError, match=r"the inputs of a batch are a list of mappings"):
        anyio.run(chain().batch, inputs)


def test_the_concurrency_of_a_batch_is_a_number() -> None:
    with pytest.raises(ValueError, match="must be at least 1, not '4'"):
        anyio.run(partial(chain().batch, [{"q": "x"}], concurrency="4"))


def test_the_timeout_of_a_tool_is_a_number() -> None:
    with pytest.raises(ToolDefinitionError, match="has a timeout of '5'; it must be a positive number"):
        tool(timeout="5")(answer)  # type: ignore[arg-type]


@pytest.mark.parametrize("decisions", [[5], [None], {"pay": True}, "yes", []])
def test_a_decision_is_yes_no_or_words(decisions: Any) -> None:
    p = paying()
    with pytest.raises(ApprovalRequiredError) as caught:
        p.invoke_sync({"q": "go"})
    with pytest.raises(PauseError, match=r"give (True, False, or words|a list with one decision)"):
        p.resume(caught.value.pause, decisions)


@pytest.mark.parametrize("given", [None, 5, {}])
def test_what_is_no_pause_is_told_what_one_is(given: Any) -> None:
    with pytest.raises(PauseError, match=r"a pause is the text of `pause.to_json\(\)`"):
        chain().resume(given, [True])
