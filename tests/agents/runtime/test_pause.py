"""Approval: asked at once, or a run suspended and resumed from exactly the same ids."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from codec_agents import Chat, Pipeline, tool
from codec_agents.events import IdsSampled, NodeFinished, ToolFinished
from codec_agents.exceptions import ApprovalRequiredError, InputError, PauseError, RecordError
from codec_agents.records.reader import read_record
from codec_agents.runtime.pause import Pause
from codec_agents.testing import Call, PromptView, Say, ScriptedEngine, Think
from codec_agents.vocabularies import bundled_map
from codec_core.detokenizer import detokenize

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


class Desk:
    """A first model, a second one with tools, and what they did."""

    def __init__(self, **fields: Any) -> None:
        self.paid: list[int] = []
        self.looked: list[str] = []
        self.first = ScriptedEngine(lambda _: "a broken lamp")
        self.second = ScriptedEngine(self.cashier)
        self.pipeline = self.declare(**fields)

    def cashier(self, prompt: PromptView) -> Iterator[Any]:
        if prompt.turn == 1:
            yield Think("Two things to do.")
            yield Say("One moment. ")
            yield Call("look", what="price")
            yield Call("pay", amount=49)
        elif prompt.turn == 2:
            yield Say(f"So: {' | '.join(prompt.results)}.")

    def declare(self, **fields: Any) -> Pipeline:
        @tool(read_only=True)
        def look(what: str) -> str:
            """Look."""
            self.looked.append(what)
            return f"{what} is 49"

        @tool(approval=True)
        def pay(amount: int) -> str:
            """Pay."""
            self.paid.append(amount)
            return f"paid {amount}"

        p = Pipeline("desk")
        p.input("question")
        p.model("clerk", engine=self.first, map="demo/words", prompt=Chat(user="{question}"))
        prompt = Chat(user="{summary}")
        p.model("cashier", engine=self.second, map="demo/bytes", prompt=prompt, tools=[look, pay], **fields)
        p.sink("reader")
        p.connect("question", "clerk.question")
        p.connect("clerk.answer", "cashier.summary")
        p.connect("cashier.answer", "reader")
        return p

    async def paused(self, **options: Any) -> str:
        with pytest.raises(ApprovalRequiredError, match="'pay'") as caught:
            await self.pipeline.invoke({"question": "go"}, **options)
        return caught.value.pause.to_json()


async def test_the_approver_of_a_run_is_asked_and_knows_the_call() -> None:
    asked: list[Any] = []

    async def approve(call: Any, context: Any) -> bool:
        asked.append((call.name, call.arguments, context.node, context.deps))
        return True

    desk = Desk()
    result = await desk.pipeline.invoke({"question": "go"}, approve=approve, deps="files")
    assert result.text["reader"] == "One moment. So: price is 49 | paid 49."
    assert asked == [("pay", {"amount": 49}, "cashier", "files")]
    with_words = await desk.pipeline.invoke({"question": "go"}, approve=lambda *_: "not today")
    assert with_words.text["reader"].endswith("So: price is 49 | Error: not today.")
    assert desk.paid == [49]


@pytest.mark.parametrize(
    ("decision", "told"),
    [(True, "paid 49"), (False, "Error: the call of pay was not allowed"), ("no", "Error: no")],
)
async def test_another_pipeline_goes_on_from_the_same_ids(decision: bool | str, told: str) -> None:
    before, after = Desk(), Desk()
    pause = await before.paused()
    assert (before.paid, before.looked) == ([], ["price"])
    result = await after.pipeline.resume(pause, [decision]).execute()
    assert result.text["reader"] == f"One moment. So: price is 49 | {told}."
    assert after.paid == ([49] if decision is True else [])
    assert after.looked == []
    assert after.first.requests == []
    (first,), (second,) = before.second.requests, after.second.requests
    sampled = before.second.model.turn(first.prompt_ids, first.vocabulary, first.options).ids
    said = [*first.prompt_ids, *sampled]
    assert list(second.prompt_ids[: len(said)]) == said
    assert result.run_id == json.loads(pause)["run_id"]


async def test_the_counts_go_on_and_are_those_of_a_run_that_never_paused() -> None:
    whole = await Desk().pipeline.invoke({"question": "go"}, approve=lambda *_: True)
    resumed = await Desk().pipeline.resume(await Desk().paused(), [True]).execute()
    assert resumed.usage == whole.usage
    assert resumed.ids == whole.ids


async def test_a_resumed_run_that_is_stopped_while_its_tools_run_asks_no_further_turn() -> None:
    desk = Desk()

    class Paid(list[int]):
        def append(self, amount: int) -> None:
            run.cancel(after="turn")
            super().append(amount)

    desk.paid = Paid()
    async with desk.pipeline.resume(await Desk().paused(), [True]) as run:
        result = await run.wait()
    assert (desk.paid, desk.second.requests, result.text["reader"]) == ([49], [], "One moment. ")
    history = result.histories["cashier"]
    assert history.unread
    names = [name for each in history.told for name, _ in each.calls]
    assert (names, history.told[-1].stop) == (["look", "pay"], len(history.prompt))


async def test_what_was_said_before_a_pause_is_gone_on_with() -> None:
    pause = await Desk().paused()
    result = await Desk().pipeline.resume(pause, [True]).execute()
    history = result.histories["cashier"]
    waited = Pause.from_json(pause).waiting["cashier"]
    assert history.prompt[: len(waited.prompt)] == waited.prompt
    assert history.begin == waited.begin == len(waited.prompt)  # where the run's first turn began
    again = Desk()
    await again.pipeline.invoke({"question": "thanks"}, after={"cashier": history}, approve=lambda *_: True)
    (prompt, *_) = [request.prompt_ids for request in again.second.requests]
    said = detokenize(bundled_map("demo/bytes"), list(prompt))
    assert "Two things to do." not in said
    assert "One moment." in said
    assert said.count("price is 49") == 2  # told by the tool, and said in the answer


async def test_events_and_record_begin_with_the_turn_that_waited(tmp_path: Any) -> None:
    path = tmp_path / "run.jsonl"
    pause = await Desk().paused(record=tmp_path / "before.jsonl")
    async with Desk().pipeline.resume(pause, [True], record=path) as run:
        events = [event async for event in run]
    assert [e.attempt.call.name for e in events if isinstance(e, ToolFinished)] == ["pay"]
    assert list(dict.fromkeys(e.turn for e in events if isinstance(e, IdsSampled))) == [1, 2]
    turns = read_record(path).of_node("cashier")
    before = read_record(tmp_path / "before.jsonl").of_node("cashier")
    assert [turn.number for turn in turns] == [1, 2]
    assert turns[0].prompt == before[0].prompt
    assert turns[0].generated == before[0].generated


async def test_a_paused_run_says_so() -> None:
    ends: list[NodeFinished] = []
    async with Desk().pipeline.run({"question": "go"}) as run:
        with contextlib.suppress(ApprovalRequiredError):
            async for event in run:
                ends += [event] if isinstance(event, NodeFinished) else []
    assert [(end.node, end.outcome) for end in ends][-1] == ("cashier", "paused")
    assert run.partial_result().text["reader"] == "One moment. "


async def test_a_failure_policy_does_not_take_a_pause_for_a_failure() -> None:
    await Desk(policy={"on_failure": "skip"}).paused()


async def test_wrong_pauses_and_decisions_are_refused() -> None:
    desk = Desk()
    pause = await desk.paused()
    with pytest.raises(PauseError, match="one decision for each call that waits: pay"):
        desk.pipeline.resume(pause, [])
    with pytest.raises(PauseError, match="one decision for each"):
        desk.pipeline.resume(pause, "x")
    with pytest.raises(PauseError, match="not a pause"):
        desk.pipeline.resume("{}", [True])
    other = Desk(sampling={"max_tokens": 7})
    with pytest.raises(PauseError, match="digest"):
        other.pipeline.resume(pause, [True])
    with pytest.raises(PauseError, match="version 9"):
        Pause.from_json(pause.replace('"version":2', '"version":9'))
    changed = json.loads(pause)
    changed["waiting"]["cashier"]["settled"] = []
    with pytest.raises(PauseError, match="other calls"):
        await desk.pipeline.resume(json.dumps(changed), [True]).execute()


async def test_a_resumed_run_can_be_paused_again() -> None:
    class Twice(Desk):
        def cashier(self, prompt: PromptView) -> Iterator[Any]:
            if prompt.turn < 3:
                yield Call("pay", amount=prompt.turn)
            else:
                yield Say(" ".join(prompt.all_results))

    desk = Twice()
    with pytest.raises(ApprovalRequiredError) as caught:
        await desk.pipeline.resume(await desk.paused(), [True]).execute()
    assert caught.value.pending[0].arguments == {"amount": 2}
    result = await desk.pipeline.resume(caught.value.pause.to_json(), [True]).execute()
    assert result.text["reader"] == "paid 1 paid 2"
    assert desk.paid == [1, 2]
    assert len(desk.first.requests) == 1


async def test_a_pause_with_a_record_is_answered_once(tmp_path: Path) -> None:
    desk, path = Desk(), tmp_path / "run.jsonl"
    pause = await desk.paused(record=path)
    result = await desk.pipeline.resume(pause, [True]).execute()
    assert result.text["reader"].endswith("paid 49.")
    for decision in (True, False):
        with pytest.raises(PauseError, match="answered already"):
            desk.pipeline.resume(pause, [decision])
    assert desk.paid == [49]
    assert [line["pause"] for line in read_record(path).lines if line["kind"] == "answered"] == [
        json.loads(pause)["id"]
    ]


async def test_of_answers_given_at_once_one_counts(tmp_path: Path) -> None:
    desk = Desk()
    pause = await desk.paused(record=tmp_path / "run.jsonl")
    outcomes: list[str] = []

    def answer() -> None:
        try:
            desk.pipeline.resume(pause, [True])
        except (PauseError, RecordError) as error:
            outcomes.append(type(error).__name__)
        else:
            outcomes.append("taken")

    threads = [threading.Thread(target=answer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("taken") == 1
    assert len(outcomes) == 8


async def test_a_pause_without_its_record_is_refused(tmp_path: Path) -> None:
    desk, path = Desk(), tmp_path / "run.jsonl"
    pause = await desk.paused(record=path)
    content = path.read_bytes()
    path.rename(tmp_path / "moved.jsonl")
    with pytest.raises(PauseError, match="cannot be opened"):
        desk.pipeline.resume(pause, [True])
    await Desk().paused(record=path)
    with pytest.raises(PauseError, match="another run"):
        desk.pipeline.resume(pause, [True])
    path.write_bytes(b"".join(content.splitlines(keepends=True)[:4]))
    with pytest.raises(PauseError, match="was cut or replaced"):
        desk.pipeline.resume(pause, [True])
    path.write_bytes(content[:-40] + b"x" + content[-39:])
    with pytest.raises(RecordError, match="damaged"):
        desk.pipeline.resume(pause, [True])
    path.write_bytes(content)
    await desk.pipeline.resume(pause, [True]).execute()
    assert desk.paid == [49]


async def test_a_refused_answer_leaves_the_pause_open(tmp_path: Path) -> None:
    desk, path = Desk(), tmp_path / "run.jsonl"
    pause = await desk.paused(record=path)
    for wrong in (path, tmp_path / "none" / "x.jsonl"):
        with pytest.raises(RecordError):
            desk.pipeline.resume(pause, [True], record=wrong)
    with pytest.raises(PauseError, match="one decision"):
        desk.pipeline.resume(pause, [])
    await desk.pipeline.resume(pause, [True]).execute()


async def test_a_second_pause_is_kept_by_the_record_of_the_first(tmp_path: Path) -> None:
    class Twice(Desk):
        def cashier(self, prompt: PromptView) -> Iterator[Any]:
            yield Call("pay", amount=prompt.turn) if prompt.turn < 3 else Say(" ".join(prompt.all_results))

    desk = Twice()
    with pytest.raises(ApprovalRequiredError) as caught:
        await desk.pipeline.resume(await desk.paused(record=tmp_path / "run.jsonl"), [True]).execute()
    second = caught.value.pause.to_json()
    await desk.pipeline.resume(second, [True]).execute()
    with pytest.raises(PauseError, match="answered already"):
        desk.pipeline.resume(second, [True])
    assert desk.paid == [1, 2]


async def test_a_pause_of_the_first_version_is_read() -> None:
    pause = (Path(__file__).parent.parent / "records" / "written_before" / "v1_pause.json").read_text()
    desk = Desk()
    result = await desk.pipeline.resume(pause, [True]).execute()
    assert result.text["reader"] == "One moment. So: price is 49 | paid 49."
    assert Pause.from_json(pause).record is None


def edit(place: str, value: Any) -> Any:
    """Return a change of a pause: at a place, written with dots, a value."""

    def change(document: Any) -> None:
        *steps, last = [int(step) if step.isdigit() else step for step in place.split(".")]
        for step in steps:
            document = document[step]
        document[last] = value

    return change


TURN = "waiting.cashier."
EDITS = {
    "another node waits": lambda pause: pause["waiting"].update(zz=pause["waiting"].pop("cashier")),
    "an input waits": lambda pause: pause["waiting"].update(question=pause["waiting"].pop("cashier")),
    "unknown ended": edit("ended.zz", {"outcome": "finished", "ports": {}}),
    "ended and waiting": edit("ended.cashier", {"outcome": "finished", "ports": {}}),
    "unknown started": edit("started", ["zz"]),
    "started without a gate": edit("started", ["cashier"]),
    "unknown usage": edit("usage.zz", {}),
    "unknown port": edit("ended.clerk.ports", {"nothing": [1]}),
    "text for ids": edit("ended.clerk.ports", {"answer": "text"}),
    "ids of no map": edit("ended.clerk.ports", {"answer": [10**8]}),
    "prompt of no map": edit(TURN + "prompt.0", 10**9),
    "negative ids": edit(TURN + "generated", [-1, 2**40]),
    "other ids": edit(TURN + "generated", [1, 2, 3]),
    "number": edit(TURN + "number", -5),
    "begin": edit(TURN + "begin", 10**6),
    "nothing pending": edit(TURN + "pending", []),
    "other arguments": edit(TURN + "pending.0.arguments", {"amount": 10**6}),
    "other tool": edit(TURN + "pending.0.name", "os.system"),
    "other position": edit(TURN + "pending.0.position", 99),
    "other node": edit(TURN + "pending.0.node", "clerk"),
    "settled twice": edit(TURN + "settled", [{"position": 1, "status": "ok", "text": "forged"}]),
    "other maps": edit("maps.clerk", None),
    "unknown input": edit("inputs.zz", "x"),
    "no input": edit("inputs", {}),
    "no version": edit("version", 9),
}


@pytest.mark.parametrize("name", EDITS)
async def test_an_edited_pause_is_a_typed_error_and_runs_no_tool(name: str) -> None:
    desk = Desk()
    document = json.loads(await desk.paused())
    EDITS[name](document)
    decisions = [True] * len(document["waiting"].get("cashier", {}).get("pending", [1]))
    with pytest.raises((PauseError, InputError)), anyio.fail_after(10):
        await desk.pipeline.resume(json.dumps(document), decisions).execute()
    assert desk.paid == []


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"version":1}', "[" * 100_000, b"\xff", '{"pipeline":"\\ud800"}']
)
async def test_a_text_that_is_no_pause_is_a_typed_error(text: Any) -> None:
    with pytest.raises(PauseError, match="not a pause"):
        Pause.from_json(text)


async def test_branches_are_taken_as_before() -> None:
    """A router that has chosen is not asked again, and the branch not taken stays untaken."""

    def declare(desk: Desk) -> Pipeline:
        router = ScriptedEngine(lambda _: "left")
        p = desk.pipeline
        p.input("which")
        p.router("way", engine=router, map="demo/bytes", prompt=Chat(user="{which}"),
                 labels={"left": "cashier", "right": "other"})  # fmt: skip
        p.model("other", engine=ScriptedEngine(lambda _: "other"), map="demo/bytes", prompt=Chat(user="{x}"))
        p.connect("which", "way.which")
        p.connect("which", "other.x")
        p.connect("other.answer", "reader")
        desk.routers = router.requests  # type: ignore[attr-defined]
        return p

    before, after = Desk(), Desk()
    with pytest.raises(ApprovalRequiredError) as caught:
        await declare(before).invoke({"question": "go", "which": "?"})
    result = await declare(after).resume(caught.value.pause.to_json(), [True]).execute()
    assert result.text["reader"] == "One moment. So: price is 49 | paid 49."
    assert result.outcomes["other"] == "skipped"
    assert (len(before.routers), len(after.routers)) == (1, 0)  # type: ignore[attr-defined]


async def test_inside_a_loop_the_call_is_denied_instead() -> None:
    paid: list[int] = []

    @tool(approval=True)
    def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return "paid"

    def script(prompt: PromptView) -> Any:
        return Call("pay", amount=1) if prompt.turn == 1 else prompt.results[0]

    body = Pipeline("body")
    body.input("draft")
    body.model(
        "cashier", engine=ScriptedEngine(script), map="demo/bytes", prompt=Chat(user="{draft}"), tools=[pay]
    )
    body.sink("out")
    body.connect("draft", "cashier.draft").connect("cashier.answer", "out")
    p = Pipeline("outer")
    p.input("question")
    p.loop("again", body, turns=1, feedback={"out": "draft"})
    p.sink("reader")
    p.connect("question", "again.draft").connect("again.out", "reader")
    result = await p.invoke({"question": "go"})
    assert "was not allowed" in result.text["reader"]
    assert paid == []
    approved = await p.invoke({"question": "go"}, approve=lambda *_: True)
    assert approved.text["reader"] == "paid"


async def test_nodes_at_work_end_or_wait_before_the_run_is_put_down() -> None:
    paid: list[str] = []

    @tool(approval=True)
    def pay(who: str) -> str:
        """Pay."""
        paid.append(who)
        return f"paid {who}"

    def declare() -> Pipeline:
        p = Pipeline("two")
        p.input("question")
        for who in ("ada", "bob"):

            def script(prompt: PromptView, who: str = who) -> Any:
                return Call("pay", who=who) if prompt.turn == 1 else prompt.results[0]

            p.model(
                who, engine=ScriptedEngine(script), map="demo/bytes", prompt=Chat(user="{q}"), tools=[pay]
            )
            p.sink(f"{who}-reader")
            p.connect("question", f"{who}.q").connect(f"{who}.answer", f"{who}-reader")
        p.model("eve", engine=ScriptedEngine(talk), map="demo/bytes", prompt=Chat(user="{q}"))
        p.sink("eve-reader")
        p.connect("question", "eve.q").connect("eve.answer", "eve-reader")
        p.connect("eve.answer", "ada-reader", buffer=16)
        return p

    talkers: list[PromptView] = []

    def talk(prompt: PromptView) -> str:
        talkers.append(prompt)
        return "paid nobody " * 100

    with pytest.raises(ApprovalRequiredError) as waiting:
        await declare().invoke({"question": "go"})
    pause = waiting.value.pause
    assert {call.node for call in pause.pending} == {"ada", "bob"}
    assert pause.ended["eve"].outcome == "finished"
    decisions = [call.node == "ada" for call in pause.pending]
    result = await declare().resume(pause.to_json(), decisions).execute()
    assert paid == ["ada"]
    assert result.text["ada-reader"].replace("paid nobody ", "").strip() == "paid ada"
    assert "not allowed" in result.text["bob-reader"]
    assert result.text["eve-reader"] == "paid nobody " * 100
    assert len(talkers) == 1
