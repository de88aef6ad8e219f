"""How long, how often and how much: for one node, for all, and which of the two holds."""

from __future__ import annotations

import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_agents import Chat, Pipeline
from codec_agents.engines.base import FrameStream, GenerationRequest
from codec_agents.events import GenerationFinished, IdsReceived, NodeFailed, SinkText, ToolFinished
from codec_agents.exceptions import (
    EngineTimeoutError,
    LimitExceededError,
    NodeFailedError,
    RunCancelledError,
)
from codec_agents.plan.nodes import PromptedNode
from codec_agents.runtime.nodes.router import choose, decide
from codec_agents.server.exchanges import Exchange
from codec_agents.testing import (
    Call,
    Cut,
    EmbeddedEngine,
    PromptView,
    Refuse,
    Say,
    ScriptedEngine,
    ScriptedModel,
    Wait,
)
from tests.agents.stopping import LATER, with_second
from tests.timing import happens

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


async def ended_at(engine: EmbeddedEngine) -> Exchange:
    """Return the one generation that a server was asked for, once it has ended there."""
    assert engine.app is not None
    (exchange,) = engine.app.exchanges.generations
    await happens(exchange.over)
    return exchange


ONCE = {"attempts": 1}


def one(script: Any, *, whole: Any = None, policy: Any = None, **fields: Any) -> Pipeline:
    """Declare one model, under a policy of its own and one of the pipeline."""
    engine = script if isinstance(script, EmbeddedEngine | ScriptedEngine) else ScriptedEngine(script)
    p = Pipeline("one", policy=whole).input("q").sink("out")
    fields = {"prompt": Chat(user="{text}"), "map": "demo/bytes", **fields}
    p.model("m", engine=engine, policy=policy, **fields)
    return p.connect("q", "m").connect("m", "out")


SILENCES = {
    "first_id": [Wait(30), Say("late")],
    "idle": [Say("a"), Wait(30), Say("late")],
    "whole": [Say("a"), *[each for _ in range(40) for each in (Wait(0.05), Say("b"))]],
}


@pytest.mark.parametrize("phase", SILENCES)
@pytest.mark.parametrize("level", [pytest.param("pipeline", marks=pytest.mark.slow), "node", "both"])
async def test_each_time_out_holds_for_a_node_and_for_all(phase: str, level: str) -> None:
    engine = EmbeddedEngine(ScriptedModel(script=lambda _: SILENCES[phase]), name="desk")
    short, long = ({"timeouts": {phase: seconds}, "retry": ONCE} for seconds in (0.2, 60))
    whole = {"pipeline": short, "node": None, "both": long}[level]
    p = one(engine, whole=whole, policy=None if level == "pipeline" else short)
    try:
        await engine.start()
        with anyio.fail_after(10), pytest.raises(NodeFailedError) as caught:
            await p.invoke({"q": "go"})
    finally:
        await engine.aclose()
    assert isinstance(caught.value.cause, EngineTimeoutError)
    assert (caught.value.cause.phase, caught.value.cause.seconds) == (phase, 0.2)
    assert caught.value.cause.transient == (phase != "whole")


@pytest.mark.parametrize("level", ["whole", "policy"])
async def test_the_time_of_a_tool_is_policy(level: str) -> None:
    async def slow() -> str:
        """Never answer."""
        await anyio.sleep_forever()
        return ""

    def script(prompt: PromptView) -> Any:
        return Call("slow") if prompt.turn == 1 else prompt.results[0]

    p = one(script, tools=[slow], **{level: {"timeouts": {"tool": 0.05}}})
    with anyio.fail_after(5):
        async with p.run({"q": "go"}) as run:
            attempts = [event.attempt async for event in run if isinstance(event, ToolFinished)]
    assert [attempt.status for attempt in attempts] == ["timeout"]
    assert "0.05" in run.result.text["out"]


def calling(_: PromptView) -> Any:
    return [Say("once more "), Call("look")]


