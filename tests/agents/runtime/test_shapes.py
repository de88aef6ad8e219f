"""Graph shapes: what runs, in what order, and that neither frame cuts nor delays change the result."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from codec_agents import Chat, Pipeline
from codec_agents.events import NodeFailed, NodeFinished, NodeStarted
from codec_agents.exceptions import InputError, LimitExceededError, NodeFailedError, RouteError
from codec_agents.testing import Cut, PromptView, Refuse, Say, ScriptedEngine, ScriptedModel, Wait
from codec_agents.vocabularies import bundled_map

pytestmark = pytest.mark.anyio
BACKENDS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])

MAPS = ("demo/bytes", "demo/words")
FAIL = {"retry": {"attempts": 1}}


def engine(script: Any, seed: int = 0) -> ScriptedEngine:
    """Return an engine whose frames are cut at random, and come at a pace that the seed draws."""
    pace = random.Random(seed).choice([None, 3000.0, 20_000.0])
    return ScriptedEngine(ScriptedModel(script=script, ids_a_frame=(1, 7), seed=seed, ids_a_second=pace))


def hesitating(text: str, draw: random.Random) -> list[Any]:
    """Say a text between pauses; the pace of the engine makes more of them, between its frames."""
    return [Wait(pause(draw)), Say(text), Wait(pause(draw))]


def pause(draw: random.Random) -> float:
    """Draw a number of seconds: none at all, or a few milliseconds."""
    return draw.choice([0.0, draw.random() * 0.004])


def echo(name: str, seed: int = 0) -> ScriptedEngine:
    """Return a model that says its name around what it is told, with the pauses that the seed draws."""
    draw = random.Random(f"{name}{seed}")
    return engine(lambda prompt: hesitating(f"{name}({prompt.user.strip()})", draw), seed)


def model(
    p: Pipeline, name: str, *, said_by: ScriptedEngine | None = None, seed: int = 0, **fields: Any
) -> None:
    """Add a model that echoes its one slot."""
    map_id = MAPS[len(p.spec.nodes) % 2]
    fields = {"prompt": Chat(user="{text}"), "map": map_id, "model": name, **fields}
    p.model(name, engine=said_by or echo(name, seed), **fields)


def chain(seed: int) -> Pipeline:
    p = Pipeline("chain").input("q").sink("out")
    for name in "abc":
        model(p, name, seed=seed)
    return p.connect("q", "a").connect("a", "b").connect("b", "c").connect("c", "out")


def diamond(seed: int) -> Pipeline:
    p = Pipeline("diamond").input("q").sink("out")
    for name in "abc":
        model(p, name, seed=seed)
    model(p, "d", seed=seed, prompt=Chat(user="{left}+{right}"))
    p.connect("q", "a").connect("a", "b").connect("a", "c")
    return p.connect("b", "d.left").connect("c", "d.right").connect("d", "out")


def several_into_one_slot(seed: int) -> Pipeline:
    p = Pipeline("several").input("q").sink("out")
    for name in "abc":
        model(p, name, seed=seed)
    p.connect("q", "a").connect("q", "b")
    return p.connect("a", "c", separator="!").connect("b", "c", separator=";").connect("c", "out")


def nested(seed: int) -> Pipeline:
    inner = Pipeline("inner").input("x").sink("y", text=False)
    model(inner, "m", seed=seed)
    inner.connect("x", "m").connect("m", "y")
    p = Pipeline("nested").input("q").sink("out").pipeline("box", inner)
    model(p, "z", seed=seed)
    return p.connect("q", "box").connect("box", "z").connect("z", "out")


def map_over(p: Pipeline, source: str, seed: int = 0) -> Pipeline:
    """Add a model that runs for each line that a node gives."""
    each = Pipeline("each").input("item").sink("said", text=False)
    model(each, "m", seed=seed)
    each.connect("item", "m").connect("m", "said")
    p.map("each", each, parallel=2, separator=", ")
    return p.connect(source, "each").connect("each", "out")


def mapped(seed: int) -> Pipeline:
    p = Pipeline("mapped").input("q").sink("out")
    model(p, "lister", said_by=engine(lambda _: "one\ntwo\n\nthree", seed))
    return map_over(p.connect("q", "lister"), "lister", seed)


def looped(seed: int) -> Pipeline:
    def script(prompt: PromptView) -> Any:
        said = prompt.user.strip()
        return f"stop {said}" if said.count("x") >= 3 else f"{said}x"

    body = Pipeline("body").input("draft").sink("next", text=False)
    model(body, "m", said_by=engine(script, seed))
    body.connect("draft", "m").connect("m", "next")
    p = Pipeline("looped").input("q").sink("out")
    p.loop("again", body, turns=9, feedback={"next": "draft"}, until={"sink": "next", "starts_with": "stop"})
    return p.connect("q", "again").connect("again", "out")


def functions(seed: int) -> Pipeline:
    draw = random.Random(seed)

    def shout(value: str) -> str:
        return value.upper()

    async def reverse(value: Sequence[int]) -> list[int]:
        await anyio.sleep(pause(draw))
        return list(value)[::-1]

    p = Pipeline("functions").input("q").sink("out").sink("ids", text=False)
    model(p, "a", seed=seed)
    p.function("shout", shout, wants="text").function("reverse", reverse)
    p.connect("q", "a").connect("a", "shout").connect("a", "reverse")
    return p.connect("shout", "out").connect("reverse", "ids")


def race(seed: int) -> Pipeline:
    p = Pipeline("race").input("q").sink("out")
    model(p, "quick", seed=seed)
    model(p, "slow", said_by=engine(lambda _: [Say("never"), Wait(60), Say("!")], seed), map=MAPS[0])
    p.join("first", first=1, map=MAPS[0])
    p.connect("q", "quick").connect("q", "slow").connect("quick", "first").connect("slow", "first")
    return p.connect("first", "out")


def no_items(seed: int) -> Pipeline:
    p = Pipeline("empty").input("q").sink("out")
    model(p, "lister", said_by=engine(lambda _: hesitating("  \n \n", random.Random(seed)), seed))
    return map_over(p.connect("q", "lister"), "lister", seed)


def undecided(seed: int) -> Pipeline:
    return routed("no idea", default="helper", seed=seed)


def failing_branch(seed: int) -> Pipeline:
    p = failing("fallback", seed).sink("spare")
    model(p, "rescue", prompt=Chat(user="{text}{heard}"), seed=seed)
    return (
        p.connect("q", "rescue.text").connect("bad", "rescue.heard", fallback=True).connect("rescue", "spare")
    )


def slow_sink(seed: int) -> Pipeline:
    """One of two readers lags, behind edges that hold next to nothing."""
    draw = random.Random(seed)
    heard: list[str] = []

    async def listen(piece: str) -> None:
        heard.append(piece)
        await anyio.sleep(pause(draw))

    p = Pipeline("slow").input("q").sink("out").sink("lagging", call=listen)
    for name in "ab":
        model(p, name, seed=seed)
    p.connect("q", "a").connect("a", "b", buffer=1).connect("a", "lagging", buffer=1)
    return p.connect("b", "out", buffer=2)


SHAPES: Mapping[str, tuple[Any, dict[str, str], list[str]]] = {
    "chain": (chain, {"out": "c(b(a(q)))"}, ["+a -a +b -b +c -c"]),
    "diamond": (diamond, {"out": "d(b(a(q))+c(a(q)))"}, ["+a -a +b -b +d -d", "-a +c -c +d"]),
    "several into one slot": (several_into_one_slot, {"out": "c(a(q);b(q))"}, ["+a -a +c -c", "+b -b +c"]),
    "nested": (nested, {"out": "z(m(q))"}, ["+box/m -box/m +z -z"]),
    "map": (
        mapped,
        {"out": "m(one), m(two), m(three)"},
        [
            "+lister +each +each[0]/m -each[0]/m -each",
            "+each +each[1]/m -each[1]/m -each",
            "-lister +each[2]/m -each[2]/m -each",
        ],
    ),
    "map with zero items": (no_items, {"out": ""}, ["+lister -lister -each"]),
    "loop": (
        looped,
        {"out": "stop qxxx"},
        [
            "+again +again[0]/m -again[0]/m +again[1]/m -again[1]/m",
            "-again[1]/m +again[2]/m -again[2]/m +again[3]/m -again[3]/m -again",
        ],
    ),
    "function": (functions, {"out": "A(Q)"}, ["+a -a +shout -shout", "-a +reverse -reverse"]),
    "race": (race, {"out": "quick(q)"}, ["+quick -quick +first -first", "+slow +first"]),
    "router default": (
        undecided,
        {"bills": "", "sales": "", "other": "helper(q)"},
        ["+desk -desk +helper -helper", "+desk ~biller ~bills", "+desk ~seller ~sales"],
    ),
    "failing branch": (
        failing_branch,
        {"out": "", "spare": "rescue(q)"},
        ["+bad !bad +rescue -rescue", "!bad ~after ~out"],
    ),
    "slow sink": (slow_sink, {"out": "b(a(q))", "lagging": "a(q)"}, ["+a -a +b -b"]),
}
"""What each shape gives, and in which order: `+` a node begins, `-` ends, `!` fails, `~` is skipped."""

STOPPED = {"slow", "desk"}
"""Models that are stopped early: how much they have said by then is a matter of the frames."""

SIGNS = {NodeStarted: "+", NodeFinished: "-", NodeFailed: "!"}


def sign(event: Any) -> str:
    """Write an event of a node as the table does."""
    if isinstance(event, NodeFinished) and event.outcome == "skipped":
        return f"~{event.node}"
    return f"{SIGNS[type(event)]}{event.node}"


@BACKENDS
@pytest.mark.parametrize("shape", SHAPES)
async def test_cuts_and_delays_change_neither_the_results_nor_the_order_of_events(shape: str) -> None:
    make, expected, orders = SHAPES[shape]
    results = []
    for seed in range(8):
        async with make(seed).run({"q": "q"}) as run:
            told = [sign(event) async for event in run if type(event) in SIGNS]
            result = run.result
        assert {name: spaced(text) for name, text in result.text.items()} == {
            name: spaced(text) for name, text in expected.items()
        }
        assert sorted(told) == sorted({each for order in orders for each in order.split()}), (
            "each of them once"
        )
        for order in orders:
            steps = order.split()
            assert [each for each in told if each in steps] == steps
        ids = {name: usage.generated_ids for name, usage in result.usage.items() if name not in STOPPED}
        results.append((result.ids, result.outcomes, ids))
    for each in results:
        assert each == results[0]


def spaced(text: str) -> str:
    """Leave out white space: how words are spaced is a matter of each map."""
    return "".join(text.split())


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    "shape",
    [
        shape if shape in ("diamond", "loop", "map") else pytest.param(shape, marks=pytest.mark.slow)
        for shape in SHAPES
        if shape != "failing branch"
    ],
)
async def test_a_run_that_is_over_is_freed_without_the_garbage_collector(shape: str) -> None:
    """A service that runs all day frees each run as it ends, and is not held up to look for cycles.

    An error is another matter: its traceback holds all that was at work.
    """
    p = SHAPES[shape][0](0)
    for _ in range(2):  # what is made once is made by then
        await p.invoke({"q": "q"})
    with collected_garbage() as garbage:
        await p.invoke({"q": "q"})
        async with p.run({"q": "q"}) as run:
            async for _ in run:
                pass
        del run
    assert [each for each in garbage if type(each).__module__.startswith("codec_")] == []


@contextmanager
def collected_garbage() -> Iterator[list[Any]]:
    """Return what only the garbage collector would have freed, once the body is over."""
    garbage: list[Any] = []
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield garbage
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        garbage += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.enable()


@BACKENDS
async def test_events_of_a_chain_come_in_order() -> None:
    async with chain(0).run({"q": "q"}) as run:
        told = [e async for e in run if isinstance(e, NodeStarted | NodeFinished)]
    order = [(type(e).__name__, e.node) for e in told]
    assert order == [(kind, node) for node in "abc" for kind in ("NodeStarted", "NodeFinished")]


@BACKENDS
async def test_ids_fed_back_between_maps_without_a_hash_are_translated() -> None:
    maps = [msgspec.structs.replace(bundled_map(map_id)) for map_id in ("demo/words", "demo/bytes")]
    assert [each.hash for each in maps] == [None, None]
    body = Pipeline("body").input("draft").sink("next", text=False)
    for name, each in zip(("first", "second"), maps, strict=True):
        model(body, name, map=each)
    body.connect("draft", "first").connect("first", "second").connect("second", "next")
    p = Pipeline("looped").input("q").sink("out").loop("again", body, turns=2, feedback={"next": "draft"})
    model(p, "opening", map=maps[0])  # its ids decide which map the input of the body takes
    p.connect("q", "opening").connect("opening", "again").connect("again", "out")
    assert (await p.invoke({"q": "now"})).text["out"] == "second(first(second(first(opening(now)))))"


async def test_there_is_no_barrier() -> None:
    """In a to {fast, slow} and fast to d, d starts while slow still speaks."""
    release = anyio.Event()

    class Gated(ScriptedEngine):
        """Hold the answer until the test lets it go."""

        def stream(self, request: Any) -> Any:
            return _after(release, super().stream(request))

    p = Pipeline("barrier").input("q").sink("out").sink("late")
    model(p, "a")
    model(p, "fast")
    model(p, "slow", said_by=Gated(ScriptedModel(script=lambda _: "slow")))
    model(p, "d")
    p.connect("q", "a").connect("a", "fast").connect("a", "slow")
    p.connect("fast", "d").connect("slow", "late").connect("d", "out")
    async with p.run({"q": "q"}) as run:
        async for event in run:
            if isinstance(event, NodeFinished) and event.node == "d":
                release.set()
        assert run.result.text["late"] == "slow"
        assert run.result.text["out"].startswith("d(fast(a(q")


class _after:  # noqa: N801 - stands where a context manager function would
    def __init__(self, event: anyio.Event, stream: Any) -> None:
        self._event = event
        self._stream = stream

    async def __aenter__(self) -> Any:
        await self._event.wait()
        return await self._stream.__aenter__()

    async def __aexit__(self, *error: object) -> Any:
        return await self._stream.__aexit__(*error)


@BACKENDS
async def test_the_losers_of_a_race_are_stopped() -> None:
    entered, left = [], []

    class Slow(ScriptedEngine):
        """Note when a stream is closed."""

        def stream(self, request: Any) -> Any:
            return _Noting(super().stream(request), entered, left)

    p = Pipeline("race").input("q").sink("out")
    model(p, "quick")
    model(
        p,
        "slow",
        said_by=Slow(ScriptedModel(script=lambda _: [Say("never"), Wait(60), Say("!")])),
        map=MAPS[0],
    )
    p.join("first", first=1, map=MAPS[0])
    p.connect("q", "quick").connect("q", "slow").connect("quick", "first").connect("slow", "first")
    p.connect("first", "out")
    with anyio.fail_after(5):
        result = await p.invoke({"q": "q"})
    assert result.text["out"].strip() == "quick(q)"
    assert result.outcomes["slow"] == "cancelled"
    assert entered == left == ["stream"]


class _Noting:
    def __init__(self, stream: Any, entered: list[str], left: list[str]) -> None:
        self._stream, self._entered, self._left = stream, entered, left

    async def __aenter__(self) -> Any:
        self._entered.append("stream")
        return await self._stream.__aenter__()

    async def __aexit__(self, *error: object) -> Any:
        self._left.append("stream")
        return await self._stream.__aexit__(*error)


def routed(said: str, *, default: str | None = None, seed: int = 0) -> Pipeline:
    p = Pipeline("routed").input("q")
    p.router(
        "desk",
        engine=engine(lambda _: hesitating(said, random.Random(seed)), seed),
        map="demo/bytes",
        prompt=Chat(user="{text}"),
        labels={"billing": "biller", "sales": "seller"},
        default=default,
    )
    branches = {"biller": "bills", "seller": "sales"} | ({default: "other"} if default else {})
    for name, sink in branches.items():
        model(p.sink(sink), name, seed=seed)
        p.connect("q", name).connect(name, sink)
    return p.connect("q", "desk")


@BACKENDS
@pytest.mark.parametrize(
    ("said", "chosen"), [("billing", "bills"), (" Sales please", "sales"), ("no idea", "other")]
)
async def test_a_router_runs_only_the_chosen_branch(said: str, chosen: str) -> None:
    result = await routed(said, default="helper").invoke({"q": "q"})
    assert {name for name, text in result.text.items() if text} == {chosen}
    assert sorted(result.outcomes.values()).count("skipped") == 4


@BACKENDS
@pytest.mark.parametrize("kind", ["model", "map"])
@pytest.mark.parametrize("chosen_by", ["router", "failure"])
async def test_what_may_yet_be_chosen_holds_nobody_up(chosen_by: str, kind: str) -> None:
    """Who decides reads the same stream to its end; the edge to who waits for that holds far less of it."""
    text = "a word\n" * 20
    p = Pipeline("gated").input("q").sink("out").sink("other")
    model(p, "writer", said_by=engine(lambda _: text))
    if chosen_by == "router":
        prompt = Chat(user="{text}")
        labels = {"yes": "chosen", "no": "left"}
        p.router("desk", engine=engine(lambda _: "yes"), map=MAPS[0], prompt=prompt, labels=labels)
        model(p, "left", said_by=engine(lambda _: "no"))
        p.connect("q", "left").connect("left", "other")
    else:
        policy = {"retry": {"attempts": 1}, "on_failure": "fallback"}
        said = [Say("what " * 20), Cut()]
        model(p, "desk", said_by=engine(lambda _: said), policy=policy)
        p.connect("desk", "other").connect("desk", "chosen", buffer=4, fallback=True)
    if kind == "model":
        model(p, "chosen", said_by=engine(lambda prompt: f"{prompt.user.count('word')}"))
    else:
        body = Pipeline("body").input("item").sink("said", text=False)
        body.function("f", lambda value: value, map="demo/bytes").connect("item", "f").connect("f", "said")
        p.map("chosen", body)
    p.connect("q", "writer").connect("writer", "desk").connect("writer", "chosen", buffer=4)
    with anyio.fail_after(10):
        result = await p.connect("chosen", "out").invoke({"q": "q"})
    said = result.text["out"]
    assert said == "20" if kind == "model" else said.count("a word") == 20


@BACKENDS
async def test_a_router_without_a_default_fails_when_nothing_fits() -> None:
    with pytest.raises(NodeFailedError) as caught:
        await routed("no idea").invoke({"q": "q"})
    assert isinstance(caught.value.cause, RouteError)


@BACKENDS
async def test_a_map_over_no_items_gives_nothing() -> None:
    p = map_over(Pipeline("mapped").input("q").sink("out"), "q")
    result = await p.invoke({"q": "  \n \n"})
    assert result.text["out"] == ""


def failing(on_failure: str, seed: int = 0) -> Pipeline:
    p = Pipeline("failing").input("q").sink("out")
    bad = engine(lambda _: Refuse(500, "no"), seed)
    model(p, "bad", said_by=bad, policy={**FAIL, "on_failure": on_failure})
    model(p, "after", seed=seed)
    return p.connect("q", "bad").connect("bad", "after").connect("after", "out")


@BACKENDS
async def test_a_failing_branch_fails_the_run_is_skipped_or_takes_its_fallback() -> None:
    with pytest.raises(NodeFailedError, match="bad"):
        await failing("fail").invoke({"q": "q"})
    p = failing("skip").sink("spare")
    model(p, "sound")
    p.connect("q", "sound").connect("sound", "spare")
    result = await p.invoke({"q": "q"})
    assert result.outcomes["bad"] == "failed"
    assert result.outcomes["after"] == "skipped"
    assert result.text["spare"].startswith("sound(")
    result = await failing_branch(0).invoke({"q": "q"})
    assert result.text["spare"].replace(" ", "") == "rescue(q)"


@BACKENDS
async def test_limits_end_a_node_with_a_typed_error() -> None:
    p = Pipeline("limited").input("q").sink("out")
    model(p, "talker", said_by=engine(lambda _: "word " * 100), policy={"limits": {"max_ids": 10}})
    run = p.connect("q", "talker").connect("talker", "out").run({"q": "q"})
    with pytest.raises(LimitExceededError, match="10 ids"):
        await run.execute()
    assert run.partial_result().usage["talker"].generated_ids == 10
    p = Pipeline("slow").input("q").sink("out")
    script = lambda _: [Say("a"), Wait(60)]  # noqa: E731
    model(p, "sleeper", said_by=engine(script), policy={"limits": {"wall": 0.05}})
    p.connect("q", "sleeper").connect("sleeper", "out")
    with pytest.raises(LimitExceededError, match="wall"):
        await p.invoke({"q": "q"})


@BACKENDS
async def test_a_batch_keeps_its_order_and_its_failures() -> None:
    at_work, most = 0, 0

    def script(prompt: PromptView) -> Any:
        return Refuse(400, "odd") if prompt.user.strip() == "3" else prompt.user

    async def noting(value: str) -> str:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await anyio.sleep(0.002)
        at_work -= 1
        return value

    p = Pipeline("batch").input("q").sink("out").function("f", noting, wants="text")
    model(p, "m", said_by=engine(script))
    p.connect("q", "f").connect("f", "m").connect("m", "out")
    progress: list[tuple[int, int]] = []
    results = await p.batch(
        ({"q": str(n)} for n in range(6)), concurrency=2, progress=lambda *at: progress.append(at)
    )
    said = [None if isinstance(each, Exception) else each.text["out"].strip() for each in results]
    assert said == ["0", "1", "2", None, "4", "5"]
    assert progress == [(n, 6) for n in range(1, 7)]
    assert most == 2
    assert await p.batch([]) == []


@BACKENDS
async def test_a_batch_ends_with_what_its_caller_raises() -> None:
    def stop(done: int, of: int) -> None:
        raise ZeroDivisionError(f"{done} of {of}")

    with pytest.raises(ZeroDivisionError, match="1 of 3"):
        await chain(0).batch([{"q": "q"}] * 3, progress=stop)
    with pytest.raises(ValueError, match="must be at least 1, not 0"), anyio.fail_after(5):
        await chain(0).batch([{"q": "q"}], concurrency=0)


@BACKENDS
async def test_results_of_a_batch_come_as_they_are_ready_and_leaving_stops_the_others(tmp_path: Path) -> None:
    gates = {name: anyio.Event() for name in "abc"}
    stopped: list[str] = []

    async def held(value: str) -> str:
        try:
            await gates[value].wait()
        except anyio.get_cancelled_exc_class():
            stopped.append(value)
            raise
        return value

    p = Pipeline("batch").input("q").sink("out").function("f", held, wants="text")
    model(p, "m", said_by=engine(lambda prompt: prompt.user))
    p.connect("q", "f").connect("f", "m").connect("m", "out")
    inputs = [{"q": name} for name in "abc"]

    async def leave_after_two() -> None:
        async with p.batch_as_completed(inputs, concurrency=3, record=tmp_path / "records") as completed:
            gates["b"].set()
            position, result = await anext(completed)
            assert (position, result.text["out"].strip()) == (1, "b")
            gates["a"].set()
            assert (await anext(completed))[0] == 0
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), anyio.fail_after(5):
        await leave_after_two()
    assert stopped == ["c"]
    assert {path.name for path in (tmp_path / "records").iterdir()} >= {"000000.jsonl", "000001.jsonl"}


@BACKENDS
async def test_a_failed_run_of_a_batch_is_its_error_and_all_are_given() -> None:
    def script(prompt: PromptView) -> str:
        if "1" in prompt.user:
            raise ValueError("no")
        return prompt.user

    p = Pipeline("batch").input("q").sink("out")
    model(p, "m", said_by=engine(script))
    p.connect("q", "m").connect("m", "out")
    async with p.batch_as_completed([{"q": str(n)} for n in range(4)], concurrency=2) as completed:
        found = {position: isinstance(result, Exception) async for position, result in completed}
    assert found == {0: False, 1: True, 2: False, 3: False}
    async with p.batch_as_completed([]) as completed:
        assert [each async for each in completed] == []
    with pytest.raises(ValueError, match="must be at least 1"):
        async with p.batch_as_completed([{"q": "0"}], concurrency=0):
            pass


async def test_invoke_sync_works_inside_a_running_loop() -> None:
    assert chain(0).invoke_sync({"q": "q"}).text["out"].startswith("c(")


def test_invoke_sync_works_without_a_loop() -> None:
    assert chain(0).invoke_sync({"q": "q"}).text["out"].startswith("c(")


@BACKENDS
async def test_inputs_are_checked() -> None:
    with pytest.raises(InputError, match="no input 'x'"):
        await chain(0).invoke({"x": "q"})
    with pytest.raises(InputError, match="has no value"):
        await chain(0).invoke({})
    with pytest.raises(InputError, match="takes text"):
        await chain(0).invoke({"q": [1, 2]})


@BACKENDS
async def test_cancelling_after_the_turn_lets_it_end() -> None:
    p = Pipeline("turns").input("q").sink("out")

    def look() -> str:
        """Look."""
        return "seen"

    def script(prompt: PromptView) -> Any:
        from codec_agents.testing import Call

        return [Say("looking "), Call("look")]

    model(p, "m", said_by=engine(script), tools=[look])
    p.connect("q", "m").connect("m", "out")
    async with p.run({"q": "q"}) as run:
        await anext(run.text("out"))
        run.cancel(after="turn")
        result = await run.wait()
    assert result.text["out"].startswith("looking")
    assert result.usage["m"].turns <= 2
