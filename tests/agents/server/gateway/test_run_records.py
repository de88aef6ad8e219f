"""The records of a gateway's conversations: what exporters, `runs` and `trace` make of them."""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from codec_agents.engines.scripted.engine import ScriptedEngine
from codec_agents.exceptions import RecordError, StoreError
from codec_agents.records.appending import annotate
from codec_agents.records.format import RECORD_VERSION, Chain
from codec_agents.records.reader import read_record
from codec_agents.records.store import RunFilter, RunStore
from codec_agents.records.trajectories import trajectories_of
from codec_agents.records.writer import encoded
from codec_agents.server.gateway import run_records
from codec_agents.server.gateway.run_records import Capture, ConversationRecords
from codec_agents.server.gateway.server import Gateway
from codec_agents.server.gateway.store import MemoryStore
from codec_agents.server.gateway.tree import Node
from codec_agents.trace.reading import read_run
from tests.agents.dialects.families import small_map_of
from tests.agents.server.gateway.test_gateway import TOOL, USER, Serving, logprob_of, serving

pytestmark = pytest.mark.asyncio


def written(folder: Path) -> list[Path]:
    return list(folder.glob("*.jsonl"))


async def talk(gateway: Serving, messages: list[Any], said: str, **body: Any) -> list[Any]:
    """Ask a question; return the history that ends with its answer."""
    asked = [*messages, {"role": "user", "content": said}]
    answer = await gateway.ask(messages=asked, **body)
    return [*asked, answer.json()["choices"][0]["message"]]


async def tool_cycle(gateway: Serving, **body: Any) -> list[Any]:
    """Return the history of a question that takes a call of a tool, and its answer."""
    first = await gateway.ask(messages=[USER], tools=[TOOL], **body)
    called = first.json()["choices"][0]["message"]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": f"sun {number}"}
        for number, call in enumerate(called["tool_calls"])
    ]
    messages = [USER, called, *results]
    second = await gateway.ask(messages=messages, tools=[TOOL], **body)
    return [*messages, second.json()["choices"][0]["message"]]