def look() -> str:
    """Look."""
    return "seen"


LIMITS: dict[str, tuple[Any, float]] = {
    "turns": (calling, 2),
    "tool_calls": (calling, 2),
    "max_ids": (lambda _: "word " * 100, 10),
    "wall": (lambda _: [Say("a"), Wait(30)], 0.05),
}


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("level", ["whole", "policy"])
async def test_each_limit_ends_a_node_with_its_name_and_what_was_delivered(limit: str, level: str) -> None:
    script, allowed = LIMITS[limit]
    p = one(script, tools=[look], **{level: {"limits": {limit: allowed}}})
    run = p.run({"q": "go"})
    with anyio.fail_after(5), pytest.raises(LimitExceededError) as caught:
        await run.execute()
    assert (caught.value.node, caught.value.limit, caught.value.allowed) == ("m", limit, allowed)
    delivered = run.partial_result()
    assert delivered.text["out"]
    assert caught.value.delivered == len(delivered.ids["out"])
    assert f"policy.limits.{limit}" in str(caught.value)


async def test_what_the_caller_asked_for_is_no_limit() -> None:
    result = await one(lambda _: "word " * 100, sampling={"max_tokens": 10}).invoke({"q": "go"})
    assert (result.usage["m"].generated_ids, result.outcomes["m"]) == (10, "finished")


@pytest.mark.parametrize("kind", ["router", "async function", "function"])
async def test_the_wall_time_of_a_router_or_a_function_is_kept(kind: str) -> None:
    policy, let_go = {"limits": {"wall": 0.05}}, threading.Event()

    def wait_in_thread(value: str) -> str:
        let_go.wait(30)
        return value

    p = Pipeline("slow").input("q").sink("out")
    if kind == "router":
        engine = ScriptedEngine(lambda _: [Wait(30), Say("yes")])
        labels = {"yes": "echo", "no": "echo"}
        p.router("n", engine=engine, map="demo/bytes", prompt=Chat(user="{x}"), labels=labels, policy=policy)
        p.function("echo", lambda value: value, wants="text").connect("q", "n").connect("q", "echo")
        p.connect("echo", "out")
    else:
        call = wait_async if kind == "async function" else wait_in_thread
        p.function("n", call, wants="text", policy=policy).connect("q", "n").connect("n", "out")
    try:
        with anyio.fail_after(5), pytest.raises(LimitExceededError) as caught:
            await p.invoke({"q": "go"})
    finally:
        let_go.set()
    assert (caught.value.node, caught.value.limit) == ("n", "wall")


async def wait_async(value: str) -> str:
    await anyio.sleep(30)
    return value


@pytest.mark.parametrize("on_failure", ["skip", "fallback"])
async def test_a_limit_is_a_failure_that_a_policy_can_take_care_of(on_failure: str) -> None:
    policy = {"limits": {"turns": 1}, "on_failure": on_failure}
    p = one(calling, tools=[look], policy=policy).sink("spare")
    said = ScriptedEngine(lambda prompt: f"rescued after: {prompt.user}")
    p.model("rescue", engine=said, map="demo/bytes", prompt=Chat(user="{heard}"))
    if on_failure == "fallback":
        p.connect("m", "rescue", fallback=True)
    else:
        p.connect("q", "rescue")
    result = await p.connect("rescue", "spare").invoke({"q": "go"})
    assert result.outcomes["m"] == "limited"
    assert result.text["spare"] == f"rescued after: {'once more ' if on_failure == 'fallback' else 'go'}"


PARTS = [(kind, policy) for kind in ("map", "loop") for policy in ("fail", "skip", "fallback")]


@pytest.mark.parametrize(("kind", "on_failure"), [*PARTS, ("pipeline", "fail"), ("pipeline", "skip")])
async def test_what_happens_when_a_part_fails_is_said_at_the_node_that_it_is_in(
    kind: str, on_failure: str
) -> None:
    body = Pipeline("body").input("x").sink("y", text=False)
    bad = ScriptedEngine(lambda prompt: Refuse(400, "no") if "bad" in prompt.user else "good")
    body.model("m", engine=bad, map="demo/bytes", prompt=Chat(user="{x}")).connect("x", "m").connect("m", "y")
    p = Pipeline("outer").input("q").sink("out").sink("spare")
    policy = {"on_failure": on_failure, "retry": ONCE}
    if kind == "map":
        p.map("part", body, policy=policy, parallel=1)
    elif kind == "loop":
        p.loop("part", body, turns=1, policy=policy)
    else:
        p.pipeline("part", body, policy=policy)
    p.model("rescue", engine=ScriptedEngine(lambda _: "rescued"), map="demo/bytes", prompt=Chat(user="{x}"))
    p.connect("q", "part").connect("part", "out").connect("rescue", "spare")
    p.connect("part" if on_failure == "fallback" else "q", "rescue", fallback=on_failure == "fallback")
    if on_failure == "fail":
        with pytest.raises(NodeFailedError, match="'part"):
            await p.invoke({"q": "good\nbad"})
        return
    result = await p.invoke({"q": "good\nbad"})
    assert result.text["spare"] == "rescued"
    assert result.outcomes["part/m" if kind == "pipeline" else "part"] == "failed"
    sound = await p.invoke({"q": "good"})
    assert sound.text["out"] == "good"
    assert sound.text["spare"] == ("" if on_failure == "fallback" else "rescued")


async def test_a_node_without_a_fallback_edge_fails_the_run() -> None:
    """Although all nodes are told to take theirs."""
    refusing = ScriptedEngine(lambda prompt: Refuse(400, "no") if "bad" in prompt.user else "well")
    p = (
        Pipeline("two", policy={"on_failure": "fallback"})
        .input("first")
        .input("second")
        .sink("out")
        .sink("spare")
    )
    for name in ("first", "second"):
        p.model(f"of_{name}", engine=refusing, map="demo/bytes", prompt=Chat(user="{x}"))
        p.connect(name, f"of_{name}").connect(f"of_{name}", "out")
    p.function("rescue", lambda value: f"rescued {value}", wants="text")
    p.connect("of_first", "rescue", fallback=True).connect("rescue", "spare")
    result = await p.invoke({"first": "bad", "second": "good"})
    assert result.text == {"out": "well", "spare": "rescued "}
    with pytest.raises(NodeFailedError, match="of_second"):
        await p.invoke({"first": "good", "second": "bad"})


@pytest.mark.parametrize("kind", ["function", "router", "join", "map items", "loop until"])
@pytest.mark.parametrize("on_failure", ["skip", "fallback"])
async def test_every_kind_of_node_may_fail_and_the_run_goes_on(kind: str, on_failure: str) -> None:
    def broken(value: Any) -> Any:
        raise LookupError("no such thing")

    same = Pipeline("same").input("x").sink("y", text=False)
    same.function("f", lambda x: x, inputs=["x"], map="demo/bytes").connect("x", "f").connect("f", "y")
    policy = {"on_failure": on_failure}
    p = Pipeline("broken").input("q").sink("out").sink("spare")
    match kind:
        case "function":
            p.function("n", broken, wants="text", policy=policy)
        case "router":
            labels = {"yes": "echo", "no": "echo"}
            said = ScriptedEngine(lambda _: "neither")
            p.router(
                "n", engine=said, map="demo/bytes", prompt=Chat(user="{x}"), labels=labels, policy=policy
            )
            p.function("echo", lambda value: value, wants="text").connect("q", "echo").connect("echo", "out")
        case "join":
            p.join("n", until=broken, map="demo/bytes", policy=policy)
        case "map items":
            p.map("n", same, items=broken, policy=policy)
        case "loop until":
            p.loop("n", same, turns=3, until=broken, policy=policy)
    p.model("rescue", engine=ScriptedEngine(lambda _: "rescued"), map="demo/bytes", prompt=Chat(user="{x}"))
    p.connect("q", "n").connect("rescue", "spare")
    if kind != "router":
        p.connect("n", "out")
    p.connect("n" if on_failure == "fallback" else "q", "rescue", fallback=on_failure == "fallback")
    with anyio.fail_after(5):
        result = await p.invoke({"q": "go"})
    assert (result.text["out"], result.text["spare"]) == ("", "rescued")
    assert result.outcomes["n"] == "failed"