async def test_a_conversation_is_one_row_with_what_was_sampled_told_from_what_was_inserted(
    tmp_path: Path,
) -> None:
    async with serving(record=tmp_path, record_logprobs=True) as gateway:
        await tool_cycle(gateway)
        one, two = gateway.generations
        engine = [each.prompt_ids for each in (one, two)]
    [path] = written(tmp_path)
    record = read_record(path)
    assert record.complete
    assert [turn.prompt for turn in record.turns] == [list(ids) for ids in engine]
    assert record.turns[1].kept == len(one.prompt_ids) + len(one.ids)
    assert [lane for lane, _, _ in record.turns[0].regions] == ["reasoning", "answer", *["tool_calls"] * 2]
    [row] = trajectories_of(record)
    assert row.ids == [*two.prompt_ids, *two.ids]
    sampled = [token for token, own in zip(row.ids, row.sampled, strict=True) if own]
    assert sampled == [*one.ids, *two.ids]
    assert row.logprobs is not None
    assert len(row.logprobs) == len(row.ids)
    pairs = zip(row.logprobs, row.ids, row.sampled, strict=True)
    assert all(value == (logprob_of(token) if own else 0) for value, token, own in pairs)
    assert (row.complete, row.tool_calls, row.map) == (True, 2, "test/small")
    assert oct(path.stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize("dialect", [None, "qwen3"])
async def test_a_record_names_the_engine_behind_a_gateway(tmp_path: Path, dialect: str | None) -> None:
    engine = ScriptedEngine(lambda _: "fine")
    gateway = Gateway(
        engine, small_map_of("qwen3"), "m", dialect=dialect, record=tmp_path, record_logprobs=True
    )
    transport = httpx.ASGITransport(gateway)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.post("/v1/chat/completions", json={"messages": [USER]})
        assert answer.status_code == 200, answer.text
    [path] = written(tmp_path)
    record = read_record(path)
    [row] = trajectories_of(record)
    assert record.details(row.node)["engine"] == engine.provider
    assert row.logprob_mode == engine.logprob_mode == "processed"


@pytest.mark.slow
async def test_the_id_of_a_turn_is_in_the_ids_that_its_client_got(tmp_path: Path) -> None:
    async with serving(record=tmp_path) as gateway:
        answer = await gateway.ask(messages=[USER], tools=[TOOL])
    [path] = written(tmp_path)
    [turn] = read_record(path).turns
    document = answer.json()
    assert turn.id is not None
    assert document["id"].startswith(f"chatcmpl-{turn.id}")
    assert document["choices"][0]["message"]["tool_calls"][0]["id"].startswith(f"call_{turn.id}")


async def test_a_fork_is_a_branch_and_no_id_is_sampled_twice(tmp_path: Path) -> None:
    async with serving(record=tmp_path) as gateway:
        messages = await tool_cycle(gateway)
        await talk(gateway, messages[:-1], "One more", tools=[TOOL])
        await talk(gateway, messages[:-1], "Another", tools=[TOOL])
        generated = [each.ids for each in gateway.generations]
    [path] = written(tmp_path)
    record = read_record(path)
    rows = trajectories_of(record)
    assert [row.node for row in rows] == [f"branch[{number}]/model" for number in (1, 2, 3)]
    assert [turn.number for turn in record.turns] == [1, 2, 1, 1]
    sampled = [sum(row.sampled) for row in rows]
    assert sum(sampled) == sum(map(len, generated))
    assert record.details(rows[1].node)["dialect"] == "qwen3"


@pytest.mark.slow
@pytest.mark.parametrize("reread", [False, True])
async def test_of_many_branches_the_latest_are_continued(tmp_path: Path, reread: bool) -> None:
    """What is remembered of a conversation is bounded; a turn behind an older branch has its whole prompt."""
    async with serving(record=ConversationRecords(tmp_path, most_ends=2)) as gateway:
        first = await talk(gateway, [], "Hi")
        each = [await talk(gateway, first, said) for said in ("One", "Two", "Three")]
        if reread:
            gateway.gateway.records._places.clear()  # type: ignore[union-attr]
        await talk(gateway, each[0], "On")
        prompt = gateway.generations[-1].prompt_ids
        await talk(gateway, each[2], "On")
    [path] = written(tmp_path)
    turns = [(turn.node.removesuffix("/model"), turn.number) for turn in read_record(path).turns]
    assert turns[:4] == [("branch[1]", 1), ("branch[1]", 2), ("branch[2]", 1), ("branch[3]", 1)]
    assert turns[4:] == [("branch[4]", 1), ("branch[3]", 2)]
    assert read_record(path).turns[4].prompt == list(prompt)


@pytest.mark.slow
async def test_reasoning_that_is_left_out_begins_a_row_of_the_same_branch(tmp_path: Path) -> None:
    async with serving(record=tmp_path) as gateway:
        messages = await talk(gateway, [], "Hi")
        await talk(gateway, messages, "On")
    [path] = written(tmp_path)
    rows = trajectories_of(read_record(path))
    assert [(row.node, row.part) for row in rows] == [("branch[1]/model", 0), ("branch[1]/model", 1)]


@pytest.mark.slow
async def test_turns_that_were_drawn_otherwise_are_rows_of_their_own(tmp_path: Path) -> None:
    async with serving(record=tmp_path) as gateway:
        messages = await tool_cycle(gateway, temperature=1.0, seed=1)
        assert len(messages) == 5
    async with serving(record=tmp_path) as gateway:
        first = await gateway.ask(messages=[USER], tools=[TOOL], temperature=1.0)
        called = first.json()["choices"][0]["message"]
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": "s"} for call in called["tool_calls"]
        ]
        await gateway.ask(messages=[USER, called, *results], tools=[TOOL], temperature=0.2)
    rows = [
        [row.sampling["temperature"] for row in trajectories_of(read_record(path))]
        for path in written(tmp_path)
    ]
    assert sorted(rows) == [[1.0], [1.0, 0.2]]


async def test_a_conversation_goes_on_in_its_record_after_a_restart_and_an_annotation(tmp_path: Path) -> None:
    from codec_agents.server import SqliteStore

    runs = tmp_path / "runs"
    async with serving(record=runs, store=SqliteStore(tmp_path / "c.db")) as gateway:
        messages = await talk(gateway, [], "Hi")
    [path] = written(runs)
    annotate(path, {"reward": 0.5})
    with path.open("ab") as file:
        file.write(b'{"kind":"prompt","no')  # a process that was killed while it wrote
    async with serving(record=runs, store=SqliteStore(tmp_path / "c.db")) as gateway:
        messages = await talk(gateway, messages, "On")
        assert read_record(path).complete
        await talk(gateway, messages, "And on")
    record = read_record(path)
    assert [(turn.node, turn.number) for turn in record.turns] == [
        ("branch[1]/model", number) for number in (1, 2, 3)
    ]
    assert [row.reward for row in trajectories_of(record)] == [0.5] * 3
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], *lines[2:]]))
    async with serving(record=runs, store=SqliteStore(tmp_path / "c.db")) as gateway:
        refused = await gateway.ask(messages=[*messages, {"role": "user", "content": "Still there?"}])
        assert refused.status_code == 500
        assert not gateway.generations, "the engine was not asked"