async def test_requests_at_once_are_counted_for_each_engine_over_all_its_nodes() -> None:
    class Counting(ScriptedEngine):
        """Note how many streams are open at most."""

        most = 0

        def stream(self, request: Any) -> Any:
            return Noting(self, super().stream(request))

    first, second = (Counting(lambda _: [Say("a"), Wait(0.02), Say("b")]) for _ in range(2))
    p = Pipeline("many", policy={"concurrency": 2}).input("q")
    for number in range(8):
        engine = first if number % 2 else second
        p.model(f"m{number}", engine=engine, map="demo/bytes", prompt=Chat(user="{text}"))
        p.sink(f"out{number}").connect("q", f"m{number}").connect(f"m{number}", f"out{number}")
    result = await p.invoke({"q": "go"})
    assert set(result.text.values()) == {"ab"}
    assert (first.most, second.most) == (2, 2)


async def test_of_nodes_that_bound_the_requests_to_one_engine_the_lowest_bound_holds() -> None:
    p, engine = Pipeline("three").input("q"), ScriptedEngine(lambda _: "said")
    for name, bound in (("wide", 3), ("narrow", 1), ("other", 2)):
        policy = {"concurrency": bound}
        p.model(name, engine=engine, map="demo/bytes", prompt=Chat(user="{text}"), policy=policy)
        p.sink(f"{name}_out").connect("q", name).connect(name, f"{name}_out")
    nodes = [node for node in p.build().nodes.values() if isinstance(node, PromptedNode)]
    assert [node.engine_slots and node.engine_slots.total_tokens for node in nodes] == [1, 1, 1]


class Noting:
    def __init__(self, engine: Any, stream: Any) -> None:
        self._engine, self._stream = engine, stream

    async def __aenter__(self) -> Any:
        stream = await self._stream.__aenter__()
        self._engine.most = max(self._engine.most, self._engine.open_streams)
        return stream

    async def __aexit__(self, *error: object) -> Any:
        return await self._stream.__aexit__(*error)


@pytest.mark.parametrize("level", ["whole", "policy"])
async def test_a_policy_says_what_is_tried_again(level: str) -> None:
    asked: list[int] = []

    def script(_: PromptView) -> Any:
        asked.append(1)
        return Refuse(503, "busy") if len(asked) < 3 else "at last"

    retry = {"attempts": 3, "initial": 0.0, "max": 0.0}
    result = await one(script, **{level: {"retry": retry}}).invoke({"q": "go"})
    assert (result.text["out"], result.usage["m"].retries) == ("at last", 2)
    asked.clear()
    with pytest.raises(NodeFailedError, match="503"):
        await one(script, **{level: {"retry": {**retry, "on": ["connect"]}}}).invoke({"q": "go"})
    assert len(asked) == 1


async def test_a_retry_that_has_nothing_yet_begins_again_with_the_same_prompt() -> None:
    prompts: list[tuple[int, ...]] = []

    def script(prompt: PromptView) -> Iterator[Any]:
        prompts.append(tuple(prompt.ids))
        if len(prompts) == 1:
            yield Cut()
        else:
            yield Say("well")

    policy = {"retry": {"attempts": 2, "initial": 0.0, "max": 0.0}}
    result = await one(script, policy=policy).invoke({"q": "go"})
    assert result.text["out"] == "well"
    assert prompts[0] == prompts[1]


# --- leaving ---


async def test_cancelling_now_stops_the_server_and_keeps_a_valid_prefix() -> None:
    engine = EmbeddedEngine(ScriptedModel(script=lambda _: "word " * 400, ids_a_second=200), name="desk")
    try:
        async with one(engine).run({"q": "go"}) as run:
            await anext(run.text("out"))
            run.cancel()
            with pytest.raises(RunCancelledError):
                await run.wait()
        exchange = await ended_at(engine)
    finally:
        await engine.aclose()
    assert exchange.closed_by_client is not None
    assert ("word " * 400).startswith(run.partial_result().text["out"])
    delivered = run.partial_result().ids["out"]
    assert delivered == list(exchange.ids[: len(delivered)])


async def test_a_run_that_is_cancelled_before_it_begins_runs_nothing() -> None:
    ran: list[str] = []

    def note(value: str) -> str:
        ran.append(value)
        return value

    p = Pipeline("noting").input("q").sink("out").sink("too").function("f", note, wants="text")
    p.function("g", note, wants="text").join("first", first=1)
    p.connect("q", "f").connect("q", "g").connect("f", "first").connect("g", "first")
    async with p.connect("first", "out").connect("f", "too").run({"q": "go"}) as run:
        run.cancel()
        with anyio.fail_after(5), pytest.raises(RunCancelledError):
            await run.wait()
    assert ran == []


async def test_cancelling_after_the_turn_runs_no_tool_and_asks_no_further_turn() -> None:
    ran: list[str] = []

    def look() -> str:
        """Look."""
        ran.append("look")
        return "seen"

    p = one(lambda _: [Say("looking "), Wait(0.05), Call("look")], tools=[look])
    async with p.run({"q": "go"}) as run:
        await anext(run.text("out"))
        run.cancel(after="turn")
        result = await run.wait()
    assert result.text["out"] == "looking "
    assert (result.usage["m"].turns, ran, result.outcomes["m"]) == (1, [], "finished")


@pytest.mark.parametrize("kind", ["model", "router", "loop", "map"])
async def test_cancelling_after_the_turn_begins_nothing_that_asks_a_model(kind: str) -> None:
    asked: list[str] = []

    def script(prompt: PromptView) -> Any:
        asked.append(prompt.user.strip())
        return [Say("one\n"), LATER, Say("two\nthree")]

    p = with_second(kind, script)
    async with p.run({"q": "go"}) as run:
        await anext(run.text("out"))
        run.cancel(after="turn")
        with anyio.fail_after(5):
            result = await run.wait()
    assert result.text["out"] == "one\ntwo\nthree"
    assert result.text["late"] == ""
    assert asked[0] == "go"
    assert len(asked) <= (2 if kind == "map" else 1), "an item may have begun"


async def test_leaving_a_run_ends_its_tools() -> None:
    started, ended = anyio.Event(), anyio.Event()

    async def look() -> str:
        """Look for ever."""
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()
        return ""

    with anyio.fail_after(5):
        async with one(calling, tools=[look]).run({"q": "go"}):
            await started.wait()
    assert ended.is_set()


async def test_the_losers_of_a_join_by_predicate_are_stopped_at_their_server() -> None:
    asked = threading.Event()

    def speak(_: PromptView) -> str:
        asked.set()
        return "word " * 400

    slow = EmbeddedEngine(ScriptedModel(script=speak, ids_a_second=100), name="slow")
    told: list[dict[str, Any]] = []

    def long_enough(ended: dict[str, Any]) -> bool:
        told.append(dict(ended))
        return any(len(ids) > 3 for ids in ended.values())

    p = Pipeline("race").input("q").sink("out").join("enough", until=long_enough, map="demo/bytes")
    engines = {"brief": ScriptedEngine(lambda _: "no"), "good": AfterThat(asked, "a good answer, and 12345")}
    for name, engine in {**engines, "slow": slow}.items():
        p.model(name, engine=engine, map="demo/bytes", prompt=Chat(user="{text}"))
        p.connect("q", name).connect(name, "enough", separator=" | ")
    try:
        await slow.start()
        result = await p.connect("enough", "out").invoke({"q": "go"})
        exchange = await ended_at(slow)
    finally:
        await slow.aclose()
    assert result.text["out"] == "no | a good answer, and 12345"
    assert [set(ended) for ended in told] == [{"brief.answer"}, {"brief.answer", "good.answer"}]
    assert exchange.closed_by_client is not None
    assert result.outcomes["slow"] == "cancelled"