@pytest.mark.slow
async def test_a_turn_waits_while_its_record_is_annotated(tmp_path: Path) -> None:
    async with serving(record=ConversationRecords(tmp_path, most_waiting=1)) as gateway:
        messages = await talk(gateway, [], "Hi")
        [path] = written(tmp_path)
        descriptor = os.open(path, os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        messages = await talk(gateway, messages, "On")
        further = await gateway.ask(messages=[*messages, {"role": "user", "content": "And on"}])
        assert further.status_code == 500, "turns that wait are bounded"
        os.close(descriptor)
        assert len(read_record(path).turns) == 1
        await talk(gateway, messages, "And on")
        assert [turn.number for turn in read_record(path).turns] == [1, 2, 3]


class FullFile:
    """Takes half of what is written to it, and then no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._write = os.write
        self._calls = 0
        monkeypatch.setattr(os, "write", self.write)

    def write(self, descriptor: int, data: bytes) -> int:
        self._calls += 1
        if self._calls > 1:
            raise OSError(28, "No space left on device")
        return self._write(descriptor, data[: len(data) // 2])


async def test_a_turn_that_waits_outlasts_one_that_cannot_be_written(tmp_path: Path) -> None:
    async with serving(record=tmp_path) as gateway:
        messages = await talk(gateway, [], "Hi")
        [path] = written(tmp_path)
        descriptor = os.open(path, os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        messages = await talk(gateway, messages, "On")
        os.close(descriptor)
        with pytest.MonkeyPatch.context() as patch:
            FullFile(patch)
            refused = await gateway.ask(messages=[*messages, {"role": "user", "content": "And on"}])
        assert (refused.status_code, len(read_record(path).turns)) == (500, 1)
        await talk(gateway, messages, "And on")
    assert [turn.number for turn in read_record(path).turns] == [1, 2, 3]


async def test_no_half_of_a_turn_is_left_by_a_full_disk(tmp_path: Path) -> None:
    async with serving(record=tmp_path) as gateway:
        messages = await talk(gateway, [], "Hi")
        [path] = written(tmp_path)
        before = path.read_bytes()
        with pytest.MonkeyPatch.context() as patch:
            FullFile(patch)
            refused = await gateway.ask(messages=[*messages, {"role": "user", "content": "On"}])
        assert (refused.status_code, path.read_bytes()) == (500, before)
        await talk(gateway, messages, "On")
    assert [turn.complete for turn in read_record(path).turns] == [True, True]


@pytest.mark.slow
async def test_of_several_records_only_those_that_are_annotated_at_the_end_lack_turns(tmp_path: Path) -> None:
    async with serving(record=tmp_path) as gateway:
        descriptors = {}
        for said in ("one", "two", "three"):
            before = set(written(tmp_path))
            messages = await talk(gateway, [], said)
            [path] = {*written(tmp_path)} - before
            descriptors[path] = os.open(path, os.O_RDWR)
            fcntl.flock(descriptors[path], fcntl.LOCK_EX)
            await talk(gateway, messages, "On")
        first, second, third = descriptors
        os.close(descriptors[third])
        records = gateway.gateway.records
        assert records is not None
        with pytest.raises(RecordError) as raised:
            records.close()
        assert [str(path) in str(raised.value) for path in (first, second, third)] == [True, True, False]
        assert [len(read_record(path).turns) for path in (first, second, third)] == [1, 1, 2]
        os.close(descriptors[first])
        os.close(descriptors[second])
    assert [len(read_record(path).turns) for path in (first, second, third)] == [2, 2, 2]


class FullStore(MemoryStore):
    """A store that takes no turn."""

    def add(self, node: Node) -> None:
        raise StoreError("the disk is full")


class UnclosableStore(MemoryStore):
    """A store that cannot be closed."""

    def close(self) -> None:
        raise StoreError("the disk is full")


@pytest.mark.slow
async def test_a_turn_that_the_store_does_not_take_is_in_its_record_once(tmp_path: Path) -> None:
    async with serving(record=tmp_path, store=FullStore()) as gateway:
        answer = await gateway.ask(messages=[USER])
        assert answer.status_code == 500
    [path] = written(tmp_path)
    assert [(turn.node, turn.complete) for turn in read_record(path).turns] == [("branch[1]/model", True)]
    [row] = trajectories_of(read_record(path))
    assert sum(row.sampled) == len(gateway.generations[0].ids)


@pytest.mark.slow
async def test_records_are_ended_though_the_store_cannot_be(tmp_path: Path) -> None:
    ended = []

    class Watched(ConversationRecords):
        def close(self) -> None:
            ended.append(True)

    with pytest.raises(StoreError, match="full"):
        async with serving(record=Watched(tmp_path), store=UnclosableStore()):
            pass
    assert ended == [True]


@pytest.mark.slow
async def test_what_a_client_asks_not_to_keep_is_in_no_record(tmp_path: Path) -> None:
    async with serving(record=tmp_path) as gateway:
        answer = await gateway.ask("/v1/responses", input="Hi", store=False)
        assert answer.status_code == 200
        said = answer.json()["output"][-1]["content"][0]["text"]
        turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": said}]
        again = await gateway.ask(messages=[*turns, {"role": "user", "content": "On"}])
        assert again.headers["x-codec-lineage"].startswith("rendered")
        await talk(gateway, [], "Hello", store=False)
        nodes = gateway.gateway.store._by_nonce.values()  # type: ignore[attr-defined]
        assert len(nodes) == 3
    assert not written(tmp_path)


@pytest.mark.slow
async def test_a_turn_that_broke_off_is_in_the_record_as_one(tmp_path: Path) -> None:
    async with serving(record=tmp_path) as gateway:
        with pytest.raises(httpx.RemoteProtocolError):
            await gateway.ask(messages=[{"role": "user", "content": "cut"}], stream=True)
    [path] = written(tmp_path)
    record = read_record(path)
    assert (record.complete, record.turns[0].complete) == (False, False)
    assert record.turns[0].generated
    with RunStore(tmp_path) as runs:
        runs.refresh()
        assert [run.state for run in runs.runs()] == ["cut"]


@pytest.mark.slow
async def test_runs_and_trace_read_them(tmp_path: Path) -> None:
    async with serving(record=tmp_path) as gateway:
        await tool_cycle(gateway)
    with RunStore(tmp_path) as runs:
        runs.refresh()
        [run] = runs.runs(RunFilter(pipeline="gateway", tool="weather", text="sun 1", state="done"))
        assert (run.turns, run.error) == (2, None)
    traced = read_run(tmp_path / run.path)
    assert {bar.kind for bar in traced.bars} >= {"wait", "reasoning", "tool"}
    assert traced.texts == {"branch[1]/model": "It is sun 0, sun 1.\n"}
    assert traced.inputs == {"user": "weather?"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [{"pipeline": "desk"}, {"started": None}, {"started": "x"}, {"started": []}, {}],
)
async def test_what_is_no_record_of_a_conversation_is_a_typed_error(
    change: dict[str, object], tmp_path: Path
) -> None:
    """Another run's record that was put into the folder, and lines that were sealed anew."""
    records, chain = ConversationRecords(tmp_path), Chain()
    first = {"kind": "run", "version": RECORD_VERSION, "run_id": "r", "pipeline": "gateway", "started": 1.5}
    first |= {"versions": {}, "maps": {}, "nodes": {}, "edges": [], "inputs": {}, **change}
    prompt = {"kind": "prompt", "node": "branch[x]/model", "turn": 1, "kept": 0, "ids": [1], "at": 0.0}
    lines = [first] if change else [first, prompt]
    records.path_of("c").write_bytes(b"".join(chain.seal(encoded(line)) for line in lines))
    with pytest.raises(RecordError, match="no record of a gateway's conversation"):
        records.prepare("c")


async def test_turns_of_other_conversations_do_not_wait_for_a_record_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a record that was read go back behind a turn that was written meanwhile."""
    written_turns, write = list[tuple[str, Node, Capture]](), ConversationRecords.write

    def watched(records: ConversationRecords, *turn: Any) -> None:
        written_turns.append(turn)
        write(records, *turn)

    monkeypatch.setattr(ConversationRecords, "write", watched)
    async with serving(record=tmp_path) as gateway:
        await talk(gateway, await talk(gateway, [], "Hi"), "On")
    (_, first, capture), (_, second, after) = written_turns
    records, read = ConversationRecords(tmp_path), run_records.read_record
    records.write("long", first, capture)
    lengths = list[int]()

    def reading(path: Path) -> Any:
        found = read(path)
        with ThreadPoolExecutor(1) as pool:
            for other in ("short", "long"):
                pool.submit(records.write, other, second, after).result()
        lengths.append(records.unread("long"))
        return found

    monkeypatch.setattr(run_records, "read_record", reading)
    records.prepare("long")
    assert (lengths, records.unread("long"), records.unread("short")) == ([0], 0, 0)


async def test_a_pipe_among_the_records_is_a_typed_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.jsonl")
    with pytest.raises(RecordError, match="no regular file"):
        ConversationRecords(tmp_path).prepare("c")


async def test_a_record_that_cannot_be_written_is_an_error_that_the_client_sees(tmp_path: Path) -> None:
    async with serving(record=tmp_path) as gateway:
        records = gateway.gateway.records
        assert isinstance(records, ConversationRecords)
        records.folder = tmp_path / "gone"
        answer = await gateway.ask(messages=[USER], tools=[TOOL])
        assert answer.status_code == 500
        assert "gone" not in msgspec.json.decode(answer.content)["error"]["message"]