async def test_a_join_of_text_is_told_text() -> None:
    told: list[dict[str, str]] = []

    def enough(ended: dict[str, str]) -> bool:
        told.append(dict(ended))
        return "GO" in ended.values()

    p = Pipeline("text").input("q").sink("out").join("first", until=enough)
    p.function("up", lambda value: value.upper(), wants="text").function("never", wait_async, wants="text")
    p.connect("q", "up").connect("q", "never").connect("up", "first").connect("never", "first")
    with anyio.fail_after(5):
        result = await p.connect("first", "out").invoke({"q": "go"})
    assert (result.text["out"], told) == ("GO", [{"up.value": "GO"}])


class AfterThat(ScriptedEngine):
    """Says a text after something has happened in another thread."""

    def __init__(self, event: threading.Event, text: str) -> None:
        super().__init__(lambda _: text)
        self._event = event

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:  # type: ignore[override]
        await happens(self._event)
        async with super().stream(request) as frames:
            yield frames


LABELS = {name: name.encode() for name in ("yes", "no", "note", "billing", "bill", "bin", "é")}


@given(
    answer=st.text(alphabet="yesnotbilgé N,", max_size=9) | st.sampled_from(sorted(LABELS)),
    cuts=st.lists(st.integers(1, 4), min_size=1, max_size=4),
)
def test_however_an_answer_is_cut_it_decides_for_the_same_label(answer: str, cuts: list[int]) -> None:
    ids = [bytes([byte]) for byte in answer.encode()]
    whole = decide(ids, LABELS, ended=True)
    seen = 0
    for size in itertools.cycle(cuts):
        seen += size
        decided = decide(ids[:seen], LABELS, ended=False)
        if decided[0] or seen >= len(ids):
            break
    assert decided == whole or (not decided[0] and decide(ids, LABELS, ended=True) == whole)


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        (" Yes, sure", "yes"),
        ("bill", "bill"),
        ("bill it", "bill"),
        ("billi", "bill"),
        ("billin", "bill"),
        ("billing it", "billing"),
        ("b", None),
        ("", None),
        ("maybe", None),
        ("note", "note"),
        ("no", "no"),
    ],
)
def test_the_label_of_an_answer(answer: str, label: str | None) -> None:
    assert decide([bytes([byte]) for byte in answer.encode()], LABELS, ended=True) == (True, label)


async def test_each_id_of_an_answer_that_does_not_decide_is_read_twice_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model that is caught in white space must not hold up the other runs of its event loop."""
    read: list[bytes] = []

    def counted(seen: bytes, *arguments: Any, **fields: Any) -> Any:
        read.append(seen)
        return choose(seen, *arguments, **fields)

    monkeypatch.setattr("codec_agents.runtime.nodes.router.choose", counted)
    p = Pipeline("route").input("q").sink("out").function("then", lambda value: value, wants="text")
    engine = ScriptedEngine(lambda _: Say("\n" * 100))
    p.router(
        "r", engine=engine, map="demo/bytes", prompt=Chat(user="{q}"), labels={"a": "then"}, default="then"
    )
    await p.connect("q", "r").connect("q", "then").connect("then", "out").invoke({"q": "go"})
    assert 100 <= len(read) <= 2 * 100 + 1
    assert set(read) == {b""}


async def test_a_router_stops_its_model_as_soon_as_the_label_is_told_apart() -> None:
    said = "billing, because " + "of this and that " * 100
    engine = EmbeddedEngine(ScriptedModel(script=lambda _: said, ids_a_second=300), name="desk")
    p = Pipeline("routed").input("q").sink("out")
    labels = {"billing": "clerk", "bill": "clerk", "sales": "clerk"}
    p.router("desk", engine=engine, map="demo/bytes", prompt=Chat(user="{text}"), labels=labels)
    p.model("clerk", engine=ScriptedEngine(lambda _: "done"), map="demo/bytes", prompt=Chat(user="{text}"))
    p.connect("q", "desk").connect("q", "clerk").connect("clerk", "out")
    try:
        result = await p.invoke({"q": "go"})
        exchange = await ended_at(engine)
    finally:
        await engine.aclose()
    assert result.text["out"] == "done"
    assert exchange.closed_by_client is not None
    assert result.usage["desk"].generated_ids < 20


# --- what a run tells ---


async def test_events_of_a_turn_with_a_tool_come_in_the_order_of_what_happens() -> None:
    def script(prompt: PromptView) -> Any:
        return [Say("I look. "), Call("look")] if prompt.turn == 1 else "seen"

    async with one(script, tools=[look]).run({"q": "go"}) as run:
        events = [event async for event in run]
    names = [type(event).__name__ for event in events]
    compact = [name for name, before in zip(names, [None, *names], strict=False) if name != before]
    order = [name for name in compact if not name.startswith(("Ids", "Sink", "Handoff"))]
    assert order == [
        "RunStarted",
        "NodeStarted",
        "GenerationStarted",
        "GenerationFinished",
        "ToolStarted",
        "ToolFinished",
        "GenerationStarted",
        "GenerationFinished",
        "NodeFinished",
        "RunFinished",
    ]
    assert [event.at for event in events] == sorted(event.at for event in events)
    result = run.result
    ports: dict[str, list[int]] = {"answer": [], "tool_calls": []}
    for event in events:
        if isinstance(event, IdsReceived):
            ports[event.port] += event.ids
    assert ports["answer"] == result.ids["out"]
    sampled = sum(len(event.generated_ids) for event in events if isinstance(event, GenerationFinished))
    assert sampled == result.usage["m"].generated_ids
    assert "".join(event.text for event in events if isinstance(event, SinkText)) == result.text["out"]
    assert (result.usage["m"].turns, result.usage["m"].tool_calls) == (2, 1)
    assert result.outcomes["m"] == "finished"
    assert result.seconds >= events[-1].at


async def test_a_failure_is_told_before_the_events_end_with_it() -> None:
    told: list[Any] = []
    with pytest.raises(NodeFailedError, match="no"):
        await read(one(lambda _: Refuse(400, "no")).run({"q": "go"}), told)
    assert isinstance(told[-1], NodeFailed)
    assert told[-1].node == "m"


async def read(run: Any, told: list[Any]) -> None:
    """Read all events of a run."""
    async with run:
        async for event in run:
            told.append(event)  # noqa: PERF401 - those before an error are kept, too


async def test_it_runs_inside_a_loop_that_runs_already() -> None:
    """As in a notebook."""
    assert one(lambda _: "well").invoke_sync({"q": "go"}).text["out"] == "well"


async def test_sinks_write_to_files_and_to_standard_output_as_the_ids_come(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[str] = []
    p = one(lambda _: "a few words")
    p.sink("file", file=tmp_path / "said.txt").sink("ids", text=False, file=tmp_path / "said.jsonl")
    p.sink("screen", to="stdout").sink("ear", call=heard.append)
    for name in ("file", "ids", "screen", "ear"):
        p.connect("m", name)
    async with p.run({"q": "go"}) as run:
        followed = [piece async for piece in run.text("out")]
        result = await run.wait()
    assert (tmp_path / "said.txt").read_text() == capsys.readouterr().out == "a few words"
    assert "".join(heard) == "".join(followed) == "a few words"
    lines = (tmp_path / "said.jsonl").read_text().splitlines()
    assert [token for line in lines for token in map(int, line.strip("[]").split(","))] == result.ids["ids"]
